"""What the specification says, slowly and obviously: what the tests judge fastbce by.

One text for three kinds of number. ``EXACT``: object arrays of mpmath numbers of 240 bits, where single ULPs
are judged. ``LONG``: NumPy's long double, for bulk. ``DOUBLE``: float64, for bulk that is judged in float32.

The inputs are first rounded to the dtype fastbce computes in, as the specification says; weights are taken as
they come, and results are not rounded to any dtype. Nothing here checks its arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import mpmath
import numpy as np


@dataclass(frozen=True)
class Numbers:
    """A kind of number: how to make one, and its elementary functions, on arrays."""

    make: Callable
    exp: Callable
    log: Callable
    log1p: Callable


PRECISE = mpmath.mp.clone()
PRECISE.prec = 240


def _elementwise(function):
    ufunc = np.frompyfunc(function, 1, 1)

    def on_array(array):
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(array), dtype=object)

    return on_array


def _exact(array):
    return _elementwise(PRECISE.mpf)(np.asarray(array, dtype=np.float64).astype(object))


EXACT = Numbers(_exact, _elementwise(PRECISE.exp), _elementwise(PRECISE.log), _elementwise(PRECISE.log1p))
LONG = Numbers(lambda array: np.asarray(array, dtype=np.longdouble), np.exp, np.log, np.log1p)
DOUBLE = Numbers(lambda array: np.asarray(array, dtype=np.float64), np.exp, np.log, np.log1p)


class Result(NamedTuple):
    """What a call returns, and the sizes of the terms it is made of.

    A size is the sum of the terms' absolute values: a rounding error is small beside it, and not beside a
    result in which terms cancel.
    """

    loss: Any  # reduced, or an array with reduction="none"
    grad: np.ndarray  # the gradient of that
    losses: np.ndarray  # what reduction="none" returns
    proba: np.ndarray | None
    loss_size: Any
    grad_size: np.ndarray
    losses_size: np.ndarray
    hess: np.ndarray | None  # the Hessian diagonal that grad_hess returns: weighted, never reduced
    hess_size: np.ndarray | None


class Terms(NamedTuple):
    """An element, or a row, before it is weighted."""

    loss: np.ndarray
    grad: np.ndarray
    loss_size: np.ndarray
    grad_size: np.ndarray
    hess: np.ndarray | None = None
    hess_size: np.ndarray | None = None


# --- section 3: one element, or one row ---------------------------------------------------------------------


def _times(coefficient, term):
    """coefficient * term, where a coefficient of 0 takes even an infinite term away."""
    gone = (coefficient == 0) & (abs(term) == np.inf)
    return np.where(gone, 0 * coefficient, coefficient * np.where(gone, 0 * coefficient, term))


def sigmoid(x, numbers):
    t = numbers.exp(-abs(x))
    return np.where(x >= 0, 1 / (1 + t), t / (1 + t))


def softplus(x, numbers):
    """log(1 + exp(x)): minus the logarithm of 1 - sigmoid(x)."""
    return numbers.log1p(numbers.exp(-abs(x))) + np.where(x >= 0, x, 0 * numbers.exp(-abs(x)))


def bce_with_logits_element(x, y, pos_weight, numbers):
    """The gradient is push - pull; the Hessian has one term, in which nothing cancels."""
    positive, negative = pos_weight * y, 1 - y
    p, q = sigmoid(x, numbers), sigmoid(-x, numbers)
    loss = _times(positive, softplus(-x, numbers)) + _times(negative, softplus(x, numbers))
    push, pull = negative * p, positive * q
    hess = (positive + negative) * p * q
    return Terms(loss, push - pull, loss, push + pull, hess, hess)


def focal_element(x, y, alpha, gamma, dtype, numbers):
    """ce * rest and (ce' + gamma * miss' / miss * ce) * rest; rest is miss**gamma * alpha_t, miss is 1 - p_t.

    A power multiplies the relative error of `miss` by gamma: so much larger are the sizes. If it underflows
    in the dtype computed in, what is lost is multiplied by ce, which is huge for huge logits.
    """
    p, q = sigmoid(x, numbers), sigmoid(-x, numbers)
    ce = _times(y, softplus(-x, numbers)) + _times(1 - y, softplus(x, numbers))
    miss = p * (1 - y) + q * y
    # miss' / miss, which for hard targets has a limit where miss is 0
    slope = np.where(y == 1, -p, np.where(y == 0, q, (1 - 2 * y) * p * q / miss))
    rest = miss ** numbers.make(gamma)
    if alpha >= 0:
        rest = rest * (numbers.make(alpha) * y + (1 - numbers.make(alpha)) * (1 - y))
    push, pull, bend = (1 - y) * p, y * q, numbers.make(gamma) * _times(slope, ce)
    loss, steep = _times(rest, ce), 1 + numbers.make(gamma)
    info = finfo(dtype)
    lost = numbers.make(float(info.smallest_subnormal) / float(info.eps))
    size, slope_size = (part * (steep * rest + lost) for part in (ce, push + pull + abs(bend)))
    return Terms(loss, rest * (push - pull + bend), size, slope_size)


def bce_element(p, y, pos_weight, eps, dtype, numbers):
    """The same for a probability: by torch's rule, or with probabilities clipped to [eps, 1-eps]."""
    positive, negative = pos_weight * y, 1 - y
    if eps is None:
        log_p, log_q = numbers.log(p), numbers.log1p(-p)
        log_p = np.where(log_p < -100, -100, log_p)
        log_q = np.where(log_q < -100, -100, log_q)
        limit = numbers.make(dtype.type(1e-12))
        divisor = np.where(p * (1 - p) < limit, limit, p * (1 - p))
        push, pull = negative * p / divisor, positive * (1 - p) / divisor
        loss = positive * -log_p + negative * -log_q
        return Terms(loss, push - pull, loss, push + pull)
    low, high = numbers.make(dtype.type(eps)), numbers.make(dtype.type(1 - eps))
    moved = (p < low) | (p > high)
    p = np.where(p < low, low, np.where(p > high, high, p))
    loss = _times(positive, -numbers.log(p)) + _times(negative, -numbers.log1p(-p))
    push, pull = _times(negative, 1 / (1 - p)), _times(positive, 1 / p)
    return Terms(loss, np.where(moved, 0, push - pull), loss, np.where(moved, 0, push + pull))


