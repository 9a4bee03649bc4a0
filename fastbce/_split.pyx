# Softmax cross-entropy of rows whose classes are spread over threads, in the steps of split.inc.h.
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastbce._arrays cimport (
    CACHE_LINE,
    FB_BLOCK,
    FB_LANES,
    FB_PIECE,
    Operand,
    fb_buffers,
    fb_kernels,
    fb_rows,
    transfer,
)
from fastbce._rows cimport CHUNK, Call, has_steps, is_far, lies_along, neighbours, row_inputs, rows_at, run_of
from fastbce._threads cimport Partial, run_chunks

cdef enum:
    # Rows of so many classes are split where there are fewer of them, or of vectors of them, than threads; and of twice
    # as many where they are interleaved and runs of them would keep threads unevenly busy.
    SPLIT_FROM = 1 << 14
    # Rows across memory of so many classes, or by several threads of more than so many times as many classes as there
    # are rows, in the caches or from memory, all neighbours or neighbours of so many bytes, are worked on together
    # (measured), up to numbers of rows and threads that bound the memory for it beside that of the logits.
    TOGETHER_FROM = 10000
    TOGETHER_TIMES = 6
    TOGETHER_TIMES_FAR = 2
    TOGETHER_BYTES = 3 << 21
    MOST_TOGETHER = 4096
    # Their classes are divided into slices of so many bytes (measured), one a thread at least and so many at most.
    MOST_SLICES = 256
    SLICE_BYTES = 1 << 19


# ---- the steps -------------------------------------------------------------------------------------------------------

cdef struct Split:
    const fb_kernels *kernels
    fb_rows rows
    int threads


cdef inline void no_result(Partial *partial) noexcept nogil:
    partial.sum.sum = partial.sum.lost = 0
    partial.count = 0
    partial.wrong = -1


cdef inline Py_ssize_t pieces_of(Py_ssize_t classes) noexcept nogil:
    return (classes + FB_PIECE - 1) // FB_PIECE


cdef void max_of_slice(const void *split_, Py_ssize_t slice, char *memory, Partial *partial) noexcept nogil:
    cdef const Split *split = <const Split *>split_
    no_result(partial)
    split.kernels.split_max(&split.rows, slice)


