from fastbce._arrays cimport fb_sum


# What a chunk comes to, and all of them together.
cdef struct Partial:
    fb_sum sum
    Py_ssize_t count
    Py_ssize_t wrong        # the first element or row that is wrong, or -1
    double finished         # when, in seconds; set by run_chunks

ctypedef void (*Run)(const void *call, Py_ssize_t chunk, Partial *partial) noexcept nogil

cdef int threads_for_call(object num_threads) except -1
cdef int run_chunks(Run run, const void *call, Py_ssize_t chunks, int threads, Partial *total) except -1
