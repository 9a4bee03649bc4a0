"""What the benchmarks share: parameters, inputs, base classes, and how a short call is timed."""

import abc
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
    """Logits of a shape such as "128x10", samples x classes, and class labels."""
    samples, classes = map(int, shape.split("x"))
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


class Times(Timed, abc.ABC):
    """The times of one loss, `function`, and of its gradient.

    Abstract, so that asv measures its subclasses only.
    """

    function: str
    params = (IMPLEMENTATIONS, DTYPES, SIZES)
    param_names = ("implementation", "dtype", "size")

    @staticmethod
    @abc.abstractmethod
    def inputs(dtype, size):
        """What the loss is called with."""

    def setup(self, implementation, dtype, size):
        self.library = LIBRARIES[implementation]
        self.x, self.y = self.inputs(dtype, size)
        self.grad, self.hess = np.empty_like(self.x), np.empty_like(self.x)
        self.many_calls(self.x.size)

    def time_loss(self, *params):
        call, x, y = getattr(self.library, self.function), self.x, self.y
        for _ in self.calls:
            call(x, y)

    def time_value_and_grad(self, *params):
        call, x, y, grad = getattr(self.library, self.function + "_value_and_grad"), self.x, self.y, self.grad
        for _ in self.calls:
            call(x, y, out=grad)


class TimesWithHessian(Times):
    def time_grad_hess(self, *params):
        call, x, y = getattr(self.library, self.function + "_grad_hess"), self.x, self.y
        grad, hess = self.grad, self.hess
        for _ in self.calls:
            call(x, y, grad_out=grad, hess_out=hess)


class Ratios(abc.ABC):
    """The speed of one loss on one thread beside NumPy's, both measured in turn in one process.

    One thread is what NumPy takes, and waits for no other where other work keeps the cores busy. Measured
    twice, because for asv more of anything is worse: the speed-up is for people, its inverse for
    `make bench-compare`.
    """

    function: str
    params = (("value_and_grad",), DTYPES, SIZES)
    param_names = ("result", "dtype", "size")

    @staticmethod
    @abc.abstractmethod
    def inputs(dtype, size):
        """What the loss is called with."""

    def ratio(self, result, dtype, size):
        """How many times longer NumPy takes."""
        keep_freed_memory()
        x, y = self.inputs(dtype, size)
        names = ("out",) if result == "value_and_grad" else ("grad_out", "hess_out")
        outputs = {name: np.empty_like(x) for name in names}
        calls = [getattr(library, f"{self.function}_{result}") for library in LIBRARIES.values()]
        with fastbce.threads(1):
            ours, numpys = best_times([functools.partial(call, x, y, **outputs) for call in calls])
        return numpys / ours

    def track_speedup_vs_numpy(self, *params):
        return round(self.ratio(*params), 3)

    def track_time_vs_numpy(self, *params):
        return round(1 / self.ratio(*params), 6)

    track_speedup_vs_numpy.unit = track_time_vs_numpy.unit = "x"


def keep_freed_memory():
    """Have the C library keep arrays of up to 32 MB when they are freed.

    By default it gives some back to the system, depending on what came before. NumPy's temporaries then cost
    a page fault for each 4 kB, or do not: twice the time in one process, not in the next. glibc keeps what is
    no larger than the largest array freed so far.
    """
    np.empty(32_000_000, np.uint8)


def best_times(functions, seconds=0.002, patience=30, limit=20.0):
    """The best time of one call of each function, over rounds that take the functions in turn.

    Time is the time this thread had a core, so waiting for one does not count, and whatever else
    the machine does to its caches hits all alike. The rounds end when `patience` of them in a row have found
    nothing faster, or after `limit` seconds.
    """
    now = time.thread_time
    loops, best = [], [math.inf] * len(functions)
    for function in functions:
        function()
        start = now()
        function()
        loops.append(max(1, int(seconds / (now() - start))))
    end, waited = now() + limit, 0
    while waited < patience and now() < end:
        waited += 1
        for i, function in enumerate(functions):
            start = now()
            for _ in range(loops[i]):
                function()
            time_of_one = (now() - start) / loops[i]
            if time_of_one < 0.99 * best[i]:
                waited = 0
            best[i] = min(best[i], time_of_one)
    return best


def ratio_of_times(calls):
    """The time of the first call over that of the second, on one thread."""
    with fastbce.threads(1):
        first, second = best_times(calls)
    return round(first / second, 3)
