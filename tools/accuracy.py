#!/usr/bin/env python3
"""Measure the error of every loss and gradient in ULP, and print the worst with the input that reaches it.

    python tools/accuracy.py               # 16 million float32 inputs and 80,000 float64 ones: 10 seconds
    python tools/accuracy.py --exhaustive  # every float32 logit and probability: 4 minutes on 2 cores

Hard targets. float32 results are compared with the same formulas in float64, whose own error is 2^-29 ULP of
float32; float64 results with mpmath. Needs mpmath and tqdm.
"""

import argparse
import multiprocessing
import os

import mpmath
import numpy as np
from tqdm import tqdm

import fastbce as fb

BLOCK = 1 << 20
FUNCTIONS = {"bce_with_logits": fb.bce_with_logits_value_and_grad, "bce": fb.bce_value_and_grad}
ONE_BITS = 0x3F800000  # of 1.0: the float32 probabilities are the patterns 0 .. ONE_BITS


def exact_f32(name, x, target):
    """Return loss and gradient in float64, by the formulas that do not cancel."""
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if name == "bce_with_logits":
            u = x if target == 0 else -x
            t = np.exp(-np.abs(u))
            loss = np.maximum(u, 0) + np.log1p(t)
            grad = np.where(u >= 0, 1, t) / (1 + t)
        else:
            loss = np.minimum(-(np.log1p(-x) if target == 0 else np.log(x)), 100)
            grad = (x if target == 0 else 1 - x) / np.maximum(x * (1 - x), np.float64(np.float32(1e-12)))
    return loss, grad if target == 0 else -grad


def ulp_f32(actual, exact):
    """Return |actual - exact| in ULP of the float32 next to exact; 0 if both are the same inf or NaN."""
    same = (actual.astype(np.float64) == exact) | (np.isnan(actual) & np.isnan(exact))
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(exact)[1] - 24, -149)
        error = np.abs(actual.astype(np.float64) - exact) / np.ldexp(1.0, exponent)
        overflow = np.isinf(actual) & (np.abs(exact) > np.finfo(np.float32).max)
    return np.where(same | overflow, 0, np.where(np.isnan(error), np.inf, error))


def worst_of_block(task):
    """Return [(worst ULP, input)] of the loss and of the gradient over a block of float32 bit patterns."""
    name, target, start, stop, step = task
    x = np.arange(start, stop, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[~np.isnan(x)]
    if not x.size:
        return task, [(0.0, 0.0)] * 2
    results = FUNCTIONS[name](x, np.uint8(target), reduction="none", num_threads=1)
    worst = []
    for actual, exact in zip(results, exact_f32(name, x, target), strict=True):
        error = ulp_f32(actual, exact)
        at = int(error.argmax())
        worst.append((float(error[at]), float(x[at])))
    return task, worst


def sweep_f32(exhaustive):
    tasks = []
    for name, patterns in (("bce_with_logits", 1 << 32), ("bce", ONE_BITS + 1)):
        step = 1 if exhaustive else patterns >> 22 | 1  # odd: every low bit comes up
        for target in (0, 1):
            for start in range(0, patterns, BLOCK * step):
                tasks.append((name, target, start, min(patterns, start + BLOCK * step), step))
    worst, counts = {}, {}
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for (name, target, start, stop, step), found in tqdm(
            pool.imap_unordered(worst_of_block, tasks), total=len(tasks), unit="block", smoothing=0
        ):
            counts[name, target] = counts.get((name, target), 0) + (stop - start + step - 1) // step
            for result, pair in zip(("loss", "gradient"), found, strict=True):
                key = name, "float32", target, result
                worst[key] = max(worst.get(key, (0.0, 0.0)), pair)
    return {(*key, counts[key[0], key[2]]): pair for key, pair in worst.items()}


def exact_f64(name, x, target):
    x = mpmath.mpf(float(x))
    if name == "bce_with_logits":
        u = x if target == 0 else -x
        loss, grad = mpmath.log1p(mpmath.exp(-abs(u))) + max(u, 0), 1 / (1 + mpmath.exp(-u))
    else:
        loss = -(mpmath.log1p(-x) if target == 0 else mpmath.log(x)) if x != 1 - target else mpmath.mpf(100)
        loss = min(loss, mpmath.mpf(100))
        grad = (x if target == 0 else 1 - x) / max(x * (1 - x), mpmath.mpf(1e-12))
    return loss, grad if target == 0 else -grad


def ulp_f64(actual, exact):
    if not mpmath.isfinite(exact):
        return 0.0 if float(actual) == float(exact) else float("inf")
    exponent = max(mpmath.frexp(exact)[1] - 53, -1074) if exact else -1074
    return float(abs(mpmath.mpf(float(actual)) - exact) / mpmath.mpf(2) ** exponent)


def sweep_f64(samples):
    rng = np.random.default_rng(0)
    logits = [rng.uniform(-3, 3, samples), rng.uniform(-40, 40, samples), rng.uniform(-760, 760, samples)]
    logits += [np.ldexp(rng.uniform(-1, 1, samples), rng.integers(-60, 3, samples))]
    probs = [rng.random(samples), np.ldexp(rng.random(samples), -rng.integers(0, 150, samples))]
    probs += [1 - np.ldexp(rng.random(samples), -rng.integers(0, 53, samples)), [0.0, 1.0]]
    worst = {}
    mpmath.mp.prec = 160
    for name, parts in (("bce_with_logits", logits), ("bce", probs)):
        x = np.concatenate(parts)
        for target in (0, 1):
            results = FUNCTIONS[name](x, np.uint8(target), reduction="none")
            for i in tqdm(range(x.size), unit="input", desc=f"{name} float64", leave=False):
                for result, actual, exact in zip(
                    ("loss", "gradient"), results, exact_f64(name, x[i], target), strict=True
                ):
                    key = name, "float64", target, result, x.size
                    worst[key] = max(worst.get(key, (0.0, 0.0)), (ulp_f64(actual[i], exact), float(x[i])))
    return worst


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exhaustive", action="store_true", help="every float32, not a sample")
    parser.add_argument("--samples", type=int, default=5000, help="float64 inputs an interval (default 5000)")
    args = parser.parse_args()
    fb.show_config()
    worst = sweep_f32(args.exhaustive) | sweep_f64(args.samples)
    print(f"{'function':16s} {'dtype':8s} {'target':>6s} {'result':9s} {'inputs':>13s} {'worst ULP':>9s}  at")
    for (name, dtype, target, result, count), (error, at) in sorted(worst.items()):
        print(f"{name:16s} {dtype:8s} {target:6d} {result:9s} {count:13,d} {error:9.3f}  {at!r}")


if __name__ == "__main__":
    main()
