"""Section 6: probabilities, targets and labels out of range are found, and named with position and value."""

import itertools
import re

import numpy as np
import pytest
from cases import everything, inputs, loss_of, losses_shape, value_and_grad_of

import fastbce as fb

BINARY = ("bce", "bce_with_logits", "sigmoid_focal_loss")
NAN, INF = float("nan"), float("inf")


def position_pattern(position):
    """A tuple of indices; an int in 1-D."""
    return rf"\b{position}\b" if isinstance(position, int) else re.escape(str(position))


def assert_raises(exception, words, value, call, *arguments, **options):
    """An exception whose message holds each of these patterns, and this NumPy value in full."""
    with pytest.raises(exception) as error:
        call(*arguments, **options)
    message = str(error.value)
    for word in words:
        assert re.search(word, message), f"{word} is missing: {message}"
    if value.dtype.kind in "iu":
        assert str(value) in re.findall(r"-?\d+", message), f"{value} is missing: {message}"
    else:
        with np.errstate(over="ignore"):
            numbers = np.array(re.findall(r"-?(?:inf|nan|\d+(?:\.\d*)?(?:e[+-]?\d+)?)", message))
            numbers = numbers.astype(np.float64).astype(value.dtype)
        same = (numbers == value) | (np.isnan(numbers) & np.isnan(value))
        assert same.any(), f"{value} is missing: {message}"


def spoil(array, position, value):
    """A copy with one wrong value, and that value as it is in the copy."""
    array = array.copy()
    array[position] = value
    return array, array[position]


PLACES = [
    ((), ()),
    ((1,), 0),
    ((700,), 699),
    ((5000,), 4321),
    ((40, 50), (33, 17)),
    ((3, 20, 30), (2, 19, 0)),
]
PLACES += [((200_003,), 200_002)]


@pytest.mark.parametrize(("shape", "position"), PLACES, ids=str)
@pytest.mark.parametrize("value", [-0.25, 1.5, INF, -INF, 3e38], ids=str)
def test_probabilities_out_of_range(dtype, lay, shape, position, value):
    probs, value = spoil(np.full(shape, 0.5, dtype), position, value)
    words = [r"\bprobs\b", r"\[0, 1\]", position_pattern(position)]
    targets = np.zeros(shape, int)
    for call in (loss_of("bce"), value_and_grad_of("bce")):
        assert_raises(ValueError, words, value, call, lay(probs), targets)
        assert_raises(ValueError, words, value, call, lay(probs), targets, eps=1e-7, reduction="none")


# Bad targets by dtype. In float32, 1 + 1e-12 is 1 and -1e-300 is -0: they are found before they are rounded.
BAD_TARGETS = [
    ("float64", [-0.25, 1.5, INF, -INF, 1 + 1e-12, -1e-300, 1e300]),
    ("float32", [-0.25, 1.5, INF, 3e38, -1e-45]),
    ("int8", [-1, 2, -128]),
    ("uint8", [2, 255]),
    ("int64", [-1, 2, 2**63 - 1, -(2**63), 2**32, 2**32 + 1]),
    ("uint64", [2, 2**63, 2**64 - 1, 2**32]),
]


@pytest.mark.parametrize(("shape", "position"), PLACES, ids=str)
@pytest.mark.parametrize(
    ("name", "values"), BAD_TARGETS, ids=lambda value: value if type(value) is str else ""
)
@pytest.mark.parametrize("function", BINARY)
def test_targets_out_of_range(function, dtype, lay, shape, position, name, values):
    first = np.full(shape, 0.5, dtype)
    for value in values:
        targets, value = spoil(np.ones(shape, name), position, value)
        words = [r"\btargets\b", r"\[0, 1\]", position_pattern(position)]
        for call in (loss_of(function), value_and_grad_of(function)):
            assert_raises(ValueError, words, value, call, first, lay(targets))


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("function", BINARY)
def test_the_first_one_is_named(function, dtype, num_threads):
    """In C order, though several threads find some, and whatever the order in memory."""
    targets = np.zeros((500, 600), np.float32)
    first = np.full(targets.shape, 0.5, dtype)
    for position in ((499, 599), (250, 0), (249, 599), (40, 7), (40, 5)):
        targets[position] = 2
        words = [r"\btargets\b", position_pattern(position)]
        for laid in (targets, np.asfortranarray(targets), targets[:, ::-1].copy()[:, ::-1]):
            call = value_and_grad_of(function)
            assert_raises(ValueError, words, np.int64(2), call, first, laid, num_threads=num_threads)


