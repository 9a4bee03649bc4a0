"""A hypothesis strategy that draws calls: any form of a function, all its options, any dtypes and layouts.

Hypothesis draws the structure, which it can shrink; a generator with a drawn seed fills the arrays.
"""

from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np
from cases import CLASS_WEIGHT, SMOOTHED, WITH_HESSIAN, WITH_LOGITS, losses_shape
from hypothesis import strategies as st
from layouts import (
    axes_rotated,
    backwards,
    field_of_records,
    fortran,
    last_axis_backwards,
    misaligned,
    one_item_in,
    read_only,
    rows_apart,
    swapped,
    with_gaps,
)
from reference import computed_in, finfo

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(name) for name in ("float32", "float64", "float16")] + [BFLOAT16]
INTEGERS = [np.dtype(name) for name in ("int64", "int8", "int16", "int32", "uint8", "uint32", "uint64")]
# Those that also take arrays without dimensions come first.
LAYOUTS = [misaligned, swapped, read_only, one_item_in, field_of_records]
LAYOUTS += [fortran, rows_apart, backwards, last_axis_backwards, with_gaps, axes_rotated]
GARBAGE = [np.nan, np.inf, -np.inf, -1.0, 2.5, 3e38]


@dataclass
class Call:
    """What a call is given; `options` is what the reference is given too."""

    function: str
    form: str  # "loss", "value_and_grad" or "grad_hess"
    first: np.ndarray
    targets: np.ndarray
    options: dict
    layouts: dict = field(default_factory=dict)  # of arguments and outputs, by name: functions
    outputs: dict = field(default_factory=dict)  # dtypes, by name
    num_threads: int | None = None

    @property
    def axis(self):
        return self.options.get("axis", -1)

    @property
    def own(self):
        """The dtype of new outputs."""
        dtype = self.first.dtype
        return np.dtype(np.float64) if dtype.kind in "iu" else dtype.newbyteorder("=")

    @property
    def computed(self):
        return computed_in(self.first.dtype)

    @property
    def elements(self):
        """The shape of what reduction="none" returns."""
        return losses_shape(self.function, self.first.shape, self.axis)

    def laid_out(self):
        """The arguments in the memory layouts that were drawn."""
        arguments = {"first": self.first, "targets": self.targets} | self.options
        for name, layout in self.layouts.items():
            if name in arguments:
                arguments[name] = layout(arguments[name])
        return arguments

    def plain(self, **changes):
        """In C order, broadcast, without outputs: the same elements."""
        options = dict(self.options)
        for name in ("sample_weight", "where", "pos_weight"):
            if name in options:
                options[name] = np.array(np.broadcast_to(options[name], self.elements))
        targets = self.targets
        labelled = self.function != "cross_entropy" or targets.ndim < self.first.ndim
        shape = self.elements if labelled else self.first.shape
        targets = np.array(np.broadcast_to(targets, shape), order="C")
        call = replace(self, first=np.array(self.first, order="C"), targets=targets, options=options)
        return replace(call, **({"layouts": {}, "outputs": {}, "num_threads": None} | changes))

    def take(self, index):
        """Some of the elements, or rows, in one dimension; classes come last."""
        call = self.plain()

        def some(array, per_class):
            if per_class:
                array = np.moveaxis(array, self.axis, -1)
                return array.reshape(int(np.prod(self.elements)), array.shape[-1])[index]
            return array.reshape(-1)[index]

        rows = self.function == "cross_entropy"
        options = {name: value for name, value in call.options.items() if name != "axis"}
        for name in ("sample_weight", "where", "pos_weight"):
            if name in options:
                options[name] = some(options[name], False)
        targets = some(call.targets, rows and call.targets.ndim == call.first.ndim)
        return replace(call, first=some(call.first, rows), targets=targets, options=options)


# --- the numbers in the arrays ------------------------------------------------------------------------------


def cast(array, dtype):
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(dtype)


