"""Cross-entropy of rows between which other numbers lie, as those of logits[:, :-1] of (batch, time, class).

Every bit is that of rows that follow each other, and what lies between is left as it was.
"""

import numpy as np
import pytest
from cases import (
    assert_same_bits,
    everything,
    grad_hess_of,
    inputs,
    losses_shape,
    same_bits,
    value_and_grad_of,
)

# Few classes and many: rows that are turned on their side or not, whole vectors of rows or not, one chunk or
# several, one thread or two; and rows of which several are worked on at a time.
CLASSES = [2, 3, 10, 100, 144, 145, 1000, 1100]
BETWEEN = 1234.5


def a_column_more(shape):
    return (*shape[:-1], shape[-1] + 1), (..., slice(None, -1))


def columns_before(shape):
    return (*shape[:-1], shape[-1] + 16), (..., slice(16, None))


def every_other_row(shape):
    return (*shape[:-2], 2 * shape[-2], shape[-1]), (..., slice(None, None, 2), slice(None))


def last_row_first(shape):
    return shape, (..., slice(None, None, -1), slice(None))


def a_step_more(shape):
    return (*shape[:-2], shape[-2] + 1, shape[-1]), (..., slice(None, -1), slice(None))


def one_by_one(shape):
    return shape, ...


LAYOUTS = [a_column_more, columns_before, every_other_row, last_row_first, a_step_more]


class Apart:
    """An array in that layout, and all of the memory it lies in."""

    def __init__(self, layout, shape, dtype):
        large, part = layout(shape)
        self.memory = np.full(large, BETWEEN, dtype)
        self.array = self.memory[part]
        is_between = np.ones(large, bool)
        is_between[part] = False
        self.is_between = is_between

    def holding(self, values):
        self.array[...] = values
        return self.array

    def is_kept(self):
        return bool((self.memory[self.is_between] == BETWEEN).all())


@pytest.fixture(params=CLASSES)
def shape(request):
    return (3, 70 if request.param < 145 else 33, request.param)


def assert_as_together(logits, targets, layouts, **options):
    """Whether a call with arrays in these layouts, by name, returns what it does with contiguous ones."""
    expected = everything("cross_entropy", logits, targets, **options)
    arrays = {
        name: Apart(layouts.get(name, one_by_one), logits.shape, logits.dtype)
        for name in ("x", "t", "grad", "proba")
    }
    losses = np.empty(losses_shape("cross_entropy", logits.shape), logits.dtype)
    loss, grad = value_and_grad_of("cross_entropy")(
        arrays["x"].holding(logits),
        arrays["t"].holding(targets) if targets.ndim == logits.ndim else targets,
        out=arrays["grad"].array,
        proba_out=arrays["proba"].array,
        loss_out=losses,
        **options,
    )
    found = {"loss": loss, "grad": grad, "losses": losses, "proba": arrays["proba"].array}
    assert_same_bits(found, expected)
    assert all(array.is_kept() for array in arrays.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["labels", "smoothed", "soft"])
