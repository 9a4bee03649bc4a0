"""Section 5: float16 and bfloat16 are computed in float32 and stored rounded, and never converted as a whole.

So every result is judged twice: by the float32 result of the same numbers, rounded by NumPy or ml_dtypes, bit
for bit; and by the exact value. All 65,536 numbers of either dtype are tried.
"""

import math

import numpy as np
import pytest
import reference
from cases import (
    SMOOTHED,
    assert_same_bits,
    everything,
    inputs,
    loss_of,
    losses_shape,
    same_bits,
    value_and_grad_of,
)
from layouts import LAYOUTS, backwards, misaligned, swapped
from reference import DOUBLE, ulp_error
from test_memory import LIMIT, SIZE, traced_peak

import fastbce as fb

LOSSES = ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy")
GRAD_HESS = ("bce_with_logits_grad_hess", "cross_entropy_grad_hess")
ULP = 0.51


@pytest.fixture(params=["float16", "bfloat16"])
def half(request):
    if request.param == "float16":
        return np.dtype(np.float16)
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)


@pytest.fixture(params=[*LOSSES, *GRAD_HESS])
def any_function(request):
    return request.param


def base(function):
    return function.removesuffix("_grad_hess")


def outcome(function, first, targets, **options):
    """All that a call returns or writes, by name."""
    if function not in GRAD_HESS:
        return everything(function, first, targets, **options)
    proba = np.full(np.shape(first), 77, first.dtype.newbyteorder("="))
    grad, hess = getattr(fb, function)(first, targets, proba_out=proba, **options)
    return {"grad": grad, "hess": hess, "proba": proba}


def rounded(results, half):
    """What float32 gave, as the half dtype holds it; a reduced loss is a Python float in both."""
    with np.errstate(over="ignore"):
        return {
            name: value if type(value) is float else value.astype(half) for name, value in results.items()
        }


def every_number(half, function):
    """Every bit pattern that is an input, as float32: all logits, and all probabilities in [0, 1]."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = np.arange(2**16).astype(np.uint16).view(half).astype(np.float32)
    return values[np.isnan(values) | ((values >= 0) & (values <= 1))] if function == "bce" else values


def rows_of(values):
    """Every number beside two others; and all those that are finite in longer rows."""
    with np.errstate(all="ignore"):
        yield np.stack([values, np.full_like(values, 0.5), values / 2], axis=1)
    finite = np.random.default_rng(0).permutation(values[np.isfinite(values)])
    yield finite[: len(finite) // 40 * 40].reshape(-1, 40)


@pytest.mark.parametrize("target", [0, 1, 0.3])
def test_every_number_as_in_float32(any_function, half, target):
    values = every_number(half, any_function)
    if base(any_function) != "cross_entropy":
        cases = [(values, np.full(values.shape, target))]
    elif target == 0.3:
        cases = [(rows, np.linspace(0, 0.4, rows[0].size) ** 2) for rows in rows_of(values)]
        cases = [(rows, np.broadcast_to(row, rows.shape)) for rows, row in cases]
    else:
        cases = [(rows, np.full(len(rows), target)) for rows in rows_of(values)]
    options = {} if any_function in GRAD_HESS else {"reduction": "none"}
    for first, targets in cases:
        with np.errstate(all="ignore"):
            logits = first.astype(half)
        expected = outcome(any_function, logits.astype(np.float32), targets, **options)
        assert_same_bits(outcome(any_function, logits, targets, **options), rounded(expected, half))


def exactly(function, first, targets):
    """The exact results of hard targets, in float64, of float32 numbers."""
    result = getattr(reference, base(function))(first, targets, DOUBLE, reduction="none")
    return {"grad": result.grad} | ({"hess": result.hess} if function in GRAD_HESS else {"loss": result.loss})


@pytest.mark.parametrize("target", [0, 1])
def test_every_number_is_accurate(any_function, half, target):
    """Within 0.51 of the dtype's own ULP: subnormal results, and those that overflow, included."""
    values = every_number(half, any_function)
    cases = rows_of(values) if base(any_function) == "cross_entropy" else [values]
    options = {} if any_function in GRAD_HESS else {"reduction": "none"}
    for first in cases:
        with np.errstate(all="ignore"):
            logits = first.astype(half)
        targets = np.full(losses_shape(base(any_function), logits.shape), target)
        results = outcome(any_function, logits, targets, **options)
        for name, exact in exactly(any_function, logits.astype(np.float32), targets).items():
            errors = ulp_error(results[name], exact, half)
            worst = np.unravel_index(np.argmax(errors), errors.shape)
            assert errors[worst] <= ULP, (
                f"{name}: {errors[worst]:.4g} ULP at {logits[worst[0]]!r}: {results[name][worst]!r} "
                f"instead of {exact[worst]!r}"
            )


