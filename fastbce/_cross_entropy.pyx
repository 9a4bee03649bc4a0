# Softmax cross-entropy: the entry points and the checks. Built as _bce.pyx is: a short way in for plain arrays, a
# general one that names what is wrong, and one way through, which is in _routes.pyx.
cimport numpy as cnp
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject

import math

import numpy as np

from fastbce._arrays cimport (
    FB_F16,
    FB_I64,
    FB_U64,
    MEAN,
    NONE,
    WEIGHTED_MEAN,
    Operand,
    Reduction,
    are_apart,
    as_fraction,
    as_logits,
    as_mask,
    as_normalizer,
    as_output,
    as_reduction,
    as_values,
    broadcast,
    can_scale,
    computed_dtype,
    computed_size,
    describe_input,
    describe_labels,
    describe_output,
    disjoint,
    divide,
    dtype_code,
    empty_like,
    fb_sum_value,
    kernels_for,
    position,
    reduced,
    result_dtype,
    same_shape,
    separate,
    transfer,
)
from fastbce._routes cimport execute
from fastbce._rows cimport PARALLEL_FROM, Call, survey
from fastbce._threads cimport (
    Partial,
    fb_float_default,
    fb_float_restore,
    fb_float_state,
    threads_for_call,
)

cnp.import_array()

cdef enum Results:
    VALUE, VALUE_AND_GRAD, GRAD_AND_HESS


# ---- the ways in -----------------------------------------------------------------------------------------------------

cdef int bad_label(object labels, Py_ssize_t index, Py_ssize_t classes) except -1:
    where = position(index, labels.shape)
    value = labels[where]
    with np.errstate(invalid="ignore"):  # a signalling NaN is no reason for a warning
        number = np.longdouble(value) if dtype_code(labels) >= FB_F16 else np.longdouble(0)
    if np.isnan(number) or (np.isfinite(number) and not number.is_integer()):
        raise ValueError(f"targets: expected class labels that are whole numbers, got {value!s} at position {where}")
    if value == -100:
        raise IndexError(f"targets: expected class labels in [0, {classes}), got -100 at position {where}: "
                         f"pass ignore_index=-100 to leave such rows out")
    raise IndexError(f"targets: expected class labels in [0, {classes}), got {value!s} at position {where}")


cdef cnp.ndarray other_than(cnp.ndarray labels, object ignored):
    # False where a label is this number: an unsigned one or a float that is no int64, or the least int64, which stands
    # for whatever is none.
    if dtype_code(labels) == FB_I64 and ignored == -2**63:
        return np.asarray(np.not_equal(labels, ignored))
    if dtype_code(labels) == FB_U64 and 0 < ignored < 2**64:
        return np.asarray(np.not_equal(labels, np.uint64(ignored)))  # of a single label NumPy returns no array
    if dtype_code(labels) >= FB_F16:
        try:
            number = float(ignored)
        except OverflowError:
            number = math.nan
        if number == ignored:
            with np.errstate(invalid="ignore"):
                return np.asarray(np.not_equal(labels.astype(np.longdouble), number))
    return np.ones((<object>labels).shape, bool)


cdef void absent(Call *call) noexcept:
    call.weight.data = call.where.data = call.loss.data = call.grad.data = call.hess.data = call.proba.data = NULL
    call.grad.direct = call.hess.direct = call.proba.direct = True  # absent ones need no memory
    call.class_weight = NULL
    call.losses = NULL
    call.grad.ndim = call.hess.ndim = call.proba.ndim = 1
    call.has_ignore = call.overwrites = False
    call.smoothing = 0


cdef bint is_plain(object x, object y, object out) noexcept:
    # Whether these are contiguous, aligned arrays in native byte order, labels of one dimension fewer, apart in memory.
    if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y)):
        return False
    cdef cnp.ndarray x_array = x, y_array = y, grad
    cdef int code = cnp.PyArray_TYPE(x_array)
    cdef Py_ssize_t x_bytes
    if not ((code == cnp.NPY_FLOAT or code == cnp.NPY_DOUBLE) and cnp.PyArray_ISCARRAY_RO(x_array)
            and cnp.PyArray_ISCARRAY_RO(y_array) and cnp.PyArray_SIZE(x_array) > 0 and cnp.PyArray_ISINTEGER(y_array)
            and same_shape(x_array, y_array, 1)):
        return False
    if out is None:
        return True
    if not cnp.PyArray_CheckExact(out):
        return False
    grad = out
    x_bytes = cnp.PyArray_NBYTES(x_array)
    return (cnp.PyArray_TYPE(grad) == code and cnp.PyArray_ISCARRAY(grad) and same_shape(x_array, grad)
            and disjoint(x_array, grad, x_bytes, x_bytes)
            and disjoint(y_array, grad, cnp.PyArray_NBYTES(y_array), x_bytes))


