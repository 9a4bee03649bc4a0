"""Promise 2: the bits that every kernel and every function returned when `kernel_hashes.txt` was written.

``make hashes`` runs this file with ``--update``, which writes `kernel_hashes.txt` again.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cases import losses_shape
from compilers import COMPILER, ROOT, needs, setting
from layouts import backwards, field_of_records, fortran, misaligned, swapped

import fastbce as fb

TESTS = Path(__file__).parent
FILE = TESTS / "kernel_hashes.txt"
UPDATE = "If a change is meant to move these bits: make hashes"

HEADER = """\
# Hashes of results: what tests/kernel_hashes.c prints on every instruction set; then the public functions.
# Written by `make hashes`.
"""


def expected():
    """{"<dtype> <kernel>": hash}."""
    lines = FILE.read_text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


# --- the kernels --------------------------------------------------------------------------------------------


def build(folder, compiler, *link_flags):
    """Compile the kernels and kernel_hashes.c, some at a time. Returns the program."""
    simd = ROOT / "fastbce/simd"
    sources = [*(simd / f"{name}.c" for name in setting("KERNELS")), TESTS / "kernel_hashes.c"]
    objects = [folder / f"{source.stem}.o" for source in sources]

    def run(*command):
        done = subprocess.run([*compiler, *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def compile_one(source, to):
        run(*setting("FLAGS"), f"-I{simd}", "-c", source, "-o", to)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    run(*link_flags, *objects, "-lm", "-o", folder / "kernel_hashes")
    return folder / "kernel_hashes"


def hashes_of(*command):
    """{"<dtype> <kernel>": {instruction set: hash}} of what a program prints."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    hashes = {}
    for line in done.stdout.splitlines():
        isa, kernel = line.rsplit(" ", 1)[0].split(" ", 1)
        hashes.setdefault(kernel, {})[isa] = line.rsplit(" ", 1)[1]
    return hashes


def instruction_sets(hashes):
    return {isa for by_isa in hashes.values() for isa in by_isa} - {"any"}


def check(hashes):
    """Compare with the file, kernel by kernel."""
    kernels = {name: value for name, value in expected().items() if " fastbce." not in name}
    wrong = [f"{name}: not in {FILE.name}" for name in hashes if name not in kernels]
    wrong += [f"{name}: only in {FILE.name}" for name in kernels if name not in hashes]
    for name in kernels.keys() & hashes.keys():
        for isa, value in hashes[name].items():
            if value != kernels[name]:
                wrong.append(f"{name} on {isa}: {value}, expected {kernels[name]}")
    assert not wrong, "\n".join([f"{len(wrong)} hashes differ", *sorted(wrong), UPDATE])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_caches_and_interleaving_change_no_bit(dtype):
    cross_entropy = f"{dtype} cross_entropy"
    hashes = expected()
    kernels = [name for name in hashes if name.startswith(f"{cross_entropy}_copied_")]
    assert len(kernels) == 5
    across = {"long": "long", "pieces": "pieces"}  # 16, 32 and 48 are groups of the same rows
    for name in [*kernels, f"{cross_entropy}_interleaved_pieces", f"{cross_entropy}_across_small_long"]:
        of = across.get(name.rsplit("_", 1)[1], "many")
        assert hashes[name] == hashes[f"{cross_entropy}_across_{of}"], name


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("kernels"), COMPILER)


@needs(COMPILER[0])
def test_kernels_of_this_machine(program):
    """All instruction sets that the package finds here."""
    hashes = hashes_of(program)
    assert instruction_sets(hashes) == set(fb.show_config(mode="dicts")["simd"]["available"])
    check(hashes)


@pytest.mark.slow
@needs("clang", packages="clang")
def test_kernels_by_clang(tmp_path):
    check(hashes_of(build(tmp_path, ["clang"])))


@pytest.mark.slow
@needs("aarch64-linux-gnu-gcc", "qemu-aarch64", packages="gcc-aarch64-linux-gnu qemu-user")
def test_kernels_on_aarch64(tmp_path):
    hashes = hashes_of("qemu-aarch64", build(tmp_path, ["aarch64-linux-gnu-gcc"], "-static"))
    assert instruction_sets(hashes) == {"generic", "neon"}
    check(hashes)


