"""Calls drawn at random, with all options together, against the reference; and what must not change a bit.

``make test`` draws the same few each time, ``make test-all`` many others each time; with
``ARGS=--hypothesis-show-statistics`` pytest says how many.
"""

from dataclasses import replace

import numpy as np
import pytest
import reference
from cases import WITH_HESSIAN, grad_hess_of, loss_of, same_bits, value_and_grad_of
from closeness import assert_close
from drawn_calls import BFLOAT16, calls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import finfo

FUNCTIONS = ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy")
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def few(count):
    """The same examples in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=CHECKS)


def many(count):
    return settings(max_examples=count, deadline=None, print_blob=True, suppress_health_check=CHECKS)


each_function = pytest.mark.parametrize("function", FUNCTIONS)


def run(call):
    """The results of a call, by name."""
    arguments = call.laid_out()
    outputs = {}
    for name, dtype in call.outputs.items():
        array = np.full(call.elements if name == "loss_out" else call.first.shape, 77, dtype)
        outputs[name] = call.layouts.get(name, np.asarray)(array)
    options = {} if call.num_threads is None else {"num_threads": call.num_threads}
    first, targets = arguments.pop("first"), arguments.pop("targets")
    form = {"loss": loss_of, "value_and_grad": value_and_grad_of, "grad_hess": grad_hess_of}[call.form]
    returned = form(call.function)(first, targets, **arguments, **outputs, **options)
    names = {"loss": ("loss",), "value_and_grad": ("loss", "grad"), "grad_hess": ("grad", "hess")}[call.form]
    results = dict(zip(names, (returned,) if call.form == "loss" else returned, strict=True))
    for output, result in (("out", "grad"), ("grad_out", "grad"), ("hess_out", "hess")):
        assert output not in outputs or results[result] is outputs[output]
    if "loss_out" in outputs:
        results["losses"] = outputs["loss_out"]
        assert call.options["reduction"] != "none" or results["loss"] is outputs["loss_out"]
    if "proba_out" in outputs:
        results["proba"] = outputs["proba_out"]
    return results


def without_limit(call):
    """Rows with several +inf: SPEC section 4 promises nothing of them but that they harm no other row."""
    if call.function != "cross_entropy":
        return np.zeros(call.elements, bool)
    return np.sum(call.first.astype(np.float64) == np.inf, axis=call.axis) > 1


def overflows(call, expected):
    """Elements whose loss, with or without some of its weights, the dtype that is computed in cannot hold."""
    options = dict(call.options)
    options["where"] = (options.pop("sample_weight", 1) != 0) & np.asarray(options.get("where", True))
    largest = abs(expected.losses)
    for _ in ("with class_weight", "without"):
        plain = getattr(reference, call.function)(call.first, call.targets, **options)
        largest = np.maximum(largest, abs(plain.losses))
        options.pop("class_weight", None)
    return largest > float(finfo(call.computed).max)


def check_against_the_reference(call):
    results = run(call)
    options = {"reduction": "none"} | call.options  # which grad_hess does not have
    expected = getattr(reference, call.function)(call.first, call.targets, **options)
    lost, huge = without_limit(call), overflows(call, expected)
    total = np.sum(abs(expected.losses))
    for name, actual in results.items():
        right, size = getattr(expected, name), getattr(expected, name + "_size", None)
        size = abs(right) if size is None else size
        if type(actual) is float:
            assert call.options["reduction"] != "none"
            if huge.any() or total > np.finfo(np.float64).max:
                # Its terms are infinite in the dtype they are computed in; of both signs, they have no sum.
                both = (expected.losses > 0).any() and (expected.losses < 0).any()
                if not np.isnan(right) and (np.isinf(actual) or (both and np.isnan(actual))):
                    continue
            if not lost.any():
                assert_close(actual, right, size, call.computed, name, stored=np.float64)
            continue
        per_class = np.ndim(right) > lost.ndim
        skip = np.expand_dims(lost, call.axis) if per_class else lost
        if name in ("loss", "losses"):
            skip = lost | (huge & np.isinf(actual) & (np.signbit(right) == np.signbit(actual)))
        elif name == "grad" and np.isnan(expected.loss).all() and not expected.grad.any():
            skip = skip | np.isnan(
                actual
            )  # weights that cancel make every gradient 0; whether NaN, too, is open
        elif name == "hess" and not per_class:
            skip = np.isnan(expected.grad) & ~np.isnan(
                call.first
            )  # of a NaN target: p (1 - p) is still a number
        if skip.any():
            right, size, actual = (np.where(skip, 0, array) for array in (right, size, actual))
        assert_close(actual, right, size, call.computed, name, stored=np.asarray(actual).dtype)


@each_function
@few(100)
@given(data=st.data())
def test_values(function, data):
    check_against_the_reference(data.draw(calls(function)))


@pytest.mark.slow
@each_function
@many(10_000)
@given(data=st.data())
def test_many_values(function, data):
    check_against_the_reference(data.draw(calls(function)))


# --- what must not change a bit -----------------------------------------------------------------------------


def check_outputs_and_layout(call):
    """Memory layout, broadcasting, threads, and outputs given or not."""
    results = run(call)
    for name, array in run(call.plain(outputs=call.outputs)).items():
        assert same_bits(results[name], array), name
    for name, array in run(call.plain()).items():
        assert type(array) is float or array.dtype == call.own, name
        if np.asarray(array).dtype == np.asarray(results[name]).dtype:
            assert same_bits(results[name], array), name


def each_by_itself(call):
    """The options without those that reduce."""
    return {name: value for name, value in call.options.items() if name not in ("reduction", "normalizer")}


def check_forms(call):
    """The loss alone, with its gradient, and the gradient with the Hessian."""
    call = call.plain()
    options = each_by_itself(call)
    both = run(replace(call, form="value_and_grad", options=options | {"reduction": "none"}))
    alone = run(replace(call, form="loss", options=options | {"reduction": "none"}))
    assert same_bits(alone["loss"], both["loss"])
    if call.function in WITH_HESSIAN:
        assert same_bits(run(replace(call, form="grad_hess", options=options))["grad"], both["grad"])
    if call.form != "grad_hess":
        loss, loss_again = (run(replace(call, form=form))["loss"] for form in ("loss", "value_and_grad"))
        assert same_bits(loss, loss_again)


def check_elements_stand_alone(call, seed):
    """Rearranging them rearranges the results; half of them are what they were among all."""
    reduction = {} if call.form == "grad_hess" else {"reduction": "none"}
    call = replace(call, options=each_by_itself(call) | reduction)
    count = int(np.prod(call.elements))
    everywhere = run(call.take(slice(None)))
    order = np.random.default_rng(seed).permutation(count)
    moved = run(call.take(order))
    parts = [run(call.take(part)) for part in (slice(0, count // 2), slice(count // 2, None))]
    for name, array in everywhere.items():
        assert same_bits(moved[name], array[order]), name
        assert same_bits(np.concatenate([part[name] for part in parts]), array), name


def check_dtype_of_hard_targets(call, dtype):
    results = run(call)
    for name, array in run(replace(call, targets=call.targets.astype(dtype))).items():
        assert same_bits(results[name], array), name


def check_bits(data, function):
    check_outputs_and_layout(data.draw(calls(function)))
    check_forms(data.draw(calls(function)))
    check_elements_stand_alone(data.draw(calls(function)), data.draw(st.integers(0, 99)))
    call = data.draw(calls(function, labelled=True, garbage=False))
    if call.function == "cross_entropy":
        dtypes = [np.int16, np.int64, np.float32, np.float64]
    else:
        dtypes = [bool, np.int8, np.uint64, np.float16, BFLOAT16, np.float32, np.float64]
    check_dtype_of_hard_targets(call, data.draw(st.sampled_from(dtypes)))


@each_function
@few(15)
@given(data=st.data())
def test_bits(function, data):
    check_bits(data, function)


@pytest.mark.slow
@each_function
@many(500)
@given(data=st.data())
def test_many_bits(function, data):
    check_bits(data, function)
