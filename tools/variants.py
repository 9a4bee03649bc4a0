"""Time options, layouts and dtypes relative to the plain call: ``make variants``.

Each has 4 million logits; loss and gradient are written to arrays that exist. The plain call and one variant
take turns, so that caches hold as much of one as of the other; the ratios are of the fastest calls. On a
machine that does nothing else.
"""

import argparse
import functools
import time

import ml_dtypes
import numpy as np

import fastbce as fb

SIZE = 4_000_000
SHAPES = (400_000, 10), (40_000, 100), (4_000, 1_000), (80, 50_000)


def binary(function, dtype, rng):
    """Yield (name, call) for a binary loss, the plain one first."""
    probabilities = function is fb.bce_value_and_grad

    def inputs(shape, dtype=dtype):
        values = rng.normal(scale=3, size=shape)
        return (1 / (1 + np.exp(-values)) if probabilities else values).astype(dtype)

    x, out = inputs(SIZE), np.empty(SIZE, dtype)
    targets = (rng.random(SIZE) < 0.3).astype(dtype)
    weights = rng.random(SIZE).astype(dtype)

    def call(x=x, targets=targets, out=out, **options):
        return lambda: function(x, targets, out=out, **options)

    yield "plain", call()
    in_place = x.copy()  # from the second call on these are no logits, but numbers as good
    if not probabilities:
        yield "in place", call(x=in_place, out=in_place)
        for gamma in 2.0, 1.5:
            focal = functools.partial(fb.sigmoid_focal_loss_value_and_grad, gamma=gamma, out=out)
            yield f"focal loss, gamma {gamma}", functools.partial(focal, x, targets)
    else:
        yield "eps", call(eps=1e-7)
    yield "sample_weight", call(sample_weight=weights)
    yield "pos_weight", call(pos_weight=3.0)
    yield "where", call(where=weights < 0.9)
    yield "soft targets", call(targets=weights)
    yield "label_smoothing", call(label_smoothing=0.1)
    yield "bool targets", call(targets=targets > 0)
    yield "int64 targets", call(targets=targets.astype(np.int64))
    wide = inputs(2 * SIZE)
    yield "logits[::2]", call(x=wide[::2])
    yield "logits[::-1]", call(x=x[::-1])
    if dtype == np.float32:
        for half in np.float16, ml_dtypes.bfloat16:
            yield (
                np.dtype(half).name,
                call(x=inputs(SIZE, half), targets=targets > 0, out=np.empty(SIZE, half)),
            )


def labels(shape, dtype, rng):
    """Yield (name, call) for a binary loss of rows of labels, the plain one first."""
    rows, columns = shape
    x, out = rng.normal(scale=3, size=shape).astype(dtype), np.empty(shape, dtype)
    targets = (rng.random(shape) < 0.3).astype(dtype)
    of_rows, of_columns = rng.random((rows, 1)).astype(dtype), rng.random(columns).astype(dtype)

    def call(x=x, targets=targets, out=out, **options):
        return lambda: fb.bce_with_logits_value_and_grad(x, targets, out=out, **options)

    yield "plain", call()
    yield "pos_weight of labels", call(pos_weight=of_columns)
    yield "sample_weight of labels", call(sample_weight=of_columns)
    yield "sample_weight of rows", call(sample_weight=of_rows)
    yield "where, of rows", call(where=of_rows < 0.9)
    yield "logits[:, :-1]", call(x=np.pad(x, ((0, 0), (0, 1)))[:, :-1])
    turned, turned_targets = np.asfortranarray(x), np.asfortranarray(targets)
    yield "targets in Fortran order", call(targets=turned_targets)
    yield "inputs in Fortran order", call(x=turned, targets=turned_targets)
    yield "all in Fortran order", call(x=turned, targets=turned_targets, out=np.empty_like(turned))


def softmax(shape, dtype, rng):
    """Yield (name, call) for cross-entropy, the plain one first."""
    rows, classes = shape
    x, out = rng.normal(scale=3, size=shape).astype(dtype), np.empty(shape, dtype)
    labels = rng.integers(0, classes, rows)
    weights = rng.random(rows).astype(dtype)
    soft = rng.random(shape).astype(dtype)
    soft /= soft.sum(axis=1, keepdims=True)

    def call(x=x, targets=labels, out=out, **options):
        return lambda: fb.cross_entropy_value_and_grad(x, targets, out=out, **options)

    yield "plain", call()
    yield "sample_weight", call(sample_weight=weights)
    yield "class_weight", call(class_weight=rng.random(classes))
    yield "where", call(where=weights < 0.9)
    yield "soft targets", call(targets=soft)
    yield "label_smoothing", call(label_smoothing=0.1)
    yield "logits[:, ::2]", call(x=rng.normal(scale=3, size=(rows, 2 * classes)).astype(dtype)[:, ::2])
    yield "logits[:, :-1]", call(x=rng.normal(scale=3, size=(rows, classes + 1)).astype(dtype)[:, :-1])
    turned = np.ascontiguousarray(x.T)
    yield "class axis first", call(x=turned, out=np.empty_like(turned), axis=0)
    if rows > 1000:  # else most of that memory would lie between
        paged, paged_out = np.zeros((2, classes, -(-rows // 1024) * 1024), dtype)[:, :, :rows]
        paged[...] = x.T
        yield "first, 4 KiB multiples", call(x=paged, out=paged_out, axis=0)
    middle = np.ascontiguousarray(x.reshape(-1, 40, classes).swapaxes(1, 2))
    yield (
        "class axis in the middle",
        call(x=middle, targets=labels.reshape(-1, 40), out=np.empty_like(middle), axis=1),
    )
    yield "Fortran order", call(x=np.asfortranarray(x), out=np.empty_like(x, order="F"))
    if dtype == np.float32:
        for half in np.float16, ml_dtypes.bfloat16:
            yield np.dtype(half).name, call(x=x.astype(half), out=np.empty(shape, half))


def times(calls, seconds):
    """Call these in turns; return the shortest time of each."""
    best = [np.inf] * len(calls)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def show(title, calls, seconds):
    """Print the time of the first call, and those of the others relative to it."""
    plain = calls.pop("plain")
    print(f"{title}: {times([plain], seconds)[0] * 1e3:.2f} ms")
    for name, call in calls.items():
        beside, time_taken = times([plain, call], 2 * seconds)
        print(f"    {name:<26}{time_taken / beside:5.2f} x")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="for each call (default: 0.5)")
    parser.add_argument("--dtype", choices=["float32", "float64"], action="append", help="only this one")
    arguments = parser.parse_args()
    for dtype in map(np.dtype, arguments.dtype or ["float32", "float64"]):
        for function in fb.bce_with_logits_value_and_grad, fb.bce_value_and_grad:
            calls = dict(binary(function, dtype, np.random.default_rng(0)))
            show(f"{function.__name__} {dtype}", calls, arguments.seconds)
        for shape in SHAPES[:3]:
            calls = dict(labels(shape, dtype, np.random.default_rng(0)))
            show(f"bce_with_logits_value_and_grad {dtype} {shape}", calls, arguments.seconds)
        for shape in SHAPES:
            calls = dict(softmax(shape, dtype, np.random.default_rng(0)))
            show(f"cross_entropy_value_and_grad {dtype} {shape}", calls, arguments.seconds)


if __name__ == "__main__":
    main()
