# Arrays in, arrays out: conversion without a copy, checks, and the messages of what is wrong with them.
import math
import numbers
import os
import sys

import numpy as np

cimport numpy as cnp
from cpython.buffer cimport PyObject_CheckBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.float cimport DBL_MAX, DBL_MIN, FLT_MAX, FLT_MIN
from libc.string cimport memcpy

cnp.import_array()

cdef extern from "simd/dispatch.h" nogil:
    const fb_isa *fb_isa_supported(int i)
    int64_t fb_cache_size(int level)

cdef extern from "runs.h" nogil:
    void copy_runs "fb_copy_runs"(char *array, int64_t stride, int64_t run, int64_t first, int64_t bytes, char *buffer,
                                  int read)

cdef extern from "simd/labels.h" nogil:
    const fb_load *fb_load_labels

cdef extern from "numpy/arrayobject.h":
    cnp.ndarray PyArray_NewFromDescr(type subtype, cnp.PyArray_Descr *dtype, int ndim, cnp.npy_intp *lengths,
                                     cnp.npy_intp *strides, void *data, int flags, void *like)
    void PyArray_UpdateFlags(cnp.ndarray array, int flags)

cdef extern from *:
    """
    enum { FB_NPY_HALF = NPY_HALF };
    """
    enum: FB_NPY_HALF  # the largest number of a dtype of numbers that is no user's


# ---- the instruction set -------------------------------------------------------------------------------------------

def _choose_isa():
    """Point `isa` at the kernels to use: the last one supported, or the one that FASTBCE_ISA names."""
    global isa
    cdef int i = 0
    cdef const fb_isa *candidate = fb_isa_supported(0)
    names = []
    forced = os.environ.get("FASTBCE_ISA")
    isa = NULL
    while candidate != NULL:
        names.append(candidate.name.decode())
        if forced is None or names[-1] == forced:
            isa = candidate
        i += 1
        candidate = fb_isa_supported(i)
    if isa == NULL:
        raise ImportError(f"FASTBCE_ISA: expected one of {', '.join(names)} on this machine, got {forced!r}")
    return names


_available = _choose_isa()
second_level = fb_cache_size(2)
third_level = fb_cache_size(3)


def _simd_config():
    return {"in_use": isa.name.decode(), "available": list(_available)}


def _cache_config():
    return {"second_level": second_level, "third_level": third_level}


# ---- dtypes --------------------------------------------------------------------------------------------------------

cdef object FLOAT32 = np.dtype(np.float32)
cdef object FLOAT64 = np.dtype(np.float64)
cdef int code_of[FB_NPY_HALF + 1]


def _fill_codes():
    cdef int i
    by_kind = {"i": {1: FB_I8, 2: FB_I16, 4: FB_I32, 8: FB_I64}, "u": {1: FB_U8, 2: FB_U16, 4: FB_U32, 8: FB_U64}}
    for i in range(FB_NPY_HALF + 1):
        code_of[i] = -1
    for char in "bBhHiIlLqQ":
        dtype = np.dtype(char)
        code_of[dtype.num] = by_kind[dtype.kind][dtype.itemsize]
    code_of[<int>cnp.NPY_BOOL] = FB_BOOL
    code_of[FB_NPY_HALF] = FB_F16
    code_of[<int>cnp.NPY_FLOAT] = FB_F32
    code_of[<int>cnp.NPY_DOUBLE] = FB_F64
    code_of[<int>cnp.NPY_LONGDOUBLE] = FB_F64 if np.dtype("g").itemsize == 8 else FB_LONGDOUBLE


_fill_codes()


cdef extern from *:
    """
    /* The number of a user's dtype: NumPy gives it one when ml_dtypes is imported, once for all threads. */
    static int fb_bfloat16_number = -1;
    static inline int bfloat16_number(void) { return __atomic_load_n(&fb_bfloat16_number, __ATOMIC_RELAXED); }
    static inline void set_bfloat16(int number) { __atomic_store_n(&fb_bfloat16_number, number, __ATOMIC_RELAXED); }
    """
    int bfloat16_number() noexcept
    void set_bfloat16(int number) noexcept


