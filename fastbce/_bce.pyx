# Binary cross-entropy of probabilities and of logits, and focal loss: the entry points and the checks.
#
# Two ways in, one way through. Contiguous arrays with no more than `out` and `reduction` given are recognised by a few
# flags (direct_call); everything else goes through general_call, which names what is wrong. Both fill a Call, and
# execute walks it.
cimport numpy as cnp
from cpython.object cimport PyObject

import math

import numpy as np

from fastbce._arrays cimport (
    FB_F32,
    FB_F64,
    MEAN,
    NONE,
    WEIGHTED_MEAN,
    Reduction,
    are_apart,
    as_fraction,
    as_logits,
    as_mask,
    as_normalizer,
    as_number,
    as_output,
    as_reduction,
    as_values,
    broadcast,
    can_scale,
    computed_dtype,
    computed_size,
    describe_input,
    describe_output,
    disjoint,
    divide,
    dtype_code,
    ease,
    empty_like,
    fb_buffers,
    fb_kernels,
    fb_sum_value,
    kernels_for,
    lie_direct,
    position,
    reduced,
    result_dtype,
    same_shape,
    separate,
)
from fastbce._blocks cimport (
    FOCAL,
    LOGITS,
    PROBS,
    Call,
    Loss,
    execute,
    first_outside,
    is_large,
    look_outside,
    look_sign,
    run_chunk,
    sum_weights,
)
from fastbce._panels cimport execute_panels
from fastbce._threads cimport (
    Partial,
    fb_float_default,
    fb_float_restore,
    fb_float_state,
    threads_for_call,
)

cdef extern from "numpy/arrayobject.h":
    cnp.npy_intp PyArray_CountNonzero(cnp.ndarray array) except -1

cnp.import_array()

cdef enum Results:
    VALUE, VALUE_AND_GRAD, GRAD_AND_HESS


# ---- the short way in ------------------------------------------------------------------------------------------------

cdef bint direct_call(Call *call, Loss kind, cnp.ndarray x, cnp.ndarray y, cnp.ndarray out) noexcept:
    # Fill call, if these (out may be None) are plain: contiguous, aligned, in native byte order, apart in memory.
    cdef int code = cnp.PyArray_TYPE(x), own = FB_F32 if code == cnp.NPY_FLOAT else FB_F64
    cdef int y_code = own if cnp.PyArray_TYPE(y) == code else dtype_code(y)
    cdef Py_ssize_t size, y_size
    if not ((code == cnp.NPY_FLOAT or code == cnp.NPY_DOUBLE) and y_code >= 0 and cnp.PyArray_ISCARRAY_RO(x)
            and cnp.PyArray_ISCARRAY_RO(y) and same_shape(x, y)):
        return False
    call.n = cnp.PyArray_SIZE(x)
    if call.n == 0:
        return False
    call.kernels = kernels_for(own)
    call.size = size = sizeof(float) if code == cnp.NPY_FLOAT else sizeof(double)
    y_size = size if y_code == own else cnp.PyArray_ITEMSIZE(y)
    lie_direct(&call.x, <char *>cnp.PyArray_DATA(x), size)
    lie_direct(&call.y, <char *>cnp.PyArray_DATA(y), y_size)
    call.x.load = call.kernels.load[own]
    call.y.load = call.kernels.load_targets[y_code]
    call.y.direct = y_code == own
    call.grad.data = NULL
    if out is not None:
        if not (cnp.PyArray_TYPE(out) == code and cnp.PyArray_ISCARRAY(out) and same_shape(x, out)
                and disjoint(x, out, call.n * size, call.n * size)
                and disjoint(y, out, call.n * y_size, call.n * size)):
            return False
        lie_direct(&call.grad, <char *>cnp.PyArray_DATA(out), size)
        call.grad.store = call.kernels.store[own]
    call.kind = kind
    call.weighted = call.balanced = False
    call.apart = call.sums = True
    call.columns = 0
    call.weight.data = call.pos_weight.data = call.where.data = NULL
    call.loss.data = call.hess.data = call.proba.data = NULL
    call.smoothing = 0
    call.clip_low = -1
    return True


# ---- the general way in ----------------------------------------------------------------------------------------------

def _outside(str name, object array, Py_ssize_t index):
    where = position(index, array.shape)
    return ValueError(f"{name}: expected values in [0, 1], got {array[where]!s} at position {where}")


