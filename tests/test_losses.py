"""Losses as values: they compute what the functions compute, check options when made, and do not change."""

import copy
import enum
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from cases import inputs

import fastbce as fb

CLASSES = {
    fb.BCELoss: "bce",
    fb.BCEWithLogitsLoss: "bce_with_logits",
    fb.CrossEntropyLoss: "cross_entropy",
    fb.SigmoidFocalLoss: "sigmoid_focal_loss",
}
METHODS = [
    (made, method, function + suffix)
    for made, function in CLASSES.items()
    for method, suffix in (
        ("__call__", ""),
        ("value_and_grad", "_value_and_grad"),
        ("grad_hess", "_grad_hess"),
    )
    if hasattr(fb, function + suffix)
]
SHAPE = (5, 3)
NAN = float("nan")

# One value for each option that is not its default, and changes the result.
OTHER = {
    "pos_weight": [0.5, 2.0, 3.0],
    "label_smoothing": 0.25,
    "eps": 0.125,
    "axis": 0,
    "class_weight": [0.5, 2.0, 3.0],
    "ignore_index": 2,
    "alpha": 0.75,
    "gamma": 1.5,
    "reduction": "sum",
}


def options_of(made):
    """The options that an object holds, with their defaults."""
    return {name: p.default for name, p in inspect.signature(made).parameters.items()}


def each_option():
    return [
        pytest.param(made, name, id=f"{made.__name__}-{name}")
        for made in CLASSES
        for name in options_of(made)
    ]


def arrays(made, axis=-1):
    """The two arguments of its calls."""
    function = "bce_with_logits" if made is fb.SigmoidFocalLoss else CLASSES[made]
    first, targets = inputs(function, SHAPE, np.float64, axis=axis)
    return first, targets


def as_text(result):
    """A result to the last bit."""
    parts = result if isinstance(result, tuple) else (result,)
    return [(type(part), np.asarray(part).shape, np.asarray(part).tobytes()) for part in parts]


# ---- calls -------------------------------------------------------------------------------------------------


def test_every_function_has_its_method():
    covered = {function for _, _, function in METHODS}
    assert covered == {name for name in fb.__all__ if name.startswith(("bce", "cross_entropy", "sigmoid"))}
    for made, method, _ in METHODS:
        assert callable(getattr(made, method))


@pytest.mark.parametrize(("made", "method", "function"), METHODS)
def test_options_and_arguments_are_those_of_the_function(made, method, function):
    """What describes the loss is an option, what belongs to a call an argument; in the same order."""
    whole = dict(inspect.signature(getattr(fb, function)).parameters)
    call = dict(inspect.signature(getattr(made, method)).parameters)
    of_a_call = {"sample_weight", "where", "normalizer", "num_threads"}
    of_a_call |= {"out", "loss_out", "proba_out", "grad_out", "hess_out"}
    first, targets, *rest = whole
    assert list(call) == ["self", first, targets, *(name for name in rest if name in of_a_call)]
    assert [name for name in options_of(made) if name in whole] == [n for n in rest if n not in of_a_call]
    for name in rest:
        parameter = call[name] if name in call else inspect.signature(made).parameters[name]
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default == whole[name].default
        assert type(parameter.default) is type(whole[name].default)


@pytest.mark.parametrize(("made", "method", "function"), METHODS)
def test_no_option_given(made, method, function):
    first, targets = arrays(made)
    assert as_text(getattr(made(), method)(first, targets)) == as_text(getattr(fb, function)(first, targets))


@pytest.mark.parametrize(("made", "method", "function"), METHODS)
def test_each_option_reaches_the_function(made, method, function):
    for name in options_of(made):
        if function.endswith("grad_hess") and name == "reduction":
            continue
        value = OTHER[name]
        first, targets = arrays(made, axis=value if name == "axis" else -1)
        expected = as_text(getattr(fb, function)(first, targets, **{name: value}))
        loss = made(**{name: value})
        assert as_text(getattr(loss, method)(first, targets)) == expected, name
        if name != "axis":
            assert as_text(getattr(made(), method)(first, targets)) != expected, f"{name} changes nothing"


