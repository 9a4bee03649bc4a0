"""Two small learners in NumPy, and the loop that trains them with any loss.

A learner turns features into logits, and the gradient of the logits into that of its parameters. What lies
between the two, the loss and its gradient, is an argument of `train`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# value_and_grad(logits, targets, out=array) -> (loss, gradient): from fastbce or from numpy_losses
ValueAndGrad = Callable[..., tuple[float, Array]]


class Learner(Protocol):
    """What `train` needs to know of a learner."""

    params: list[Array]  # the last one is added to the logits of each sample

    def logits(self, x: Array, out: Array | None = None) -> Array:
        """Compute the logits of the rows of `x`, in `out` if given."""

    def gradients(self, x: Array, grad: Array) -> list[Array]:
        """Turn the gradient of the logits of `x` into one gradient per entry of `params`."""


class Linear:
    """Logistic regression (`classes` None: one logit per sample) or softmax regression."""

    def __init__(self, features: int, classes: int | None = None, dtype: npt.DTypeLike = np.float32) -> None:
        outputs = () if classes is None else (classes,)
        self.params: list[Array] = [np.zeros((features, *outputs), dtype), np.zeros(outputs, dtype)]

    def logits(self, x: Array, out: Array | None = None) -> Array:
        """Compute the logits of the rows of `x`, in `out` if given."""
        weights, bias = self.params
        result: Array = np.matmul(x, weights, out=out)
        result += bias
        return result

    def gradients(self, x: Array, grad: Array) -> list[Array]:
        """Turn the gradient of the logits of `x` into those of the weights and the bias."""
        return [x.T @ grad, grad.sum(axis=0)]


class OneHiddenLayer:
    """A network with one hidden layer of `hidden` tanh units."""

    def __init__(
        self, features: int, hidden: int, classes: int, dtype: npt.DTypeLike = np.float32, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.params: list[Array] = [
            (rng.standard_normal((features, hidden)) / np.sqrt(features)).astype(dtype),
            np.zeros(hidden, dtype),
            (rng.standard_normal((hidden, classes)) / np.sqrt(hidden)).astype(dtype),
            np.zeros(classes, dtype),
        ]

    def logits(self, x: Array, out: Array | None = None) -> Array:
        """Compute the logits of the rows of `x`, in `out` if given."""
        weights_in, bias_in, weights_out, bias_out = self.params
        self._hidden: Array = np.tanh(x @ weights_in + bias_in)  # kept for `gradients`
        result: Array = np.matmul(self._hidden, weights_out, out=out)
        result += bias_out
        return result

    def gradients(self, x: Array, grad: Array) -> list[Array]:
        """Turn the gradient of the logits into those of the parameters; `logits` was last called with `x`."""
        hidden_grad = (grad @ self.params[2].T) * (1 - self._hidden**2)
        return [x.T @ hidden_grad, hidden_grad.sum(axis=0), self._hidden.T @ grad, grad.sum(axis=0)]


def train(
    learner: Learner,
    x: Array,
    targets: Array,
    value_and_grad: ValueAndGrad,
    *,
    epochs: int,
    batch_size: int,
    step: float,
    momentum: float = 0.9,
) -> Iterator[float]:
    """Train by gradient descent with momentum; yield the mean loss of each epoch as it ends.

    The batches are slices of `x`, the same ones in each epoch: the caller has shuffled the rows.
    """
    batch_size = min(batch_size, len(x))
    # Both are made once: value_and_grad writes into `grad`, so a step allocates nothing for its loss.
    logits = np.empty((batch_size, *learner.params[-1].shape), x.dtype)
    grad = np.empty_like(logits)
    velocities = [np.zeros_like(param) for param in learner.params]

    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch_size):
            batch = x[start : start + batch_size]
            batch_targets = targets[start : start + batch_size]
            n = len(batch)
            loss, _ = value_and_grad(learner.logits(batch, out=logits[:n]), batch_targets, out=grad[:n])
            total += loss * n
            gradients = learner.gradients(batch, grad[:n])
            for param, velocity, gradient in zip(learner.params, velocities, gradients, strict=True):
                velocity *= momentum
                velocity -= step * gradient
                param += velocity
        yield total / len(x)
