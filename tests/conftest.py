"""What every test file shares. Tests marked ``slow`` run when asked for: ``-m ""``."""

import numpy as np
import pytest

# What `make test-parallel` runs in one thread, and why.
IN_ONE_THREAD = {
    "test_memory": "counts the memory of the whole process",
    "test_peers": "switches JAX to float64, for its own thread alone",
    "test_docstrings": "doctest takes the standard output of the whole process",
    "test_threads": "sets the number of threads of the whole process",
    "test_threads_isa": "sets the number of threads of the whole process",
    "test_fork": "forks the whole process",
    "test_process": "watches the whole process",
    **dict.fromkeys(
        ("test_attack", "test_benchmarks", "test_command_line", "test_dashboard", "test_docs_errors"),
        "runs other programs, which would compete for the machine",
    ),
    **dict.fromkeys(
        ("test_kernel_hashes", "test_kernel_threads", "test_old_cpu", "test_vectorised"),
        "compiles or emulates, or reads what was compiled",
    ),
}


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item):
    names = item.function.__code__.co_names
    if reason := IN_ONE_THREAD.get("test_memory" if "traced_peak" in names else item.path.stem):
        item.add_marker(pytest.mark.thread_unsafe(reason=reason))


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """The dtypes that are computed in."""
    return request.param


@pytest.fixture(params=["bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"])
def function(request):
    """The name of a loss."""
    return request.param


@pytest.fixture(params=[False, True], ids=["hard", "soft"])
def soft(request):
    """Whether targets are labels, or 0 and 1; or fractions, and probability rows."""
    return request.param


@pytest.fixture(params=["contiguous", "strided"])
def lay(request):
    """How the input lies in memory: a function that lays an array out so."""
    if request.param == "contiguous":
        return lambda array: np.array(array, order="C")
    return lambda array: np.repeat(np.asarray(array)[..., None], 2, axis=-1)[..., 0]
