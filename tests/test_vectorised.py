"""The block loops are vector code, as wide as the instruction set allows: seen in the disassembly."""

import collections
import platform
import re
import shutil
import subprocess

import pytest

import fastbce._arrays

WIDEST = {"avx2": "ymm", "avx512": "zmm"}
ARITHMETIC = re.compile(r"^v(add|sub|mul|div|fn?m(add|sub)\d+)[ps]([sd])")

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 instructions"),
    pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump"),
]


@pytest.fixture(scope="module")
def counts():
    """{function: Counter of its arithmetic: the widest register of each, or "scalar"}."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", fastbce._arrays.__file__],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    functions, current = collections.defaultdict(collections.Counter), None
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(\w+)>:", line):
            current = functions[header[1]]
        elif "\t" in line and ARITHMETIC.match(instruction := line.split("\t", 1)[1]):
            name = instruction.split()[0]
            packed = name[-2] == "p"
            current[re.search(r"[xyz]mm", instruction)[0] if packed else "scalar"] += 1
    return functions


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
