"""Section 5: no input is converted or copied as a whole, whatever its dtype and layout."""

import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cases import inputs, value_and_grad_of

import fastbce

LIMIT = 2_000_000
SIZE = 6_000_000  # so that even a copy of booleans is beyond the limit
FORMS = {
    "plain": lambda array: array,
    "strided": lambda array: np.repeat(array[:, None], 2, axis=1)[:, 0],
    "swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "backwards": lambda array: array[::-1].copy()[::-1],
}
TARGETS = ["bool", "uint8", "int64", "float16", "float32", "float64"]


def traced_peak(call):
    """Bytes allocated by Python and NumPy at the worst moment of the call, beside what was there."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_copied(name, form):
    """BCE, float32: mixed dtypes, odd layouts, weights and a mask beside them."""
    lay = FORMS[form]
    logits = lay(np.linspace(-9, 9, SIZE, dtype=np.float32))
    targets = lay((np.arange(SIZE) % 2).astype(name))
    where, weight = lay(np.arange(SIZE) % 3 > 0), lay(np.ones(SIZE))
    out = np.empty(SIZE, np.float32)
    for options in ({}, {"where": where, "sample_weight": weight, "label_smoothing": 0.1}):
        peak = traced_peak(
            lambda options=options: value_and_grad_of("bce_with_logits")(logits, targets, out=out, **options)
        )
        assert peak <= LIMIT


@pytest.mark.parametrize("name", ["int8", "uint16", "int64", "float64", "probabilities"])
@pytest.mark.parametrize("axis", [0, 1])
def test_nothing_is_copied_for_classes(dtype, name, axis):
    """Also not to bring the class axis to the end."""
    shape = [3_000_000]
    shape.insert(axis, 2)
    logits, labels = inputs("cross_entropy", tuple(shape), dtype, axis=axis)
    other = np.float64 if dtype == np.float32 else np.float32
    targets = np.full(shape, 0.5, other) if name == "probabilities" else labels.astype(name)
    call, out = value_and_grad_of("cross_entropy"), np.empty(shape, dtype)
    assert traced_peak(lambda: call(logits, targets, axis=axis, out=out)) <= LIMIT
    assert traced_peak(lambda: call(logits, targets, axis=axis, out=out, label_smoothing=0.1)) <= LIMIT


def test_only_the_gradient_is_allocated(function, dtype):
    """With no `out`: one array of its size, and no array of losses."""
    first, targets = inputs(function, (500_000, 4), dtype)
    peak = traced_peak(lambda: value_and_grad_of(function)(first, targets))
    assert first.nbytes <= peak <= first.nbytes + LIMIT


PEAK_OF_PROCESS = """
    import resource, sys
    import numpy as np
    import fastbce

    function, dtype, targets = sys.argv[1:]
    size = 100_000_000 // np.dtype(dtype).itemsize
    shape = (size // 10, 10) if function == "cross_entropy" else (size,)
    first = np.full(shape, 0.25, dtype)
    y = np.ones(shape[:1], targets)
    out, losses = np.ones(shape, dtype), np.ones(shape[:1], dtype)
    call = getattr(fastbce, function + "_value_and_grad")
    call(first[:100_000], y[:100_000], out=out[:100_000], loss_out=losses[:100_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call(first, y, out=out, loss_out=losses)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize("name", TARGETS[1:])
def test_peak_of_the_process(function, dtype, name):
    """The same as the system counts it, C's own allocations included, for 100 MB of logits."""
    paths = [str(Path(fastbce.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PEAK_OF_PROCESS), function, np.dtype(dtype).name, name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert int(run.stdout) <= LIMIT
