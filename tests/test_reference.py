"""The reference itself: against textbook formulas and their derivatives, by mpmath, in 240 bits.

The textbook's cancel where the reference's do not, which at 240 bits costs less than the tolerance.
"""

import itertools

import numpy as np
import pytest
import reference
from reference import EXACT, PRECISE

mpf, log, exp = PRECISE.mpf, PRECISE.log, PRECISE.exp
LOGITS = [-45.0, -7.25, -1.0, -1e-3, 0.0, 0.5, 3.0, 12.0, 45.0]
PROBS = [1e-9, 0.01, 0.3, 0.5, 0.75, 0.999]
TARGETS = [0.0, 1.0, 0.25, 0.9, 1e-4]
STEP = mpf(10) ** -30
TOLERANCE = mpf(10) ** -25  # relative; differences of second order leave a little more of 72 digits


def assert_equal(actual, expected, what):
    assert abs(actual - expected) <= TOLERANCE * max(abs(expected), mpf(10) ** -20), (what, actual, expected)


def textbook_bce(p, y, pos_weight):
    return -(pos_weight * y * log(p) + (1 - y) * log(1 - p))


def textbook_focal(x, y, alpha, gamma):
    """As torchvision words it."""
    p = 1 / (1 + exp(-x))
    p_t = p * y + (1 - p) * (1 - y)
    loss = textbook_bce(p, y, 1) * (1 - p_t) ** gamma
    return loss if alpha < 0 else loss * (alpha * y + (1 - alpha) * (1 - y))


def textbook_cross_entropy(row, coefficients):
    total = sum(exp(x) for x in row)
    return -sum(q * log(exp(x) / total) for x, q in zip(row, coefficients, strict=True))


def slopes(loss, x):
    """First and second derivative of `loss`."""
    return [PRECISE.diff(loss, mpf(x), order, h=STEP) for order in (1, 2)]


@pytest.mark.parametrize("pos_weight", [1.0, 0.0, 3.5])
def test_bce(pos_weight):
    for p, y in itertools.product(PROBS, TARGETS):
        for eps in (None, 1e-12):
            result = reference.bce(p, y, EXACT, reduction="none", pos_weight=pos_weight, eps=eps)

            def loss(p, y=y):
                return textbook_bce(p, mpf(y), mpf(pos_weight))

            assert_equal(result.loss[()], loss(mpf(p)), (p, y))
            assert_equal(result.grad[()], slopes(loss, p)[0], (p, y))


@pytest.mark.parametrize("pos_weight", [1.0, 0.0, 3.5])
def test_bce_with_logits(pos_weight):
    for x, y in itertools.product(LOGITS, TARGETS):
        result = reference.bce_with_logits(x, y, EXACT, reduction="none", pos_weight=pos_weight)

        def loss(x, y=y):
            return textbook_bce(1 / (1 + exp(-x)), mpf(y), mpf(pos_weight))

        grad, hess = slopes(loss, x)
        assert_equal(result.loss[()], loss(mpf(x)), (x, y))
        assert_equal(result.grad[()], grad, (x, y))
        assert_equal(result.hess[()], hess, (x, y))
        assert_equal(result.proba[()], 1 / (1 + exp(-mpf(x))), x)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.75])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.25, 1.0])
