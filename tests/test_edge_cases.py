"""Section 4, row by row: infinite logits, probabilities of 0 and 1, subnormal results, the largest floats."""

import ctypes
import ctypes.util
import math

import numpy as np
import pytest
import reference
from cases import assert_same_bits, each, inputs, loss_of, same_bits, value_and_grad_of
from reference import EXACT, ulp_error

INF, NAN = math.inf, math.nan


# --- infinite logits, probabilities of 0 and 1 --------------------------------------------------------------

# logit, target, loss, gradient, probability
BINARY = [
    (INF, 1, 0, 0, 1),
    (-INF, 0, 0, 0, 0),
    (INF, 0, INF, 1, 1),
    (-INF, 1, INF, -1, 0),
    (INF, 0.25, INF, 0.75, 1),
    (-INF, 0.25, INF, -0.25, 0),
]


@pytest.mark.parametrize("row", BINARY, ids=str)
@pytest.mark.parametrize("weight", [1, 3, -2])
def test_infinite_logits(dtype, lay, row, weight):
    logit, target, loss, grad, proba = row
    for size, position in ((1, 0), (5, 4), (600, 300), (1025, 1024)):
        first, targets = inputs("bce_with_logits", (size,), dtype, soft=True)
        plain = each("bce_with_logits", first, targets, sample_weight=weight)
        first[position], targets[position] = logit, target
        results = each("bce_with_logits", lay(first), lay(targets), sample_weight=weight)
        assert results["losses"][position] == loss * weight
        assert results["grad"][position] == grad * weight
        assert results["proba"][position] == proba
        for name in results:
            assert same_bits(np.delete(results[name], position), np.delete(plain[name], position)), name


def test_infinite_logits_with_pos_weight(dtype, lay):
    first, targets = lay(np.array([-INF, -INF, INF, INF], dtype)), lay(np.array([1, 0, 1, 0]))
    results = each("bce_with_logits", first, targets, pos_weight=5.0)
    np.testing.assert_array_equal(results["losses"], [INF, 0, 0, INF])
    np.testing.assert_array_equal(results["grad"], [-5, 0, 0, 1])


def test_infinite_logits_with_label_smoothing(dtype, lay):
    first, targets = lay(np.array([-INF, -INF, INF, INF], dtype)), lay(np.array([1, 0, 1, 0]))
    results = each("bce_with_logits", first, targets, label_smoothing=0.5)
    np.testing.assert_array_equal(results["losses"], [INF] * 4)
    np.testing.assert_array_equal(results["grad"], [-0.75, -0.25, 0.25, 0.75])