def test_the_first_label_is_named(dtype):
    labels = np.zeros((300, 200), np.int64)
    logits = np.zeros((300, 200, 3), dtype)
    for position in ((299, 199), (150, 0), (149, 199), (40, 7), (40, 5)):
        labels[position] = 3
        words = [r"\btargets\b", position_pattern(position)]
        call = value_and_grad_of("cross_entropy")
        for num_threads in (1, 2, 3):
            for laid in (labels, np.asfortranarray(labels)):
                assert_raises(IndexError, words, np.int64(3), call, logits, laid, num_threads=num_threads)


BAD_LABELS = [
    ("int8", [-1, 5, 127, -128]),
    ("uint8", [5, 255]),
    ("int16", [-1, 5, 256]),
    ("int32", [-1, 5, 2**31 - 1, -(2**31)]),
    ("uint32", [5, 2**32 - 1]),
    ("int64", [-1, 5, 2**32, 2**32 + 1, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]),
    ("uint64", [5, 2**63, 2**64 - 1, 2**64 - 5]),
    ("float32", [-1.0, 5.0, 3e38]),
    ("float64", [-1.0, 5.0, 1e300, 2.0**63, 2.0**64, -(2.0**63)]),
]
LABEL_PLACES = [((), ()), ((1,), 0), ((600,), 599), ((70_000,), 69_999), ((40, 50), (33, 17))]


@pytest.mark.parametrize(("shape", "position"), LABEL_PLACES, ids=str)
@pytest.mark.parametrize(
    ("name", "values"), BAD_LABELS, ids=lambda value: value if type(value) is str else ""
)
def test_labels_out_of_range(dtype, lay, shape, position, name, values):
    """An IndexError with position, value and the number of classes; nothing is written, wherever it is."""
    logits = np.zeros((*shape, 5), dtype)
    for value in values:
        labels, value = spoil(np.ones(shape, name), position, value)
        words = [r"\btargets\b", position_pattern(position), r"\b[45]\b"]
        outputs = {"out": np.full(logits.shape, 77, dtype), "loss_out": np.full(shape, 77, dtype)}
        outputs["proba_out"] = np.full(logits.shape, 77, dtype)
        call = value_and_grad_of("cross_entropy")
        assert_raises(IndexError, words, value, call, logits, lay(labels), **outputs)
        assert all((array == 77).all() for array in outputs.values())
        assert_raises(IndexError, words, value, call, logits, lay(labels), out=logits)
        assert not logits.any()
        assert_raises(IndexError, words, value, fb.cross_entropy, logits, lay(labels), reduction="none")


def test_no_classes_at_all(dtype):
    """Then every label is out of range; or the logits are no logits."""
    with pytest.raises((IndexError, ValueError), match=r"\b(targets|logits)\b"):
        fb.cross_entropy(np.zeros((3, 0), dtype), np.zeros(3, int))


@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 2, 255, 2**62])
def test_only_the_ignored_label_may_be_out_of_range(dtype, ignore_index):
    logits, labels = inputs("cross_entropy", (50, 5), dtype)
    labels[::3] = ignore_index
    results = everything("cross_entropy", logits, labels, ignore_index=ignore_index)
    assert not results["losses"][labels == ignore_index].any()
    assert results["losses"][labels != ignore_index].all()
    labels[7] = -101
    with pytest.raises(IndexError, match=r"-101"):
        fb.cross_entropy(logits, labels, ignore_index=ignore_index)