def sum_of_others(terms):
    """For each entry along the last axis, the sum of all the others: added up, not subtracted."""
    before, after = np.zeros_like(terms), np.zeros_like(terms)
    before[..., 1:] = np.cumsum(terms[..., :-1], axis=-1)
    after[..., :-1] = np.cumsum(terms[..., :0:-1], axis=-1)[..., ::-1]
    return before + after


def softmax(x, numbers):
    """Along the last axis: p, 1 - p and -log p. NaN where the limit does not exist."""
    top = np.max(x, axis=-1, keepdims=True)
    at_top = x == top
    terms = np.where(at_top, numbers.make(1.0), numbers.exp(np.where(at_top, 0, x - top)))
    first = np.arange(x.shape[-1]) == np.argmax(x, axis=-1)[..., None]
    rest = np.sum(np.where(first, 0 * terms, terms), axis=-1, keepdims=True)
    minus_log = np.where(at_top, 0 * terms, top - x) + numbers.log1p(rest)
    several = np.sum(at_top, axis=-1, keepdims=True) > 1
    lost = np.any(x != x, axis=-1, keepdims=True) | (top == -np.inf) | ((top == np.inf) & several)
    results = terms / (1 + rest), sum_of_others(terms) / (1 + rest), minus_log
    return [np.where(lost, numbers.make(np.nan), array) for array in results]


def cross_entropy_row(x, q, numbers):
    """Rows with class coefficients q, and S the sum of q.

    The gradient S p - q is (S - q) p - q (1 - p): neither bracket is computed by subtraction. The Hessian
    diagonal is S p (1 - p).
    """
    p, others, minus_log = softmax(x, numbers)
    loss = np.sum(_times(q, minus_log), axis=-1)
    loss_size = np.sum(_times(abs(q), minus_log), axis=-1)
    grad = sum_of_others(q) * p - q * others
    whole, whole_size = (np.sum(array, axis=-1, keepdims=True) for array in (q, abs(q)))
    return Terms(loss, grad, loss_size, whole_size * p + abs(q), whole * p * others, whole_size * p * others)


# --- section 2: weights, what is left out, reductions -------------------------------------------------------


