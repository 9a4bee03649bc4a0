"""Sweeps: which inputs are measured, in which process, and the worst that was found."""

import math
import multiprocessing
import os
import tempfile
from dataclasses import dataclass, field

import numpy as np
from accuracy_cases import CASES, FORMATS, draw, near, run
from tqdm import tqdm
from worst_inputs import known

from .exact import Exact, compile_into

CHUNK = 1 << 16
ONE_BITS = 0x3F800000  # of 1.0: the float32 probabilities are the patterns 0 .. ONE_BITS
TOP = 3  # of each chunk and result, that later rounds look around
REFINED_CLASSES = 5

_exact = None


def _start(folder):
    global _exact
    _exact = Exact(folder)


@dataclass
class Found:
    """What was measured of one case and dtype: how many inputs, and the worst of them by result."""

    count: int = 0
    top: dict = field(default_factory=dict)  # by result: (error, inputs, where)

    def add(self, count, top):
        self.count += count
        for result, several in top.items():
            self.top[result] = sorted(self.top.get(result, []) + several, key=lambda t: -t[0])[:400]

    def worst(self, result):
        return self.top[result][0]


def _one(inputs, i):
    return tuple(np.array(array[i]) for array in inputs)


def _measure(task):
    """Measure one chunk: drawn, around what came out worst, or float32 bit patterns."""
    name, dtype, kind, size, seed = task[:5]
    case, rng = CASES[name], np.random.default_rng(seed)
    if kind == "draw":
        inputs = draw(case, rng, size, dtype)
    elif kind == "known":
        inputs = task[5]
    elif kind == "near":
        inputs = near(case, rng, task[5], size, dtype)
    else:
        inputs = patterns(case, dtype, *task[5])
    errors = _exact.errors(case, dtype, inputs, run(case, inputs, num_threads=1))
    top = {}
    for result, error in errors.items():
        several = np.argpartition(-error, min(TOP, error.size - 1))[:TOP]
        small = not case.rows or inputs[0].shape[1] <= REFINED_CLASSES
        top[result] = [
            (float(error[i]), _one(inputs, i) if small else None, (kind, size, seed, int(i))) for i in several
        ]
    return name, dtype, inputs[0].size, top


def patterns(case, dtype, start, stop, step):
    """Both hard targets at every step-th pattern of bits that is a number."""
    bits = np.arange(start, stop, step, dtype=np.int64)
    values = (
        bits.astype(np.uint32).view(np.float32)
        if dtype == "float32"
        else bits.astype(np.uint16).view(FORMATS[dtype])
    )
    values = values[~np.isnan(values)]
    return [np.repeat(values, 2), np.tile(np.array([0, 1], np.uint8), values.size)]


def _pattern_tasks(case, dtype, exhaustive):
    last = 0xFFFF if dtype != "float32" else ONE_BITS if case.function == "bce" else 0xFFFFFFFF
    step = 1 if exhaustive or dtype != "float32" else last >> 20 | 1  # odd: every low bit comes up
    reach = CHUNK // 2 * (16 if exhaustive else 1) * step
    for start in range(0, last + 1, reach):
        stop = min(last + 1, start + reach)
        yield case.name, dtype, "patterns", 2 * math.ceil((stop - start) / step), 0, (start, stop, step)


def _is_plain(case):
    return case.name in ("bce_with_logits, hard", "bce, hard")


def _first_tasks(case, dtype, points, exhaustive):
    for inputs in known(case, dtype):
        yield case.name, dtype, "known", len(inputs[0]), 0, inputs
    if not case.rows:
        if _is_plain(case) and dtype != "float64":
            yield from _pattern_tasks(case, dtype, exhaustive)
        if "hard" in case.name and dtype in ("float16", "bfloat16"):
            return
        for seed in range(-(-points // CHUNK)):
            yield case.name, dtype, "draw", min(CHUNK, points), seed
        return
    for classes in case.classes:
        count = max(2, points // len(case.classes) // classes)
        at_once = max(1, CHUNK // 4 // classes)
        for seed in range(-(-count // at_once)):
            yield case.name, dtype, "draw", (min(at_once, count), classes), 1000 * classes + seed


def _later_tasks(case, dtype, found, points, number):
    """Look around the worst of every result, and around some that were the worst of their chunk."""
    if "hard" in case.name and dtype in ("float16", "bfloat16"):
        return
    rng = np.random.default_rng(number)
    groups = {}
    for several in found.top.values():
        kept = [inputs for _, inputs, _ in several if inputs is not None]
        some = rng.choice(len(kept), min(len(kept), 24), replace=False) if kept else []
        for inputs in kept[:24] + [kept[i] for i in some]:
            groups.setdefault(inputs[0].shape, []).append(inputs)
    for shape, several in groups.items():
        centres = [np.array(column) for column in zip(*several, strict=True)]
        size = max(64, min(CHUNK, points) // max(1, math.prod(shape)))
        for seed in range(max(1, points // CHUNK // len(groups))):
            yield case.name, dtype, "near", size, 1_000_000 * number + seed, centres


def sweep(chosen, points, exhaustive, rounds=4):
    """Return by (case, dtype) what was found, and how the exact values were computed.

    `points` gives, for a case, how many inputs are drawn; each later round takes an eighth of that.
    """
    found = {(case.name, dtype): Found() for case, dtype in chosen}
    with tempfile.TemporaryDirectory() as temporary:
        folder = compile_into(temporary)
        context = multiprocessing.get_context("spawn")
        with context.Pool(len(os.sched_getaffinity(0)), _start, (folder,)) as pool:
            for number in range(rounds + 1):
                tasks = []
                for case, dtype in chosen:
                    size = points(case)
                    if folder is None and dtype == "float64":
                        size = min(size, 1000)
                    if number == 0:
                        tasks += _first_tasks(case, dtype, size, exhaustive)
                    else:
                        tasks += _later_tasks(case, dtype, found[case.name, dtype], size // 8, number)
                total = sum(math.prod(np.atleast_1d(task[3]).tolist()) for task in tasks)
                text = "drawing" if number == 0 else f"around the worst, {number} of {rounds}"
                with tqdm(total=total, unit=" values", unit_scale=True, desc=text, smoothing=0) as bar:
                    for name, dtype, count, top in pool.imap_unordered(_measure, tasks):
                        found[name, dtype].add(count, top)
                        bar.update(count)
    return found, folder is not None
