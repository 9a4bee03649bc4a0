"""The losses in plain NumPy, written with care: stable for any logit, no more temporaries than needed.

They take the same arguments as fastbce's functions of the same name, so a learner trains with either.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bce_with_logits_value_and_grad(
    logits: Array, targets: Array, *, pos_weight: float | None = None, out: Array
) -> tuple[float, Array]:
    """Mean binary cross-entropy of `logits`, and its gradient in `out`."""
    exp = np.exp(-np.abs(logits))  # of a negative number, so it cannot overflow
    softplus = np.log1p(exp)
    np.divide(np.where(logits >= 0, 1, exp), 1 + exp, out=out)  # the sigmoid
    if pos_weight is None:
        loss = softplus + np.maximum(logits, 0) - logits * targets
        out -= targets
    else:
        weight = 1 + (pos_weight - 1) * targets  # pos_weight where the target is 1, else 1
        loss = (1 - targets) * logits + weight * (softplus + np.maximum(-logits, 0))
        out *= weight
        out -= pos_weight * targets
    out /= logits.size
    return float(loss.mean()), out


def cross_entropy_value_and_grad(logits: Array, labels: Array, *, out: Array) -> tuple[float, Array]:
    """Mean softmax cross-entropy of `logits`, one row per sample, and its gradient in `out`."""
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)  # so that exp cannot overflow
    np.exp(shifted, out=out)
    total = out.sum(axis=1, keepdims=True)
    loss = np.log(total[:, 0]) - shifted[rows, labels]
    out /= total
    out[rows, labels] -= 1
    out /= len(logits)
    return float(loss.mean()), out
