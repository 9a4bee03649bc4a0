"""Targets of another number of dimensions broadcast or raise; they never pass for the shape of the logits."""

import itertools

import numpy as np
import pytest
from cases import loss_of, value_and_grad_of

BINARY = ("bce", "bce_with_logits", "sigmoid_focal_loss")

# A shape's strides lie behind it in memory: (2,) of 8-byte elements must not pass for (2, 8).
SHAPES = [(), (2,), (8,), (4,), (2, 8), (2, 4), (8, 2), (1, 8), (2, 1), (2, 8, 8), (2, 8, 1), (2, 2, 8)]


@pytest.mark.parametrize("function", BINARY)
@pytest.mark.parametrize("targets_dtype", [np.uint8, np.float32, np.int64])
def test_targets_of_any_shape(function, dtype, targets_dtype):
    for shape, targets_shape in itertools.product(SHAPES, SHAPES):
        logits = np.linspace(0.1, 0.9, int(np.prod(shape)), dtype=dtype).reshape(shape)
        targets = np.arange(np.prod(targets_shape, dtype=int)).reshape(targets_shape) % 2
        targets = targets.astype(targets_dtype)
        try:
            whole = np.array(np.broadcast_to(targets, shape))
        except ValueError:
            for call in (loss_of(function), value_and_grad_of(function)):
                with pytest.raises(ValueError, match=r"^targets: expected"):
                    call(logits, targets)
            continue
        assert loss_of(function)(logits, targets) == loss_of(function)(logits, whole), (shape, targets_shape)


@pytest.mark.parametrize("function", BINARY)
def test_out_of_any_other_shape(function, dtype):
    for shape, out_shape in itertools.permutations(SHAPES, 2):
        logits, out = np.full(shape, 0.5, dtype), np.full(out_shape, 7, dtype)
        with pytest.raises(ValueError, match=r"^out: expected"):
            value_and_grad_of(function)(logits, np.ones(shape), out=out)
        assert (out == 7).all()
