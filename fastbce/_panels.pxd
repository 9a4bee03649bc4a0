from fastbce._blocks cimport Call
from fastbce._threads cimport Partial, Run

cdef int execute_panels(Call *call, Run run, int threads, Partial *total) except -1