cdef int check_range(const Call *call, object x, object y) except -1:
    # Raise if a probability or a target that counts is outside [0, 1].
    cdef fb_buffers buffers
    cdef Py_ssize_t index
    if call.kind == PROBS:
        index = first_outside(call, &call.x, 0, call.n, &buffers)
        if index >= 0:
            raise _outside("probs", x, index)
    index = first_outside(call, &call.y, 0, call.n, &buffers)
    if index >= 0:
        raise _outside("targets", y, index)
    return 0


cdef int check_range_first(const Call *call, int threads, object x, object y) except -1:
    # The same, by all threads, before what is read is overwritten.
    cdef Call looked_at = call[0]
    cdef Partial total
    looked_at.pos_weight.data = NULL
    if call.kind != PROBS:
        looked_at.x.data = NULL
    execute_panels(&looked_at, look_outside, threads, &total)
    if total.wrong >= 0:
        check_range(call, x, y)
    return 0


cdef int check_not_negative(cnp.ndarray positive, const fb_kernels *kernels, int threads) except -1:
    # NaN is not negative, and gives NaN.
    cdef Call call
    cdef Partial total
    call.kernels = kernels
    call.size = computed_size(kernels)
    call.n = cnp.PyArray_SIZE(positive)
    if call.n == 0:
        return 0
    describe_input(&call.pos_weight, positive, kernels, False)
    execute(&call, look_sign, threads, &total)
    if total.wrong < 0:
        return 0
    if cnp.PyArray_NDIM(positive) == 0:
        if float(positive) < 0:
            raise ValueError(f"pos_weight: expected numbers that are not negative, got {positive!s}")
        return 0
    with np.errstate(invalid="ignore"):  # a signalling NaN is no reason for a warning
        if not np.fmin.reduce(positive, axis=None) < 0:
            return 0
        index = int(np.argmax(positive < 0))  # 0 if another thread has changed it meanwhile
    where = position(index, (<object>positive).shape)
    raise ValueError(f"pos_weight: expected numbers that are not negative, got {positive[where]!s} "
                     f"at position {where}")


