"""How many threads a call takes, who decides on that, and how many there are in the process at most."""

import contextvars
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import c_library
import pytest
from processes import printed_by

import fastbce as fb
from fastbce import _threads

counted = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not fb.show_config("dicts")["openmp"],
    reason="threads are counted on Linux, where there is OpenMP",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_library.build(tmp_path_factory.mktemp("openmp"), c_library.OPENMP, "-fopenmp")


# What each process below begins with.
PRELUDE = """
import ctypes, os, sys, threading, time
import numpy as np
import fastbce as fb

x = np.random.default_rng(0).normal(scale=4, size=300_000).astype(np.float32)
expected = fb.bce_with_logits(x, x > 1, num_threads=1)

def call(**options):
    assert fb.bce_with_logits(x, x > 1, **options) == expected

def count():
    return len(os.listdir("/proc/self/task"))

def calls(threads, **options):
    # Until the process has this many: on a busy machine a call goes without a team after a late one, and
    # threads end a little later than they are told to.
    end = time.monotonic() + 20
    for _ in range(5):
        call(**options)
    while count() != threads and time.monotonic() < end:
        call(**options)
    return count()
"""


def words(code, *arguments, **options):
    return printed_by(PRELUDE + textwrap.dedent(code), *arguments, **options)


# --- the default --------------------------------------------------------------------------------------------


def cgroups(root, memberships, files):
    """A file system that has these lines in /proc/self/cgroup, and these files in /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(memberships) + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


V1 = "4:cpu,cpuacct:/docker/1f"
CGROUPS = {
    "v2": (["0::/"], {"cpu.max": "200000 100000"}, 2),
    "v2, rounded up": (["0::/"], {"cpu.max": "150000 100000"}, 2),
    "v2, less than one": (["0::/"], {"cpu.max": "5000 100000"}, 1),
    "v2, no limit": (["0::/"], {"cpu.max": "max 100000"}, None),
    "v2, its own": (["0::/a/b"], {"a/b/cpu.max": "300000 100000", "a/cpu.max": "max 100000"}, 3),
    "v2, its parent's": (["0::/a/b"], {"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000"}, 4),
    "v2, the least": (["0::/a/b"], {"a/b/cpu.max": "800000 100000", "a/cpu.max": "400000 100000"}, 4),
    "v2, only the top is seen": (["0::/docker/1f"], {"cpu.max": "250000 50000"}, 5),
    "v2, outside the namespace": (["0::/../../x"], {"cpu.max": "100000 100000"}, 1),
    "v2 beside v1": (["0::/a", "1:cpu:/"], {"unified/a/cpu.max": "300000 100000"}, 3),
    "v1": (
        [V1], {"cpu/docker/1f/cpu.cfs_quota_us": "250000", "cpu/docker/1f/cpu.cfs_period_us": "100000"}, 3,
    ),
    "v1, no limit": ([V1], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "v1, of two controllers": (
        [V1], {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 1,
    ),
    "v1, of another controller": (
        ["4:cpuset:/"], {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, None,
    ),
    "files that say nothing": (["0::/"], {"cpu.max": ""}, None),
    "files that are odd": (["0::/", "what"], {"cpu.max": "all of it"}, None),
    "none": ([], {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_cgroup_quota(name, tmp_path):
    memberships, files, expected = CGROUPS[name]
    assert _threads._cgroup_quota(cgroups(tmp_path, memberships, files)) == expected


def test_no_cgroups(tmp_path):
    assert _threads._cgroup_quota(str(tmp_path)) is None


@pytest.mark.skipif(not fb.show_config("dicts")["openmp"], reason="without OpenMP there is one thread")
@pytest.mark.parametrize(
    ("environment", "affinity", "quota", "expected"),
    [
        ({}, 8, None, (8, "CPU affinity")),
        ({}, 8, 8, (8, "CPU affinity")),
        ({}, 8, 3, (3, "cgroup quota")),
        ({}, 2, 3, (2, "CPU affinity")),
        ({"OMP_NUM_THREADS": "5"}, 2, 1, (5, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 5 , 2"}, 2, 1, (5, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": ""}, 2, 1, (1, "cgroup quota")),
        ({"OMP_NUM_THREADS": "0"}, 2, None, (2, "CPU affinity")),
        ({"OMP_NUM_THREADS": "9" * 5000}, 2, None, (2, "CPU affinity")),
        ({"FASTBCE_NUM_THREADS": "4"}, 2, 1, (4, "FASTBCE_NUM_THREADS")),
        ({"FASTBCE_NUM_THREADS": "4", "OMP_NUM_THREADS": "5"}, 2, 1, (4, "FASTBCE_NUM_THREADS")),
    ],
)
def test_who_decides(environment, affinity, quota, expected):
    assert _threads._initial(environment, affinity, quota) == expected


CONFIG = "config = fb.show_config('dicts')['threads']; print(config['count'], config['source'])"


@counted
def test_affinity_decides():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import fastbce as fb\n"
    assert printed_by(code + CONFIG) == ["1", "CPU", "affinity"]


@counted
def test_environment_decides():
    assert words(CONFIG, OMP_NUM_THREADS="7") == ["7", "OMP_NUM_THREADS"]
    assert words(CONFIG, OMP_NUM_THREADS="7", FASTBCE_NUM_THREADS="3") == ["3", "FASTBCE_NUM_THREADS"]
    assert words("call(); print(count())", OMP_NUM_THREADS="7") == ["7"]
    assert words("call(); print(count())", FASTBCE_NUM_THREADS="5") == ["5"]
    assert words("fb.set_num_threads(3); " + CONFIG, OMP_NUM_THREADS="7") == ["3", "set_num_threads"]


# --- limits that others set ---------------------------------------------------------------------------------


@counted
def test_limits_of_threadpoolctl():
    """They hold while they last, for the thread that set them; fastbce's own settings come before them."""
    pytest.importorskip("threadpoolctl")
    code = f"""
    from threadpoolctl import threadpool_limits
    with threadpool_limits(1, user_api="openmp"):
        print(calls(1), fb.get_num_threads())
        {CONFIG}
    with threadpool_limits(2, user_api="openmp"):
        print(calls(2), fb.get_num_threads())
    print(calls(4), fb.get_num_threads())
    with threadpool_limits(1, user_api="openmp"):
        print(calls(5, num_threads=5))
        fb.set_num_threads(6)
        print(calls(6), fb.get_num_threads())
    """
    assert words(code, OMP_NUM_THREADS="4") == "1 1 1 OpenMP 2 2 4 4 5 6 6".split()


