"""Section 6: a wrong argument raises before anything is written; the message says which one, and why."""

import re

import numpy as np
import pytest
from cases import SMOOTHED, WITH_LOGITS, inputs, losses_shape, value_and_grad_of

import fastbce as fb

SHAPE = (6, 4)
BOTH = ("bce", "bce_with_logits")
BINARY = (*BOTH, "sigmoid_focal_loss")
ALL = (*BOTH, "sigmoid_focal_loss", "cross_entropy")
CE = ("cross_entropy",)
FOCAL = ("sigmoid_focal_loss",)
NAN = float("nan")

# Functions, options, exception, and what the message must say besides the argument's name, as patterns.
OPTIONS = [
    (ALL, {"reduction": "average"}, ValueError, ["none", "sum", "mean", "weighted_mean", "average"]),
    (ALL, {"reduction": "Mean"}, ValueError, ["weighted_mean", "'Mean'"]),
    (ALL, {"reduction": ""}, ValueError, ["weighted_mean"]),
    (ALL, {"reduction": np.array(["sum", "mean"])}, ValueError, ["weighted_mean", "array"]),
    (ALL, {"normalizer": 10**400}, ValueError, ["range of a float", "beyond"]),
    (ALL, {"normalizer": 0}, ValueError, ["positive|> ?0", r"\b0"]),
    (ALL, {"normalizer": -2.5}, ValueError, ["positive|> ?0", r"-2\.5"]),
    (ALL, {"normalizer": NAN}, ValueError, ["positive|> ?0", "nan"]),
    (ALL, {"normalizer": "many"}, TypeError, ["number|float", "str"]),
    (ALL, {"normalizer": [1.0, 2.0]}, TypeError, ["number|float", "list"]),
    (ALL, {"normalizer": 2.0, "reduction": "sum"}, ValueError, ["mean|None", "sum"]),
    (ALL, {"normalizer": 2.0, "reduction": "none"}, ValueError, ["mean|None", "none"]),
    (SMOOTHED, {"label_smoothing": -0.25}, ValueError, [r"\[0, 1\]", r"-0\.25"]),
    (SMOOTHED, {"label_smoothing": 1.5}, ValueError, [r"\[0, 1\]", r"1\.5"]),
    (SMOOTHED, {"label_smoothing": NAN}, ValueError, [r"\[0, 1\]", "nan"]),
    (SMOOTHED, {"label_smoothing": "some"}, TypeError, ["number|float", "str"]),
    (ALL, {"num_threads": 0}, ValueError, [r"positive|> ?0|>= ?1|at least 1", r"\b0"]),
    (ALL, {"num_threads": -3}, ValueError, [r"positive|> ?0|>= ?1|at least 1", "-3"]),
    (ALL, {"num_threads": 1.5}, TypeError, ["int", "float|1.5"]),
    (ALL, {"num_threads": "two"}, TypeError, ["int", "str|two"]),
    (ALL, {"sample_weight": np.ones(5)}, ValueError, [r"\(5,\)", r"\(6"]),
    (ALL, {"sample_weight": np.ones((2, 6, 4))}, ValueError, [r"\(2, 6, 4\)", r"\(6"]),
    (ALL, {"sample_weight": "heavy"}, TypeError, ["str|<U5"]),
    (ALL, {"sample_weight": np.ones(1, complex)}, TypeError, ["complex128"]),
    (ALL, {"sample_weight": np.ones(1, object)}, TypeError, ["object"]),
    (ALL, {"where": np.ones(5, bool)}, ValueError, [r"\(5,\)", r"\(6"]),
    (ALL, {"where": np.ones(1, int)}, TypeError, ["bool", "int64"]),
    (ALL, {"where": np.ones(1)}, TypeError, ["bool", "float64"]),
    (CE, {"sample_weight": np.ones((6, 1))}, ValueError, [r"\(6, 1\)", r"\(6,\)"]),
    (CE, {"where": np.ones((6, 1), bool)}, ValueError, [r"\(6, 1\)", r"\(6,\)"]),
    (BOTH, {"pos_weight": np.ones(3)}, ValueError, [r"\(3,\)", r"\(6, 4\)"]),
    (BOTH, {"pos_weight": -1.5}, ValueError, [r"-1\.5", "negative|>= ?0|≥ ?0|at least 0"]),
    (
        BOTH,
        {"pos_weight": np.array([NAN, 1, -2.5, -4.0])},
        ValueError,
        [r"-2\.5", "negative|>= ?0|≥ ?0|at least 0"],
    ),
    (BOTH, {"pos_weight": "heavy"}, TypeError, ["str|<U5"]),
    (CE, {"class_weight": np.ones(5)}, ValueError, [r"\(5,\)", r"\(4,\)"]),
    (CE, {"class_weight": np.ones(1)}, ValueError, [r"\(1,\)", r"\(4,\)"]),
    (CE, {"class_weight": np.ones((6, 4))}, ValueError, [r"\(6, 4\)", r"\(4,\)"]),
    (CE, {"class_weight": 2.0}, ValueError, [r"\(\)", r"\(4,\)"]),
    (CE, {"class_weight": "abcd"}, TypeError, ["str|<U4"]),
    (CE, {"ignore_index": 1.5}, TypeError, ["int", "float|1.5"]),
    (CE, {"ignore_index": "last"}, TypeError, ["int", "str|last"]),
    (CE, {"axis": 2}, ValueError, [r"\b2\b"]),
    (CE, {"axis": -3}, ValueError, ["-3"]),
    (CE, {"axis": 1.0}, TypeError, ["int", "float|1.0"]),
    (CE, {"axis": None}, TypeError, ["int", "None"]),
    (FOCAL, {"alpha": 1.5}, ValueError, [r"\[0, 1\]|<= ?1|≤ ?1|at most 1", r"1\.5"]),
    (FOCAL, {"alpha": NAN}, ValueError, ["nan"]),
    (FOCAL, {"alpha": "some"}, TypeError, ["number|float", "str"]),
    (FOCAL, {"alpha": None}, TypeError, ["number|float", "None"]),
    (FOCAL, {"alpha": np.ones(4)}, TypeError, ["number|float", "ndarray|array"]),
    (FOCAL, {"alpha": np.array(True)}, TypeError, ["number|float", "ndarray|array"]),
    (FOCAL, {"alpha": np.array("0.5")}, TypeError, ["number|float", "ndarray|array"]),
    (FOCAL, {"gamma": -0.5}, ValueError, ["negative|>= ?0|≥ ?0|at least 0", r"-0\.5"]),
    (FOCAL, {"gamma": NAN}, ValueError, ["nan"]),
    (FOCAL, {"gamma": float("inf")}, ValueError, ["finite", "inf"]),
    (FOCAL, {"gamma": "much"}, TypeError, ["number|float", "str"]),
    (("bce",), {"eps": 0.0}, ValueError, [r"\(0, 0\.5\)|0 < eps < 0\.5", r"0\.0"]),
    (("bce",), {"eps": 0.5}, ValueError, [r"\(0, 0\.5\)|0 < eps < 0\.5", r"0\.5"]),
    (("bce",), {"eps": -1e-7}, ValueError, [r"\(0, 0\.5\)|0 < eps < 0\.5", "-1e-07"]),
    (("bce",), {"eps": NAN}, ValueError, [r"\(0, 0\.5\)|0 < eps < 0\.5", "nan"]),
    (("bce",), {"eps": "tiny"}, TypeError, ["number|float", "str"]),
    (ALL, {"out": np.zeros((4, 6))}, ValueError, [r"\(4, 6\)", r"\(6, 4\)"]),
    (ALL, {"out": np.zeros((6, 1))}, ValueError, [r"\(6, 1\)", r"\(6, 4\)"]),
    (ALL, {"out": np.zeros(SHAPE, int)}, TypeError, ["float32", "float64", "int64"]),
    (ALL, {"out": np.zeros(SHAPE, complex)}, TypeError, ["float32", "float64", "complex128"]),
    (ALL, {"out": np.zeros(SHAPE).tolist()}, TypeError, ["array", "list"]),
    (ALL, {"out": np.ma.array(np.zeros(SHAPE), mask=True)}, TypeError, ["mask", r"out\.data"]),
    (ALL, {"out": np.broadcast_to(0.0, SHAPE)}, ValueError, ["writ[ae]|read-only"]),
    (ALL, {"loss_out": np.zeros((2, 2))}, ValueError, [r"\(2, 2\)", r"\(6"]),
    (BINARY, {"loss_out": np.zeros(SHAPE, bool)}, TypeError, ["float32", "float64", "bool"]),
    (CE, {"loss_out": np.zeros(SHAPE)}, ValueError, [r"\(6, 4\)", r"\(6,\)"]),
    (CE, {"loss_out": np.zeros(6, np.int32)}, TypeError, ["float32", "float64", "int32"]),
    (WITH_LOGITS, {"proba_out": np.zeros(6)}, ValueError, [r"\(6,\)", r"\(6, 4\)"]),
    (WITH_LOGITS, {"proba_out": np.zeros(SHAPE, bool)}, TypeError, ["float32", "float64", "bool"]),
    (WITH_LOGITS, {"proba_out": 1.0}, TypeError, ["array", "float"]),
]