cdef Py_ssize_t count(cnp.ndarray mask, Py_ssize_t n) except -1:
    # How many of n elements a mask that broadcasts against them keeps.
    cdef Py_ssize_t size = cnp.PyArray_SIZE(mask)
    return PyArray_CountNonzero(mask) * (n // size) if size > 0 else 0


cdef object left_out_of(cnp.ndarray weight, cnp.ndarray mask):
    # What has no weight or is left out, as a new array. (Weights add up to NaN: there are some.)
    with np.errstate(invalid="ignore"):  # a signalling NaN is no reason for a warning
        left_out = np.equal(weight, 0)
    return left_out if mask is None else np.logical_or(left_out, np.logical_not(mask))


cdef object checked_call(Loss kind, Results results, object x_given, object y_given, object sample_weight,
                         object pos_weight, object label_smoothing, object where, object eps, object alpha,
                         object gamma, object reduction_given, object normalizer, object grad_out, object hess_out,
                         object loss_out, object proba_out, object num_threads):
    cdef Call call, only_weights
    cdef Partial total
    cdef int threads = threads_for_call(num_threads)
    cdef double denominator = 1
    cdef str x_name = "probs" if kind == PROBS else "logits"
    cdef str grad_name = "grad_out" if results == GRAD_AND_HESS else "out"

    cdef Reduction reduction = as_reduction(reduction_given)
    cdef double given_denominator = as_normalizer(normalizer, reduction) if normalizer is not None else 0

    cdef cnp.ndarray x = as_logits(x_given, x_name)
    call.kernels = kernels_for(dtype_code(x))
    cdef tuple shape = (<object>x).shape
    cdef cnp.ndarray y = broadcast(as_values(y_given, "targets"), "targets", shape, x_name)
    cdef cnp.ndarray weight = None, positive = None, mask = None, given_mask = None
    if sample_weight is not None:
        weight = broadcast(as_values(sample_weight, "sample_weight"), "sample_weight", shape, x_name)
    cdef double number = 0
    if type(pos_weight) is float:  # most often: it need not be an array
        number = pos_weight
        if number < 0:
            raise ValueError(f"pos_weight: expected numbers that are not negative, got {pos_weight!r}")
    elif pos_weight is not None:
        given = as_values(pos_weight, "pos_weight")
        positive = broadcast(given, "pos_weight", shape, x_name)
        check_not_negative(given, call.kernels, threads)
    if where is not None:
        given_mask = as_mask(where)
        mask = broadcast(given_mask, "where", shape, x_name)

    call.size = computed_size(call.kernels)
    call.smoothing = as_fraction(label_smoothing, "label_smoothing")
    call.clip_low = -1
    if eps is not None:
        clip = as_number(eps, "eps")
        if not 0 < clip < 0.5:
            raise ValueError(f"eps: expected None or a number in (0, 0.5), got {eps!r}")
        call.clip_low, call.clip_high = clip, 1 - clip
        if call.size == sizeof(float):  # as the kernel computes
            call.clip_low, call.clip_high = <float>clip, <float>(1 - clip)

    call.alpha = call.gamma = 0
    if kind == FOCAL:
        call.alpha = as_number(alpha, "alpha")
        if not call.alpha <= 1:
            raise ValueError(f"alpha: expected a number in [0, 1], or a negative one, got {alpha!r}")
        call.gamma = as_number(gamma, "gamma")
        if not (call.gamma >= 0 and math.isfinite(call.gamma)):
            raise ValueError(f"gamma: expected a finite number that is not negative, got {gamma!r}")

    # outputs: those given; those that are only to be returned come when all is checked
    own = result_dtype(x)
    grad = as_output(grad_out, grad_name, shape, own) if grad_out is not None else None
    hess = as_output(hess_out, "hess_out", shape, own) if hess_out is not None else None
    losses = as_output(loss_out, "loss_out", shape, own) if loss_out is not None else None
    proba = as_output(proba_out, "proba_out", shape, own) if proba_out is not None else None
    cdef bint overwrites = False
    cdef PyObject *read[5]
    cdef PyObject *written[4]
    read[:] = [<PyObject *>x, <PyObject *>y, <PyObject *>weight, <PyObject *>positive, <PyObject *>mask]
    written[:] = [<PyObject *>grad, <PyObject *>hess, <PyObject *>losses, <PyObject *>proba]
    if not are_apart(read, 5, written, 4):
        inputs = [x, y, weight, positive, mask]
        overwrites = separate(inputs, [grad, hess, losses, proba], grad_name)
        x, y, weight, positive, mask = inputs

    call.kind = kind
    call.apart = not overwrites
    call.sums = results != GRAD_AND_HESS and reduction != NONE
    call.columns = 0
    call.n = cnp.PyArray_SIZE(x)
    call.weighted = weight is not None or mask is not None
    call.balanced = pos_weight is not None or (call.weighted and call.smoothing != 0)
    call.weighted = call.weighted or (call.balanced and call.smoothing != 0)
    call.weight.data = call.pos_weight.data = call.where.data = NULL
    call.loss.data = call.grad.data = call.hess.data = call.proba.data = NULL
    describe_input(&call.x, x, call.kernels, False)
    describe_input(&call.y, y, call.kernels, True)
    if weight is not None:
        describe_input(&call.weight, weight, call.kernels, False)
    if positive is not None:
        describe_input(&call.pos_weight, positive, call.kernels, False)
    elif pos_weight is not None:
        lie_direct(&call.pos_weight, <char *>&number, 0)
        call.pos_weight.direct = call.pos_weight.fortran = False
        call.pos_weight.load = call.kernels.load[<int>FB_F64]
    if mask is not None:
        describe_input(&call.where, mask, call.kernels, False)
    _targets = ease(&call.y, call.kernels, call.n)  # memory that is kept until the end of the call, as are the next
    _weights = ease(&call.weight, call.kernels, call.n)
    _positive = ease(&call.pos_weight, call.kernels, call.n)
    _mask = ease(&call.where, call.kernels, call.n)

    # the denominator comes first: the gradient carries it
    if reduction == MEAN:
        denominator = call.n if mask is None else count(given_mask, call.n)
    elif reduction == WEIGHTED_MEAN:
        if weight is None:
            denominator = call.n if mask is None else count(given_mask, call.n)
        else:
            only_weights = call
            only_weights.x.data = only_weights.y.data = only_weights.pos_weight.data = NULL
            execute_panels(&only_weights, sum_weights, threads, &total)
            denominator = fb_sum_value(total.sum)
    if normalizer is not None:
        denominator = given_denominator
    call.scale = 1 / denominator if denominator != 0 else 0
    cdef bint divides = results == VALUE_AND_GRAD and not can_scale(call.scale, call.size)
    if divides:
        call.scale = 1
    left_out = left_out_of(weight, mask) if math.isnan(denominator) and results == VALUE_AND_GRAD else None

    if overwrites:
        check_range_first(&call, threads, x, y)
    if results != VALUE:
        if grad is None:
            grad = empty_like(x, own)
        undivided = empty_like(x, computed_dtype(call.kernels)) if divides else grad
        describe_output(&call.grad, undivided, call.kernels)
    if results == GRAD_AND_HESS:
        if hess is None:
            hess = empty_like(x, own)
        describe_output(&call.hess, hess, call.kernels)
    elif losses is None and reduction == NONE:
        losses = empty_like(x, own)
    if losses is not None:
        describe_output(&call.loss, losses, call.kernels)
        call.loss.direct = call.loss.direct and not overwrites
    if proba is not None:
        describe_output(&call.proba, proba, call.kernels)
        call.proba.direct = call.proba.direct and not overwrites

    execute_panels(&call, run_chunk, threads, &total)
    if total.wrong >= 0 and not overwrites:  # what is overwritten was looked at before
        check_range(&call, x, y)
    if divides:
        divide(undivided, denominator, grad)
    if left_out is not None:  # 0, of which the kernel has made NaN
        np.copyto(grad, 0, where=left_out)
    if results == GRAD_AND_HESS:
        return grad, hess
    value = losses if reduction == NONE else reduced(total.sum, denominator)
    return (value, grad) if results == VALUE_AND_GRAD else value


# ---- the public functions --------------------------------------------------------------------------------------------

cdef inline bint is_zero(object value) noexcept:
    return type(value) is float and <double>value == 0


cdef object plain_call(Loss kind, Results results, object x, object y, object reduction, object out,
                       object num_threads):
    # The call with nothing but reduction, out and num_threads given; None if it is not that plain.
    cdef Call call
    cdef Partial total
    cdef double denominator
    if type(reduction) is not str or not (reduction == "mean" or reduction == "sum"):
        return None
    if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y)
            and (out is None or cnp.PyArray_CheckExact(out))
            and direct_call(&call, kind, <cnp.ndarray>x, <cnp.ndarray>y, <cnp.ndarray>out)):
        return None
    if results == VALUE_AND_GRAD and out is None:
        out = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
        lie_direct(&call.grad, <char *>cnp.PyArray_DATA(out), call.size)
        call.grad.store = call.kernels.store[dtype_code(out)]
    denominator = call.n if reduction == "mean" else 1
    call.scale = 1 / denominator
    execute(&call, run_chunk,
            threads_for_call(num_threads) if is_large(&call) or num_threads is not None else 1, &total)
    if total.wrong >= 0:
        check_range(&call, x, y)
    if results == VALUE_AND_GRAD:
        return reduced(total.sum, denominator), out
    return reduced(total.sum, denominator)