@pytest.mark.parametrize(("made", "method", "function"), METHODS)
def test_each_argument_reaches_the_function(made, method, function):
    first, targets = arrays(made)
    rows = targets.shape
    given = {
        "sample_weight": np.linspace(0.5, 2, np.prod(rows)).reshape(rows),
        "where": np.arange(np.prod(rows)).reshape(rows) % 2 == 0,
        "normalizer": 7.0,
    }
    plain = as_text(getattr(fb, function)(first, targets))
    for name in inspect.signature(getattr(made, method)).parameters:
        call = getattr(made(), method)
        if name in given:
            expected = as_text(getattr(fb, function)(first, targets, **{name: given[name]}))
            assert as_text(call(first, targets, **{name: given[name]})) == expected != plain, name
        elif name.endswith("out"):
            shape = rows if name == "loss_out" else first.shape
            expected, actual = np.full(shape, 77.0), np.full(shape, 77.0)
            getattr(fb, function)(first, targets, **{name: expected})
            result = call(first, targets, **{name: actual})
            assert (actual == expected).all(), name
            assert (expected != 77).all()
            if name in ("out", "grad_out", "hess_out"):
                assert any(part is actual for part in result)
        elif name == "num_threads":
            assert as_text(call(first, targets, num_threads=1)) == plain
            with pytest.raises(ValueError, match="num_threads"):
                call(first, targets, num_threads=0)


def test_losses_of_each_element():
    x, y = arrays(fb.BCEWithLogitsLoss)
    loss, grad = fb.BCEWithLogitsLoss(pos_weight=2, reduction="none").value_and_grad(x, y)
    expected = np.logaddexp(0, np.where(y, -x, x)) * np.where(y, 2, 1)
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    assert grad.shape == SHAPE


def test_grad_hess_does_not_depend_on_the_reduction():
    for made in (fb.BCEWithLogitsLoss, fb.CrossEntropyLoss):
        x, y = arrays(made)
        results = [
            as_text(made(reduction=r).grad_hess(x, y)) for r in ("none", "sum", "mean", "weighted_mean")
        ]
        assert results == results[:1] * 4


# ---- checks ------------------------------------------------------------------------------------------------

WRONG = [
    {"reduction": "average"},
    {"reduction": None},
    {"reduction": ["mean"]},
    {"label_smoothing": 1.5},
    {"label_smoothing": NAN},
    {"label_smoothing": "some"},
    {"label_smoothing": None},
    {"label_smoothing": True},
    {"pos_weight": -1.5},
    {"pos_weight": [1.0, -2.5, 3.0]},
    {"pos_weight": "heavy"},
    {"pos_weight": [1j]},
    {"pos_weight": [[1.0], [1.0, 2.0]]},
    {"pos_weight": np.ma.masked_array([1.0, 2.0, 3.0], mask=[True, False, False])},
    {"eps": 0.5},
    {"eps": -1e-7},
    {"eps": "tiny"},
    {"axis": 1.0},
    {"axis": None},
    {"axis": "last"},
    {"axis": [1, 2]},
    {"class_weight": "abc"},
    {"class_weight": [1j, 1j, 1j]},
    {"class_weight": [None, None, None]},
    {"class_weight": np.ones((3, 4))},
    {"class_weight": np.ones((3, 1))},
    {"ignore_index": 1.5},
    {"ignore_index": "last"},
    {"alpha": 1.5},
    {"alpha": NAN},
    {"alpha": None},
    {"alpha": [0.25, 0.75]},
    {"gamma": -1},
    {"gamma": float("inf")},
    {"gamma": "two"},
]
WRONG_OF = [
    (made, wrong) for wrong in WRONG for made in CLASSES if not wrong.keys() - options_of(made).keys()
]


@pytest.mark.parametrize(("made", "wrong"), WRONG_OF, ids=str)
def test_wrong_options_are_found_at_once_with_the_words_of_the_function(made, wrong):
    first, targets = arrays(made)
    with pytest.raises((TypeError, ValueError)) as expected:
        getattr(fb, CLASSES[made])(first, targets, **wrong)
    with pytest.raises((TypeError, ValueError)) as error:
        made(**wrong)
    assert type(error.value) is type(expected.value)
    assert str(error.value) == str(expected.value)
    assert next(iter(wrong)) in str(error.value)


def test_class_weight_without_a_class():
    with pytest.raises(ValueError, match=r"class_weight: .*got \(\)"):
        fb.CrossEntropyLoss(class_weight=2.0)


def test_torch_tensor_that_requires_grad():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"pos_weight\.detach\(\)"):
        fb.BCELoss(pos_weight=torch.ones(3, requires_grad=True))


@pytest.mark.parametrize(("made", "name"), list(each_option()))
def test_options_are_given_by_name(made, name):
    with pytest.raises(TypeError, match="positional"):
        made(OTHER[name])