def test_sigmoid_focal_loss(alpha, gamma):
    for x, y in itertools.product(LOGITS, TARGETS):
        result = reference.sigmoid_focal_loss(x, y, EXACT, reduction="none", alpha=alpha, gamma=gamma)

        def loss(x, y=y):
            return textbook_focal(x, mpf(y), mpf(alpha), mpf(gamma))

        assert_equal(result.loss[()], loss(mpf(x)), (x, y))
        assert_equal(result.grad[()], slopes(loss, x)[0], (x, y))


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("target", [0, 2, [0.25, 0.0, 0.75], [2.0, -0.5, 1.0]], ids=str)
def test_cross_entropy(target, smoothing):
    class_weight = [0.5, 2.0, 3.0]
    coefficients = [float(c == target) for c in range(3)] if np.ndim(target) == 0 else target
    coefficients = [
        mpf(w) * (y * (1 - smoothing) + mpf(smoothing) / 3)
        for w, y in zip(class_weight, coefficients, strict=True)
    ]
    options = {"class_weight": class_weight, "label_smoothing": smoothing, "reduction": "none"}
    for row in ([0.0, 0.0, 0.0], [1.0, -2.5, 3.0], [30.0, 2.0, -9.0], [-5.0, 5.0, 5.0]):
        result = reference.cross_entropy(np.array(row), np.array(target), EXACT, **options)
        exact = [mpf(x) for x in row]
        assert_equal(result.loss[()], textbook_cross_entropy(exact, coefficients), row)
        for c in range(3):

            def loss(x, c=c, exact=exact):
                return textbook_cross_entropy([*exact[:c], x, *exact[c + 1 :]], coefficients)

            grad, hess = slopes(loss, row[c])
            assert_equal(result.grad[c], grad, (row, c))
            assert_equal(result.hess[c], hess, (row, c))
            assert_equal(result.proba[c], exp(exact[c]) / sum(exp(x) for x in exact), (row, c))


@pytest.mark.parametrize("function", ["bce_with_logits", "sigmoid_focal_loss", "cross_entropy"])
def test_the_cheap_kinds_of_number_agree_with_mpmath(function):
    """Long double and float64 too stay near the exact values, out to where results are subnormal."""
    x = np.concatenate([np.linspace(-700, 700, 281), np.linspace(-3, 3, 61)])
    y = np.resize([0.0, 1.0, 0.3], x.size)
    if function == "cross_entropy":
        # Whole numbers: their differences are exact. Where they are not, a row's error grows with them.
        x = np.rint(np.stack([x, x[::-1] / 3, np.zeros_like(x)], axis=1))
        y = np.resize([0, 1, 2], len(x))
    exact = getattr(reference, function)(x, y, EXACT, reduction="none")
    for numbers, eps in ((reference.LONG, np.finfo(np.longdouble).eps), (reference.DOUBLE, 2.0**-52)):
        result = getattr(reference, function)(x, y, numbers, reduction="none")
        for name in ("loss", "grad", "proba", "hess"):
            if getattr(exact, name) is not None:
                size = getattr(exact, name + "_size", getattr(exact, name))
                value = getattr(result, name)
                high = value.astype(np.float64)  # a long double is the sum of two doubles
                error = abs(EXACT.make(high) + EXACT.make(value - high) - getattr(exact, name))
                # A few roundings, and what an elementary function of the platform may be off.
                assert (error <= 16 * float(eps) * abs(size) + 2e-323).all(), (name, eps)


def test_logits_of_half_precision_are_computed_in_float32():
    """And targets rounded to that: what of a float64 target float32 does not hold, is not there."""
    exact = reference.bce_with_logits(np.float32(1.5), np.float32(0.1), reduction="none")
    for dtype in (np.float16, reference.ml_dtypes.bfloat16):
        result = reference.bce_with_logits(np.array(1.5, dtype), 0.1, reduction="none")
        assert result.loss == exact.loss
        assert result.grad == exact.grad
    assert exact.grad != reference.bce_with_logits(1.5, 0.1, reduction="none").grad


def test_units_in_the_last_place_of_every_dtype():
    expected = {np.float16: 2.0**-10, reference.ml_dtypes.bfloat16: 2.0**-7, np.float32: 2.0**-23}
    for dtype, unit in expected.items():
        assert reference.ulp(np.array([1.0, 1.99, -3.0, 0.0]), dtype)[:3].tolist() == [unit, unit, 2 * unit]
        smallest = float(reference.finfo(dtype).smallest_subnormal)
        assert reference.ulp(np.array([0.0, smallest]), dtype).tolist() == [smallest, smallest]