cdef object any_call(Loss kind, Results results, object x, object y, object sample_weight, object pos_weight,
                     object label_smoothing, object where, object eps, object reduction, object normalizer, object out,
                     object loss_out, object proba_out, object num_threads):
    cdef object result
    cdef fb_float_state host = fb_float_default()  # first: reading and checking are arithmetic, too
    try:
        if (sample_weight is None and pos_weight is None and where is None and eps is None and normalizer is None
                and loss_out is None and proba_out is None and is_zero(label_smoothing)):
            result = plain_call(kind, results, x, y, reduction, out, num_threads)
            if result is not None:
                return result
        return checked_call(kind, results, x, y, sample_weight, pos_weight, label_smoothing, where, eps, None, None,
                            reduction, normalizer, out, None, loss_out, proba_out, num_threads)
    finally:
        fb_float_restore(host)


cdef object general_call(Loss kind, Results results, object x_given, object y_given, object sample_weight,
                         object pos_weight, object label_smoothing, object where, object eps, object alpha,
                         object gamma, object reduction, object normalizer, object grad_out, object hess_out,
                         object loss_out, object proba_out, object num_threads):
    cdef fb_float_state host = fb_float_default()
    try:
        return checked_call(kind, results, x_given, y_given, sample_weight, pos_weight, label_smoothing, where, eps,
                            alpha, gamma, reduction, normalizer, grad_out, hess_out, loss_out, proba_out, num_threads)
    finally:
        fb_float_restore(host)