@pytest.mark.parametrize("made", CLASSES)
@pytest.mark.parametrize(
    "name", ["sample_weight", "where", "normalizer", "num_threads", "out", "loss_out", "wieght"]
)
def test_what_belongs_to_a_call_is_no_option(made, name):
    with pytest.raises(TypeError, match=name):
        made(**{name: None})


@pytest.mark.parametrize("made", CLASSES)
@pytest.mark.parametrize("name", OTHER)
def test_options_are_no_arguments(made, name):
    first, targets = arrays(made)
    for call in (made(), made().value_and_grad):
        with pytest.raises(TypeError, match=name):
            call(first, targets, **{name: OTHER[name]})


@pytest.mark.parametrize("axis", [3, -4, 1, 7, -64, 63])
def test_an_axis_that_only_logits_of_many_dimensions_have(axis):
    """Whether they have it, and as many classes as weights, is known in a call, and an error there."""
    loss = fb.CrossEntropyLoss(axis=axis, class_weight=[1.0, 2.0])
    ndim = max(axis + 1, -axis)
    shape = [1] * ndim
    shape[axis] = 2
    x = np.array([0.5, -1.0])
    expected = (np.logaddexp(*x) - x[1]) * 2
    assert loss(x.reshape(shape), np.ones([1] * (ndim - 1), int)) == pytest.approx(expected, rel=1e-15)
    with pytest.raises(ValueError, match="axis"):
        loss(np.zeros([1] * (ndim - 1)), 0)
    shape[axis] = 3
    with pytest.raises(ValueError, match="class_weight"):
        loss(np.zeros(shape), np.ones([1] * (ndim - 1), int))


@pytest.mark.parametrize("axis", [64, -65])
def test_an_axis_that_no_array_has(axis):
    with pytest.raises(ValueError, match=f"axis: .*{axis}"):
        fb.CrossEntropyLoss(axis=axis)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3), (0, 3), (3, 0), (2, 1, 4)])
def test_pos_weight_of_any_shape(shape):
    weights = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    for made in (fb.BCELoss, fb.BCEWithLogitsLoss):
        loss = made(pos_weight=weights)
        x = np.full((2, *shape), 0.25)
        assert as_text(loss.value_and_grad(x, 1)) == as_text(
            getattr(fb, CLASSES[made] + "_value_and_grad")(x, 1, pos_weight=weights)
        )
        assert np.shape(loss.pos_weight) == shape


def test_labels_that_are_ignored_are_any_integer():
    for label in (-100, 2**63, -(2**70), np.uint8(3)):
        loss = fb.CrossEntropyLoss(ignore_index=label)
        assert loss.ignore_index == label
        assert type(loss.ignore_index) is int
    with pytest.raises(ValueError, match="ignore_index"):
        loss(np.zeros((2, 3)), np.ones((2, 3)))


def test_objects_are_made_without_computing():
    """As many elements as these weights would fit to take minutes, and more memory than there is."""
    many = np.broadcast_to(np.float32(1), (1 << 20,))
    assert fb.CrossEntropyLoss(axis=20, class_weight=many).class_weight.shape == many.shape
    assert fb.BCELoss(pos_weight=many[:, None]).pos_weight.shape == (1 << 20, 1)


# ---- values ------------------------------------------------------------------------------------------------

SOME = [
    (fb.BCELoss, {}),
    (fb.BCELoss, {"pos_weight": 2.5, "label_smoothing": 0.1, "eps": 1e-7, "reduction": "sum"}),
    (fb.BCELoss, {"pos_weight": NAN}),
    (fb.BCEWithLogitsLoss, {"pos_weight": [1.0, 2.0], "reduction": "sum"}),
    (fb.BCEWithLogitsLoss, {"pos_weight": np.float32([[0.1], [np.inf]]), "reduction": "none"}),
    (fb.BCEWithLogitsLoss, {"pos_weight": [NAN, 0.0, 1e-300]}),
    (fb.BCEWithLogitsLoss, {"pos_weight": np.ones((0, 3))}),
    (fb.CrossEntropyLoss, {"axis": 1, "class_weight": np.arange(1000), "ignore_index": -100}),
    (fb.CrossEntropyLoss, {"class_weight": [1, 2, 3], "label_smoothing": 0.5, "reduction": "weighted_mean"}),
    (fb.SigmoidFocalLoss, {"alpha": -1, "gamma": 0.5, "reduction": "none"}),
]
some = pytest.mark.parametrize(("made", "options"), SOME, ids=str)


