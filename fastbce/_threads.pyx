# How many threads a call gets, the loop that spreads its chunks over them, and what the library found when imported.
from cpython.contextvars cimport get_value
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastbce._arrays cimport fb_sum_add

import contextvars
import operator
import os

from fastbce._arrays import _cache_config, _simd_config

cdef extern from "<stdatomic.h>" nogil:
    ctypedef int atomic_int
    int atomic_load(atomic_int *place)
    void atomic_store(atomic_int *place, int value)

cdef extern from "threads.h" nogil:
    const bint FB_OPENMP
    const int FB_MOST_ALONE
    int omp_get_max_threads()
    bint fb_threads_init()
    bint fb_is_forked()
    int fb_take_team(int most)
    void fb_leave_team()
    double fb_now()
    double fb_about_now()

if not fb_threads_init():
    raise MemoryError


# ---- how many --------------------------------------------------------------------------------------------------------

cdef enum:
    MOST_THREADS = 1 << 16

# Who can decide; from FASTBCE_NUM_THREADS on, it is the user who told fastbce.
_SOURCES = ("no OpenMP", "CPU affinity", "cgroup quota", "OMP_NUM_THREADS", "FASTBCE_NUM_THREADS", "set_num_threads")
cdef enum:
    FASTBCE_NUM_THREADS = 4
    SET_NUM_THREADS = 5


cdef int check_count(object n, str name) except -1:
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(n).__name__}") from None
    if count < 1:
        raise ValueError(f"{name}: expected at least 1, got {count}")
    return min(count, MOST_THREADS)


