"""Section 5, input: any layout, byte order, broadcasting and dtype of targets gives a plain array's bits."""

import numpy as np
import pytest
from cases import (
    CLASS_WEIGHT,
    WITH_LOGITS,
    assert_same_bits,
    everything,
    inputs,
    loss_of,
    losses_shape,
    same_bits,
    value_and_grad_of,
)
from layouts import LAYOUTS, axes_rotated, backwards, fortran, misaligned, nested_list, swapped


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.__name__)
def layout(request):
    return request.param


def full_call(function, shape, dtype, soft, axis=-1):
    """Arrays for every argument that may be one."""
    first, targets = inputs(function, shape, dtype, soft=soft, axis=axis)
    rng = np.random.default_rng(9)
    elements = losses_shape(function, shape, axis)
    arrays = {
        "first": first,
        "targets": targets,
        "sample_weight": rng.uniform(0.5, 2, elements).astype(dtype),
        "where": rng.random(elements) < 0.8,
    }
    if function == "cross_entropy":
        arrays["class_weight"] = rng.uniform(0.5, 2, shape[axis]).astype(dtype)
    elif function in CLASS_WEIGHT:
        arrays["pos_weight"] = rng.uniform(0.5, 2, shape).astype(dtype)
    return arrays


def call(function, arrays, **options):
    arrays = dict(arrays)
    return everything(function, arrays.pop("first"), arrays.pop("targets"), **arrays, **options)


@pytest.mark.parametrize("shape", [(37, 5), (6, 5, 33), (1200, 3), (2, 1100)], ids=str)
def test_layout_of_each_argument(function, dtype, soft, layout, shape):
    arrays = full_call(function, shape, dtype, soft)
    expected = call(function, arrays)
    for name in arrays:
        assert_same_bits(call(function, arrays | {name: layout(arrays[name])}), expected)
    assert_same_bits(call(function, {name: layout(array) for name, array in arrays.items()}), expected)


@pytest.mark.parametrize("axis", [0, 1, -3])
@pytest.mark.parametrize("shape", [(5, 7, 33), (3, 50, 4), (70, 1, 9)], ids=str)
def test_layout_with_any_class_axis(dtype, soft, layout, axis, shape):
    """As if the classes had been last."""
    arrays = full_call("cross_entropy", shape, dtype, soft, axis)
    last = arrays | {"first": np.ascontiguousarray(np.moveaxis(arrays["first"], axis, -1))}
    if soft:
        last["targets"] = np.ascontiguousarray(np.moveaxis(arrays["targets"], axis, -1))
    expected = call("cross_entropy", last)
    for name in ("grad", "proba"):
        expected[name] = np.moveaxis(expected[name], -1, axis)
    assert_same_bits(call("cross_entropy", arrays, axis=axis), expected)
    laid = {name: layout(array) for name, array in arrays.items()}
    assert_same_bits(call("cross_entropy", laid, axis=axis), expected)


@pytest.mark.parametrize("layout", [swapped, fortran, backwards, nested_list], ids=lambda one: one.__name__)
def test_new_gradients_are_plain(function, layout):
    """In C order and in the dtype of the logits, whatever the memory order of the input."""
    first, targets = inputs(function, (37, 5), np.float64)
    grad = value_and_grad_of(function)(layout(first), targets)[1]
    assert grad.flags.c_contiguous
    assert grad.flags.writeable
    assert grad.shape == (37, 5)
    assert grad.dtype == np.float64
    losses = loss_of(function)(layout(first), targets, reduction="none")
    assert losses.flags.c_contiguous
    assert losses.shape == losses_shape(function, (37, 5))


def test_lists(function, soft):
    arrays = full_call(function, (7, 3), np.float64, soft)
    lists = {name: array.tolist() for name, array in arrays.items()}
    assert_same_bits(call(function, lists), call(function, arrays))


def test_memmap(function, dtype, soft, tmp_path):
    arrays = full_call(function, (50, 30), dtype, soft)
    mapped = {}
    for name, array in arrays.items():
        array.tofile(tmp_path / name)
        mapped[name] = np.memmap(tmp_path / name, array.dtype, "r", shape=array.shape)
    assert_same_bits(call(function, mapped), call(function, arrays))


@pytest.mark.parametrize("repeated", [(0,), (1,), (0, 1)], ids=str)
def test_zero_strides(function, dtype, soft, repeated):
    """Logits of which one row or column, or one number, stands for all."""
    arrays = full_call(function, (40, 6), dtype, soft)
    source = arrays["first"][tuple(slice(0, 1) if axis in repeated else slice(None) for axis in (0, 1))]
    view = np.broadcast_to(source, (40, 6))
    assert 0 in view.strides
    expected = call(function, arrays | {"first": view.copy()})
    assert_same_bits(call(function, arrays | {"first": view}), expected)


