"""Section 2: nothing left in. Inputs that are not empty themselves, but broadcast to what is."""

import math

import numpy as np
import pytest

import fastbce as fb

EMPTY = (2, 0, 3)
ROWS = [np.zeros((2, 0), int), np.zeros((2, 1), int), np.zeros((2, 0, 3)), np.zeros((2, 1, 3))]


@pytest.mark.parametrize("targets", ROWS, ids=lambda array: str(array.shape))
@pytest.mark.parametrize(
    "options",
    [{}, {"sample_weight": np.ones((2, 1))}, {"where": np.ones((2, 1), bool)}],
    ids=lambda one: str([*one]),
)
def test_no_rows(dtype, targets, options):
    logits = np.zeros(EMPTY, dtype)
    assert math.isnan(fb.cross_entropy(logits, targets, **options))
    assert fb.cross_entropy(logits, targets, reduction="sum", **options) == 0
    loss, grad = fb.cross_entropy_value_and_grad(logits, targets, reduction="none", **options)
    assert loss.shape == (2, 0)
    assert grad.shape == EMPTY


@pytest.mark.parametrize("shape", [EMPTY, (2, 1, 3)])
def test_no_elements(dtype, shape):
    probs = np.zeros(EMPTY, dtype)
    loss, grad = fb.bce_value_and_grad(
        probs, np.zeros(shape), sample_weight=np.ones(shape), where=np.ones(shape, bool)
    )
    assert math.isnan(loss)
    assert grad.shape == EMPTY
