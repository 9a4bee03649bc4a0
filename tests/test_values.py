"""Sections 1 to 3: every option with every other one, reductions and their denominators."""

import enum
import itertools
import math

import numpy as np
import pytest
import reference
from cases import (
    CLASS_WEIGHT,
    SMOOTHED,
    WITH_HESSIAN,
    WITH_LOGITS,
    assert_same_bits,
    everything,
    grad_hess_of,
    inputs,
    loss_of,
    losses_shape,
    same_bits,
    value_and_grad_of,
)
from closeness import assert_close

REDUCTIONS = ("none", "sum", "mean", "weighted_mean")


def check(function, first, targets, dtype, **options):
    """Compare everything that a call returns, and every form of the call, with the reference."""
    expected = getattr(reference, function)(first, targets, **options)
    outputs = {"loss_out": np.empty(expected.losses.shape, dtype)}
    if function in WITH_LOGITS:
        outputs["proba_out"] = np.empty(np.shape(first), dtype)
    loss, grad = value_and_grad_of(function)(first, targets, **options, **outputs)
    alone = loss_of(function)(first, targets, **options)
    assert_close(loss, expected.loss, expected.loss_size, dtype, "loss")
    assert_close(alone, expected.loss, expected.loss_size, dtype, "loss without gradient")
    assert_close(grad, expected.grad, expected.grad_size, dtype, "gradient")
    assert_close(outputs["loss_out"], expected.losses, abs(expected.losses), dtype, "loss_out")
    if function in WITH_LOGITS:
        assert_close(outputs["proba_out"], expected.proba, abs(expected.proba), dtype, "proba_out")
    if function in WITH_HESSIAN:
        check_hessian(function, first, targets, dtype, options)
    if options.get("reduction", "mean") != "none":
        assert type(loss) is float
        assert type(alone) is float
    assert grad.dtype == dtype
    assert grad.flags.c_contiguous


def check_hessian(function, first, targets, dtype, options):
    """Per element, with the weights; the gradient has the bits of value_and_grad's."""
    options = {name: value for name, value in options.items() if name not in ("reduction", "normalizer")}
    expected = getattr(reference, function)(first, targets, reduction="none", **options)
    proba = np.empty(np.shape(first), dtype)
    grad, hess = grad_hess_of(function)(first, targets, proba_out=proba, **options)
    assert_close(hess, expected.hess, expected.hess_size, dtype, "hessian")
    assert_close(proba, expected.proba, abs(expected.proba), dtype, "proba_out of grad_hess")
    assert same_bits(grad, value_and_grad_of(function)(first, targets, reduction="none", **options)[1])
    assert hess.dtype == dtype
    assert hess.flags.c_contiguous


def maybe(rng, *values):
    return values[rng.integers(len(values))]


def draw_options(rng, function, shape, soft):
    """Some of the options that this function takes, each with a value of some kind."""
    axis = int(rng.integers(-len(shape), len(shape))) if function == "cross_entropy" else -1
    elements = losses_shape(function, shape, axis)
    weight = rng.uniform(0.25, 3, elements) * rng.choice([-1, 0, 1, 1, 1, 1], elements)
    column = (elements[0],) + (1,) * (len(elements) - 1)
    drawn = {
        "sample_weight": maybe(rng, None, 2.5, weight, np.abs(weight[:1]), np.abs(weight[..., :1])),
        "where": maybe(rng, None, None, True, rng.random(elements) < 0.7, rng.random(column) < 0.7),
        "reduction": maybe(rng, *REDUCTIONS),
    }
    if drawn["reduction"] in ("mean", "weighted_mean"):
        drawn["normalizer"] = maybe(rng, None, None, 37.5)
    if function in SMOOTHED:
        drawn["label_smoothing"] = maybe(rng, None, 0.0, 0.05, 0.3, 1.0)
    if function == "sigmoid_focal_loss":
        drawn["alpha"] = maybe(rng, None, -1.0, 0.0, 0.8, 1.0)
        drawn["gamma"] = maybe(rng, None, 0.0, 0.5, 1.0, 3.75)
    if function == "cross_entropy":
        drawn["axis"] = axis
        drawn["class_weight"] = maybe(rng, None, rng.uniform(0.1, 4, shape[axis]))
        drawn["ignore_index"] = None if soft else maybe(rng, None, -100, 1)
    elif function in CLASS_WEIGHT:
        powers = rng.uniform(0, 4, shape)
        drawn["pos_weight"] = maybe(rng, None, 0.0, 3.0, powers[0, 0], powers[:, :1], powers)
    if function == "bce":
        drawn["eps"] = maybe(rng, None, None, 1e-7, 0.1)
    return {name: value for name, value in drawn.items() if value is not None}