def _weights(shape, sample_weight, where, ignored):
    """Which elements count, their weights, and which contribute at all."""
    counted = np.broadcast_to(True if where is None else where, shape) & ~np.broadcast_to(ignored, shape)
    weight = np.broadcast_to(1.0 if sample_weight is None else sample_weight, shape).astype(np.float64)
    return counted, weight, counted & (weight != 0)


def _reduce(terms, weight, whole_weight, counted, alive, options, proba, numbers):
    """Weigh, leave out, add up, divide. `whole_weight` is what weighted_mean divides by the sum of."""
    zero = numbers.make(0.0)

    def weigh(weight, array):
        per_class = (...,) + (None,) * (np.ndim(array) - np.ndim(alive))
        return np.where(alive[per_class], np.asarray(weight)[per_class] * array, zero)

    losses, losses_size = weigh(weight, terms.loss), weigh(abs(weight), terms.loss_size)
    grad, size = weigh(weight, terms.grad), weigh(abs(weight), terms.grad_size)
    hess = hess_size = None
    if terms.hess is not None:
        hess, hess_size = weigh(weight, terms.hess), weigh(abs(weight), terms.hess_size)
    rest = losses_size, hess, hess_size
    reduction, normalizer = options.get("reduction", "mean"), options.get("normalizer")
    if reduction == "none":
        return Result(losses, grad, losses, proba, losses_size, size, *rest)
    divisor = {
        "sum": numbers.make(1.0),
        "mean": numbers.make(np.sum(counted)),
        "weighted_mean": np.sum(np.where(alive, whole_weight, zero)),
    }[reduction]
    if normalizer is not None:
        divisor = numbers.make(normalizer)
    if divisor == 0:
        nothing = np.full_like(size, zero)
        return Result(numbers.make(np.nan), nothing, losses, proba, zero, nothing, *rest)
    scale = 1 / abs(divisor)
    if reduction == "weighted_mean" and normalizer is None:
        scale *= np.sum(np.where(alive, abs(whole_weight), zero)) / abs(divisor)  # the weights may cancel too
    loss_size = np.sum(losses_size) * scale
    return Result(np.sum(losses) / divisor, grad / divisor, losses, proba, loss_size, size * scale, *rest)


def computed_in(dtype):
    """The dtype that is computed in for a first argument of this one."""
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind in "iu":
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def _prepare(first):
    first = np.asarray(first)
    dtype = computed_in(first.dtype)
    return first.astype(dtype), dtype


def _binary(element, first, targets, proba, numbers, options):
    first, dtype = _prepare(first)
    counted, weight, alive = _weights(
        first.shape, options.get("sample_weight"), options.get("where"), np.zeros(first.shape, bool)
    )
    targets = np.broadcast_to(np.asarray(targets), first.shape)
    y = numbers.make(np.where(alive, targets, 0).astype(dtype))
    smoothing = numbers.make(options.get("label_smoothing", 0.0))
    y = y * (1 - smoothing) + smoothing / 2
    pos_weight = numbers.make(np.broadcast_to(options.get("pos_weight", 1.0), first.shape))
    a = numbers.make(np.where(alive, first, dtype.type(0)))
    terms = element(a, y, pos_weight, dtype)
    weight = numbers.make(weight)
    return _reduce(terms, weight, weight, counted, alive, options, proba, numbers)


def bce(probs, targets, numbers=LONG, **options):
    def element(p, y, pos_weight, dtype):
        return bce_element(p, y, pos_weight, options.get("eps"), dtype, numbers)

    with np.errstate(all="ignore"):
        return _binary(element, probs, targets, None, numbers, options)


def bce_with_logits(logits, targets, numbers=LONG, **options):
    def element(x, y, pos_weight, dtype):
        return bce_with_logits_element(x, y, pos_weight, numbers)

    with np.errstate(all="ignore"):
        proba = sigmoid(numbers.make(_prepare(logits)[0]), numbers)
        return _binary(element, logits, targets, proba, numbers, options)


def sigmoid_focal_loss(logits, targets, numbers=LONG, *, alpha=0.25, gamma=2.0, **options):
    def element(x, y, pos_weight, dtype):
        return focal_element(x, y, alpha, gamma, dtype, numbers)

    with np.errstate(all="ignore"):
        proba = sigmoid(numbers.make(_prepare(logits)[0]), numbers)
        return _binary(element, logits, targets, proba, numbers, options)


