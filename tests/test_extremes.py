"""Weights and denominators at the ends of what a dtype holds: finite numbers give no NaN, nothing is lost."""

import itertools
import math

import numpy as np
import pytest
from cases import inputs, same_bits, value_and_grad_of

import fastbce as fb

NAN, INF = float("nan"), float("inf")
X = {
    "bce": [0.0, 1e-30, 1e-13, 9.5e-13, 1e-10, 0.1, 0.5, 0.7, 0.9, 1 - 1e-7, 1.0],
    "bce_with_logits": [0.0, 1e-3, 0.5, -1.5, 7.0, -10.0, -41.0, 50.0, -50.0, -1000.0, 1000.0],
}


def pos_weights(dtype):
    largest = float(np.finfo(dtype).max)
    return [1e3, largest * 1e-12, largest / 10, largest * 0.98, largest]


def crossed(function, weights, dtype):
    """Each first argument with each weight, as two arrays."""
    return (np.array(column, dtype) for column in zip(*itertools.product(X[function], weights), strict=True))


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize(
    ("function", "options"), [("bce", {}), ("bce", {"eps": 1e-7}), ("bce_with_logits", {})]
)
def test_an_element_does_not_depend_on_the_one_beside_it(function, options, dtype, y):
    """Targets that are all hard, and numbers that are all ordinary, are computed by shorter formulas."""
    call = value_and_grad_of(function)
    for x, weight in zip(*crossed(function, [*pos_weights(dtype), NAN, INF], dtype), strict=True):
        alone = call(np.array([x]), [y], pos_weight=[weight], reduction="none", **options)
        assert np.isfinite(weight) or y == 1 or np.isnan(alone[0])
        for other_x, other_y in [(0.25, 0.5), (0.25, 1), (0.0, 1), (1.0, 0.5)]:
            first = np.array([x, other_x], dtype)
            both = call(first, [y, other_y], pos_weight=[weight, 1], reduction="none", **options)
            for one, two in zip(alone, both, strict=True):
                np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("weight", [None, 3.0, INF, NAN])
def test_a_probability_of_1_does_not_depend_on_what_is_beside_it(weight, y):
    """As above, in a block in which all others are far from 0 and 1, or not: float32 knows the difference."""
    options = {} if weight is None else {"pos_weight": weight}
    p, targets = np.full(512, 0.7, np.float32), np.ones(512)
    p[5], targets[5] = 1, y
    loss, grad = fb.bce_value_and_grad(p, targets, reduction="none", **options)
    p[9] = 0
    other_loss, other_grad = fb.bce_value_and_grad(p, targets, reduction="none", **options)
    np.testing.assert_array_equal([loss[5], grad[5]], [other_loss[5], other_grad[5]])


@pytest.mark.parametrize("weight", [None, 0.7])
@pytest.mark.parametrize("beside", [(0.25, 0.5), (43.0, 0.0), (0.25, -0.0)])
def test_logits_do_not_depend_on_what_is_beside_them(dtype, beside, weight):
    """As above, in blocks: beside a soft target, a large logit, a target -0."""
    rng = np.random.default_rng(0)
    size = 100_000
    x = rng.normal(size=size) * 10.0 ** rng.uniform(-9, 1, size)
    x = np.clip(x, -42, 42).astype(dtype)
    y = rng.integers(0, 2, size).astype(dtype)
    x[:4], y[:4] = [0.0, -0.0, 0.0, -0.0], [0, 0, 1, 1]
    other_x, other_y = x.copy(), y.copy()
    other_x[::100], other_y[::100] = beside
    same = np.arange(size) % 100 != 0
    options = {} if weight is None else {"sample_weight": weight}
    loss, grad = fb.bce_with_logits_value_and_grad(x, y, reduction="none", **options)
    _, hess = fb.bce_with_logits_grad_hess(x, y, **options)
    other_loss, other_grad = fb.bce_with_logits_value_and_grad(other_x, other_y, reduction="none", **options)
    other_both = fb.bce_with_logits_grad_hess(other_x, other_y, **options)
    for one, other in [(loss, other_loss), (grad, other_grad), (grad, other_both[0]), (hess, other_both[1])]:
        assert same_bits(one[same], other[same])


