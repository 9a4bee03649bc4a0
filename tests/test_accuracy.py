"""Promise 1: how far each loss and gradient may be from the exact value, in units in the last place (ULP).

The exact value is the formula's for the inputs as they are stored: by mpmath, by a wider float for bulk.
"""

import math

import numpy as np
import pytest
import reference
from cases import loss_of, value_and_grad_of
from reference import DOUBLE, EXACT, LONG, ulp_error

# The bars, in ULP: (loss, gradient). For soft targets the gradient's is that of the larger of its two terms.
HARD = {
    ("bce", np.float32): (1.0, 1.0),
    ("bce", np.float64): (1.0, 1.0),
    ("bce_with_logits", np.float32): (1.0, 1.0),
    ("bce_with_logits", np.float64): (1.0, 1.0),
}
SOFT = {
    ("bce", np.float32): (2.0, 2.0),
    ("bce", np.float64): (2.0, 2.0),
    ("bce_with_logits", np.float32): (2.0, 2.0),
    ("bce_with_logits", np.float64): (2.0, 2.0),
}
CROSS_ENTROPY = {np.float32: (4.0, 4.0), np.float64: (4.0, 4.0)}
SUM = {np.float32: 0.01, np.float64: 2.0}  # in ULP of this dtype, of a sum that is a float64

# Inputs at which sweeps of millions found the largest errors of some version.
WORST = {
    "bce": [
        0.30018714179445666,
        0.2948193452018625,
        0.29473175154152836,
        0.3009341648544804,
        0.7052395183601285,
        0.21116944,
        0.9324721,
        0.49170098,
    ],
    "bce_with_logits": [0.6359925983240959, 1.7312759, 0.21040171, -87.8193, 103.6715, 0.7982057],
}