@pytest.mark.parametrize("seed", range(20))
def test_options_together(function, dtype, soft, seed):
    rng = np.random.default_rng(seed)
    for _ in range(15):
        shape = tuple(int(n) for n in rng.integers(2, 7, 3))
        options = draw_options(rng, function, shape, soft)
        axis = options.get("axis", -1)
        first, targets = inputs(function, shape, dtype, soft=soft, seed=int(rng.integers(1 << 30)), axis=axis)
        if options.get("ignore_index") == -100:
            targets = np.where(rng.random(targets.shape) < 0.3, -100, targets)
        check(function, first, targets, dtype, **options)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 63, 511, 512, 513, 1025, 70_001])
def test_every_length(function, dtype, soft, size):
    """Lengths around those of vectors and blocks, and long enough for several threads."""
    shape = (size // 3 + 1, 3) if function == "cross_entropy" else (size,)
    first, targets = inputs(function, shape, dtype, soft=soft)
    check(function, first, targets, dtype, reduction="none")


@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
def test_every_length_has_the_same_bits_of_plain_and_of_strided_arrays(function, dtype):
    """Where arrays are plain, what is left beyond whole vectors is computed with elements before it.

    Losses from 1e-40 to 100, so that the last bits of a sum depend on which are added first.
    """
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=30, size=9000)
    first = (logits if function == "bce_with_logits" else 1 / (1 + np.exp(-logits))).astype(dtype)
    targets = rng.integers(0, 2, 9000).astype(dtype)
    strided = np.repeat(first, 2)[::2]
    for size in (*range(1, 1100), 8192, 8193, 8209, 8750):
        plain = value_and_grad_of(function)(first[:size], targets[:size], reduction="sum")
        expected = value_and_grad_of(function)(strided[:size], targets[:size], reduction="sum")
        assert same_bits(plain[0], expected[0]), size
        assert same_bits(plain[1], expected[1]), size
        assert plain[0] == loss_of(function)(first[:size], targets[:size], reduction="sum"), size


@pytest.mark.parametrize("n_classes", [1, 2, 7, 16, 33, 64, 65, 511, 1000, 5003])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_number_of_classes(dtype, soft, n_classes, axis):
    shape = [3, 2]
    shape.insert(axis, n_classes)
    first, targets = inputs("cross_entropy", tuple(shape), dtype, soft=soft, axis=axis)
    check("cross_entropy", first, targets, dtype, axis=axis, label_smoothing=0.1)


@pytest.mark.parametrize("eps", [1e-30, 1e-7, 0.01, 0.4])
def test_clipped_probabilities(dtype, soft, eps):
    """Both bounds are rounded to the dtype first; 1 - 1e-30 is 1, where the loss of a 0 is infinite."""
    rng = np.random.default_rng(5)
    low, high = dtype(eps), dtype(1 - eps)
    ends = [0, 1, low, high, np.nextafter(low, dtype(0)), np.nextafter(high, dtype(1))]
    probs = np.concatenate([np.repeat(np.array(ends, dtype), 2), rng.random(50).astype(dtype)])
    targets = rng.random(probs.size).astype(dtype) if soft else np.arange(probs.size) % 2
    check("bce", probs, targets, dtype, eps=eps, reduction="none")


