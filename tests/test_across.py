"""Cross-entropy where the class axis is not the last one: rows are used as they lie.

Every bit is that of rows that lie the other way.
"""

import numpy as np
import pytest

import fastbce as fb

# Fewer rows than a vector, a vector, a rest, a small one; classes around the limit of few, around a piece;
# many rows, taken one vector at a time; so many that a second-level cache holds few of them.
SHAPES = [
    (1, 5),
    (15, 7),
    (16, 145),
    (20, 2048),
    (20, 2051),
    (33, 1000),
    (40, 10),
    (70, 2),
    (80, 300),
    (130, 144),
    (300, 70),
    (275, 300),
    (1030, 600),
    (2100, 300),
]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=[np.float32, np.float64])
def logits(request, shape):
    x = np.random.default_rng(0).normal(scale=5, size=shape).astype(request.param)
    x[0, :2] = x[0].max()  # ties
    if len(x) > 20:
        x[17, 1] = np.nan
        x[18] = -np.inf
        x[19, 0] = np.inf
    return x


def labels(logits):
    return np.random.default_rng(1).integers(0, logits.shape[1], len(logits))


def turned(logits):
    return logits.T.copy(order="C")  # also where it would be contiguous: it is written to


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient(logits, weighted):
    y, x = labels(logits), turned(logits)
    weights = np.random.default_rng(2).random(len(logits)) if weighted else None
    value, grad = fb.cross_entropy_value_and_grad(logits, y, sample_weight=weights)
    out = np.empty_like(x)
    across, _ = fb.cross_entropy_value_and_grad(x, y, axis=0, sample_weight=weights, out=out)
    assert same(across, value)
    assert same(out.T, grad)
    assert same(fb.cross_entropy(x, y, axis=0, sample_weight=weights), value)
    overwritten, proba = x.copy(), np.empty_like(x)  # with probabilities, rows are not copied
    fb.cross_entropy_value_and_grad(
        overwritten, y, axis=0, sample_weight=weights, out=overwritten, proba_out=proba
    )
    assert same(overwritten.T, grad)
    assert fb.cross_entropy_value_and_grad(x, y, axis=0, sample_weight=weights, out=x)[1] is x
    assert same(x.T, grad)


def test_losses_and_probabilities(logits):
    y, x = labels(logits), turned(logits)
    losses, proba = np.empty((2, len(logits)), logits.dtype), np.empty_like(x)
    expected = np.empty_like(logits)
    fb.cross_entropy(logits, y, loss_out=losses[0], proba_out=expected)
    fb.cross_entropy(x, y, axis=0, loss_out=losses[1], proba_out=proba)
    assert same(losses[0], losses[1])
    assert same(proba.T, expected)


def test_hessian(logits):
    y, x = labels(logits), turned(logits)
    expected = fb.cross_entropy_grad_hess(logits, y)
    found = fb.cross_entropy_grad_hess(x, y, axis=0, grad_out=np.empty_like(x), hess_out=np.empty_like(x))
    for a, b in zip(found, expected, strict=True):
        assert same(a.T, b)


@pytest.mark.parametrize("shape", [(3, 37, 50), (5, 300, 40), (3, 300, 20)], ids=str)  # vectors and a rest
@pytest.mark.parametrize("in_place", [False, True])
def test_class_axis_in_the_middle(shape, in_place):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y = np.random.default_rng(1).integers(0, shape[1], (shape[0], shape[2]))
    weights = np.random.default_rng(2).random(y.shape)
    value, grad = fb.cross_entropy_value_and_grad(np.moveaxis(x, 1, -1).copy(), y, sample_weight=weights)
    across, out = fb.cross_entropy_value_and_grad(
        x, y, axis=1, sample_weight=weights, out=x if in_place else np.empty_like(x)
    )
    assert across == value
    assert same(np.moveaxis(out, 1, -1), grad)


# Rows in copies, where the caches have room for these (kernel_hashes.c copies on every machine): of runs that
# are one group, or whose last rows fill no vector; that threads divide, whose first rows lie before a cache
# line; of which there are more than a thread takes at once; that come from memory, whose classes lie whole
# pages apart.
COPIED = [(3, 145, 45), (5, 300, 70), (9, 160, 17), (3, 150, 1024), (1, 333, 530), (40, 145, 40)]
COPIED += [(1, 400, 12288), (2, 512, 5120)]


@pytest.mark.parametrize("shape", COPIED, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_copies(shape, dtype, threads):
    rng = np.random.default_rng(0)
    x = rng.normal(scale=5, size=shape).astype(dtype)
    y = rng.integers(0, shape[1], (shape[0], shape[2]))
    x[0, :2, 3] = x[0, :, 3].max()
    x[-1, 0, -1], x[-1, 1, -2], x[0, :, 1] = np.nan, np.inf, -np.inf
    options = {"where": rng.random(y.shape) < 0.9, "class_weight": rng.random(shape[1])}
    y[~options["where"]] = -7  # what is left out may be wrong
    losses = np.empty((2, *y.shape), dtype)
    _, expected = fb.cross_entropy_value_and_grad(
        np.moveaxis(x, 1, -1).copy(), y, loss_out=losses[0], num_threads=threads, **options
    )
    for out in np.full_like(x, 7), x:
        losses[1] = 7
        _, found = fb.cross_entropy_value_and_grad(
            x, y, axis=1, out=out, loss_out=losses[1], num_threads=threads, **options
        )
        assert same(np.moveaxis(found, 1, -1), expected)
        assert same(losses[0], losses[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1, 4, 15])
@pytest.mark.parametrize("threads", [1, 2])
def test_wherever_a_cache_line_begins(dtype, offset, threads):
    rows, classes = 1024, 300  # each class begins at the same place of a line
    memory = np.empty((2, rows * classes + 64), dtype)
    first = -memory.ctypes.data % 64 // memory.itemsize + offset
    x, out = memory[:, first : first + rows * classes].reshape(2, classes, rows)
    x[...] = np.random.default_rng(0).normal(scale=5, size=x.shape)
    y = np.random.default_rng(1).integers(0, classes, rows)
    losses = np.empty((2, rows), dtype)
    value, grad = fb.cross_entropy_value_and_grad(x.T.copy(), y, loss_out=losses[0])
    across, _ = fb.cross_entropy_value_and_grad(
        x, y, axis=0, out=out, loss_out=losses[1], num_threads=threads
    )
    losses_alone = np.empty(rows, dtype)  # without a gradient, rows are not copied
    assert fb.cross_entropy(x, y, axis=0, loss_out=losses_alone, num_threads=threads) == value
    assert same(losses_alone, losses[0])
    assert across == value
    assert same(out.T, grad)
    assert same(losses[0], losses[1])
    y[3] = classes
    with pytest.raises(IndexError, match="position 3"):
        fb.cross_entropy(x, y, axis=0, num_threads=threads)


def test_a_class_axis_without_length_in_memory():
    x = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None], (20, 3))  # strides (4, 0)
    y = np.arange(20) % 3
    assert fb.cross_entropy(x, y) == fb.cross_entropy(x.copy(), y)


def test_the_first_wrong_label_is_named():
    x = np.zeros((5, 40), np.float32)
    y = np.zeros(40, int)
    y[[17, 39]] = 5
    with pytest.raises(IndexError, match="position 17"):
        fb.cross_entropy(x, y, axis=0)
