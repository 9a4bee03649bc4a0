# Softmax cross-entropy, row by row: where rows lie, how they come to a kernel, and what is left out of them.
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from fastbce._arrays cimport (
    FB_BLOCK,
    FB_BROUGHT,
    FB_FEW_CLASSES,
    FB_LANES,
    Operand,
    fb_buffers,
    fb_lanes,
    fb_rows,
    second_level,
    transfer,
)
from fastbce._threads cimport Partial, Run, run_chunks


# ---- labels and weights ----------------------------------------------------------------------------------------------

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


# ---- where rows lie --------------------------------------------------------------------------------------------------

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


cdef inline size_t bytes_of_rows(const Call *call, Py_ssize_t n) noexcept nogil:
    # In whole cache lines.
    return (n * call.classes * call.size + 63) & ~<size_t>63


# ---- rows along memory -----------------------------------------------------------------------------------------------

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


cdef void *rows_at(const Call *call, const Operand *operand, char *room, Py_ssize_t start, Py_ssize_t first,
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


# ---- rows across memory ----------------------------------------------------------------------------------------------

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


# ---- chunks ----------------------------------------------------------------------------------------------------------

cdef void add_losses(const Call *call, Py_ssize_t n, const void *losses, fb_lanes *lanes) noexcept nogil:
    # Up to a block of them.
    cdef double block[FB_BLOCK]
    if n & (FB_LANES - 1) == 0:
        call.kernels.add(n, losses, lanes)
        return
    memcpy(block, losses, n * call.size)
    memset(<char *>block + n * call.size, 0, (-n & (FB_LANES - 1)) * call.size)
    call.kernels.add((n + FB_LANES - 1) & -FB_LANES, block, lanes)


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