cdef int dtype_code(cnp.ndarray array) noexcept:
    cdef int number = cnp.PyArray_TYPE(array)
    if 0 <= number <= FB_NPY_HALF:
        return code_of[number]
    return FB_BF16 if number == bfloat16_number() else -1


cdef const fb_kernels *kernels_for(int dtype) noexcept:
    return isa.f32 if dtype in (FB_F16, FB_BF16, FB_F32) else isa.f64


# ---- inputs --------------------------------------------------------------------------------------------------------

def _without_a_copy(value):
    if (hasattr(value, "__dlpack__") and not hasattr(value, "__array__") and not hasattr(value, "__array_interface__")
            and not PyObject_CheckBuffer(value)):
        return np.from_dlpack(value)  # np.asarray would walk it, or wrap it
    if str(getattr(value, "dtype", None)) == "torch.bfloat16":  # which torch cannot give to NumPy
        import ml_dtypes

        return np.asarray(value.view(sys.modules["torch"].int16)).view(ml_dtypes.bfloat16)
    return np.asarray(value)


def _converted(value, name):
    if getattr(value, "requires_grad", False) is True:  # a data frame may have a column of that name
        raise TypeError(f"{name}: expected an array without autograd history, got a tensor that requires grad: "
                        f"pass {name}.detach()")
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        raise TypeError(f"{name}: expected an array without a mask, got one in which elements are masked: "
                        f"pass {name}.data, and where=~mask to leave elements out")
    try:
        return _without_a_copy(value)
    except (AttributeError, BufferError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}: {error}") from error


# No memory holds more, but a stride of 0 can: so that no count and no size overflows.
cdef Py_ssize_t MOST_ELEMENTS = <Py_ssize_t>1 << 48


cdef cnp.ndarray as_array(object value, str name):
    cdef cnp.ndarray array
    if cnp.PyArray_CheckExact(value):
        array = value
    elif type(value) is float:  # most often: it needs no closer look
        array = np.asarray(value)
    else:
        array = _converted(value, name)
    if (cnp.PyArray_TYPE(array) > FB_NPY_HALF and bfloat16_number() < 0
            and array.dtype.type is getattr(sys.modules.get("ml_dtypes"), "bfloat16", None)):
        set_bfloat16(cnp.PyArray_TYPE(array))
    if cnp.PyArray_SIZE(array) > MOST_ELEMENTS:
        raise ValueError(f"{name}: expected at most 2**48 elements, got shape {(<object>array).shape}")
    return array


def _kind(value, array):
    return f"dtype {array.dtype}" if isinstance(value, np.ndarray) else f"{type(value).__name__} of dtype {array.dtype}"


cdef cnp.ndarray as_logits(object value, str name):
    cdef cnp.ndarray array = as_array(value, name)
    if dtype_code(array) in (-1, FB_BOOL) or cnp.PyArray_TYPE(array) == cnp.NPY_LONGDOUBLE:
        raise TypeError(f"{name}: expected float16, bfloat16, float32, float64 or integers, got {_kind(value, array)}")
    return array


cdef cnp.ndarray as_values(object value, str name):
    cdef cnp.ndarray array = as_array(value, name)
    if dtype_code(array) < 0:
        raise TypeError(f"{name}: expected real numbers, got {_kind(value, array)}")
    return array


cdef cnp.ndarray as_mask(object value):
    cdef cnp.ndarray array = as_array(value, "where")
    if dtype_code(array) != FB_BOOL:
        raise TypeError(f"where: expected booleans, got {_kind(value, array)}")
    return array


cdef bint has_shape(cnp.ndarray array, tuple shape) except -1:
    cdef int d
    if cnp.PyArray_NDIM(array) != len(shape):
        return False
    for d in range(cnp.PyArray_NDIM(array)):
        if cnp.PyArray_DIM(array, d) != <Py_ssize_t>shape[d]:
            return False
    return True


