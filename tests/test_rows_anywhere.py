"""Cross-entropy of rows wherever their logits lie, beside whichever others, and whatever their weight."""

import numpy as np
import pytest
import reference
from cases import assert_same_bits, each
from reference import EXACT, ulp_error

import fastbce as fb

# Few classes, whose rows are worked on side by side, with a rest of a vector and without; many; and so many
# that two threads share a row.
CLASSES = [2, 33, 144, 145, 1000]
SPLIT = 70_000
OFFSETS = [0, -0.3, 40, -700, 4090, -4090, 4097, -4110, 1e5, 2.0**20, -(2.0**20) - 30, 1e30, -1e30, 1e36]


def rows_at(n_classes, dtype, spread=8.0):
    """A row at each of OFFSETS; what a far one spreads over is a multiple of its last place."""
    rng = np.random.default_rng(n_classes)
    offsets = np.array(OFFSETS, dtype)[:, None]
    logits = offsets + np.maximum(spread, 40 * abs(np.spacing(offsets))) * rng.uniform(
        -1, 1, (len(offsets), n_classes)
    )
    return logits.astype(dtype), rng.integers(0, n_classes, len(offsets))


@pytest.mark.parametrize("n_classes", CLASSES)
def test_rows_at_any_distance_from_zero(dtype, n_classes):
    logits, labels = rows_at(n_classes, dtype)
    results = each("cross_entropy", logits, labels)
    exact = reference.cross_entropy(logits, labels, EXACT, reduction="none")
    assert ulp_error(results["losses"], exact.loss, dtype).max() <= 4
    assert ulp_error(results["grad"], exact.grad, dtype).max() <= 4


@pytest.mark.parametrize("n_classes", [33, 145])
def test_a_confident_row(dtype, n_classes):
    """Where the label is the maximum, no sum or quotient adds an error that counts."""
    rng = np.random.default_rng(n_classes)
    logits = rng.uniform(-9, -7, (100, n_classes)).astype(dtype)
    logits[:, 5] = rng.uniform(0, 3, len(logits))
    labels = np.full(len(logits), 5)
    results = each("cross_entropy", logits, labels)
    exact = reference.cross_entropy(logits, labels, EXACT, reduction="none")
    assert ulp_error(results["losses"], exact.loss, dtype).max() <= 1.2
    assert ulp_error(results["grad"][:, 5], exact.grad[:, 5], dtype).max() <= 1.2


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n_classes", CLASSES)
def test_no_row_depends_on_those_beside_it(dtype, n_classes, axis):
    logits, labels = rows_at(n_classes, dtype)
    together = each("cross_entropy", np.moveaxis(logits, 1, axis).copy(), labels, axis=axis)
    for row in range(len(logits)):
        alone = each("cross_entropy", logits[row : row + 1], labels[row : row + 1])
        beside = {name: np.moveaxis(value, axis * (value.ndim - 1), -1) for name, value in together.items()}
        assert_same_bits({name: value[row : row + 1] for name, value in beside.items()}, alone)


@pytest.mark.parametrize("n_classes", [*CLASSES, SPLIT])
@pytest.mark.parametrize("layout", ["rows", "columns", "soft"])
def test_a_tiny_weight(dtype, n_classes, layout):
    """Down to the smallest normal numbers nothing is lost."""
    info = np.finfo(dtype)
    weights = np.array([1, info.tiny * 2.0**30, info.tiny * 64, info.tiny * 2.0**20, 0], dtype)
    weights = weights[1:2] if n_classes == SPLIT else weights
    rng = np.random.default_rng(n_classes)
    logits = rng.uniform(-3, 3, (len(weights), n_classes)).astype(dtype)
    labels = rng.integers(0, n_classes, len(weights))
    targets = np.eye(n_classes, dtype=dtype)[labels] if layout == "soft" and n_classes != SPLIT else labels
    x, axis = (logits.T.copy(), 0) if layout == "columns" else (logits, 1)
    losses, grad = fb.cross_entropy_value_and_grad(
        x, targets, reduction="none", axis=axis, sample_weight=weights, num_threads=2
    )
    exact = reference.cross_entropy(
        logits, labels, EXACT if n_classes < 1000 else reference.LONG, reduction="none", sample_weight=weights
    )
    grad = grad if axis == 1 else grad.T
    assert ulp_error(losses, exact.loss, dtype).max() <= 4.5
    assert ulp_error(grad, exact.grad, dtype).max() <= 4.5