def watched_outputs(function, dtype=np.float64, shape=SHAPE):
    """Every output of a call, filled with a value that none of them ever gets."""
    outputs = {"out": np.full(shape, -77.0, dtype)}
    outputs["loss_out"] = np.full(losses_shape(function, shape), -77.0, dtype)
    if function in WITH_LOGITS:
        outputs["proba_out"] = np.full(shape, -77.0, dtype)
    return outputs


def assert_untouched(outputs, names=None):
    for name in outputs if names is None else names:
        assert (outputs[name] == -77).all(), f"{name} was written to"


def assert_says(error, argument, words):
    message = str(error.value)
    assert re.search(rf"\b{argument}\b", message), f"{argument} is not named: {message}"
    for word in words:
        assert re.search(word, message), f"{word} is missing: {message}"


def option_rows():
    for functions, options, exception, words in OPTIONS:
        for function in functions:
            name = next(iter(options))
            yield pytest.param(
                function, options, exception, words, id=f"{function}-{name}-{options[name]!r:.20}"
            )


@pytest.mark.parametrize(("function", "options", "exception", "words"), list(option_rows()))
def test_wrong_options(function, options, exception, words):
    first, targets = inputs(function, SHAPE, np.float64)
    outputs = watched_outputs(function)
    with pytest.raises(exception) as error:
        value_and_grad_of(function)(first, targets, **(outputs | options))
    assert_says(error, next(iter(options)), words)
    assert_untouched(outputs, outputs.keys() - options.keys())
    if "out" not in options:
        options = options | {name: outputs[name] for name in outputs.keys() - options.keys() - {"out"}}
        with pytest.raises(exception) as error:
            getattr(fb, function)(first, targets, **options)
        assert_says(error, next(iter(options)), words)
        assert_untouched(outputs, outputs.keys() - options.keys())