cdef cnp.ndarray broadcast(cnp.ndarray array, str name, tuple shape, str of):
    """What np.broadcast_to returns, which takes longer than a small call."""
    cdef int ndim = len(shape), missing = ndim - cnp.PyArray_NDIM(array), d
    cdef cnp.npy_intp lengths[FB_MAX_DIMS]
    cdef cnp.npy_intp strides[FB_MAX_DIMS]
    cdef bint fits = missing >= 0
    cdef cnp.ndarray view
    if has_shape(array, shape) or (cnp.PyArray_NDIM(array) == 0 and name != "where"):
        return array  # one value is read as often as it is wanted; a mask is counted, too
    for d in range(ndim if fits else 0):
        lengths[d] = shape[d]
        strides[d] = 0
        if d >= missing and cnp.PyArray_DIM(array, d - missing) == lengths[d]:
            strides[d] = cnp.PyArray_STRIDE(array, d - missing)
        elif d >= missing and cnp.PyArray_DIM(array, d - missing) != 1:
            fits = False
    if not fits:
        raise ValueError(f"{name}: expected a shape that broadcasts to {shape}, that of {of}, "
                         f"got {(<object>array).shape}")
    descr = array.dtype
    Py_INCREF(descr)  # which the view takes
    view = PyArray_NewFromDescr(cnp.ndarray, <cnp.PyArray_Descr *>descr, ndim, lengths, strides,
                                cnp.PyArray_DATA(array), 0, NULL)
    cnp.set_array_base(view, array)
    PyArray_UpdateFlags(view, cnp.NPY_ARRAY_ALIGNED)
    return view


cdef bint is_real_array(object value, str name) except -1:
    """Whether this is a number all the same: without dimensions, as sums of a mask are in NumPy, torch and JAX."""
    if getattr(value, "ndim", None) != 0:
        return False
    return dtype_code(as_array(value, name)) > FB_BOOL


cdef double as_number(object value, str name) except? -1.0:
    if type(value) is float:
        return value
    if isinstance(value, (bool, np.bool)) or not (isinstance(value, numbers.Real) or is_real_array(value, name)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number in the range of a float, got one beyond it") from None


cdef double as_fraction(object value, str name) except? -1.0:
    cdef double number = as_number(value, name)
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")
    return number


cdef Reduction as_reduction(object value) except NO_SUCH_REDUCTION:
    cdef str name
    if isinstance(value, str):
        name = value if type(value) is str else str.__str__(value)  # of an enumeration, what it is equal to
        if name == "mean":
            return MEAN
        if name == "none":
            return NONE
        if name == "sum":
            return SUM
        if name == "weighted_mean":
            return WEIGHTED_MEAN
    raise ValueError(f"reduction: expected 'none', 'sum', 'mean' or 'weighted_mean', got {value!r}")


cdef double as_normalizer(object value, Reduction reduction) except? -1.0:
    if reduction == NONE or reduction == SUM:
        raise ValueError(f"normalizer: expected None with reduction={'none' if reduction == NONE else 'sum'!r}, "
                         f"got {value!r}")
    number = as_number(value, "normalizer")
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"normalizer: expected a positive finite number, got {value!r}")
    return number


cdef object reduced(fb_sum total, double denominator):
    """The sum over the denominator, as a Python float; nan if that is 0."""
    return fb_sum_value(total) / denominator if denominator != 0 else math.nan


# The inverse of a denominator at the ends of what the type computed in holds may overflow, though the gradient does
# not. Then that is divided when all is done.

cdef bint can_scale(double scale, Py_ssize_t size) noexcept:
    """Whether a kernel can multiply by this: it is 0, NaN, or a normal number of the type computed in."""
    cdef double magnitude = abs(scale)
    if size == sizeof(float):
        return not (0 < magnitude < FLT_MIN or magnitude > FLT_MAX)
    return not (0 < magnitude < DBL_MIN or magnitude > DBL_MAX)


