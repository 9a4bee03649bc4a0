"""Section 5, output: `out`, `loss_out` and `proba_out`, and what happens when arrays overlap: nothing."""

import numpy as np
import pytest
from cases import (
    CLASS_WEIGHT,
    WITH_LOGITS,
    everything,
    inputs,
    loss_of,
    losses_shape,
    same_bits,
    value_and_grad_of,
)

SHAPE = (40, 30)
FLOATS = [np.float32, np.float64]


def outputs_of(function):
    return {"out": SHAPE, "loss_out": losses_shape(function, SHAPE)} | (
        {"proba_out": SHAPE} if function in WITH_LOGITS else {}
    )


def results_by_output(results):
    """What `everything` returns, under the names of the arguments that receive it."""
    names = {"out": "grad", "loss_out": "losses", "proba_out": "proba"}
    return {output: results[name] for output, name in names.items() if name in results}


def strided(shape, dtype):
    return np.full((*shape, 2), 77, dtype)[..., 1]


def backwards(shape, dtype):
    return np.full(shape, 77, dtype)[(slice(None, None, -1),) * len(shape)]


def fortran(shape, dtype):
    return np.full(shape, 77, dtype, order="F")


def misaligned(shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(bytearray(1 + size), np.uint8)[1:].view(dtype).reshape(shape)


def plain(shape, dtype):
    return np.full(shape, 77, dtype)


@pytest.mark.parametrize("form", [plain, strided, backwards, fortran, misaligned])
@pytest.mark.parametrize("out_dtype", FLOATS)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_each_output_is_filled(function, dtype, soft, form, out_dtype, reduction):
    """With the values of a new array, rounded to its own dtype; the gaps in it are left alone."""
    first, targets = inputs(function, SHAPE, dtype, soft=soft)
    expected = results_by_output(everything(function, first, targets, reduction=reduction))
    outputs = {name: form(shape, out_dtype) for name, shape in outputs_of(function).items()}
    loss, grad = value_and_grad_of(function)(first, targets, reduction=reduction, **outputs)
    assert grad is outputs["out"]
    assert (loss is outputs["loss_out"]) == (reduction == "none")
    for name, array in outputs.items():
        assert same_bits(array, expected[name].astype(out_dtype)), name
        if form is strided:
            assert (array.base[..., 0] == 77).all()


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_outputs_without_a_gradient(function, dtype, reduction):
    first, targets = inputs(function, SHAPE, dtype)
    expected = everything(function, first, targets, reduction=reduction)
    losses = np.empty(losses_shape(function, SHAPE), dtype)
    loss = loss_of(function)(first, targets, reduction=reduction, loss_out=losses)
    assert (loss is losses) == (reduction == "none")
    assert same_bits(losses, expected["losses"])
    assert same_bits(loss, expected["loss"])
    if function in WITH_LOGITS:
        proba = np.empty(SHAPE, dtype)
        assert same_bits(
            loss_of(function)(first, targets, reduction=reduction, proba_out=proba), expected["loss"]
        )
        assert same_bits(proba, expected["proba"])


def test_loss_out_holds_weighted_losses_that_are_not_averaged(function, dtype):
    first, targets = inputs(function, SHAPE, dtype)
    weight = np.linspace(0.5, 2, SHAPE[0]).reshape((-1,) if function == "cross_entropy" else (-1, 1))
    losses = np.empty(losses_shape(function, SHAPE), dtype)
    each = loss_of(function)(first, targets, sample_weight=weight, reduction="none")
    for reduction in ("sum", "mean", "weighted_mean"):
        losses[...] = 77
        loss_of(function)(first, targets, sample_weight=weight, reduction=reduction, loss_out=losses)
        assert same_bits(losses, each)


def test_outputs_without_dimensions(dtype):
    outputs = {"out": np.zeros((), dtype), "loss_out": np.zeros((), dtype), "proba_out": np.zeros((), dtype)}
    call = value_and_grad_of("bce_with_logits")
    loss, grad = call(dtype(1.5), 1, reduction="none", **outputs)
    assert loss is outputs["loss_out"]
    assert grad is outputs["out"]
    expected = call(np.full(1, 1.5, dtype), [1], reduction="none")
    assert loss == expected[0][0]
    assert grad == expected[1][0]
    assert abs(outputs["proba_out"] - 1 / (1 + np.exp(-1.5))) <= 2 * np.finfo(dtype).eps


def test_none_as_output(function, dtype):
    """The same as not given."""
    first, targets = inputs(function, SHAPE, dtype)
    expected = value_and_grad_of(function)(first, targets)
    loss, grad = value_and_grad_of(function)(first, targets, **dict.fromkeys(outputs_of(function)))
    assert loss == expected[0]
    assert same_bits(grad, expected[1])


# --- overlap ------------------------------------------------------------------------------------------------


def place(buffer, start, array, step=1):
    """A copy of `array` inside `buffer`, from item `start` on; backwards with a step of -1."""
    view = buffer[start : start + array.size][::step].reshape(array.shape)
    view[...] = array
    return view


OFFSETS = [(0, 0, 1), (0, 0, -1), (5, 0, 1), (0, 5, 1), (0, 37, 1), (700, 0, 1), (0, 37, -1)]


@pytest.mark.parametrize("offsets", OFFSETS, ids=str)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_gradient_over_its_input(function, dtype, offsets, num_threads):
    """`out` is the first argument, or lies across it, before, behind or backwards."""
    shape = (2000, 30)
    first, targets = inputs(function, shape, dtype)
    expected = value_and_grad_of(function)(first, targets)
    start_in, start_out, step = offsets
    buffer = np.zeros(first.size + 1000, dtype)
    out = buffer[start_out : start_out + first.size][::step].reshape(shape)
    inside = place(buffer, start_in, first)
    loss, grad = value_and_grad_of(function)(inside, targets, out=out, num_threads=num_threads)
    assert grad is out
    assert loss == expected[0]
    assert same_bits(grad, expected[1])


def outputs_and_inputs():
    for function in ("bce", *WITH_LOGITS):
        per_class = [CLASS_WEIGHT[function]] if function in CLASS_WEIGHT else []
        for output in outputs_of(function):
            for argument in ("first", "targets", "sample_weight", *per_class):
                yield function, output, argument


@pytest.mark.parametrize(("function", "output", "argument"), list(outputs_and_inputs()))
@pytest.mark.parametrize("shift", [0, 3, -3])
def test_each_output_over_each_input(function, dtype, output, argument, shift):
    first, targets = inputs(function, SHAPE, dtype, soft=True)
    rng = np.random.default_rng(1)
    arrays = {
        "first": first,
        "targets": targets,
        "sample_weight": rng.uniform(1, 2, losses_shape(function, SHAPE)).astype(dtype),
        "class_weight": rng.uniform(1, 2, SHAPE[-1:]).astype(dtype),
        "pos_weight": rng.uniform(1, 2, SHAPE).astype(dtype),
    }
    for name in {"pos_weight", "class_weight"} - {CLASS_WEIGHT.get(function)}:
        del arrays[name]
    options = dict(arrays)
    expected = everything(function, options.pop("first"), options.pop("targets"), **options)
    buffer = np.zeros(first.size + 10, dtype)
    shape = outputs_of(function)[output]
    receiver = buffer[5 + shift :][: int(np.prod(shape))].reshape(shape)
    options = arrays | {argument: place(buffer, 5, arrays[argument])}
    loss, grad = value_and_grad_of(function)(
        options.pop("first"), options.pop("targets"), **options, **{output: receiver}
    )
    assert loss == expected["loss"]
    assert same_bits(grad, expected["grad"])
    assert same_bits(receiver, results_by_output(expected)[output])


def test_gradient_over_an_input_of_another_dtype(function, dtype):
    """The items of the one are not at the places of the other's."""
    other = np.float64 if dtype == np.float32 else np.float32
    first, targets = inputs(function, SHAPE, dtype)
    expected = value_and_grad_of(function)(first, targets)
    buffer = np.zeros(first.size, np.float64)
    inside = place(buffer.view(dtype), 0, first)
    out = buffer.view(other)[: first.size].reshape(SHAPE)
    loss, grad = value_and_grad_of(function)(inside, targets, out=out)
    assert loss == expected[0]
    assert same_bits(grad, expected[1].astype(other))


@pytest.mark.parametrize("shift", [0, 1, 100, 599])
def test_gradient_over_plain_targets_of_a_larger_dtype(shift):
    """Their bytes reach further than those of as many logits."""
    first, targets = inputs("bce_with_logits", (600,), np.float32)
    expected = value_and_grad_of("bce_with_logits")(first, targets)
    buffer = np.zeros(1200, np.float32)
    inside = place(buffer.view(np.int64), 0, targets)
    out = buffer[600 - shift : 1200 - shift]
    loss, grad = value_and_grad_of("bce_with_logits")(first, inside, out=out)
    assert loss == expected[0]
    assert same_bits(grad, expected[1])


@pytest.mark.parametrize("eps", [None, 1e-7, 1e-300])
@pytest.mark.parametrize("output", ["loss_out", "out"])
def test_results_over_probabilities(dtype, soft, eps, output):
    """Also where these are looked at again after they were clipped."""
    probs, targets = inputs("bce", (1000,), dtype, soft=soft)
    probs[::7], probs[3::7], targets[3::7] = 1e-9, np.nan, 0
    if eps is not None and dtype(eps) == 0:
        pytest.skip("eps is 0 in this dtype")
    expected = everything("bce", probs, targets, eps=eps)
    loss, grad = value_and_grad_of("bce")(probs, targets, eps=eps, **{output: probs})
    assert same_bits(loss, expected["loss"])
    assert same_bits(grad, expected["grad"])


def test_losses_over_labels_and_masks(dtype):
    """Whatever their dtype: an output may lie in the memory of labels, or of a mask."""
    first, labels = inputs("cross_entropy", (800, 7), dtype)
    where = np.arange(800) % 5 > 0
    expected = everything("cross_entropy", first, labels, where=where)
    buffer = np.zeros(801, np.int64)
    losses = buffer.view(np.float64)[1:]
    loss_of("cross_entropy")(first, place(buffer, 0, labels), where=where, loss_out=losses)
    assert same_bits(losses, expected["losses"].astype(np.float64))
    buffer = np.zeros(8 * 801, bool)
    losses = buffer.view(np.float64)[:800]
    loss_of("cross_entropy")(first, labels, where=place(buffer, 100, where), loss_out=losses)
    assert same_bits(losses, expected["losses"].astype(np.float64))


def test_transposed_view_of_the_input(function, dtype):
    """`out` is the same memory in another order."""
    first, targets = inputs(function, (50, 50), dtype)
    expected = value_and_grad_of(function)(first, targets)
    loss, grad = value_and_grad_of(function)(first, targets, out=first.T)
    assert loss == expected[0]
    assert same_bits(grad, expected[1])


@pytest.mark.parametrize("argument", ["targets", "sample_weight", "pos_weight"])
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
def test_gradient_over_a_single_value(function, dtype, argument):
    """A value for all elements lies where the first entry of the gradient goes."""
    first, targets = inputs(function, SHAPE, dtype, soft=True)
    value = dtype(0.5)
    operands = {"targets": targets, argument: value}
    expected = value_and_grad_of(function)(first, **operands)
    out = np.full(SHAPE, value)
    loss, grad = value_and_grad_of(function)(first, **operands | {argument: out[0, 0, ...]}, out=out)
    assert loss == expected[0]
    assert same_bits(grad, expected[1])


def test_outputs_that_share_memory(function, dtype):
    """A ValueError that names both, with nothing written."""
    first, targets = inputs(function, SHAPE, dtype)
    names = list(outputs_of(function))
    for one, other in ((a, b) for a in names for b in names if a < b):
        buffer = np.full(first.size + 1, 77, dtype)
        arrays = {}
        for start, name in enumerate((one, other)):
            shape = outputs_of(function)[name]
            arrays[name] = buffer[start:][: int(np.prod(shape))].reshape(shape)
        with pytest.raises(ValueError, match=rf"(?s)(\b{one}\b.*\b{other}\b|\b{other}\b.*\b{one}\b)"):
            value_and_grad_of(function)(first, targets, **arrays)
        assert (buffer == 77).all()


def test_outputs_side_by_side(dtype):
    """Outputs whose items alternate share no memory."""
    first, targets = inputs("bce_with_logits", (1200,), dtype)
    expected = results_by_output(everything("bce_with_logits", first, targets))
    buffer = np.zeros((1200, 3), dtype)
    outputs = {name: buffer[:, k] for k, name in enumerate(expected)}
    value_and_grad_of("bce_with_logits")(first, targets, **outputs)
    for name, array in outputs.items():
        assert same_bits(array, expected[name]), name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", ["bce", "bce_with_logits"])
@pytest.mark.parametrize("overwritten", ["first", "targets"])
def test_minus_zero_and_nan_are_no_error_where_they_are_overwritten(function, dtype, overwritten):
    """The kernel takes both for values that may be out of range; by then they are gone."""
    operands = dict(zip(("first", "targets"), inputs(function, (50,), dtype, soft=True), strict=True))
    for operand in operands.values():
        operand[3], operand[20] = -0.0, np.nan
    call = value_and_grad_of(function)
    value, expected = call(*(operand.copy() for operand in operands.values()))
    in_place = call(*operands.values(), out=operands[overwritten])
    assert same_bits(in_place[0], value)
    assert same_bits(operands[overwritten], expected)
