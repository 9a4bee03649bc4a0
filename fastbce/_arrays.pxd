# Any array, as the block loops see it: an Operand, from which a block in C order is read, or to which it is written.
cimport numpy as cnp
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memset


cdef extern from "simd/kernels.h" nogil:
    enum: FB_BLOCK
    enum: FB_LANES
    enum: FB_SUM_LANES
    enum: FB_PIECE
    enum: FB_FEW_CLASSES
    enum: FB_BROUGHT
    enum: FB_GROUP_ELEMENTS
    enum: FB_INTERLEAVED
    enum fb_dtype:
        FB_BOOL, FB_I8, FB_U8, FB_I16, FB_U16, FB_I32, FB_U32, FB_I64, FB_U64, FB_F16, FB_BF16, FB_F32, FB_F64,
        FB_LONGDOUBLE
    ctypedef struct fb_lanes:
        pass
    ctypedef struct fb_sum:
        double sum
        double lost
    ctypedef struct fb_buffers:
        double x[1]
        double y[1]
        double weight[1]
        double pos_weight[1]
        double where[1]
        double loss[1]
        double grad[1]
        double hess[1]
        double proba[1]
    ctypedef struct fb_later:
        const char *begin
        int64_t bytes
    ctypedef struct fb_block:
        int64_t n
        int64_t ahead
        const void *x
        const void *y
        const void *weight
        const void *pos_weight
        void *loss
        void *grad
        void *hess
        double scale
        double smoothing
        double alpha
        double gamma
        double clip_low
        double clip_high
        int laters
        fb_later later[1]
    ctypedef struct fb_apart:
        int64_t x
        int64_t targets
        int64_t grad
        int64_t hess
        int64_t proba
    ctypedef struct fb_rows:
        fb_apart apart
        int64_t group, run, x_beyond, grad_beyond
        int near
        int64_t second_level
        int64_t rows
        int64_t classes
        const void *x
        const int64_t *labels
        const void *targets
        const void *class_weight
        const void *weight
        double smoothing
        double scale
        void *loss
        void *grad
        void *hess
        void *proba
        void *scratch
        fb_later origin
        fb_apart row_stride
        void (*bring)(const void *source, int64_t row, int64_t first, int64_t n, void *to) noexcept nogil
        const void *source
        int interleaved
        int64_t slices, parts
        void *state
    ctypedef void (*fb_load)(int64_t n, const char *source, int64_t stride, int swapped, void *to) noexcept nogil
    ctypedef void (*fb_store)(int64_t n, const void *source, char *to, int64_t stride, int swapped) noexcept nogil
    ctypedef void (*fb_repeat)(int64_t n, int64_t first, int64_t times, const void *values, void *to) noexcept nogil
    ctypedef struct fb_kernels:
        fb_load *load
        fb_load *load_targets
        fb_repeat repeat
        fb_store *store
        int (*bce_logits)(const fb_block *) noexcept nogil
        int (*focal)(const fb_block *) noexcept nogil
        int (*bce_probs)(const fb_block *) noexcept nogil
        void (*sigmoid)(int64_t n, const void *x, void *proba) noexcept nogil
        void (*mask)(int64_t n, const void *where, const void *weight, void *left) noexcept nogil
        void (*fill)(int64_t n, double value, void *to) noexcept nogil
        void (*add)(int64_t n, const void *values, fb_lanes *lanes) noexcept nogil
        fb_sum (*total)(const fb_lanes *) noexcept nogil
        fb_sum (*sum)(int64_t n, const void *values) noexcept nogil
        int64_t (*outside)(int64_t n, const void *values, const void *weight) noexcept nogil
        int64_t (*cross_entropy)(const fb_rows *) noexcept nogil
        size_t (*split_size)(const fb_rows *) noexcept nogil
        void (*split_max)(const fb_rows *, int64_t slice) noexcept nogil
        void (*split_maxima)(const fb_rows *) noexcept nogil
        void (*split_exp)(const fb_rows *, int64_t piece, int64_t part, void *scratch) noexcept nogil
        int64_t (*split_end)(const fb_rows *, int64_t part, int64_t parts) noexcept nogil
        void (*split_scale)(const fb_rows *, int64_t slice) noexcept nogil
        void (*turn_rows_in)(int64_t rows, int64_t classes, const void *source, int64_t stride,
                             void *to) noexcept nogil
        void (*turn_rows_out)(int64_t rows, int64_t classes, const void *source, int64_t stride,
                              void *to) noexcept nogil
    ctypedef struct fb_isa:
        const char *name
        const fb_kernels *f32
        const fb_kernels *f64

cdef extern from "simd/sum.h" nogil:
    void fb_sum_add(fb_sum *total, double value)
    double fb_sum_value(fb_sum total)

cdef extern from *:
    """
    enum { FB_MAX_DIMS = NPY_MAXDIMS };
    """
    enum: FB_MAX_DIMS


cdef enum:
    CACHE_LINE = 64  # bytes

cdef enum Reduction:
    NO_SUCH_REDUCTION, NONE, SUM, MEAN, WEIGHTED_MEAN


cdef struct Operand:
    char *data             # NULL: absent
    Py_ssize_t step        # bytes between neighbours in C order, where ndim is 1
    int ndim               # after neighbouring axes that are one run of memory have been joined
    int swapped            # the other byte order
    bint own               # aligned, of the type computed in
    bint direct            # and contiguous: a kernel may use it where it lies
    bint fortran           # of two axes the first is contiguous; of outputs only those that are their own
    fb_load load           # of an input
    fb_store store         # of an output
    # read where ndim is not 1:
    Py_ssize_t shape[FB_MAX_DIMS]
    Py_ssize_t strides[FB_MAX_DIMS]
    # What ease has found, if it was asked: data holds so many elements again and again, of the type computed in, enough
    # for a block from any of them on; or every row is one element, repeated.
    Py_ssize_t period
    fb_repeat repeat