def _read(*path):
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _cgroup_quota(root="/"):
    """How many CPUs the cgroups of this process may use, rounded up; None if they set no limit."""
    found = []
    for line in _read(root, "proc/self/cgroup").splitlines():
        if line.count(":") < 2:
            continue
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2
            mounts = "", "unified"
        elif "cpu" in controllers.split(","):
            mounts = "cpu", controllers
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):  # any level may set one; a container may see the uppermost alone
                folder = os.path.join(root, "sys/fs/cgroup", mount, *parts[:depth])
                limit = _read(folder, "cpu.max") or (
                    _read(folder, "cpu.cfs_quota_us") + " " + _read(folder, "cpu.cfs_period_us"))
                words = limit.split()  # quota and period; without a limit the quota is "max", or -1
                if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
                    found.append(max(1, -(-int(words[0]) // int(words[1]))))
    return min(found, default=None)


def _as_count(text):
    """The number that a text says, or 0. Of thousands of digits Python makes none."""
    text = text.strip().lstrip("0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _initial(environ, affinity, quota):
    """The number of threads to start with, and who says so."""
    given = environ.get("FASTBCE_NUM_THREADS")
    if given is not None:
        count = _as_count(given)
        if count < 1:
            raise ImportError(f"FASTBCE_NUM_THREADS: expected a positive integer, got {given!r}")
        return count, "FASTBCE_NUM_THREADS"
    if not FB_OPENMP:
        return 1, "no OpenMP"
    given = environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list has one a level of nesting
    count = _as_count(given)
    if count > 0:
        return count, "OMP_NUM_THREADS"
    return (quota, "cgroup quota") if quota is not None and quota < affinity else (affinity, "CPU affinity")


cdef atomic_int setting  # the number of threads and who decided on it, in one: 8 * count + source


cdef void set_default(int count, int source) noexcept:
    atomic_store(&setting, 8 * min(count, MOST_THREADS) + source)


def _set_initial():
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count, source = _initial(os.environ, affinity, _cgroup_quota())
    set_default(min(count, MOST_THREADS), _SOURCES.index(source))


_set_initial()
_local_count = contextvars.ContextVar("fastbce.threads", default=None)  # (count, what it was outside, the block)


cdef int default_count() noexcept:
    # If fastbce was not told, no more than OpenMP gives this thread now: threadpoolctl may have limited it.
    cdef int now = atomic_load(&setting)
    return now // 8 if now % 8 >= FASTBCE_NUM_THREADS else max(1, min(now // 8, omp_get_max_threads()))


cdef int current_count() except -1:
    cdef object here = get_value(_local_count)
    return default_count() if here is None else here[0]


def get_num_threads():
    """The number of threads that a call uses when it is not given one.

    Unless fastbce was told how many (`set_num_threads`, `threads`, ``FASTBCE_NUM_THREADS``), no more than OpenMP gives
    the calling thread at that moment, so that the limits of threadpoolctl hold.

    Returns
    -------
    int
    """
    return current_count()


def set_num_threads(n):
    """Set the number of threads that a call uses when it is not given one, for the whole process.

    Parameters
    ----------
    n : int
        At least 1. Small arrays take one thread whatever it is.
    """
    set_default(check_count(n, "n"), SET_NUM_THREADS)


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

    def __enter__(self):
        _local_count.set((self._n, _local_count.get(), self))
        return self

    def __exit__(self, *exception):
        # Blocks may be left in any order, as generators end; and one by another thread or task, where nothing changes.
        here, within = _local_count.get(), []
        while here is not None and here[2] is not self:
            within.append(here)
            here = here[1]
        if here is not None:
            here = here[1]
            for count, _, block in reversed(within):
                here = (count, here, block)
            _local_count.set(here)


cdef int threads_for_call(object num_threads) except -1:
    return current_count() if num_threads is None else check_count(num_threads, "num_threads")


# ---- the loop --------------------------------------------------------------------------------------------------------

# Where the other cores are busy, a team waits for a thread that waits for a core: a whole time slice, a thousand times
# the work of a call. BLAS threads that spin after a matrix product do that to every call between two products. So when
# the calling thread has waited longer than it worked, calls take one thread: the next one, and as long as teams come
# late, four times as many each time. A team that is on time quarters that again. No bit of a result depends on it.
# These are read and written by the one call that holds a team.
cdef double SHORT_WAIT = 200e-6
cdef int calls_alone = 0  # how many calls still go without a team
cdef int next_alone = 1   # how many will after the next late one


cdef void judge_team(double started, double own_part_done, double all_done) noexcept nogil:
    global calls_alone, next_alone
    cdef double waited = all_done - own_part_done
    if waited > SHORT_WAIT and waited > own_part_done - started:
        calls_alone = next_alone
        next_alone = min(4 * next_alone, FB_MOST_ALONE)
    else:
        next_alone = max(next_alone // 4, 1)


cdef int take_team(int most) noexcept:
    # How many threads a call may have that wants that many. If it is more than one, fb_leave_team must follow.
    global calls_alone
    cdef int count = fb_take_team(most) if most > 1 else 1
    if count > 1 and calls_alone > 0:
        calls_alone -= 1
        count = 1
        fb_leave_team()
    return count


# A thread's part of the chunks.
cdef struct Part:
    Py_ssize_t next, stop
    Py_ssize_t turned  # first + last, where the last comes first; else -1
    char *memory
    double finished


# So long may a call go on before it looks for a signal: for Ctrl-C.
cdef double DEAF = 0.2


cdef void run_part(Run run, const void *call, Partial *partials, Part *part, Py_ssize_t together,
                   double until) noexcept nogil:
    cdef fb_float_state host = fb_float_default()  # each thread has its own
    cdef Py_ssize_t chunk
    while part.next < part.stop:
        chunk = part.next if part.turned < 0 else part.turned - part.next
        run(call, chunk, part.memory, &partials[chunk])
        part.next += together
        if part.next < part.stop and fb_about_now() > until:
            break
    fb_float_restore(host)


cdef bint run_parts(Run run, const void *call, Partial *partials, Part *parts, int count, Py_ssize_t together,
                    bint team) noexcept nogil:
    # Returns whether all is done; else it is time to look for signals.
    cdef double until = fb_about_now() + DEAF, started
    cdef int i
    if team:
        started = fb_now()
        for i in prange(count, num_threads=count, schedule="static"):
            run_part(run, call, partials, &parts[i], together, until)
            parts[i].finished = fb_now()
        judge_team(started, parts[0].finished, fb_now())  # the calling thread's part is the first
    else:
        for i in range(count):
            run_part(run, call, partials, &parts[i], together, until)
    for i in range(count):
        if parts[i].next < parts[i].stop:
            return False
    return True


cdef void add_up(const Partial *partials, Py_ssize_t chunks, Partial *total) noexcept nogil:
    cdef Py_ssize_t i
    total.sum.sum = total.sum.lost = 0
    total.count = 0
    total.wrong = -1
    for i in range(chunks):
        fb_sum_add(&total.sum, partials[i].sum.sum)
        total.sum.lost += partials[i].sum.lost
        total.count += partials[i].count
        if total.wrong < 0:
            total.wrong = partials[i].wrong


cdef enum:
    LINE = 64           # of the caches, in bytes
    APART = 1 << 18     # between the memory of threads: kernels ask for what lies ahead, not for what others use


cdef int run_chunks(Run run, const void *call, Py_ssize_t chunks, int threads, Partial *total,
                    size_t memory=0, bint backwards=False, Py_ssize_t together=1) except -1:
    """Run every chunk without the GIL, and add what they come to in their order, whichever thread ran them.

    together: so many chunks, fewer at the end, are one run, which is told the first of them. Not with backwards.

    backwards: each thread begins with the last of its chunks: it, or at the end the first, may still be in its caches.
    """
    cdef Py_ssize_t runs = (chunks + together - 1) // together
    cdef int count = take_team(<int>min(<Py_ssize_t>threads, runs)), i
    cdef bint has_team = count > 1, team = has_team, done
    cdef Partial *partials = <Partial *>malloc(max(chunks, 1) * sizeof(Partial))
    cdef Part *parts = <Part *>malloc(count * sizeof(Part))
    # One piece for the whole call: the system takes time for what is new to the process.
    cdef size_t apart = (memory + LINE - 1) // LINE * LINE + APART
    cdef char *all_memory = <char *>malloc(count * apart) if memory > 0 else NULL
    try:
        if partials == NULL or parts == NULL or (memory > 0 and all_memory == NULL):
            raise MemoryError
        for i in range(count):
            parts[i].next = runs * i // count * together
            parts[i].stop = min(runs * (i + 1) // count * together, chunks)
            parts[i].turned = parts[i].next + parts[i].stop - 1 if backwards else -1
            parts[i].memory = NULL
            if memory > 0:
                parts[i].memory = all_memory + (-<size_t>all_memory) % LINE + i * apart
        while True:
            with nogil:
                done = run_parts(run, call, partials, parts, count, together, team)
                if done:
                    add_up(partials, chunks, total)
            if done:
                return 0
            PyErr_CheckSignals()
            team = team and not fb_is_forked()  # a handler may have
    finally:
        free(partials)
        free(parts)
        free(all_memory)
        if has_team:
            fb_leave_team()


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
    from fastbce import __version__  # here: the package imports this module

    cdef int now = atomic_load(&setting)
    count, source = get_num_threads(), _SOURCES[now % 8]
    if _local_count.get() is not None:
        source = "threads"
    elif count < now // 8:
        source = "OpenMP"
    if fb_is_forked():
        count, source = 1, "a fork: OpenMP cannot be used after it"
    config = {
        "version": __version__,
        "simd": _simd_config(),
        "caches": _cache_config(),
        "openmp": bool(FB_OPENMP),
        "threads": {"count": count, "source": source},
    }
    if mode == "dicts":
        return config
    simd = config["simd"]
    print(f"fastbce {config['version']}")
    print(f"instruction set: {simd['in_use']} (available: {', '.join(simd['available'])})")
    sizes = [f"{name.replace('_', ' ')} {f'{size >> 10} KiB' if size > 0 else 'unknown'}"
             for name, size in config["caches"].items()]
    print(f"caches: {', '.join(sizes)}")
    print(f"OpenMP: {'yes' if config['openmp'] else 'no'}")
    print(f"threads: {count} (from {source})")