BINARY = ("bce", "bce_with_logits")
WIDER = {np.float32: DOUBLE, np.float64: LONG}


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
    far = magnitudes(dtype, 400)
    parts = [
        np.linspace(-wide, wide, 1501),
        rng.uniform(-wide, wide, 1500),
        rng.uniform(-2, 2, 500),
        neighbours(np.concatenate([powers[:: 1 + len(powers) // 400], steps, np.negative(steps)]), dtype),
        far,
        -far,
        [-0.0, np.finfo(dtype).max, -np.finfo(dtype).max],
        WORST["bce_with_logits"],
    ]
    return np.concatenate([np.asarray(part, dtype) for part in parts])


def probs_to_try(dtype):
    """Dense in [0, 1], towards both ends, and around torch's two limits."""
    tiny = magnitudes(dtype, 1200)
    tiny = tiny[tiny < 0.5]
    rng = np.random.default_rng(2)
    limits = [1e-12, 1 - 1e-12, math.exp(-100), 2.0**-24, 0.25, 0.5, 0.75, 2 / 3, 1 / math.e]
    ends = [0.0, 1.0, np.finfo(dtype).tiny]
    parts = [np.linspace(0, 1, 1025), rng.random(1500), tiny, 1 - tiny, neighbours(limits, dtype), ends]
    parts.append(WORST["bce"])
    probs = np.concatenate([np.asarray(part, dtype) for part in parts])
    return probs[probs <= 1]


def soft_targets(size, dtype):
    rng = np.random.default_rng(3)
    y = rng.random(size)
    y[::7] = np.exp2(-rng.uniform(0, 60, y[::7].size))
    y[3::7] = 1 - np.exp2(-rng.uniform(0, 50, y[3::7].size))
    y[5::14] = 0.5
    return y.astype(dtype)


def check_elements(function, first, targets, bars, numbers, larger_term=False):
    dtype = first.dtype.type
    exact = getattr(reference, function)(first, targets, numbers, reduction="none")
    loss, grad = value_and_grad_of(function)(first, targets, reduction="none")
    of = None
    if larger_term:
        # The terms' sum of absolute values and their difference give the larger: (|a| + |b| + |a - b|) / 2.
        of = (exact.grad_size + abs(exact.grad)) / 2
    results = {
        "loss": (loss, exact.loss, ulp_error(loss, exact.loss, dtype), bars[0]),
        "gradient": (grad, exact.grad, ulp_error(grad, exact.grad, dtype, of), bars[1]),
    }
    for name, (actual, expected, errors, bar) in results.items():
        worst = np.unravel_index(np.argmax(errors), errors.shape)
        target = targets[worst[: targets.ndim]]
        assert errors[worst] <= bar, (
            f"{function} {name}: {errors[worst]:.3g} ULP at {first[worst]!r}, target {target!r}: "
            f"{actual[worst]!r} instead of {float(expected[worst])!r}"
        )


@pytest.mark.parametrize("function", BINARY)
@pytest.mark.parametrize("target", [0, 1])
def test_hard_targets(function, dtype, target):
    first = (probs_to_try if function == "bce" else logits_to_try)(dtype)
    check_elements(function, first, np.full(first.shape, target), HARD[function, dtype], EXACT)


@pytest.mark.parametrize("function", BINARY)
def test_soft_targets(function, dtype):
    first = (probs_to_try if function == "bce" else logits_to_try)(dtype)
    y = soft_targets(first.size, dtype)
    check_elements(function, first, y, SOFT[function, dtype], EXACT, larger_term=True)


# Inputs and soft targets at which searches found the largest errors of some version.
WORST_SOFT = {
    "bce": [
        (0.22885112, 0.4131749),
        (0.0003298071, 0.98624516),
        (0.76199615, 0.526586),
        (4.447032716160026e-15, 0.03196614266173481),
        (6.116993638365809e-17, 0.5001833996372751),
        (1.000000000000019e-12, 9.664035568025492e-13),
        (1.3894218039484903e-15, 1.5101108250607664e-11),
    ],
    "bce_with_logits": [
        (7.5825224, 0.48291436),
        (3.780968, 0.47774455),
        (3.3637516, 0.48276392),
        (-2.706468, 0.0032917336),
        (-4.1446404, 0.007353275),
    ],
}


@pytest.mark.parametrize("size", [200_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("function", BINARY)
def test_soft_targets_all_over(function, dtype, size):
    """1 - y is not exact for y < 1/2, and where it is multiplied by more than 1/2 that shows."""
    if np.finfo(np.longdouble).nmant < 60 and dtype == np.float64:
        pytest.skip("long double is no wider than double")
    rng = np.random.default_rng(5)
    for start in range(0, size, 200_000):
        if function == "bce":
            first = np.where(
                rng.random(200_000) < 0.5, rng.random(200_000), np.exp2(-rng.uniform(0, 100, 200_000))
            )
        else:
            first = rng.normal(scale=rng.choice([0.5, 3, 20], 200_000))
        y = np.where(rng.random(200_000) < 0.5, rng.random(200_000), np.exp(-rng.uniform(0, 8, 200_000)))
        if start == 0:
            first[: len(WORST_SOFT[function])], y[: len(WORST_SOFT[function])] = zip(
                *WORST_SOFT[function], strict=True
            )
        check_elements(
            function,
            first.astype(dtype),
            y.astype(dtype),
            SOFT[function, dtype],
            WIDER[dtype],
            larger_term=True,
        )


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
            check_elements(function, values, targets, HARD[function, np.float32], DOUBLE)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="long double is no wider than double")
@pytest.mark.parametrize("size", [100_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("function", BINARY)
def test_float64_all_over(function, size):
    rng = np.random.default_rng(4)
    if function == "bce":
        near = np.exp2(-rng.uniform(0, 1074, size))
        samples = [rng.random(size), near, 1 - np.exp2(-rng.uniform(0, 53, size))]
    else:
        samples = [rng.uniform(-reach, reach, size) for reach in (1, 40, 750)]
        samples.append(np.exp2(rng.uniform(-60, 10, size)) * rng.choice([-1, 1], size))
    for values in samples:
        for target in (0, 1):
            targets = np.full(values.shape, target, np.uint8)
            check_elements(function, values, targets, HARD[function, np.float64], LONG)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 77, 1000])
@pytest.mark.parametrize("kind", ["uniform", "confident", "wrong", "tied"])
def test_cross_entropy(dtype, n_classes, kind):
    rng = np.random.default_rng(n_classes)
    rows = 2 + 200 // n_classes
    labels = rng.integers(0, n_classes, rows)
    logits = rng.uniform(-20, 20, (rows, n_classes))
    if kind == "tied":
        logits = rng.integers(-20, 21, (rows, n_classes)).astype(float)
    elif kind != "uniform":
        # One class towers above the others: by 10 to 40.
        logits = rng.uniform(-20, -19, (rows, n_classes))
        top = labels if kind == "confident" else (labels + 1) % n_classes
        logits[np.arange(rows), top] = rng.uniform(-9, 20, rows)
    check_elements("cross_entropy", logits.astype(dtype), labels, CROSS_ENTROPY[dtype], EXACT)


@pytest.mark.parametrize("n_classes", [1 << 12, 1 << 16, 1 << 18])
def test_cross_entropy_with_many_classes(dtype, n_classes):
    if np.finfo(np.longdouble).nmant < 60 and dtype == np.float64:
        pytest.skip("long double is no wider than double")
    rng = np.random.default_rng(n_classes)
    logits = rng.uniform(-20, 20, (2, n_classes)).astype(dtype)
    labels = np.array([int(np.argmax(logits[0])), n_classes - 1])
    check_elements("cross_entropy", logits, labels, CROSS_ENTROPY[dtype], WIDER[dtype])


@pytest.mark.parametrize("size", [1, 3, 100, 3001, 1_000_000])
@pytest.mark.parametrize("function", BINARY)
def test_sums_of_the_elements(function, dtype, size):
    rng = np.random.default_rng(size)
    if function == "bce":
        first = np.exp2(-rng.uniform(0, 100, size)).astype(dtype)
    else:
        # Losses from 1e-13 to 1e13: a sum that rounds carelessly loses the small ones.
        first = (np.exp2(rng.uniform(0, 43, size)) * rng.choice([-1, 1], size)).clip(-30, None).astype(dtype)
    targets = (rng.random(size) < 0.2).astype(np.uint8)
    elements = loss_of(function)(first, targets, reduction="none")
    exact = math.fsum(elements.astype(np.float64).tolist())
    total = loss_of(function)(first, targets, reduction="sum")
    mean = loss_of(function)(first, targets)
    assert abs(total - exact) <= SUM[dtype] * float(reference.ulp(np.asarray(exact), dtype))
    # One more rounding, of the division.
    bar = SUM[dtype] * float(reference.ulp(np.asarray(exact / size), dtype)) + np.spacing(exact / size)
    assert abs(mean - exact / size) <= bar


@pytest.mark.parametrize("rows", [[[0.9, 1e-9]], [[1.0, 1e-17]], [[1 - 1e-9, 1e-9, 0.0]]])
def test_gradient_where_one_class_has_nearly_all_the_targets(dtype, rows):
    """What the other classes have may be less than the rounding error of the sum."""
    targets = np.array(rows, dtype)
    logits = np.zeros(targets.shape, dtype)
    logits[:, 0] = 80
    exact = reference.cross_entropy(logits, targets, EXACT, reduction="none")
    grad = value_and_grad_of("cross_entropy")(logits, targets, reduction="none")[1]
    q = EXACT.make(targets)
    p = EXACT.exp(EXACT.make(logits))
    p = p / p.sum(axis=1, keepdims=True)
    others = (q.sum(axis=1, keepdims=True) - q) * p, q * (1 - p)  # without cancellation, in 240 bits
    size = np.where(others[0] > others[1], *others)
    assert ulp_error(grad, exact.grad, dtype, size).max() <= CROSS_ENTROPY[dtype][1]
