"""The block loops are vector code, as wide as the instruction set allows: seen in the disassembly."""

import collections
import itertools
import platform
import re
import shutil
import subprocess

import pytest
from compilers import ROOT, needs, setting

import fastbce._arrays

WIDEST = {"avx2": "ymm", "avx512": "zmm"}
ARITHMETIC = re.compile(r"^v(add|sub|mul|div|fn?m(add|sub)\d+)[ps]([sd])")

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 instructions"),
    pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump"),
]


def counts_of(file):
    """{function: Counter of its arithmetic: the widest register of each, or "scalar"}."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", file],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    functions, current = collections.defaultdict(collections.Counter), None
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(\w+)(?:\.[\w.]+)?>:", line):
            current = functions[header[1]]
        elif "\t" in line and ARITHMETIC.match(instruction := line.split("\t", 1)[1]):
            name = instruction.split()[0]
            packed = name[-2] == "p"
            current[re.search(r"[xyz]mm", instruction)[0] if packed else "scalar"] += 1
    return functions


@pytest.fixture(scope="module")
def counts():
    return counts_of(fastbce._arrays.__file__)


@pytest.mark.parametrize("isa", WIDEST)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    "function", ["bce_logits", "bce_probs_unclipped", "bce_probs_soft", "focal", "sigmoid"]
)
def test_block_loops_are_vectors_throughout(counts, function, dtype, isa):
    """But for what is computed once, before the loop."""
    count = counts[f"fb_{function}_{dtype}_{isa}"]
    assert count[WIDEST[isa]] >= 20, count
    assert count[WIDEST[isa]] >= 0.8 * sum(count.values()), count


@pytest.mark.parametrize("isa", WIDEST)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_sums_are_vectors(counts, dtype, isa):
    count = counts[f"fb_add_{dtype}_{isa}"]
    assert count[WIDEST[isa]] >= 2, count
    assert sum(count.values()) == count[WIDEST[isa]], count


@pytest.mark.parametrize("isa", WIDEST)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("function", ["few_labels", "few_soft", "many_labels", "many_soft"])
def test_rows_are_vectors(counts, function, dtype, isa):
    """Over classes and over rows. Beside these is the arithmetic of one row and of the ends of loops."""
    count = counts[f"fb_{function}_{dtype}_{isa}"]
    assert count[WIDEST[isa]] >= 100, count


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("function", ["strip_begin", "strip_end"])
def test_exponentials_of_rows_are_vectors(counts, function, dtype):
    """Functions of their own; with AVX-512 they are part of those above."""
    count = counts[f"fb_{function}_{dtype}_avx2"]
    assert count["ymm"] >= 5, count
    assert sum(count.values()) == count["ymm"], count


@pytest.mark.slow
@needs("clang", packages="clang")
def test_rows_are_vectors_by_clang(tmp_path):
    """With the flags of the package. Without one, clang 14 leaves a fifth or more of this scalar."""
    program, built = tmp_path / "program.c", tmp_path / "isa.o"
    program.write_text("int main(void) { return 0; }")

    def compiles(*flags):
        command = ["clang", *map(str, flags), "-o", str(built)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    optional = [flags for flags in setting("OPTIONAL_FLAGS") if compiles(*flags, program)]
    simd = ROOT / "fastbce/simd"
    assert compiles(*setting("FLAGS"), *itertools.chain(*optional), f"-I{simd}", "-c", simd / "isa_avx2.c")
    counts = counts_of(built)
    for dtype in "f32", "f64":
        for function in "few_labels", "many_labels", "strip_begin", "strip_end":
            count = counts[f"fb_{function}_{dtype}_avx2"]
            assert count["ymm"] >= (5 if function.startswith("strip") else 50), count
            assert count["scalar"] <= 0.2 * count["ymm"], count