@counted
def test_import_within_a_limit(library):
    """It is gone when the limit is."""
    pytest.importorskip("threadpoolctl")
    code = """
    import ctypes, sys
    from threadpoolctl import threadpool_limits
    ctypes.CDLL(sys.argv[1]).region(1)  # the runtime is loaded
    with threadpool_limits(1):
        import fastbce as fb
        print(fb.get_num_threads())
    print(fb.get_num_threads())
    """
    assert printed_by(code, library, OMP_NUM_THREADS="4") == ["1", "4"]


@counted
def test_serial_within_a_region(library):
    """Also where OpenMP would make threads for a region in a region."""
    code = """
    seen = set()

    def watch():
        while not seen or call_from_within.is_alive():
            seen.add(count())

    huge = np.broadcast_to(np.float32(0.5), 2**28)
    within = ctypes.CFUNCTYPE(None)(lambda: fb.bce_with_logits(huge, huge, num_threads=8))
    call_from_within = threading.Thread(target=ctypes.CDLL(sys.argv[1]).inside, args=(within,))
    call_from_within.start()
    watch()
    print(max(seen))
    """
    assert words(code, library, OMP_MAX_ACTIVE_LEVELS="4") == ["3"]  # main, and two in the library's region


@counted
def test_threads_that_cannot_be_started():
    """OpenMP's runtime would end the process. What room there is is used in part."""
    code = """
    import resource
    room = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 100 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))  # a thread takes 8 MiB of it
    for _ in range(3):
        call(num_threads=37)
    print(1 < count() < 20)
    """
    assert words(code) == ["True"]