@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (6, 1), (1, 1), (4,), (1,), ()], ids=str)
@pytest.mark.parametrize("name", ["targets", "sample_weight", "pos_weight", "where"])
def test_broadcasting_against_the_loss(dtype, name, shape):
    arrays = full_call("bce_with_logits", (6, 4), dtype, True)
    small = arrays[name][tuple(slice(0, n) for n in (1, 1)[len(shape) :] + shape)].reshape(shape)
    expected = call("bce_with_logits", arrays | {name: np.broadcast_to(small, (6, 4)).copy()})
    assert_same_bits(call("bce_with_logits", arrays | {name: small}), expected)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
@pytest.mark.parametrize(
    "shape", [(3700, 3), (91, 100), (9, 4096), (3, 4097), (50, 57, 3), (4, 2100, 2)], ids=str
)
def test_broadcasting_over_many_blocks(function, dtype, reduction, shape):
    """One row for all, one element for a row, one for a plane, and what lies between."""
    arrays = full_call(function, shape, dtype, True)
    ndim = len(shape)
    for kept in range(1, 2**ndim - 1):
        cut = tuple(slice(0, None if kept >> axis & 1 else 1) for axis in range(ndim))
        small = {name: array[cut] for name, array in arrays.items() if name != "first"}
        large = {name: np.broadcast_to(array, shape).copy() for name, array in small.items()}
        expected = call(function, arrays | large, reduction=reduction)
        assert_same_bits(call(function, arrays | small, reduction=reduction), expected)
        for name in small:
            if name != "where":  # which counts everywhere
                mixed = arrays | large | {name: small[name]}
                assert_same_bits(call(function, mixed, reduction=reduction), expected)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 129, 255, 256, 257])
def test_short_runs(dtype, columns):
    """Logits, targets and outputs of rows with a gap, before, between and behind which nothing is written."""
    shape = (4000 // columns, columns)
    arrays = full_call("bce_with_logits", shape, dtype, True)
    expected = call("bce_with_logits", arrays)
    apart = {name: np.pad(array, ((1, 1), (1, 2)))[1:-1, 1:-2] for name, array in arrays.items()}
    assert_same_bits(call("bce_with_logits", apart), expected)
    for name in ("out", "loss_out", "proba_out"):
        large = np.full((shape[0] + 2, columns + 3), 77, dtype)
        value_and_grad_of("bce_with_logits")(
            apart["first"],
            apart["targets"],
            **{option: apart[option] for option in ("sample_weight", "pos_weight", "where")},
            **{name: large[1:-1, 1:-2]},
        )
        same = {"out": "grad", "loss_out": "losses", "proba_out": "proba"}[name]
        assert same_bits(large[1:-1, 1:-2], expected[same])
        large[1:-1, 1:-2] = 77
        assert (large == 77).all()


def frame_like(array):
    """Fortran order, in memory that has more columns before and behind, and more rows."""
    large = np.full((array.shape[1] + 2, array.shape[0] + 3), 1, array.dtype)
    large[1:-1, 2:-1] = array.T
    return large[1:-1, 2:-1].T


@pytest.mark.parametrize("shape", [(5000, 7), (300, 100), (70, 1500), (17, 5003), (3, 9001)], ids=str)
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
@pytest.mark.parametrize("lay", [np.asfortranarray, frame_like], ids=lambda one: one.__name__)
def test_fortran_order_over_many_chunks(function, dtype, soft, lay, shape):
    """Panels of rows, that begin and end within rows: inputs one by one and all, outputs, in place."""
    arrays = full_call(function, shape, dtype, soft)
    expected = call(function, arrays)
    for name in arrays:
        assert_same_bits(call(function, arrays | {name: lay(arrays[name])}), expected)
    laid = {name: lay(array) for name, array in arrays.items()}
    first, targets = laid.pop("first"), laid.pop("targets")
    for threads in (1, 2, 3):
        out, losses = lay(np.full(shape, 77, dtype)), lay(np.full(shape, 77, dtype))
        value_and_grad_of(function)(first, targets, out=out, loss_out=losses, num_threads=threads, **laid)
        assert same_bits(out, expected["grad"])
        assert same_bits(losses, expected["losses"])
        in_place = lay(arrays["first"])
        value_and_grad_of(function)(in_place, targets, out=in_place, num_threads=threads, **laid)
        assert same_bits(in_place, expected["grad"])
        if lay is frame_like:  # nothing is written around it
            for array in (out, losses, in_place):
                array[...] = 1
                assert (array.base == 1).all()


def test_position_of_a_negative_weight(dtype):
    """Which is looked for by chunks."""
    logits, targets = inputs("bce_with_logits", (30_000,), dtype)
    weights = np.where(np.arange(30_000) % 7 == 0, -0.0, 1).astype(dtype)
    loss_of("bce_with_logits")(logits, targets, pos_weight=weights)
    weights[[20_001, 29_999]] = -1
    with pytest.raises(ValueError, match=r"pos_weight: expected .*, got -1.0 at position 20001"):
        loss_of("bce_with_logits")(logits, targets, pos_weight=weights)


@pytest.mark.parametrize("in_place", [False, True])
def test_position_in_fortran_order(dtype, in_place):
    """The first one in C order is named, whichever panel it lies in."""
    logits, targets = (np.asfortranarray(array) for array in inputs("bce_with_logits", (300, 100), dtype))
    targets[250, 3] = targets[251, 2] = 2
    before = logits.copy()
    out = logits if in_place else np.empty_like(logits)
    with pytest.raises(ValueError, match=r"targets: expected values in .*, got 2 at position \(250, 3\)"):
        value_and_grad_of("bce_with_logits")(logits, targets, out=out)
    assert same_bits(logits, before)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (6, 1), (4,), ()], ids=str)
