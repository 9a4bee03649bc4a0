"""Focal loss and Hessians: section 4, row by row, and how far they may be from the exact value."""

import math

import numpy as np
import pytest
import reference
from cases import each, grad_hess_of, inputs, loss_of, same_bits, value_and_grad_of
from reference import DOUBLE, EXACT, LONG, ulp_error

INF, NAN = math.inf, math.nan
WIDER = {np.float32: DOUBLE, np.float64: LONG}
needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 60, reason="long double is no wider than double"
)

# In ULP of the exact value, for hard targets: loss and gradient with gamma up to 4, and up to 20.
FOCAL, FOCAL_STEEP = 5.0, 9.0
HESSIAN = {"bce_with_logits": 2.0, "cross_entropy": 4.0}
PROBABILITY = {"bce_with_logits": 1.0, "cross_entropy": 4.0}


# --- focal loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.25, -1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.75])
def test_focal_loss_of_infinite_logits(dtype, lay, gamma, alpha):
    """Right: nothing. Wrong: infinite, with the slope it has on the way there; other elements as ever."""
    positive, negative = (alpha, 1 - alpha) if alpha >= 0 else (1, 1)
    rows = [(INF, 1, 0, 0), (-INF, 0, 0, 0), (INF, 0, INF, negative), (-INF, 1, INF, -positive)]
    mixed = positive * 0.25 + negative * 0.75 if alpha >= 0 else 1
    rows += [(INF, 0.25, INF, mixed * 0.75 ** (1 + gamma)), (-INF, 0.25, INF, -mixed * 0.25 ** (1 + gamma))]
    options = {"gamma": gamma, "alpha": alpha}
    for (logit, target, loss, grad), weight in ((row, weight) for row in rows for weight in (1, 3, -2)):
        for size, position in ((1, 0), (5, 4), (600, 300)):
            first, targets = inputs("sigmoid_focal_loss", (size,), dtype, soft=True)
            plain = each("sigmoid_focal_loss", first, targets, sample_weight=weight, **options)
            first[position], targets[position] = logit, target
            results = each("sigmoid_focal_loss", lay(first), lay(targets), sample_weight=weight, **options)
            assert results["losses"][position] == loss * weight
            np.testing.assert_allclose(results["grad"][position], grad * weight, rtol=4 * np.finfo(dtype).eps)
            for name in results:
                others = np.delete(results[name], position)
                assert same_bits(others, np.delete(plain[name], position)), name


def test_focal_loss_stays_infinite_where_its_power_underflows(dtype, lay):
    """An infinite loss times a factor that is too small for the dtype, but not 0."""
    logits, targets = lay(np.array([-INF, INF], dtype)), lay(np.array([1e-30, 1 - 2.0**-24], dtype))
    results = each("sigmoid_focal_loss", logits, targets, gamma=50.0)
    np.testing.assert_array_equal(results["losses"], [INF, INF])
    np.testing.assert_array_equal(results["grad"], [0, 0])


@pytest.mark.parametrize("gamma", [0.0, 5e-324, 1e-3, 0.5, 30.0, 1e10, 1e40, 1.7e308])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0, -1.0])
def test_focal_loss_with_any_gamma_and_finite_logits(dtype, soft, gamma, alpha):
    """Never NaN, never negative, never more than the cross-entropy; the gradient has a bound too."""
    info = np.finfo(dtype)
    values = [0, 1e-3, 1, 20, 90, 800, 1e30, info.max / 2, info.max, info.tiny, info.smallest_subnormal]
    logits = np.array([*values, *np.negative(values)], dtype)
    for target in (0.25, 1e-30, 1 - 1e-7) if soft else (0, 1):
        targets = np.full(logits.shape, target, dtype)
        results = each("sigmoid_focal_loss", logits, targets, gamma=gamma, alpha=alpha)
        plain = reference.bce_with_logits(logits, targets, reduction="none")
        assert (results["losses"] >= 0).all()
        assert (results["losses"] <= plain.loss * (1 + 8 * float(info.eps))).all()
        assert not np.isnan(results["grad"]).any()
        if not soft:
            # (1-p)**gamma (1 - p - gamma p log p), where -p log p is at most 1/e
            assert (
                abs(results["grad"].astype(np.float64)) <= (1 + gamma / math.e) * (1 + 8 * float(info.eps))
            ).all()


