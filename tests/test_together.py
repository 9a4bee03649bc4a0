"""Cross-entropy of many classes whose axis is not the last one: all threads work on the same rows.

Every bit is that of rows that lie the other way, by one thread.
"""

import numpy as np
import pytest
from cases import same_bits

import fastbce as fb

PIECE = 2048  # classes that are summed at once
MANY = 8 * PIECE  # from so many on, fewer vectors of rows than threads are worked on together
# One piece, of which threads take lanes. Fewer vectors of rows than threads; a vector; a rest of one row,
# of all but one; a last piece of one class, of one vector; pieces that threads share evenly, and that they
# do not. Many rows, for the caches are too small for all classes.
SHAPES = [
    (50, 1311),
    (70, 5008),
    (32, MANY + 1),
    (33, MANY + 16),
    (31, 10_000),
    (40, 20_000),
    (97, MANY),
    (131, 9 * PIECE - 1),
    (1300, 3300),
]
NAMES = [f"{rows}x{classes}" for rows, classes in SHAPES]


@pytest.fixture(params=SHAPES, ids=NAMES)
def shape(request):
    return request.param


@pytest.fixture(params=[np.float32, np.float64])
def logits(request, shape):
    x = np.random.default_rng(0).normal(scale=5, size=shape).astype(request.param)
    x[0, [3, -1]] = x[0].max()  # ties, in different pieces
    x[1, 5] = np.nan
    x[2] = -np.inf
    x[3, -1] = np.inf
    x[4, [7, min(PIECE, shape[1] - 2)]] = np.inf  # no limit exists
    return x


@pytest.fixture
def labels(logits):
    y = np.random.default_rng(1).integers(0, logits.shape[1], len(logits))
    y[:5] = [3, 0, 0, logits.shape[1] - 1, 7]
    return y


def turned(logits):
    return logits.T.copy(order="C")


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 20])
def test_loss_and_gradient(logits, labels, threads):
    x = turned(logits)
    out = np.empty_like(x)
    value, grad = fb.cross_entropy_value_and_grad(logits[5:], labels[5:], num_threads=1)
    rest = x[:, 5:].copy()
    across, rest = fb.cross_entropy_value_and_grad(
        rest, labels[5:], axis=0, out=np.empty_like(rest), num_threads=threads
    )
    assert across == value
    assert same_bits(rest.T, grad)
    losses, grad = fb.cross_entropy_value_and_grad(logits, labels, reduction="none", num_threads=1)
    across, _ = fb.cross_entropy_value_and_grad(
        x, labels, axis=0, reduction="none", out=out, num_threads=threads
    )
    assert same_bits(across, losses)
    assert same_bits(out.T, grad)
    assert same_bits(fb.cross_entropy(x, labels, axis=0, reduction="none", num_threads=threads), losses)


def test_rows_left_out_and_weights(logits, labels):
    x, rng = turned(logits), np.random.default_rng(2)
    labels[[1, 7]] = -100
    options = {
        "sample_weight": rng.random(len(labels)) * (rng.random(len(labels)) < 0.8),
        "class_weight": rng.random(len(x)) * (rng.random(len(x)) < 0.8),
        "where": rng.random(len(labels)) < 0.9,
        "ignore_index": -100,
        "reduction": "none",
    }
    losses, grad = fb.cross_entropy_value_and_grad(logits, labels, **options)
    across, out = fb.cross_entropy_value_and_grad(x, labels, axis=0, out=np.empty_like(x), **options)
    assert same_bits(across, losses)
    assert same_bits(out.T, grad)
    assert np.isfinite(out[:, 1]).all()  # although that row has a NaN
    options["reduction"] = "weighted_mean"
    assert same_bits(
        fb.cross_entropy(x, labels, axis=0, **options), fb.cross_entropy(logits, labels, **options)
    )