FIRST = [
    (np.zeros(SHAPE, bool), TypeError, ["bool"]),
    (np.zeros(SHAPE, np.longdouble), TypeError, ["longdouble|float128|float96"]),
    (np.zeros(SHAPE, complex), TypeError, ["complex128"]),
    (np.zeros(SHAPE, object), TypeError, ["object"]),
    (np.zeros(SHAPE, "U3"), TypeError, ["str|U3"]),
    (np.zeros(SHAPE, "M8[s]"), TypeError, ["datetime64"]),
    (None, TypeError, ["None|object"]),
    ("abc", TypeError, ["str|U3"]),
]


@pytest.mark.parametrize(("first", "exception", "words"), FIRST, ids=lambda value: f"{value!r:.40}")
def test_wrong_first_argument(function, first, exception, words):
    if np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant and "longdouble" in words[0]:
        pytest.skip("long double is double")
    targets = inputs(function, SHAPE, np.float64)[1]
    outputs = watched_outputs(function)
    with pytest.raises(exception) as error:
        value_and_grad_of(function)(first, targets, **outputs)
    assert_says(error, "probs" if function == "bce" else "logits", words)
    assert_untouched(outputs)


def test_a_read_only_output_of_a_plain_call(function):
    """Contiguous, of the dtype of the logits: nothing else stands in the way of writing to it."""
    first, targets = inputs(function, SHAPE, np.float64)
    out = np.full(SHAPE, -77.0)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a writeable array, got a read-only one"):
        value_and_grad_of(function)(first, targets, out=out)
    assert (out == -77).all()


TARGETS = [
    (BINARY, np.zeros((4, 6)), ValueError, [r"\(4, 6\)", r"\(6, 4\)"]),
    (BINARY, np.zeros((3, 6, 4)), ValueError, [r"\(3, 6, 4\)", r"\(6, 4\)"]),
    (BINARY, np.zeros(6), ValueError, [r"\(6,\)", r"\(6, 4\)"]),
    (ALL, np.zeros(SHAPE, complex), TypeError, ["complex128"]),
    (ALL, np.zeros(SHAPE, object), TypeError, ["object"]),
    (ALL, np.zeros(SHAPE, "U1"), TypeError, ["str|U1"]),
    (ALL, None, TypeError, ["None|object"]),
    (CE, np.zeros((6, 1), int), ValueError, [r"\(6, 1\)", r"\(6,\)|\(6, 4\)"]),
    (CE, np.zeros((6, 1)), ValueError, [r"\(6, 1\)", r"\(6,\)|\(6, 4\)"]),
    (CE, np.zeros((6, 5)), ValueError, [r"\(6, 5\)", r"\(6,\)|\(6, 4\)"]),
    (CE, np.zeros((5, 4)), ValueError, [r"\(5, 4\)", r"\(6,\)|\(6, 4\)"]),
    (CE, np.zeros((6, 4, 1)), ValueError, [r"\(6, 4, 1\)", r"\(6,\)|\(6, 4\)"]),
    (CE, np.zeros(5, int), ValueError, [r"\(5,\)", r"\(6,\)"]),
    (CE, np.zeros(4), ValueError, [r"\(4,\)", r"\(6,\)"]),
]