cdef object plain_call(Results results, cnp.ndarray x, cnp.ndarray y, bint mean, object out, object num_threads):
    cdef Call call
    cdef Partial total
    cdef double denominator
    cdef int ndim = cnp.PyArray_NDIM(x), threads
    cdef object value
    absent(&call)
    call.kernels = kernels_for(dtype_code(x))
    call.size = cnp.PyArray_ITEMSIZE(x)
    call.classes = cnp.PyArray_DIM(x, ndim - 1)
    call.rows = cnp.PyArray_SIZE(y)
    call.has_labels = True
    describe_input(&call.x, x, call.kernels, False)
    describe_labels(&call.targets, y)
    threads = threads_for_call(num_threads) if cnp.PyArray_SIZE(x) >= PARALLEL_FROM or num_threads is not None else 1
    survey(&call, threads, &total)
    if total.wrong >= 0:
        bad_label(y, total.wrong, call.classes)
    denominator = call.rows if mean else 1
    call.scale = 1 / denominator
    if results == VALUE_AND_GRAD:
        if out is None:
            out = cnp.PyArray_EMPTY(ndim, cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
        describe_output(&call.grad, out, call.kernels)
    execute(&call, threads, &total)
    if total.wrong >= 0:  # another thread changed it meanwhile
        bad_label(y, total.wrong, call.classes)
    value = reduced(total.sum, denominator)
    return (value, out) if results == VALUE_AND_GRAD else value


cdef object checked_call(Results results, object x_given, object y_given, object axis_given, object sample_weight,
                         object class_weight, object label_smoothing, object ignore_index, object where,
                         object reduction_given, object normalizer, object grad_out, object hess_out, object loss_out,
                         object proba_out, object num_threads):
    cdef Call call
    cdef Partial total
    cdef Operand given_weights
    cdef int threads = threads_for_call(num_threads), axis
    cdef double denominator = 1
    cdef str grad_name = "grad_out" if results == GRAD_AND_HESS else "out"

    cdef Reduction reduction = as_reduction(reduction_given)
    cdef double given_denominator = as_normalizer(normalizer, reduction) if normalizer is not None else 0

    absent(&call)
    cdef cnp.ndarray x = as_logits(x_given, "logits"), y = as_values(y_given, "targets"), classes_weights = None
    cdef cnp.ndarray own_weights
    cdef cnp.ndarray weight = None, mask = None
    cdef tuple x_shape = (<object>x).shape
    if not x_shape:
        raise ValueError("logits: expected at least one dimension, that of the classes, got a 0-d array")
    try:
        axis_given = PyNumber_Index(axis_given)
    except TypeError:
        raise TypeError(f"axis: expected an integer, got {axis_given!r}") from None
    if not -len(x_shape) <= axis_given < len(x_shape):
        raise ValueError(f"axis: expected one in [{-len(x_shape)}, {len(x_shape)}), the axes of logits, "
                         f"got {axis_given}")
    axis = axis_given if axis_given >= 0 else axis_given + len(x_shape)
    cdef tuple row_shape = x_shape[:axis] + x_shape[axis + 1:]
    call.classes = x_shape[axis]
    call.rows = 1
    for length in row_shape:
        call.rows *= <Py_ssize_t>length
    if call.classes == 0 and call.rows > 0:
        raise ValueError(f"logits: expected at least one class along axis {axis}, got shape {x_shape}")

    rows_of = "logits without the class axis"

    # the targets: labels, or as many dimensions as the logits and one probability for each of them
    call.has_labels = cnp.PyArray_NDIM(y) < len(x_shape)
    if call.has_labels:
        y = broadcast(y, "targets", row_shape, rows_of)
    elif cnp.PyArray_NDIM(y) > len(x_shape) or cnp.PyArray_DIM(y, axis) != call.classes:
        raise ValueError(f"targets: expected class labels of shape {row_shape}, or probabilities of shape {x_shape}, "
                         f"got shape {(<object>y).shape}")
    else:
        y = broadcast(y, "targets", x_shape, "logits")
    if ignore_index is not None:
        if not call.has_labels:
            raise ValueError(f"ignore_index: expected None with targets that are probabilities, got {ignore_index!r}")
        try:
            ignored = PyNumber_Index(ignore_index)
        except TypeError:
            raise TypeError(f"ignore_index: expected None or an integer, got {ignore_index!r}") from None
        call.has_ignore = -2**63 < ignored < 2**63
        if call.has_ignore:
            call.ignore_index = ignored
    if sample_weight is not None:
        weight = broadcast(as_values(sample_weight, "sample_weight"), "sample_weight", row_shape, rows_of)
    if where is not None:
        mask = broadcast(as_mask(where), "where", row_shape, rows_of)
    if ignore_index is not None and not call.has_ignore:  # only a label of few dtypes can be this: compared as it is
        kept = other_than(y, ignored)
        mask = kept if mask is None else np.asarray(np.logical_and(mask, kept))

    call.kernels = kernels_for(dtype_code(x))
    call.size = computed_size(call.kernels)
    call.smoothing = as_fraction(label_smoothing, "label_smoothing")
    if class_weight is not None:
        classes_weights = as_values(class_weight, "class_weight")
        if (<object>classes_weights).shape != (call.classes,):
            raise ValueError(f"class_weight: expected shape ({call.classes},), one weight a class, "
                             f"got {(<object>classes_weights).shape}")
        describe_input(&given_weights, classes_weights, call.kernels, False)
        own_weights = empty_like(classes_weights, computed_dtype(call.kernels))  # a copy, which no other thread changes
        transfer(&given_weights, 0, call.classes, <char *>cnp.PyArray_DATA(own_weights), call.size)
        classes_weights = own_weights
        call.class_weight = cnp.PyArray_DATA(classes_weights)

    own = result_dtype(x)
    grad = as_output(grad_out, grad_name, x_shape, own) if grad_out is not None else None
    hess = as_output(hess_out, "hess_out", x_shape, own) if hess_out is not None else None
    losses = as_output(loss_out, "loss_out", row_shape, own) if loss_out is not None else None
    proba = as_output(proba_out, "proba_out", x_shape, own) if proba_out is not None else None
    call.overwrites = False
    cdef PyObject *read[4]
    cdef PyObject *written[4]
    read[:] = [<PyObject *>x, <PyObject *>y, <PyObject *>weight, <PyObject *>mask]
    written[:] = [<PyObject *>grad, <PyObject *>hess, <PyObject *>losses, <PyObject *>proba]
    if not are_apart(read, 4, written, 4):
        inputs = [x, y, weight, mask]
        call.overwrites = separate(inputs, [grad, hess, losses, proba], grad_name)
        x, y, weight, mask = inputs

    describe_input(&call.x, x, call.kernels, False, axis)
    if call.has_labels:
        describe_labels(&call.targets, y)
    else:
        describe_input(&call.targets, y, call.kernels, False, axis)
    if weight is not None:
        describe_input(&call.weight, weight, call.kernels, False)
    if mask is not None:
        describe_input(&call.where, mask, call.kernels, False)

    # bad labels before anything is written, and the denominator, which the gradient carries
    survey(&call, threads, &total)
    if total.wrong >= 0:
        bad_label(y, total.wrong, call.classes)
    if reduction == MEAN:
        denominator = total.count
    elif reduction == WEIGHTED_MEAN:
        denominator = fb_sum_value(total.sum)
    if normalizer is not None:
        denominator = given_denominator
    call.scale = 1 / denominator if denominator != 0 else 0
    cdef bint divides = results == VALUE_AND_GRAD and not can_scale(call.scale, call.size)
    if divides:
        call.scale = 1

    if results != VALUE:
        if grad is None:
            grad = empty_like(x, own)
        undivided = empty_like(x, computed_dtype(call.kernels)) if divides else grad
        describe_output(&call.grad, undivided, call.kernels, axis)
    if results == GRAD_AND_HESS:
        if hess is None:
            hess = empty_like(x, own)
        describe_output(&call.hess, hess, call.kernels, axis)
    elif losses is None and reduction == NONE:
        losses = np.empty(row_shape, own)
    if losses is not None:
        describe_output(&call.loss, losses, call.kernels)
    if proba is not None:
        describe_output(&call.proba, proba, call.kernels, axis)

    execute(&call, threads, &total)
    if total.wrong >= 0:  # another thread changed it meanwhile
        bad_label(y, total.wrong, call.classes)
    if divides:
        divide(undivided, denominator, grad)
    if results == GRAD_AND_HESS:
        return grad, hess
    value = losses if reduction == NONE else reduced(total.sum, denominator)
    return (value, grad) if results == VALUE_AND_GRAD else value


cdef inline bint is_zero(object value) noexcept:
    return type(value) is float and <double>value == 0


cdef inline bint is_minus_one(object value) noexcept:
    return type(value) is int and value == -1


cdef object any_call(Results results, object logits, object targets, object axis, object sample_weight,
                     object class_weight, object label_smoothing, object ignore_index, object where, object reduction,
                     object normalizer, object out, object loss_out, object proba_out, object num_threads):
    cdef fb_float_state host = fb_float_default()  # first: reading and checking are arithmetic, too
    try:
        if (sample_weight is None and class_weight is None and ignore_index is None and where is None
                and normalizer is None and loss_out is None and proba_out is None and is_minus_one(axis)
                and is_zero(label_smoothing)
                and type(reduction) is str and (reduction == "mean" or reduction == "sum")
                and is_plain(logits, targets, out)):
            return plain_call(results, logits, targets, reduction == "mean", out, num_threads)
        return checked_call(results, logits, targets, axis, sample_weight, class_weight, label_smoothing, ignore_index,
                            where, reduction, normalizer, out, None, loss_out, proba_out, num_threads)
    finally:
        fb_float_restore(host)


cdef object general_call(Results results, object x_given, object y_given, object axis_given, object sample_weight,
                         object class_weight, object label_smoothing, object ignore_index, object where,
                         object reduction, object normalizer, object grad_out, object hess_out, object loss_out,
                         object proba_out, object num_threads):
    cdef fb_float_state host = fb_float_default()
    try:
        return checked_call(results, x_given, y_given, axis_given, sample_weight, class_weight, label_smoothing,
                            ignore_index, where, reduction, normalizer, grad_out, hess_out, loss_out, proba_out,
                            num_threads)
    finally:
        fb_float_restore(host)


def cross_entropy(logits, targets, *, axis=-1, sample_weight=None, class_weight=None, label_smoothing=0.0,
                  ignore_index=None, where=None, reduction="mean", normalizer=None, loss_out=None, proba_out=None,
                  num_threads=None):
    """Softmax cross-entropy of logits.

    ``-log softmax(x)[y]``, or with probabilities ``-sum(y * log softmax(x))``.

    Parameters
    ----------
    logits : array_like
        One score a class along `axis`. float32 and float64 are computed as they are, float16 and bfloat16 in float32,
        integers in float64.
    targets : array_like
        With fewer dimensions than `logits`: class labels in [0, C), integers or floats that are whole numbers, of the
        shape of `logits` without `axis`. With as many: one row of probabilities a row of `logits`, which need not sum
        to 1.
    axis : int, default -1
        The axis of the classes.
    sample_weight : array_like, optional
        Multiplies the loss of each row; broadcasts against the shape of `logits` without `axis`, may be negative. A row
        of weight 0 contributes exactly 0, whatever it holds.
    class_weight : array_like, optional
        Shape (C,): multiplies the loss of each class. With it, torch's "mean" is ``reduction="weighted_mean"``.
    label_smoothing : float, default 0.0
        In [0, 1]: targets become ``y (1 - s) + s / C``.
    ignore_index : int, optional
        Rows with this label are left out. torch's default is -100; here it is to leave nothing out.
    where : array_like of bool, optional
        Rows that are False are left out, whatever they hold; broadcasts as `sample_weight`.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default "mean"
        "mean" divides by the number of rows that are not left out; "weighted_mean" by the sum of their weights, that of
        the label's class included: torch's "mean" with `class_weight`, which the plain "mean" here is not.
    normalizer : float, optional
        A positive number that replaces the denominator of a mean.
    loss_out : ndarray, optional
        Array of the shape of `logits` without `axis`, float32, float64 or of the dtype of `logits`, that also receives
        what ``reduction="none"`` returns.
    proba_out : ndarray, optional
        Array of the shape of `logits`, float32, float64 or of the dtype of `logits`, that also receives their softmax.
    num_threads : int, optional
        For this call; by default what `get_num_threads` says.

    Returns
    -------
    float or ndarray
        The reduced loss, or with ``reduction="none"`` the loss of each row. A sum of nothing is 0, a mean of
        nothing nan, as is a weighted mean whose weights add up to 0. A NaN that counts makes its loss NaN, without an
        error.

    Raises
    ------
    TypeError
        An argument of the wrong kind or dtype.
    ValueError
        A wrong shape or value.
    IndexError
        A label outside [0, C), with its position. Nothing has been written then.

    Examples
    --------
    >>> import fastbce as fb
    >>> x = [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
    >>> fb.cross_entropy(x, [0, 2], reduction="none").round(6).tolist()
    [0.169846, 1.551445]
    >>> round(fb.cross_entropy(x, [[1, 0, 0], [0, 0.5, 0.5]]), 6)  # probabilities
    0.610645
    """
    return any_call(VALUE, logits, targets, axis, sample_weight, class_weight, label_smoothing, ignore_index, where,
                    reduction, normalizer, None, loss_out, proba_out, num_threads)


def cross_entropy_value_and_grad(logits, targets, *, axis=-1, sample_weight=None, class_weight=None,
                                 label_smoothing=0.0, ignore_index=None, where=None, reduction="mean", normalizer=None,
                                 out=None, loss_out=None, proba_out=None, num_threads=None):
    """Softmax cross-entropy of logits, and its gradient with respect to them.

    ``softmax(x) - y`` is the gradient of one row, computed without that subtraction.

    Parameters
    ----------
    logits, targets, axis, sample_weight, class_weight, label_smoothing, ignore_index, where, reduction, normalizer, \
loss_out, proba_out, num_threads
        As in `cross_entropy`. With `class_weight`, torch's "mean" is ``reduction="weighted_mean"``.
    out : ndarray, optional
        Array of the shape of `logits`, float32, float64 or of the dtype of `logits`, that receives the gradient; may be
        `logits`.

    Returns
    -------
    loss : float or ndarray
        As `cross_entropy` returns it.
    grad : ndarray
        The gradient of that loss (with ``reduction="none"``, of each row), of the dtype of `logits`; `out` if given.

    Raises
    ------
    TypeError, ValueError, IndexError
        As in `cross_entropy`.

    Examples
    --------
    >>> import numpy as np, fastbce as fb
    >>> loss, grad = fb.cross_entropy_value_and_grad(np.array([[0.0, 0.0, 0.0]]), [1])
    >>> round(loss, 6), grad.round(6).tolist()
    (1.098612, [[0.333333, -0.666667, 0.333333]])
    """
    return any_call(VALUE_AND_GRAD, logits, targets, axis, sample_weight, class_weight, label_smoothing, ignore_index,
                    where, reduction, normalizer, out, loss_out, proba_out, num_threads)


def cross_entropy_grad_hess(logits, targets, *, axis=-1, sample_weight=None, class_weight=None, label_smoothing=0.0,
                            ignore_index=None, where=None, grad_out=None, hess_out=None, proba_out=None,
                            num_threads=None):
    """Gradient and diagonal of the Hessian of softmax cross-entropy by the logits.

    What a booster or a Newton step asks for: ``S p - y`` and ``S p (1 - p)``, with p the softmax and S the sum of a row
    of targets (1 for a class label), both computed without these subtractions.

    Parameters
    ----------
    logits, targets, axis, sample_weight, class_weight, label_smoothing, ignore_index, where, proba_out, num_threads
        As in `cross_entropy`. Nothing is reduced; weights multiply both results.
    grad_out, hess_out : ndarray, optional
        Arrays of the shape of `logits`, float32, float64 or of the dtype of `logits`, that receive the results; one of
        them may be `logits`.

    Returns
    -------
    grad : ndarray
        The gradient of the loss of each row: what `cross_entropy_value_and_grad` returns with ``reduction="none"``.
    hess : ndarray
        The diagonal of its Hessian, of the shape of `logits`. The entries beside it, ``-S p_j p_k``, are left out.

    Raises
    ------
    TypeError, ValueError, IndexError
        As in `cross_entropy`.

    Examples
    --------
    >>> import numpy as np, fastbce as fb
    >>> grad, hess = fb.cross_entropy_grad_hess(np.array([[0.0, 0.0, 0.0]]), [1])
    >>> grad.round(6).tolist(), hess.round(6).tolist()
    ([[0.333333, -0.666667, 0.333333]], [[0.222222, 0.222222, 0.222222]])
    """
    return general_call(GRAD_AND_HESS, logits, targets, axis, sample_weight, class_weight, label_smoothing,
                        ignore_index, where, "none", None, grad_out, hess_out, None, proba_out, num_threads)