@pytest.mark.slow
@needs(COMPILER[0], "qemu-x86_64", packages="qemu-user")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86-64 programs")
def test_kernels_without_fma(program):
    """On an x86 that has neither fma nor AVX, where the C library computes fma."""
    hashes = hashes_of("qemu-x86_64", "-cpu", "Nehalem", program)
    assert instruction_sets(hashes) == {"generic"}
    check(hashes)


# --- the public functions -----------------------------------------------------------------------------------

FUNCTIONS = [
    "bce_value_and_grad", "bce_with_logits_value_and_grad", "sigmoid_focal_loss_value_and_grad",
    "cross_entropy_value_and_grad", "bce_with_logits_grad_hess", "cross_entropy_grad_hess",
]  # fmt: skip

# Enough elements for several threads; few classes and many.
SHAPES = [(211, 331), (7001, 10)]


def integers(shape, seed):
    """24 random bits each, of splitmix64: NumPy's generators may change."""
    z = (np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.int64).reshape(shape)


def public_hash(name, dtype, num_threads=1, lay=np.asarray):
    """A hash of all that a public function returns for fixed arguments, hard and soft, weighted and not."""
    function, form = getattr(fb, name), name.removesuffix("_value_and_grad").removesuffix("_grad_hess")
    digest = hashlib.blake2b(digest_size=8)
    for shape in SHAPES:
        # exact in both dtypes: in [0, 1), and in [-64, 64)
        first = integers(shape, 1) * 2.0**-24 if form == "bce" else integers(shape, 1) * 2.0**-17 - 64
        rows = losses_shape(form, shape)
        hard = integers(rows, 10**6) % (shape[-1] if form == "cross_entropy" else 2)
        soft = (integers(shape, 2 * 10**6) * 2.0**-24).astype(dtype)
        weight = ((integers(rows, 3 * 10**6) >> 18) * 2.0**-5).astype(dtype)
        for targets, options in [(hard, {}), (soft, {}), (hard, {"sample_weight": lay(weight)})]:
            outputs = []
            if name.endswith("_value_and_grad"):
                outputs.append(np.empty(rows, dtype))
                options = options | {"loss_out": outputs[0], "reduction": "sum"}
            if form in ("bce_with_logits", "cross_entropy"):
                outputs.append(np.empty(shape, dtype))
                options = options | {"proba_out": outputs[-1]}
            results = function(lay(first.astype(dtype)), lay(targets), num_threads=num_threads, **options)
            for result in (*results, *outputs):
                assert not np.isnan(result).any()
                result = np.asarray(result)
                digest.update(result.astype(result.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results(name, dtype):
    """For 1 to 8 threads, and however the arguments lie in memory."""
    value = expected()[f"{dtype.__name__} fastbce.{name}"]
    for num_threads in range(1, 9):
        assert public_hash(name, dtype, num_threads) == value, f"{num_threads} threads. {UPDATE}"
    for lay in (backwards, field_of_records, fortran, misaligned, swapped):
        assert public_hash(name, dtype, 3, lay) == value, f"{lay.__name__}. {UPDATE}"


# --- writing the file ---------------------------------------------------------------------------------------


def is_current():
    """Whether the extension modules that were imported are those of this source tree, and up to date."""
    package = ROOT / "fastbce"
    sources = [*package.glob("*.p[yx][xd]"), *package.glob("simd/*")]
    newest = [max(map(os.path.getmtime, files)) for files in (sources, package.glob("*.so"))]
    return Path(fb._arrays.__file__).parent == package and newest[0] <= newest[1]


def update():
    if not is_current():
        sys.exit(f"{fb._arrays.__file__} was not built from {ROOT} as it is now: run `make hashes`")
    with tempfile.TemporaryDirectory() as folder:
        hashes = hashes_of(build(Path(folder), COMPILER))
    lines = []
    for name, by_isa in hashes.items():
        if len(set(by_isa.values())) > 1:
            sys.exit(f"{name}: instruction sets differ, nothing was written: {by_isa}")
        lines.append(f"{name} {by_isa.popitem()[1]}")
    for dtype in (np.float32, np.float64):
        lines += [f"{dtype.__name__} fastbce.{name} {public_hash(name, dtype)}" for name in FUNCTIONS]
    before = expected() if FILE.exists() else {}
    FILE.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    changed = [line.rsplit(" ", 1)[0] for line in lines if before.get(line.rsplit(" ", 1)[0]) != line[-16:]]
    print(f"{len(changed)} of {len(lines)} hashes changed", *changed, sep="\n  ")


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(__doc__)
    update()
