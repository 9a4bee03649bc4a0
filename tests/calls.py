"""A fixed set of calls whose results are compared between instruction sets, each in a process of its own.

``python calls.py FILE`` writes all results to FILE.
"""

import contextlib
import sys

import numpy as np
from cases import SMOOTHED, WITH_HESSIAN, everything, grad_hess_of, inputs

SHAPES = [(1,), (7,), (16,), (31,), (513,), (33, 3), (41, 10), (7, 145), (3, 1000), (2000, 2), (20_011,)]


def awkward_logits(function, dtype):
    """What is close to where formulas change, results that are subnormal, infinities."""
    wide = 110 if dtype == np.float32 else 750
    rng = np.random.default_rng(11)
    info = np.finfo(dtype)

    def powers(least, most, size):
        """Spread as exponentials are. Made without exp: NumPy's differs between CPUs by a last bit."""
        return np.ldexp(rng.uniform(1, 2, size), rng.integers(least, most, size))

    if function == "bce":
        near = powers(info.minexp - info.nmant, 0, 3000)
        parts = [np.linspace(0, 1, 3001), near, 1 - powers(-info.nmant, 0, 3000), [0, 1]]
    else:
        huge = powers(-100, 100, 500)
        parts = [rng.uniform(-wide, wide, 9000), rng.uniform(-3, 3, 3000), huge, -huge, [0, np.inf, -np.inf]]
        parts.append([info.max, -info.max, info.tiny, info.smallest_subnormal, -0.0])
    return np.concatenate([np.asarray(part, dtype) for part in parts])


def half_dtypes():
    yield np.dtype(np.float16)
    with contextlib.suppress(ImportError):
        from ml_dtypes import bfloat16

        yield np.dtype(bfloat16)


def half_calls():
    """All numbers of each half dtype, as probabilities or logits, and as soft targets and weights."""
    for half in half_dtypes():
        with np.errstate(invalid="ignore"):
            values = np.arange(2**16).astype(np.uint16).view(half).astype(np.float32)
            fractions = values[(values >= 0) & (values <= 1)]
            for function in ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
                first = fractions if function == "bce" else values
                targets, weights = np.resize(fractions, first.shape), np.resize(fractions[::-1], first.shape)
                if function == "cross_entropy":
                    first = np.stack([first, np.zeros_like(first), first / 2], axis=1)
                    targets = (np.arange(len(first)) % 3).astype(half)
                arrays = first.astype(half), targets.astype(half)
                options = {"sample_weight": weights.astype(half), "reduction": "none"}
                yield f"{function}-{half.name}", function, *arrays, options


def calls():
    """Name, function, first argument, targets, options."""
    yield from half_calls()
    for function in ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
        for dtype in (np.float32, np.float64):
            for soft in (False, True):
                for shape in SHAPES:
                    if function == "cross_entropy" and len(shape) == 1:
                        continue
                    first, targets = inputs(function, shape, dtype, soft=soft)
                    name = f"{function}-{dtype.__name__}-{'soft' if soft else 'hard'}-{shape}"
                    yield name, function, first, targets, {"reduction": "sum"}
                    if function in SMOOTHED:
                        yield name + "-smooth", function, first, targets, {"label_smoothing": 0.1}
                    else:
                        yield name + "-gamma", function, first, targets, {"gamma": 1.7, "alpha": -1.0}
                    yield name + "-strided", function, first[::-1], targets[::-1], {"sample_weight": 0.3}
            first = awkward_logits(function, dtype)
            for target in (0, 1):
                rows, targets = first, np.full(first.size, target)
                if function == "cross_entropy":
                    rows = np.stack([first, np.zeros_like(first), first / 2], axis=1)
                name = f"{function}-{dtype.__name__}-awkward-{target}"
                yield name, function, rows, targets, {"reduction": "none"}
    rng = np.random.default_rng(12)
    for dtype in (np.float32, np.float64):  # gradients that are 0, of either sign
        for n_classes in (1, 2, 3, 150):
            rows = rng.choice(np.array([0, 1e30, -1e30], dtype), (400, n_classes))
            targets = rng.integers(-1, 2, rows.shape).astype(dtype)
            name = f"cross_entropy-{dtype.__name__}-negative-{n_classes}"
            yield name, "cross_entropy", rows, targets, {"reduction": "none"}


def stored(value):
    """As a dtype that np.load knows, which bfloat16 is not."""
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype.kind == "V" else value


def results():
    """Everything each call returns, by name."""
    for name, function, first, targets, options in calls():
        for part, value in everything(function, first, targets, **options).items():
            yield f"{name}-{part}", stored(value)
        if function in WITH_HESSIAN and "reduction" not in options:
            for part, value in zip(
                ("grad", "hess"), grad_hess_of(function)(first, targets, **options), strict=True
            ):
                yield f"{name}-grad_hess-{part}", stored(value)


if __name__ == "__main__":
    np.savez(sys.argv[1], **dict(results()))
