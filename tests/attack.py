"""What test_attack.py runs in a process of its own: arrays beside pages that nobody may access.

``python attack.py edges`` puts arrays of many lengths, in many layouts, between such pages.
``python attack.py mutate SECONDS`` lets another process write into the arrays while they are read.
Both print JSON. The system ends a process that reads or writes outside an array here.
"""

import contextlib
import ctypes
import json
import mmap
import os
import signal
import sys
import time
from collections import Counter
from itertools import cycle

import ml_dtypes
import numpy as np
from cases import SMOOTHED, WITH_HESSIAN, WITH_LOGITS, inputs, losses_shape, same_bits
from layouts import backwards, field_of_records, fortran, rows_apart, swapped, with_gaps
from numpy.lib.array_utils import byte_bounds

import fastbce as fb

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)


def between_guards(array, at_end):
    """A copy with the same strides, whose last byte, or else its first, lies beside a forbidden page.

    Other processes that are forked later share it.
    """
    low, high = byte_bounds(array) if array.size else (array.ctypes.data, array.ctypes.data)
    room = -(-max(high - low, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, room + 2 * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (address, address + PAGE + room):
        if LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE + (room - (high - low) if at_end else 0)
    memory[start : start + high - low] = ctypes.string_at(low, high - low)
    offset = start + array.ctypes.data - low
    return np.ndarray(array.shape, array.dtype, memory, offset, array.strides)


def forms_of(function):
    """Each form, and the outputs it takes: those of the shape of the losses, and of the gradient."""
    proba = ["proba_out"] if function in WITH_LOGITS else []
    yield getattr(fb, function), ["loss_out"], proba
    yield getattr(fb, function + "_value_and_grad"), ["loss_out"], ["out", *proba]
    if function in WITH_HESSIAN:
        yield getattr(fb, function + "_grad_hess"), [], ["grad_out", "hess_out", *proba]


def options_for(function, shape, rng):
    """Arrays for every option that takes one."""
    rows = losses_shape(function, shape)
    options = {"sample_weight": rng.uniform(0, 2, rows), "where": rng.random(rows) < 0.8}
    if function == "cross_entropy":
        options["class_weight"] = rng.uniform(0, 2, shape[-1])
    elif function != "sigmoid_focal_loss":
        options["pos_weight"] = rng.uniform(0, 2, shape)
    return options


def compare(function, first, targets, options, lay, at_end):
    """Call each form with everything between guards; the results are those of the plain arrays."""

    def place(array):
        return between_guards(lay(array) if array.ndim else array, at_end)

    arrays = {name: place(value) for name, value in options.items()}
    x, y = place(first), place(targets)
    for form, of_losses, of_elements in forms_of(function):
        shapes = dict.fromkeys(of_losses, losses_shape(function, first.shape))
        shapes |= dict.fromkeys(of_elements, first.shape)
        plain = {name: np.empty(shape, first.dtype) for name, shape in shapes.items()}
        outputs = {name: place(np.zeros(shape, first.dtype)) for name, shape in shapes.items()}
        form(first, targets, **options, **plain)
        form(x, y, **arrays, **outputs)
        if not options:
            form(x, y)
        for name in plain:
            if not same_bits(outputs[name].astype(first.dtype), plain[name]):
                raise AssertionError((form.__name__, name, first.shape, first.dtype, lay, at_end))
    return len(plain)


def contiguous(array):
    return array


LENGTHS = [*range(36), 47, 48, 49, 63, 64, 65, 511, 512, 513, 529, 1041]
ROWS = [(rows, classes) for classes in (1, 2, 3, 17, 144, 145, 515) for rows in (0, 1, 16, 63, 65)]


def edges():
    rng = np.random.default_rng(0)
    calls = 0
    for function in ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
        shapes = ROWS if function == "cross_entropy" else [(n,) for n in LENGTHS]
        layouts = cycle([backwards, field_of_records, fortran, rows_apart, swapped, with_gaps])
        for shape in shapes:
            for dtype in (np.float32, np.float64):
                soft = rng.random() < 0.5
                first, targets = inputs(function, shape, dtype, soft=soft)
                options = options_for(function, shape, rng)
                for at_end in (True, False):
                    calls += compare(function, first, targets, {}, contiguous, at_end)
                    calls += compare(function, first, targets, options, contiguous, at_end)
                    calls += compare(function, first, targets, options, next(layouts), at_end)
    return {"calls": calls}


LABELS = [np.dtype(char) for char in "?bBhHiIlLefdg"] + [np.dtype(ml_dtypes.bfloat16)]


def cast(values, dtype):
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(dtype)


def garbage_for(array, rng):
    """Numbers of any size and sign, in range and out of it."""
    if array.dtype == bool:  # a byte that is neither 0 nor 1 is no boolean, but nothing keeps it out
        return rng.integers(0, 256, array.shape, np.uint8).view(bool)
    if array.dtype.kind in "iu":
        return rng.integers(0, 256, (*array.shape, array.itemsize), np.uint8).view(array.dtype)[..., 0]
    values = rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.5, 1.0, 2.0, 1e9, -1e300, 2.0**62], array.shape)
    return cast(values, array.dtype)