cdef object divide(cnp.ndarray undivided, double denominator, cnp.ndarray grad):
    with np.errstate(all="ignore"):
        np.divide(undivided, np.float64(denominator), out=grad, casting="unsafe")


# ---- outputs, and what they share memory with ------------------------------------------------------------------------

cdef object result_dtype(cnp.ndarray logits):
    """The dtype of results: that of the logits, in native byte order; float64 for integers."""
    if dtype_code(logits) < FB_F16:
        return FLOAT64
    return logits.dtype.newbyteorder("=") if cnp.PyArray_ISBYTESWAPPED(logits) else logits.dtype


cdef object computed_dtype(const fb_kernels *kernels):
    return FLOAT32 if kernels == isa.f32 else FLOAT64


cdef Py_ssize_t computed_size(const fb_kernels *kernels) noexcept:
    return sizeof(float) if kernels == isa.f32 else sizeof(double)


cdef cnp.ndarray empty_like(cnp.ndarray array, cnp.dtype dtype):
    """An array in C order, in native byte order, of the shape of this one."""
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), dtype.num, 0)


cdef cnp.ndarray as_output(object value, str name, tuple shape, object own_dtype):
    if not cnp.PyArray_Check(value):
        raise TypeError(f"{name}: expected a NumPy array, got {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        raise TypeError(f"{name}: expected an array without a mask, got one in which elements are masked: "
                        f"pass {name}.data")
    cdef cnp.ndarray array = value
    if cnp.PyArray_TYPE(array) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, (<cnp.dtype>own_dtype).num):
        own = "" if own_dtype.num in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) else f"{own_dtype}, "
        raise TypeError(f"{name}: expected dtype {own}float32 or float64, got {array.dtype}")
    if not has_shape(array, shape):
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{name}: expected a writeable array, got a read-only one")
    return array


# The addresses between which all elements lie; NULL where there are none.
cdef struct Extent:
    char *start
    char *stop


cdef Extent extent_of(cnp.ndarray array) noexcept:
    cdef Extent extent = [NULL, NULL]
    cdef int d
    cdef Py_ssize_t length
    if array is None or cnp.PyArray_SIZE(array) == 0:
        return extent
    extent.start = extent.stop = <char *>cnp.PyArray_DATA(array)
    for d in range(cnp.PyArray_NDIM(array)):
        length = (cnp.PyArray_DIM(array, d) - 1) * cnp.PyArray_STRIDE(array, d)
        if length < 0:
            extent.start += length
        else:
            extent.stop += length
    extent.stop += cnp.PyArray_ITEMSIZE(array)
    return extent


cdef inline bint meet(Extent a, Extent b) noexcept:
    return a.start < b.stop and b.start < a.stop


cdef bint coincide(cnp.ndarray a, cnp.ndarray b) noexcept:
    # Whether these are the same elements, in the same memory.
    cdef int d
    if (cnp.PyArray_DATA(a) != cnp.PyArray_DATA(b) or not same_shape(a, b)
            or not cnp.PyArray_EquivArrTypes(a, b)):
        return False
    for d in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDE(a, d) != cnp.PyArray_STRIDE(b, d):
            return False
    return True


cdef bint share(cnp.ndarray a, cnp.ndarray b) except -1:
    # Of arrays whose extents meet.
    if coincide(a, b):
        return True
    try:
        return np.shares_memory(a, b, max_work=100_000)
    except np.exceptions.TooHardError:
        return True


cdef bint are_apart(PyObject **inputs, int count, PyObject **outputs, int output_count) noexcept:
    """Whether no output (an array or None) has anything to do with another one, or with an input. Quicker than to
    separate them."""
    cdef Extent extents[4]
    cdef Extent extent
    cdef int i, k
    for k in range(output_count):
        extents[k] = extent_of(<cnp.ndarray>outputs[k])
        for i in range(k):
            if meet(extents[i], extents[k]):
                return False
    for i in range(count):
        extent = extent_of(<cnp.ndarray>inputs[i])
        for k in range(output_count):
            if meet(extent, extents[k]):
                return False
    return True


