"""What promise 1 says, case by case: the call, the inputs it is measured at, and the bounds in ULP.

tests/test_accuracy.py holds fastbce to it with a few inputs, tools/accuracy.py with millions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import reference
from ml_dtypes import bfloat16

import fastbce as fb

RESULTS = ("loss", "gradient", "hessian", "probability")
FORMATS = {"float16": np.float16, "bfloat16": bfloat16, "float32": np.float32, "float64": np.float64}
LN2 = math.log(2)


class Format(NamedTuple):
    """Bits of the mantissa, exponents of the smallest subnormal and of what comes after the largest float."""

    bits: int
    least: int
    beyond: int


FORMAT = {
    "float16": Format(11, -24, 16),
    "bfloat16": Format(8, -133, 128),
    "float32": Format(24, -149, 128),
    "float64": Format(53, -1074, 1024),
}


@dataclass(frozen=True)
class Case:
    """One way to call a function.

    A bound is in ULP of the result itself; that of a gradient in ULP of the larger of the two terms it is the
    difference of, which for hard targets is the gradient itself. (Of three: of what is added or subtracted.)
    """

    name: str
    function: str
    draw: Callable  # of a generator, a size and the name of a dtype: the inputs, in that dtype
    where: str  # what `draw` draws, in words
    bounds: dict  # by dtype: by result
    options: dict = field(default_factory=dict)
    classes: tuple[int, ...] = ()  # of rows
    line: str = ""  # of the table, that several cases share; "": the name
    reach: dict = field(default_factory=dict)  # by dtype: the largest logit, if there is one

    @property
    def rows(self):
        return self.function == "cross_entropy"


def draw(case, rng, size, dtype):
    """Inputs of a case: `size` of them, or (rows, classes)."""
    first, *rest = case.draw(rng, size, dtype)
    if dtype in case.reach:
        first = first.clip(-case.reach[dtype], case.reach[dtype])
    return [first, *rest]


def run(case, inputs, **more):
    """The results of a call, by name."""
    first, targets, *pos_weight = inputs
    options = case.options | more | ({"pos_weight": pos_weight[0]} if pos_weight else {})
    outputs = {}
    if case.function != "bce":
        outputs["proba_out"] = np.empty_like(first)
    loss, grad = getattr(fb, case.function + "_value_and_grad")(
        first, targets, reduction="none", **options, **outputs
    )
    results = {"loss": loss, "gradient": grad}
    if case.function in ("bce_with_logits", "cross_entropy"):
        results["hessian"] = getattr(fb, case.function + "_grad_hess")(first, targets, **options)[1]
    if outputs:
        results["probability"] = outputs["proba_out"]
    return results


def errors_by(numbers, case, dtype, inputs, results):
    """How far results are from the exact ones, by a kind of number, in ULP; of rows the worst entry."""
    first, targets, *pos_weight = inputs
    options = case.options | ({"pos_weight": pos_weight[0]} if pos_weight else {})
    exact = getattr(reference, case.function)(first, targets, numbers, reduction="none", **options)
    if case.rows:
        of = None if targets.ndim == 1 and not options else _larger_of_row(numbers, case, inputs)
    elif case.function == "sigmoid_focal_loss":
        of = _larger_of_focal(numbers, case, inputs, exact.grad)
    else:
        of = (exact.grad_size + abs(exact.grad)) / 2  # half the terms' sum and half their difference
    expected = {
        "loss": (exact.losses, None),
        "gradient": (exact.grad, of),
        "hessian": (exact.hess, None),
        "probability": (exact.proba, None),
    }
    errors = {}
    for name, actual in results.items():
        error = reference.ulp_error(actual, expected[name][0], FORMATS[dtype], expected[name][1])
        errors[name] = error.max(axis=1) if error.ndim == 2 else error
    return errors


def _larger_of_focal(numbers, case, inputs, grad):
    """The larger of what is added and of what is subtracted, of three terms: see reference.focal_element."""
    x, y = map(numbers.make, inputs)
    p, q = reference.sigmoid(x, numbers), reference.sigmoid(-x, numbers)
    alpha = numbers.make(0.25)
    whole = (alpha * y + (1 - alpha) * (1 - y)) * ((1 - y) * p + y * q) ** numbers.make(case.options["gamma"])
    push, pull = whole * (1 - y) * p, whole * y * q
    bend = grad - (push - pull)
    return np.where(bend > 0, np.maximum(push + bend, pull), np.maximum(push, pull - bend))


def _larger_of_row(numbers, case, inputs):
    """The larger of (S - y) p and y (1 - p), with S the sum of a row's targets."""
    first, targets = inputs
    smoothing = numbers.make(case.options.get("label_smoothing", 0.0))
    y = targets if targets.ndim == 2 else targets[:, None] == np.arange(first.shape[1])
    y = numbers.make(y) * (1 - smoothing) + smoothing / first.shape[1]
    p, not_p, _ = reference.softmax(numbers.make(first), numbers)
    return np.maximum(reference.sum_of_others(y) * p, y * not_p)


