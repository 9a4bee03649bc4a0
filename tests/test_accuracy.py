"""Promise 1: how far each result may be from the exact one, in units in the last place (ULP).

The exact value is the formula's for the inputs as they are stored: by mpmath, by a wider float for bulk. The
bounds are in accuracy_cases.py; tools/accuracy.py measures the same cases with millions of inputs.
"""

import math

import numpy as np
import pytest
import reference
import worst_inputs
from accuracy_cases import CASES, draw, errors_by, run
from cases import loss_of, value_and_grad_of
from reference import DOUBLE, EXACT, LONG

BINARY = ("bce", "bce_with_logits")
SUM = {np.float32: 0.01, np.float64: 2.0}  # in ULP of this dtype, of a sum that is a float64
ALL = [(name, dtype) for name, case in CASES.items() for dtype in case.bounds]
LONG_IS_WIDE = np.finfo(np.longdouble).nmant >= 60


def check(case, dtype, inputs, numbers):
    """Hold every result of a call to its bound, and name the input that exceeds it."""
    results = run(case, inputs)
    errors = errors_by(numbers, case, dtype, inputs, results)
    for name, bound in case.bounds[dtype].items():
        worst = int(np.argmax(errors[name]))
        assert errors[name][worst] <= bound, (
            f"{case.name}, {dtype}, {name}: {errors[name][worst]:.4g} ULP at "
            f"{[array[worst] for array in inputs]!r}: {results[name][worst]!r}"
        )


@pytest.mark.parametrize(("name", "dtype"), ALL)
def test_where_errors_were_largest(name, dtype):
    for inputs in worst_inputs.known(CASES[name], dtype):
        check(CASES[name], dtype, inputs, EXACT)


def numbers_for(dtype):
    return DOUBLE if dtype != "float64" else LONG if LONG_IS_WIDE else EXACT