cdef void exp_of_piece(const void *split_, Py_ssize_t task, char *memory, Partial *partial) noexcept nogil:
    # Parts of the lanes one after the other, each from a piece of its own on: threads are not to write side by side.
    cdef const Split *split = <const Split *>split_
    cdef Py_ssize_t pieces = pieces_of(split.rows.classes), part = task // pieces
    no_result(partial)
    split.kernels.split_exp(&split.rows, (task + part * pieces // split.rows.parts) % pieces, part, memory)


cdef void end_of_part(const void *split_, Py_ssize_t part, char *memory, Partial *partial) noexcept nogil:
    cdef const Split *split = <const Split *>split_
    no_result(partial)
    partial.wrong = split.kernels.split_end(&split.rows, part, split.threads)


cdef void scale_slice(const void *split_, Py_ssize_t slice, char *memory, Partial *partial) noexcept nogil:
    cdef const Split *split = <const Split *>split_
    no_result(partial)
    split.kernels.split_scale(&split.rows, slice)


# ---- which rows, and how ---------------------------------------------------------------------------------------------

cdef inline bint has_neighbours(const Operand *operand) noexcept nogil:
    return operand.data == NULL or operand.shape[operand.ndim - 2] >= FB_LANES


cdef bint can_split(const Call *call, int threads) noexcept nogil:
    # Rows of many classes, used as they lie: fewer than threads, or, across memory, fewer vectors of rows than threads,
    # or all neighbours, or as many of them as no cache holds; there also of fewer classes, but many more than rows.
    # And interleaved ones.
    cdef Py_ssize_t run = run_of(call), runs, times
    if not has_steps(call):
        return False
    if call.interleaved:
        runs = call.rows // run
        if runs == 1:
            return threads > 1 or is_far(call)  # the latter is to be heard by Ctrl-C
        # else threads divide the runs, if these come out nearly even, or are small
        return 1 < threads and runs < 4 * threads and runs % threads != 0 and call.classes >= 2 * SPLIT_FROM
    if call.across:
        if not (has_neighbours(&call.x) and has_neighbours(&call.grad) and has_neighbours(&call.proba)):
            return False
        if call.rows < threads * FB_LANES and call.classes >= SPLIT_FROM:
            return True
        # A class of few rows is few cache lines, which threads that divide the rows would write at the same time.
        times = TOGETHER_TIMES_FAR if is_far(call) else TOGETHER_TIMES
        if call.classes < TOGETHER_FROM and call.classes <= times * call.rows:
            return False
        if call.classes < TOGETHER_FROM and not 1 < threads <= min(FB_LANES, call.rows * call.classes // CHUNK):
            return False
        return call.rows == run or run * call.classes * call.size >= TOGETHER_BYTES
    return (call.classes >= SPLIT_FROM and call.rows < threads and lies_along(call, &call.x)
            and lies_along(call, &call.grad) and lies_along(call, &call.proba))


cdef Py_ssize_t parts_of_lanes(const fb_rows *rows, int threads) noexcept nogil:
    # One, if pieces give each thread as much to do, within a tenth, or the row lies along memory, or rows are
    # interleaved; else one a thread, while there are lanes.
    cdef Py_ssize_t pieces = pieces_of(rows.classes), i, share, most = 0
    for i in range(threads):
        share = min(pieces * (i + 1) // threads * FB_PIECE, rows.classes) - pieces * i // threads * FB_PIECE
        most = max(most, share)
    if rows.apart.x == 0 or rows.interleaved or most * threads * 10 <= rows.classes * 11:
        return 1
    return min(threads, FB_LANES)


cdef Py_ssize_t rows_to_split(const Call *call, fb_rows *rows, Py_ssize_t start) noexcept nogil:
    # The rows from start on that are split together.
    cdef Py_ssize_t run = call.rows - start, parts
    if call.across:
        rows.x = neighbours(call, &call.x, start, &run, &rows.apart.x)
        rows.grad = neighbours(call, &call.grad, start, &run, &rows.apart.grad)
        rows.proba = neighbours(call, &call.proba, start, &run, &rows.apart.proba)
        parts = (run + MOST_TOGETHER - 1) // MOST_TOGETHER
        return min(run, ((run + parts - 1) // parts + FB_LANES - 1) & -FB_LANES)  # at least a vector is left
    rows.x = rows_at(call, &call.x, NULL, start, 0, &run, &rows.row_stride.x)
    rows.grad = rows_at(call, &call.grad, NULL, start, 0, &run, &rows.row_stride.grad)
    rows.proba = rows_at(call, &call.proba, NULL, start, 0, &run, &rows.row_stride.proba)
    return 1


cdef void split_inputs(const Call *call, Py_ssize_t start, Py_ssize_t n, int64_t *labels,
                       char *weights) noexcept nogil:
    cdef Py_ssize_t at = 0, count
    cdef fb_buffers buffers
    while at < n:
        count = min(n - at, <Py_ssize_t>FB_BLOCK)
        row_inputs(call, start + at, count, labels + at, &buffers)
        memcpy(weights + at * call.size, buffers.weight, count * call.size)
        at += count


cdef int split_rows(Call *call, int threads, Partial *total) except -1:
    cdef Py_ssize_t pieces = pieces_of(call.classes), start = 0, n = min(call.rows, <Py_ssize_t>MOST_TOGETHER)
    cdef size_t scratch = 0
    cdef Split split
    cdef Partial partial
    cdef char *inputs = <char *>malloc(n * (sizeof(int64_t) + call.size))
    cdef char *memory = NULL
    if call.grad.data == NULL and call.proba.data == NULL:
        scratch = max(n, <Py_ssize_t>FB_PIECE) * call.size
    threads = min(threads, MOST_SLICES)
    total.wrong = -1
    memset(&split, 0, sizeof(split))
    split.kernels = call.kernels
    split.threads = threads
    split.rows.classes = call.classes
    split.rows.scale = call.scale
    split.rows.class_weight = call.class_weight
    split.rows.labels = <const int64_t *>inputs
    split.rows.interleaved = call.interleaved
    split.rows.weight = inputs + n * sizeof(int64_t)
    try:
        while start < call.rows:
            n = rows_to_split(call, &split.rows, start)
            split.rows.rows = n
            split.rows.slices = min(max(n * call.classes * call.size // SLICE_BYTES, <Py_ssize_t>threads),
                                    <Py_ssize_t>MOST_SLICES)
            split.rows.parts = parts_of_lanes(&split.rows, threads)
            split.rows.loss = call.losses + start * call.size
            memory = <char *>malloc(call.kernels.split_size(&split.rows) + CACHE_LINE)
            if memory == NULL or inputs == NULL:
                raise MemoryError
            split.rows.state = memory + (-<size_t>memory & (CACHE_LINE - 1))
            split_inputs(call, start, n, <int64_t *>split.rows.labels, <char *>split.rows.weight)
            run_chunks(max_of_slice, &split, split.rows.slices, threads, &partial, 0, True)
            call.kernels.split_maxima(&split.rows)
            run_chunks(exp_of_piece, &split, pieces * split.rows.parts, threads, &partial, scratch)
            run_chunks(end_of_part, &split, threads, threads, &partial)
            if partial.wrong >= 0 and total.wrong < 0:
                total.wrong = start + partial.wrong
            if split.rows.grad != NULL or split.rows.proba != NULL:
                run_chunks(scale_slice, &split, split.rows.slices, threads, &partial, 0, True)
            free(memory)
            memory = NULL
            start += n
    finally:
        free(memory)
        free(inputs)
    if call.loss.data != NULL:
        transfer(&call.loss, 0, call.rows, call.losses, call.size)
    return 0
