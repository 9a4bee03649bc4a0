"""Faults that somebody might make in the Cython code, and that no other test would see: each was tried."""

import math
import platform
import sys

import c_library
import numpy as np
import pytest
from cases import WITH_LOGITS, everything, inputs, losses_shape, same_bits, value_and_grad_of
from layouts import backwards, fortran
from numpy.lib.stride_tricks import as_strided
from processes import printed_by
from test_process import STATE
from test_threads import cgroups

import fastbce as fb
from fastbce import _threads

INF, NAN = float("inf"), float("nan")
FLOATS = [np.float32, np.float64]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is asked for is Linux's")
in_teams = pytest.mark.skipif(not fb.show_config("dicts")["openmp"], reason="built without OpenMP")
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86")


@pytest.mark.parametrize("lay", [np.copy, backwards, fortran], ids=lambda one: one.__name__)
@pytest.mark.parametrize("out_dtype", FLOATS)
def test_outputs_in_the_other_byte_order(function, dtype, lay, out_dtype):
    first, targets = inputs(function, (40, 30), dtype)
    expected = everything(function, first, targets)
    names = {"out": "grad", "loss_out": "losses"} | (
        {"proba_out": "proba"} if function in WITH_LOGITS else {}
    )
    outputs = {
        n: lay(np.full(expected[k].shape, 77, np.dtype(out_dtype).newbyteorder())) for n, k in names.items()
    }
    value_and_grad_of(function)(first, targets, **outputs)
    for n, k in names.items():
        assert same_bits(outputs[n].astype(out_dtype), expected[k].astype(out_dtype)), n