def full_call(function, shape, soft, half):
    """Arrays for every argument that may be one, all in the half dtype, but for labels and the mask."""
    first, targets = inputs(base(function), shape, np.float32, soft=soft)
    rng = np.random.default_rng(9)
    elements = losses_shape(base(function), shape)
    arrays = {
        "first": first.astype(half),
        "targets": targets.astype(half) if soft or base(function) != "cross_entropy" else targets,
        "sample_weight": rng.uniform(0.5, 2, elements).astype(half),
        "where": rng.random(elements) < 0.8,
    }
    if base(function) == "cross_entropy":
        arrays["class_weight"] = rng.uniform(0.5, 2, shape[-1]).astype(half)
    elif function != "sigmoid_focal_loss":
        arrays["pos_weight"] = rng.uniform(0.5, 2, shape).astype(half)
    return arrays


def call(function, arrays, **options):
    arrays = dict(arrays)
    return outcome(function, arrays.pop("first"), arrays.pop("targets"), **arrays, **options)


def as_float32(arrays):
    return {
        name: array if array.dtype.kind in "bi" else array.astype(np.float32)
        for name, array in arrays.items()
    }


OPTIONS = [
    {},
    {"reduction": "none"},
    {"reduction": "sum"},
    {"reduction": "weighted_mean"},
    {"normalizer": 7.5},
    {"label_smoothing": 0.1},
    {"num_threads": 1},
    {"num_threads": 3},
]