@pytest.mark.parametrize("finite", [True, False], ids=["finite", "not finite"])
def test_every_array(dtype, shape, layout, kind, finite):
    logits, targets = inputs("cross_entropy", shape, dtype, soft=kind == "soft")
    if not finite:
        logits[0, 1, -1] = np.nan
        logits[0, 2] = -np.inf
    options = {"sample_weight": np.random.default_rng(1).integers(0, 3, shape[:-1])}
    if kind == "smoothed":
        options["label_smoothing"] = 0.1
    assert_as_together(logits, targets, dict.fromkeys(("x", "t", "grad", "proba"), layout), **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("apart", ["x", "grad", "proba"])
def test_one_array(dtype, layout, threads, apart):
    """So that runs of rows begin and end at other places than in others."""
    logits, labels = inputs("cross_entropy", (40, 9, 300), dtype)
    assert_as_together(logits, labels, {apart: layout}, num_threads=threads)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hessian(dtype, shape, layout):
    logits, labels = inputs("cross_entropy", shape, dtype)
    expected = grad_hess_of("cross_entropy")(logits, labels)
    x, grad, hess = (Apart(layout, shape, dtype) for _ in range(3))
    grad_hess_of("cross_entropy")(x.holding(logits), labels, grad_out=grad.array, hess_out=hess.array)
    assert same_bits(grad.array, expected[0])
    assert same_bits(hess.array, expected[1])
    assert x.is_kept()
    assert grad.is_kept()
    assert hess.is_kept()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_overwritten(dtype, shape, layout):
    logits, labels = inputs("cross_entropy", shape, dtype)
    expected = value_and_grad_of("cross_entropy")(logits, labels)
    x = Apart(layout, shape, dtype)
    loss, _ = value_and_grad_of("cross_entropy")(x.holding(logits), labels, out=x.array)
    assert loss == expected[0]
    assert same_bits(x.array, expected[1])
    assert x.is_kept()


@pytest.mark.parametrize("layout", [one_by_one, *LAYOUTS])
def test_soft_targets_overwritten(dtype, shape, layout):
    logits, targets = inputs("cross_entropy", shape, dtype, soft=True)
    expected = value_and_grad_of("cross_entropy")(logits, targets)
    x, t = Apart(layout, shape, dtype), Apart(layout, shape, dtype)
    loss, _ = value_and_grad_of("cross_entropy")(x.holding(logits), t.holding(targets), out=t.array)
    assert loss == expected[0]
    assert same_bits(t.array, expected[1])
    assert t.is_kept()


def test_one_row_for_all(dtype, shape):
    logits, labels = inputs("cross_entropy", shape, dtype)
    same = np.broadcast_to(logits[0, 0], shape)
    assert_same_bits(
        everything("cross_entropy", same, labels), everything("cross_entropy", same.copy(), labels)
    )


def test_a_row_that_threads_share(dtype):
    shape = (2, 40_000)
    logits, labels = inputs("cross_entropy", shape, dtype)
    expected = everything("cross_entropy", logits, labels, num_threads=1)
    x, grad = Apart(a_column_more, shape, dtype), Apart(a_column_more, shape, dtype)
    found = value_and_grad_of("cross_entropy")(x.holding(logits), labels, out=grad.array, num_threads=3)
    assert found[0] == expected["loss"]
    assert same_bits(grad.array, expected["grad"])
    assert grad.is_kept()


def every_other(x):
    wide = np.full((len(x), 2 * x.shape[1]), 99, x.dtype)
    wide[:, ::2] = x
    return wide[:, ::2]


def every_third(x):
    wide = np.full((len(x), 3 * x.shape[1]), 99, x.dtype)
    wide[:, ::3] = x
    return wide[:, ::3]


# Logits that are used as they lie have no need to be brought; what lies where is known of the first two.
BROUGHT = {
    "every other": every_other,
    "float16": lambda x: x.astype(np.float16),
    "every third": every_third,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "float16 with a class more": lambda x: np.pad(x.astype(np.float16), [(0, 0), (0, 1)])[:, :-1],
}


@pytest.mark.parametrize("brought", BROUGHT.values(), ids=BROUGHT.keys())
@pytest.mark.parametrize("kind", ["labels", "smoothed", "soft", "weighted"])
@pytest.mark.parametrize("shape", [(137, 301), (40, 5000), (3, 20_000)], ids=str)  # chunks, parts, pieces
def test_rows_brought_part_by_part(dtype, brought, kind, shape):
    """With ignored rows between: logits are used only after they were brought."""
    logits, targets = inputs("cross_entropy", shape, dtype, soft=kind in ("soft", "weighted"))
    strided = brought(np.rint(logits))
    plain = np.ascontiguousarray(strided, np.float32 if strided.dtype == np.float16 else dtype)
    options = {"where": np.arange(shape[0]) % 4 != 1, "num_threads": 1}
    if kind == "smoothed":
        options["label_smoothing"] = 0.1
    if kind == "weighted":
        options["class_weight"] = np.random.default_rng(1).integers(0, 3, shape[1])
    losses = np.empty((2, shape[0]), plain.dtype)
    grads = np.empty((2, *shape), plain.dtype)
    for x, loss, grad in zip((plain, strided), losses, grads, strict=True):
        value_and_grad_of("cross_entropy")(x, targets, loss_out=loss, out=grad, **options)
    assert same_bits(losses[1], losses[0])
    assert same_bits(grads[1], grads[0])
