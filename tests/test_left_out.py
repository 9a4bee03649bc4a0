"""Section 4: NaN stays in its row; what is left out, or has no weight, may hold anything at all."""

import itertools
import math

import numpy as np
import pytest
from cases import (
    CLASS_WEIGHT,
    assert_same_bits,
    each,
    everything,
    inputs,
    loss_of,
    losses_shape,
    same_bits,
    value_and_grad_of,
)

import fastbce as fb

INF, NAN = math.inf, math.nan


# --- NaN ----------------------------------------------------------------------------------------------------


def with_nan(function, soft, dtype):
    """Calls in which element or row 5 has a NaN, by the argument that holds it, and the same without."""
    shape = (9, 4) if function == "cross_entropy" else (600,)
    first, targets = inputs(function, shape, dtype, soft=soft)
    elements = losses_shape(function, shape)
    broken = first.copy()
    broken[5 if function != "cross_entropy" else (5, 2)] = NAN
    yield "first", (broken, targets, {}), (first, targets, {})
    if soft:
        broken = targets.copy()
        broken[5 if function != "cross_entropy" else (5, 2)] = NAN
        yield "targets", (first, broken, {}), (first, targets, {})
    weight = np.ones(elements, dtype)
    broken = weight.copy()
    broken[5] = NAN
    yield "sample_weight", (first, targets, {"sample_weight": broken}), (first, targets, {})
    if CLASS_WEIGHT.get(function) == "pos_weight":
        targets = targets.copy()
        targets[5] = 1
        yield "pos_weight", (first, targets, {"pos_weight": broken}), (first, targets, {})
    elif function == "cross_entropy" and not soft:
        targets = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2])
        class_weight = np.ones(4, dtype)
        class_weight[3] = NAN
        yield "class_weight", (first, targets, {"class_weight": class_weight}), (first, targets, {})


def test_nan_stays_in_its_row(function, dtype, soft, lay):
    for name, (first, targets, options), plain in with_nan(function, soft, dtype):
        options = {key: lay(value) for key, value in options.items()}
        results = each(function, lay(first), lay(targets), **options)
        expected = each(function, plain[0], plain[1])
        assert np.isnan(results["losses"][5]), name
        assert np.isnan(results["grad"][5]).all(), name
        for key in ("losses", "grad"):
            assert same_bits(np.delete(results[key], 5, 0), np.delete(expected[key], 5, 0)), (name, key)
        for reduction in ("sum", "mean", "weighted_mean"):
            assert math.isnan(loss_of(function)(lay(first), lay(targets), reduction=reduction, **options)), (
                name
            )


def test_nan_stays_where_a_coefficient_is_zero(dtype, lay):
    """An alpha or a class weight of 0 is no weight of the sample: it leaves nothing out. Infinities go."""
    focal = each("sigmoid_focal_loss", lay(np.array([NAN, INF, -INF], dtype)), np.array([1, 0, 1]), alpha=0.0)
    np.testing.assert_array_equal(focal["losses"], [NAN, INF, 0])
    np.testing.assert_array_equal(focal["grad"], [NAN, 1, 0])
    clipped = each("bce", lay(np.array([NAN, 0, 1], dtype)), np.array([1, 1, 1]), pos_weight=0.0, eps=1e-7)
    np.testing.assert_array_equal(clipped["losses"], [NAN, 0, 0])
    np.testing.assert_array_equal(clipped["grad"], [NAN, 0, 0])
    for n_classes in (2, 300):
        logits = np.zeros((3, n_classes), dtype)
        logits[0, 0], logits[1, 0] = NAN, INF
        class_weight = np.arange(n_classes) != 1
        rows = each("cross_entropy", lay(logits), np.array([1, 1, 1]), class_weight=class_weight)
        np.testing.assert_array_equal(rows["losses"], [NAN, 0, 0])
        assert np.isnan(rows["grad"][0]).all()
        assert not rows["grad"][1:].any()


# --- what is left out ---------------------------------------------------------------------------------------

GARBAGE = {
    "bce": [NAN, INF, -INF, -1.0, 2.0, -1e30],
    "bce_with_logits": [NAN, INF, -INF, 3e38],
    "sigmoid_focal_loss": [NAN, INF, -INF, 3e38],
    "cross_entropy": [NAN, INF, -INF, 3e38],
}
BAD_TARGETS = {
    "hard": np.array([-1, 2, 127, -128, 2**62, -(2**63)]),
    "unsigned": np.array([2, 255, 2**63, 2**64 - 1], np.uint64),
    "float": np.array([-1.0, 7.5, NAN, INF, -INF, 1e300]),
}


