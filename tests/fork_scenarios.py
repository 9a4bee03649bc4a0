"""Processes that fork after a parallel region, each child of which calls fastbce. Run by test_fork.py:

    python fork_scenarios.py SCENARIO CHILDREN DIGEST LIBRARY

For each child that computed the results with this digest, in one thread, the first process prints a line.
"""

import concurrent.futures
import ctypes
import hashlib
import multiprocessing
import os
import platform
import sys
import threading

import numpy as np

FORK = multiprocessing.get_context("fork")
SYSTEM_CALL = {"x86_64": (57,), "aarch64": (220, 17, 0, 0, 0, 0)}  # fork; clone, to be told by SIGCHLD


def digest(num_threads=4):
    """What results with the gradient come to, of an array that takes a team of threads."""
    import fastbce  # here: in some scenarios a child is the first to

    x = np.random.default_rng(0).normal(scale=4, size=300_000).astype(np.float32)
    loss, grad = fastbce.bce_with_logits_value_and_grad(x, x > 1, num_threads=num_threads)
    return hashlib.sha256(grad.tobytes() + np.float64(loss).tobytes()).hexdigest()


def threads():
    return len(os.listdir("/proc/self/task"))


def is_right():
    before = threads()
    return digest() == sys.argv[3] and threads() == before


def check():
    """In a child."""
    if not is_right():
        sys.exit("wrong results, or a new thread")


def child_of(fork):
    """In a child of `fork`, check; in the parent, say whether that went well."""
    process = fork()
    if process == 0:
        code = 1
        try:
            code = 0 if is_right() else 1
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1] == 0


def own_region():
    """A call of fastbce in several threads: not the first, where the last one had to wait for its team."""
    digest()
    while threads() < 4:
        digest()


def others_region():
    """A region of another library that shares the OpenMP runtime."""
    if ctypes.CDLL(sys.argv[4]).region(4) != 4:
        sys.exit("the library had no team")


def system_call():
    return ctypes.CDLL(None).syscall(*SYSTEM_CALL[platform.machine()])


# --- one child of each --------------------------------------------------------------------------------------


def os_fork():
    own_region()
    return child_of(os.fork)


def os_fork_of_a_child():
    own_region()

    def twice():
        process = os.fork()
        if process == 0 and not is_right():
            os._exit(1)
        return process

    process = twice()
    if process == 0:
        os._exit(0 if child_of(os.fork) else 1)
    return os.waitpid(process, 0)[1] == 0


def fork_system_call():
    """No handler of pthread_atfork runs."""
    own_region()
    return child_of(system_call)


def process():
    own_region()
    child = FORK.Process(target=check)
    child.start()
    child.join()
    return child.exitcode == 0


def pool():
    own_region()
    with FORK.Pool(1) as workers:
        return workers.apply(is_right)


def executor():
    own_region()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=FORK) as workers:
        return workers.submit(is_right).result()


def pool_worker_that_forks():
    own_region()
    with FORK.Pool(1) as workers:
        return workers.apply(child_of, (os.fork,))


def thread_that_forks():
    """A thread with a team of its own, while the main thread is within its region."""
    own_region()
    done = threading.Event()

    def busy():
        while not done.is_set():
            digest()

    other = threading.Thread(target=busy)
    other.start()
    result = child_of(os.fork)
    done.set()
    other.join()
    return result


def region_of_another_library():
    """fastbce is imported before, and computes in the child alone."""
    import fastbce  # noqa: F401

    others_region()
    return child_of(os.fork)


def first_import_in_the_child():
    """As above, and the child is the first to import fastbce."""
    others_region()
    assert "fastbce" not in sys.modules
    return child_of(os.fork)


def first_import_in_a_system_call_child():
    others_region()
    assert "fastbce" not in sys.modules
    return child_of(system_call)


def scikit_learn():
    from sklearn._loss import HalfBinomialLoss

    values = np.zeros(1_000_000)
    HalfBinomialLoss().loss(values, values, n_threads=4)
    own_region()
    return child_of(os.fork)


def torch():
    import torch

    torch.set_num_threads(4)
    torch.zeros(10_000_000).exp()
    own_region()
    return child_of(os.fork)


def numba():
    import numba

    numba.config.THREADING_LAYER = "omp"

    @numba.njit(parallel=True)
    def add(values):
        total = 0.0
        for i in numba.prange(len(values)):
            total += values[i]
        return total

    add(np.ones(1_000_000))
    own_region()
    return child_of(os.fork)


SCENARIOS = (
    os_fork, os_fork_of_a_child, fork_system_call, process, pool, executor, pool_worker_that_forks,
    thread_that_forks, region_of_another_library, first_import_in_the_child,
    first_import_in_a_system_call_child,
)  # fmt: skip
LIBRARIES = {scikit_learn: "sklearn", torch: "torch", numba: "numba"}

if __name__ == "__main__":
    scenario = globals()[sys.argv[1]]
    for _ in range(int(sys.argv[2])):
        if scenario():
            print("right", flush=True)
