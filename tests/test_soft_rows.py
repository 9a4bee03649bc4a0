"""Rows of probabilities and labels that are smoothed: where their sums take another way than usual.

Sums of target times (max - logit) are taken fast, and again with care in a row where that is not finite.
The entry of a class of p > 1/2 is taken from what the others have.
"""

import dataclasses

import numpy as np
import pytest
import reference
from accuracy_cases import CASES, draw, errors_by, run
from cases import assert_same_bits, each, everything, inputs
from reference import EXACT

import fastbce as fb

FEW, MANY = (2, 10, 144), (145, 1000, 8300)  # tiles of rows; along the row, more than a piece; a rest or none
FORMS = {
    "rows": {},
    "rows smoothed": {"label_smoothing": 0.25},
    "labels smoothed": {"label_smoothing": 0.25},
}


@pytest.fixture(params=[2, 10, 145])
def n_classes(request):
    """Of few classes and of many; mpmath takes its time."""
    return request.param


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def hard_rows(n_classes, dtype):
    """Rows whose fast sum is not finite, and one that holds a NaN."""
    big = np.finfo(dtype).max
    rows = np.zeros((6, n_classes), dtype)
    rows[0, [0, -1]] = big, -big  # the difference overflows
    rows[1, [0, -1]] = -np.inf, 1
    rows[2, [0, -1]] = 2, np.inf
    rows[3] = -np.inf
    rows[4, -1] = np.nan
    rows[5, : n_classes // 2] = big / 2  # only a sum of differences does
    rows[5, n_classes // 2 :] = -big / 2
    return rows


@pytest.mark.parametrize("n_classes", [*FEW, *MANY])
def test_hard_rows_among_others(dtype, n_classes, form):
    """Each has the bits that it has alone, and so have its neighbours; in place of the logits, too."""
    x, y = inputs("cross_entropy", (50, n_classes), dtype, soft=form.startswith("rows"))
    x[3::8] = hard_rows(n_classes, dtype)
    together = each("cross_entropy", x, y, **FORMS[form])
    for row in range(len(x)):
        alone = each("cross_entropy", x[row : row + 1], y[row : row + 1], **FORMS[form])
        assert_same_bits({name: value[row : row + 1] for name, value in together.items()}, alone)
    overwritten = x.copy()
    in_place = everything("cross_entropy", overwritten, y, reduction="none", out=overwritten, **FORMS[form])
    assert in_place["grad"] is overwritten
    assert_same_bits(in_place, together)


def larger_of_row(x, y):
    p, not_p, _ = reference.softmax(EXACT.make(x), EXACT)
    y = EXACT.make(y)
    return np.maximum(reference.sum_of_others(y) * p, y * not_p)


@pytest.mark.parametrize("tiny", [0, 1e-30, 0.25, 1])
def test_differences_beyond_the_largest_float(dtype, n_classes, tiny):
    """A target makes the product small again."""
    big = np.finfo(dtype).max
    x, y = np.zeros((4, n_classes), dtype), np.zeros((4, n_classes), dtype)
    x[:, 0], x[:, -1] = big, [-big, -big / 2, -np.inf if tiny == 0 else 0, 1]
    y[:, 0], y[:, -1] = 1 - tiny, tiny
    results = each("cross_entropy", x, y)
    exact = reference.cross_entropy(x, y, EXACT, reduction="none")
    assert reference.ulp_error(results["losses"], exact.loss, dtype).max() <= 5
    assert reference.ulp_error(results["grad"], exact.grad, dtype, of=larger_of_row(x, y)).max() <= 8


def test_smoothed_differences_beyond_the_largest_float(dtype, n_classes):
    big = np.finfo(dtype).max
    x = np.zeros((4, n_classes), dtype)
    x[:, 0], x[:, -1] = big, [-big, -big / 2, -big / 4, 1]
    for label in 0, n_classes - 1:
        labels = np.full(4, label)
        losses = fb.cross_entropy(x, labels, label_smoothing=0.25, reduction="none")
        exact = reference.cross_entropy(x, labels, EXACT, reduction="none", label_smoothing=0.25)
        assert reference.ulp_error(losses, exact.loss, dtype).max() <= 4


@pytest.mark.parametrize("gap", [0.5, 5, 30, 80])
@pytest.mark.parametrize("rest", [1e-3, 1e-9, 1e-20, 1e-30, 0])
def test_one_class_has_nearly_all(dtype, n_classes, gap, rest):
    """Of the targets, and of the probability: what the others have is lost in a sum of all."""
    rng = np.random.default_rng(n_classes)
    x = rng.uniform(-1, 1, (5, n_classes)).astype(dtype)
    y = (rest / n_classes * rng.random((5, n_classes))).astype(dtype)
    tops = [0, n_classes - 1, n_classes // 2, n_classes // 3, 1]
    x[range(5), tops] = gap + np.log(n_classes)
    y[range(5), tops] = 1
    y[4] = np.roll(y[4], 1)  # and where the classes differ
    results = each("cross_entropy", x, y)
    exact = reference.cross_entropy(x, y, EXACT, reduction="none")
    larger = larger_of_row(x, y)
    assert reference.ulp_error(results["losses"], exact.loss, dtype).max() <= 5
    assert reference.ulp_error(results["grad"], exact.grad, dtype, of=larger).max() <= 8


@pytest.mark.parametrize("ties", [2, 3, None])
def test_several_classes_reach_the_maximum(dtype, n_classes, ties):
    """None of them is more than half."""
    x, y = inputs("cross_entropy", (4, n_classes), dtype, soft=True)
    x[:, :ties] = 20
    results = each("cross_entropy", x, y)
    exact = reference.cross_entropy(x, y, EXACT, reduction="none")
    assert reference.ulp_error(results["losses"], exact.loss, dtype).max() <= 5
    assert reference.ulp_error(results["grad"], exact.grad, dtype, of=larger_of_row(x, y)).max() <= 8


@pytest.mark.parametrize("smoothing", [1e-9, 0.01, 0.5, 0.999999, 1.0])
@pytest.mark.parametrize("kind", ["uniform", "confident", "wrong", "tied", "shifted"])
def test_smoothed_labels(dtype, n_classes, kind, smoothing):
    name = np.dtype(dtype).name
    of = CASES["cross_entropy, label_smoothing, uniform, 2 to 128 classes"]
    case = dataclasses.replace(of, options={"label_smoothing": smoothing})
    drawn = CASES[f"cross_entropy, labels, {kind}, 2 to 128 classes"]
    found = draw(drawn, np.random.default_rng(n_classes), (6, n_classes), name)
    errors = errors_by(EXACT, case, name, found, run(case, found))
    for result, bound in case.bounds[name].items():
        assert errors[result].max() <= bound, (result, errors[result].max())


def test_smoothed_labels_are_smoothed_rows(dtype, n_classes):
    """And class weights of 1 change nothing, but the last bits."""
    x, labels = inputs("cross_entropy", (30, n_classes), dtype)
    rows = np.eye(n_classes, dtype=dtype)[labels]
    options = {"label_smoothing": 0.1, "reduction": "none"}
    plain, grad = fb.cross_entropy_value_and_grad(x, labels, **options)
    for y, weights in ((rows, None), (rows, np.ones(n_classes)), (labels, np.ones(n_classes))):
        losses, other = fb.cross_entropy_value_and_grad(x, y, class_weight=weights, **options)
        np.testing.assert_allclose(losses, plain, rtol=8 * np.finfo(dtype).eps)
        np.testing.assert_allclose(other, grad, atol=8 * np.finfo(dtype).eps)
