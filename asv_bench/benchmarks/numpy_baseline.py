"""The losses as a good NumPy user writes them: stable, vectorised, no temporary more than it takes.

They take what the benchmarks need (hard targets, labels, the mean over all elements) and nothing else.
"""

import numpy as np


def bce(probs, targets):
    return -np.mean(targets * np.log(probs) + (1 - targets) * np.log1p(-probs))


def bce_value_and_grad(probs, targets, *, out=None):
    value = bce(probs, targets)
    grad = np.subtract(probs, targets, out=out)
    grad /= np.maximum(probs * (1 - probs), 1e-12)
    grad /= probs.size
    return value, grad


def bce_with_logits(logits, targets):
    t = np.exp(-np.abs(logits))
    return np.mean(np.maximum(logits, 0) - logits * targets + np.log1p(t))


def bce_with_logits_value_and_grad(logits, targets, *, out=None):
    t = np.exp(-np.abs(logits))
    value = np.mean(np.maximum(logits, 0) - logits * targets + np.log1p(t))
    grad = np.divide(np.where(logits >= 0, 1, t), 1 + t, out=out)
    grad -= targets
    grad /= logits.size
    return value, grad


def bce_with_logits_grad_hess(logits, targets, *, grad_out=None, hess_out=None):
    t = np.exp(-np.abs(logits))
    grad = np.divide(np.where(logits >= 0, 1, t), 1 + t, out=grad_out)
    grad -= targets
    hess = np.divide(t, np.square(1 + t), out=hess_out)
    return grad, hess


def sigmoid_focal_loss(logits, targets):
    return np.mean(_focal_parts(logits, targets)[0])


def sigmoid_focal_loss_value_and_grad(logits, targets, *, out=None):
    loss, weight, softplus, miss = _focal_parts(logits, targets)
    grad = np.multiply(2 * (1 - miss), softplus, out=out)
    grad += miss
    grad *= weight
    grad *= 1 - 2 * targets
    grad /= logits.size
    return np.mean(loss), grad


def _focal_parts(logits, targets):
    """For hard targets, alpha 0.25 and gamma 2: losses, weights, softplus and sigmoid of the wrong class."""
    z = np.where(targets, -logits, logits)
    t = np.exp(-np.abs(z))
    softplus = np.maximum(z, 0) + np.log1p(t)
    miss = np.where(z >= 0, 1, t) / (1 + t)
    weight = (0.75 - 0.5 * targets) * np.square(miss)
    return weight * softplus, weight, softplus, miss


def cross_entropy(logits, labels):
    largest = logits.max(axis=1)
    total = np.exp(logits - largest[:, None]).sum(axis=1)
    return np.mean(np.log(total) + largest - logits[np.arange(len(labels)), labels])


def cross_entropy_value_and_grad(logits, labels, *, out=None):
    samples = np.arange(len(labels))
    largest = logits.max(axis=1)
    grad = np.subtract(logits, largest[:, None], out=out)
    value = -grad[samples, labels]
    np.exp(grad, out=grad)
    total = grad.sum(axis=1)
    value += np.log(total)
    grad /= total[:, None]
    grad[samples, labels] -= 1
    grad /= len(labels)
    return np.mean(value), grad


def cross_entropy_grad_hess(logits, labels, *, grad_out=None, hess_out=None):
    grad = np.subtract(logits, logits.max(axis=1)[:, None], out=grad_out)
    np.exp(grad, out=grad)
    grad /= grad.sum(axis=1)[:, None]
    hess = np.subtract(1, grad, out=hess_out)
    hess *= grad
    grad[np.arange(len(labels)), labels] -= 1
    return grad, hess