@pytest.mark.parametrize("shape", [(7, 3), (61, 33), (30_011, 10)], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_as_in_float32(any_function, half, soft, options, shape):
    """A reduced loss is the very float that float32 gives: it is not rounded."""
    if any_function in GRAD_HESS and options.keys() & {"reduction", "normalizer"}:
        options = {}
    if any_function == "sigmoid_focal_loss" and "label_smoothing" in options:
        options = {"alpha": 0.6, "gamma": 1.5}
    arrays = full_call(any_function, shape, soft, half)
    expected = call(any_function, as_float32(arrays), **options)
    actual = call(any_function, arrays, **options)
    assert_same_bits(actual, rounded(expected, half))
    if any_function in LOSSES and options.get("reduction") != "none":
        assert type(actual["loss"]) is float
        alone = {name: value for name, value in arrays.items() if name not in ("first", "targets")}
        assert (
            loss_of(any_function)(arrays["first"], arrays["targets"], **alone, **options) == expected["loss"]
        )


def test_reduced_losses_are_sums_of_what_is_not_rounded(function, half):
    """Rounded losses would be off by one part in a thousand."""
    first, targets = inputs(function, (5000, 4), np.float32)
    first = first.astype(half)
    exact = getattr(reference, function)(first.astype(np.float32), targets, reduction="none").loss
    total = loss_of(function)(first, targets, reduction="sum")
    assert total == pytest.approx(math.fsum(exact.ravel().tolist()), rel=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("shape", [(37, 5), (1200, 3), (6, 5, 33)], ids=str)
def test_layout_of_each_argument(any_function, half, soft, layout, shape):
    arrays = full_call(any_function, shape, soft, half)
    expected = rounded(call(any_function, as_float32(arrays)), half)
    for name in arrays:
        assert_same_bits(call(any_function, arrays | {name: layout(arrays[name])}), expected)
    assert_same_bits(call(any_function, {name: layout(array) for name, array in arrays.items()}), expected)


@pytest.mark.parametrize("layout", [np.array, backwards, swapped, misaligned], ids=lambda one: one.__name__)
def test_labels(dtype, half, layout):
    """Whole numbers: those up to 256 are the same in both."""
    logits, labels = inputs("cross_entropy", (600, 200), dtype)
    expected = everything("cross_entropy", logits, labels)
    assert_same_bits(everything("cross_entropy", logits, layout(labels.astype(half))), expected)
    ignored = np.where(labels == 3, -100, labels)
    expected = everything("cross_entropy", logits, ignored, ignore_index=-100)
    actual = everything("cross_entropy", logits, layout(ignored.astype(half)), ignore_index=-100)
    assert_same_bits(actual, expected)


def test_beside_other_dtypes(function, dtype, half, soft):
    """Half targets and weights beside float32 and float64 logits, and the other way round."""
    arrays = full_call(function, (61, 11), soft, half)
    wide = {
        name: array if array.dtype.kind in "bi" else array.astype(dtype) for name, array in arrays.items()
    }
    expected = call(function, wide)
    assert_same_bits(call(function, arrays | {"first": wide["first"]}), expected)
    expected = rounded(call(function, as_float32(arrays)), half)
    assert_same_bits(call(function, wide | {"first": arrays["first"]}), expected)


def test_options_that_are_half_numbers(function):
    """NumPy's float16 is a number like another."""
    first, targets = inputs(function, (61, 11), np.float64)
    for name, value in {"label_smoothing": 0.125, "normalizer": 8.0, "eps": 0.25}.items():
        taken = {"eps": function == "bce", "label_smoothing": function in SMOOTHED}
        if taken.get(name, True):
            expected = loss_of(function)(first, targets, **{name: value})
            assert loss_of(function)(first, targets, **{name: np.float16(value)}) == expected


# --- outputs ------------------------------------------------------------------------------------------------


def output_names(function):
    """What the results are called as arguments."""
    if function in GRAD_HESS:
        return {"grad": "grad_out", "hess": "hess_out", "proba": "proba_out"}
    return {"grad": "out", "losses": "loss_out", "proba": "proba_out"}


def with_outputs(function, first, targets, **options):
    return getattr(fb, function if function in GRAD_HESS else function + "_value_and_grad")(
        first, targets, **options
    )


@pytest.mark.parametrize("out_dtype", ["float32", "float64", "own", "own, swapped"])
def test_outputs_of_each_dtype(any_function, half, soft, out_dtype):
    """A wider output holds the float32 results as they are: nothing is rounded on the way."""
    arrays = full_call(any_function, (61, 33), soft, half)
    results = call(any_function, as_float32(arrays))
    own = {"own": half, "own, swapped": half.newbyteorder()}
    out_dtype = own[out_dtype] if out_dtype in own else np.dtype(out_dtype)
    native = out_dtype.newbyteorder("=")
    first, targets = arrays.pop("first"), arrays.pop("targets")
    names = {name: out for name, out in output_names(any_function).items() if name in results}
    outputs = {out: np.full(results[name].shape, 77, out_dtype) for name, out in names.items()}
    returned = with_outputs(any_function, first, targets, **arrays, **outputs)
    assert returned[-1] is outputs["hess_out" if any_function in GRAD_HESS else "out"]
    for name, out in names.items():
        assert same_bits(outputs[out].astype(native), results[name].astype(native)), out


def test_no_half_output_beside_other_logits(any_function, half):
    """It would round what the logits say more of: own dtype, float32 or float64."""
    pairs = [(np.dtype(np.float32), half), (np.dtype(np.float64), half)]
    if half.name == "bfloat16":
        pairs += [(np.dtype(np.float16), half), (half, np.dtype(np.float16))]
    first, targets = inputs(base(any_function), (6, 4), np.float32)
    for first_dtype, out_dtype in pairs:
        results = outcome(any_function, first, targets)
        for name, out in output_names(any_function).items():
            if name in results:
                array = np.full(results[name].shape, 77, out_dtype)
                words = rf"^{out}: .*float32.*float64.*{out_dtype.name}"
                with pytest.raises(TypeError, match=words):
                    with_outputs(any_function, first.astype(first_dtype), targets, **{out: array})
                assert (array == 77).all()


def test_new_arrays_have_the_dtype_of_the_logits(any_function, half):
    """In native byte order, whatever theirs is."""
    first, targets = inputs(base(any_function), (61, 11), np.float32)
    options = {} if any_function in GRAD_HESS else {"reduction": "none"}
    for logits in (first.astype(half), swapped(first.astype(half))):
        for array in with_outputs(any_function, logits, targets, **options):
            assert array.dtype == half
            assert array.flags.c_contiguous


# --- overlaps -----------------------------------------------------------------------------------------------


def test_outputs_over_the_inputs(any_function, half, soft):
    """The logits, the targets or the weights receive results, as if nothing overlapped."""
    arrays = full_call(any_function, (301, 33), soft, half)
    expected = rounded(call(any_function, as_float32(arrays)), half)
    for name, out in output_names(any_function).items():
        for over in ("first", "targets", "sample_weight"):
            if (
                name not in expected
                or arrays[over].shape != expected[name].shape
                or arrays[over].dtype != half
            ):
                continue
            copies = {argument: array.copy() for argument, array in arrays.items()}
            output = copies[over]
            with_outputs(any_function, copies.pop("first"), copies.pop("targets"), **copies, **{out: output})
            assert same_bits(output, expected[name]), (name, over)


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64, None], ids=["float32", "float64", "own"])
def test_outputs_that_overlap_the_logits_elsewhere(any_function, half, out_dtype):
    """Wider than they are, or shifted: element i is written where others have still to be read."""
    out_dtype = half if out_dtype is None else np.dtype(out_dtype)
    first, targets = inputs(base(any_function), (2003, 11), np.float32)
    first = first.astype(half)
    expected = outcome(any_function, first.astype(np.float32), targets)["grad"].astype(out_dtype)
    for shift in (0, 2, 40):
        buffer = np.zeros(first.size * 8 + 64, np.uint8)
        logits = buffer[shift : shift + first.nbytes].view(half).reshape(first.shape)
        logits[...] = first
        out = buffer[: first.size * out_dtype.itemsize].view(out_dtype).reshape(first.shape)
        with_outputs(any_function, logits, targets, **{output_names(any_function)["grad"]: out})
        assert same_bits(out, expected), shift