def bce(probs, targets, *, sample_weight=None, pos_weight=None, label_smoothing=0.0, where=None, eps=None,
        reduction="mean", normalizer=None, loss_out=None, num_threads=None):
    """Binary cross-entropy of probabilities.

    ``-(y log p + (1 - y) log(1 - p))``, each logarithm no lower than -100.

    Parameters
    ----------
    probs : array_like
        Probabilities of the positive class, in [0, 1], of any shape. float32 and float64 are computed as they are,
        float16 and bfloat16 in float32, integers in float64.
    targets : array_like
        Targets in [0, 1], hard or soft, of any real dtype; broadcasts against `probs`.
    sample_weight : array_like, optional
        Multiplies the loss of each element; broadcasts against `probs`, may be negative. An element of weight 0
        contributes exactly 0, whatever it holds.
    pos_weight : array_like, optional
        Not negative; multiplies the term of the positive class; broadcasts against `probs`.
    label_smoothing : float, default 0.0
        In [0, 1]: targets become ``y (1 - s) + s / 2``.
    where : array_like of bool, optional
        Elements that are False are left out, whatever they hold; broadcasts against `probs`.
    eps : float, optional
        In (0, 0.5): probabilities are clipped to ``[eps, 1 - eps]`` instead of the logarithms being limited.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default "mean"
        "mean" divides by the number of elements that are not left out, "weighted_mean" by the sum of their weights.
    normalizer : float, optional
        A positive number that replaces the denominator of a mean.
    loss_out : ndarray, optional
        Array of the shape of `probs`, float32, float64 or of the dtype of `probs`, that also receives what
        ``reduction="none"`` returns.
    num_threads : int, optional
        For this call; by default what `get_num_threads` says.

    Returns
    -------
    float or ndarray
        The reduced loss, or with ``reduction="none"`` the loss of each element. A sum of nothing is 0, a mean of
        nothing nan, as is a weighted mean whose weights add up to 0. A NaN that counts makes its loss NaN, without an
        error.

    Raises
    ------
    TypeError
        An argument of the wrong kind or dtype.
    ValueError
        A wrong shape or value; a probability or target outside [0, 1], with its position.

    Examples
    --------
    >>> import fastbce as fb
    >>> fb.bce([0.5, 0.25], [1, 0], reduction="none").round(6).tolist()
    [0.693147, 0.287682]
    >>> fb.bce([0.0], [1]), round(fb.bce([0.0], [1], eps=1e-7), 6)  # torch's limit; Keras'
    (100.0, 16.118096)
    """
    return any_call(PROBS, VALUE, probs, targets, sample_weight, pos_weight, label_smoothing, where, eps, reduction,
                    normalizer, None, loss_out, None, num_threads)


def bce_value_and_grad(probs, targets, *, sample_weight=None, pos_weight=None, label_smoothing=0.0, where=None,
                       eps=None, reduction="mean", normalizer=None, out=None, loss_out=None, num_threads=None):
    """Binary cross-entropy of probabilities, and its gradient with respect to them.

    ``(p - y) / max(p (1 - p), 1e-12)`` is the gradient of one element, as torch's.

    Parameters
    ----------
    probs, targets, sample_weight, pos_weight, label_smoothing, where, reduction, normalizer, loss_out, num_threads
        As in `bce`.
    eps : float, optional
        As in `bce`. The gradient is 0 where clipping moved a probability (but NaN beside a NaN), and has no limit.
    out : ndarray, optional
        Array of the shape of `probs`, float32, float64 or of the dtype of `probs`, that receives the gradient; may be
        `probs`.

    Returns
    -------
    loss : float or ndarray
        As `bce` returns it.
    grad : ndarray
        The gradient of that loss (with ``reduction="none"``, of each element), of the dtype of `probs`; `out` if given.

    Raises
    ------
    TypeError, ValueError
        As in `bce`.

    Examples
    --------
    >>> import fastbce as fb
    >>> loss, grad = fb.bce_value_and_grad([0.5, 0.25], [1, 0], reduction="sum")
    >>> round(loss, 6), grad.round(6).tolist()
    (0.980829, [-2.0, 1.333333])
    """
    return any_call(PROBS, VALUE_AND_GRAD, probs, targets, sample_weight, pos_weight, label_smoothing, where, eps,
                    reduction, normalizer, out, loss_out, None, num_threads)