# --- inputs -------------------------------------------------------------------------------------------------


def _signs(rng, size):
    return rng.choice([-1.0, 1.0], size)


def _powers(rng, size, low, high):
    return np.exp2(rng.uniform(low, high, size))


def _to(values, dtype):
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(values).astype(FORMATS[dtype])


def logits(rng, size, dtype):
    """Uniform, evenly in the exponent, and around multiples of ln(2) / 2, where exp has its steps."""
    form = FORMAT[dtype]
    reach = -form.least * LN2 + 7
    n = size // 8 + 1
    steps = rng.integers(0, 2 * math.ceil(reach / LN2), n) * (LN2 / 2)
    parts = [
        rng.uniform(-1, 1, n),
        rng.uniform(-3, 3, n),
        rng.uniform(-40, 40, n),
        rng.uniform(-reach, reach, n),
        _signs(rng, n) * _powers(rng, n, -form.bits - 8, 10),
        _signs(rng, n) * _powers(rng, n, form.least, form.beyond - 1e-3),
        _signs(rng, 2 * n)
        * np.repeat(steps, 2)
        * (1 + _signs(rng, 2 * n) * _powers(rng, 2 * n, -form.bits, -3)),
    ]
    return _to(rng.permutation(np.concatenate(parts))[:size], dtype)


def probs(rng, size, dtype):
    """Uniform, evenly in the exponent towards 0 and 1, around the steps of log and around torch's limits."""
    form = FORMAT[dtype]
    n = size // 8 + 1
    steps = np.sqrt(0.5) * np.exp2(-rng.integers(0, 8, n))
    limits = rng.choice([1e-12, 1 - 1e-12, math.exp(-100), 0.5, 2.0**-24], n)
    parts = [
        rng.random(2 * n),
        _powers(rng, n, -30, 0),
        _powers(rng, n, form.least, 0),
        1 - _powers(rng, n, -form.bits, 0),
        steps * (1 + _signs(rng, n) * _powers(rng, n, -form.bits, -3)),
        1 - steps * (1 + _signs(rng, n) * _powers(rng, n, -form.bits, -3)),
        limits * (1 + _signs(rng, n) * _powers(rng, n, -form.bits, -3)),
    ]
    return _to(rng.permutation(np.concatenate(parts))[:size].clip(0, 1), dtype)


def hard(rng, size, dtype):
    return rng.integers(0, 2, size).astype(np.uint8)


def soft(rng, size, dtype):
    """Uniform, and evenly in the exponent towards 0 and 1."""
    bits = FORMAT[dtype].bits
    parts = [
        rng.random(size),
        _powers(rng, size, -60, 0),
        _powers(rng, size, -8, 0),
        1 - _powers(rng, size, -bits, 0),
    ]
    return np.choose(rng.integers(0, 4, size), parts).clip(0, 1).astype(target_type(dtype))


def target_type(dtype):
    return np.float64 if dtype == "float64" else np.float32


WEIGHTS = 2.0**-7, 2.0**7


