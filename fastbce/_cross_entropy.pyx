# Softmax cross-entropy: the entry points, the checks, and the loop over rows. Built as _bce.pyx is: a short way in for
# plain arrays, a general one that names what is wrong, and one way through.
cimport numpy as cnp
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import math

import numpy as np

from fastbce._arrays cimport (
    FB_BLOCK,
    FB_BROUGHT,
    FB_F16,
    FB_FEW_CLASSES,
    FB_GROUP_ELEMENTS,
    FB_I64,
    FB_INTERLEAVED,
    FB_LANES,
    FB_PIECE,
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
    fb_buffers,
    fb_kernels,
    fb_lanes,
    fb_rows,
    fb_sum,
    fb_sum_add,
    fb_sum_value,
    kernels_for,
    position,
    reduced,
    result_dtype,
    same_shape,
    second_level,
    separate,
    third_level,
    transfer,
)
from fastbce._threads cimport (
    Partial,
    Run,
    fb_float_default,
    fb_float_restore,
    fb_float_state,
    run_chunks,
    threads_for_call,
)

cnp.import_array()

cdef enum:
    CACHE_LINE = 64
    # Elements whose rows make a chunk, if that is more than one row.
    CHUNK = 32 * FB_BLOCK
    # Below this many elements a second thread brings less than 15 microseconds (measured: here 6 to 15 with float32, of
    # 23 and 42 for 1,000 and 10 classes, at half as many 4 to 6), and it may have to be waited for.
    PARALLEL_FROM = 2 * CHUNK
    # Rows that lie across memory and are worked on at once, and those that are brought together, if they have that few
    # elements (measured).
    ACROSS_ROWS = 128
    TURNED_ROWS = 64
    TURNED = 1 << 20
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
    # Few neighbours are worked on as they alternate, if a run has more elements than that, or, of a vector and more,
    # more classes (measured).
    INTERLEAVED_FROM = 1024
    # Rows across memory, from so many on, are worked on in copies of so many bytes of a class (measured); but not
    # logits of more bytes than that, or than an eighth of the third-level cache, which are likely to come from memory.
    COPIED_FROM = 64
    COPIED_BYTES = 2 * CACHE_LINE
    NEAR_UP_TO = 1 << 24
    # Logits further away are copied, too, if classes lie a multiple of a page apart, where the second-level cache has
    # so many bytes, and a row more than that (measured).
    PAGE = 4096
    SECOND_LEVEL_FAR = 2 << 20
    ROW_FAR = 1536
    # From this many rows on, some of them may be brought together for the others to begin with a cache line.
    ALIGN_FROM = 1024
    # Rows along memory are used as they lie if so many at a time lie evenly; of few classes more, or vectors would be
    # filled badly (measured).
    EVEN_ROWS = 8
    EVEN_ROWS_OF_FEW = 64
    # Below this many elements the GIL is kept.
    RELEASE_FROM = 4096


cdef struct Call:
    const fb_kernels *kernels
    Py_ssize_t rows, classes, chunk, size     # chunk: rows in one; size: bytes of the type computed in
    bint has_labels, has_ignore
    bint overwrites                           # whether an output is an input, too
    bint across                               # whether rows are used as they lie, see run_across
    bint interleaved                          # of these, whether as in interleaved.inc.h
    Py_ssize_t group                          # of these, how many are copied at once, or 0: see copied_rows
    Py_ssize_t before                         # rows before the first whole cache line, see rows_before_line
    int64_t ignore_index
    double smoothing, scale
    const void *class_weight                  # of the type computed in, or NULL
    char *losses                              # of all rows, where a chunk holds too few to sum theirs; or NULL
    Operand x, targets, weight, where, loss, grad, hess, proba


cdef enum Results:
    VALUE, VALUE_AND_GRAD, GRAD_AND_HESS


# ---- rows ----------------------------------------------------------------------------------------------------------

cdef inline bint all_count_once(const Call *call) noexcept nogil:
    # Whether no row is left out or weighted, but for the weight of its class.
    return call.weight.data == NULL and call.where.data == NULL and not call.has_ignore