def left_out_calls(function, dtype):
    """Pairs of calls that differ only in elements that are left out, or have no weight."""
    shape = (24, 5) if function == "cross_entropy" else (24,)
    first, targets = inputs(function, shape, dtype)
    out = np.arange(24) % 3 == 1
    weight = np.where(out, 0.0, np.linspace(0.5, 2, 24))
    few = np.arange(24) < 17
    ways = [{"where": ~out}, {"sample_weight": weight}, {"sample_weight": weight, "where": few}]
    for value in GARBAGE[function]:
        broken = np.where(out.reshape(out.shape + (1,) * (first.ndim - 1)), dtype(value), first)
        for way in ways:
            yield (first, targets, way), (broken, targets, way)
        if function == "cross_entropy":
            ignored = np.where(out, 77, targets)
            yield (first, ignored, {"ignore_index": 77}), (broken, ignored, {"ignore_index": 77})
    for bad in BAD_TARGETS.values():
        broken = targets.astype(bad.dtype)
        broken[out] = np.resize(bad, out.sum())
        for way in ways:
            yield (first, targets, way), (first, broken, way)
    for value in (NAN, INF, 1e300):
        for rows in (targets.astype(float), np.eye(5)[targets] if function == "cross_entropy" else None):
            if rows is not None:
                broken = np.where(out.reshape(out.shape + (1,) * (rows.ndim - 1)), value, rows)
                yield (first, rows, ways[0]), (first, broken, ways[0])
        if CLASS_WEIGHT.get(function) == "pos_weight":
            power = {"pos_weight": np.where(out, value, 2.5)}
            yield (first, targets, ways[1] | {"pos_weight": 2.5}), (first, targets, ways[1] | power)
    for value in (NAN, INF, -INF):
        broken = np.where(out, value, 1.5)
        yield (
            (first, targets, {"sample_weight": 1.5, "where": ~out}),
            (first, targets, {"sample_weight": broken, "where": ~out}),
        )


def test_any_byte_but_0_is_true(function, dtype):
    """NumPy makes no other, but views of other arrays hold them; targets, too."""
    first, targets = inputs(function, (40, 3), dtype)
    shape = first.shape[: 1 if function == "cross_entropy" else 2]
    where = np.arange(np.prod(shape)).reshape(shape) % 3
    plain, odd = where.astype(bool), where.astype(np.uint8).view(bool)
    for options in ({}, {"sample_weight": np.linspace(1, 2, where.size).reshape(shape)}):
        assert_same_bits(
            each(function, first, targets, where=odd, **options),
            each(function, first, targets, where=plain, **options),
        )
    assert_same_bits(each(function, first, odd), each(function, first, plain))


@pytest.mark.parametrize("n_classes", [2, 10, 300])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_labels_of_what_is_left_out_may_have_any_weight(dtype, lay, n_classes, axis, reduction):
    """n / (C count), which scikit-learn balances classes with, is infinite where a class never occurs."""
    logits, labels = inputs("cross_entropy", (40, n_classes), dtype)
    left_out = np.arange(40) % 3 == 1
    labels = np.where(left_out, 0, labels % (n_classes - 1) + 1)
    weights = np.linspace(0.5, 2, n_classes)
    logits = np.ascontiguousarray(np.moveaxis(logits, 1, axis))
    ways = [{"ignore_index": 0}, {"where": ~left_out}, {"sample_weight": np.where(left_out, 0, 1.5)}]
    for value, way in itertools.product((INF, -INF, NAN), ways):
        broken = weights.copy()
        broken[0] = value
        options = way | {"axis": axis, "reduction": reduction}
        expected = everything("cross_entropy", logits, labels, class_weight=weights, **options)
        results = everything("cross_entropy", lay(logits), labels, class_weight=broken, **options)
        assert_same_bits(results, expected)
        _, hess = fb.cross_entropy_grad_hess(logits, labels, class_weight=broken, axis=axis, **way)
        assert not np.moveaxis(hess, axis, 1)[left_out].any()


@pytest.mark.parametrize("elements", [5, 100_000])
def test_what_is_left_out_where_weights_add_up_to_nan(function, dtype, elements):
    shape = (elements, 3) if function == "cross_entropy" else (elements,)
    first, targets = inputs(function, shape, dtype)
    weight, where = np.ones(elements), np.ones(elements, bool)
    weight[:2], where[3] = [NAN, 0], False
    for options in ({"where": where}, {"where": where, "out": first.copy()}, {"where": True}):
        options = {"sample_weight": weight, "reduction": "weighted_mean"} | options
        loss, grad = value_and_grad_of(function)(options.get("out", first), targets, **options)
        assert math.isnan(loss)
        kept = np.isnan(grad.reshape(elements, -1)).all(axis=1)
        np.testing.assert_array_equal(kept, (weight != 0) & options["where"])
        assert not grad[~kept].any()