def bce_with_logits(logits, targets, *, sample_weight=None, pos_weight=None, label_smoothing=0.0, where=None,
                    reduction="mean", normalizer=None, loss_out=None, proba_out=None, num_threads=None):
    """Binary cross-entropy of logits: the sigmoid is folded in.

    ``log1p(exp(-|x|)) + ((1 - y) x if x >= 0 else -y x)``, finite for every finite logit.

    Parameters
    ----------
    logits : array_like
        Of any shape. float32 and float64 are computed as they are, float16 and bfloat16 in float32, integers in
        float64. An infinite logit that agrees with a hard target has loss 0.
    targets, sample_weight, pos_weight, label_smoothing, where, reduction, normalizer, loss_out, num_threads
        As in `bce`.
    proba_out : ndarray, optional
        Array of the shape of `logits`, float32, float64 or of the dtype of `logits`, that also receives their sigmoid.

    Returns
    -------
    float or ndarray
        The reduced loss, or with ``reduction="none"`` the loss of each element.

    Raises
    ------
    TypeError
        An argument of the wrong kind or dtype.
    ValueError
        A wrong shape or value; a target outside [0, 1], with its position.

    Examples
    --------
    >>> import fastbce as fb
    >>> round(fb.bce_with_logits([0.0, 2.0], [1, 0]), 6)
    1.410038
    >>> fb.bce_with_logits([0.0, 2.0], [1, 0], pos_weight=3, reduction="none").round(6).tolist()
    [2.079442, 2.126928]
    """
    return any_call(LOGITS, VALUE, logits, targets, sample_weight, pos_weight, label_smoothing, where, None,
                    reduction, normalizer, None, loss_out, proba_out, num_threads)


def bce_with_logits_value_and_grad(logits, targets, *, sample_weight=None, pos_weight=None, label_smoothing=0.0,
                                   where=None, reduction="mean", normalizer=None, out=None, loss_out=None,
                                   proba_out=None, num_threads=None):
    """Binary cross-entropy of logits, and its gradient with respect to them, in one pass over memory.

    ``sigmoid(x) - y`` is the gradient of one element, computed without that subtraction.

    Parameters
    ----------
    logits, targets, sample_weight, pos_weight, label_smoothing, where, reduction, normalizer, loss_out, proba_out, \
num_threads
        As in `bce_with_logits`.
    out : ndarray, optional
        Array of the shape of `logits`, float32, float64 or of the dtype of `logits`, that receives the gradient; may be
        `logits`.

    Returns
    -------
    loss : float or ndarray
        As `bce_with_logits` returns it.
    grad : ndarray
        The gradient of that loss (with ``reduction="none"``, of each element), of the dtype of `logits`; `out` if
        given.

    Raises
    ------
    TypeError, ValueError
        As in `bce_with_logits`.

    Examples
    --------
    >>> import numpy as np, fastbce as fb
    >>> loss, grad = fb.bce_with_logits_value_and_grad(np.array([0.0, 2.0]), np.array([1, 0]), reduction="sum")
    >>> round(loss, 6), grad.round(6).tolist()
    (2.820075, [-0.5, 0.880797])
    """
    return any_call(LOGITS, VALUE_AND_GRAD, logits, targets, sample_weight, pos_weight, label_smoothing, where, None,
                    reduction, normalizer, out, loss_out, proba_out, num_threads)


