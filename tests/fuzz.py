"""A coverage-guided fuzzer of the public functions: ``make fuzz`` runs it under AddressSanitizer.

What libFuzzer mutates is a string of bytes; `Bytes` makes of it a function, arrays of any dtype, shape and
layout, options and outputs; `check` makes the call. Anything but an exception of the documentation that names
an argument, or a result of the right kind, ends the run; its input is then in build/fuzz/found.
``python tests/fuzz.py --random 1000000`` makes random calls, without atheris.
"""

import json
import os
import pickle
import re
import sys
import time
import warnings
from collections import Counter

import ml_dtypes
import numpy as np
from cases import CLASS_WEIGHT, SMOOTHED, WITH_HESSIAN, WITH_LOGITS, losses_shape, same_bits

import fastbce as fb

FUNCTIONS = ["bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"]
FORMS = [
    (function, form)
    for function in FUNCTIONS
    for form in ("", "_value_and_grad", "_grad_hess")
    if form != "_grad_hess" or function in WITH_HESSIAN
]
OBJECTS = {
    "bce": fb.BCELoss,
    "bce_with_logits": fb.BCEWithLogitsLoss,
    "sigmoid_focal_loss": fb.SigmoidFocalLoss,
    "cross_entropy": fb.CrossEntropyLoss,
}
OF_OBJECTS = {
    "pos_weight",
    "class_weight",
    "label_smoothing",
    "eps",
    "alpha",
    "gamma",
    "axis",
    "ignore_index",
}
OF_OBJECTS |= {"reduction"}

REAL = [np.dtype(char) for char in "fdfdfdebBhHiIqQ?g"] + [np.dtype(ml_dtypes.bfloat16)]
OTHER = [np.dtype(name) for name in ("F", "O", "S3", "M8[s]", "V5")]
LENGTHS = [1, 2, 3, 0, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 129, 130, 257, 513, 1025, 4099, 5000, 70_000]
MOST = 600  # elements, most of the time
SCALARS = [
    0.0, 1.0, 0.5, 0.1, 1, 0, -1, 2, -0.5, 1.5, 1e-7, 1e-300, 1e300, float("nan"), float("inf"), None, True,
    "mean", -100, 2**31, 2**63, -(2**63) - 1, 10**400, np.float32(0.25), np.int8(-3), np.float64(0.3), 1j, (),
]  # fmt: skip
VALID = [1, 0.1, 0, 0.25, 2, 0.0, 1.0]
REDUCTIONS = ["mean", "sum", "none", "weighted_mean", "MEAN", None]

NAMES = (
    "probs|logits|targets|sample_weight|pos_weight|class_weight|label_smoothing|ignore_index|axis|alpha|gamma|eps|where"
    "|reduction|normalizer|out|grad_out|hess_out|loss_out|proba_out|num_threads"
)
NAMED = re.compile(rf"({NAMES}): ")
OUT_OF_RANGE = "expected values in [0, 1]"  # the one error that may come after something was written