@pytest.mark.parametrize("size", [3000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "dtype"), ALL)
def test_drawn_inputs(name, dtype, size):
    case, numbers, rng = CASES[name], numbers_for(dtype), np.random.default_rng(size)
    size = size if numbers is not EXACT else size // 20
    for classes in case.classes:
        if classes <= min(size, 1000):  # sums of more may be rounded too much in long double
            check(case, dtype, draw(case, rng, (1 + size // classes // 4, classes), dtype), numbers)
    for start in range(0, 0 if case.rows else size, 1 << 16):
        check(case, dtype, draw(case, rng, min(size - start, 1 << 16), dtype), numbers)


def test_every_case_is_known_where_it_is_worst():
    """Otherwise a name that was changed would silently take its worst inputs away."""
    assert set(worst_inputs.WORST) <= set(ALL)
    functions = {(case.function, case.name.split(", ")[1]) for case in CASES.values()}
    assert set(worst_inputs.EARLIER) <= functions


# --- hard and soft targets at the edges ---------------------------------------------------------------------


def neighbours(values, dtype):
    """The floats nearest to these values, and those next to them."""
    values = np.asarray(values, dtype)
    with np.errstate(all="ignore"):
        below, above = np.nextafter(values, dtype(-np.inf)), np.nextafter(values, dtype(np.inf))
    return np.concatenate([below, values, above])


def magnitudes(dtype, count):
    """From the smallest subnormal to the largest float, evenly in the exponent."""
    info = np.finfo(dtype)
    exponents = np.linspace(info.minexp - info.nmant, info.maxexp - 1e-3, count)
    return np.ldexp(2.0 ** (exponents % 1.0), np.floor(exponents).astype(int)).astype(dtype)


def logits_to_try(dtype):
    """Dense where the functions bend, up to where results are subnormal and beyond, and every magnitude."""
    wide = {np.float32: 110, np.float64: 750}[dtype]
    rng = np.random.default_rng(1)
    powers = np.arange(-wide / math.log(2), wide / math.log(2)) * math.log(2)
    # Where exp(-x) gets lost beside 1, turns subnormal, and vanishes: in float32, then in float64.
    steps = [0, 1, 16.635532, 17.32868, 87.33654, 88.72284, 103.27893, 103.97208]
    steps += [36.7368, 37.4299, 708.3964, 709.7827, 744.4401, 745.1332]
    far = magnitudes(dtype, 200)
    parts = [
        np.linspace(-wide, wide, 401),
        rng.uniform(-wide, wide, 400),
        rng.uniform(-2, 2, 200),
        neighbours(np.concatenate([powers[:: 1 + len(powers) // 200], steps, np.negative(steps)]), dtype),
        far,
        -far,
        [-0.0, np.finfo(dtype).max, -np.finfo(dtype).max],
    ]
    return np.concatenate([np.asarray(part, dtype) for part in parts])


def probs_to_try(dtype):
    """Dense in [0, 1], towards both ends, and around torch's two limits."""
    tiny = magnitudes(dtype, 600)
    tiny = tiny[tiny < 0.5]
    rng = np.random.default_rng(2)
    limits = [1e-12, 1 - 1e-12, math.exp(-100), 2.0**-24, 0.25, 0.5, 0.75, 2 / 3, 1 / math.e]
    ends = [0.0, 1.0, np.finfo(dtype).tiny]
    parts = [np.linspace(0, 1, 257), rng.random(500), tiny, 1 - tiny, neighbours(limits, dtype), ends]
    probs = np.concatenate([np.asarray(part, dtype) for part in parts])
    return probs[probs <= 1]


def soft_targets(size, dtype):
    rng = np.random.default_rng(3)
    y = rng.random(size)
    y[::7] = np.exp2(-rng.uniform(0, 60, y[::7].size))
    y[3::7] = 1 - np.exp2(-rng.uniform(0, 50, y[3::7].size))
    y[5::14] = 0.5
    return y.astype(dtype)


@pytest.mark.parametrize("function", BINARY)
@pytest.mark.parametrize("target", [0, 1])
def test_hard_targets(function, dtype, target):
    first = (probs_to_try if function == "bce" else logits_to_try)(dtype)
    targets = np.full(first.shape, target, np.uint8)
    check(CASES[f"{function}, hard"], np.dtype(dtype).name, [first, targets], EXACT)


@pytest.mark.parametrize("function", BINARY)
def test_soft_targets(function, dtype):
    first = (probs_to_try if function == "bce" else logits_to_try)(dtype)
    check(CASES[f"{function}, soft"], np.dtype(dtype).name, [first, soft_targets(first.size, dtype)], EXACT)


def float32_patterns(function, step):
    """Every `step`-th float32 that is an input, in chunks."""
    last = int(np.float32(1).view(np.uint32)) if function == "bce" else 2**32 - 1
    chunk = step << 20
    for start in range(0, last + 1, chunk):
        bits = np.arange(start, min(start + chunk, last + 1), step, dtype=np.int64)
        values = bits.astype(np.uint32).view(np.float32)
        yield values[~np.isnan(values)]


@pytest.mark.parametrize("step", [2039, pytest.param(67, marks=pytest.mark.slow)])
@pytest.mark.parametrize("function", BINARY)
def test_float32_all_over(function, step):
    for values in float32_patterns(function, step):
        for target in (0, 1):
            targets = np.full(values.shape, target, np.uint8)
            check(CASES[f"{function}, hard"], "float32", [values, targets], DOUBLE)


@pytest.mark.parametrize("n_classes", [1 << 16, 1 << 18])
def test_cross_entropy_with_many_classes(dtype, n_classes):
    """The label is the largest of one row, and not of the other."""
    name = np.dtype(dtype).name
    if numbers_for(name) is EXACT:
        pytest.skip("long double is no wider than double")
    rng = np.random.default_rng(n_classes)
    logits = rng.uniform(-20, 20, (2, n_classes)).astype(dtype)
    labels = np.array([int(np.argmax(logits[0])), n_classes - 1])
    check(
        CASES["cross_entropy, labels, uniform, 129 to 262,144 classes"],
        name,
        [logits, labels],
        numbers_for(name),
    )


@pytest.mark.parametrize("row", [[0.9, 1e-9], [1.0, 1e-17], [1 - 1e-9, 1e-9, 0.0]])
def test_gradient_where_one_class_has_nearly_all_the_targets(dtype, row):
    """What the other classes have may be less than the rounding error of the sum."""
    logits = np.zeros((1, len(row)), dtype)
    logits[0, 0] = 80
    case = CASES["cross_entropy, soft rows, confident, 2 to 128 classes"]
    check(case, np.dtype(dtype).name, [logits, np.array([row], dtype)], EXACT)


# --- sums ---------------------------------------------------------------------------------------------------


def check_sums(function, first, targets, dtype):
    elements = loss_of(function)(first, targets, reduction="none")
    pieces = (elements[start : start + 65536].tolist() for start in range(0, elements.size, 65536))
    exact = math.fsum(value for piece in pieces for value in piece)
    total, _ = value_and_grad_of(function)(first, targets, reduction="sum")
    assert total == loss_of(function)(first, targets, reduction="sum")
    mean = loss_of(function)(first, targets)
    size = elements.size
    assert abs(total - exact) <= SUM[dtype] * float(reference.ulp(np.asarray(exact), dtype))
    # One more rounding, of the division.
    bar = SUM[dtype] * float(reference.ulp(np.asarray(exact / size), dtype)) + np.spacing(exact / size)
    assert abs(mean - exact / size) <= bar


SIZES = [1, 3, 100, 3001, 1_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("function", BINARY)
def test_sums_of_the_elements(function, dtype, size):
    rng = np.random.default_rng(size)
    if function == "bce":
        first = np.exp2(-rng.uniform(0, 100, size)).astype(dtype)
    else:
        # Losses from 1e-13 to 1e13: a sum that rounds carelessly loses the small ones.
        first = (np.exp2(rng.uniform(0, 43, size)) * rng.choice([-1, 1], size)).clip(-30, None).astype(dtype)
    check_sums(function, first, (rng.random(size) < 0.2).astype(np.uint8), dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at", [0.0, 0.4, 1.0])
def test_one_large_loss_takes_nothing_from_the_small_ones(dtype, size, at):
    """Each small one is less than half an ULP of the large one: a plain sum in float64 loses them all."""
    first = np.random.default_rng(size).uniform(-3, 3, size).astype(dtype)
    first[int(at * (size - 1))] = 2.0**60
    check_sums("bce_with_logits", first, np.zeros(size, np.uint8), dtype)


@pytest.mark.parametrize("size", SIZES)
def test_sums_of_rows(dtype, size):
    rng = np.random.default_rng(size)
    rows = rng.uniform(-20, 20, (1 + size // 10, 10)).astype(dtype)
    check_sums("cross_entropy", rows, rng.integers(0, 10, len(rows)), dtype)


def test_a_weighted_gradient_of_a_subnormal_probability(dtype):
    """At torch's limit it is 10^12 times as large, and loses nothing on the way there."""
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1, 3, 1000, 62651], dtype)
    targets = np.full(tiny.shape, 0.40919915, dtype)
    exact = reference.bce(tiny, targets, EXACT, pos_weight=0, reduction="none")
    grad = value_and_grad_of("bce")(tiny, targets, pos_weight=0, reduction="none")[1]
    assert reference.ulp_error(grad, exact.grad, dtype).max() <= 3
