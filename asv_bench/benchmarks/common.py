"""What the benchmarks share: parameters, inputs, and how a short call is timed."""

import functools
import math
import time

import numpy as np

import fastbce

from . import numpy_baseline

LIBRARIES = {"fastbce": fastbce, "numpy": numpy_baseline}
IMPLEMENTATIONS = tuple(LIBRARIES)
DTYPES = ("float32", "float64")
SIZES = (32, 1_000, 100_000, 4_000_000)  # call overhead, first cache, last cache, memory
SHAPES = ("32x2", "128x10", "4096x10", "4096x1000")  # samples x classes

# asv calls `setup` before every sample: inputs are made once per process.
cached = functools.lru_cache(maxsize=None)


def parse_shape(shape):
    return tuple(map(int, shape.split("x")))


@cached
def binary_logits(dtype, size):
    """Logits, and hard targets of the same dtype."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal(size) * 3).astype(dtype), (rng.random(size) < 0.4).astype(dtype)


@cached
def binary_probs(dtype, size):
    """Probabilities, and hard targets of the same dtype."""
    rng = np.random.default_rng(0)
    return rng.uniform(1e-6, 1 - 1e-6, size).astype(dtype), (rng.random(size) < 0.4).astype(dtype)


@cached
def class_logits(dtype, shape):
    """Logits of shape (samples, classes), and class labels."""
    samples, classes = parse_shape(shape)
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((samples, classes)) * 3).astype(dtype)
    return logits, rng.integers(0, classes, samples)


class Timed:
    """Base of the `time_*` benchmarks: what asv reports is the time of one call, however short.

    With a `setup`, asv times single calls, and one of 100 ns drowns in the reading of the clock. A benchmark
    here makes `self.calls` calls instead, and reads a clock that runs slower by as much.
    """

    repeat = (5, 30, 1.0)
    warmup_time = 0.05

    def many_calls(self, elements):
        count = max(1, min(2_000, 100_000 // elements))
        self.calls = range(count)
        self.timer = lambda: time.perf_counter() / count


def best_times(functions, rounds=9, seconds=0.004):
    """The best time of one call of each function, over rounds that take the functions in turn.

    Whatever else the machine does hits all of them alike, so their ratio is steadier than their times.
    """
    loops, best = [], [math.inf] * len(functions)
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        loops.append(max(1, int(seconds / (time.perf_counter() - start))))
    for _ in range(rounds):
        for i, function in enumerate(functions):
            time.sleep(0.001)  # idle threads of the last call stop spinning
            function()
            start = time.perf_counter()
            for _ in range(loops[i]):
                function()
            best[i] = min(best[i], (time.perf_counter() - start) / loops[i])
    return best


def speedup_vs_numpy(call):
    """How many times faster `call(library)` is with fastbce than with the NumPy baseline, in this process."""
    ours, numpys = best_times([functools.partial(call, fastbce), functools.partial(call, numpy_baseline)])
    return round(numpys / ours, 3)
