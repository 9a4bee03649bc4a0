from fastbce._rows cimport Call
from fastbce._threads cimport Partial

cdef int execute(Call *call, int threads, Partial *total) except -1