def beside_powers(rng, x, y):
    """A quarter of the logits moved, to where the larger term of the loss is beside a power of two."""
    form = FORMAT[x.dtype.name]
    c = np.where(x >= 0, 1 - y.astype(np.float64), y.astype(np.float64))
    size = abs(x.astype(np.float64)) * c
    moved = (rng.random(x.shape) < 0.25) & (2.0**-30 < size) & (size < 2.0**30) & (2.0**-30 < c)
    c, size = np.where(moved, c, 1), np.where(moved, size, 1)
    power = np.exp2(np.round(np.log2(size))) * (
        1 + _signs(rng, x.shape) * _powers(rng, x.shape, -form.bits, -3)
    )
    return np.where(moved, np.copysign(power / c, x.astype(np.float64)), x.astype(np.float64)).astype(x.dtype)


def binary(first, targets, weighted=False):
    """A `draw` of logits or probabilities, their targets, and positive weights."""

    def draw(rng, size, dtype):
        inputs = [first(rng, size, dtype), targets(rng, size, dtype)]
        if first is logits and targets is soft and dtype in ("float32", "float64"):
            inputs[0] = beside_powers(rng, *inputs)
        if weighted:
            inputs.append(np.exp2(rng.uniform(*np.log2(WEIGHTS), size)).astype(target_type(dtype)))
        return inputs

    return draw


def near(case, rng, inputs, count, dtype):
    """Inputs around some of these: each value moved by at most an eighth, most by far less."""
    chosen = rng.integers(0, len(inputs[0]), count)
    moved = []
    for number, array in enumerate(inputs):
        values = array[chosen]
        if array.dtype.kind in "iu":  # labels and hard targets stay as they are
            moved.append(values)
            continue
        bits = 53 if array.dtype == np.float64 else 24
        step = (
            _signs(rng, values.shape)
            * _powers(rng, values.shape, -bits, -3)
            * (rng.random(values.shape) < 0.8)
        )
        values = values.astype(np.float64)
        values = values + step * (np.minimum(abs(values), 40) if case.rows else values)
        if not case.rows and (number == 1 or (number == 0 and case.function == "bce")):
            values = values.clip(0, 1)
        if number == 0 and dtype in case.reach:
            values = values.clip(-case.reach[dtype], case.reach[dtype])
        if number == 2:
            values = values.clip(*WEIGHTS)
        with np.errstate(over="ignore"):
            values = values.astype(array.dtype)
        moved.append(np.where(np.isfinite(values.astype(np.float64)), values, array[chosen]))
    return moved


def rows(kind, soft_rows=False):
    """A `draw` of rows: (rng, (rows, classes), dtype). Logits within +-20, but for the shift and the gap."""

    def draw(rng, shape, dtype):
        count, classes = shape
        labels = rng.integers(0, classes, count)
        x = rng.uniform(-20, 20, shape)  # as ROWS says
        if kind == "narrow":
            x *= np.exp2(rng.uniform(-12, 0, (count, 1)))
        elif kind == "tied":
            x = np.round(x / 4) * 4
        elif kind in ("confident", "wrong"):
            # One class is 10 to 80 above all others: the label, or the one after it.
            x = rng.uniform(-20, -19, shape)
            top = labels if kind == "confident" else (labels + 1) % classes
            x[np.arange(count), top] = x.max(axis=1) + rng.uniform(10, 80, count)
        elif kind == "shifted":
            x += rng.choice([-1e4, 1e4], (count, 1))
        x = _to(x, dtype)
        if not soft_rows:
            return [x, labels]
        y = rng.gamma(rng.choice([0.05, 1, 20]), size=shape) + 1e-30
        return [x, (y / y.sum(axis=1, keepdims=True)).astype(target_type(dtype))]

    return draw


# --- the cases ----------------------------------------------------------------------------------------------

