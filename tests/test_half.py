"""float16 and bfloat16 logits: every one of them, computed in float32, stored rounded."""

import math

import numpy as np
import pytest
import reference
from cases import WITH_HESSIAN, each, everything, grad_hess_of, inputs, loss_of, same_bits, value_and_grad_of
from ml_dtypes import bfloat16
from reference import DOUBLE, finfo, ulp_error

BAR = 0.51  # ULP of its own dtype: half of one for the last rounding, and what float32 leaves


@pytest.fixture(params=[np.float16, bfloat16], ids=["float16", "bfloat16"])
def half(request):
    return request.param


def every_number(half):
    return np.arange(1 << 16, dtype=np.uint16).view(half)


def every_input(function, half):
    values = every_number(half)
    number = values.astype(np.float32)
    if function == "bce":
        return values[(number >= 0) & (number <= 1)]
    return values[~np.isnan(number)]


@pytest.mark.parametrize("function", ["bce", "bce_with_logits", "sigmoid_focal_loss"])
@pytest.mark.parametrize("target", [0, 1, 0.3])
def test_every_input(half, function, target):
    first = every_input(function, half)
    targets = np.full(first.shape, target)
    exact = getattr(reference, function)(first, targets, DOUBLE, reduction="none")
    results = each(function, first, targets)
    if function in WITH_HESSIAN:
        results["hess"] = grad_hess_of(function)(first, targets)[1]
    larger = (exact.grad_size + abs(exact.grad)) / 2  # of the terms that the gradient is the difference of
    for name, actual in results.items():
        assert actual.dtype == half
        of = larger if name == "grad" and target == 0.3 else None
        errors = ulp_error(actual, getattr(exact, name), half, of)
        assert errors.max() <= BAR, (name, first[np.argmax(errors)], errors.max())


@pytest.mark.parametrize("n_classes", [2, 5, 40])
def test_rows(half, soft, n_classes):
    first, targets = inputs("cross_entropy", (3000, n_classes), half, soft=soft)
    targets = targets.astype(np.float32) if soft else targets
    exact = reference.cross_entropy(first, targets, DOUBLE, reduction="none")
    results = each("cross_entropy", first, targets)
    results["hess"] = grad_hess_of("cross_entropy")(first, targets)[1]
    larger = (exact.grad_size + abs(exact.grad)) / 2
    for name, actual in results.items():
        assert actual.dtype == half
        of = larger if name == "grad" and soft else None
        assert ulp_error(actual, getattr(exact, name), half, of).max() <= BAR, name


def test_nan_of_any_payload(half):
    values = every_number(half)
    values = values[np.isnan(values.astype(np.float32))]
    assert values.size > 200
    for function in ("bce", "bce_with_logits", "sigmoid_focal_loss"):
        results = each(function, values, np.ones(values.size, int))
        for array in results.values():
            assert np.isnan(array.astype(np.float32)).all(), function


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64])
def test_wider_outputs_are_not_rounded_to_half(function, half, out_dtype):
    """They hold what float32 logits of the same values give."""
    first, targets = inputs(function, (50, 6), half)
    expected = everything(function, first.astype(np.float32), targets, reduction="none")
    actual = everything(
        function, first, targets, dtype=out_dtype, reduction="none", out=np.empty((50, 6), out_dtype)
    )
    for name, array in expected.items():
        assert same_bits(actual[name], array.astype(out_dtype)), name


def test_a_reduced_loss_is_not_rounded_to_half(function, half):
    first, targets = inputs(function, (500, 6), half)
    for reduction in ("sum", "mean", "weighted_mean"):
        expected = loss_of(function)(first.astype(np.float32), targets, reduction=reduction)
        loss, grad = value_and_grad_of(function)(first, targets, reduction=reduction)
        assert type(loss) is float
        assert loss == expected
        assert grad.dtype == half


def test_results_beyond_the_largest_are_infinite(half):
    """And only those: a loss of 65519 rounds to the largest float16, one of 65520 does not."""
    largest = float(finfo(half).max)
    first = np.array([largest, -largest, largest], half)
    losses = loss_of("bce_with_logits")(first, [0, 1, 0], sample_weight=[1, 1, 1.25], reduction="none")
    assert losses.astype(float).tolist() == [largest, largest, math.inf]
    steep = value_and_grad_of("bce")(np.zeros(1, half), [1], reduction="none")[1]
    assert float(steep[0]) == (-math.inf if half is np.float16 else -float(bfloat16(1 / np.float32(1e-12))))


def test_targets_are_rounded_to_float32_and_no_further(half):
    """0.1 is not the float16 nearest to it."""
    first, targets = np.zeros(1, half), np.array([0.1])
    out = np.empty(1, np.float32)
    value_and_grad_of("bce_with_logits")(first, targets, out=out, reduction="none")
    np.testing.assert_allclose(out, 0.5 - np.float32(0.1), rtol=1e-7)
