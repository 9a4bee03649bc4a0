# Softmax cross-entropy: a Call is filled by an entry point, and executed; and what its ways through know of rows.
from libc.stdint cimport int64_t

from fastbce._arrays cimport FB_BLOCK, FB_FEW_CLASSES, FB_LANES, Operand, fb_buffers, fb_kernels, fb_lanes, third_level
from fastbce._threads cimport Partial

cdef enum:
    # Elements whose rows make a chunk, if that is more than one row.
    CHUNK = 32 * FB_BLOCK
    # Below this many elements a second thread brings less than 15 microseconds (measured: here 6 to 15 with float32, of
    # 23 and 42 for 1,000 and 10 classes, at half as many 4 to 6), and it may have to be waited for.
    PARALLEL_FROM = 2 * CHUNK
    # Rows along memory are used as they lie if so many at a time lie evenly; of few classes more, or vectors would be
    # filled badly (measured).
    EVEN_ROWS = 8
    EVEN_ROWS_OF_FEW = 64
    # Logits of more bytes than that, or than an eighth of the third-level cache, are likely to come from memory.
    NEAR_UP_TO = 1 << 24

cdef struct Call:
    const fb_kernels *kernels
    Py_ssize_t rows, classes, chunk, size     # chunk: rows in one; size: bytes of the type computed in
    bint has_labels, has_ignore
    bint overwrites                           # whether an output is an input, too
    bint across                               # whether rows are used as they lie, see run_across
    bint interleaved                          # of these, whether as in interleaved.inc.h
    Py_ssize_t group                          # of these, how many are copied at once, or 0: see copied_rows, in _routes
    Py_ssize_t before                         # rows before the first whole cache line, see rows_before_line, there
    int64_t ignore_index
    double smoothing, scale
    const void *class_weight                  # of the type computed in, or NULL
    char *losses                              # of all rows, where a chunk holds too few to sum theirs; or NULL
    Operand x, targets, weight, where, loss, grad, hess, proba

cdef Py_ssize_t row_inputs(const Call *call, Py_ssize_t start, Py_ssize_t n, int64_t *labels,
                           fb_buffers *buffers) noexcept nogil
cdef char *neighbours(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t *run,
                      int64_t *apart) noexcept nogil
cdef void *rows_at(const Call *call, const Operand *operand, char *room, Py_ssize_t start, Py_ssize_t first,
                   Py_ssize_t *run, int64_t *stride) noexcept nogil
cdef void add_losses(const Call *call, Py_ssize_t n, const void *losses, fb_lanes *lanes) noexcept nogil
cdef size_t memory_of_chunk(const Call *call) noexcept nogil
cdef void run_chunk(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil
cdef int survey(Call *call, int threads, Partial *total) except -1


cdef inline bint lies_across(const Call *call, const Operand *operand) noexcept nogil:
    # Whether neighbouring rows, not neighbouring classes, lie next to each other: the class axis is not the last one of
    # the array, or it is in Fortran order. A kernel can turn them.
    cdef int last = operand.ndim - 1
    return (last > 0 and operand.shape[last] == call.classes and operand.strides[last - 1] == call.size
            and operand.strides[last] % call.size == 0 and operand.own)


cdef inline Py_ssize_t rows_of_run(const Call *call, const Operand *operand) noexcept nogil:
    # Of an operand of which each row is one run of memory: how many rows lie evenly.
    cdef int last = operand.ndim - 1
    return operand.shape[last] // call.classes if operand.shape[last] > call.classes else operand.shape[last - 1]


cdef inline bint lies_along(const Call *call, const Operand *operand) noexcept nogil:
    # Whether a kernel can use rows as they lie: each one run of memory, and enough of them apart evenly (measured).
    cdef int last = operand.ndim - 1
    cdef Py_ssize_t fewest = EVEN_ROWS if call.classes > FB_FEW_CLASSES else EVEN_ROWS_OF_FEW
    return operand.direct or (
        last > 0 and operand.own and operand.strides[last] == call.size and operand.strides[last - 1] % call.size == 0
        and rows_of_run(call, operand) >= min(fewest, call.rows))


cdef inline bint keeps_logits(const Call *call) noexcept nogil:
    cdef char *x = call.x.data
    return x != call.grad.data and x != call.hess.data and x != call.proba.data


cdef inline bint has_steps(const Call *call) noexcept nogil:
    # Whether rows may be computed in the steps of split.inc.h: labels, and no logits overwritten.
    return call.has_labels and call.smoothing == 0 and call.hess.data == NULL and keeps_logits(call)


cdef inline Py_ssize_t run_of(const Call *call) noexcept nogil:
    # How many neighbours a run of rows across memory has.
    return call.x.shape[max(call.x.ndim - 2, 0)]


cdef inline bint is_far(const Call *call) noexcept nogil:
    # Whether logits are likely to come from memory.
    cdef Py_ssize_t room = third_level // 8 if third_level > 0 else 1 << 22
    return call.rows * call.classes * call.size > min(room, <Py_ssize_t>NEAR_UP_TO)


cdef inline Py_ssize_t rows_after_line(const Call *call) noexcept nogil:
    # How many rows the first chunk is short of, so that all others begin with a cache line.
    return -call.before & (FB_LANES - 1)