class Bytes:
    """Decisions, from a string of bytes: 0 where it has ended."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def one_of(self, values):
        return values[self.byte() % len(values)]

    def chance(self, one_in):
        return self.byte() % one_in == one_in - 1

    def shape(self):
        shape, size = [], 1
        for _ in range(self.byte() % 5):
            length = self.one_of(LENGTHS)
            if size * length > MOST and not self.chance(32):
                length = 1
            shape.append(length)
            size *= max(length, 1)
        return tuple(shape) if size <= 2 * LENGTHS[-1] else tuple(shape[:1])

    def fill(self, array):
        """Small whole numbers, fractions, or any bits at all."""
        kind, count = self.byte() % 4, 8 + self.byte() % 64
        seed = np.frombuffer((self.data[self.at : self.at + count] or b"\1").ljust(8, b"\7"), np.uint8)
        self.at += count
        if array.dtype.kind == "O":
            array[...] = 1
        elif kind == 3 or array.dtype in OTHER:
            array[...] = np.resize(seed, array.nbytes).view(array.dtype).reshape(array.shape)
        elif kind == 2:
            array[...] = np.resize(seed / 8 - 16, array.shape)
        else:
            array[...] = np.resize(seed / 255 if kind == 0 else seed % (2 + seed[0] % 8), array.shape)

    def array(self, shape, real=True):
        """An array of this shape, of any dtype, in any layout, in memory that ends where it ends."""
        dtype = self.one_of(REAL if real or not self.chance(8) else OTHER)
        if dtype.kind in "iufc" and self.chance(8):
            dtype = dtype.newbyteorder()
        layout = self.byte() % 16 if shape else 0
        if layout == 1:  # one value, many times
            few = tuple(1 if self.chance(2) else length for length in shape)
            array = self.array(few)
            return np.broadcast_to(array, shape)
        if layout == 2:
            array = np.empty(shape[::-1], dtype).T
        elif layout == 3:
            step = (1 + self.byte() % 3) * (-1 if self.chance(2) else 1)
            array = np.empty((*shape[:-1], shape[-1] * abs(step)), dtype)[..., ::step]
        elif layout == 4:
            array = np.empty((2 * shape[0], *shape[1:]), dtype)[::-2]
        elif layout == 5 and dtype.kind != "O":
            array = (
                np.empty(int(np.prod(shape)) * dtype.itemsize + 1, np.uint8)[1:].view(dtype).reshape(shape)
            )
        elif layout == 6 and dtype.kind != "O":
            array = np.empty(shape, [("pad", "u1"), ("value", dtype)])["value"]
        elif layout == 7:
            array = np.moveaxis(np.empty((*shape[1:], shape[0]), dtype), -1, 0)
        else:
            array = np.empty(shape, dtype)
        self.fill(array)
        if self.chance(16):
            array.setflags(write=False)
        return array

    def shape_near(self, shape):
        """That shape, or one that broadcasts to it, or, now and then, another."""
        kind = self.byte() % 8
        if kind == 0:
            return tuple(1 if self.chance(3) else length for length in shape)
        if kind == 1:
            return shape[self.byte() % (len(shape) + 1) :]
        return self.shape() if kind == 2 and self.chance(2) else shape

    def output(self, shape, near):
        """A new array; or memory of an input or of another output."""
        kind = self.byte() % 8
        if kind == 0 and near:
            other = self.one_of(near)
            if other.ndim and self.chance(2):
                other = other[::-1] if self.chance(2) else other[1:]
            return other
        dtype = np.dtype(self.one_of("fffddde")) if kind != 1 else self.one_of(REAL)
        array = np.full(shape if kind != 2 else self.shape_near(shape), 1, dtype)
        return (
            array[..., ::-1] if kind == 3 and array.ndim else np.asfortranarray(array) if kind == 4 else array
        )


def options_of(function, given, shape, axis):
    rows = losses_shape(function, shape, axis) if shape else ()
    options = {}
    for name in ("sample_weight", "where"):
        if given.chance(3):
            options[name] = given.array(given.shape_near(rows), real=False)
            if name == "where" and not given.chance(8):
                options[name] = options[name].astype(bool)
    if function in CLASS_WEIGHT and given.chance(3):
        name = CLASS_WEIGHT[function]
        near = shape if name == "pos_weight" else shape[axis : axis + 1 or None]
        options[name] = given.array(given.shape_near(near)) if given.chance(2) else given.one_of(SCALARS)
        if (
            isinstance(options[name], np.ndarray)
            and options[name].dtype.kind in "iuf"
            and not given.chance(4)
        ):
            options[name] = np.abs(options[name].astype(np.float32, order="K"))
    scalars = {"label_smoothing": function in SMOOTHED, "eps": function == "bce"}
    scalars |= dict.fromkeys(("alpha", "gamma"), function == "sigmoid_focal_loss")
    scalars |= {"ignore_index": function == "cross_entropy", "num_threads": True, "normalizer": True}
    for name, taken in scalars.items():
        if taken and given.chance(6):
            options[name] = given.one_of(VALID if given.chance(2) else SCALARS)
    if function == "cross_entropy" and (axis != -1 or given.chance(8)):
        options["axis"] = axis if not given.chance(16) else given.one_of(SCALARS)
    if given.chance(2):
        options["reduction"] = given.one_of(REDUCTIONS)
    return options


def drawn(given):
    """Function and form, the arguments, the options and the outputs of a call."""
    function, form = given.one_of(FORMS)
    shape = given.shape()
    axis = given.byte() % len(shape) if function == "cross_entropy" and shape and given.chance(3) else -1
    first = given.array(shape, real=False)
    rows = losses_shape(function, shape, axis) if shape else ()
    targets = given.array(given.shape_near(shape if given.chance(3) else rows), real=False)
    if function != "cross_entropy" and targets.dtype.kind in "iu" and not given.chance(4):
        targets = targets & 1
    options = options_of(function, given, shape, axis)
    if form == "_grad_hess":
        options.pop("reduction", None), options.pop("normalizer", None)
    outputs = {}
    names = {
        "": ["loss_out"],
        "_value_and_grad": ["out", "loss_out"],
        "_grad_hess": ["grad_out", "hess_out"],
    }[form]
    for name in [*names, *["proba_out"] * (function in WITH_LOGITS)]:
        if given.chance(3):
            arrays = [*outputs.values(), first, *(a for a in (targets,) if a.shape == shape)]
            outputs[name] = given.output(rows if name == "loss_out" else shape, arrays)
    return function, form, axis, first, targets, options, outputs


def check(data, outcomes):
    """One call, and what must hold of it."""
    given = Bytes(data)
    with np.errstate(all="ignore"):
        function, form, axis, first, targets, options, outputs = drawn(given)
    call = getattr(fb, function + form)
    if given.chance(8):
        call = method_of(function, form, options, outcomes)
        if call is None:
            return
    compared = form != "" and given.chance(4) and "num_threads" not in options
    before = {name: array.copy() for name, array in outputs.items()}
    copies = {name: plain(value) for name, value in options.items()}
    plain_first, plain_targets = plain(first), plain(targets)  # now: an output may overwrite them

    outcomes["calls"] += 1
    result = documented(lambda: call(first, targets, **options, **outputs), function, outcomes)
    if isinstance(result, Exception):
        if OUT_OF_RANGE not in str(result):
            for name, array in outputs.items():
                assert array.tobytes() == before[name].tobytes(), f"{name} was written before {result!r}"
        return
    check_result(result, form, first, losses_shape(function, first.shape, axis), options, outputs)
    if compared:
        outcomes["compared"] += 1
        again = call(plain_first, plain_targets, **copies)
        for i, name in enumerate({"_grad_hess": ["grad_out", "hess_out"]}.get(form, ["loss_out", "out"])):
            if name not in outputs or not isinstance(result[i], np.ndarray):
                assert same_bits(again[i], result[i]), "a copy in C order gave something else"


def plain(value):
    """The same in C order, in native byte order."""
    if not isinstance(value, np.ndarray):
        return value
    return np.array(value, value.dtype.newbyteorder("="), order="C")


def method_of(function, form, options, outcomes):
    """The same call of a loss object, which takes its options out of `options`; None if it refuses them."""
    kept = {name: options.pop(name) for name in list(options) if name in OF_OBJECTS}
    outcomes["objects"] += 1
    loss = documented(lambda: OBJECTS[function](**kept), function, outcomes)
    if isinstance(loss, Exception):
        return None
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert hash(loss) == hash(loss)
    repr(loss)
    options["reduction"] = loss.reduction  # for check_result, taken out by the call
    method = {"": loss, "_value_and_grad": loss.value_and_grad}.get(form) or loss.grad_hess

    def call(first, targets, reduction=None, **others):
        return method(first, targets, **others)

    return call


def documented(call, function, outcomes):
    """What a call returns, or the exception, if it is one that the documentation lets it raise."""
    try:
        result = call()
    except (TypeError, ValueError, IndexError) as error:
        if not NAMED.match(str(error)) or (type(error) is IndexError and function != "cross_entropy"):
            raise AssertionError(f"not documented: {error!r}") from error
        outcomes[type(error).__name__] += 1
        return error
    outcomes["returned"] += 1
    return result


def check_result(result, form, first, rows, options, outputs):
    own = first.dtype.newbyteorder("=") if first.dtype.kind in "fV" else np.dtype(np.float64)
    grad_name = "grad_out" if form == "_grad_hess" else "out"
    if form == "_grad_hess":
        arrays = [(result[0], grad_name, first.shape), (result[1], "hess_out", first.shape)]
    else:
        value = result[0] if form else result
        arrays = [(result[1], grad_name, first.shape)] if form else []
        if options.get("reduction", "mean") == "none":
            arrays.append((value, "loss_out", rows))
        else:
            assert type(value) is float, type(value)
    for array, name, shape in arrays:
        if name in outputs:
            assert array is outputs[name], f"{name} was not returned"
        else:
            assert array.shape == shape, (name, array.shape, shape)
            assert array.dtype == own, (name, array.dtype, own)
            assert array.flags.c_contiguous
            assert array.flags.writeable


def random_calls(count, seed=0):
    """The same without coverage to guide it, or atheris: 6 times as fast. Returns what came of the calls."""
    rng, outcomes = np.random.default_rng(seed), Counter()
    for _ in range(count):
        check(rng.bytes(int(rng.integers(10, 300))), outcomes)
    return outcomes


def main():
    import atheris

    outcomes, started, file = Counter(), time.monotonic(), None
    for argument in sys.argv:
        if argument.startswith("--outcomes="):
            file = argument.removeprefix("--outcomes=")
    sys.argv = [argument for argument in sys.argv if not argument.startswith("--outcomes=")]

    def one_input(data):
        check(data, outcomes)
        if file and outcomes["calls"] % 500 == 0:  # the process ends without a chance to do it then
            with open(file, "w") as stream:
                json.dump(outcomes | {"seconds": round(time.monotonic() - started)}, stream)

    if os.path.isdir(sys.argv[-1]) and not os.listdir(sys.argv[-1]):  # something to begin with
        rng = np.random.default_rng(0)
        for i in range(500):
            with open(f"{sys.argv[-1]}/seed{i}", "wb") as stream:
                stream.write(rng.bytes(int(rng.integers(20, 300))))
    warnings.simplefilter("error")
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "--random":
        warnings.simplefilter("error")
        print(json.dumps(random_calls(*map(int, sys.argv[2:]))))
    else:
        main()