def logits(rng, shape, dtype, kind):
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -60), 60, shape, dtype, endpoint=True)
    info = finfo(dtype)
    wide = 750 if dtype == np.float64 else 110
    if kind == "wide":
        values = rng.uniform(-wide, wide, shape)
    elif kind == "huge":
        powers = rng.uniform(-20, np.log2(float(info.max)) - 1e-6, shape)
        values = np.exp2(powers) * rng.choice([-1, 1], shape)
        values = np.where(rng.random(shape) < 0.2, np.sign(values) * float(info.max), values)
    elif kind == "ties":
        values = rng.integers(-2, 3, shape) * rng.choice([1.0, 16.0])
    else:
        values = rng.normal(scale=4, size=shape)
    if kind == "special":
        special = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, float(info.max)], shape)
        values = np.where(rng.random(shape) < 0.3, special, values)
    return cast(values, dtype)


def probabilities(rng, shape, dtype, kind):
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape, dtype)
    values = rng.random(shape)
    if kind in ("wide", "huge"):
        near = np.exp2(-rng.uniform(0, 140 if kind == "wide" else 1100, shape))
        values = np.where(rng.random(shape) < 0.5, near, 1 - near)
    elif kind == "special":
        values = np.where(rng.random(shape) < 0.3, rng.choice([0.0, 1.0, -0.0, np.nan], shape), values)
    return cast(values, dtype)


def fractions(rng, shape, kind):
    """Soft targets: between 0 and 1, both included, and close to both."""
    near = np.exp2(-rng.uniform(0, 60, shape))
    values = np.where(rng.random(shape) < 0.2, near, rng.random(shape))
    values = np.where(rng.random(shape) < 0.2, rng.integers(0, 2, shape), values)
    if kind == "special":
        values = np.where(rng.random(shape) < 0.05, np.nan, values)
    return values


def rows_of_targets(rng, shape, kind):
    """Rows along the last axis: probabilities, one of them 1, or anything, of any sign and sum."""
    if kind == "any":
        return rng.integers(-4, 9, shape) / 4
    rows = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])
    return (rows == rows.max(axis=-1, keepdims=True)).astype(float) if kind == "one-hot" else rows


# --- what is drawn ------------------------------------------------------------------------------------------


def one_of(draw, *values):
    return draw(st.sampled_from(values))


def chance(draw, one_in):
    return draw(st.integers(0, one_in - 1)) == one_in - 1


def broadcastable(draw, shape, *, fewer=True):
    """A shape that broadcasts to `shape`; with as many dimensions unless `fewer`."""
    shape = tuple(1 if chance(draw, 4) else n for n in shape)
    return shape[draw(st.integers(0, len(shape))) if fewer and chance(draw, 3) else 0 :]


@st.composite
def shapes(draw, function):
    """The shape of the first argument, and the class axis. Axes may be empty, or, now and then, long."""
    if function == "cross_entropy":
        samples = (600,) if chance(draw, 25) else tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
        axis = draw(st.integers(0, len(samples)))
        n_classes = one_of(draw, 3, 1, 2, 5, 9, 17, 150)
        shape = (*samples[:axis], n_classes, *samples[axis:])
        return shape, axis - len(shape) if chance(draw, 2) else axis
    if chance(draw, 25):
        return (one_of(draw, 513, 1100),), -1
    return tuple(draw(st.lists(st.integers(0, 5), max_size=4))), -1


@st.composite
def weights(draw, rng, shape):
    """A number or an array that broadcasts; sums of those with a sign are exact, so that they may be 0."""
    if chance(draw, 4):
        return one_of(draw, 2.5, 0, 1, -0.75)
    shape = broadcastable(draw, shape)
    dtype = one_of(draw, *(np.dtype(name) for name in ("float64", "float32", "int8", "float16")))
    if dtype.kind == "i":
        return rng.integers(-3, 4, shape, dtype)
    if chance(draw, 2):
        return rng.uniform(0.25, 3, shape).astype(dtype)
    return (rng.integers(-4, 12, shape) / 8).astype(dtype)


