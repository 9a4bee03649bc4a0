from fastbce._rows cimport Call
from fastbce._threads cimport Partial

cdef bint can_split(const Call *call, int threads) noexcept nogil
cdef int split_rows(Call *call, int threads, Partial *total) except -1