def bce_with_logits_grad_hess(logits, targets, *, sample_weight=None, pos_weight=None, label_smoothing=0.0, where=None,
                              grad_out=None, hess_out=None, proba_out=None, num_threads=None):
    """First and second derivative of binary cross-entropy by each logit, in one pass over memory.

    What a booster or a Newton step asks for. ``p - y`` and ``p (1 - p)``, with p the sigmoid, of one element without
    weights; both are computed without a subtraction.

    Parameters
    ----------
    logits, targets, sample_weight, pos_weight, label_smoothing, where, proba_out, num_threads
        As in `bce_with_logits`. Nothing is reduced; weights multiply both results.
    grad_out, hess_out : ndarray, optional
        Arrays of the shape of `logits`, float32, float64 or of the dtype of `logits`, that receive the results; one of
        them may be `logits`.

    Returns
    -------
    grad : ndarray
        The gradient of the loss of each element: what `bce_with_logits_value_and_grad` returns with
        ``reduction="none"``.
    hess : ndarray
        The diagonal of its Hessian, which has no other entries.

    Raises
    ------
    TypeError, ValueError
        As in `bce_with_logits`.

    Examples
    --------
    >>> import numpy as np, fastbce as fb
    >>> grad, hess = fb.bce_with_logits_grad_hess(np.array([0.0, 2.0]), np.array([1, 0]))
    >>> grad.round(6).tolist(), hess.round(6).tolist()
    ([-0.5, 0.880797], [0.25, 0.104994])
    """
    return general_call(LOGITS, GRAD_AND_HESS, logits, targets, sample_weight, pos_weight, label_smoothing, where, None,
                        None, None, "none", None, grad_out, hess_out, None, proba_out, num_threads)


def sigmoid_focal_loss(logits, targets, *, alpha=0.25, gamma=2.0, sample_weight=None, where=None, reduction="mean",
                       normalizer=None, loss_out=None, proba_out=None, num_threads=None):
    """Focal loss of logits: binary cross-entropy with less weight on what is classified well already.

    ``alpha_t (1 - p_t)**gamma * bce_with_logits(x, y)``, with p the sigmoid of a logit, ``p_t = p y + (1 - p)(1 - y)``
    and ``alpha_t = alpha y + (1 - alpha)(1 - y)`` [1]_; as torchvision defines it, whose default reduction is "none".

    Parameters
    ----------
    logits, targets, sample_weight, where, reduction, normalizer, loss_out, proba_out, num_threads
        As in `bce_with_logits`.
    alpha : float, default 0.25
        In [0, 1]: the weight of the positive class, beside ``1 - alpha`` of the negative one. Negative: the classes
        are not balanced.
    gamma : float, default 2.0
        Not negative: how much less an element counts that is classified well. 0 is cross-entropy.

    Returns
    -------
    float or ndarray
        The reduced loss, or with ``reduction="none"`` the loss of each element.

    Raises
    ------
    TypeError, ValueError
        As in `bce_with_logits`.

    References
    ----------
    .. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> import fastbce as fb
    >>> fb.sigmoid_focal_loss([0.0, 2.0], [1, 0], reduction="none").round(6).tolist()
    [0.043322, 1.237559]
    """
    return general_call(FOCAL, VALUE, logits, targets, sample_weight, None, 0.0, where, None, alpha, gamma, reduction,
                        normalizer, None, None, loss_out, proba_out, num_threads)


def sigmoid_focal_loss_value_and_grad(logits, targets, *, alpha=0.25, gamma=2.0, sample_weight=None, where=None,
                                      reduction="mean", normalizer=None, out=None, loss_out=None, proba_out=None,
                                      num_threads=None):
    """Focal loss of logits, and its gradient with respect to them, in one pass over memory.

    With u = 1 - p_t, the gradient of one element is ``alpha_t u**gamma (p - y + gamma (1 - 2 y) p (1 - p) bce / u)``.

    Parameters
    ----------
    logits, targets, alpha, gamma, sample_weight, where, reduction, normalizer, loss_out, proba_out, num_threads
        As in `sigmoid_focal_loss`.
    out : ndarray, optional
        Array of the shape of `logits`, float32, float64 or of the dtype of `logits`, that receives the gradient; may be
        `logits`.

    Returns
    -------
    loss : float or ndarray
        As `sigmoid_focal_loss` returns it.
    grad : ndarray
        The gradient of that loss (with ``reduction="none"``, of each element), of the dtype of `logits`; `out` if
        given.

    Raises
    ------
    TypeError, ValueError
        As in `bce_with_logits`.

    Examples
    --------
    >>> import numpy as np, fastbce as fb
    >>> loss, grad = fb.sigmoid_focal_loss_value_and_grad(np.array([0.0, 2.0]), np.array([1, 0]), reduction="sum")
    >>> round(loss, 6), grad.round(6).tolist()
    (1.28088, [-0.074572, 0.807535])
    """
    return general_call(FOCAL, VALUE_AND_GRAD, logits, targets, sample_weight, None, 0.0, where, None, alpha, gamma,
                        reduction, normalizer, out, None, loss_out, proba_out, num_threads)