def cross_entropy(logits, targets, numbers=LONG, *, axis=-1, **options):
    logits, dtype = _prepare(logits)
    targets = np.asarray(targets)
    labelled = targets.ndim < logits.ndim
    x = np.moveaxis(logits, axis, -1)
    samples, n_classes = x.shape[:-1], x.shape[-1]
    if labelled:
        labels = np.broadcast_to(targets, samples)
        ignored = labels == options["ignore_index"] if "ignore_index" in options else np.zeros(samples, bool)
    else:
        targets = np.moveaxis(np.broadcast_to(targets, logits.shape), axis, -1)
        ignored = np.zeros(samples, bool)
    counted, weight, alive = _weights(samples, options.get("sample_weight"), options.get("where"), ignored)
    weight = numbers.make(weight)
    class_weight = numbers.make(np.broadcast_to(options.get("class_weight", 1.0), n_classes))
    smoothing = numbers.make(options.get("label_smoothing", 0.0))
    if labelled:
        labels = np.where(alive, labels, 0).astype(np.int64)
        one_hot = np.arange(n_classes) == labels[..., None]
        q = np.where(one_hot, (1 - smoothing) * class_weight, numbers.make(0.0))
        if smoothing != 0:
            q = q + smoothing / n_classes * class_weight
        with np.errstate(invalid="ignore"):  # inf * 0, where it is left out
            whole_weight = weight * class_weight[labels]
    else:
        y = numbers.make(np.where(alive[..., None], targets, 0).astype(dtype))
        q = class_weight * (y * (1 - smoothing) + smoothing / n_classes)
        whole_weight = weight
    with np.errstate(all="ignore"):
        proba = softmax(numbers.make(x), numbers)[0]
        x = numbers.make(np.where(alive[..., None], x, dtype.type(0)))
        terms = cross_entropy_row(x, q, numbers)
        result = _reduce(terms, weight, whole_weight, counted, alive, options, proba, numbers)
    per_class = ("grad", "grad_size", "proba", "hess", "hess_size")
    return result._replace(**{name: np.moveaxis(getattr(result, name), -1, axis) for name in per_class})


# --- section 7: the unit in the last place ------------------------------------------------------------------


def finfo(dtype):
    """NumPy's, that knows bfloat16."""
    return ml_dtypes.finfo(dtype)


def ulp(value, dtype):
    """The distance between floats of this dtype around `value`, subnormals included."""
    info = finfo(dtype)
    if isinstance(value, np.ndarray) and value.dtype != object:
        exponent = np.where(value == 0, info.minexp, np.maximum(np.frexp(value)[1] - 1, info.minexp))
        return np.ldexp(value.dtype.type(1), exponent - info.nmant)
    if isinstance(value, np.ndarray):
        return np.frompyfunc(lambda one: ulp(one, dtype), 1, 1)(value)
    if not PRECISE.isfinite(value):
        return PRECISE.mpf(1)
    exponent = int(PRECISE.mag(value)) - 1 if value else info.minexp
    return PRECISE.ldexp(1, max(exponent, info.minexp) - info.nmant)


def ulp_error(actual, exact, dtype, of=None):
    """How many ULP of `exact` (or of the larger term `of`) `actual` is away from it; inf if it is hopeless.

    inf where `exact` is beyond the largest float counts as the power of two that would come next.
    """
    info = finfo(dtype)
    actual, exact = np.asarray(actual, dtype=dtype), np.asarray(exact)
    numbers = EXACT if exact.dtype == object else LONG if exact.dtype == np.longdouble else DOUBLE
    with np.errstate(all="ignore"):
        value = numbers.make(actual)
        beyond = (abs(value) == np.inf) & (abs(exact) > numbers.make(info.max)) & (value * exact > 0)
        overflow = numbers.make(2.0) ** int(info.maxexp)
        distance = abs(exact) - overflow
        distance = np.where(distance > 0, 0 * distance, -distance)
        distance = np.where(beyond, distance, abs(value - exact))
        units = distance / ulp(exact if of is None else np.asarray(of), dtype)
        both_nan = (value != value) & (exact != exact)
        same_infinity = (abs(value) == np.inf) & (value == exact)
        units = np.where(both_nan | same_infinity, 0.0, units)
        return np.where(units != units, np.inf, units).astype(np.float64)