@st.composite
def options_of(draw, function, rng, shape, axis, labelled):
    elements = losses_shape(function, shape, axis)
    options = {}
    if chance(draw, 2):
        options["sample_weight"] = draw(weights(rng, elements))
    if chance(draw, 3):
        mask = broadcastable(draw, elements)
        options["where"] = one_of(draw, rng.random(mask) < 0.7, rng.random(mask) < 0.1, True, False)
    if function in SMOOTHED and chance(draw, 3):
        options["label_smoothing"] = one_of(draw, 0.0, 0.05, 0.3, 1.0)
    if CLASS_WEIGHT.get(function) == "pos_weight" and chance(draw, 3):
        size = broadcastable(draw, shape)
        options["pos_weight"] = one_of(draw, 3.0, 0, rng.integers(0, 20, size) / 4, rng.uniform(0.1, 4, size))
    if function == "bce" and chance(draw, 3):
        options["eps"] = one_of(draw, 1e-7, 0.1, 0.3, 1e-20)
    if function == "sigmoid_focal_loss":
        options["alpha"] = one_of(draw, 0.25, -1.0, 0.6, 0.0, 1.0)
        options["gamma"] = one_of(draw, 2.0, 0.0, 0.5, 1.0, 3.75)
    if function == "cross_entropy":
        options["axis"] = axis
        if chance(draw, 3):
            heavy = rng.integers(0, 16, shape[axis]) / 8
            options["class_weight"] = heavy.astype(one_of(draw, np.float64, np.float32))
        if labelled and chance(draw, 3):
            options["ignore_index"] = one_of(draw, -100, 0, 1, 255)
    return options


@st.composite
def targets_of(draw, function, rng, shape, axis, labelled, kind, options):
    if function != "cross_entropy":
        size = broadcastable(draw, shape)
        if labelled:
            return rng.integers(0, 2, size).astype(one_of(draw, np.dtype(bool), *INTEGERS, *FLOATS))
        return cast(fractions(rng, size, kind), one_of(draw, *FLOATS))
    n_classes, elements = shape[axis], losses_shape(function, shape, axis)
    if labelled:
        labels = rng.integers(0, n_classes, broadcastable(draw, elements))
        dtype = one_of(draw, *(t for t in INTEGERS if np.iinfo(t).max >= n_classes), *FLOATS)
        ignored = options.get("ignore_index", 0)
        if dtype not in INTEGERS or np.iinfo(dtype).min <= ignored <= np.iinfo(dtype).max:
            labels = np.where(rng.random(labels.shape) < 0.2, ignored, labels)
        return labels.astype(dtype)
    size = (*broadcastable(draw, elements, fewer=False), n_classes)
    rows_kind = one_of(draw, "probabilities", "one-hot", "any" if kind in ("near", "ties") else "one-hot")
    rows = rows_of_targets(rng, size, rows_kind)
    hard = [np.dtype(bool), *INTEGERS] if rows_kind == "one-hot" else []
    return np.moveaxis(cast(rows, one_of(draw, *FLOATS, *hard)), -1, axis)


# --- what is left out may hold anything ---------------------------------------------------------------------


def only_for(dead, shape):
    """Which entries of an array of this shape are broadcast to dead elements alone."""
    dead = dead.all(axis=tuple(range(dead.ndim - len(shape))))
    for axis, n in enumerate(shape):
        if n == 1:
            dead = dead.all(axis=axis, keepdims=True)
    return dead


def spoil(rng, array, dead):
    """Put garbage there, now and then."""
    array = np.asarray(array)
    if array.dtype == bool:
        return array
    dead = np.broadcast_to(dead, array.shape) & (rng.random(array.shape) < 0.7)
    values = [*GARBAGE, 0.5]
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        values = np.array([info.min, info.max, 2, 7], array.dtype)
    return np.where(dead, cast(rng.choice(values, array.shape), array.dtype), array)


