"""Gradient with Hessian: its outputs, overlapping inputs or not, and what it says of wrong arguments."""

import numpy as np
import pytest
from cases import CLASS_WEIGHT, WITH_HESSIAN, grad_hess_of, inputs, losses_shape, same_bits
from test_errors import OPTIONS, assert_says, assert_untouched
from test_outputs import FLOATS, OFFSETS, backwards, fortran, misaligned, place, plain, strided

OUTPUTS = ("grad_out", "hess_out", "proba_out")
SHAPE = (40, 30)


# --- outputs ------------------------------------------------------------------------------------------------


def grad_hess_results(function, first, targets, **options):
    proba = np.full(np.shape(first), 77, first.dtype)
    grad, hess = grad_hess_of(function)(first, targets, proba_out=proba, **options)
    return {"grad_out": grad, "hess_out": hess, "proba_out": proba}


@pytest.mark.parametrize("form", [plain, strided, backwards, fortran, misaligned])
@pytest.mark.parametrize("out_dtype", FLOATS)
@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_each_output_of_grad_hess_is_filled(function, dtype, soft, form, out_dtype):
    first, targets = inputs(function, SHAPE, dtype, soft=soft)
    expected = grad_hess_results(function, first, targets)
    for names in (OUTPUTS, *((name,) for name in OUTPUTS)):
        outputs = {name: form(SHAPE, out_dtype) for name in names}
        returned = grad_hess_of(function)(first, targets, **outputs)
        for name, array in zip(OUTPUTS, returned, strict=False):
            assert name not in outputs or array is outputs[name]
            assert same_bits(array, expected[name].astype(array.dtype))
        for name, array in outputs.items():
            assert same_bits(array, expected[name].astype(out_dtype)), name