@some
def test_equal_options_make_equal_objects(made, options):
    one, other = made(**options), made(**copy.deepcopy(options))
    assert one == other
    assert not one != other
    assert hash(one) == hash(other)
    assert {one: "found"}[other] == "found"
    assert one in {other}


@pytest.mark.parametrize(("made", "name"), list(each_option()))
def test_each_option_makes_a_difference(made, name):
    one, other = made(), made(**{name: OTHER[name]})
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2, 2.0),
        (True, 1.0),
        (-0.0, 0),
        (NAN, -NAN),
        (np.array(NAN), NAN),
        (np.float32(0.5), 0.5),
        (np.array(2), 2.0),
        ([1, 2], [1.0, 2.0]),
        ([-0.0, 1], [0, 1]),
        ([NAN, 1.0], np.float32([-NAN, 1.0])),
        (np.float16([0.5, 2]), np.float64([0.5, 2])),
        (np.array([1, 2], ">i4"), np.array([1, 2], "u1")),
        (np.array([[1, 2], [3, 4]], order="F"), [[1, 2], [3, 4]]),
        (np.arange(8.0)[::2], [0, 2, 4, 6]),
        ([True, False], (1.0, 0.0)),
        (np.ones((0, 3), int), np.ones((0, 3))),
    ],
    ids=str,
)
def test_numbers_compare_by_value(one, other):
    for made in (fb.BCELoss, fb.BCEWithLogitsLoss):
        assert made(pos_weight=one) == made(pos_weight=other)
        assert hash(made(pos_weight=one)) == hash(made(pos_weight=other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, 1.0),
        (1.0, [1.0]),
        ([1.0], [1.0, 1.0]),
        ([1.0, 2.0], [2.0, 1.0]),
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([[1.0, 2.0]], [[1.0], [2.0]]),
        (np.float32(0.1), 0.1),
        (np.float32([0.1]), [0.1]),
        ([NAN, 1.0], [0.0, 1.0]),
        (NAN, 0.0),
        ([], np.ones((0, 3))),
        (np.ones((3, 0)), np.ones((0, 3))),
    ],
    ids=str,
)
def test_what_is_not_equal(one, other):
    assert fb.BCELoss(pos_weight=one) != fb.BCELoss(pos_weight=other)


def test_no_object_equals_one_of_another_kind():
    assert len({made() for made in CLASSES}) == 4
    assert fb.BCELoss() != fb.BCEWithLogitsLoss()
    for other in (None, "mean", 0, "BCELoss()", fb.bce, ()):
        assert fb.BCELoss() != other
        assert fb.BCELoss().__eq__(other) is NotImplemented

    class EqualToAll:
        def __eq__(self, other):
            return True

    assert fb.BCELoss() == EqualToAll()


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (fb.BCELoss(), "BCELoss()"),
        (fb.BCELoss(pos_weight=2, eps=1e-7), "BCELoss(pos_weight=2.0, eps=1e-07)"),
        (fb.BCELoss(label_smoothing=np.float64(0), reduction="mean"), "BCELoss()"),
        (
            fb.BCEWithLogitsLoss(pos_weight=np.float32([1, 2]), reduction="sum"),
            "BCEWithLogitsLoss(pos_weight=[1.0, 2.0], reduction='sum')",
        ),
        (fb.BCELoss(pos_weight=NAN), "BCELoss(pos_weight=float('nan'))"),
        (
            fb.CrossEntropyLoss(axis=np.int8(1), class_weight=[1, 2], ignore_index=np.int64(-100)),
            "CrossEntropyLoss(axis=1, class_weight=[1.0, 2.0], ignore_index=-100)",
        ),
        (
            fb.CrossEntropyLoss(class_weight=np.ones(50257, np.float32)),
            "CrossEntropyLoss(class_weight=<float32 array of shape (50257,)>)",
        ),
        (fb.SigmoidFocalLoss(alpha=0.25, gamma=1), "SigmoidFocalLoss(gamma=1.0)"),
    ],
    ids=str,
)
def test_repr_is_the_call(loss, text):
    assert repr(loss) == text
    assert str(loss) == text


@some
def test_repr_makes_an_equal_object(made, options):
    loss = made(**options)
    assert eval(repr(loss), {"np": np, made.__name__: made}) == loss


@some
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(made, options, protocol):
    loss = made(**options)
    assert_is_a_copy(pickle.loads(pickle.dumps(loss, protocol)), loss)


