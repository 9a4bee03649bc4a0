# The loop over blocks of a binary loss: a Call is filled by an entry point, and executed.
from fastbce._arrays cimport FB_BLOCK, Operand, fb_buffers, fb_kernels, fb_lanes
from fastbce._threads cimport Partial, Run

cdef enum:
    # Elements whose losses are added in one go. Fixed, so that a sum does not depend on the number of threads.
    CHUNK = 16 * FB_BLOCK
    # Below this many bytes of logits (32,768 float32, 16,384 float64) a second thread brings less than 10 microseconds
    # (measured: a call takes 28 and 36 there on one thread, and a team that waits for work another 0.7), and it may
    # have to be waited for.
    PARALLEL_BYTES = 16 * CHUNK

cdef enum Loss:
    PROBS, LOGITS, FOCAL

cdef struct Call:
    const fb_kernels *kernels
    Py_ssize_t n, size        # elements; bytes of one, of the type computed in
    Loss kind
    bint weighted, balanced   # whether there are weights; whether pos_weight is read
    bint apart                # nothing that is read is written: an element may be computed twice
    bint sums                 # whether losses are added up, block by block
    Run run                   # what is done with a chunk
    Py_ssize_t together       # how many chunks a panel has; 1: there are none
    Py_ssize_t columns        # of two axes in Fortran order that are worked on column by column, see _panels; or 0
    double scale, smoothing, clip_low, clip_high, alpha, gamma
    Operand x, y, weight, pos_weight, where, loss, grad, hess, proba

# What may be done with a chunk: its losses and gradients; the sum of its weights; a look at what is outside [0, 1], or
# at the signs of pos_weight.
cdef void run_chunk(const void *call, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil
cdef void sum_weights(const void *call, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil
cdef void look_outside(const void *call, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil
cdef void look_sign(const void *call, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil

cdef void fill_constants(const Call *call, Py_ssize_t n, fb_buffers *buffers) noexcept nogil
cdef bint run_blocks(const Call *call, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t most, Py_ssize_t ahead,
                     fb_buffers *buffers, fb_lanes *lanes) noexcept nogil
cdef Py_ssize_t first_outside(const Call *call, const Operand *operand, Py_ssize_t start, Py_ssize_t stop,
                              fb_buffers *buffers) noexcept nogil
cdef int execute(const Call *call, Run run, int threads, Partial *total) except -1


cdef inline bint is_constant(const Operand *operand) noexcept nogil:
    # Absent, or one number for all elements.
    return operand.data == NULL or (operand.ndim == 1 and operand.step == 0)


cdef inline bint is_large(const Call *call) noexcept nogil:
    return call.n * call.size >= PARALLEL_BYTES