@pytest.mark.parametrize("offsets", OFFSETS, ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_an_output_of_grad_hess_over_the_logits(function, dtype, output, offsets):
    """It is the logits, or lies across them; the other two are as ever."""
    shape = (2000, 30)
    first, targets = inputs(function, shape, dtype)
    expected = grad_hess_results(function, first, targets)
    start_in, start_out, step = offsets
    buffer = np.zeros(first.size + 1000, dtype)
    outputs = {name: np.empty(shape, dtype) for name in OUTPUTS}
    outputs[output] = buffer[start_out : start_out + first.size][::step].reshape(shape)
    inside = place(buffer, start_in, first)
    grad_hess_of(function)(inside, targets, **outputs)
    for name, array in outputs.items():
        assert same_bits(array, expected[name]), name


@pytest.mark.parametrize("argument", ["targets", "sample_weight", "class_weight"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_an_output_of_grad_hess_over_another_input(function, dtype, output, argument):
    first, targets = inputs(function, SHAPE, dtype, soft=True)
    rng = np.random.default_rng(1)
    weights = rng.uniform(1, 2, losses_shape(function, SHAPE)).astype(dtype)
    options = {"sample_weight": weights, CLASS_WEIGHT[function]: rng.uniform(1, 2, SHAPE[-1]).astype(dtype)}
    expected = grad_hess_results(function, first, targets, **options)
    buffer = np.zeros(first.size + 10, dtype)
    receiver = buffer[3 : 3 + first.size].reshape(SHAPE)
    if argument == "targets":
        targets = place(buffer, 5, targets)
    else:
        name = CLASS_WEIGHT[function] if argument == "class_weight" else argument
        options[name] = place(buffer, 5, options[name])
    others = {name: np.empty(SHAPE, dtype) for name in OUTPUTS if name != output}
    grad_hess_of(function)(first, targets, **options, **others, **{output: receiver})
    for name, array in (others | {output: receiver}).items():
        assert same_bits(array, expected[name]), name


@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_outputs_of_grad_hess_that_share_memory(function, dtype):
    """A ValueError that names both, with nothing written; side by side they share none."""
    first, targets = inputs(function, SHAPE, dtype)
    expected = grad_hess_results(function, first, targets)
    for one, other in (("grad_out", "hess_out"), ("grad_out", "proba_out"), ("hess_out", "proba_out")):
        for shift in (0, 1, first.size - 1):
            buffer = np.full(2 * first.size, 77, dtype)
            places = {one: 0, other: shift}
            arrays = {name: buffer[at : at + first.size].reshape(SHAPE) for name, at in places.items()}
            with pytest.raises(ValueError, match=rf"(?s)(\b{one}\b.*\b{other}\b|\b{other}\b.*\b{one}\b)"):
                grad_hess_of(function)(first, targets, **arrays)
            assert (buffer == 77).all()
        buffer = np.full((*SHAPE, 2), 77, dtype)
        arrays = {one: buffer[..., 0], other: buffer[..., 1]}
        grad_hess_of(function)(first, targets, **arrays)
        for name, array in arrays.items():
            assert same_bits(array, expected[name]), name


# --- wrong arguments ----------------------------------------------------------------------------------------

SMALL = (6, 4)  # that of the shared rows
NO_REDUCTION = [
    {"reduction": "none"},
    {"normalizer": 2.0},
    {"loss_out": np.zeros(6)},
    {"out": np.zeros(SMALL)},
]


def assert_grad_hess_raises(function, options, exception, words):
    first, targets = inputs(function, SMALL, np.float64)
    outputs = {name: np.full(SMALL, -77.0) for name in OUTPUTS}
    with pytest.raises(exception) as error:
        grad_hess_of(function)(first, targets, **(outputs | options))
    assert_says(error, next(iter(options)), words)
    assert_untouched(outputs, outputs.keys() - options.keys())


def grad_hess_rows():
    """The rows above that are about options it takes."""
    elsewhere = {"reduction", "normalizer", "out", "loss_out", "eps", "alpha", "gamma"}
    for functions, options, exception, words in OPTIONS:
        for function in set(functions) & set(WITH_HESSIAN):
            name = next(iter(options))
            if name not in elsewhere:
                row_id = f"{function}-{name}-{options[name]!r:.20}"
                yield pytest.param(function, options, exception, words, id=row_id)


@pytest.mark.parametrize(
    ("function", "options", "exception", "words"), sorted(grad_hess_rows(), key=lambda row: row.id)
)
def test_wrong_options_of_grad_hess(function, options, exception, words):
    assert_grad_hess_raises(function, options, exception, words)


@pytest.mark.parametrize("options", NO_REDUCTION, ids=lambda options: next(iter(options)))
@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_grad_hess_reduces_nothing(function, options):
    assert_grad_hess_raises(function, options, TypeError, [])


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_wrong_outputs_of_grad_hess(function, name):
    for output, exception, words in [
        (np.zeros((4, 6)), ValueError, [r"\(4, 6\)", r"\(6, 4\)"]),
        (np.zeros(6), ValueError, [r"\(6,\)", r"\(6, 4\)"]),
        (np.zeros(SMALL, int), TypeError, ["float32", "float64", "int64"]),
        (np.zeros(SMALL).tolist(), TypeError, ["array", "list"]),
        (np.broadcast_to(0.0, SMALL), ValueError, ["writ[ae]|read-only"]),
    ]:
        assert_grad_hess_raises(function, {name: output}, exception, words)


@pytest.mark.parametrize("function", WITH_HESSIAN)
def test_wrong_targets_of_grad_hess(function):
    """Found, named with their position, and nothing is written where an output would overwrite an input."""
    first, targets = inputs(function, SMALL, np.float64)
    targets = targets.copy()
    targets.flat[-1] = 9
    position = r"\(5, 3\)" if function == "bce_with_logits" else r"\b5\b"
    exception = ValueError if function == "bce_with_logits" else IndexError
    before = first.copy()
    for options in ({}, {"grad_out": first}, {"hess_out": first}):
        with pytest.raises(exception) as error:
            grad_hess_of(function)(first, targets, **options)
        assert_says(error, "targets", [position, r"\b9"])
        assert (first == before).all()
