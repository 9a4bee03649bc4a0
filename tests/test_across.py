"""Cross-entropy where the class axis is not the last one: rows are used as they lie.

Every bit is that of rows that lie the other way.
"""

import numpy as np
import pytest

import fastbce as fb

# Fewer rows than a vector, a vector, a rest; classes around the limit of few, around a piece.
SHAPES = [
    (1, 5),
    (15, 7),
    (16, 145),
    (20, 8192),
    (20, 8195),
    (33, 1000),
    (40, 10),
    (70, 2),
    (80, 300),
    (130, 144),
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


def test_class_axis_in_the_middle():
    x = (
        np.random.default_rng(0).normal(size=(3, 37, 50)).astype(np.float32)
    )  # whole vectors and a rest, thrice
    y = np.random.default_rng(1).integers(0, 37, (3, 50))
    value, grad = fb.cross_entropy_value_and_grad(np.moveaxis(x, 1, -1).copy(), y)
    across, out = fb.cross_entropy_value_and_grad(x, y, axis=1, out=np.empty_like(x))
    assert across == value
    assert same(np.moveaxis(out, 1, -1), grad)


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
