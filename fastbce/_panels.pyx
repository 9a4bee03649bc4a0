# Binary losses of arrays in Fortran order.
from libc.string cimport memcpy, memmove, memset

from fastbce._arrays cimport (
    CACHE_LINE,
    FB_BLOCK,
    FB_F32,
    FB_F64,
    FB_LANES,
    FB_SUM_LANES,
    Operand,
    fb_buffers,
    fb_lanes,
    lie_direct,
    second_level,
    transfer,
)
from fastbce._blocks cimport CHUNK, Call, execute, fill_constants, is_constant, is_large, run_blocks, run_chunk
from fastbce._threads cimport Partial, Run, run_chunks

cdef enum:
    # Of arrays in Fortran order so many rows, if they are not too long, are transposed at once; see run_panel.
    PANEL_ROWS = 64
    PANEL_ELEMENTS = 64 * CHUNK
    PANEL_GAP = 5 * CACHE_LINE
    # Or so many are worked on where they lie, as far as their losses take no more than half of the second-level cache.
    # Where that, or the number of threads, leaves a panel columns of fewer bytes, it takes less time to transpose them
    # (measured). See run_columns.
    COLUMN_ROWS = 1024
    COLUMN_BYTES = 1024
    # Elements of whole rows of losses that are transposed at once, for their sum.
    SLICE = 2048


# ---- panels ----------------------------------------------------------------------------------------------------------
#
# Where the first of two axes is the one along memory (Fortran order, as of many pandas frames), neighbours in C order
# lie in cache lines, or pages, of their own, and a block takes up to 30 times as long. So panels of several rows, as
# many as the second-level cache may hold if they are not too long, are transposed: their chunks find them as if plain.

cdef enum:
    OPERANDS = 9
    INPUTS = 5