@pytest.mark.parametrize("y", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
def test_finite_numbers_give_no_nan(function, dtype, y):
    """However large a pos_weight is: beyond the largest number is infinity."""
    x, weight = crossed(function, pos_weights(dtype), dtype)
    results = list(value_and_grad_of(function)(x, y, pos_weight=weight, reduction="none"))
    if function == "bce_with_logits":
        results += fb.bce_with_logits_grad_hess(x, y, pos_weight=weight)
    for result in results:
        assert not np.isnan(result).any()


def test_a_term_beyond_all_numbers(dtype):
    largest = float(np.finfo(dtype).max)
    logits = np.array([-10, -1.5], dtype)
    assert fb.bce_with_logits(logits, 1, pos_weight=largest, reduction="none").tolist() == [INF, INF]
    loss, grad = fb.bce_value_and_grad(np.array([0, 0.9], dtype), 1, pos_weight=largest, reduction="none")
    assert loss[0] == INF
    assert grad.tolist() == [-INF, -INF]


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        ([[1.7e308, 0, 0]], {}),
        ([[1, 0, 0]], {"class_weight": [1.7e308, 1, 1]}),
        ([0], {"class_weight": [1.7e308, 1, 1], "label_smoothing": 1e-300}),
    ],
)
def test_a_loss_of_soft_targets_just_below_the_largest_number(targets, options):
    """Steps between go beyond it."""
    loss = fb.cross_entropy([[0, -0.0943, -0.0943]], targets, reduction="none", **options)
    np.testing.assert_allclose(loss / 1.7e308, math.log1p(2 * math.exp(-0.0943)), rtol=1e-15)


def test_a_weight_beyond_float32_and_a_negative_target():
    logits = np.array([[2, 0, 1]], np.float32)
    _, grad = fb.cross_entropy_value_and_grad(logits, [[1, -1, 0.5]], sample_weight=[1e39])
    assert grad[0, 1] == INF


def test_what_is_left_out_is_0_where_the_rest_overflows(function, dtype):
    normalizer = 1e-39 if dtype == np.float32 else 1e-310
    first, targets = inputs(function, (4, 3), dtype)
    first[1, 1] = first[0, 0]
    kept = (
        np.array([True, False, True, True])
        if function == "cross_entropy"
        else np.arange(12).reshape(4, 3) % 3 > 0
    )
    _, grad = value_and_grad_of(function)(first, targets, where=kept, normalizer=normalizer)
    _, plain = value_and_grad_of(function)(first, targets, where=kept, reduction="sum")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(grad, (plain / np.float64(normalizer)).astype(dtype))
    assert not grad[~kept].any()


def test_a_large_denominator_takes_no_bits():
    """In float32 its inverse is a subnormal number, of few bits."""
    first, targets = inputs("bce_with_logits", (1000,), np.float32)
    _, grad = fb.bce_with_logits_value_and_grad(
        first, targets, sample_weight=2.0**127, normalizer=3 * 2.0**145
    )
    _, plain = fb.bce_with_logits_value_and_grad(first, targets, reduction="none")
    np.testing.assert_array_equal(grad, (plain / np.float64(3 * 2**18)).astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("output", [None, np.float16, np.float32, np.float64, "first"])
def test_what_is_divided_at_the_end_goes_where_it_should(function, dtype, order, output):
    """Whatever the dtype and the memory of the gradient, and beside all that a call may have."""
    given = np.float16 if output == np.float16 else dtype
    first, targets = inputs(function, (40, 3), given)
    kept = np.arange(40) % 3 > 0
    options = {"where": kept if function == "cross_entropy" else kept[:, None], "num_threads": 2}
    if function != "sigmoid_focal_loss":
        options["label_smoothing"] = 0.1
    weight = np.random.default_rng(1).random(targets.shape)
    computed = np.float64 if given == np.float64 else np.float32
    loss, grad = value_and_grad_of(function)(
        first.astype(computed), targets, sample_weight=weight, normalizer=500, **options
    )
    first = np.array(first, order=order)
    out = first if output == "first" else output and np.empty(first.shape, output, order=order)
    factor = 1e305 if computed == np.float64 else 1e36  # 500 times this has an inverse that is subnormal
    value, divided = value_and_grad_of(function)(
        first, targets, sample_weight=weight * factor, normalizer=500 * factor, out=out, **options
    )
    assert output is None or divided is out
    rough = {np.float16: 2e-3, np.float32: 1e-5}.get(
        divided.dtype.type, 1e-5 if computed == np.float32 else 1e-14
    )
    np.testing.assert_allclose(value, loss, rtol=1e-5 if computed == np.float32 else 1e-14)
    np.testing.assert_allclose(
        divided.astype(computed), grad, rtol=rough, atol=6e-8 if output == np.float16 else 0
    )


def test_weights_that_float32_holds_as_subnormal_numbers(function):
    """A mean weighted by them is known as well as they are."""
    first, targets = inputs(function, (40, 3), np.float32)
    weight = np.float32(np.random.default_rng(1).integers(1, 9, targets.shape) * 1e-41)
    options = {"sample_weight": weight, "reduction": "weighted_mean"}
    loss, grad = value_and_grad_of(function)(first, targets, **options)
    expected = value_and_grad_of(function)(first.astype(np.float64), targets, **options)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-3)
    np.testing.assert_allclose(grad, expected[1], atol=1e-5)
