"""Promise 2: the same bits for any number of threads, position, length and instruction set; the settings."""

import asyncio
import os
import platform
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import calls
import numpy as np
import pytest
import reference
from cases import assert_same_bits, everything, inputs, losses_shape, same_bits
from reference import ulp_error
from test_accuracy import CASES, numbers_for

import fastbce as fb

TESTS = Path(__file__).parent
SIMD = fb.show_config(mode="dicts")["simd"]


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    before = fb.get_num_threads()
    yield
    fb.set_num_threads(before)


def run_python(*arguments, **environment):
    """Another Python that sees this fastbce, with settings of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTBCE_")}
    paths = [str(Path(fb.__file__).parents[1]), str(TESTS), clean.get("PYTHONPATH", "")]
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=clean | environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


# --- the same bits ------------------------------------------------------------------------------------------

LARGE = dict.fromkeys(("bce", "bce_with_logits", "sigmoid_focal_loss"), (600_011,))
LARGE["cross_entropy"] = (30_011, 10)


@pytest.mark.parametrize("shape", [None, (3, 100_003), (61, 1500), (997, 501), (7, 2)], ids=str)
def test_same_bits_for_any_number_of_threads(function, dtype, soft, shape):
    shape = shape or LARGE[function]
    first, targets = inputs(function, shape, dtype, soft=soft)
    weight = np.random.default_rng(0).uniform(0.5, 2, losses_shape(function, shape))
    for options in ({}, {"reduction": "sum"}, {"sample_weight": weight, "reduction": "weighted_mean"}):
        expected = everything(function, first, targets, num_threads=1, **options)
        for num_threads in (2, 3, 8):
            actual = everything(function, first, targets, num_threads=num_threads, **options)
            assert_same_bits(actual, expected)
        fb.set_num_threads(3)
        assert_same_bits(everything(function, first, targets, **options), expected)
        with fb.threads(2):
            assert_same_bits(everything(function, first[::-1][::-1], targets, **options), expected)


def test_same_bits_in_any_run(function, dtype):
    """However the threads happen to run."""
    first, targets = inputs(function, LARGE[function], dtype)
    expected = everything(function, first, targets, num_threads=4)
    for _ in range(10):
        assert_same_bits(everything(function, first, targets, num_threads=4), expected)


def test_same_bits_from_concurrent_calls(function, dtype):
    """Made by several Python threads at once, of several sizes."""
    jobs = [inputs(function, (rows, 7), dtype) for rows in (3, 700, 30_011) * 8]
    expected = [everything(function, *job) for job in jobs[:3]]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda job: everything(function, *job), jobs))
    for k, result in enumerate(results):
        assert_same_bits(result, expected[k % 3])


def test_same_bits_wherever_an_element_is(function, dtype, soft):
    """In slices of any start and length: in the middle of a vector, in a tail, by itself."""
    shape = (5000, 6) if function == "cross_entropy" else (5000,)
    first, targets = inputs(function, shape, dtype, soft=soft)
    whole = everything(function, first, targets, reduction="none")
    slices = [slice(start, start + length) for start in (0, 1, 3, 8, 15) for length in range(1, 70)]
    slices += [slice(start, None) for start in range(0, 5000, 307)] + [
        slice(0, end) for end in (511, 512, 513)
    ]
    for part in slices:
        results = everything(function, first[part], targets[part], reduction="none")
        assert_same_bits(results, {name: array[part] for name, array in whole.items()})


FORMS = [
    "bce_value_and_grad", "bce_with_logits_value_and_grad", "sigmoid_focal_loss_value_and_grad",
    "cross_entropy_value_and_grad", "bce_with_logits_grad_hess", "cross_entropy_grad_hess",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_same_bits_at_every_offset(form, dtype, soft):
    """One element, or row, at every index up to 1100, in arrays of many lengths, moved in memory or not."""
    call, function = getattr(fb, form), form.removesuffix("_value_and_grad").removesuffix("_grad_hess")
    first, targets = inputs(function, (2200, 3) if function == "cross_entropy" else (2200,), dtype, soft=soft)
    if form.endswith("_value_and_grad"):
        call = partial(call, reduction="none")
    plain, weighted = call(first, targets), call(first, targets, sample_weight=np.full(2200, 0.7))
    for start in range(1101):
        part = slice(start, 1101 + start * 389 % 1100)
        x, y = first[part], targets[part]
        if start % 2:
            x, y = x.copy(), y.copy()
        results, expected = call(x, y), plain
        if start % 5 == 0:
            results, expected = call(x, y, sample_weight=np.full(len(x), 0.7)), weighted
        for result, whole in zip(results, expected, strict=True):
            assert same_bits(result, whole[part]), start


def test_same_bits_from_whichever_function(function, dtype, soft):
    first, targets = inputs(function, (700, 9), dtype, soft=soft)
    form, with_grad = getattr(fb, function), getattr(fb, function + "_value_and_grad")
    for reduction in ("none", "sum", "mean", "weighted_mean"):
        loss, grad = with_grad(first, targets, reduction=reduction)
        assert same_bits(form(first, targets, reduction=reduction), loss)
        results = everything(function, first, targets, reduction=reduction)
        assert same_bits(results["loss"], loss)
        assert same_bits(results["grad"], grad)


def test_config_of_the_instruction_sets():
    assert SIMD["in_use"] in SIMD["available"]
    assert "generic" in SIMD["available"]
    assert set(SIMD["available"]) <= {"generic", "avx2", "avx512", "neon"}
    flags = Path("/proc/cpuinfo")
    if flags.exists() and {"avx2", "fma", "f16c"} <= set(flags.read_text().split()):
        assert "avx2" in SIMD["available"]
        assert SIMD["in_use"] != "generic" or os.environ.get("FASTBCE_ISA")


@pytest.fixture(scope="module")
def results_by_isa(tmp_path_factory):
    """What each instruction set of this CPU makes of the fixed calls, in a process of its own."""
    results = {}
    for isa in SIMD["available"]:
        file = tmp_path_factory.mktemp("isa") / f"{isa}.npz"
        run = run_python(TESTS / "calls.py", file, FASTBCE_ISA=isa)
        assert run.returncode == 0, run.stderr
        with np.load(file) as arrays:
            results[isa] = dict(arrays)
    return results


def test_same_bits_on_every_instruction_set(results_by_isa):
    """Also on generic, where the CPU has fma: where there is any other."""
    expected = results_by_isa[SIMD["available"][-1]]
    assert len(expected) > 100
    for isa, results in results_by_isa.items():
        different = [name for name in expected if not same_bits(results[name], expected[name])]
        assert not different, f"{isa}: {different}"
    for name, array in calls.results():
        assert same_bits(array, expected[name]), f"this process: {name}"


def test_accuracy_of_every_instruction_set(results_by_isa):
    """Hard targets: within the bars, for the awkward logits."""
    for name, function, first, targets, _ in calls.calls():
        dtype = first.dtype.type
        if "awkward" not in name or (dtype == np.float64 and np.finfo(np.longdouble).nmant < 60):
            continue
        if function == "sigmoid_focal_loss":  # its bar is another, and has a test of its own
            continue
        exact = getattr(reference, function)(first, targets, numbers_for(first.dtype.name), reduction="none")
        rows = "labels, uniform, 2 to 128 classes"
        case = CASES[f"{function}, {rows if function == 'cross_entropy' else 'hard'}"]
        bars = case.bounds[first.dtype.name]
        # Promised within 20 for classes; beyond, x - m may be rounded.
        keep = abs(first).max(axis=1) <= 20 if function == "cross_entropy" else slice(None)
        for isa, results in results_by_isa.items():
            for part, value, bar in (
                ("losses", exact.loss, bars["loss"]),
                ("grad", exact.grad, bars["gradient"]),
            ):
                errors = ulp_error(results[f"{name}-{part}"][keep], value[keep], dtype)
                assert errors.max() <= bar, (isa, name, part)


@pytest.mark.parametrize("isa", SIMD["available"])
def test_isa_can_be_forced(isa):
    run = run_python(
        "-c", "import fastbce; print(fastbce.show_config('dicts')['simd']['in_use'])", FASTBCE_ISA=isa
    )
    assert run.stdout.strip() == isa, run.stderr


IMPORT = ("-c", "import fastbce")
UNAVAILABLE = sorted({"generic", "avx2", "avx512", "neon"} - set(SIMD["available"]))


@pytest.mark.parametrize("isa", ["sse9", "AVX", "avx2,avx512", *UNAVAILABLE])
def test_unknown_instruction_sets(isa):
    run = run_python(*IMPORT, FASTBCE_ISA=isa)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert "FASTBCE_ISA" in last
    assert isa in last
    assert "generic" in last


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5", "1e3", "2 threads"])
def test_thread_counts_that_are_none(count):
    run = run_python(*IMPORT, FASTBCE_NUM_THREADS=count)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert "FASTBCE_NUM_THREADS" in last
    assert count in last


# --- settings of the threads --------------------------------------------------------------------------------


def test_thread_count_from_the_environment():
    code = "import fastbce as fb; print(fb.get_num_threads(), fb.show_config('dicts')['threads'])"
    run = run_python("-c", code, FASTBCE_NUM_THREADS="3")
    assert run.stdout.startswith("3 "), run.stderr
    assert "'count': 3" in run.stdout
    assert "FASTBCE_NUM_THREADS" in run.stdout


def test_set_num_threads():
    assert isinstance(fb.get_num_threads(), int)
    assert fb.get_num_threads() >= 1
    for count in (1, 5, np.int64(3)):
        fb.set_num_threads(count)
        assert fb.get_num_threads() == count
        assert fb.show_config(mode="dicts")["threads"]["count"] == count


@pytest.mark.parametrize("set_to", [fb.set_num_threads, fb.threads])
@pytest.mark.parametrize(
    ("count", "exception"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_wrong_thread_counts(set_to, count, exception):
    before = fb.get_num_threads()
    with pytest.raises(exception):
        set_to(count)
    assert fb.get_num_threads() == before


def test_threads_is_for_a_while():
    fb.set_num_threads(4)
    with fb.threads(2):
        assert fb.get_num_threads() == 2
        with fb.threads(7):
            assert fb.get_num_threads() == 7
        assert fb.get_num_threads() == 2
    assert fb.get_num_threads() == 4
    with pytest.raises(KeyError), fb.threads(3):
        raise KeyError
    assert fb.get_num_threads() == 4


def test_threads_is_for_one_thread():
    fb.set_num_threads(4)
    seen = []
    with fb.threads(2):
        other = threading.Thread(target=lambda: seen.append(fb.get_num_threads()))
        other.start()
        other.join()
    assert seen == [4]


def test_threads_is_for_one_task():
    async def task(count, barrier):
        with fb.threads(count):
            await barrier.wait()
            seen = fb.get_num_threads()
            await barrier.wait()
        return seen

    async def main():
        barrier = asyncio.Barrier(2)
        return await asyncio.gather(task(2, barrier), task(3, barrier))

    assert asyncio.run(main()) == [2, 3]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there the CPU is not asked")
@pytest.mark.parametrize(("level", "name"), [(2, "second_level"), (3, "third_level")])
def test_config_of_the_caches(level, name):
    """As Linux has asked the CPU; cores may differ."""
    sizes = set()
    for cache in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cache/index*"):
        if (cache / "level").read_text().strip() == str(level) and (cache / "size").exists():
            sizes.add(int((cache / "size").read_text().strip().removesuffix("K")) << 10)
    if not sizes:
        pytest.skip("the system does not describe this cache")
    assert fb.show_config(mode="dicts")["caches"][name] in sizes


def test_show_config(capsys):
    config = fb.show_config(mode="dicts")
    assert capsys.readouterr().out == ""
    assert re.match(r"\d+\.\d+", config["version"])
    assert isinstance(config["openmp"], bool)
    assert isinstance(config["threads"]["source"], str)
    assert fb.show_config() is None
    printed = capsys.readouterr().out
    assert config["version"] in printed
    assert config["simd"]["in_use"] in printed
    for name, size in config["caches"].items():
        shown = f"{size >> 10} KiB" if size > 0 else "unknown"
        assert f"{name.replace('_', ' ')} {shown}" in printed
    with pytest.raises(ValueError, match="mode"):
        fb.show_config(mode="json")
