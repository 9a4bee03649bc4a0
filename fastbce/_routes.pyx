# Softmax cross-entropy: which way rows are taken, how many a task has, and the sum of their losses in a fixed order.
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastbce._arrays cimport (
    CACHE_LINE,
    FB_BLOCK,
    FB_FEW_CLASSES,
    FB_GROUP_ELEMENTS,
    FB_INTERLEAVED,
    FB_LANES,
    Operand,
    fb_lanes,
    fb_sum,
    fb_sum_add,
    second_level,
)
from fastbce._rows cimport (
    CHUNK,
    PARALLEL_FROM,
    Call,
    add_losses,
    has_steps,
    is_far,
    lies_across,
    lies_along,
    memory_of_chunk,
    rows_after_line,
    run_chunk,
    run_of,
)
from fastbce._split cimport can_split, split_rows
from fastbce._threads cimport Partial, run_chunks

cdef enum:
    # Rows that lie across memory and are worked on at once, and those that are brought together, if they have that few
    # elements (measured).
    ACROSS_ROWS = 128
    TURNED_ROWS = 64
    TURNED = 1 << 20
    # Few neighbours are worked on as they alternate, if a run has more elements than that, or, of a vector and more,
    # more classes (measured).
    INTERLEAVED_FROM = 1024
    # Rows across memory, from so many on, are worked on in copies of so many bytes of a class (measured); but not
    # logits that are far.
    COPIED_FROM = 64
    COPIED_BYTES = 2 * CACHE_LINE
    # Those are copied, too, if classes lie a multiple of a page apart, where the second-level cache has so many bytes,
    # and a row more than that (measured).
    PAGE = 4096
    SECOND_LEVEL_FAR = 2 << 20
    ROW_FAR = 1536
    # From this many rows on, some of them may be brought together for the others to begin with a cache line.
    ALIGN_FROM = 1024
    # Below this many elements the GIL is kept.
    RELEASE_FROM = 4096


# ---- rows across memory ----------------------------------------------------------------------------------------------

cdef inline bint absent_or_across(const Call *call, const Operand *operand) noexcept nogil:
    return operand.data == NULL or lies_across(call, operand)


cdef inline bint can_run_across(const Call *call) noexcept nogil:
    return (call.has_labels and call.smoothing == 0 and lies_across(call, &call.x)
            and call.x.strides[call.x.ndim - 1] != 0 and absent_or_across(call, &call.grad)
            and absent_or_across(call, &call.hess) and absent_or_across(call, &call.proba))


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


cdef Py_ssize_t rows_before_line(const Call *call) noexcept nogil:
    # Where rows lie across memory, and every class begins at the same place of a cache line: how many begin in the line
    # before. (NumPy's large arrays begin 16 bytes after a line. Else each vector would take two, a third more time,
    # measured.) Chunks depend on it, so sums of losses must not.
    cdef int last = call.x.ndim - 1
    if (not call.across or call.group > 0 or call.losses == NULL or call.rows < ALIGN_FROM
            or call.x.shape[last - 1] != call.rows or call.x.strides[last] % CACHE_LINE != 0):
        return 0
    return (-<Py_ssize_t>call.x.data & (CACHE_LINE - 1)) // call.size


# ---- all rows --------------------------------------------------------------------------------------------------------

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
