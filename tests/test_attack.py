"""Promise 3: no crash, no access outside an array, whatever its size, whatever another thread does to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import value_and_grad_of
from numpy.lib.stride_tricks import as_strided

import fastbce as fb

TESTS = Path(__file__).parent


# --- sizes that no memory holds -----------------------------------------------------------------------------


def many(value, *shape):
    """One value, as many times as there is room for in 64 bits, in the memory of one."""
    return np.broadcast_to(value, shape)


HUGE = 2**63 - 1


@pytest.mark.parametrize("n", [2**49, HUGE - 8191, HUGE])
def test_more_elements_than_any_memory_holds(n):
    """At once: where the bytes of all chunks or of a row would overflow, and where it would take for ever."""
    for call in (
        lambda: fb.bce_with_logits(many(np.int8(0), n), 0),
        lambda: fb.bce(many(np.int8(0), n), many(True, n), where=many(True, n)),
        lambda: fb.sigmoid_focal_loss(many(np.int8(0), n), 0),
        lambda: fb.cross_entropy(many(np.int8(0), 1, n), [0]),  # a row's bytes wrap around to few
        lambda: fb.cross_entropy(many(np.int8(0), n, 1), 0, reduction="sum"),
        lambda: fb.cross_entropy(many(np.int8(0), 1, n), many(np.int8(1), 1, n)),
    ):
        with pytest.raises(ValueError, match=r"at most 2\*\*48 elements"):
            call()


def test_rows_of_targets_beyond_any_memory():
    """Two rows whose bytes wrap around together, though those of each do not."""
    row = many(np.float64(0), 1, 2**59)
    with pytest.raises(ValueError, match=r"at most 2\*\*48 elements"):
        fb.cross_entropy(row, row)


def test_a_row_that_no_memory_holds():
    with pytest.raises(MemoryError):
        fb.cross_entropy(many(np.int8(0), 1, 2**48), [0])


@pytest.mark.parametrize("name", ["sample_weight", "pos_weight", "where"])
def test_options_that_are_larger_than_the_logits(name):
    """The shape is looked at before the values are."""
    value = many(True if name == "where" else 1.0, 2**47)
    with pytest.raises(ValueError, match=f"{name}: expected a shape that broadcasts"):
        fb.bce_with_logits([0.5, 1.5], [0, 1], **{name: value})


def test_empty_arrays_of_huge_shapes():
    for shape in ((0, 2**62), (2**62, 0), (2**31, 0, 2**31)):
        assert np.isnan(fb.bce_with_logits(np.empty(shape, np.int8), 0))
    assert np.isnan(fb.cross_entropy(np.empty((0, 2**62), np.int8), np.empty(0, np.int8)))
    with pytest.raises(ValueError, match="at least one class"):
        fb.cross_entropy(np.empty((2**62, 0), np.int8), 0)


def test_strides_of_0_in_an_output():
    """Its elements are one: what is left in it is one of theirs, and nothing beside it."""
    memory = np.full(3, 77.0)
    out = as_strided(memory[1:2], (1000,), (0,))
    logits = np.linspace(-5, 5, 1000)
    loss, _ = value_and_grad_of("bce_with_logits")(logits, 1, out=out, reduction="sum")
    assert loss == fb.bce_with_logits(logits, 1, reduction="sum")
    assert memory[0] == memory[2] == 77


# --- what lies beside an array, and what another thread does to it ------------------------------------------


def attack(*arguments):
    """Run attack.py; the system ends it where something outside an array is touched."""
    paths = [str(Path(fb.__file__).parents[1]), str(TESTS), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, TESTS / "attack.py", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"exit code {run.returncode}: {run.stderr}"
    return json.loads(run.stdout)


needs_mprotect = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="guards by mprotect of Linux"
)


@needs_mprotect
def test_nothing_beside_an_array_is_touched():
    """Arrays of many lengths, each beside a page that cannot be accessed, before it or behind it."""
    assert attack("edges")["calls"] > 5000


def check_outcomes(outcomes):
    """Calls that met what was being written, and calls that did not, of each loss."""
    for function in ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
        assert outcomes[f"{function} returned"] > 0
    assert outcomes["cross_entropy IndexError"] > 0


@needs_mprotect
def test_arrays_that_change_during_a_call():
    """Labels of every dtype, logits, weights and masks, which another process writes to all the time."""
    outcomes = attack("mutate", 2)
    if "cross_entropy IndexError" not in outcomes:  # a busy machine: the other process wrote nothing in time
        outcomes = attack("mutate", 30)
    check_outcomes(outcomes)


@pytest.mark.slow
@needs_mprotect
def test_arrays_that_change_for_a_minute():
    outcomes = attack("mutate", 60)
    print(outcomes)
    check_outcomes(outcomes)