cdef inline int own_code(Py_ssize_t size) noexcept nogil:
    return FB_F32 if size == sizeof(float) else FB_F64


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
            lie_direct(operand, panel - start * call.size, call.size)  # which is where element 0 would be
            if i < INPUTS:
                operand.load = call.kernels.load[own_code(call.size)]
            else:
                operand.store = call.kernels.store[own_code(call.size)]
    for i in range((stop - start + CHUNK - 1) // CHUNK):
        call.run(&call, chunk + i, NULL, &partials[i])
    for i in range(INPUTS, OPERANDS):
        if is_across(given[i]):
            turn(&call, given[i], start, stop, plain[i].data + start * call.size, NULL)


# ---- columns ---------------------------------------------------------------------------------------------------------
#
# Where all arrays are in Fortran order, or broadcast, a panel is worked on where it lies, column by column. Only its
# losses are transposed, as sums are those of elements in C order.

cdef bint lies_in_columns(const Operand *operand, Py_ssize_t columns) noexcept nogil:
    if is_constant(operand):
        return True
    return (operand.ndim == 2 and operand.shape[1] == columns
            and (operand.fortran or operand.period or operand.repeat != NULL))


cdef inline Py_ssize_t column_bytes(const Call *call) noexcept nogil:
    # From one column of losses to the next: two more rows than there are whole ones, of which a panel may have parts;
    # and a line, so that columns do not lie whole pages apart.
    cdef Py_ssize_t rows = min(call.n, call.together * CHUNK) // call.columns + 2
    return ((rows + FB_LANES - 1) & -FB_LANES) * call.size + CACHE_LINE


cdef inline Py_ssize_t slice_rows(const Call *call) noexcept nogil:
    # How many rows of losses are transposed at once.
    return max(<Py_ssize_t>FB_LANES, SLICE // call.columns & -FB_LANES)


cdef Py_ssize_t plan_columns(Call *call, int threads) noexcept nogil:
    # If all arrays lie so, set columns and how many chunks a panel has. Returns the memory that it takes, else 0.
    cdef const Operand *operands[OPERANDS]
    cdef Py_ssize_t chunks = (call.n + CHUNK - 1) // CHUNK, columns, rows, i
    if call.n == 0 or not is_across(&call.x) or (call.sums and call.loss.data != NULL):
        return 0
    if not call.apart and (call.loss.data != NULL or call.proba.data != NULL):
        return 0  # they may be what is read, and are written before it is
    columns = call.x.shape[1]
    list_operands(call, operands)
    for i in range(OPERANDS):
        if not lies_in_columns(operands[i], columns):
            return 0
    rows = min(<Py_ssize_t>COLUMN_ROWS, (second_level or 1 << 20) // 2 // (columns * call.size))
    call.together = max(1, min((rows * columns + CHUNK - 1) // CHUNK, chunks // (2 * threads)))
    if min(call.n, call.together * CHUNK) // columns * call.size < COLUMN_BYTES:
        return 0
    call.columns = columns
    return columns * column_bytes(call) + PANEL_GAP + (slice_rows(call) * columns + FB_SUM_LANES) * call.size


cdef void at_column(const Call *call, const Operand *operand, Py_ssize_t column, Py_ssize_t rows,
                    Operand *to) noexcept nogil:
    # A column as an operand of its own. strides[1] leads from it to what comes next: the next column, or from the last
    # one to the first, so many rows below.
    to.ndim = 1
    if operand.period:
        to.data = operand.data + column * call.size
        to.step = 0
        to.load = call.kernels.load[own_code(call.size)]
        to.swapped = False
        return
    to.data = operand.data + column * operand.strides[1]
    to.step = operand.strides[0]
    to.direct = operand.own and to.step == call.size
    if column == call.columns - 1:
        to.strides[1] = rows * to.step - column * operand.strides[1]


cdef void add_columns(const Call *call, Py_ssize_t start, Py_ssize_t stop, const char *losses, char *slice,
                      Partial *partials) noexcept nogil:
    # Elements start .. stop, in C order, of columns of losses that begin with the row of the first. What does not fill
    # all lanes at the end of a slice is the beginning of the next.
    cdef Py_ssize_t size = call.size, columns = call.columns, apart = column_bytes(call)
    cdef Py_ssize_t rows = (stop + columns - 1) // columns - start // columns, row = 0, held = 0, n, some
    cdef double tail[FB_LANES]
    cdef const char *at
    cdef fb_lanes lanes
    memset(&lanes, 0, sizeof(lanes))
    while start < stop:
        some = min(slice_rows(call), rows - row)
        call.kernels.turn_rows_in(some, columns, losses + row * size, apart // size, slice + held * size)
        held += some * columns
        at = slice
        if row == 0:
            at += start % columns * size
            held -= start % columns
        held = min(held, stop - start)
        row += some
        while held > 0:
            n = min(held, CHUNK - start % CHUNK)
            some = n & -FB_LANES if start + n == stop else n & -FB_SUM_LANES
            call.kernels.add(some, at, &lanes)
            if start + n == stop and some < n:
                memset(tail, 0, sizeof(tail))
                memcpy(tail, at + some * size, (n - some) * size)
                call.kernels.add(FB_LANES, tail, &lanes)
                some = n
            start += some
            at += some * size
            held -= some
            if some < n:
                break
            if start % CHUNK == 0 or start == stop:
                partials.sum = call.kernels.total(&lanes)
                partials += 1
                memset(&lanes, 0, sizeof(lanes))
        memmove(slice, at, held * size)


cdef void run_columns(const void *call_, Py_ssize_t chunk, char *memory, Partial *partials) noexcept nogil:
    # The chunks of a panel, of which this is the first.
    cdef Call call = (<const Call *>call_)[0]
    cdef const Operand *given[OPERANDS]
    cdef const Operand *plain[OPERANDS]
    cdef fb_buffers buffers
    cdef Py_ssize_t start = chunk * CHUNK, stop = min(call.n, start + call.together * CHUNK), columns = call.columns
    cdef Py_ssize_t top = start // columns, bottom = (stop + columns - 1) // columns, first, last, column, i
    cdef Py_ssize_t apart = column_bytes(&call), most = FB_BLOCK * <Py_ssize_t>sizeof(float) // call.size
    cdef Py_ssize_t left = start - top * columns, right = stop - (bottom - 1) * columns
    cdef bint sums = call.sums, outside = False
    list_operands(<const Call *>call_, given)
    list_operands(&call, plain)
    call.sums = False
    for column in range(columns):
        for i in range(OPERANDS):
            if not is_constant(given[i]):
                at_column(&call, given[i], column, bottom - top, <Operand *>plain[i])
        if sums:
            lie_direct(&call.loss, memory + column * apart - top * call.size, call.size)
            call.loss.store = call.kernels.store[own_code(call.size)]
        # the first and the last row may be other panels', too
        first = top if column >= left else top + 1
        last = bottom if column < right else bottom - 1
        fill_constants(&call, last - first, &buffers)
        outside |= run_blocks(&call, first, last, most, 0, &buffers, NULL)
    for i in range((stop - start + CHUNK - 1) // CHUNK):
        partials[i].count = 0
        partials[i].sum.sum = partials[i].sum.lost = 0
        partials[i].wrong = start if outside else -1
    if sums:
        add_columns(&call, start, stop, memory, memory + columns * apart + PANEL_GAP, partials)


cdef int execute_panels(Call *call, Run run, int threads, Partial *total) except -1:
    # As execute, where operands may lie across.
    cdef int count = threads if is_large(call) else 1
    cdef Py_ssize_t chunks = (call.n + CHUNK - 1) // CHUNK
    cdef Py_ssize_t memory = plan_columns(call, count) if run == run_chunk else 0
    if memory:
        return run_chunks(run_columns, call, chunks, count, total, memory, False, call.together)
    memory = plan_panels(call, count)
    if memory == 0:
        return execute(call, run, threads, total)
    call.run = run
    return run_chunks(run_panel, call, chunks, count, total, memory, False, call.together)
