"""Cross-entropy of a few rows whose classes alternate in memory: a class axis that is not the last one.

Every bit is that of rows that lie one after the other, by one thread.
"""

import numpy as np
import pytest
from cases import same_bits

import fastbce as fb

# Runs of so many neighbours: threads divide the runs, or the classes of one run, or of each. No rest of
# classes, one of a single class, of all but one; several pieces, the last of one class; as many rows as
# there may be.
SHAPES = [
    (40, 160, 7),
    (9, 1025, 23),
    (3, 1039, 16),
    (1, 30_000, 5),
    (3, 40_961, 2),
    (2, 9_000, 24),
    (1, 16_385, 4),
]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=[np.float32, np.float64])
def logits(request, shape):
    x = np.random.default_rng(0).normal(scale=5, size=shape).astype(request.param)
    x[0, [3, -1], 0] = x[0, :, 0].max()  # ties
    x[-1, 5, 1] = np.nan
    x[-1, -1, 2 if shape[2] > 2 else 0] = np.inf
    x[0, :, -1] = -np.inf  # no limit exists
    return x


@pytest.fixture
def labels(logits):
    runs, classes, rows = logits.shape
    y = np.random.default_rng(1).integers(0, classes, (runs, rows))
    y[0, 0], y[-1, 0] = classes - 1, 0
    return y


@pytest.fixture(params=[False, True], ids=["plain", "options"])
def options(request, logits, labels):
    if not request.param:
        return {}
    rng = np.random.default_rng(2)
    where = rng.random(labels.shape) < 0.9
    labels[~where] = -7  # what is left out may be wrong
    weights = rng.random(labels.shape) * (rng.random(labels.shape) < 0.8)
    return {"where": where, "sample_weight": weights, "class_weight": rng.random(logits.shape[1])}


def along(x):
    return np.moveaxis(x, 1, -1).copy()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_loss_and_gradient(logits, labels, options, threads):
    losses = np.empty((2, *labels.shape), logits.dtype)
    value, grad = fb.cross_entropy_value_and_grad(
        along(logits), labels, loss_out=losses[0], num_threads=1, **options
    )
    found, out = fb.cross_entropy_value_and_grad(
        logits, labels, axis=1, loss_out=losses[1], num_threads=threads, **options
    )
    assert same_bits(found, value)
    assert same_bits(along(out), grad)
    assert same_bits(losses[1], losses[0])
    alone = fb.cross_entropy(logits, labels, axis=1, reduction="none", num_threads=threads, **options)
    assert same_bits(alone, losses[0])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_mean(shape, dtype, threads):
    """Of finite losses: those of the other tests are NaN together."""
    x = np.random.default_rng(0).normal(scale=5, size=shape).astype(dtype)
    y = np.random.default_rng(1).integers(0, shape[1], (shape[0], shape[2]))
    value = fb.cross_entropy(along(x), y, num_threads=1)
    assert np.isfinite(value)
    assert fb.cross_entropy(x, y, axis=1, num_threads=threads) == value
    assert fb.cross_entropy_value_and_grad(x, y, axis=1, num_threads=threads)[0] == value


@pytest.mark.parametrize("with_grad", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_probabilities(logits, labels, options, with_grad, threads):
    function = fb.cross_entropy_value_and_grad if with_grad else fb.cross_entropy
    expected, proba = np.empty_like(along(logits)), np.empty_like(logits)
    fb.cross_entropy(along(logits), labels, proba_out=expected, **options)
    function(logits, labels, axis=1, proba_out=proba, num_threads=threads, **options)
    assert same_bits(along(proba), expected)


def test_in_the_place_of_the_logits_and_the_hessian(logits, labels):
    expected = fb.cross_entropy_grad_hess(along(logits), labels)
    for found, right in zip(fb.cross_entropy_grad_hess(logits, labels, axis=1), expected, strict=True):
        assert same_bits(along(found), right)
    fb.cross_entropy_value_and_grad(logits, labels, axis=1, reduction="sum", out=logits)
    assert same_bits(along(logits), expected[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_is_written_beside_the_results(logits, labels, threads):
    memory = np.full((2, logits.size + 64), 7, logits.dtype)
    out, proba = memory[:, 32:-32].reshape(2, *logits.shape)
    fb.cross_entropy_value_and_grad(logits, labels, axis=1, out=out, proba_out=proba, num_threads=threads)
    assert (memory[:, :32] == 7).all()
    assert (memory[:, -32:] == 7).all()


def test_results_that_lie_another_way(logits, labels):
    _, grad = fb.cross_entropy_value_and_grad(along(logits), labels)
    runs, classes, rows = logits.shape
    wide = np.empty((runs, classes, rows + 1), logits.dtype)
    for out in wide[:, :, 1:], np.empty((classes, runs, rows), logits.dtype).swapaxes(0, 1):
        fb.cross_entropy_value_and_grad(logits, labels, axis=1, out=out)
        assert same_bits(along(out), grad)
    wide[:, :, 1:] = logits
    assert same_bits(along(fb.cross_entropy_value_and_grad(wide[:, :, 1:], labels, axis=1)[1]), grad)


def test_the_first_wrong_label_is_named(logits, labels):
    labels[-1, 1] = labels[-1, -1] = logits.shape[1]
    with pytest.raises(IndexError, match=rf"position \({len(labels) - 1}, 1\)"):
        fb.cross_entropy(logits, labels, axis=1)