@pytest.mark.parametrize("name", ["targets", "sample_weight", "where"])
def test_broadcasting_against_the_rows(dtype, axis, name, shape):
    """Labels, weights and masks broadcast against the shape of the logits without the class axis."""
    full = [6, 4]
    full.insert(axis, 3)
    arrays = full_call("cross_entropy", tuple(full), dtype, False, axis)
    small = arrays[name][tuple(slice(0, n) for n in (1, 1)[len(shape) :] + shape)].reshape(shape)
    expected = call("cross_entropy", arrays | {name: np.broadcast_to(small, (6, 4)).copy()}, axis=axis)
    assert_same_bits(call("cross_entropy", arrays | {name: small}, axis=axis), expected)


@pytest.mark.parametrize("shape", [(1, 4, 3), (6, 1, 3), (1, 1, 3)], ids=str)
def test_broadcasting_probability_rows(dtype, shape):
    arrays = full_call("cross_entropy", (6, 4, 3), dtype, True)
    small = arrays["targets"][tuple(slice(0, n) for n in shape)]
    expected = call("cross_entropy", arrays | {"targets": np.broadcast_to(small, (6, 4, 3)).copy()})
    assert_same_bits(call("cross_entropy", arrays | {"targets": small}), expected)


@pytest.mark.parametrize("wrap", [lambda value: value, np.asarray], ids=["scalar", "array"])
def test_scalars(dtype, wrap):
    """0-d in, 0-d out."""
    for target in (1, True, np.int8(1), np.array(1.0)):
        for function in ("bce", "bce_with_logits", "sigmoid_focal_loss"):
            value = wrap(dtype(0.75))
            expected = value_and_grad_of(function)(np.full(1, 0.75, dtype), [1])
            loss, grad = value_and_grad_of(function)(value, target)
            assert loss == expected[0]
            assert grad.shape == ()
            assert grad.dtype == dtype
            assert grad == expected[1][0]
            assert np.shape(loss_of(function)(value, target, reduction="none")) == ()
    loss, grad = value_and_grad_of("cross_entropy")(np.array([1, 2, 4], dtype), 1)
    expected = value_and_grad_of("cross_entropy")(np.array([[1, 2, 4]], dtype), [1])
    assert loss == expected[0]
    np.testing.assert_array_equal(grad, expected[1][0])
    assert np.shape(loss_of("cross_entropy")(np.array([1, 2, 4], dtype), 1, reduction="none")) == ()
    assert value_and_grad_of("bce_with_logits")(1.5, 1)[1].dtype == np.float64


@pytest.mark.parametrize("layout", [np.copy, axes_rotated, backwards], ids=lambda one: one.__name__)
@pytest.mark.parametrize("shape", [(2, 3) * 4, (1,) * 61 + (2, 3, 2)], ids=len)
def test_many_dimensions(function, shape, layout):
    """More than can be folded into few; the same as all elements, or all rows, one after the other."""
    arrays = full_call(function, shape, np.float64, False)
    flat = {}
    for name, array in arrays.items():
        per_class = function == "cross_entropy" and name == "first"
        flat[name] = array.reshape((-1, shape[-1]) if per_class else -1)
    expected = call(function, flat)
    for name, array in call(function, {name: layout(array) for name, array in arrays.items()}).items():
        assert same_bits(array, expected[name].reshape(array.shape) if np.ndim(array) else expected[name])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0, 3), (0, 0, 3)], ids=str)