def test_probabilities_of_0_and_1(dtype, lay):
    """Logs are no lower than -100, the gradient's divisor no smaller than 1e-12."""
    first, targets = lay(np.array([0, 1, 0, 1], dtype)), lay(np.array([0, 1, 1, 0]))
    results = each("bce", first, targets)
    np.testing.assert_array_equal(results["losses"], [0, 0, 100, 100])
    steep = 1 / float(dtype(1e-12))
    np.testing.assert_allclose(results["grad"], [0, 0, -steep, steep], rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("option", [None, "sample_weight", "pos_weight"])
@pytest.mark.parametrize("ends", [[], [1], [0], [2.0**-40, 1], [1, NAN]], ids=str)
def test_probabilities_beside_0_and_1(dtype, ends, option):
    """Each has the bits that it has alone. (A multiple of 16 of them: no zeros fill a block up.)"""
    first = np.repeat(np.array([2.0**-39, 0.2, 0.5, 0.7, 1 - 2.0**-11, *ends], dtype), 16)
    targets = np.arange(first.size) % 2
    options = {} if option is None else {option: np.linspace(0, 3, first.size).astype(dtype)}
    together = each("bce", first, targets, **options)
    for i in range(first.size):
        one = slice(i, i + 1)
        alone = each("bce", first[one], targets[one], **{name: value[one] for name, value in options.items()})
        assert_same_bits({name: value[one] for name, value in together.items()}, alone)


def test_gradients_beyond_all_numbers(dtype):
    """One that is infinite is no NaN; that and one that is subnormal are the same beside soft targets."""
    limits = np.finfo(dtype)
    hard, mixed = np.ones(16, dtype), np.full(16, 0.5, dtype)
    mixed[3] = 1
    for pos_weight, probability in ((limits.max / 4, 1e-10), (3 * limits.smallest_subnormal, 0.3)):
        first = np.full(16, 0.3, dtype)
        first[3] = probability
        alone, beside = (each("bce", first, targets, pos_weight=pos_weight) for targets in (hard, mixed))
        assert same_bits(alone["grad"][3], beside["grad"][3])
        assert beside["grad"][3] == (-INF if pos_weight > 1 else alone["grad"][3])
        smoothed = each("bce", first, hard, pos_weight=pos_weight, label_smoothing=0.1)["grad"][3]
        assert smoothed == -INF if pos_weight > 1 else np.isfinite(smoothed)


@pytest.mark.parametrize("eps", [None, 1e-7])
def test_a_probability_of_minus_zero(dtype, lay, eps):
    """It is in [0, 1], and the same as 0."""
    targets = np.array([0, 1, 0.25], dtype)
    minus, plus = lay(np.full(3, -0.0, dtype)), lay(np.zeros(3, dtype))
    assert_same_bits(each("bce", minus, targets, eps=eps), each("bce", plus, targets, eps=eps))
    if eps is None:
        np.testing.assert_array_equal(each("bce", minus, targets)["losses"], [0, 100, 25])


def test_an_infinite_term_stays_infinite(dtype):
    """In a sum and a mean; infinities of both signs have no sum."""
    first, targets = np.array([INF, 1, 2, INF], dtype), np.array([0, 1, 1, 0])
    for reduction in ("sum", "mean", "weighted_mean"):
        assert loss_of("bce_with_logits")(first, targets, reduction=reduction) == INF
        weight = [-1, 1, 1, -0.5]
        assert math.isinf(
            loss_of("bce_with_logits")(first, targets, reduction=reduction, sample_weight=weight)
        )
    assert math.isnan(loss_of("bce_with_logits")(first, targets, sample_weight=[-1, 1, 1, 1]))


# --- rows with infinite logits ------------------------------------------------------------------------------


def check_row(dtype, lay, n_classes, change, target, soft=False, **options):
    """Put one changed row among others, check the others; return it, its loss, gradient and softmax."""
    first, targets = inputs("cross_entropy", (7, n_classes), dtype, soft=soft)
    plain = each("cross_entropy", first, targets, **options)
    change(first[5])
    targets[5] = target
    results = each("cross_entropy", lay(first), lay(targets), **options)
    for name in results:
        others = [0, 1, 2, 3, 4, 6]
        assert same_bits(results[name][others], plain[name][others]), f"{name} of another row"
    return first[5], results["losses"][5], results["grad"][5], results["proba"][5]


@pytest.fixture(params=[(3, 0), (3, 2), (20, 7), (20, 19), (1000, 0), (1000, 517), (1000, 999)], ids=str)
def place(request):
    """A number of classes, and one of the classes."""
    return request.param


def setter(index, value):
    def change(row):
        row[index] = value

    return change


def unit(n_classes, index):
    return np.eye(1, n_classes, index)[0]


def test_minus_infinity_off_the_target(dtype, lay, soft, place):
    """That class has probability 0 and gradient 0, the rest is as if it were absent."""
    n_classes, k = place
    target = 0.75 * unit(n_classes, (k + 1) % n_classes) + 0.25 * unit(n_classes, (k + 2) % n_classes)
    target = target if soft else (k + 1) % n_classes
    row, loss, grad, proba = check_row(dtype, lay, n_classes, setter(k, -INF), target, soft)
    absent = np.delete(target, k) if soft else target - (target > k)
    expected = reference.cross_entropy(np.delete(row, k)[None], np.array([absent]), reduction="none")
    assert grad[k] == 0
    assert proba[k] == 0
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, float(expected.loss[0]), rtol=8 * eps)
    np.testing.assert_allclose(np.delete(grad, k), expected.grad[0].astype(float), atol=4 * eps)