def with_garbage(rng, call):
    options, targets, first, axis = dict(call.options), call.targets, call.first, call.axis
    elements, rows = call.elements, call.function == "cross_entropy"
    out = ~np.broadcast_to(options.get("where", True), elements)
    dead = out | (np.broadcast_to(options.get("sample_weight", 1), elements) == 0)
    if rows and targets.ndim == first.ndim:
        shape = losses_shape(call.function, targets.shape, axis)
        targets = spoil(rng, targets, np.expand_dims(only_for(dead, shape), axis))
    else:
        targets = spoil(rng, targets, only_for(dead, targets.shape))
    if "ignore_index" in options:
        ignored = np.broadcast_to(targets == options["ignore_index"], elements)
        out, dead = out | ignored, dead | ignored
    if 0 not in first.strides or first.size < 2:
        first = spoil(rng, first, np.expand_dims(dead, axis) if rows else dead)
    for name, gone in (("sample_weight", out), ("pos_weight", dead)):
        if name in options and np.asarray(options[name]).dtype.kind == "f" and np.ndim(options[name]):
            array = options[name]
            hit = only_for(gone, array.shape) & (rng.random(array.shape) < 0.7)
            options[name] = np.where(hit, cast(rng.choice([np.nan, np.inf], array.shape), array.dtype), array)
    return replace(call, first=first, targets=targets, options=options)


# --- the call -----------------------------------------------------------------------------------------------


def layout_of(draw, array):
    layouts = LAYOUTS[:5] if array.ndim == 0 else LAYOUTS
    return one_of(draw, *(one for one in layouts if array.dtype != BFLOAT16 or one is not swapped))


@st.composite
def outputs_of(draw, call):
    """Some of the outputs that the form takes: dtypes and layouts."""
    names = {
        "loss": ["loss_out"],
        "value_and_grad": ["loss_out", "out"],
        "grad_hess": ["grad_out", "hess_out"],
    }
    names = names[call.form] + (["proba_out"] if call.function in WITH_LOGITS else [])
    outputs, layouts = {}, {}
    for name in names:
        if chance(draw, 2):
            outputs[name] = np.dtype(one_of(draw, call.own, np.float32, np.float64))
            shape = call.elements if name == "loss_out" else call.first.shape
            if chance(draw, 3):
                layout = layout_of(draw, np.empty(shape, outputs[name]))
                layouts |= {} if layout in (swapped, read_only) else {name: layout}
    return outputs, layouts


@st.composite
def calls(draw, function, *, labelled=None, garbage=True):
    shape, axis = draw(shapes(function))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labelled = draw(st.booleans()) if labelled is None else labelled
    kind = one_of(draw, "near", "wide", "huge", "ties", "special")
    dtype = one_of(draw, *FLOATS) if draw(st.integers(0, 9)) < 8 else one_of(draw, *INTEGERS)
    fill = probabilities if function == "bce" else logits
    repeated = tuple(1 if chance(draw, 3) else n for n in shape) if chance(draw, 8) else shape
    first = np.broadcast_to(fill(rng, repeated, dtype, kind), shape)
    options = draw(options_of(function, rng, shape, axis, labelled))
    targets = draw(targets_of(function, rng, shape, axis, labelled, kind, options))
    form = one_of(draw, "value_and_grad", "loss", *(["grad_hess"] if function in WITH_HESSIAN else []))
    if form != "grad_hess":
        options["reduction"] = one_of(draw, "none", "sum", "mean", "weighted_mean")
        if "mean" in options["reduction"] and chance(draw, 4):
            options["normalizer"] = one_of(draw, 37.5, 3, 0.125)
    call = Call(function, form, first, targets, options)
    if garbage and chance(draw, 2):
        call = with_garbage(rng, call)
    call.num_threads = one_of(draw, None, 1, 2, 3)
    call.outputs, call.layouts = draw(outputs_of(call))
    for name, array in {"first": call.first, "targets": call.targets, **call.options}.items():
        if isinstance(array, np.ndarray) and 0 not in array.strides and chance(draw, 3):
            call.layouts[name] = layout_of(draw, array)
    return call
