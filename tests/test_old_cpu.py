"""Promise 3 on CPUs without AVX, by QEMU: the import, the results, which instruction sets are refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import calls
import numpy as np
import pytest
from cases import same_bits

import fastbce as fb

TESTS = Path(__file__).parent
QEMU = shutil.which("qemu-x86_64")

pytestmark = pytest.mark.skipif(
    not QEMU or os.uname().machine != "x86_64",
    reason="not installed: qemu-x86_64 (Debian: apt-get install qemu-user)",
)

FEW = """
import json, numpy as np, fastbce as fb

x = np.linspace(-30, 30, 90).reshape(30, 3)
results = {"config": fb.show_config("dicts")["simd"]}
for dtype in (np.float16, np.float32, np.float64):
    logits = x.astype(dtype)
    for name in ("bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
        targets = np.arange(30) % 3 if name == "cross_entropy" else np.arange(90).reshape(30, 3) % 2
        value, grad = getattr(fb, name + "_value_and_grad")(logits, targets)
        results[f"{name} {dtype.__name__}"] = [value.hex(), grad.tobytes().hex()]
    value, grad = fb.bce_value_and_grad(abs(logits) / 30, 0.5, num_threads=2)
    results[f"bce {dtype.__name__}"] = [value.hex(), grad.tobytes().hex()]
print(json.dumps(results))
"""


def emulated(cpu, *arguments, **environment):
    """Run Python as if on that CPU. What QEMU says it cannot emulate is not used."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTBCE_")}
    paths = [str(Path(fb.__file__).parents[1]), str(TESTS), clean.get("PYTHONPATH", "")]
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return subprocess.run(
        [QEMU, "-cpu", cpu, sys.executable, *map(str, arguments)],
        env=clean | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_few_calls_without_avx(capsys):
    """The same bits as here, where fma is an instruction."""
    run = emulated("Nehalem", "-c", FEW)
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout)
    assert results.pop("config") == {"in_use": "generic", "available": ["generic"]}
    exec(FEW, {})
    expected = json.loads(capsys.readouterr().out)
    expected.pop("config")
    assert results == expected


@pytest.mark.parametrize(
    ("cpu", "isa"), [("Nehalem", "avx2"), ("Haswell-v4,-f16c", "avx2"), ("Haswell-v4", "avx512")]
)
def test_an_instruction_set_that_the_cpu_does_not_have(cpu, isa):
    run = emulated(cpu, "-c", "import fastbce", FASTBCE_ISA=isa)
    assert run.returncode == 1, run.stderr
    last = [line for line in run.stderr.splitlines() if "Error" in line][-1]
    assert last.startswith("ImportError: FASTBCE_ISA: expected one of generic")
    assert last.endswith(f"on this machine, got {isa!r}")


@pytest.mark.parametrize(
    ("cpu", "second", "third"), [("EPYC", 512, 8 << 10), ("Haswell-v4", 4 << 10, 16 << 10)]
)
def test_caches_of_another_cpu(cpu, second, third):
    """In KiB, as QEMU describes those of an AMD and of an Intel CPU."""
    run = emulated(cpu, "-c", "import fastbce; fastbce.show_config()")
    assert run.returncode == 0, run.stderr
    assert f"caches: second level {second} KiB, third level {third} KiB\n" in run.stdout


@pytest.mark.slow
def test_many_calls_without_avx(tmp_path):
    run = emulated("Nehalem", TESTS / "calls.py", tmp_path / "results.npz")
    assert run.returncode == 0, run.stderr
    with np.load(tmp_path / "results.npz") as results:
        expected = dict(calls.results())
        assert results.keys() == expected.keys()
        assert not [name for name in expected if not same_bits(results[name], expected[name])]
