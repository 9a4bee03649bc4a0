# Binary losses, block by block: chunks of blocks over threads, partial sums in a fixed order.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from fastbce._arrays cimport (
    CACHE_LINE,
    FB_BLOCK,
    FB_LANES,
    Operand,
    fb_block,
    fb_buffers,
    fb_lanes,
    fb_sum,
    give,
    place,
    take,
    transfer,
)
from fastbce._threads cimport Partial, Run, run_chunks

cdef enum:
    # See block_length.
    LARGE_BYTES = 1 << 21
    SHORT_BYTES = 1024
    # Below this many elements the GIL is kept: to let go of it and take it back would show in the time of a call.
    RELEASE_FROM = 4096


# ---- blocks --------------------------------------------------------------------------------------------------------

cdef void fill_constant(const Call *call, const Operand *weight, Py_ssize_t n, void *buffer) noexcept nogil:
    # Once for all blocks. Absent, it is 1.
    cdef double value
    if weight.data == NULL:
        call.kernels.fill(n, 1, buffer)
    elif is_constant(weight):
        transfer(weight, 0, 1, <char *>&value, call.size)
        call.kernels.repeat(n, n, n, &value, buffer)


cdef void fill_constants(const Call *call, Py_ssize_t n, fb_buffers *buffers) noexcept nogil:
    cdef Py_ssize_t filled = min((n + FB_LANES - 1) & -FB_LANES, <Py_ssize_t>FB_BLOCK)
    if n == 0:  # then a weight, too, may be none
        return
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


cdef inline void ask_beyond(fb_block *block, const Operand *operand, Py_ssize_t start) noexcept nogil:
    # The memory of what comes next of an operand that is a column of one in Fortran order (see at_column).
    if operand.data != NULL and operand.fortran:
        block.later[block.laters].begin = operand.data + operand.strides[1] + start * operand.step
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
    # Losses that are added up go to the lanes, or, where there are none, to the sum: it is the only block. The first
    # `again` elements are another block's, too. The memory of those `ahead` is asked for, if there are any.
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
    if call.columns:
        ask_beyond(&block, &call.x, start)
        ask_beyond(&block, &call.y, start)
        ask_beyond(&block, &call.weight, start)
        ask_beyond(&block, &call.grad, start)
        ask_beyond(&block, &call.hess, start)
    elif start + ahead < call.n:
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
    if call.sums:
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


cdef bint run_blocks(const Call *call, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t most, Py_ssize_t ahead,
                     fb_buffers *buffers, fb_lanes *lanes) noexcept nogil:
    # Blocks of `most` elements, from start to stop. Returns whether a value was outside of [0, 1].
    cdef Py_ssize_t first = start, n, tail, again
    cdef bint outside = False
    while start < stop:
        n = min(most, stop - start)
        again = 0
        tail = n & (FB_LANES - 1)  # only at the end
        if tail and call.apart and (call.loss.data == NULL or not call.sums) and start > first:
            again = FB_LANES - tail  # elements computed anew take less time than one more block, filled up
        elif n > FB_LANES:
            n -= tail
        if run_block(call, start - again, n + again, again, ahead, buffers, lanes, NULL):
            outside = True
        start += n
    return outside


cdef void run_chunk(const void *call_, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil:
    cdef const Call *call = <const Call *>call_
    cdef fb_buffers buffers
    cdef fb_lanes lanes
    cdef Py_ssize_t start = chunk * CHUNK, stop = min(call.n, start + CHUNK)
    cdef Py_ssize_t most = block_length(call), ahead = 2 * most if is_from_memory(call) else most
    fill_constants(call, stop - start, &buffers)
    partial.wrong = -1
    partial.count = 0
    partial.sum.sum = partial.sum.lost = 0
    if is_one_block(stop - start, most):
        if run_block(call, start, stop - start, 0, call.n, &buffers, NULL, &partial.sum):
            partial.wrong = start
        return
    memset(&lanes, 0, sizeof(lanes))
    if run_blocks(call, start, stop, most, ahead, &buffers, &lanes):
        partial.wrong = start
    if call.sums:
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


# ---- looks -----------------------------------------------------------------------------------------------------------

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


# ---- all chunks ------------------------------------------------------------------------------------------------------

cdef int execute(const Call *call, Run run, int threads, Partial *total) except -1:
    if call.n <= RELEASE_FROM:
        run(call, 0, NULL, total)
        return 0
    return run_chunks(run, call, (call.n + CHUNK - 1) // CHUNK, threads if is_large(call) else 1, total)