def test_focal_loss_without_focus_is_cross_entropy(dtype, soft):
    """gamma = 0: 0**0 is 1; and alpha = 1 leaves the positive class, 0 the negative one."""
    first, targets = inputs("sigmoid_focal_loss", (500,), dtype, soft=soft)
    exact = reference.bce_with_logits(first, targets, reduction="none")
    results = each("sigmoid_focal_loss", first, targets, gamma=0.0, alpha=-1.0)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(results["losses"], exact.loss.astype(float), rtol=4 * eps)
    assert (abs(results["grad"] - exact.grad) <= 4 * eps * exact.grad_size).all()
    if not soft:
        for alpha in (0, 1):
            losses = loss_of("sigmoid_focal_loss")(first, targets, gamma=0, alpha=alpha, reduction="none")
            kept = np.where(targets == alpha, exact.loss, 0).astype(float)
            np.testing.assert_allclose(losses, kept, rtol=4 * eps)


def test_subnormal_focal_losses_are_kept(dtype, lay):
    """With gamma = 2 a loss is about exp(3 x)."""
    info = np.finfo(dtype)
    far = np.linspace(math.log(info.smallest_subnormal) + 3, math.log(info.tiny) - 1, 600) / 3
    far = far.astype(dtype)
    for logits, target in ((far, 0), (-far, 1)):
        targets = np.full(600, target)
        results = each("sigmoid_focal_loss", lay(logits), lay(targets), alpha=0.5)
        exact = reference.sigmoid_focal_loss(logits, targets, EXACT, reduction="none", alpha=0.5)
        for name in ("losses", "grad"):
            assert (results[name] != 0).all()
            assert ulp_error(results[name], getattr(exact, name), dtype).max() <= FOCAL, name
        assert (results["losses"] < info.tiny).all()


def test_a_focal_loss_of_zero_is_plus_zero(dtype):
    logits, targets = np.array([INF, -INF, 2000, -2000], dtype), [1, 0, 1, 0]
    losses = loss_of("sigmoid_focal_loss")(logits, targets, reduction="none")
    assert not losses.any()
    assert not np.signbit(losses).any()


@pytest.mark.parametrize("alpha", [0.25, -1.0, 0.0, 1.0, 1e-60])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0, 20.0])
@pytest.mark.parametrize("at", [0, 25, 79])
def test_what_else_a_block_holds_changes_no_bit_of_focal_loss(dtype, gamma, alpha, at):
    """Hard targets and ordinary logits take fewer operations, if a block holds no others."""
    logits = np.random.default_rng(9).normal(scale=8, size=80).clip(-42, 42).astype(dtype)
    logits[:6] = [0, -0.0, 42, -42, 1e-30, -1e-30]
    targets = np.tile([0, 0, 1, 1], 20).astype(dtype)
    call = value_and_grad_of("sigmoid_focal_loss")
    alone = call(logits, targets, reduction="none", gamma=gamma, alpha=alpha)
    others = np.arange(80) != at
    for logit, target in [(1, 0.5), (1, -0.0), (1, NAN), (50, 1), (INF, 1), (NAN, 0)]:
        logits_here, targets_here = logits.copy(), targets.copy()
        logits_here[at], targets_here[at] = logit, target
        beside = call(logits_here, targets_here, reduction="none", gamma=gamma, alpha=alpha)
        itself = call(logits_here[[at]], targets_here[[at]], reduction="none", gamma=gamma, alpha=alpha)
        for result, result_beside, result_itself in zip(alone, beside, itself, strict=True):
            assert same_bits(result[others], result_beside[others])
            assert same_bits(result_itself, result_beside[[at]])


@needs_long_double
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.75, 20.0])
@pytest.mark.parametrize("target", [0, 1])
def test_accuracy_of_focal_loss(dtype, gamma, target):
    wide = {np.float32: 105, np.float64: 745}[dtype]
    rng = np.random.default_rng(12)
    logits = np.concatenate([rng.uniform(-wide, wide, 20_000), rng.normal(scale=3, size=20_000)])
    logits, targets = logits.astype(dtype), np.full(40_000, target, np.uint8)
    exact = reference.sigmoid_focal_loss(logits, targets, WIDER[dtype], gamma=gamma, reduction="none")
    results = value_and_grad_of("sigmoid_focal_loss")(logits, targets, gamma=gamma, reduction="none")
    for name, actual in zip(("loss", "grad"), results, strict=True):
        errors = ulp_error(actual, getattr(exact, name), dtype)
        assert errors.max() <= (FOCAL_STEEP if gamma > 4 else FOCAL), (name, logits[np.argmax(errors)])


# --- Hessians -----------------------------------------------------------------------------------------------