# Label dtype, a label out of range, and a number it becomes when it is cast carelessly.
TRAPS = [
    ("uint8", 156, -100),
    ("int8", -1, 255),
    ("uint32", 2**32 - 1, -1),
    ("int64", 2**32 - 100, -100),
    ("uint64", 2**64 - 1, -1),
    ("uint64", 2**64 - 100, -100),
    ("int64", -1, 2**64 - 1),
    ("int64", -(2**63), 0),
]


@pytest.mark.parametrize(("name", "label", "ignore_index"), TRAPS)
def test_labels_are_ignored_by_value_and_not_by_bits(name, label, ignore_index):
    """One that equals the ignored one only after a cast is out of range; by its own value it is ignored."""
    logits, labels = np.zeros((600, 5)), np.ones(600, name)
    labels[599] = label
    for options in ({"ignore_index": ignore_index}, {}):
        with pytest.raises(IndexError, match=str(label)):
            fb.cross_entropy(logits, labels, **options)
    losses = fb.cross_entropy(logits, labels, ignore_index=label, reduction="none")
    assert losses[599] == 0
    assert losses[:599].all()
    expected = fb.cross_entropy(logits, np.ones(600, name))
    assert fb.cross_entropy(logits, np.ones(600, name), ignore_index=ignore_index) == expected


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.5, NAN, 3.25, -0.5])
def test_labels_that_are_not_whole(dtype, lay, name, value):
    logits = np.zeros((600, 5), dtype)
    labels, value = spoil(np.ones(600, name), 599, value)
    outputs = {"out": np.full(logits.shape, 77, dtype), "loss_out": np.full(600, 77, dtype)}
    words = [r"\btargets\b", r"\b599\b", "whole|integer"]
    assert_raises(
        ValueError, words, value, value_and_grad_of("cross_entropy"), logits, lay(labels), **outputs
    )
    assert all((array == 77).all() for array in outputs.values())


@pytest.mark.skipif(np.finfo(np.longdouble).nmant == 52, reason="long double is double")
def test_a_label_that_is_not_whole_but_for_its_double():
    with pytest.raises(ValueError, match=r"whole numbers, got 1\.000\d+ at position 1"):
        fb.cross_entropy(np.zeros((2, 3)), np.array([1, 1 + np.longdouble(2) ** -60]))


@pytest.mark.parametrize("over", ["first", "targets", "sample_weight"])
@pytest.mark.parametrize(
    ("function", "wrong", "output"),
    [
        *itertools.product(["bce"], ["first", "targets"], ["out", "loss_out"]),
        *itertools.product(["bce_with_logits"], ["targets"], ["out", "loss_out", "proba_out"]),
    ],
)
def test_nothing_is_written_over_an_input(function, dtype, wrong, over, output):
    """Where an output would overwrite an input, bad values are found before."""
    size = 150_000
    arrays = {"first": np.full(size, 0.25, dtype), "targets": np.ones(size, dtype)}
    arrays["sample_weight"] = np.full(size, 2, dtype)
    arrays[wrong][-1] = 1.5
    before = {name: array.copy() for name, array in arrays.items()}
    with pytest.raises(ValueError, match=r"1\.5"):
        value_and_grad_of(function)(
            arrays["first"], arrays["targets"], sample_weight=arrays["sample_weight"], num_threads=2,
            **{output: arrays[over]},
        )  # fmt: skip
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_nan_is_no_error(function, dtype):
    """It is an answer."""
    first, targets = inputs(function, (30, 4), dtype)
    first[11, 2] = NAN
    assert np.isnan(loss_of(function)(first, targets))
    if function != "cross_entropy":
        targets = spoil(targets.astype(dtype), (3, 1), NAN)[0]
        losses = loss_of(function)(np.full((30, 4), 0.5, dtype), targets, reduction="none")
        assert losses.shape == losses_shape(function, (30, 4))
        assert np.isnan(losses[3, 1])
        assert np.isnan(losses).sum() == 1
