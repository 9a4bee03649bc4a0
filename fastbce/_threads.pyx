# How many threads a call gets, the loop that spreads its chunks over them, and what the library found when imported.
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastbce._arrays cimport fb_sum_add

import contextvars
import operator
import os

from fastbce._arrays import _simd_config

cdef extern from *:
    """
    #include <pthread.h>

    #ifdef _OPENMP
    #include <omp.h>
    #define FB_OPENMP 1
    #else
    #define FB_OPENMP 0
    static int omp_get_max_threads(void) { return 1; }
    static int omp_in_parallel(void) { return 0; }
    static double omp_get_wtime(void) { return 0; }
    #endif

    /* The threads of an OpenMP runtime do not survive a fork, and a region in the child would wait for them forever:
       the child computes serially. */
    static volatile int fb_is_child = 0;
    static void fb_after_fork(void) { fb_is_child = 1; }
    static void fb_watch_forks(void) { pthread_atfork(NULL, NULL, fb_after_fork); }
    """
    const bint FB_OPENMP
    const int fb_is_child
    int omp_get_max_threads() noexcept nogil
    int omp_in_parallel() noexcept nogil
    double omp_get_wtime() noexcept nogil
    void fb_watch_forks() noexcept nogil

fb_watch_forks()

cdef int check_count(object n, str name) except -1:
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(n).__name__}") from None
    if count < 1:
        raise ValueError(f"{name}: expected at least 1, got {count}")
    return min(count, 1 << 16)


def _initial():
    """The number of threads to start with, and who says so."""
    given = os.environ.get("FASTBCE_NUM_THREADS")
    if given is not None:
        if not given.strip().isdecimal() or int(given) < 1:
            raise ImportError(f"FASTBCE_NUM_THREADS: expected a positive integer, got {given!r}")
        return int(given), "FASTBCE_NUM_THREADS"
    if not FB_OPENMP:
        return 1, "no OpenMP"
    if "OMP_NUM_THREADS" in os.environ:
        return max(1, omp_get_max_threads()), "OMP_NUM_THREADS"
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    openmp = max(1, omp_get_max_threads())
    return (available, "CPU affinity") if available < openmp else (openmp, "OpenMP")


cdef int default_count
cdef str default_source
default_count, default_source = _initial()
_local_count = contextvars.ContextVar("fastbce.threads", default=None)


def get_num_threads():
    """The number of threads that a call uses when it is not given one.

    Returns
    -------
    int
    """
    cdef object here = _local_count.get()
    return default_count if here is None else here


def set_num_threads(n):
    """Set the number of threads that a call uses when it is not given one, for the whole process.

    Parameters
    ----------
    n : int
        At least 1. Small arrays take one thread whatever it is.
    """
    global default_count, default_source
    default_count = check_count(n, "n")
    default_source = "set_num_threads"


class threads:
    """Context manager: the number of threads within its block, for the calling thread or task alone.

    Parameters
    ----------
    n : int
        At least 1.

    Examples
    --------
    >>> import fastbce as fb
    >>> with fb.threads(1):
    ...     fb.get_num_threads()
    1
    """

    def __init__(self, n):
        self._n = check_count(n, "n")
        self._tokens = []

    def __enter__(self):
        self._tokens.append(_local_count.set(self._n))
        return self

    def __exit__(self, *exception):
        _local_count.reset(self._tokens.pop())


cdef int threads_for_call(object num_threads) except -1:
    cdef int count = get_num_threads() if num_threads is None else check_count(num_threads, "num_threads")
    if fb_is_child or omp_in_parallel():
        return 1
    return count


# Where the other cores are busy, a team waits for a thread that waits for a core: a whole time slice, a thousand times
# the work of a call. BLAS threads that spin after a matrix product do that to every call between two products. So when
# the calling thread has waited longer than it worked, calls take one thread: the next one, and as long as teams come
# late, four times as many each time. A team that is on time quarters that again. No bit of a result depends on it.
cdef enum:
    MOST_ALONE = 4096
cdef double SHORT_WAIT = 200e-6
cdef int calls_alone = 0  # how many calls still go without a team
cdef int next_alone = 1   # how many will after the next late one


cdef void judge_team(double started, double own_part_done, double all_done) noexcept:
    global calls_alone, next_alone
    cdef double waited = all_done - own_part_done
    if waited > SHORT_WAIT and waited > own_part_done - started:
        calls_alone = next_alone
        next_alone = min(4 * next_alone, MOST_ALONE)
    else:
        next_alone = max(next_alone // 4, 1)


cdef int run_chunks(Run run, const void *call, Py_ssize_t chunks, int threads, Partial *total) except -1:
    """Run every chunk without the GIL, and add what they come to in their order, whichever thread ran them."""
    global calls_alone
    cdef Py_ssize_t i
    cdef double started = 0, done = 0
    cdef Partial *partials = <Partial *>malloc(max(chunks, 1) * sizeof(Partial))
    if partials == NULL:
        raise MemoryError
    total.sum.sum = total.sum.lost = 0
    total.count = 0
    total.wrong = -1
    threads = <int>min(<Py_ssize_t>threads, chunks)
    if threads > 1 and calls_alone > 0:
        calls_alone -= 1
        threads = 1
    with nogil:
        if threads > 1:
            started = omp_get_wtime()
            for i in prange(chunks, num_threads=threads, schedule="static"):
                run(call, i, &partials[i])
                partials[i].finished = omp_get_wtime()
            done = omp_get_wtime()
        else:
            for i in range(chunks):
                run(call, i, &partials[i])
        for i in range(chunks):
            fb_sum_add(&total.sum, partials[i].sum.sum)
            total.sum.lost += partials[i].sum.lost
            total.count += partials[i].count
            if total.wrong < 0:
                total.wrong = partials[i].wrong
    if threads > 1:  # the calling thread's part is the first
        judge_team(started, partials[(chunks + threads - 1) // threads - 1].finished, done)
    free(partials)
    return 0


def show_config(mode="stdout"):
    """Print, or return, what this build of fastbce is and what it uses on this machine.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        "stdout" prints; "dicts" returns the same as nested dictionaries.

    Returns
    -------
    dict or None
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: expected 'stdout' or 'dicts', got {mode!r}")
    from importlib.metadata import version  # here: it takes longer than the import of the package

    cdef object here = _local_count.get()
    config = {
        "version": version("fastbce"),
        "simd": _simd_config(),
        "openmp": bool(FB_OPENMP),
        "threads": {
            "count": get_num_threads(),
            "source": default_source if here is None else "threads",
        },
    }
    if mode == "dicts":
        return config
    simd, count = config["simd"], config["threads"]
    print(f"fastbce {config['version']}")
    print(f"instruction set: {simd['in_use']} (available: {', '.join(simd['available'])})")
    print(f"OpenMP: {'yes' if config['openmp'] else 'no'}")
    print(f"threads: {count['count']} (from {count['source']})")