cdef bint separate(list inputs, list outputs, str grad_name) except -1:
    """Make the result as if nothing overlapped: copy the inputs that would be overwritten before they are read.

    Both lists hold arrays or None; outputs are the gradient, the Hessian, losses and probabilities. An output that is
    an input, element for element, needs no copy. Returns whether an output overwrites an input.
    """
    cdef bint overwrites = False
    cdef Extent extents[4]
    cdef Extent extent
    cdef Py_ssize_t i, k
    for k in range(len(outputs)):
        extents[k] = extent_of(outputs[k])
        for i in range(k):
            if meet(extents[i], extents[k]) and share(outputs[i], outputs[k]):
                names = (grad_name, "hess_out", "loss_out", "proba_out")
                raise ValueError(f"{names[k]}: expected memory of its own, got an array that shares some with "
                                 f"{names[i]}")
    for i in range(len(inputs)):
        extent = extent_of(inputs[i])
        for k in range(len(outputs)):
            if meet(extent, extents[k]) and share(inputs[i], outputs[k]):
                overwrites = True
                if not coincide(inputs[i], outputs[k]):
                    inputs[i] = inputs[i].copy()
                    extent = extent_of(inputs[i])
    return overwrites


cdef object position(Py_ssize_t index, tuple shape):
    """A position as the user writes it: an int in 1-D, else a tuple."""
    if len(shape) == 1:
        return index
    return tuple(int(i) for i in np.unravel_index(index, shape)) if shape else ()


# ---- operands ------------------------------------------------------------------------------------------------------

cdef void describe(Operand *operand, cnp.ndarray array, int own_code, int last) noexcept:
    # The axis `last` becomes the last one, if it is not negative. Axes of length 1 go, and an axis joins the one before
    # it where the two are one run of equal steps.
    cdef int i, d, ndim = 0, all_axes = cnp.PyArray_NDIM(array)
    cdef Py_ssize_t length, stride
    operand.data = <char *>cnp.PyArray_DATA(array)
    operand.swapped = cnp.PyArray_ISBYTESWAPPED(array)
    operand.load = NULL
    operand.store = NULL
    operand.period = 0
    operand.repeat = NULL
    for i in range(all_axes):
        d = i if i < last or last < 0 else last if i == all_axes - 1 else i + 1
        length = cnp.PyArray_DIM(array, d)
        stride = cnp.PyArray_STRIDE(array, d)
        if length == 1:
            continue
        if ndim > 0 and operand.strides[ndim - 1] == length * stride:
            operand.shape[ndim - 1] *= length
            operand.strides[ndim - 1] = stride
        else:
            operand.shape[ndim] = length
            operand.strides[ndim] = stride
            ndim += 1
    operand.ndim = max(ndim, 1)
    operand.step = operand.strides[0] if ndim > 0 else 0  # one value, for every element
    operand.own = dtype_code(array) == own_code and not operand.swapped and cnp.PyArray_ISALIGNED(array)
    operand.direct = operand.own and operand.ndim == 1 and operand.step == cnp.PyArray_ITEMSIZE(array)
    operand.fortran = (ndim == 2 and operand.step == cnp.PyArray_ITEMSIZE(array)
                       and abs(operand.strides[1]) >= CACHE_LINE)


cdef void describe_input(Operand *operand, cnp.ndarray array, const fb_kernels *kernels, bint targets,
                         int last=-1) noexcept:
    describe(operand, array, FB_F32 if kernels == isa.f32 else FB_F64, last)
    operand.load = kernels.load_targets[dtype_code(array)] if targets else kernels.load[dtype_code(array)]


cdef void describe_labels(Operand *operand, cnp.ndarray array) noexcept:
    describe(operand, array, -1, -1)
    operand.load = fb_load_labels[dtype_code(array)]