@pytest.mark.parametrize(
    "options", [{}, {"sample_weight": 3.0}, {"pos_weight": 2.0}, {"label_smoothing": 0.1}], ids=str
)
@pytest.mark.parametrize("eps", [1e-7, 0.01, 0.25])
def test_clipping_leaves_other_probabilities_alone(dtype, soft, eps, options):
    """Between the bounds all bits are as without eps; beyond, those of the bound, and a gradient of 0."""
    rng = np.random.default_rng(6)
    low, high = dtype(eps), dtype(1 - eps)
    probs = np.concatenate([[0, 1, low, high, np.nan], rng.random(1500)]).astype(dtype)
    rng.shuffle(probs)
    targets = rng.random(probs.size).astype(dtype) if soft else rng.integers(0, 2, probs.size)
    options = options | {"reduction": "none"}
    losses, grad = value_and_grad_of("bce")(probs, targets, eps=eps, **options)
    expected, expected_grad = value_and_grad_of("bce")(np.clip(probs, low, high), targets, **options)
    assert same_bits(losses, expected)
    assert same_bits(grad, np.where((probs < low) | (probs > high), dtype(0), expected_grad))
    in_place = probs.copy()
    assert same_bits(value_and_grad_of("bce")(in_place, targets, eps=eps, out=in_place, **options)[1], grad)


def test_bounds_of_clipping_are_rounded_once():
    """1 - eps is just below the middle of two float32, and that of eps rounded is the middle."""
    eps = 2.0**-25 * (1 + 2.0**-27)
    loss = loss_of("bce")(np.float32([1]), [0], eps=eps)
    assert loss == pytest.approx(24 * math.log(2), rel=1e-6)


def test_accuracy_of_clipped_probabilities(dtype):
    """Also where they are closer to 0 and 1 than torch's limits allow."""
    rng, eps = np.random.default_rng(7), float(np.finfo(dtype).eps)
    ends = rng.random(400) * np.exp2(-rng.integers(0, 60, 400).astype(float))
    probs, targets = np.concatenate([ends, 1 - ends]).astype(dtype), rng.integers(0, 2, 800)
    results = value_and_grad_of("bce")(probs, targets, eps=eps, reduction="none")
    exact = reference.bce(probs, targets, reference.EXACT, eps=eps, reduction="none")
    for name, actual in zip(("loss", "grad"), results, strict=True):
        assert reference.ulp_error(actual, getattr(exact, name), dtype).max() <= 1, name