@pytest.mark.parametrize("elements", [5, 1000])
@pytest.mark.parametrize("eps", [0.25, 1e-40])  # with bounds that are ordinary, and not
def test_nan_stays_where_a_probability_is_clipped(dtype, elements, eps):
    """A gradient of 0 is what clipping makes of a number."""
    probs, targets = np.full(elements, 0.5, dtype), np.ones(elements)
    probs[:2] = 0, 1 if eps == 0.25 else 0
    for argument in ("targets", "sample_weight", "pos_weight"):
        broken = np.ones(elements)
        broken[:3] = NAN
        options = {"targets": targets} | {argument: broken}
        loss, grad = fb.bce_value_and_grad(probs, eps=eps, reduction="none", **options)
        np.testing.assert_array_equal(np.isnan(loss), np.arange(elements) < 3)
        np.testing.assert_array_equal(np.isnan(grad), np.arange(elements) < 3)
    for weight in (1.0, INF):
        weights = np.where(np.arange(elements) < 2, weight, 1.0)
        for reduction in ("none", "weighted_mean"):
            options = {"sample_weight": weights, "eps": eps, "reduction": reduction}
            assert not fb.bce_value_and_grad(probs, targets, **options)[1][:2].any()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_what_is_left_out_may_hold_anything(function, dtype, lay, reduction):
    left_out = np.arange(24) % 3 == 1
    for plain, broken in left_out_calls(function, dtype):
        first, targets, options = broken
        options = {name: lay(value) if np.ndim(value) else value for name, value in options.items()}
        results = everything(function, lay(first), lay(targets), reduction=reduction, **options)
        expected = everything(function, plain[0], plain[1], reduction=reduction, **plain[2])
        # Probabilities are those of the garbage.
        results.pop("proba", None), expected.pop("proba", None)
        assert_same_bits(results, expected)
        assert not results["grad"][left_out].any()
        assert not results["losses"][left_out].any()
        assert not np.signbit(results["losses"][left_out]).any()


def test_probabilities_of_what_is_left_out(dtype, lay):
    first = np.array([NAN, INF, -INF, 0.0, 1.0], dtype)
    proba = np.empty(5, dtype)
    loss_of("bce_with_logits")(lay(first), np.zeros(5), where=False, proba_out=proba)
    np.testing.assert_allclose(proba, [NAN, 1, 0, 0.5, 1 / (1 + math.exp(-1))], rtol=4 * np.finfo(dtype).eps)
    rows, proba = np.array([[NAN, 0], [INF, 0], [0, -INF], [2, 2]], dtype), np.empty((4, 2), dtype)
    loss_of("cross_entropy")(lay(rows), np.full(4, 9), where=False, proba_out=proba)
    np.testing.assert_array_equal(proba, [[NAN, NAN], [1, 0], [1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("n_classes", [10, 300])  # tiles of rows; and along the row
@pytest.mark.parametrize("kept", [range(1, 50, 2), range(3, 50, 7), [49], range(40)], ids=str)
def test_rows_beside_those_left_out(dtype, soft, n_classes, kept):
    """Each has the bits that it has where nothing is left out; in place of the logits, too."""
    logits, targets = inputs("cross_entropy", (50, n_classes), dtype, soft=soft)
    logits *= np.linspace(1, 9, 50)[:, None]  # so that maxima differ
    where = np.isin(np.arange(50), kept)
    expected = each("cross_entropy", logits, targets)
    results = each("cross_entropy", logits, targets, where=where)
    value, grad = fb.cross_entropy_value_and_grad(logits, targets, where=where, reduction="none", out=logits)
    assert same_bits(value, results["losses"])
    assert same_bits(grad, results["grad"])
    for key in ("losses", "grad"):
        assert same_bits(results[key][where], expected[key][where]), key
        assert not results[key][~where].any(), key


@pytest.mark.parametrize("option", ["sample_weight", "where"])
def test_a_large_array_with_weights_is_summed_as_a_smaller_one(dtype, option):
    """Beyond 2 MB of logits, blocks are shorter."""
    n = 2**21 // np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=30, size=n + 32).astype(
        dtype
    )  # losses of all sizes, so that their sum is rounded
    targets = rng.random(n + 32)
    weights = (rng.random(n + 32) < 0.5).astype(dtype)
    weights[n:] = 0
    weights = weights if option == "sample_weight" else weights > 0
    loss = loss_of("bce_with_logits")
    large = loss(logits, targets, reduction="sum", **{option: weights})
    assert large == loss(logits[:n], targets[:n], reduction="sum", **{option: weights[:n]})


# --- a weight of 1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_weights_of_1_change_no_bit(function, dtype, soft, smoothing):
    if function == "sigmoid_focal_loss":
        pytest.skip("has no label_smoothing")
    shape = (90, 4) if function == "cross_entropy" else (600,)
    first, targets = inputs(function, shape, dtype, soft=soft)
    plain = each(function, first, targets, label_smoothing=smoothing)
    weights = np.ones(losses_shape(function, shape), dtype)
    all_options = [{"sample_weight": weights}, {"where": weights > 0}]
    if function != "cross_entropy":
        all_options.append({"pos_weight": 1.0})
    elif not (soft or smoothing):  # whose targets are added in another order
        all_options.append({"class_weight": np.ones(4, dtype)})
    for options in all_options:
        assert_same_bits(each(function, first, targets, label_smoothing=smoothing, **options), plain)


@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
def test_weights_of_1_change_no_bit_beside_a_pos_weight(function, dtype, soft):
    first, targets = inputs(function, (600,), dtype, soft=soft)
    targets = targets.astype(dtype)
    targets[::50] = -0.0
    balanced = each(function, first, targets, pos_weight=2.7)
    assert_same_bits(each(function, first, targets, pos_weight=2.7, sample_weight=1.0), balanced)
