"""How far sums and means of many elements are from the exact ones."""

import math

import numpy as np
import reference

import fastbce as fb

BOUNDS = {"float32": 0.01, "float64": 2.0}  # in ULP of this dtype


def _draws(rng, size, dtype):
    """Losses of one size, of every size, and one that is large beside all others: (what, logits, targets)."""
    yield "±20", rng.uniform(-20, 20, size).astype(dtype), rng.integers(0, 2, size).astype(np.uint8)
    wide = np.exp2(rng.uniform(0, 43, size)) * rng.choice([-1, 1], size)
    yield "losses 10⁻¹³ to 10¹³", wide.clip(-30, None).astype(dtype), np.zeros(size, np.uint8)
    tiny = rng.uniform(-12, -8, size).astype(dtype)
    tiny[size // 3] = 2.0**60 if dtype == "float64" else 2.0**30
    yield "one of 2⁶⁰ (2³⁰) among tiny ones", tiny, np.zeros(size, np.uint8)


def exact_sum(values):
    """math.fsum, piece by piece."""
    return math.fsum(
        v for start in range(0, values.size, 1 << 16) for v in values[start : start + (1 << 16)].tolist()
    )


def measure(size):
    """Yield (dtype, what was summed, result, ULP)."""
    for dtype in BOUNDS:
        for where, x, y in _draws(np.random.default_rng(size), size, dtype):
            losses = np.empty_like(x)
            total = fb.bce_with_logits(x, y, reduction="sum", loss_out=losses)
            mean = fb.bce_with_logits(x, y)
            exact = exact_sum(losses)
            for result, actual, expected in (("sum", total, exact), ("mean", mean, exact / size)):
                unit = reference.ulp(np.asarray(expected), np.dtype(dtype))
                yield dtype, where, result, float(abs(actual - expected) / unit)