def test_binary_hessian_of_infinite_and_huge_logits(dtype, lay, soft):
    """Nothing bends there."""
    info = np.finfo(dtype)
    logits = np.array([INF, -INF, info.max, -info.max, 1e30, 5000, 0], dtype)
    targets = np.linspace(0, 1, 7) if soft else np.array([0, 1, 1, 0, 1, 0, 1])
    for options in ({}, {"pos_weight": 3.0}, {"sample_weight": -2.0}, {"label_smoothing": 0.5}):
        hess = grad_hess_of("bce_with_logits")(lay(logits), lay(targets), **options)[1]
        assert not hess[:6].any(), options
        assert abs(hess[6]) >= 0.25
    assert np.isnan(grad_hess_of("bce_with_logits")(np.array([NAN], dtype), [1])[1]).all()


@pytest.mark.parametrize("weight", [None, 1.0])
def test_binary_hessian_of_a_nan_target(dtype, lay, weight):
    targets = np.array([np.nan, 1], dtype)
    grad, hess = grad_hess_of("bce_with_logits")(lay(np.zeros(2, dtype)), lay(targets), sample_weight=weight)
    np.testing.assert_array_equal(grad, [np.nan, -0.5])
    np.testing.assert_array_equal(hess, [np.nan, 0.25])


def test_row_hessian_of_infinite_logits(dtype, lay):
    """A class that is absent, or alone, has none; a row with a NaN has NaN; other rows are as ever."""
    rows = np.array([[-INF, 1, 2], [INF, 1, 2], [3, 1, 2], [NAN, 1, 2], [INF, -INF, 0]], dtype)
    grad, hess = grad_hess_of("cross_entropy")(lay(rows), lay(np.array([1, 0, 0, 0, 2])))
    p = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(hess[0], [0, p * (1 - p), p * (1 - p)], rtol=8 * np.finfo(dtype).eps)
    assert hess[0, 0] == 0
    np.testing.assert_array_equal(hess[[1, 4]], 0)
    np.testing.assert_array_equal(grad[[1, 4]], [[0, 0, 0], [1, 0, -1]])
    assert np.isnan(hess[3]).all()
    assert same_bits(hess[2:3], grad_hess_of("cross_entropy")(rows[2:3], [0])[1])


def test_hessians_of_what_is_left_out(dtype, lay):
    """Exactly 0, whatever is there."""
    binary = np.array([NAN, INF, 1.0, NAN], dtype), np.array([7.0, NAN, 1, -INF])
    rows = np.array([[NAN, 0], [INF, INF], [1, 0], [0, NAN]], dtype), np.array([9, -1, 0, 77])
    ways = [{"where": np.array([False, False, True, False])}, {"sample_weight": np.array([0.0, 0, 2, 0])}]
    for function, (first, targets) in (("bce_with_logits", binary), ("cross_entropy", rows)):
        for way in ways:
            results = grad_hess_of(function)(lay(first), lay(targets), **way)
            alone = {name: array[2:3] for name, array in way.items()}
            expected = grad_hess_of(function)(first[2:3], targets[2:3], **alone)
            for actual, kept in zip(results, expected, strict=True):
                assert not actual[[0, 1, 3]].any()
                assert not np.signbit(actual[[0, 1, 3]]).any()
                assert same_bits(actual[2:3], kept)
    ignored = np.where(np.arange(4) == 2, 0, -100)
    grad, hess = grad_hess_of("cross_entropy")(lay(rows[0]), lay(ignored), ignore_index=-100)
    assert not grad[[0, 1, 3]].any()
    assert not hess[[0, 1, 3]].any()
    assert hess[2].all()


@needs_long_double
def test_accuracy_of_hessians_and_probabilities(dtype):
    """Those of logits out to where they are subnormal, those of rows within 20, and where one towers."""
    wide = {np.float32: 104, np.float64: 745}[dtype]
    rng = np.random.default_rng(13)
    logits = np.concatenate([rng.uniform(-wide, wide, 20_000), rng.normal(size=20_000)]).astype(dtype)
    rows = rng.uniform(-20, 20, (3000, 7))
    rows[1000:, 3] += np.linspace(0, 40, 2000)
    calls = [("bce_with_logits", logits, np.ones(logits.size, int))]
    calls += [("cross_entropy", rows.astype(dtype), rng.integers(0, 7, 3000))]
    for function, first, targets in calls:
        exact = getattr(reference, function)(first, targets, WIDER[dtype], reduction="none")
        proba = np.empty_like(first)
        hess = grad_hess_of(function)(first, targets, proba_out=proba)[1]
        assert ulp_error(hess, exact.hess, dtype).max() <= HESSIAN[function], function
        assert ulp_error(proba, exact.proba, dtype).max() <= PROBABILITY[function], function
        assert (hess > 0).mean() > 0.95