@pytest.mark.parametrize("output", ["out", "loss_out"])
def test_outputs_over_a_mask(function, dtype, output):
    shape = (60, 30) if function == "cross_entropy" else (1800,)
    first, targets = inputs(function, shape, dtype)
    where = np.random.default_rng(1).random(losses_shape(function, shape)) < 0.8
    expected = everything(function, first, targets, where=where)
    key = {"out": "grad", "loss_out": "losses"}[output]
    size = expected[key].size * np.dtype(dtype).itemsize
    buffer = np.zeros(size + where.size, bool)
    receiver = buffer[:size].view(dtype).reshape(expected[key].shape)
    for start in (0, size - where.size // 2):
        start = start // 8 * 8
        mask = buffer[start : start + where.size].reshape(where.shape)
        mask[...] = where
        loss, _grad = value_and_grad_of(function)(first, targets, where=mask, **{output: receiver})
        assert loss == expected["loss"]
        assert same_bits(receiver, expected[key])


def test_a_negative_weight_that_float32_holds_as_0(dtype):
    for value in (-1e-300, [1, -1e-300]):
        for weight in (value, np.array(value)):
            with pytest.raises(ValueError, match=r"pos_weight: .*-1e-300"):
                fb.bce_with_logits(np.zeros(2, dtype), [0, 1], pos_weight=weight)


@pytest.mark.parametrize("value", [INF, -INF])
@pytest.mark.parametrize("name", ["float16", "float32", "float64", "longdouble"])
def test_infinite_labels_are_out_of_range(name, value):
    with pytest.raises(
        IndexError, match=r"targets: expected class labels in \[0, 3\), got -?inf at position 1"
    ):
        fb.cross_entropy(np.zeros((2, 3)), np.array([0, value], name))


def test_gradient_over_labels(dtype):
    logits, labels = inputs("cross_entropy", (600, 5), dtype)
    expected, grad = fb.cross_entropy_value_and_grad(logits, labels)
    for start in (0, 200):
        buffer = np.zeros((600 * 5 + 1300) * 8, np.uint8)
        out = buffer[: grad.nbytes].view(dtype).reshape(600, 5)
        y = buffer[start * 8 :][: labels.nbytes].view(labels.dtype)
        y[...] = labels
        loss, _ = fb.cross_entropy_value_and_grad(logits, y, out=out)
        assert loss == expected
        assert same_bits(out, grad)


@pytest.mark.parametrize(("kind", "ignored"), [(np.uint64, 2**63), (np.float64, 2**63), (np.float32, 2**70)])
def test_a_mask_beside_a_label_that_no_int64_holds(dtype, kind, ignored):
    logits = inputs("cross_entropy", (20, 5), dtype)[0]
    labels = (np.arange(20) % 5).astype(kind)
    labels[3::4] = kind(ignored)
    where = np.arange(20) % 3 > 0
    kept = where & (labels != kind(ignored))
    results = everything("cross_entropy", logits, labels, where=where, ignore_index=ignored)
    expected = everything("cross_entropy", logits, np.where(kept, labels, 0).astype(int), where=kept)
    for key in ("loss", "losses", "grad"):
        assert same_bits(results[key], expected[key])


@pytest.mark.parametrize("label", [1e300, -1e300, INF, -INF, 2.0**63, NAN, 0.5])
def test_no_other_label_is_the_least_int64(label):
    labels = np.array([0, label])
    with pytest.raises((IndexError, ValueError), match=r"targets: .* at position 1"):
        fb.cross_entropy(np.zeros((2, 3)), labels, ignore_index=-(2**63))
    assert fb.cross_entropy(np.zeros((2, 3)), [0, -(2.0**63)], ignore_index=-(2**63)) == pytest.approx(
        math.log(3)
    )


def test_an_ignored_label_beyond_all_floats():
    labels = np.array([0.0, 1.0])
    for ignored in (10**400, -(10**400)):
        assert fb.cross_entropy(np.zeros((2, 3)), labels, ignore_index=ignored) == pytest.approx(math.log(3))


@pytest.mark.parametrize("kind", [float, np.float32, np.int8])
def test_the_label_that_others_ignore(kind):
    with pytest.raises(IndexError, match="pass ignore_index=-100"):
        fb.cross_entropy(np.zeros((2, 3)), np.array([0, -100], kind))


def test_a_label_of_half_precision_that_the_ignored_one_rounds_to():
    with pytest.raises(IndexError, match="inf at position 1"):
        fb.cross_entropy(np.zeros((2, 3)), np.array([0, INF], np.float16), ignore_index=2**70)


def test_more_threads_than_an_int_holds():
    for count in (2**20, 2**31, 2**40, 10**30):
        assert fb.bce_with_logits([0.5], [1], num_threads=count) == fb.bce_with_logits([0.5], [1])
        with fb.threads(count):
            assert fb.get_num_threads() >= 1


@on_linux
def test_a_period_of_0(tmp_path):
    assert _threads._cgroup_quota(cgroups(tmp_path, ["0::/"], {"cpu.max": "100000 0"})) is None


def test_the_variable_comes_before_the_limits_of_threadpoolctl():
    code = """
    import fastbce as fb
    from threadpoolctl import threadpool_limits
    with threadpool_limits(1, user_api="openmp"):
        print(fb.get_num_threads(), fb.show_config("dicts")["threads"]["source"])
    """
    assert printed_by(code, FASTBCE_NUM_THREADS="4") == ["4", "FASTBCE_NUM_THREADS"]


OTHERS_STATE = """
#include <fenv.h>
#include <omp.h>
#include <xmmintrin.h>
/* Whether each thread of a team flushes subnormal numbers; sets it before if it is told to. */
int flushing(int set)
{
    int count = 0;
#pragma omp parallel num_threads(4) reduction(+ : count)
    {
        if (set)
            _mm_setcsr(_mm_getcsr() | 0x8040);
        count += (_mm_getcsr() & 0x8040) == 0x8040;
    }
    return count;
}
"""


@on_x86
@on_linux
@in_teams
def test_the_state_of_other_threads_comes_back(tmp_path):
    library = c_library.build(tmp_path, OTHERS_STATE, "-fopenmp")
    code = """
    import ctypes, sys
    import numpy as np
    import fastbce as fb
    others = ctypes.CDLL(sys.argv[1])
    print(others.flushing(1))
    x = np.zeros(300_000)
    for _ in range(20):
        fb.bce_with_logits(x, 0, num_threads=4)
    print(others.flushing(0))
    """
    assert printed_by(code, library) == ["4", "4"]


@on_linux
@in_teams
def test_after_an_interrupt_there_are_teams():
    code = """
    import os, signal, threading, time
    import numpy as np
    import fastbce as fb

    huge = np.broadcast_to(np.float32(0.5), 2**38)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        fb.bce_with_logits(huge, True, num_threads=2)
    except KeyboardInterrupt:
        print("interrupted")
    x = np.zeros(300_000)
    end = time.monotonic() + 20
    while len(os.listdir("/proc/self/task")) != 4 and time.monotonic() < end:
        fb.bce_with_logits(x, 0, num_threads=4)
    print(len(os.listdir("/proc/self/task")))
    """
    assert printed_by(code, timeout=60) == ["interrupted", "4"]


X87 = """
void set(unsigned short word) { __asm__ volatile("fldcw %0" : : "m"(word)); }
int get(void) { unsigned short word; __asm__ volatile("fnstcw %0" : "=m"(word)); return word; }
"""


@on_x86
def test_the_precision_of_the_x87_unit_alone(tmp_path):
    library = c_library.build(tmp_path, X87)
    code = """
    import ctypes, sys
    import numpy as np
    import fastbce as fb
    host = ctypes.PyDLL(sys.argv[1])
    x = np.linspace(-5, 5, 3000)
    y = np.linspace(0, 1, 3000).astype(np.longdouble) / 3
    def all_bits():
        return [fb.bce_with_logits(x.astype(name), y, reduction="none").tobytes() for name in ("f4", "f8")]
    expected = all_bits()
    for word in (0x27f, 0x7f, 0xb7f, 0x77f):  # of double, of float; rounded up, down
        host.set(word)
        actual = all_bits()
        after = host.get()
        host.set(0x37f)
        print(actual == expected, after == word)
    """
    assert printed_by(code, library) == ["True", "True"] * 4


@pytest.mark.parametrize(
    "call",
    [
        "fb.cross_entropy(x, [5, 5], sample_weight=[1, 1])",
        "fb.cross_entropy(x, [5, 5])",
        "fb.sigmoid_focal_loss(x, x + 2)",
        "fb.bce_with_logits_grad_hess(x, x + 2)",
        "fb.cross_entropy_grad_hess(x, [5, 5])",
        "fb.bce(x + 2, x)",
        "fb.bce(x + 2, x, sample_weight=1.0)",
    ],
)
def test_the_state_of_the_host_comes_back_after_an_error(tmp_path, call):
    library = c_library.build(tmp_path, STATE, "-lm")
    code = f"""
    import ctypes, sys
    import numpy as np
    import fastbce as fb
    host = ctypes.PyDLL(sys.argv[1])
    x = np.zeros((2, 3))
    host.round_up()
    before = host.state()
    try:
        {call}
    except (ValueError, IndexError):
        print(host.state() == before)
    """
    assert printed_by(code, library) == ["True"]


def test_outputs_in_which_nothing_is_masked(function, dtype):
    first, targets = inputs(function, (6, 4), dtype)
    expected, grad = value_and_grad_of(function)(first, targets)
    for mask in (False, np.zeros((6, 4), bool)):
        out = np.ma.array(np.zeros((6, 4), dtype), mask=mask)
        loss, got = value_and_grad_of(function)(first, targets, out=out)
        assert got is out
        assert loss == expected
        assert same_bits(np.asarray(out), grad)


def test_errors_of_the_object_itself():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise AttributeError("no memory any more")

    with pytest.raises(TypeError, match="logits: expected an array, got Broken: no memory"):
        fb.bce_with_logits(Broken(), 1)


def test_an_overlap_that_takes_long_to_find():
    """Of strides whose equation NumPy gives up on; 367 of the elements are in both."""
    shape = (8, 6, 8, 5, 5)
    buffer = np.zeros(410_000, np.float32)
    x = as_strided(buffer, shape, np.multiply(4, [566, 14714, 18945, 15902, 4469]))
    out = as_strided(buffer[34313:], shape, np.multiply(4, [11135, 15946, 14573, 13555, 15011]))
    with pytest.raises(np.exceptions.TooHardError):
        np.shares_memory(x, out, max_work=100_000)
    first, targets = inputs("bce_with_logits", shape, np.float32)
    expected, grad = fb.bce_with_logits_value_and_grad(first, targets)
    x[...] = first
    loss, _ = fb.bce_with_logits_value_and_grad(x, targets, out=out)
    assert loss == expected
    assert same_bits(out, grad)