@some
def test_copy(made, options):
    loss = made(**options)
    assert_is_a_copy(copy.copy(loss), loss)
    assert_is_a_copy(copy.deepcopy(loss), loss)


def assert_is_a_copy(other, loss):
    assert type(other) is type(loss)
    assert other == loss
    assert repr(other) == repr(loss)
    for name in options_of(type(loss)):
        value = getattr(loss, name)
        assert type(getattr(other, name)) is type(value)
        if isinstance(value, np.ndarray):
            assert getattr(other, name).dtype == value.dtype
            assert_fixed(getattr(other, name))
        with pytest.raises(AttributeError):
            setattr(other, name, value)


# ---- they do not change ------------------------------------------------------------------------------------


def assert_fixed(array):
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)


@pytest.mark.parametrize(("made", "name"), list(each_option()))
def test_options_can_be_read_but_not_set(made, name):
    given = OTHER[name]
    loss = made(**{name: given})
    as_given = getattr(loss, name)
    assert np.array_equal(as_given, given)
    with pytest.raises(AttributeError, match=f"{made.__name__} .*'{name}'"):
        setattr(loss, name, options_of(made)[name])
    with pytest.raises(AttributeError, match=f"{made.__name__} .*'{name}'"):
        delattr(loss, name)
    with pytest.raises(AttributeError):
        loss.__init__()
    assert getattr(loss, name) is as_given
    assert loss == made(**{name: given})


@pytest.mark.parametrize("made", CLASSES)
def test_a_misspelt_option_cannot_be_set(made):
    with pytest.raises(AttributeError, match=f"{made.__name__} .*'label_smooting'"):
        made().label_smooting = 0.1
    with pytest.raises(AttributeError):
        del made().label_smooting


@pytest.mark.parametrize("made", CLASSES)
def test_defaults(made):
    for name, default in options_of(made).items():
        assert getattr(made(), name) == default


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, ">f4", np.float64, np.longdouble])
def test_arrays_are_copied_and_keep_their_dtype(dtype):
    given = np.array([1, 0, 1], dtype)
    for made, name in ((fb.BCEWithLogitsLoss, "pos_weight"), (fb.CrossEntropyLoss, "class_weight")):
        loss = made(**{name: given})
        before = hash(loss)
        held = getattr(loss, name)
        assert held.dtype == given.dtype
        assert_fixed(held)
        given[:] = 0
        assert held.tolist() == [1, 0, 1]
        assert hash(loss) == before
        given[:] = [1, 0, 1]


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_the_caller_changes_later_changes_no_result(order):
    weights = np.array([[1.0, 2.0], [3.0, 4.0]], order=order)
    x = np.zeros((2, 2))
    loss = fb.BCEWithLogitsLoss(pos_weight=weights, reduction="none")
    weights[:] = 0
    np.testing.assert_allclose(loss(x, 1), np.log(2) * np.array([[1, 2], [3, 4]]), rtol=1e-15)