cdef const fb_isa *isa
cdef int64_t second_level, third_level  # bytes of the caches, 0 if that is not known

cdef int dtype_code(cnp.ndarray array) noexcept
cdef const fb_kernels *kernels_for(int dtype) noexcept
cdef cnp.ndarray as_logits(object value, str name)
cdef cnp.ndarray as_values(object value, str name)
cdef cnp.ndarray as_mask(object value)
cdef cnp.ndarray broadcast(cnp.ndarray array, str name, tuple shape, str of)
cdef object result_dtype(cnp.ndarray logits)
cdef object computed_dtype(const fb_kernels *kernels)
cdef Py_ssize_t computed_size(const fb_kernels *kernels) noexcept
cdef cnp.ndarray empty_like(cnp.ndarray array, cnp.dtype dtype)
cdef cnp.ndarray as_output(object value, str name, tuple shape, object own_dtype)
cdef bint are_apart(PyObject **inputs, int count, PyObject **outputs, int output_count) noexcept
cdef bint separate(list inputs, list outputs, str grad_name) except -1
cdef object position(Py_ssize_t index, tuple shape)
cdef void describe_input(Operand *operand, cnp.ndarray array, const fb_kernels *kernels, bint targets,
                         int last=*) noexcept
cdef void describe_labels(Operand *operand, cnp.ndarray array) noexcept
cdef void describe_output(Operand *operand, cnp.ndarray array, const fb_kernels *kernels, int last=*) noexcept
cdef object ease(Operand *operand, const fb_kernels *kernels, Py_ssize_t elements)
cdef void transfer_runs(const Operand *operand, Py_ssize_t start, Py_ssize_t n, char *buffer,
                        Py_ssize_t size) noexcept nogil
cdef double as_number(object value, str name) except? -1.0
cdef double as_fraction(object value, str name) except? -1.0
cdef Reduction as_reduction(object value) except NO_SUCH_REDUCTION
cdef double as_normalizer(object value, Reduction reduction) except? -1.0
cdef object reduced(fb_sum total, double denominator)
cdef bint can_scale(double scale, Py_ssize_t size) noexcept
cdef object divide(cnp.ndarray undivided, double denominator, cnp.ndarray grad)


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b, int without=0) noexcept:
    # Whether b has the shape of a, that of a's last `without` axes left out.
    cdef int d, ndim = cnp.PyArray_NDIM(a) - without
    if cnp.PyArray_NDIM(b) != ndim:
        return False
    for d in range(ndim):
        if cnp.PyArray_DIM(a, d) != cnp.PyArray_DIM(b, d):
            return False
    return True


cdef inline bint disjoint(cnp.ndarray a, cnp.ndarray b, Py_ssize_t bytes_a, Py_ssize_t bytes_b) noexcept:
    # Of contiguous arrays of so many bytes.
    cdef char *start_a = <char *>cnp.PyArray_DATA(a)
    cdef char *start_b = <char *>cnp.PyArray_DATA(b)
    return start_a + bytes_a <= start_b or start_b + bytes_b <= start_a


cdef inline void lie_direct(Operand *operand, char *data, Py_ssize_t size) noexcept nogil:
    # Elements of so many bytes that follow each other, of the type computed in. load or store is the caller's to set.
    operand.data = data
    operand.step = size
    operand.ndim = 1
    operand.swapped = False
    operand.direct = True
    operand.load = NULL
    operand.store = NULL


cdef inline void transfer(const Operand *operand, Py_ssize_t start, Py_ssize_t n, char *buffer,
                          Py_ssize_t size) noexcept nogil:
    # Elements start .. start + n, in C order, from the operand to the buffer, or back if it is an output.
    cdef char *at
    if operand.ndim > 1:
        transfer_runs(operand, start, n, buffer, size)
        return
    at = operand.data + start * operand.step
    if operand.load != NULL:
        operand.load(n, at, operand.step, operand.swapped, buffer)
    else:
        operand.store(n, buffer, at, operand.step, operand.swapped)


cdef inline void *place(const Operand *operand, Py_ssize_t start, bint whole, void *buffer,
                        Py_ssize_t size) noexcept nogil:
    # Where a block of an output is computed: where it will lie, or in the buffer. NULL: it is absent.
    if operand.data == NULL:
        return NULL
    return operand.data + start * size if operand.direct and whole else buffer


cdef inline void give(const Operand *operand, Py_ssize_t start, Py_ssize_t n, const void *block, void *buffer,
                      Py_ssize_t size) noexcept nogil:
    # What was computed in the buffer, to the output.
    if operand.data != NULL and block == buffer:
        transfer(operand, start, n, <char *>buffer, size)


cdef inline const void *take(const Operand *operand, Py_ssize_t start, Py_ssize_t n, Py_ssize_t padded, void *buffer,
                             Py_ssize_t size) noexcept nogil:
    # A block of an input: where it lies, or in the buffer, with zeros up to `padded`.
    if operand.direct and n == padded:
        return operand.data + start * size
    if operand.ndim > 1 and operand.period and n == padded:
        return operand.data + start % operand.period * size
    transfer(operand, start, n, <char *>buffer, size)
    memset(<char *>buffer + n * size, 0, (padded - n) * size)
    return buffer