cdef Py_ssize_t row_inputs(const Call *call, Py_ssize_t start, Py_ssize_t n, int64_t *labels,
                           fb_buffers *buffers) noexcept nogil:
    # The labels of n rows, and their weights, 0 where a row is left out. Returns how many are not left out.
    cdef Py_ssize_t count
    if call.has_labels:
        transfer(&call.targets, start, n, <char *>labels, sizeof(int64_t))
    if call.weight.data != NULL:
        transfer(&call.weight, start, n, <char *>buffers.weight, call.size)
    else:
        call.kernels.fill(n, 1, buffers.weight)
    if call.where.data == NULL and not call.has_ignore:
        return n
    call.kernels.fill(n, 1, buffers.where)
    if call.where.data != NULL:
        transfer(&call.where, start, n, <char *>buffers.where, call.size)
    if call.size == sizeof(float):
        count = leave_out[float](call, n, labels, <float *>buffers.where)
    else:
        count = leave_out[double](call, n, labels, <double *>buffers.where)
    call.kernels.mask(n, buffers.where, buffers.weight, buffers.weight)
    return count


ctypedef fused real:
    float
    double


cdef Py_ssize_t leave_out(const Call *call, Py_ssize_t n, const int64_t *labels, real *where) noexcept nogil:
    # where = 0 for the label that is ignored, too. Returns how many rows are left.
    cdef Py_ssize_t i, count = 0
    for i in range(n):
        if call.has_ignore and labels[i] == call.ignore_index:
            where[i] = 0
        count += where[i] != 0
    return count


cdef Py_ssize_t wrong_label(const Call *call, Py_ssize_t n, const int64_t *labels, const real *weight) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if (labels[i] < 0 or labels[i] >= call.classes) and weight[i] != 0:
            return i
    return -1


cdef void weigh_classes(const Call *call, Py_ssize_t n, const int64_t *labels, real *weight) noexcept nogil:
    # The whole weight of a row: class_weight of its label in it.
    cdef Py_ssize_t i
    for i in range(n):
        if weight[i] != 0 and 0 <= labels[i] < call.classes:
            weight[i] *= (<const real *>call.class_weight)[labels[i]]