def test_minus_infinity_on_the_target(dtype, lay, place):
    n_classes, k = place
    row, loss, grad, proba = check_row(dtype, lay, n_classes, setter(k, -INF), k)
    assert loss == INF
    assert grad[k] == -1
    assert proba[k] == 0
    expected = reference.cross_entropy(row[None], [k], reduction="none").grad[0]
    np.testing.assert_allclose(grad, expected.astype(float), rtol=16 * np.finfo(dtype).eps)


def test_minus_infinity_anywhere_with_label_smoothing(dtype, lay, soft, place):
    n_classes, k = place
    target = unit(n_classes, (k + 1) % n_classes) if soft else (k + 1) % n_classes
    row, loss, grad, _ = check_row(dtype, lay, n_classes, setter(k, -INF), target, soft, label_smoothing=0.25)
    assert loss == INF
    expected = reference.cross_entropy(row[None], np.array([target]), reduction="none", label_smoothing=0.25)
    np.testing.assert_allclose(grad, expected.grad[0].astype(float), atol=8 * np.finfo(dtype).eps)


def test_plus_infinity_on_the_target_alone(dtype, lay, soft, place):
    n_classes, k = place
    target = unit(n_classes, k) if soft else k
    _, loss, grad, proba = check_row(dtype, lay, n_classes, setter(k, INF), target, soft)
    assert loss == 0
    assert not grad.any()
    np.testing.assert_array_equal(proba, unit(n_classes, k))


def test_plus_infinity_off_the_target(dtype, lay, place):
    n_classes, k = place
    target = (k + 1) % n_classes
    _, loss, grad, proba = check_row(dtype, lay, n_classes, setter(k, INF), target)
    assert loss == INF
    np.testing.assert_array_equal(grad, unit(n_classes, k) - unit(n_classes, target))
    np.testing.assert_array_equal(proba, unit(n_classes, k))


def test_all_minus_infinity(dtype, lay, place):
    n_classes, k = place
    _, loss, grad, proba = check_row(dtype, lay, n_classes, setter(slice(None), -INF), k)
    assert math.isnan(loss)
    assert np.isnan(grad).all()
    assert np.isnan(proba).all()


def test_several_plus_infinities(dtype, lay, place):
    """No limit: whatever comes of that row, it is no finite loss, and no other row is touched."""
    n_classes, k = place
    _, loss, _, _ = check_row(dtype, lay, n_classes, setter([k, (k + 1) % n_classes], INF), k)
    assert not math.isfinite(loss)


# --- zeros, subnormals, the largest floats ------------------------------------------------------------------


def test_a_loss_of_zero_is_plus_zero(dtype, lay):
    far = np.array([INF, -INF, 2000, -2000], dtype)
    calls = [
        ("bce", np.array([1, 0, 1, 0], dtype), [1, 0, 1, 0]),
        ("bce", np.array([-0.0, 0.0], dtype), [0, 0]),
        ("bce_with_logits", far, [1, 0, 1, 0]),
        ("cross_entropy", np.stack([far, -far], axis=1), [0, 1, 0, 1]),
        ("cross_entropy", np.array([[3.0], [-3.0], [0.0]], dtype), [0, 0, 0]),
    ]
    for function, first, targets in calls:
        losses = each(function, lay(first), lay(targets))["losses"]
        assert not losses.any(), (function, losses)
        assert not np.signbit(losses).any(), function
        for reduction in ("sum", "mean"):
            assert str(loss_of(function)(first, targets, reduction=reduction)) == "0.0"