@contextlib.contextmanager
def written_meanwhile(arrays, rng):
    """Another process fills the arrays with garbage, and with what was in them, over and over."""
    images = [(array, array.copy(), garbage_for(array, rng)) for array in arrays]
    child = os.fork()
    if child == 0:
        parent = os.getppid()
        while os.getppid() == parent:
            for array, good, bad in images:
                array.ravel()[:: int(rng.integers(1, 50))] = bad.flat[0]
                np.copyto(array, bad)
                np.copyto(array, good)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def attacked(function, dtype, kind, rng):
    """Arguments between guards: targets and weights of the dtype, beside float32 or float64."""
    shape = {"tiny": (3,), "some": (700,), "large": (40_000,)}[kind]
    if function == "cross_entropy":
        shape = {"tiny": (2, 3), "some": (70, 100), "large": (300, 300)}[kind]
    soft = dtype.kind not in "biu" and rng.random() < 0.3
    first, targets = inputs(function, shape, rng.choice([np.float32, np.float64]), soft=soft)
    options = options_for(function, shape, rng)
    options["sample_weight"] = cast(options["sample_weight"] * 3, dtype)
    if function == "cross_entropy" and not soft:
        targets = targets % 2 if dtype.kind == "b" else targets % 127
    at_end = bool(rng.integers(2))
    mutable = {"first": first, "targets": cast(targets, dtype), **options}
    return {name: between_guards(array, at_end) for name, array in mutable.items()}


def mutate(seconds):
    rng = np.random.default_rng(0)
    rounds = [
        (function, dtype, kind)
        for dtype in LABELS
        for function in ("cross_entropy", "bce", "bce_with_logits", "sigmoid_focal_loss")
        for kind in ("tiny", "some", "large")
    ]
    outcomes = Counter()
    share = seconds / len(rounds)
    for function, dtype, kind in rounds:
        arguments = attacked(function, dtype, kind, rng)
        with written_meanwhile(arguments.values(), rng):
            until = time.monotonic() + share
            outcomes.update(call_until(until, function, dtype, dict(arguments), rng))
    return outcomes


def call_until(until, function, dtype, arguments, rng):
    """Call all forms, with some of the options, until then. Returns how often what came of it."""
    first, targets = arguments.pop("first"), arguments.pop("targets")
    outcomes = Counter()
    while outcomes["calls"] < 3 or time.monotonic() < until:
        for form, of_losses, of_elements in forms_of(function):
            options = {name: value for name, value in arguments.items() if rng.random() < 0.5}
            if function in SMOOTHED and rng.random() < 0.3:
                options["label_smoothing"] = 0.1
            if rng.random() < 0.3:
                options |= {name: np.empty(losses_shape(function, first.shape)) for name in of_losses}
                options |= {name: np.empty(first.shape) for name in of_elements}
            outcomes["calls"] += 1
            try:
                form(first, targets, **options)
                outcomes[f"{function} returned"] += 1
            except (IndexError, ValueError) as error:  # what another moment's values would have raised
                outcomes[f"{function} {type(error).__name__}"] += 1
                if isinstance(error, IndexError):
                    outcomes[f"{dtype} IndexError"] += 1
    return outcomes


if __name__ == "__main__":
    print(json.dumps(edges() if sys.argv[1] == "edges" else mutate(float(sys.argv[2]))))
