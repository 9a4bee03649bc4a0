"""Inputs, and calls that return everything a loss can: what the test files have in common."""

import numpy as np

import fastbce as fb

WITH_LOGITS = ("bce_with_logits", "sigmoid_focal_loss", "cross_entropy")
WITH_HESSIAN = ("bce_with_logits", "cross_entropy")
SMOOTHED = ("bce", "bce_with_logits", "cross_entropy")  # those that take label_smoothing
# The option that weighs the classes, where it is an array.
CLASS_WEIGHT = {"bce": "pos_weight", "bce_with_logits": "pos_weight", "cross_entropy": "class_weight"}


def inputs(function, shape, dtype, *, soft=False, seed=0, axis=-1):
    """The first argument and the targets of a call, in C order; `axis` is that of the classes."""
    rng = np.random.default_rng(seed)
    if function == "bce":
        first = rng.uniform(0.001, 0.999, shape)
    else:
        first = rng.normal(scale=4, size=shape)
    if function != "cross_entropy":
        targets = rng.random(shape) if soft else rng.integers(0, 2, shape)
    elif soft:
        rows = rng.dirichlet(np.ones(shape[axis]), size=losses_shape(function, shape, axis))
        targets = np.ascontiguousarray(np.moveaxis(rows, -1, axis))
    else:
        targets = rng.integers(0, shape[axis], losses_shape(function, shape, axis))
    return first.astype(dtype), targets.astype(dtype) if soft else targets


def loss_of(function):
    return getattr(fb, function)


def value_and_grad_of(function):
    return getattr(fb, function + "_value_and_grad")


def grad_hess_of(function):
    return getattr(fb, function + "_grad_hess")


def losses_shape(function, shape, axis=-1):
    """The shape of what reduction="none" returns."""
    if function != "cross_entropy":
        return tuple(shape)
    axis %= len(shape)
    return (*shape[:axis], *shape[axis + 1 :])


def everything(function, first, targets, *, shape=None, dtype=None, **options):
    """All results of one call, by name: loss, grad, what loss_out and proba_out receive."""
    shape = np.shape(first) if shape is None else shape
    dtype = np.asarray(first).dtype.newbyteorder("=") if dtype is None else dtype
    results = {"losses": np.full(losses_shape(function, shape, options.get("axis", -1)), 77, dtype)}
    outputs = {"loss_out": results["losses"]}
    if function in WITH_LOGITS:
        outputs["proba_out"] = results["proba"] = np.full(shape, 77, dtype)
    loss, grad = value_and_grad_of(function)(first, targets, **outputs, **options)
    return results | {"loss": loss, "grad": grad}


def each(function, first, targets, **options):
    """Losses, gradients and probabilities of every element; the losses are the same without gradients."""
    results = everything(function, first, targets, reduction="none", **options)
    alone = loss_of(function)(first, targets, reduction="none", **options)
    assert same_bits(alone, results["losses"])
    return results


def same_bits(actual, expected):
    """Whether two arrays or floats are the same bit by bit, but for the payload and sign of a NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return False
    both_nan = np.isnan(actual) & np.isnan(expected)
    return bool(np.all(both_nan | ((actual == expected) & (np.signbit(actual) == np.signbit(expected)))))


def assert_same_bits(actual, expected):
    """The same for the dictionaries that `everything` returns."""
    assert actual.keys() == expected.keys()
    for name in expected:
        assert same_bits(actual[name], expected[name]), (
            f"{name} differs:\n{actual[name]!r}\n{expected[name]!r}"
        )