# --- wrong values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.25, 1.5, np.inf, -np.inf, "next"], ids=str)
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
def test_values_out_of_range(function, half, value):
    value = float(np.nextafter(half.type(1), half.type(2))) if value == "next" else value
    for argument in ("targets", "probs") if function == "bce" else ("targets",):
        first, targets = np.full(700, 0.5).astype(half), np.ones(700).astype(half)
        (targets if argument == "targets" else first)[699] = value
        with pytest.raises(ValueError, match=rf"^{argument}: .*\[0, 1\].* at position 699$") as error:
            value_and_grad_of(function)(first, targets)
        found = float(str(error.value).split("got ")[1].split()[0])
        assert half.type(found) == half.type(value)


def test_labels_that_are_none(half):
    logits = np.zeros((600, 5), half)
    for value, exception in ((-1, IndexError), (5, IndexError), (0.5, ValueError), (np.nan, ValueError)):
        labels = np.ones(600).astype(half)
        labels[599] = value
        with pytest.raises(exception, match=r"^targets: .* at position 599$") as error:
            fb.cross_entropy(logits, labels)
        np.testing.assert_equal(float(str(error.value).split("got ")[1].split()[0]), float(value))


def test_negative_pos_weight(half):
    logits, targets = inputs("bce_with_logits", (6, 4), np.float32)
    with pytest.raises(ValueError, match=r"^pos_weight: .*-2\.5"):
        fb.bce_with_logits(logits.astype(half), targets, pos_weight=np.array([1, 1, -2.5, 1]).astype(half))


# --- memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "strided", "swapped"])
def test_nothing_is_copied(any_function, half, form):
    """Not to convert it either: all arrays are 12 MB or more, but for the mask."""

    def lay(array):
        if form == "strided":
            return np.repeat(array, 2, axis=-1)[..., ::2]
        return swapped(array) if form == "swapped" else array

    shape = (SIZE // 4, 4)
    logits, targets = lay(np.full(shape, 0.25, half)), lay(np.ones(shape, half))
    weight = lay(np.ones(losses_shape(base(any_function), shape), half))
    names = output_names(any_function)
    outputs = {names[name]: np.empty(shape, half) for name in names.keys() & {"grad", "hess"}}
    peak = traced_peak(lambda: with_outputs(any_function, logits, targets, sample_weight=weight, **outputs))
    assert peak <= LIMIT


# --- the last rounding --------------------------------------------------------------------------------------


def test_results_beyond_the_largest_are_infinite(half):
    """A loss of the largest is itself, one of 1.25 times that is not a number it has."""
    largest = float(reference.finfo(half).max)
    first = np.array([largest, -largest, largest], half)
    losses = fb.bce_with_logits(first, [0, 1, 0], sample_weight=[1, 1, 1.25], reduction="none")
    assert losses.astype(float).tolist() == [largest, largest, math.inf]


def test_targets_are_rounded_to_float32_and_no_further(half):
    """0.1 is not the float16 nearest to it."""
    out = np.empty(1, np.float32)
    fb.bce_with_logits_value_and_grad(np.zeros(1, half), np.array([0.1]), out=out, reduction="none")
    np.testing.assert_allclose(out, 0.5 - np.float32(0.1), rtol=1e-7)


def test_a_nan_is_stored_without_its_payload():
    """On every CPU: the instruction that AVX-512 has for it would keep a part."""
    logits = np.arange(0x7C01, 0x8000, dtype=np.uint16).view(np.float16)
    _, grad = fb.bce_with_logits_value_and_grad(logits, np.zeros(logits.size))
    assert set((grad.view(np.uint16) & 0x7FFF).tolist()) == {0x7E00}
