"""The largest error on a fixed sample, in ULP of the exact result, of elements of hard targets or labels.

Results in float32 are judged by float64, those in float64 by long double where it has 64 bits or more. The
formulas add terms of one sign only, so that the reference is good to a few of its own ULP. tools/accuracy.py
looks closer, and for the worst input.
"""

import numpy as np

import fastbce

from . import common

WIDER = {"float32": np.float64, "float64": np.longdouble}
SIZE = 200_000


def spread_logits(dtype):
    """From tiny to saturated, evenly in the exponent; and hard targets."""
    rng = np.random.default_rng(0)
    x = np.exp2(rng.uniform(-20, 6, SIZE)) * rng.choice([-1, 1], SIZE)
    return x.astype(dtype), rng.integers(0, 2, SIZE)


def spread_probs(dtype):
    """From 2⁻³⁰ to 1 - 2⁻²⁴, evenly in the exponents of p and 1 - p; and hard targets."""
    rng = np.random.default_rng(0)
    p = np.exp2(rng.uniform(-30, -1, SIZE))
    p = np.where(rng.random(SIZE) < 0.5, p, 1 - np.maximum(p, 2.0**-24))
    return p.astype(dtype), rng.integers(0, 2, SIZE)


def spread_rows(dtype):
    """Rows of 10 logits, from almost equal to far apart; and labels."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-20, 20, (SIZE // 10, 10)) * np.exp2(rng.uniform(-12, 0, (SIZE // 10, 1)))
    return x.astype(dtype), rng.integers(0, 10, len(x))


def exact_bce(p, y):
    """Loss and gradient. `miss` is the probability of the other class."""
    hit, miss = np.where(y, p, 1 - p), np.where(y, 1 - p, p)
    loss = np.where(miss < 0.5, -np.log1p(-miss), -np.log(hit))
    return loss, np.where(y, -1, 1) / hit


def turned(x, y):
    """The logit of the wrong class, its softplus, its sigmoid, and the sign that turns the gradient back."""
    sign = np.where(y, -1, 1)
    z = sign * x
    t = np.exp(-abs(z))
    return z, np.maximum(z, 0) + np.log1p(t), np.where(z >= 0, 1, t) / (1 + t), t, sign


def exact_bce_with_logits(x, y):
    _, softplus, sigmoid, _, sign = turned(x, y)
    return softplus, sign * sigmoid


def exact_sigmoid_focal_loss(x, y):
    z, softplus, sigmoid, t, sign = turned(x, y)
    weight = np.where(y, 0.25, 0.75) * sigmoid**2
    hit = np.where(z >= 0, t, 1) / (1 + t)
    return weight * softplus, sign * weight * (2 * hit * softplus + sigmoid)


def exact_cross_entropy(x, y):
    rows = np.arange(len(y))
    top = x.argmax(axis=1)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    others = e.copy()
    others[rows, top] = 0
    loss = (x[rows, top] - x[rows, y]) + np.log1p(others.sum(axis=1))
    grad = e / e.sum(axis=1, keepdims=True)
    grad[rows, y] = 0
    grad[rows, y] = -grad.sum(axis=1)  # not p - 1, which cancels
    return loss, grad


CASES = {
    "bce": (spread_probs, exact_bce),
    "bce_with_logits": (spread_logits, exact_bce_with_logits),
    "sigmoid_focal_loss": (spread_logits, exact_sigmoid_focal_loss),
    "cross_entropy": (spread_rows, exact_cross_entropy),
}


def max_ulp(actual, exact):
    """The largest error of `actual`, in units of the last place that `exact` has in its dtype."""
    info = np.finfo(actual.dtype)
    exponent = np.maximum(np.frexp(exact)[1] - 1, info.minexp)
    ulp = np.ldexp(exact.dtype.type(1), exponent - info.nmant)
    return float((abs(actual - exact) / ulp).max())


class Accuracy:
    params = (tuple(CASES), ("loss", "gradient"), common.DTYPES)
    param_names = ("loss", "result", "dtype")

    def setup(self, loss, result, dtype):
        if np.finfo(WIDER[dtype]).nmant < np.finfo(dtype).nmant + 10:
            raise NotImplementedError(f"no float here is wide enough to judge {dtype}")

    def track_max_ulp(self, loss, result, dtype):
        inputs, exact = CASES[loss]
        x, y = inputs(dtype)
        results = getattr(fastbce, loss + "_value_and_grad")(x, y, reduction="none")
        expected = exact(x.astype(WIDER[dtype]), y)
        which = 0 if result == "loss" else 1
        return max_ulp(results[which], expected[which])

    track_max_ulp.unit = "ULP"