cdef void describe_output(Operand *operand, cnp.ndarray array, const fb_kernels *kernels, int last=-1) noexcept:
    describe(operand, array, FB_F32 if kernels == isa.f32 else FB_F64, last)
    operand.store = kernels.store[dtype_code(array)]
    operand.fortran = operand.fortran and operand.own


# ---- more than one run of memory -------------------------------------------------------------------------------------

cdef enum:
    MOST_REPEATED = 4096  # elements of a row that all rows share; where it is longer, its runs are long enough
    LONG_RUN = 1024       # bytes; from here on a copy's call does not show


cdef object ease(Operand *operand, const fb_kernels *kernels, Py_ssize_t elements):
    """Make ready what broadcasts, for blocks: one row for all rows, one element for a row. Returns memory to keep."""
    cdef cnp.npy_intp length
    cdef Py_ssize_t period = 1, size = computed_size(kernels), filled
    cdef cnp.ndarray memory
    cdef char *data
    cdef int d
    if operand.data == NULL or operand.ndim == 1 or elements == 0:
        return None
    if operand.strides[0] != 0:
        if operand.ndim == 2 and operand.strides[1] == 0:
            operand.repeat = kernels.repeat
        return None
    for d in range(1, operand.ndim):
        period *= operand.shape[d]
    if period > MOST_REPEATED:
        return None
    # Once for all blocks: each lies somewhere in it.
    filled = period
    length = period + min(elements, <Py_ssize_t>FB_BLOCK)
    memory = cnp.PyArray_EMPTY(1, &length, cnp.NPY_FLOAT if kernels == isa.f32 else cnp.NPY_DOUBLE, 0)
    data = <char *>cnp.PyArray_DATA(memory)
    transfer(operand, 0, period, data, size)
    while filled < length:
        memcpy(data + filled * size, data, min(filled, length - filled) * size)
        filled *= 2
    operand.data = data
    operand.period = period
    return memory


cdef void transfer_runs(const Operand *operand, Py_ssize_t start, Py_ssize_t n, char *buffer,
                        Py_ssize_t size) noexcept nogil:
    # As transfer, of more than one axis.
    cdef Py_ssize_t coordinate[FB_MAX_DIMS]
    cdef double values[FB_BLOCK]
    cdef Py_ssize_t index = start, run = n, first
    cdef int last = operand.ndim - 1, d
    cdef char *at = operand.data
    if operand.period:
        memcpy(buffer, at + start % operand.period * size, n * size)
        return
    run = operand.shape[last]
    first = start % run
    if operand.own and last == 1 and operand.strides[1] == size and run * size < LONG_RUN:
        at += start // run * operand.strides[0]
        copy_runs(at, operand.strides[0], run * size, first * size, n * size, buffer, operand.load != NULL)
        return
    if operand.repeat != NULL:
        at += start // run * operand.strides[0]
        operand.load((first + n + run - 1) // run, at, operand.strides[0], operand.swapped, values)
        operand.repeat(n, run - first, run, values, buffer)
        return
    for d in range(last, -1, -1):
        coordinate[d] = index % operand.shape[d]
        index //= operand.shape[d]
        at += coordinate[d] * operand.strides[d]
    while True:
        run = min(n, operand.shape[last] - coordinate[last])
        if operand.load != NULL:
            operand.load(run, at, operand.strides[last], operand.swapped, buffer)
        else:
            operand.store(run, buffer, at, operand.strides[last], operand.swapped)
        n -= run
        if n == 0:
            return
        buffer += run * size
        at -= coordinate[last] * operand.strides[last]
        coordinate[last] = 0
        d = last - 1
        while True:
            coordinate[d] += 1
            at += operand.strides[d]
            if coordinate[d] < operand.shape[d]:
                break
            at -= operand.shape[d] * operand.strides[d]
            coordinate[d] = 0
            d -= 1