class OnlyDLPack:
    """An array of a library that has no other protocol."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def torch_tensor(values):
    return pytest.importorskip("torch").tensor(values)


def torch_bfloat16(values):
    pytest.importorskip("ml_dtypes")
    return torch_tensor(values).bfloat16()


def pandas_series(values):
    return pytest.importorskip("pandas").Series(values)


@pytest.mark.parametrize(
    "given",
    [list, tuple, lambda values: OnlyDLPack(np.array(values)), torch_tensor, torch_bfloat16, pandas_series],
    ids=["list", "tuple", "dlpack", "torch", "bfloat16", "pandas"],
)
def test_whatever_the_functions_read_becomes_an_array(given):
    for made, name in ((fb.BCELoss, "pos_weight"), (fb.CrossEntropyLoss, "class_weight")):
        loss = made(**{name: given([1.0, 2.0, 0.5])})
        assert type(getattr(loss, name)) is np.ndarray
        assert_fixed(getattr(loss, name))
        assert loss == made(**{name: [1.0, 2.0, 0.5]})
        assert eval(repr(loss), {made.__name__: made}) == loss
        assert_is_a_copy(pickle.loads(pickle.dumps(loss)), loss)


LONG = 2**60 + 2**36 + 1  # float32 of it is another number than float32 of its double
LONG_DOUBLE = pytest.param(
    np.longdouble(LONG),
    marks=pytest.mark.skipif(np.finfo(np.longdouble).nmant == 52, reason="long double is double"),
)


@pytest.mark.parametrize("number", [LONG, np.array(LONG), LONG_DOUBLE], ids=repr)
def test_a_number_that_is_no_double_is_kept(number):
    """It is rounded once, to the dtype computed in, as by the function."""
    x = np.float32([1, 1])
    for kept, double in ((number, float(LONG)), (np.array([number, 1]), [float(LONG), 1])):
        loss = fb.BCEWithLogitsLoss(pos_weight=kept, reduction="sum")
        assert loss(x, 1) == fb.bce_with_logits(x, 1, pos_weight=kept, reduction="sum")
        assert loss(x, 1) != fb.bce_with_logits(x, 1, pos_weight=double, reduction="sum")
        assert loss != fb.BCEWithLogitsLoss(pos_weight=double, reduction="sum")
        assert_is_a_copy(pickle.loads(pickle.dumps(loss)), loss)
        assert eval(repr(loss), {"BCEWithLogitsLoss": fb.BCEWithLogitsLoss, "np": np}) == loss
    assert fb.BCELoss(pos_weight=number) == fb.BCELoss(pos_weight=LONG)
    assert hash(fb.BCELoss(pos_weight=number)) == hash(fb.BCELoss(pos_weight=LONG))


def test_repr_of_a_number_that_is_no_double():
    assert repr(fb.BCELoss(pos_weight=LONG)) == f"BCELoss(pos_weight={LONG})"
    assert repr(fb.BCELoss(pos_weight=[[LONG], [1]])) == f"BCELoss(pos_weight=[[{LONG}], [1]])"


@pytest.mark.parametrize("made", CLASSES)
def test_a_reduction_of_an_enumeration_becomes_a_string(made):
    class Reduction(str, enum.Enum):  # noqa: UP042, StrEnum is written as its value
        SUM = "sum"

    loss = made(reduction=Reduction.SUM)
    assert type(loss.reduction) is str
    assert loss == made(reduction="sum")
    assert repr(loss) == f"{made.__name__}(reduction='sum')"


@pytest.mark.parametrize("number", [1, 1.0, np.float16(1), np.float32(1), np.int64(1)], ids=repr)
def test_numbers_become_numbers_of_python(number):
    quarter = number / 4
    assert type(fb.BCELoss(pos_weight=number).pos_weight) is float
    assert type(fb.BCELoss(pos_weight=np.array(number)).pos_weight) is float
    assert type(fb.BCELoss(eps=quarter).eps) is float
    for made in (fb.BCELoss, fb.BCEWithLogitsLoss, fb.CrossEntropyLoss):
        assert type(made(label_smoothing=number).label_smoothing) is float
    assert type(fb.SigmoidFocalLoss(alpha=number).alpha) is float
    assert type(fb.SigmoidFocalLoss(gamma=number).gamma) is float


# ---- derived classes ---------------------------------------------------------------------------------------


class Renamed(fb.BCELoss):
    """Nothing of its own."""


class Named(fb.BCEWithLogitsLoss):
    """Arguments, attributes and a result of its own."""

    def __init__(self, name):
        super().__init__(pos_weight=[2.0, 3.0], reduction="sum")
        self.name = name

    def __call__(self, logits, targets, **arguments):
        return self.name, super().__call__(logits, targets, **arguments)


def test_a_derived_class_is_another():
    assert Renamed() != fb.BCELoss()
    assert fb.BCELoss() != Renamed()
    assert Renamed(eps=0.1) == Renamed(eps=0.1)
    assert len({Renamed(), fb.BCELoss()}) == 2
    assert repr(Renamed(pos_weight=2)) == "Renamed(pos_weight=2.0)"
    with pytest.raises(AttributeError):
        Renamed().eps = 0.2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_derived_class_has_attributes_of_its_own(protocol):
    loss = Named("clicks")
    for other in (loss, copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss, protocol))):
        assert type(other) is Named
        assert other == loss
        name, value = other(np.zeros(2), 1)
        assert name == "clicks"
        assert value == pytest.approx(5 * np.log(2), rel=1e-15)
        assert_fixed(other.pos_weight)
        other.name = "views"
        assert other.name == "views"
        other.name = "clicks"
        with pytest.raises(AttributeError):
            other.pos_weight = 1.0
    del loss.name
    assert not hasattr(loss, "name")


def test_a_type_parameter_changes_nothing():
    assert fb.BCELoss[float](eps=0.1) == fb.BCELoss(eps=0.1)


def test_what_is_for_type_checkers_costs_no_import():
    program = "import sys, fastbce; sys.exit('fastbce._typing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