def test_empty(function, dtype, shape):
    first = np.zeros(shape, dtype)
    targets = np.zeros(losses_shape(function, shape), int)
    if function == "cross_entropy" and len(shape) == 1:
        first, targets = np.zeros((0, 5), dtype), np.zeros(0, int)
    results = everything(function, first, targets, reduction="sum")
    assert results["loss"] == 0
    assert results["grad"].shape == first.shape


# Of one size NumPy has two integers; one of them is a dtype of its own.
INTEGERS = ["int8", "int16", "int32", "int64", "longlong", "uint8", "uint16", "uint32", "uint64", "ulonglong"]
NUMBERS = ["bool", *INTEGERS, "float16", "float32", "float64"]


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("layout", [np.copy, backwards, swapped], ids=lambda one: one.__name__)
def test_integer_logits_are_float64(name, layout):
    for function in WITH_LOGITS:
        _, targets = inputs(function, (60, 7), np.float64)
        logits = np.random.default_rng(0).integers(0, 120, (60, 7)).astype(name)
        expected = everything(function, logits.astype(np.float64), targets)
        actual = everything(function, layout(logits), targets, dtype=np.float64)
        assert_same_bits(actual, expected)
    probs = (np.arange(60) % 2).astype(name)
    expected = everything("bce", probs.astype(np.float64), np.ones(60, int))
    assert_same_bits(everything("bce", layout(probs), np.ones(60, int), dtype=np.float64), expected)


@pytest.mark.parametrize("layout", [np.copy, backwards, swapped, misaligned], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NUMBERS)
def test_hard_targets_of_every_dtype(function, dtype, name, layout):
    """0 and 1, or one-hot rows; whatever they come in, and with labels too, the same bits."""
    first, targets = inputs(function, (61, 11), dtype)
    if function == "cross_entropy":
        targets = np.eye(11, dtype=np.int64)[targets]
    expected = everything(function, first, targets.astype(dtype))
    assert_same_bits(everything(function, first, layout(targets.astype(name))), expected)


@pytest.mark.parametrize("layout", [np.copy, backwards, swapped, misaligned], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NUMBERS[1:])
def test_labels_of_every_dtype(dtype, name, layout):
    first, targets = inputs("cross_entropy", (600, 11), dtype)
    expected = everything("cross_entropy", first, targets)
    assert_same_bits(everything("cross_entropy", first, layout(targets.astype(name))), expected)
    if np.dtype(name).kind != "u":
        ignored = np.where(targets == 3, -100, targets)
        expected = everything("cross_entropy", first, ignored, ignore_index=-100)
        actual = everything("cross_entropy", first, layout(ignored.astype(name)), ignore_index=-100)
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_soft_targets_of_every_dtype(function, dtype, name):
    """Rounded to the dtype that is computed in."""
    first, targets = inputs(function, (61, 11), np.float64, soft=True)
    first, targets = first.astype(dtype), targets.astype(name)
    expected = everything(function, first, targets.astype(dtype))
    assert_same_bits(everything(function, first, targets), expected)


@pytest.mark.parametrize("name", ["int8", "int64", "uint8", "float32", "float64"])
def test_weights_of_every_dtype(function, dtype, name):
    arrays = full_call(function, (61, 11), dtype, False)
    for argument in ("sample_weight", "class_weight", "pos_weight"):
        if argument in arrays:
            whole = np.ceil(arrays[argument] * 2)
            expected = call(function, arrays | {argument: whole})
            assert_same_bits(call(function, arrays | {argument: whole.astype(name)}), expected)


@pytest.mark.parametrize("number", [3.7, 0.1, 0.0, -0.0, 1.0, 1e30, np.inf, np.nan])
@pytest.mark.parametrize("shape", [(), (7,), (33, 5), (9000,), (300, 100)], ids=str)
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
def test_weight_of_the_positive_class_as_a_float(function, dtype, soft, shape, number):
    """Which is not made an array of: as if each element had been given it in float64."""
    first, targets = inputs(function, shape, dtype, soft=soft)
    expected = everything(function, first, targets, pos_weight=np.full(shape, number))
    assert_same_bits(everything(function, first, targets, pos_weight=number), expected)