# --- many threads -------------------------------------------------------------------------------------------


@counted
def test_calls_from_many_threads_at_once():
    """32 of them, each with a call that would take 16 threads: fewer than 64 in all, at any moment."""
    code = """
    start, end = threading.Barrier(32), threading.Barrier(33)
    most = 0

    def work():
        global most
        start.wait()
        for _ in range(20):
            call(num_threads=16)
            most = max(most, count())
        end.wait()

    workers = [threading.Thread(target=work) for _ in range(32)]
    for worker in workers:
        worker.start()
    end.wait()
    print(most)
    """
    (most,) = words(code)
    assert 33 + 15 <= int(most) < 64


@counted
def test_one_team_works_at_a_time():
    """Calls in another thread are made alone meanwhile, and may have a team afterwards."""
    code = """
    huge = np.broadcast_to(np.float32(0.5), 2**30)
    long_call = threading.Thread(target=fb.bce_with_logits, args=(huge, huge), kwargs={"num_threads": 4})
    long_call.start()
    most = made = 0
    while count() < 1 + 4:  # its team is there
        time.sleep(0.001)
    while long_call.is_alive():
        call(num_threads=4)
        if long_call.is_alive():
            most, made = max(most, count()), made + 1
    print(most, made > 0, calls(1 + 3, num_threads=4))
    """
    assert words(code) == ["5", "True", "4"]


@counted
def test_two_threads_have_a_team():
    """Each keeps its own until it ends; others compute alone meanwhile, and may have one after that."""
    code = """
    from concurrent.futures import ThreadPoolExecutor

    pools = [ThreadPoolExecutor(1) for _ in range(3)]
    for pool, threads in zip(pools, (1 + 4, 1 + 4 + 4, 1 + 4 + 4 + 1)):
        print(pool.submit(calls, threads, num_threads=4).result())
    pools[0].shutdown()
    print(pools[2].submit(calls, 1 + 4 + 1, num_threads=1).result())
    print(pools[2].submit(calls, 1 + 4 + 4, num_threads=4).result())
    """
    assert words(code) == "5 9 10 6 9".split()


@counted
def test_a_call_from_a_signal_handler():
    """It comes while the team of the same thread is between two regions, and computes alone."""
    code = """
    import signal

    def handle(*_):
        call(num_threads=4)
        print("handled")

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    huge = np.broadcast_to(np.float32(0.5), 2**31)
    fb.bce_with_logits(huge, huge, num_threads=2)
    print(count())
    """
    assert words(code) == ["handled", "2"]


def test_one_context_manager_for_several_threads():
    setting = fb.threads(3)

    def nested(_):
        before = fb.get_num_threads()
        with setting:
            with fb.threads(2), setting:
                inner = fb.get_num_threads()
            outer = fb.get_num_threads()
        return inner, outer, fb.get_num_threads() == before

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(nested, range(200))) == {(3, 3, True)}


def test_blocks_that_are_left_in_another_order_or_elsewhere():
    """As generators end: closed by whoever holds them, in a thread or a context of its own."""

    def block(n):
        with fb.threads(n):
            yield fb.get_num_threads()

    def here():
        first, second, third = block(3), block(4), block(5)
        assert [next(first), next(second), next(third)] == [3, 4, 5]
        second.close()
        assert fb.get_num_threads() == 5
        third.close()
        assert fb.get_num_threads() == 3
        fb.threads(6).__exit__(None, None, None)  # which was not entered
        assert fb.get_num_threads() == 3

        def elsewhere():
            with fb.threads(7):
                first.close()
                assert fb.get_num_threads() == 7

        contextvars.Context().run(elsewhere)
        assert fb.get_num_threads() == 3
        contextvars.Context().run(fb.threads(6).__exit__, None, None, None)

    contextvars.Context().run(here)