cdef void survey_labels(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    # Labels of which each counts once.
    cdef const Call *call = <const Call *>call_
    cdef int64_t labels[FB_BLOCK]
    cdef Py_ssize_t start = chunk * call.chunk, n = min(call.chunk, call.rows - start), i
    cdef uint64_t last = call.classes - 1, signs = 0
    partial.wrong = -1
    partial.count = n
    partial.sum.sum = n
    partial.sum.lost = 0
    transfer(&call.targets, start, n, <char *>labels, sizeof(int64_t))
    for i in range(n):  # vectorises, as comparisons do not
        signs |= <uint64_t>labels[i] | (last - <uint64_t>labels[i])
    if <int64_t>signs < 0:
        for i in range(n):
            if <uint64_t>labels[i] >= <uint64_t>call.classes:
                partial.wrong = start + i
                break


cdef void survey_chunk(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    cdef const Call *call = <const Call *>call_
    cdef fb_buffers buffers
    cdef int64_t *labels = <int64_t *>buffers.y
    cdef fb_lanes lanes
    cdef Py_ssize_t start = chunk * call.chunk, n = min(call.chunk, call.rows - start), found = -1, padded
    padded = (n + FB_LANES - 1) & -FB_LANES
    memset(&lanes, 0, sizeof(lanes))
    partial.wrong = -1
    partial.count = row_inputs(call, start, n, labels, &buffers)
    if call.has_labels:
        if call.size == sizeof(float):
            found = wrong_label[float](call, n, labels, <float *>buffers.weight)
        else:
            found = wrong_label[double](call, n, labels, <double *>buffers.weight)
        if found >= 0:
            partial.wrong = start + found
        elif call.class_weight != NULL:
            if call.size == sizeof(float):
                weigh_classes[float](call, n, labels, <float *>buffers.weight)
            else:
                weigh_classes[double](call, n, labels, <double *>buffers.weight)
    memset(<char *>buffers.weight + n * call.size, 0, (padded - n) * call.size)
    call.kernels.add(padded, buffers.weight, &lanes)
    partial.sum = call.kernels.total(&lanes)


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


cdef inline Py_ssize_t offset_of(const Operand *operand, Py_ssize_t index, int axes) noexcept nogil:
    # Of a position in C order along so many of the first axes, in bytes.
    cdef Py_ssize_t offset = 0
    cdef int d
    for d in range(axes - 1, -1, -1):
        offset += index % operand.shape[d] * operand.strides[d]
        index //= operand.shape[d]
    return offset


cdef char *rows_along(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t *run,
                      int64_t *stride) noexcept nogil:
    # Row `start` of an operand that lies along memory; how many elements lie between it and the next one; and for how
    # many rows this holds, at most *run.
    cdef int axes = operand.ndim - 1
    cdef Py_ssize_t inner = rows_of_run(call, operand)
    stride[0] = call.classes
    run[0] = min(run[0], inner - start % inner)
    if operand.shape[axes] == call.classes:
        axes -= 1
        stride[0] = operand.strides[axes] // call.size
    return operand.data + start % inner * stride[0] * call.size + offset_of(operand, start // inner, axes)


cdef char *neighbours(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t *run,
                      int64_t *apart) noexcept nogil:
    # Row `start` of an operand that lies across memory; how many rows are its neighbours, at most *run; and how many
    # elements its classes lie apart.
    cdef int last = operand.ndim - 1
    cdef Py_ssize_t inner
    if operand.data == NULL:
        return NULL
    inner = operand.shape[last - 1]
    run[0] = min(run[0], inner - start % inner)
    apart[0] = operand.strides[last] // call.size
    return operand.data + start % inner * call.size + offset_of(operand, start // inner, last - 1)


cdef void turn_rows(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t n,
                    char *rows) noexcept nogil:
    # Rows start .. start + n, where classes lie apart and rows do not, to one row after the other, or back.
    cdef Py_ssize_t run
    cdef int64_t apart
    cdef char *at
    while n > 0:
        run = n
        at = neighbours(call, operand, start, &run, &apart)
        if operand.load != NULL:
            call.kernels.turn_rows_in(run, call.classes, at, apart, rows)
        else:
            call.kernels.turn_rows_out(run, call.classes, rows, apart, at)
        start += run
        n -= run
        rows += run * call.classes * call.size


cdef void move_rows(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t n,
                    char *rows) noexcept nogil:
    # Rows start .. start + n of an operand that does not lie along memory, to one row after the other, or back.
    if lies_across(call, operand):
        turn_rows(call, operand, start, n, rows)
    else:
        transfer(operand, start * call.classes, n * call.classes, rows, call.size)


cdef void add_losses(const Call *call, Py_ssize_t n, const void *losses, fb_lanes *lanes) noexcept nogil:
    # Up to a block of them.
    cdef double block[FB_BLOCK]
    if n & (FB_LANES - 1) == 0:
        call.kernels.add(n, losses, lanes)
        return
    memcpy(block, losses, n * call.size)
    memset(<char *>block + n * call.size, 0, (-n & (FB_LANES - 1)) * call.size)
    call.kernels.add((n + FB_LANES - 1) & -FB_LANES, block, lanes)


cdef inline size_t bytes_of_rows(const Call *call, Py_ssize_t n) noexcept nogil:
    # In whole cache lines.
    return (n * call.classes * call.size + 63) & ~<size_t>63


cdef inline void ask_for(const Call *call, fb_rows *rows, Py_ssize_t start) noexcept nogil:
    # The logits that the rows from start on are converted from, and those after them, if at most half of their bytes
    # are for nothing. (Those of a byte each come in time.)
    rows.origin.begin = NULL
    if not call.x.direct and call.x.ndim == 1 and 1 < call.x.step <= 2 * call.size:
        rows.origin.begin = call.x.data + start * call.classes * call.x.step
        rows.origin.bytes = FB_LANES * call.x.step


cdef inline void move_on(fb_rows *rows, Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    # Past what is known of n rows.
    if rows.labels != NULL:
        rows.labels += n
    if rows.weight != NULL:
        rows.weight = <char *>rows.weight + n * size
    rows.loss = <char *>rows.loss + n * size


cdef inline bint keeps_targets(const Call *call) noexcept nogil:
    # Whether there are soft targets, to be used as they lie.
    return not call.has_labels and not call.overwrites and lies_along(call, &call.targets)


cdef inline bint brings_logits(const Call *call) noexcept nogil:
    # Whether logits that do not lie in rows are put together one row at a time, to be used while the first-level cache
    # holds it: those of many classes.
    return call.classes > FB_FEW_CLASSES and not (lies_along(call, &call.x) or lies_across(call, &call.x))


cdef inline Py_ssize_t rows_brought(const Call *call, Py_ssize_t n) noexcept nogil:
    # How many of n rows there is room for, then.
    return min(n, <Py_ssize_t>FB_BROUGHT) if brings_logits(call) else n


cdef struct Source:
    const Call *call
    Py_ssize_t start


cdef void bring_row(const void *source_, int64_t row, int64_t first, int64_t n, void *to) noexcept nogil:
    cdef const Source *source = <const Source *>source_
    transfer(&source.call.x, (source.start + row) * source.call.classes + first, n, <char *>to, source.call.size)


cdef inline char *room_for(const Call *call, bint is_there, Py_ssize_t n, char **memory) noexcept nogil:
    # Where n rows are put together; NULL if they are used as they lie.
    cdef char *room = memory[0]
    if is_there:
        return NULL
    memory[0] += bytes_of_rows(call, n)
    return room


cdef inline void *rows_at(const Call *call, const Operand *operand, char *room, Py_ssize_t start, Py_ssize_t first,
                          Py_ssize_t *run, int64_t *stride) noexcept nogil:
    # Row `start` of an operand, NULL if it is absent; as rows_along, or put together in the room there is for it, from
    # row `first` on.
    stride[0] = call.classes
    if room != NULL:
        return room + (start - first) * call.classes * call.size
    if operand.direct:
        return operand.data + start * call.classes * call.size if operand.data != NULL else NULL
    return rows_along(call, operand, start, run, stride)


cdef Py_ssize_t run_along(const Call *call, fb_rows *rows, Py_ssize_t first, Py_ssize_t n,
                          char *memory) noexcept nogil:
    # The rows first .. first + n: used as they lie, or put together in memory.
    cdef bint brings = brings_logits(call)
    cdef char *x = room_for(call, lies_along(call, &call.x), rows_brought(call, n), &memory)
    cdef char *targets = room_for(call, call.has_labels or keeps_targets(call), n, &memory)
    cdef char *grad = room_for(call, lies_along(call, &call.grad), n, &memory)
    cdef char *hess = room_for(call, lies_along(call, &call.hess), n, &memory)
    cdef char *proba = room_for(call, lies_along(call, &call.proba), n, &memory)
    cdef Py_ssize_t start = first, stop = first + n, wrong = -1, found
    cdef Source source
    if x != NULL and not brings:
        move_rows(call, &call.x, first, n, x)
    if targets != NULL:
        move_rows(call, &call.targets, first, n, targets)
    rows.scratch = memory
    while start < stop:
        n = stop - start
        if brings:
            source.call = call
            source.start = start
            rows.bring = bring_row
            rows.source = &source
            rows.x = x
            rows.row_stride.x = call.classes
        else:
            rows.x = rows_at(call, &call.x, x, start, first, &n, &rows.row_stride.x)
        if not call.has_labels:
            rows.targets = rows_at(call, &call.targets, targets, start, first, &n, &rows.row_stride.targets)
        rows.grad = rows_at(call, &call.grad, grad, start, first, &n, &rows.row_stride.grad)
        rows.hess = rows_at(call, &call.hess, hess, start, first, &n, &rows.row_stride.hess)
        rows.proba = rows_at(call, &call.proba, proba, start, first, &n, &rows.row_stride.proba)
        rows.rows = n
        ask_for(call, rows, start)
        found = call.kernels.cross_entropy(rows)
        if found >= 0 and wrong < 0:
            wrong = start + found
        move_on(rows, n, call.size)
        start += n
    if grad != NULL:
        move_rows(call, &call.grad, first, stop - first, grad)
    if hess != NULL:
        move_rows(call, &call.hess, first, stop - first, hess)
    if proba != NULL:
        move_rows(call, &call.proba, first, stop - first, proba)
    return wrong


cdef inline bint keeps_logits(const Call *call) noexcept nogil:
    cdef char *x = call.x.data
    return x != call.grad.data and x != call.hess.data and x != call.proba.data


cdef inline Py_ssize_t by_the_vector(const Call *call, Py_ssize_t n) noexcept nogil:
    # How many of n neighbours are used as they lie. A rest that is worth it (measured) is done with some of those
    # before, which come out the same again.
    cdef Py_ssize_t rest = n % FB_LANES
    return n if rest >= 4 and keeps_logits(call) else n - rest


cdef Py_ssize_t whole_runs(const Call *call, Py_ssize_t start, Py_ssize_t n, fb_rows *piece) noexcept nogil:
    # How many of the rows from start on are whole runs of neighbours, if runs lie evenly, and how far apart. If not, 0.
    cdef Py_ssize_t run = run_of(call)
    if (call.x.ndim != 3 or call.grad.ndim != 3 or call.grad.shape[1] != run or start % run != 0 or n < run
            or call.x.strides[0] % call.size != 0 or call.grad.strides[0] % call.size != 0):
        return 0
    piece.run = run
    piece.x_beyond = call.x.strides[0] // call.size
    piece.grad_beyond = call.grad.strides[0] // call.size
    return n // run * run


cdef inline void interleave(fb_rows *rows, void *state) noexcept nogil:
    rows.interleaved = True
    rows.slices = rows.parts = 1
    rows.state = state


cdef Py_ssize_t run_across(const Call *call, fb_rows *rows, Py_ssize_t start, Py_ssize_t n,
                           char *memory) noexcept nogil:
    # The same where neighbouring rows lie next to each other: used as they lie, or copied where call.group says so, but
    # for what is no whole vector, unless they are interleaved.
    cdef Py_ssize_t wrong = -1, found, run
    cdef fb_rows piece
    while n > 0:
        piece = rows[0]
        run = n if start >= call.before else min(n, call.before - start)
        piece.x = neighbours(call, &call.x, start, &run, &piece.apart.x)
        piece.grad = neighbours(call, &call.grad, start, &run, &piece.apart.grad)
        piece.hess = neighbours(call, &call.hess, start, &run, &piece.apart.hess)
        piece.proba = neighbours(call, &call.proba, start, &run, &piece.apart.proba)
        if call.interleaved:
            piece.rows = run
            interleave(&piece, memory)
            found = call.kernels.cross_entropy(&piece)
            if found >= 0:
                found += start
        elif run >= FB_LANES:
            if call.group > 0:
                piece.group = call.group
                piece.near = not is_far(call)
                piece.scratch = memory
                piece.run = run
                run = max(run, whole_runs(call, start, n, &piece))
            else:
                run = by_the_vector(call, run)
            piece.rows = run
            found = call.kernels.cross_entropy(&piece)
            if found >= 0:
                found += start
        else:
            piece.apart.x = 0
            found = run_along(call, &piece, start, run, memory)
        if found >= 0 and wrong < 0:
            wrong = found
        start += run
        n -= run
        move_on(rows, run, call.size)
    return wrong


cdef Py_ssize_t run_rows(const Call *call, Py_ssize_t start, Py_ssize_t n, char *memory, fb_buffers *buffers,
                         fb_lanes *lanes) noexcept nogil:
    # The rows start .. start + n, and what they come to.
    cdef Py_ssize_t wrong
    cdef char *losses = <char *>buffers.loss if call.losses == NULL else call.losses + start * call.size
    cdef fb_rows rows
    memset(&rows, 0, sizeof(rows))
    rows.classes = call.classes
    rows.smoothing = call.smoothing
    rows.scale = call.scale
    rows.class_weight = call.class_weight
    rows.second_level = second_level
    rows.loss = losses
    if call.has_labels:
        rows.labels = <const int64_t *>buffers.y
    if all_count_once(call):
        if call.has_labels:
            transfer(&call.targets, start, n, <char *>buffers.y, sizeof(int64_t))
    else:
        row_inputs(call, start, n, <int64_t *>buffers.y, buffers)
        rows.weight = buffers.weight
    wrong = (run_across if call.across else run_along)(call, &rows, start, n, memory)
    if call.losses == NULL:
        add_losses(call, n, losses, lanes)
    if call.loss.data != NULL:
        transfer(&call.loss, start, n, losses, call.size)
    return wrong


cdef size_t memory_of_chunk(const Call *call) noexcept nogil:
    # For what of logits, targets and outputs is not used as it lies; and one row, where exp(x - max) has no other
    # place.
    cdef bint scratch = call.grad.data == NULL and call.proba.data == NULL
    cdef size_t parts = not (call.has_labels or keeps_targets(call)), logits = 0
    parts += not lies_along(call, &call.grad)
    parts += not lies_along(call, &call.hess)
    parts += not lies_along(call, &call.proba)
    cdef Py_ssize_t most = min(call.chunk, call.rows)
    cdef fb_rows rows
    if call.interleaved:
        memset(&rows, 0, sizeof(rows))
        rows.rows = run_of(call)
        rows.classes = call.classes
        interleave(&rows, NULL)
        return call.kernels.split_size(&rows)
    if call.across:
        most = min(most, <Py_ssize_t>FB_LANES - 1)  # what is no whole vector
    if not lies_along(call, &call.x):
        logits = bytes_of_rows(call, rows_brought(call, most))
    return max(logits + parts * bytes_of_rows(call, most) + scratch * bytes_of_rows(call, 1),
               bytes_of_rows(call, 2 * call.group))


cdef inline Py_ssize_t rows_after_line(const Call *call) noexcept nogil:
    # How many rows the first chunk is short of, so that all others begin with a cache line.
    return -call.before & (FB_LANES - 1)


cdef void run_chunk(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    cdef const Call *call = <const Call *>call_
    cdef fb_buffers buffers
    cdef fb_lanes lanes
    cdef Py_ssize_t start = chunk * call.chunk - rows_after_line(call), stop = min(start + call.chunk, call.rows)
    start = max(start, 0)
    memset(&lanes, 0, sizeof(lanes))
    partial.count = 0
    partial.wrong = run_rows(call, start, stop - start, memory, &buffers, &lanes)
    partial.sum = call.kernels.total(&lanes)


cdef int survey(Call *call, int threads, Partial *total) except -1:
    # What must be known before anything is written: labels out of range, the rows that count, the sum of their weights.
    cdef Run run = survey_chunk if call.class_weight != NULL or not all_count_once(call) else survey_labels
    total.count = call.rows
    total.sum.sum = call.rows
    total.sum.lost = 0
    total.wrong = -1
    if call.rows == 0 or (run == survey_labels and not call.has_labels):
        return 0
    call.chunk = FB_BLOCK
    if call.rows <= FB_BLOCK:
        run(call, 0, NULL, total)
        return 0
    return run_chunks(run, call, (call.rows + FB_BLOCK - 1) // FB_BLOCK, threads if call.rows >= PARALLEL_FROM else 1,
                      total)


cdef inline bint absent_or_across(const Call *call, const Operand *operand) noexcept nogil:
    return operand.data == NULL or lies_across(call, operand)


cdef inline bint can_run_across(const Call *call) noexcept nogil:
    return (call.has_labels and call.smoothing == 0 and lies_across(call, &call.x)
            and call.x.strides[call.x.ndim - 1] != 0 and absent_or_across(call, &call.grad)
            and absent_or_across(call, &call.hess) and absent_or_across(call, &call.proba))


cdef bint has_steps(const Call *call) noexcept nogil:
    # Whether rows may be computed in the steps of split.inc.h: labels, and no logits overwritten.
    return call.has_labels and call.smoothing == 0 and call.hess.data == NULL and keeps_logits(call)


cdef inline Py_ssize_t run_of(const Call *call) noexcept nogil:
    # How many neighbours a run of rows across memory has.
    return call.x.shape[max(call.x.ndim - 2, 0)]


cdef inline bint absent_or_interleaved(const Call *call, const Operand *operand) noexcept nogil:
    cdef int last = operand.ndim - 1
    return operand.data == NULL or (operand.shape[last - 1] == run_of(call)
                                    and operand.strides[last] == run_of(call) * call.size)


cdef bint can_interleave(const Call *call) noexcept nogil:
    # Whether rows that lie across memory are few, of many classes, and nothing is between them. (Runs of few elements
    # are faster brought together, whole vectors of few classes one by one, measured.)
    cdef Py_ssize_t run = run_of(call)
    return (call.across and has_steps(call) and call.classes > FB_FEW_CLASSES and run <= FB_INTERLEAVED
            and absent_or_interleaved(call, &call.x) and absent_or_interleaved(call, &call.grad)
            and absent_or_interleaved(call, &call.proba)
            and (run * call.classes if run < FB_LANES else call.classes) > INTERLEAVED_FROM)


cdef bint is_far(const Call *call) noexcept nogil:
    # Whether logits are likely to come from memory.
    cdef Py_ssize_t room = third_level // 8 if third_level > 0 else 1 << 22
    return call.rows * call.classes * call.size > min(room, <Py_ssize_t>NEAR_UP_TO)


cdef bint copied_from_far(const Call *call) noexcept nogil:
    # Whether rows are copied, see below, though they are far. Memory is slow where it is read in pieces of a few bytes
    # (copies take up to twice the time there, and down to half of it else). But where classes lie whole pages apart,
    # those of a group compete for a few lines of the caches, and to go through them once is faster (measured).
    return (call.x.strides[call.x.ndim - 1] % PAGE == 0 and call.classes * call.size > ROW_FAR
            and second_level >= SECOND_LEVEL_FAR)


cdef Py_ssize_t copied_rows(const Call *call) noexcept nogil:
    # How many rows across memory are copied at once: of many classes, where nothing but a gradient is wanted. So many
    # that three quarters of the second-level cache are left to what is on its way.
    cdef Py_ssize_t run = run_of(call), most = COPIED_BYTES // call.size, room
    if (not call.across or call.interleaved or run < FB_LANES or call.classes <= FB_FEW_CLASSES
            or call.rows < COPIED_FROM or (is_far(call) and not copied_from_far(call))
            or call.grad.data == NULL or call.hess.data != NULL or call.proba.data != NULL):
        return 0
    if call.size == sizeof(float) and most < run <= 3 * FB_LANES:
        most = 3 * FB_LANES  # groups that are all of one size
    room = (second_level if second_level > 0 else 1 << 18) // (8 * call.classes * call.size)
    return min(room & -FB_LANES, most)


cdef Py_ssize_t rows_of_a_task(const Call *call, Py_ssize_t chunk, int threads) noexcept nogil:
    # A chunk, or of many classes a group; or where rows lie across memory, more: memory is slow where it is read in
    # pieces of a few bytes. What few neighbours there are is not divided.
    cdef Py_ssize_t rows, runs, tasks, most = ACROSS_ROWS, run = run_of(call)
    if not (lies_across(call, &call.x) or lies_across(call, &call.grad)):
        if chunk > 1:
            return chunk
        most = min(max(second_level // (4 * call.size), CHUNK), FB_GROUP_ELEMENTS) // (-(-call.classes & -FB_LANES))
        rows = min(most, call.rows // (4 * threads))
        return rows if rows > 2 and lies_along(call, &call.grad) else chunk  # of two, nothing hides the maximum
    if call.interleaved:
        return max(chunk // run, 1) * run
    if not call.across:
        most = min(<Py_ssize_t>TURNED_ROWS, TURNED // call.classes)
    elif call.group > 0:
        # As many as a block's labels: the first and the last group have nothing beside them. Each thread does as many.
        tasks = call.rows // run
        if run <= FB_BLOCK and (tasks % threads == 0 or tasks >= 4 * threads):
            return min((tasks + threads - 1) // threads, FB_BLOCK // run) * run
        tasks = (call.rows + FB_BLOCK - 1) // FB_BLOCK
        tasks = (tasks + threads - 1) // threads * threads
        most = (call.rows + tasks - 1) // tasks
    elif run <= most and call.rows >= 2 * threads * run:
        runs = (call.rows // run + threads - 1) // threads  # so many give each thread as much to do
        return min(max(most, chunk) // run, runs) * run
    elif chunk >= most:
        return chunk // most * most
    rows = min((call.rows + threads - 1) // threads, most)
    return max((rows + FB_LANES - 1) & -FB_LANES, chunk)


cdef Py_ssize_t rows_before_line(const Call *call) noexcept nogil:
    # Where rows lie across memory, and every class begins at the same place of a cache line: how many begin in the line
    # before. (NumPy's large arrays begin 16 bytes after a line. Else each vector would take two, a third more time,
    # measured.) Chunks depend on it, so sums of losses must not.
    cdef int last = call.x.ndim - 1
    if (not call.across or call.group > 0 or call.losses == NULL or call.rows < ALIGN_FROM
            or call.x.shape[last - 1] != call.rows or call.x.strides[last] % CACHE_LINE != 0):
        return 0
    return (-<Py_ssize_t>call.x.data & (CACHE_LINE - 1)) // call.size


cdef void sum_losses(const Call *call, Py_ssize_t chunk, fb_sum *total) noexcept nogil:
    # As run_chunks sums what the chunks come to.
    cdef Py_ssize_t i, start, n
    cdef fb_lanes lanes
    cdef fb_sum part
    total.sum = total.lost = 0
    for i in range((call.rows + chunk - 1) // chunk):
        start = i * chunk
        n = min(chunk, call.rows - start)
        memset(&lanes, 0, sizeof(lanes))
        add_losses(call, n, call.losses + start * call.size, &lanes)
        part = call.kernels.total(&lanes)
        fb_sum_add(total, part.sum)
        total.lost += part.lost


# Rows whose classes are spread over threads: see split.inc.h.
cdef struct Split:
    const fb_kernels *kernels
    fb_rows rows
    int threads


cdef inline void no_result(Partial *partial) noexcept nogil:
    partial.sum.sum = partial.sum.lost = 0
    partial.count = 0
    partial.wrong = -1


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


cdef inline Py_ssize_t pieces_of(Py_ssize_t classes) noexcept nogil:
    return (classes + FB_PIECE - 1) // FB_PIECE


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


cdef int execute(Call *call, int threads, Partial *total) except -1:
    # Rows in chunks: whole vectors of rows where there are many, so that the order of a sum is fixed.
    cdef Py_ssize_t elements = call.rows * call.classes
    cdef Py_ssize_t chunk = max(min(CHUNK // max(call.classes, 1), <Py_ssize_t>FB_BLOCK) & -FB_LANES, 1)
    if call.rows == 0:  # then an input that broadcasts has no positions to be read at
        memset(total, 0, sizeof(total[0]))
        total.wrong = -1
        return 0
    threads = threads if elements >= PARALLEL_FROM else 1
    call.across = can_run_across(call)
    call.interleaved = can_interleave(call)
    call.group = copied_rows(call)
    cdef bint split = can_split(call, threads)
    call.chunk = rows_of_a_task(call, chunk, threads)
    if call.chunk != chunk or split:
        call.losses = <char *>malloc(call.rows * call.size)
        if call.losses == NULL:
            raise MemoryError
    call.before = rows_before_line(call)
    cdef size_t bytes = memory_of_chunk(call)
    cdef char *memory = NULL
    try:
        if split:
            split_rows(call, threads, total)
        elif call.rows <= call.chunk and elements <= RELEASE_FROM:
            if bytes > 0:
                memory = <char *>malloc(bytes + CACHE_LINE)
                if memory == NULL:
                    raise MemoryError
            run_chunk(call, 0, memory + (-<size_t>memory & (CACHE_LINE - 1)), total)
        else:
            run_chunks(run_chunk, call, (call.rows + rows_after_line(call) + call.chunk - 1) // call.chunk, threads,
                       total, bytes)
        if call.losses != NULL:
            sum_losses(call, chunk, &total.sum)
    finally:
        free(memory)
        free(call.losses)
        call.losses = NULL
    return 0


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