# --- numbers anyone can check by hand -----------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_by_hand(dtype, reduction):
    """Even odds: each loss is log 2. Weights 1 and 3, a pos_weight of 5 on the second."""
    log2 = math.log(2)
    expected = {
        "none": ([log2, 15 * log2], [0.5, -7.5]),
        "sum": (16 * log2, [0.5, -7.5]),
        "mean": (8 * log2, [0.25, -3.75]),
        "weighted_mean": (4 * log2, [0.125, -1.875]),
    }[reduction]
    options = {"sample_weight": [1.0, 3.0], "pos_weight": 5.0, "reduction": reduction}
    for name, value, slope in (("bce_with_logits", 0.0, 1.0), ("bce", 0.5, 4.0)):
        loss, grad = value_and_grad_of(name)(np.full(2, value, dtype), [0, 1], **options)
        np.testing.assert_allclose(loss, expected[0], rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(grad, np.multiply(expected[1], slope), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("soft", [False, True])
def test_class_weight_by_hand(dtype, soft):
    """Two classes at even odds. Our mean divides by 2 rows; weighted_mean, torch's, by 1 + 3 for labels."""
    targets = np.eye(2) if soft else np.array([0, 1])
    options = {"class_weight": [1.0, 3.0]}
    divisors = {"none": 1, "sum": 1, "mean": 2, "weighted_mean": 2 if soft else 4}
    for reduction, divisor in divisors.items():
        loss, grad = value_and_grad_of("cross_entropy")(
            np.zeros((2, 2), dtype), targets, reduction=reduction, **options
        )
        losses = np.array([math.log(2), 3 * math.log(2)])
        expected = losses if reduction == "none" else losses.sum() / divisor
        np.testing.assert_allclose(loss, expected, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(grad, np.array([[-0.5, 0.5], [1.5, -1.5]]) / divisor, rtol=1e-6)


# --- denominators -------------------------------------------------------------------------------------------


def nothing_left(function, dtype):
    """Calls in which no element is left in."""
    first, targets = inputs(function, (4, 3), dtype)
    empty = (first[:0], targets[:0])
    yield (*empty, {})
    yield first, targets, {"where": False}
    yield first, targets, {"where": np.zeros((4,) if function == "cross_entropy" else (4, 3), bool)}
    if function == "cross_entropy":
        yield first, np.full(4, -1), {"ignore_index": -1}


@pytest.mark.parametrize(
    ("reduction", "normalizer"),
    [*((name, None) for name in REDUCTIONS), ("mean", 8.0), ("weighted_mean", 8.0)],
)
def test_nothing_left_in(function, dtype, reduction, normalizer):
    for first, targets, options in nothing_left(function, dtype):
        options |= {"reduction": reduction} | ({"normalizer": normalizer} if normalizer else {})
        loss, grad = value_and_grad_of(function)(first, targets, **options)
        alone = loss_of(function)(first, targets, **options)
        assert grad.shape == first.shape
        assert not grad.any()
        for value in (loss, alone):
            if reduction == "none":
                assert value.shape == losses_shape(function, first.shape)
                assert not value.any()
            elif reduction == "sum" or normalizer:
                assert value == 0.0
                assert math.copysign(1, value) == 1
            else:
                assert math.isnan(value)


def test_weights_that_are_all_zero(function, dtype):
    """They count in mean's count, and leave weighted_mean nothing to divide by."""
    first, targets = inputs(function, (4, 3), dtype)
    expected = {"sum": 0.0, "mean": 0.0, "weighted_mean": math.nan}
    for reduction, value in expected.items():
        loss, grad = value_and_grad_of(function)(first, targets, sample_weight=0, reduction=reduction)
        assert loss == value or (math.isnan(loss) and math.isnan(value)), reduction
        assert not grad.any()
    for reduction in ("mean", "weighted_mean"):
        options = {"sample_weight": 0, "reduction": reduction, "normalizer": 2.0}
        loss, grad = value_and_grad_of(function)(first, targets, **options)
        assert loss == 0.0
        assert not grad.any()


def test_weights_that_cancel(function, dtype):
    """Their sum is 0: weighted_mean is nan, its gradient 0; the sum is what it is."""
    first, targets = inputs(function, (4, 3), dtype)
    weight = np.array([1, -1, 2, -2.0]).reshape((4,) if function == "cross_entropy" else (4, 1))
    loss, grad = value_and_grad_of(function)(first, targets, sample_weight=weight, reduction="weighted_mean")
    assert math.isnan(loss)
    assert not grad.any()
    check(function, first, targets, dtype, sample_weight=weight, reduction="sum")


def test_what_counts_in_the_mean(function, dtype):
    """An element of weight 0 counts, one that is left out does not."""
    first, targets = inputs(function, (6,) if function != "cross_entropy" else (6, 3), dtype)
    weight, where = np.ones(6), np.ones(6, bool)
    weight[:2], where[3:] = 0, False
    for reduction, used in itertools.product(("mean", "weighted_mean"), (False, True)):
        options = {"reduction": reduction, "sample_weight": weight} | ({"where": where} if used else {})
        kept = slice(2, 3) if used else slice(2, 6)
        count = {"mean": 3 if used else 6, "weighted_mean": 1 if used else 4}[reduction]
        exact = getattr(reference, function)(first[kept], targets[kept], reduction="sum")
        loss, grad = value_and_grad_of(function)(first, targets, **options)
        assert_close(loss, exact.loss / count, exact.loss_size / count, dtype, options)
        assert_close(grad[kept], exact.grad / count, exact.grad_size / count, dtype, options)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("normalizer", [1, 64, 0.3, np.float32(7.5), np.int64(3)])
def test_normalizer_replaces_the_denominator(function, dtype, reduction, normalizer):
    first, targets = inputs(function, (8, 3), dtype)
    weight = np.linspace(0.5, 2, 8).reshape((8,) if function == "cross_entropy" else (8, 1))
    check(
        function, first, targets, dtype,
        reduction=reduction, normalizer=normalizer, sample_weight=weight,
    )  # fmt: skip


class Reduction(str, enum.Enum):  # noqa: UP042, StrEnum is written as its value
    """As programs have it: equal to its value, but written otherwise."""

    NONE = "none"
    SUM = "sum"
    MEAN = "mean"
    WEIGHTED_MEAN = "weighted_mean"


@pytest.mark.parametrize("reduction", Reduction)
def test_reduction_of_an_enumeration(function, dtype, reduction):
    first, targets = inputs(function, (7, 3), dtype)
    expected = everything(function, first, targets, reduction=reduction.value)
    assert_same_bits(everything(function, first, targets, reduction=reduction), expected)
    assert_same_bits(everything(function, first, targets, reduction=np.str_(reduction.value)), expected)