FEW, MANY = (2, 3, 5, 10, 77, 128), (129, 1000, 1 << 12, 1 << 16, 1 << 18)
HALF = dict.fromkeys(RESULTS, 0.51)
EXP_NORMAL = {"float32": 87.0, "float64": 708.0}  # up to here exp(-|x|) is not subnormal
FOCAL = dict.fromkeys(
    ("float32", "float64"), 1e4
)  # beyond, u^gamma may vanish where its product with a loss does not
ROWS = {
    "uniform": "±20",
    "narrow": "intervals of 0.01 to 40",
    "tied": "multiples of 4 in ±20",
    "confident": "the label 10 to 80 above the others",
    "wrong": "another class 10 to 80 above the others",
    "shifted": "±20, shifted by ±10⁴",
}


def bounds(*ulps, halves=False):
    """The same bounds for float32 and float64, in the order of RESULTS."""
    both = dict(zip(RESULTS, ulps, strict=False))
    narrow = dict.fromkeys(("float16", "bfloat16"), HALF) if halves else {}
    return {"float32": both, "float64": both} | narrow


def _binary_cases():
    for targets, text in ((hard, "hard"), (soft, "soft")):
        plain = (1, 1) if targets is hard else (2, 2)
        with_weight = (2, 2, 3.5) if targets is hard else (3.5, 4.5, 4.5)
        unweighted, weighted = binary(logits, targets), binary(logits, targets, weighted=True)
        limits = bounds(*plain, 2, 1, halves=True)
        yield Case(f"bce_with_logits, {text}", "bce_with_logits", unweighted, "all", limits)
        yield Case(f"bce, {text}", "bce", binary(probs, targets), "[0, 1]", bounds(*plain))
        name = f"bce_with_logits, {text}, pos_weight"
        yield Case(
            name, "bce_with_logits", weighted, "±87 (±708), weights 2⁻⁷ to 2⁷", bounds(*with_weight),
            reach=EXP_NORMAL,
        )  # fmt: skip
        # A subnormal exp(-|x|) is off by half its ULP, and that times the weight.
        yield Case(
            name + ", subnormal", "bce_with_logits", weighted, "all, weights 2⁻⁷ to 2⁷", bounds(96, 96, 96)
        )
        weighted = binary(probs, targets, weighted=True)
        yield Case(
            f"bce, {text}, pos_weight", "bce", weighted, "[0, 1], weights 2⁻⁷ to 2⁷", bounds(*with_weight[:2])
        )
        smooth = {"label_smoothing": 0.1}
        for function, first, where, limits in (
            ("bce_with_logits", logits, "all", bounds(3.5, 4, 4.5)),
            ("bce", probs, "[0, 1]", bounds(3.5, 4)),
        ):
            name, draws = f"{function}, {text}, label_smoothing", binary(first, targets)
            yield Case(name, function, draws, where, limits, smooth)
        for gamma in (0.5, 1.0, 2.0, 5.0):
            yield Case(
                f"sigmoid_focal_loss, {text}, gamma {gamma:g}", "sigmoid_focal_loss", unweighted,
                "±10⁴, gamma 0.5, 1, 2, 5",
                bounds(4, 6) if targets is hard else bounds(16, 18), {"gamma": gamma},
                line=f"sigmoid_focal_loss, {text}", reach=FOCAL,
            )  # fmt: skip


def _row_cases():
    for classes in (FEW, MANY):
        size = f"{classes[0]} to {classes[-1]:,} classes"
        for kind in ROWS:
            for text, ulps in (("labels", (4, 4, 6, 4)), ("soft rows", (4, 6, 7))):
                yield Case(
                    f"cross_entropy, {text}, {kind}, {size}", "cross_entropy", rows(kind, text != "labels"),
                    "rows, see above", bounds(*ulps, halves=text == "labels" and kind == "uniform"),
                    classes=classes, line=f"cross_entropy, {text}, {size}",
                )  # fmt: skip
        for kind in ("uniform", "confident"):
            yield Case(
                f"cross_entropy, label_smoothing, {kind}, {size}", "cross_entropy", rows(kind),
                "rows, see above", bounds(4, 5, 6), {"label_smoothing": 0.1}, classes,
                line=f"cross_entropy, label_smoothing, {size}",
            )  # fmt: skip


CASES = {case.name: case for case in (*_binary_cases(), *_row_cases())}