@pytest.mark.parametrize("with_grad", [False, True])
def test_probabilities(logits, labels, with_grad):
    x, expected = turned(logits), np.empty_like(logits)
    proba, losses = np.empty_like(x), np.empty(len(labels), logits.dtype)
    function = fb.cross_entropy_value_and_grad if with_grad else fb.cross_entropy
    options = {"out": np.empty_like(x)} if with_grad else {}
    each = fb.cross_entropy(logits, labels, proba_out=expected, reduction="none")
    function(x, labels, axis=0, proba_out=proba, loss_out=losses, **options)
    assert same_bits(proba.T, expected)
    assert same_bits(losses, each)


def test_in_the_place_of_the_logits_and_the_hessian(logits, labels):
    x = turned(logits)
    grad, hess = fb.cross_entropy_grad_hess(logits, labels)
    across = fb.cross_entropy_grad_hess(
        x, labels, axis=0, grad_out=np.empty_like(x), hess_out=np.empty_like(x)
    )
    assert same_bits(across[0].T, grad)
    assert same_bits(across[1].T, hess)
    fb.cross_entropy_value_and_grad(x, labels, axis=0, reduction="none", out=x)
    assert same_bits(x.T, grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [10_000, 20_000])
def test_class_axis_in_the_middle(dtype, classes):
    x = np.random.default_rng(0).normal(size=(2, classes, 100)).astype(dtype)
    y = np.random.default_rng(1).integers(0, classes, (2, 100))
    value, grad = fb.cross_entropy_value_and_grad(np.moveaxis(x, 1, -1).copy(), y)
    out = np.empty((classes, 2, 100), dtype).swapaxes(0, 1)  # rows are neighbours in here that are none in x
    assert fb.cross_entropy_value_and_grad(x, y, axis=1, out=out)[0] == value
    assert same_bits(np.moveaxis(out, 1, -1), grad)


@pytest.mark.parametrize("apart", ["logits", "out"])
def test_too_few_neighbours_in_one_array(apart):
    classes = MANY
    near, far = np.empty((classes, 4, 8), np.float32).swapaxes(0, 1), np.empty((4, classes, 8), np.float32)
    x, out = (far, near) if apart == "logits" else (near, far)
    x[...] = np.random.default_rng(0).normal(size=x.shape)
    y = np.random.default_rng(1).integers(0, classes, (4, 8))
    value, grad = fb.cross_entropy_value_and_grad(np.moveaxis(x, 1, -1).copy(), y)
    assert fb.cross_entropy_value_and_grad(x, y, axis=1, out=out, num_threads=3)[0] == value
    assert same_bits(np.moveaxis(out, 1, -1), grad)


@pytest.mark.parametrize("offset", [0, 1, 15])
def test_wherever_a_cache_line_begins(offset):
    rows, classes = 48, 10_001
    memory = np.empty((2, rows * classes + 64), np.float32)
    first = -memory.ctypes.data % 64 // 4 + offset
    x, out = memory[:, first : first + rows * classes].reshape(2, classes, rows)
    x[...] = np.random.default_rng(0).normal(scale=5, size=x.shape)
    y = np.random.default_rng(1).integers(0, classes, rows)
    memory[1, :first] = memory[1, first + rows * classes :] = 7
    value, grad = fb.cross_entropy_value_and_grad(x.T.copy(), y)
    assert fb.cross_entropy_value_and_grad(x, y, axis=0, out=out)[0] == value
    assert same_bits(out.T, grad)
    assert (memory[1, :first] == 7).all()
    assert (memory[1, first + rows * classes :] == 7).all()


@pytest.mark.slow
def test_more_rows_than_are_worked_on_together():
    rows, classes = 4_096 + 33, 10_000
    x = np.random.default_rng(0).random((classes, rows), np.float32)
    y = np.random.default_rng(1).integers(0, classes, rows)
    losses, out = np.empty(rows, np.float32), np.empty_like(x)
    fb.cross_entropy_value_and_grad(x, y, axis=0, out=out, loss_out=losses, reduction="sum")
    for some in slice(0, 50), slice(2_000, 2_100), slice(rows - 50, rows):
        expected, grad = fb.cross_entropy_value_and_grad(x[:, some].T.copy(), y[some], reduction="none")
        assert same_bits(losses[some], expected)
        assert same_bits(out[:, some].T, grad)
