# Binary losses of arrays in Fortran order.
from fastbce._arrays cimport CACHE_LINE, FB_F32, FB_F64, Operand, transfer
from fastbce._blocks cimport CHUNK, Call, execute, is_large
from fastbce._threads cimport Partial, Run, run_chunks

cdef enum:
    # Of arrays in Fortran order so many rows, if they are not too long, are transposed at once; see run_panel.
    PANEL_ROWS = 64
    PANEL_ELEMENTS = 64 * CHUNK
    PANEL_GAP = 5 * CACHE_LINE


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


cdef int execute_panels(Call *call, Run run, int threads, Partial *total) except -1:
    # The same, where operands may lie across.
    cdef int count = threads if is_large(call) else 1
    cdef Py_ssize_t memory = plan_panels(call, count)
    if memory == 0:
        return execute(call, run, threads, total)
    call.run = run
    return run_chunks(run_panel, call, (call.n + CHUNK - 1) // CHUNK, count, total, memory, False, call.together)