def test_subnormal_results_are_kept(dtype, lay):
    info = np.finfo(dtype)
    far = np.linspace(math.log(info.smallest_subnormal) + 1, math.log(info.tiny) - 1, 600).astype(dtype)
    zeros, ones = np.zeros(600, int), np.ones(600, int)
    rows = np.stack([np.zeros(600, dtype), far], axis=1)
    calls = [
        ("bce_with_logits", far, zeros),
        ("bce_with_logits", -far, ones),
        ("bce", np.exp(far), zeros),
        ("cross_entropy", rows, zeros),
    ]
    for function, first, targets in calls:
        results = each(function, lay(first), lay(targets))
        exact = getattr(reference, function)(first, targets, EXACT, reduction="none")
        for name in ("losses", "grad"):
            # Next to the target's, a row's other gradients are subnormal too; bce's is p / 1e-12.
            got = abs(results[name])
            assert (got > 0).all(), (function, name)
            assert function == "bce" or (got < info.tiny).all(), (function, name)
            assert ulp_error(results[name], getattr(exact, name), dtype).max() <= 4, (function, name)
        if "proba" in results and function == "bce_with_logits" and targets is zeros:
            assert ((results["proba"] > 0) & (results["proba"] < info.tiny)).all()


def test_finite_logits_up_to_the_largest(dtype, lay, soft):
    """Never NaN, and infinite only where the exact value is beyond the largest float."""
    big = np.finfo(dtype).max
    values = np.array([big, -big, big / 2, -big / 2, 1e30, -1e30, 0, 1, -1], dtype)
    y = np.repeat([0.0, 1.0, 0.25, 1e-3] if soft else [0.0, 1.0], values.size)
    calls = [("bce_with_logits", np.resize(values, y.size), y.astype(dtype))]
    pairs = np.stack([array.ravel() for array in np.meshgrid(values, values)], axis=1)
    for n_classes in (2, 3, 40):
        rows = np.zeros((len(pairs), n_classes), dtype)
        rows[:, [0, -1]] = pairs
        if soft:
            targets = np.zeros_like(rows)
            targets[:, 0], targets[:, -1] = 0.25, 0.75
        else:
            targets = np.zeros(len(rows), int)
        calls.append(("cross_entropy", rows, targets))
    for function, first, targets in calls:
        results = each(function, lay(first), lay(targets))
        exact = getattr(reference, function)(first, targets, EXACT, reduction="none")
        assert not any(np.isnan(array).any() for array in results.values())
        larger = (exact.grad_size + abs(exact.grad)) / 2
        errors = ulp_error(results["losses"], exact.loss, dtype)
        worst = np.argmax(errors)
        assert errors[worst] <= 4, (function, first[worst], targets[worst], results["losses"][worst])
        assert ulp_error(results["grad"], exact.grad, dtype, of=larger).max() <= 4, function


def test_floating_point_state_is_not_changed(function, dtype):
    """No NumPy error state is consulted, subnormals stay alive, rounding stays to nearest."""
    first, targets = inputs(function, (60_000, 3), dtype)
    first[:4] = [[NAN], [INF], [0], [1]] if function != "bce" else [[NAN], [1], [0], [1e-40]]
    library = ctypes.util.find_library("m")
    rounding = ctypes.CDLL(library).fegetround if library else int
    before = rounding()
    with np.errstate(all="raise"):
        value_and_grad_of(function)(first, targets, num_threads=2)
        loss_of(function)(first[:0], targets[:0])
        loss_of(function)(first, targets, reduction="none")
    assert rounding() == before
    smallest = np.full(4, np.finfo(dtype).smallest_subnormal)
    assert (smallest + smallest > smallest).all()
    assert (smallest * dtype(3) / dtype(3) == smallest).all()
    assert 5e-324 * 3.0 > 5e-324
