"""Cross-entropy of rows wherever their logits lie, beside whichever others, and whatever their weight."""

import numpy as np
import pytest
import reference
from cases import assert_same_bits, each, same_bits
from reference import EXACT, ulp_error

import fastbce as fb

# Few classes, whose rows are worked on side by side, with a rest of a vector and without; many; and so many
# that two threads share a row.
CLASSES = [2, 33, 144, 145, 1000]
SPLIT = 33_000
OFFSETS = [0, -0.3, 40, -700, 4097, -1e5, 2.0**20, 1e30, -1e30, 1e36]


def rows_at_offsets(n_classes, dtype):
    """A row around each of OFFSETS, within 8 of it, or within 40 of its units in the last place."""
    rng = np.random.default_rng(n_classes)
    offsets = np.array(OFFSETS, dtype)[:, None]
    spread = np.maximum(8, 40 * abs(np.spacing(offsets)))
    logits = offsets + spread * rng.uniform(-1, 1, (len(offsets), n_classes))
    return logits.astype(dtype), rng.integers(0, n_classes, len(offsets))


@pytest.mark.parametrize("n_classes", CLASSES)
def test_rows_at_any_distance_from_zero(dtype, n_classes):
    logits, labels = rows_at_offsets(n_classes, dtype)
    results = each("cross_entropy", logits, labels)
    exact = reference.cross_entropy(logits, labels, EXACT, reduction="none")
    assert ulp_error(results["losses"], exact.loss, dtype).max() <= 4
    assert ulp_error(results["grad"], exact.grad, dtype).max() <= 4


@pytest.mark.parametrize("n_classes", [33, 145])
def test_a_confident_row(dtype, n_classes):
    """Where the label is the maximum: 1.04 ULP is the largest error of these rows, in float64."""
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
    logits, labels = rows_at_offsets(n_classes, dtype)
    together = each("cross_entropy", np.moveaxis(logits, 1, axis).copy(), labels, axis=axis)
    beside = {name: value if axis else value.T for name, value in together.items()}
    for row in range(len(logits)):
        alone = each("cross_entropy", logits[row : row + 1], labels[row : row + 1])
        assert_same_bits({name: value[row : row + 1] for name, value in beside.items()}, alone)


def weighted(logits, labels, layout, weights):
    """Losses and gradient, in the shape of logits; `layout` is that of the logits, or of the targets."""
    targets = (
        (np.arange(logits.shape[1]) == labels[:, None]).astype(logits.dtype) if layout == "soft" else labels
    )
    axis = 0 if layout == "columns" else 1
    x = logits.T.copy() if layout == "columns" else logits
    losses, grad = fb.cross_entropy_value_and_grad(
        x, targets, reduction="none", axis=axis, sample_weight=weights, num_threads=2
    )
    return losses, grad if axis else grad.T


@pytest.mark.parametrize("n_classes", CLASSES)
@pytest.mark.parametrize("layout", ["rows", "columns", "soft"])
def test_a_tiny_weight(dtype, n_classes, layout):
    """Subnormal results, too, have one rounding of the weight beside those of the row."""
    tiny = np.finfo(dtype).tiny
    weights = np.array([1, tiny * 2.0**30, tiny * 64, tiny * 2.0**20, 0], dtype)
    rng = np.random.default_rng(n_classes)
    logits, labels = rng.uniform(-3, 3, (5, n_classes)).astype(dtype), rng.integers(0, n_classes, 5)
    losses, grad = weighted(logits, labels, layout, weights)
    exact = reference.cross_entropy(logits, labels, EXACT, reduction="none", sample_weight=weights)
    assert ulp_error(losses, exact.loss, dtype).max() <= 4.5
    assert ulp_error(grad, exact.grad, dtype).max() <= 4.5


@pytest.mark.parametrize(("n_rows", "n_classes"), [*((20, n) for n in CLASSES), (1, SPLIT)])
@pytest.mark.parametrize("layout", ["rows", "columns", "soft"])
def test_a_power_of_two_as_weight_changes_no_digit(dtype, n_rows, n_classes, layout):
    weight = np.finfo(dtype).tiny * dtype(2.0**30)  # so that no result is subnormal
    rng = np.random.default_rng(n_classes)
    logits, labels = rng.uniform(-3, 3, (n_rows, n_classes)).astype(dtype), rng.integers(0, n_classes, n_rows)
    plain = weighted(logits, labels, layout, np.ones(n_rows, dtype))
    for result, value in zip(weighted(logits, labels, layout, np.full(n_rows, weight)), plain, strict=True):
        assert same_bits(result, value * weight)
