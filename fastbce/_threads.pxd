from fastbce._arrays cimport fb_sum

cdef extern from "float_state.h" nogil:
    ctypedef struct fb_float_state:
        pass
    fb_float_state fb_float_default()
    void fb_float_restore(fb_float_state state)


# What a chunk comes to, and all of them together.
cdef struct Partial:
    fb_sum sum
    Py_ssize_t count
    Py_ssize_t wrong        # the first element or row that is wrong, or -1

# partial: what the chunk comes to, with `together` followed by those of the others. memory: as much as run_chunks was
# told, for this chunk; one thread has the same for all its chunks.
ctypedef void (*Run)(const void *call, Py_ssize_t chunk, char *memory, Partial *partial) noexcept nogil

cdef int threads_for_call(object num_threads) except -1
cdef int run_chunks(Run run, const void *call, Py_ssize_t chunks, int threads, Partial *total,
                    size_t memory=?, bint backwards=?, Py_ssize_t together=?) except -1
