# Binary cross-entropy of probabilities and of logits, and focal loss: the entry points, the checks, and the loop over
# blocks.
#
# Two ways in, one way through. Contiguous arrays with no more than `out` and `reduction` given are recognised by a few
# flags (direct_call); everything else goes through general_call, which names what is wrong. Both fill a Call, and
# execute walks it: blocks of FB_BLOCK elements, chunks of blocks over threads, partial sums in a fixed order.
cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

import math

import numpy as np

from fastbce._arrays cimport (
    CACHE_LINE,
    FB_BLOCK,
    FB_F32,
    FB_F64,
    FB_LANES,
    Operand,
    as_fraction,
    as_logits,
    as_mask,
    as_normalizer,
    as_number,
    as_output,
    as_values,
    broadcast,
    check_reduction,
    computed_size,
    describe_input,
    describe_output,
    disjoint,
    dtype_code,
    ease,
    empty_like,
    fb_block,
    fb_buffers,
    fb_kernels,
    fb_lanes,
    fb_sum,
    fb_sum_value,
    give,
    kernels_for,
    place,
    position,
    reduced,
    result_dtype,
    same_shape,
    separate,
    take,
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

cdef extern from "numpy/arrayobject.h":
    cnp.npy_intp PyArray_CountNonzero(cnp.ndarray array) except -1

cnp.import_array()

cdef enum:
    # Elements whose losses are added in one go. Fixed, so that a sum does not depend on the number of threads.
    CHUNK = 16 * FB_BLOCK
    # Below this many bytes of logits (32,768 float32, 16,384 float64) a second thread brings less than 10 microseconds
    # (measured: a call takes 28 and 36 there on one thread, and a team that waits for work another 0.7), and it may
    # have to be waited for.
    PARALLEL_BYTES = 16 * CHUNK
    # See block_length.
    LARGE_BYTES = 1 << 21
    SHORT_BYTES = 1024
    # Of arrays in Fortran order so many rows, if they are not too long, are transposed at once; see run_panel.
    PANEL_ROWS = 64
    PANEL_ELEMENTS = 64 * CHUNK
    PANEL_GAP = 5 * CACHE_LINE
    # Below this many elements the GIL is kept: to let go of it and take it back would show in the time of a call.
    RELEASE_FROM = 4096

cdef enum Loss:
    PROBS, LOGITS, FOCAL

cdef enum Results:
    VALUE, VALUE_AND_GRAD, GRAD_AND_HESS


cdef struct Call:
    const fb_kernels *kernels
    Py_ssize_t n, size        # elements; bytes of one, of the type computed in
    Loss kind
    bint weighted, balanced   # whether weight is read; and pos_weight, too
    bint apart                # nothing that is read is written, and no losses are: an element may be computed twice
    Run run                   # what is done with a chunk
    Py_ssize_t together       # how many chunks a panel has; 1: there are none
    double scale, smoothing, clip_low, clip_high, alpha, gamma
    Operand x, y, weight, pos_weight, where, loss, grad, hess, proba


# ---- blocks --------------------------------------------------------------------------------------------------------

cdef inline bint is_constant(const Operand *weight) noexcept nogil:
    # Absent, which is 1 throughout; or one number for all elements.
    return weight.data == NULL or (weight.ndim == 1 and weight.step == 0)


cdef void fill_constant(const Call *call, const Operand *weight, Py_ssize_t n, void *buffer) noexcept nogil:
    # Once for all blocks.
    cdef double value
    if weight.data == NULL:
        call.kernels.fill(n, 1, buffer)
    elif is_constant(weight):
        transfer(weight, 0, 1, <char *>&value, call.size)
        call.kernels.repeat(n, n, n, &value, buffer)


cdef void fill_constants(const Call *call, Py_ssize_t n, fb_buffers *buffers) noexcept nogil:
    cdef Py_ssize_t filled = min((n + FB_LANES - 1) & -FB_LANES, <Py_ssize_t>FB_BLOCK)
    if call.weighted:
        fill_constant(call, &call.weight, filled, buffers.weight)
    if call.balanced:
        fill_constant(call, &call.pos_weight, filled, buffers.pos_weight)


cdef const void *weights(const Call *call, Py_ssize_t start, Py_ssize_t n, Py_ssize_t padded,
                         fb_buffers *buffers) noexcept nogil:
    # The weights of a block, 0 where an element is left out.
    cdef const void *weight = buffers.weight
    cdef const void *counts
    if not is_constant(&call.weight):
        weight = take(&call.weight, start, n, padded, buffers.weight, call.size)
    if call.where.data == NULL:
        return weight
    counts = take(&call.where, start, n, padded, buffers.where, call.size)
    if call.weight.data == NULL:
        return counts  # 0 and 1: weights, where there are no others
    call.kernels.mask(padded, counts, weight, buffers.where)
    return buffers.where


cdef inline void ask_for(fb_block *block, const Operand *operand, Py_ssize_t start) noexcept nogil:
    # The memory that these elements are converted from, if few of its bytes are others'. (That of bools comes in time.)
    if operand.data != NULL and not operand.direct and operand.ndim == 1 and 1 < operand.step <= CACHE_LINE:
        block.later[block.laters].begin = operand.data + start * operand.step
        block.later[block.laters].bytes = FB_LANES * operand.step
        block.laters += 1


cdef void add_losses(const Call *call, char *loss, Py_ssize_t n, Py_ssize_t again, fb_lanes *lanes) noexcept nogil:
    # All but the first `again`. What is beyond whole vectors goes to the first lanes, as where it is its own block.
    if again:
        memset(loss + n * call.size, 0, again * call.size)
        loss += again * call.size
        if n > FB_LANES:
            call.kernels.add(n - FB_LANES, loss, lanes)
        loss += (n - FB_LANES) * call.size
        n = FB_LANES
    call.kernels.add(n, loss, lanes)


cdef int run_block(const Call *call, Py_ssize_t start, Py_ssize_t n, Py_ssize_t again, Py_ssize_t ahead,
                   fb_buffers *buffers, fb_lanes *lanes, fb_sum *sum) noexcept nogil:
    # The losses are added to the lanes, or summed, where there are none: it is the only block. The first `again`
    # elements are another block's, too. The memory of those `ahead` is asked for, if there are any.
    cdef Py_ssize_t padded = (n + FB_LANES - 1) & -FB_LANES
    cdef int outside
    cdef bint whole = n == padded
    cdef fb_block block
    cdef void *proba
    block.n = padded
    block.x = take(&call.x, start, n, padded, buffers.x, call.size)
    block.y = take(&call.y, start, n, padded, buffers.y, call.size)
    block.weight = block.pos_weight = NULL
    block.ahead = block.laters = 0
    if start + ahead < call.n:
        block.ahead = ahead
        ask_for(&block, &call.x, start + ahead)
        ask_for(&block, &call.y, start + ahead)
        ask_for(&block, &call.weight, start + ahead)
    block.scale = call.scale
    block.smoothing = call.smoothing
    block.clip_low = call.clip_low
    block.clip_high = call.clip_high
    block.alpha = call.alpha
    block.gamma = call.gamma
    if call.weighted:
        block.weight = weights(call, start, n, padded, buffers)
    if call.balanced:
        block.pos_weight = buffers.pos_weight
        if not is_constant(&call.pos_weight):
            block.pos_weight = take(&call.pos_weight, start, n, padded, buffers.pos_weight, call.size)
    block.grad = place(&call.grad, start, whole, buffers.grad, call.size)
    block.hess = place(&call.hess, start, whole, buffers.hess, call.size)
    block.loss = place(&call.loss, start, whole, buffers.loss, call.size)
    if block.loss == NULL:
        block.loss = buffers.loss  # for the sum

    proba = place(&call.proba, start, whole, buffers.proba, call.size)
    if proba != NULL:  # first: the gradient may take the place of the logits
        call.kernels.sigmoid(padded, block.x, proba)
    if call.kind == LOGITS:
        outside = call.kernels.bce_logits(&block)
    elif call.kind == FOCAL:
        outside = call.kernels.focal(&block)
    else:
        outside = call.kernels.bce_probs(&block)
    if block.hess == NULL:
        if not whole:
            memset(<char *>block.loss + n * call.size, 0, (padded - n) * call.size)
        if lanes == NULL:
            sum[0] = call.kernels.sum(padded, block.loss)
        else:
            add_losses(call, <char *>block.loss, padded, again, lanes)

    give(&call.grad, start, n, block.grad, buffers.grad, call.size)
    give(&call.hess, start, n, block.hess, buffers.hess, call.size)
    give(&call.loss, start, n, block.loss, buffers.loss, call.size)
    give(&call.proba, start, n, proba, buffers.proba, call.size)
    return outside


cdef inline bint is_from_memory(const Call *call) noexcept nogil:
    return call.n * call.size > LARGE_BYTES


cdef inline Py_ssize_t block_length(const Call *call) noexcept nogil:
    # Beyond the caches shorter blocks leave room in the first-level one for what is on its way from memory (measured:
    # up to a quarter less time). No bit depends on it.
    if is_from_memory(call):
        return SHORT_BYTES // call.size
    # What is kept of probabilities in double would take the whole of that cache; of logits, with what comes next.
    if call.size == sizeof(double) and (call.kind == PROBS or call.n > CHUNK):
        return FB_BLOCK // 2
    return FB_BLOCK


cdef inline bint is_one_block(Py_ssize_t n, Py_ssize_t most) noexcept nogil:
    # Whether run_chunk would make one block of n elements.
    return 0 < n <= most and (n < FB_LANES or n & (FB_LANES - 1) == 0)


cdef void run_chunk(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    cdef const Call *call = <const Call *>call_
    cdef fb_buffers buffers
    cdef fb_lanes lanes
    cdef Py_ssize_t first = chunk * CHUNK, stop = min(call.n, first + CHUNK), start = first, n, tail, again
    cdef Py_ssize_t most = block_length(call), ahead = 2 * most if is_from_memory(call) else most
    fill_constants(call, stop - start, &buffers)
    partial.wrong = -1
    partial.count = 0
    if is_one_block(stop - start, most):
        if run_block(call, start, stop - start, 0, call.n, &buffers, NULL, &partial.sum):
            partial.wrong = start
        return
    memset(&lanes, 0, sizeof(lanes))
    while start < stop:
        n = min(most, stop - start)
        again = 0
        tail = n & (FB_LANES - 1)  # only at the very end
        if tail and call.apart and start > first:
            again = FB_LANES - tail  # elements computed anew take less time than one more block, filled up
        elif n > FB_LANES:
            n -= tail
        if run_block(call, start - again, n + again, again, ahead, &buffers, &lanes, &partial.sum):
            partial.wrong = start
        start += n
    partial.sum = call.kernels.total(&lanes)


cdef void sum_weights(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    cdef const Call *call = <const Call *>call_
    cdef fb_buffers buffers
    cdef fb_lanes lanes
    cdef Py_ssize_t start = chunk * CHUNK, stop = min(call.n, start + CHUNK), n, padded
    cdef const void *weight
    memset(&lanes, 0, sizeof(lanes))
    fill_constants(call, stop - start, &buffers)
    while start < stop:
        n = min(<Py_ssize_t>FB_BLOCK, stop - start)
        padded = (n + FB_LANES - 1) & -FB_LANES
        weight = weights(call, start, n, padded, &buffers)
        memset(<char *>weight + n * call.size, 0, (padded - n) * call.size)  # only a buffer has a tail
        call.kernels.add(padded, weight, &lanes)
        start += n
    partial.sum = call.kernels.total(&lanes)
    partial.wrong = -1
    partial.count = 0


# ---- panels ----------------------------------------------------------------------------------------------------------
#
# Where the first of two axes is the one along memory (Fortran order, as of many pandas frames), neighbours in C order
# lie in cache lines, or pages, of their own, and a block takes up to 30 times as long. So panels of several rows, as
# many as the second-level cache may hold if they are not too long, are transposed: their chunks find them as if plain.

cdef enum:
    OPERANDS = 9
    INPUTS = 5


cdef void list_operands(const Call *call, const Operand **operands) noexcept nogil:
    operands[:INPUTS] = [&call.x, &call.y, &call.weight, &call.pos_weight, &call.where]
    operands[INPUTS:OPERANDS] = [&call.loss, &call.grad, &call.hess, &call.proba]


cdef inline bint is_across(const Operand *operand) noexcept nogil:
    return operand.data != NULL and operand.fortran


cdef Py_ssize_t plan_panels(Call *call, int threads) noexcept nogil:
    # Set how many chunks a panel has. Returns the memory that it takes, 0 if there are none.
    cdef const Operand *operands[OPERANDS]
    cdef const Operand *across = NULL
    cdef Py_ssize_t chunks = (call.n + CHUNK - 1) // CHUNK, count = 0, i
    list_operands(call, operands)
    for i in range(OPERANDS):
        if is_across(operands[i]):
            across = operands[i]
            count += 1
    call.together = 1
    if count == 0 or across.shape[1] * (CACHE_LINE // call.size) > PANEL_ELEMENTS:
        return 0
    call.together = (PANEL_ROWS * across.shape[1] + CHUNK - 1) // CHUNK
    call.together = max(1, min(call.together, PANEL_ELEMENTS // CHUNK, chunks // (2 * threads)))
    return (1 + count) * panel_bytes(call)  # one more to convert what is of another dtype


cdef inline Py_ssize_t panel_bytes(const Call *call) noexcept nogil:
    return min(call.n, call.together * CHUNK) * call.size + PANEL_GAP


cdef void turn(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t stop, char *panel,
               char *room) noexcept nogil:
    # Elements start .. stop between an operand and the panel. What two panels have of a row goes one by one.
    cdef Py_ssize_t size = call.size, columns = operand.shape[1], stride = operand.strides[1], i
    cdef Py_ssize_t first = (start + columns - 1) // columns, last = stop // columns, rows = last - first
    cdef char *at = operand.data + first * operand.strides[0]
    cdef char *whole = panel + (first * columns - start) * size
    if rows <= 0:
        transfer(operand, start, stop - start, panel, size)
        return
    if operand.store != NULL:
        call.kernels.turn_rows_out(rows, columns, whole, stride // size, at)
    elif operand.own:
        call.kernels.turn_rows_in(rows, columns, at, stride // size, whole)
    else:
        for i in range(columns):
            operand.load(rows, at + i * stride, operand.strides[0], operand.swapped, room + i * rows * size)
        call.kernels.turn_rows_in(rows, columns, room, rows, whole)
    # the ends last: their cache lines are those of the rows beside them
    transfer(operand, start, first * columns - start, panel, size)
    transfer(operand, last * columns, stop - last * columns, whole + rows * columns * size, size)


cdef void run_panel(const void *call_, Py_ssize_t chunk, char *memory, Partial *partials) noexcept nogil:
    # The chunks of a panel, of which this is the first.
    cdef Call call = (<const Call *>call_)[0]
    cdef const Operand *given[OPERANDS]
    cdef const Operand *plain[OPERANDS]
    cdef Py_ssize_t start = chunk * CHUNK, stop = min(call.n, start + call.together * CHUNK), i
    cdef int own = FB_F32 if call.size == sizeof(float) else FB_F64
    cdef char *panel = memory
    cdef Operand *operand
    list_operands(<const Call *>call_, given)
    list_operands(&call, plain)
    for i in range(OPERANDS):
        if is_across(given[i]):
            panel += panel_bytes(&call)
            if i < INPUTS:
                turn(&call, given[i], start, stop, panel, memory)
            operand = <Operand *>plain[i]
            operand.data = panel - start * call.size  # which is where element 0 would be
            operand.step = call.size
            operand.ndim = 1
            operand.direct = True
            operand.swapped = False
            if i < INPUTS:
                operand.load = call.kernels.load[own]
    for i in range((stop - start + CHUNK - 1) // CHUNK):
        call.run(&call, chunk + i, NULL, &partials[i])
    for i in range(INPUTS, OPERANDS):
        if is_across(given[i]):
            turn(&call, given[i], start, stop, plain[i].data + start * call.size, NULL)


cdef Py_ssize_t first_outside(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t stop,
                              fb_buffers *buffers) noexcept nogil:
    # The first of these elements of x or y that counts and is outside [0, 1], or -1.
    cdef Py_ssize_t n, padded
    cdef int64_t found
    cdef const void *weight
    fill_constants(call, stop - start, buffers)
    while start < stop:
        n = min(<Py_ssize_t>FB_BLOCK, stop - start)
        padded = (n + FB_LANES - 1) & -FB_LANES
        weight = weights(call, start, n, padded, buffers) if call.weighted else NULL
        found = call.kernels.outside(n, take(operand, start, n, padded, buffers.x, call.size), weight)
        if found >= 0:
            return start + found
        start += n
    return -1


cdef void look_outside(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    cdef const Call *call = <const Call *>call_
    cdef fb_buffers buffers
    cdef Py_ssize_t start = chunk * CHUNK, stop = min(call.n, start + CHUNK)
    partial.sum.sum = partial.sum.lost = 0
    partial.count = 0
    partial.wrong = first_outside(call, &call.x, start, stop, &buffers) if call.kind == PROBS else -1
    if partial.wrong < 0:
        partial.wrong = first_outside(call, &call.y, start, stop, &buffers)


cdef inline bint is_large(const Call *call) noexcept nogil:
    return call.n * call.size >= PARALLEL_BYTES


cdef int execute(const Call *call, Run run, int threads, Partial *total) except -1:
    if call.n <= RELEASE_FROM:
        run(call, 0, NULL, total)
        return 0
    return run_chunks(run, call, (call.n + CHUNK - 1) // CHUNK, threads if is_large(call) else 1, total)


cdef int execute_panels(Call *call, Run run, int threads, Partial *total) except -1:
    # The same, where operands may lie across.
    cdef int count = threads if is_large(call) else 1
    cdef Py_ssize_t memory = plan_panels(call, count)
    if memory == 0:
        return execute(call, run, threads, total)
    call.run = run
    return run_chunks(run_panel, call, (call.n + CHUNK - 1) // CHUNK, count, total, memory, False, call.together)


# ---- the short way in ------------------------------------------------------------------------------------------------

cdef inline void lie_direct(Operand *operand, cnp.ndarray array, Py_ssize_t size) noexcept:
    operand.data = <char *>cnp.PyArray_DATA(array)
    operand.step = size
    operand.ndim = 1
    operand.swapped = False
    operand.direct = True
    operand.load = NULL
    operand.store = NULL


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
    lie_direct(&call.x, x, size)
    lie_direct(&call.y, y, y_size)
    call.x.load = call.kernels.load[own]
    call.y.load = call.kernels.load_targets[y_code]
    call.y.direct = y_code == own
    call.grad.data = NULL
    if out is not None:
        if not (cnp.PyArray_TYPE(out) == code and cnp.PyArray_ISCARRAY(out) and same_shape(x, out)
                and disjoint(x, out, call.n * size, call.n * size)
                and disjoint(y, out, call.n * y_size, call.n * size)):
            return False
        lie_direct(&call.grad, out, size)
        call.grad.store = call.kernels.store[own]
    call.kind = kind
    call.weighted = call.balanced = False
    call.apart = True
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


cdef void look_sign(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    # Whether a pos_weight has one: it may be -0 or NaN.
    cdef const Call *call = <const Call *>call_
    cdef double block[FB_BLOCK]
    cdef const void *values
    cdef uint64_t seen = 0
    cdef Py_ssize_t start = chunk * CHUNK, stop = min(call.n, start + CHUNK), n, i
    partial.sum.sum = partial.sum.lost = 0
    partial.count = 0
    while start < stop:
        n = min(<Py_ssize_t>FB_BLOCK, stop - start)
        values = take(&call.pos_weight, start, n, n, block, call.size)
        if call.size == sizeof(double):
            for i in range(n):
                seen |= (<const uint64_t *>values)[i] >> 63
        else:
            for i in range(n):
                seen |= (<const uint32_t *>values)[i] >> 31
        start += n
    partial.wrong = 0 if seen else -1


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


cdef object checked_call(Loss kind, Results results, object x_given, object y_given, object sample_weight,
                         object pos_weight, object label_smoothing, object where, object eps, object alpha,
                         object gamma, object reduction, object normalizer, object grad_out, object hess_out,
                         object loss_out, object proba_out, object num_threads):
    cdef Call call, only_weights
    cdef Partial total
    cdef int threads = threads_for_call(num_threads)
    cdef double denominator = 1
    cdef str x_name = "probs" if kind == PROBS else "logits"
    cdef str grad_name = "grad_out" if results == GRAD_AND_HESS else "out"

    check_reduction(reduction)
    cdef double given_denominator = as_normalizer(normalizer, reduction) if normalizer is not None else 0

    cdef cnp.ndarray x = as_logits(x_given, x_name)
    call.kernels = kernels_for(dtype_code(x))
    cdef tuple shape = (<object>x).shape
    cdef cnp.ndarray y = broadcast(as_values(y_given, "targets"), "targets", shape, x_name)
    cdef cnp.ndarray weight = None, positive = None, mask = None, given_mask = None
    if sample_weight is not None:
        weight = broadcast(as_values(sample_weight, "sample_weight"), "sample_weight", shape, x_name)
    if pos_weight is not None:
        given = as_values(pos_weight, "pos_weight")
        positive = broadcast(given, "pos_weight", shape, x_name)
        check_not_negative(given, call.kernels, threads)
    if where is not None:
        given_mask = as_mask(where)
        mask = broadcast(given_mask, "where", shape, x_name)

    call.size = computed_size(call.kernels)
    call.smoothing = as_fraction(label_smoothing, "label_smoothing")
    call.apart = False
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
    inputs = [x, y, weight, positive, mask]
    overwrites = separate(inputs, [grad, hess, losses, proba], grad_name)
    x, y, weight, positive, mask = inputs

    call.kind = kind
    call.n = cnp.PyArray_SIZE(x)
    call.weighted = weight is not None or mask is not None
    call.balanced = positive is not None or (call.weighted and call.smoothing != 0)
    call.weighted = call.weighted or call.balanced
    call.weight.data = call.pos_weight.data = call.where.data = NULL
    call.loss.data = call.grad.data = call.hess.data = call.proba.data = NULL
    describe_input(&call.x, x, call.kernels, False)
    describe_input(&call.y, y, call.kernels, True)
    if weight is not None:
        describe_input(&call.weight, weight, call.kernels, False)
    if positive is not None:
        describe_input(&call.pos_weight, positive, call.kernels, False)
    if mask is not None:
        describe_input(&call.where, mask, call.kernels, False)
    _kept = (ease(&call.y, call.kernels, call.n), ease(&call.weight, call.kernels, call.n),
             ease(&call.pos_weight, call.kernels, call.n), ease(&call.where, call.kernels, call.n))

    # the denominator comes first: the gradient carries it
    if reduction == "mean":
        denominator = call.n if mask is None else count(given_mask, call.n)
    elif reduction == "weighted_mean":
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

    if overwrites:
        check_range_first(&call, threads, x, y)
    if results != VALUE:
        if grad is None:
            grad = empty_like(x, own)
        describe_output(&call.grad, grad, call.kernels)
    if results == GRAD_AND_HESS:
        if hess is None:
            hess = empty_like(x, own)
        describe_output(&call.hess, hess, call.kernels)
    elif losses is None and reduction == "none":
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
    if results == GRAD_AND_HESS:
        return grad, hess
    value = losses if reduction == "none" else reduced(total.sum, denominator)
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
        lie_direct(&call.grad, out, call.size)
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
        The reduced loss, or with ``reduction="none"`` the loss of each element.

    Raises
    ------
    TypeError
        An argument of the wrong kind or dtype.
    ValueError
        A wrong shape or value; a probability or target outside [0, 1], with its position.
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
        As in `bce`. The gradient is 0 where clipping moved a probability, and has no limit.
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