def target_rows():
    for functions, targets, exception, words in TARGETS:
        for function in functions:
            shape, kind = np.shape(targets), getattr(targets, "dtype", None)
            yield pytest.param(function, targets, exception, words, id=f"{function}-{shape}-{kind}")


@pytest.mark.parametrize(("function", "targets", "exception", "words"), list(target_rows()))
def test_wrong_targets(function, targets, exception, words):
    first, _ = inputs(function, SHAPE, np.float64)
    outputs = watched_outputs(function)
    with pytest.raises(exception) as error:
        value_and_grad_of(function)(first, targets, **outputs)
    assert_says(error, "targets", words)
    assert_untouched(outputs)


def test_labels_as_a_column_never_pass_for_probabilities():
    """Also where N is the number of classes, and where the class axis is another."""
    for shape, labels, axis in (((4, 4), (4, 1), -1), ((4, 6), (1, 6), 0), ((2, 4, 3), (2, 1, 3), 1)):
        with pytest.raises(ValueError, match="targets"):
            fb.cross_entropy(np.zeros(shape), np.zeros(labels, int), axis=axis)


def test_probabilities_have_no_ignored_label():
    with pytest.raises(ValueError, match="ignore_index"):
        fb.cross_entropy(np.zeros((3, 2)), np.full((3, 2), 0.5), ignore_index=-100)


def test_no_class_axis():
    with pytest.raises(ValueError, match=r"\b(axis|logits)\b"):
        fb.cross_entropy(np.float64(1.0), 0)


ELSEWHERE = [
    ("bce", {"proba_out": np.zeros(SHAPE)}),
    ("bce", {"axis": 0}),
    ("bce", {"ignore_index": 1}),
    ("bce", {"class_weight": np.ones(4)}),
    ("bce_with_logits", {"eps": 1e-7}),
    ("bce_with_logits", {"class_weight": np.ones(4)}),
    ("bce_with_logits", {"gamma": 2.0}),
    ("bce", {"alpha": 0.5}),
    ("sigmoid_focal_loss", {"label_smoothing": 0.1}),
    ("sigmoid_focal_loss", {"pos_weight": 2.0}),
    ("sigmoid_focal_loss", {"eps": 1e-7}),
    ("cross_entropy", {"pos_weight": 2.0}),
    ("cross_entropy", {"eps": 1e-7}),
    ("cross_entropy", {"wieght": 1}),
]


@pytest.mark.parametrize(("function", "options"), ELSEWHERE, ids=str)
def test_options_of_another_function(function, options):
    first, targets = inputs(function, SHAPE, np.float64)
    for form in (getattr(fb, function), value_and_grad_of(function)):
        with pytest.raises(TypeError, match=next(iter(options))):
            form(first, targets, **options)


def test_how_it_is_called(function):
    """Two arguments by position or name, options by name, `out` where there is a gradient."""
    first, targets = inputs(function, SHAPE, np.float64)
    name = "probs" if function == "bce" else "logits"
    for form in (getattr(fb, function), value_and_grad_of(function)):
        by_name, by_position = form(**{name: first, "targets": targets}), form(first, targets)
        assert str(by_name) == str(by_position)
        for arguments in ((), (first,), (first, targets, None)):
            with pytest.raises(TypeError):
                form(*arguments)
    with pytest.raises(TypeError, match="out"):
        getattr(fb, function)(first, targets, out=np.zeros(SHAPE))


def test_torch_tensor_that_requires_grad(function):
    torch = pytest.importorskip("torch")
    first, targets = inputs(function, SHAPE, np.float64)
    tensor = torch.tensor(first, requires_grad=True)
    with pytest.raises(TypeError, match=r"\.detach\(\)"):
        value_and_grad_of(function)(tensor, targets)
