"""Section 5, input: whatever holds numbers in memory gives the bits of a plain array, and is not copied.

Libraries that are not installed are skipped; `make test-peers` installs them.
"""

import array
import contextlib
import os
import subprocess
import sys
import textwrap
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
from cases import SMOOTHED, assert_same_bits, everything, inputs, loss_of
from layouts import backwards, fortran, with_gaps
from test_arrays import call, full_call
from test_memory import LIMIT, SIZE, traced_peak

import fastbce as fb

# The arguments of each function that may be arrays: as they are called here, and as messages call them.
ARGUMENTS = [
    (function, name, {"first": "probs" if function == "bce" else "logits"}.get(name, name))
    for function in ("bce", "bce_with_logits", "cross_entropy")
    for name in ("first", "targets", "sample_weight", "pos_weight", "class_weight", "where")
    if name != ("pos_weight" if function == "cross_entropy" else "class_weight")
]
NUMBERS = [row for row in ARGUMENTS if row[1] != "where"]


# --- objects that hold an array, and let it be seen in one way only -----------------------------------------


class OnlyArray:
    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array


class OnlyInterface:
    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self._array = array


class OnlyDLPack:
    device = (1, 0)  # a CPU

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


class OldDLPack(OnlyDLPack):
    """From before the protocol had versions."""

    def __dlpack__(self, stream=None):
        return self._array.__dlpack__()


class DLPackSequence(OnlyDLPack):
    """Has a length and elements besides, as tensors do: NumPy would ask for one after the other."""

    asked = 0

    def __len__(self):
        self.asked += 1
        return len(self._array)

    def __getitem__(self, place):
        self.asked += 1
        return self._array[place]


class DLPackElsewhere(OnlyDLPack):
    device = (2, 0)  # CUDA

    def __dlpack__(self, **options):
        raise BufferError("memory of another device")


# --- sources: how an array becomes one, and the numbers of dimensions it may have ---------------------------


def mapped(mode):
    def wrap(array, tmp_path):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        array.tofile(path)
        return np.memmap(path, array.dtype, mode, shape=array.shape)

    return wrap


def matrix(array, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(array)


def from_bytes(array, tmp_path):
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def array_array(numbers, tmp_path):
    return array.array(numbers.dtype.char, numbers.tobytes())


def masked_nowhere(array, tmp_path):
    return np.ma.array(array, mask=np.zeros(array.shape, bool))


def torch_tensor(array, tmp_path):
    return pytest.importorskip("torch").from_numpy(array)


def torch_transposed(array, tmp_path):
    return pytest.importorskip("torch").from_numpy(array.T.copy()).T


def torch_with_gaps(array, tmp_path):
    return pytest.importorskip("torch").from_numpy(np.repeat(array, 3, axis=-1))[..., ::3]


def jax_array(array, tmp_path):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        return jax.numpy.asarray(array)


def array_api(array, tmp_path):
    return pytest.importorskip("array_api_strict").asarray(array)


def pandas_of(array, tmp_path):
    """With an index that says another order: numbers go by position."""
    pandas = pytest.importorskip("pandas")
    index = range(len(array), 0, -1)
    return (pandas.Series if array.ndim == 1 else pandas.DataFrame)(array, index=index)


def pandas_column(array, tmp_path):
    frame = pytest.importorskip("pandas").DataFrame({"other": array, "this": array})
    return frame["this"]


def pandas_nullable(array, tmp_path):
    """A dtype of pandas' own, which could hold missing values."""
    name = {"b": "boolean", "i": "Int64", "f": f"Float{8 * array.itemsize}"}[array.dtype.kind]
    return pytest.importorskip("pandas").Series(array, dtype=name)


def pandas_columns(array, tmp_path):
    """A frame that was put together from columns: they need not be one block."""
    return pytest.importorskip("pandas").DataFrame(
        {str(i): column.copy() for i, column in enumerate(array.T)}
    )


def arrow(array, tmp_path):
    return pytest.importorskip("pyarrow").array(array)


def arrow_tensor(array, tmp_path):
    return pytest.importorskip("pyarrow").Tensor.from_numpy(array)


def arrow_chunks(array, tmp_path):
    middle = len(array) // 2
    return pytest.importorskip("pyarrow").chunked_array([array[:middle], array[middle:]])


def polars_series(array, tmp_path):
    return pytest.importorskip("polars").Series(array)


def polars_frame(array, tmp_path):
    return pytest.importorskip("polars").DataFrame(array)


EVERY = (1, 2)
SOURCES = {
    "memmap r": (mapped("r"), EVERY),
    "memmap c": (mapped("c"), EVERY),
    "matrix": (matrix, (2,)),
    "bytes": (from_bytes, EVERY),
    "memoryview": (lambda array, tmp_path: memoryview(array), EVERY),
    "array.array": (array_array, (1,)),
    "masked nowhere": (masked_nowhere, EVERY),
    "__array__": (lambda array, tmp_path: OnlyArray(array), EVERY),
    "__array_interface__": (lambda array, tmp_path: OnlyInterface(array), EVERY),
    "__dlpack__": (lambda array, tmp_path: OnlyDLPack(array), EVERY),
    "__dlpack__ with gaps": (lambda array, tmp_path: OnlyDLPack(with_gaps(array)), EVERY),
    "__dlpack__ backwards": (lambda array, tmp_path: OnlyDLPack(backwards(array)), EVERY),
    "__dlpack__ Fortran": (lambda array, tmp_path: OnlyDLPack(fortran(array)), (2,)),
    "__dlpack__ old": (lambda array, tmp_path: OldDLPack(array), EVERY),
    "__dlpack__ sequence": (lambda array, tmp_path: DLPackSequence(array), EVERY),
    "torch": (torch_tensor, EVERY),
    "torch transposed": (torch_transposed, (2,)),
    "torch with gaps": (torch_with_gaps, EVERY),
    "jax": (jax_array, EVERY),
    "array_api_strict": (array_api, EVERY),
    "pandas": (pandas_of, EVERY),
    "pandas column": (pandas_column, (1,)),
    "pandas nullable": (pandas_nullable, (1,)),
    "pandas columns": (pandas_columns, (2,)),
    "arrow": (arrow, (1,)),
    "arrow tensor": (arrow_tensor, (2,)),
    "arrow chunks": (arrow_chunks, (1,)),
    "polars": (polars_series, (1,)),
    "polars frame": (polars_frame, (2,)),
}
NO_BOOLEANS = {"array.array", "arrow tensor"}


@pytest.mark.parametrize("name", SOURCES)
def test_same_bits_from_each_source(function, dtype, soft, name, tmp_path):
    """In each argument, and in all of them; outputs are NumPy's arrays."""
    wrap, dimensions = SOURCES[name]
    shape = (60, 5) if 2 in dimensions or function == "cross_entropy" else (300,)
    arrays = full_call(function, shape, dtype, soft)
    expected = call(function, arrays)
    wrapped = {
        argument: wrap(value, tmp_path)
        for argument, value in arrays.items()
        if value.ndim in dimensions and not (name in NO_BOOLEANS and value.dtype == bool)
    }
    if not wrapped:
        pytest.skip("no argument has so many dimensions")
    known = {"shape": shape, "dtype": np.dtype(dtype)}
    for argument, value in wrapped.items():
        actual = call(function, arrays | {argument: value}, **known)
        assert_same_bits(actual, expected)
        assert type(actual["grad"]) is np.ndarray
    assert_same_bits(call(function, arrays | wrapped, **known), expected)
    for value in wrapped.values():
        assert getattr(value, "asked", 0) == 0, "went through the elements one by one"


@pytest.mark.parametrize("name", ["torch", "jax", "arrow", "pandas", "polars", "__dlpack__"])
@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"])
def test_targets_of_each_source(dtype, name, kind, tmp_path):
    """Hard ones, and labels of two classes, whatever they come in."""
    wrap = SOURCES[name][0]
    logits, targets = inputs("bce_with_logits", (300,), dtype)
    rows = np.stack([logits, logits[::-1]], axis=1)
    calls = [(fb.bce_with_logits_value_and_grad, logits)]
    if kind != "bool":
        calls.append((fb.cross_entropy_value_and_grad, rows))
    for function, first in calls:
        expected = function(first, targets)
        loss, grad = function(first, wrap(targets.astype(kind), tmp_path))
        assert loss == expected[0]
        np.testing.assert_array_equal(grad, expected[1])


@pytest.mark.parametrize("name", ["torch", "jax", "arrow", "polars", "__dlpack__"])
def test_float16_logits_of_each_source(name, tmp_path):
    first = np.linspace(-9, 9, 300).astype(np.float16)
    expected = fb.bce_with_logits_value_and_grad(first.astype(np.float32), np.arange(300) % 2)
    loss, grad = fb.bce_with_logits_value_and_grad(SOURCES[name][0](first, tmp_path), np.arange(300) % 2)
    assert loss == expected[0]
    assert grad.dtype == np.float16
    np.testing.assert_array_equal(grad, expected[1].astype(np.float16))


@pytest.mark.parametrize("name", ["torch", "jax", "array_api_strict", "__array__", "__dlpack__"])
@pytest.mark.parametrize(
    "function",
    [
        fb.sigmoid_focal_loss_value_and_grad,
        fb.bce_with_logits_grad_hess,
        fb.cross_entropy_grad_hess,
    ],
    ids=lambda function: function.__name__,
)
def test_every_function_takes_them(dtype, function, name, tmp_path):
    wrap = SOURCES[name][0]
    loss = "cross_entropy" if function is fb.cross_entropy_grad_hess else "bce_with_logits"
    logits, targets = inputs(loss, (60, 5), dtype)
    weights = np.linspace(0.5, 2, 60).astype(dtype).reshape((60, 1)[: targets.ndim])
    expected = function(logits, targets, sample_weight=weights)
    wrapped = wrap(logits, tmp_path), wrap(targets, tmp_path)
    for actual, result in zip(
        function(*wrapped, sample_weight=wrap(weights, tmp_path)), expected, strict=True
    ):
        assert type(actual) is type(result)
        np.testing.assert_array_equal(actual, result)


def bfloat16_of(library, values):
    """The same bfloat16 numbers as a tensor or array of the library, and as one of NumPy with ml_dtypes."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numbers = np.asarray(values, np.float32).astype(ml_dtypes.bfloat16)
    if library == "jax":
        jax = pytest.importorskip("jax")
        return jax.numpy.asarray(numbers), numbers
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(numbers.astype(np.float32)).to(torch.bfloat16)
    if library == "torch with gaps":
        tensor = torch.stack([tensor, tensor], dim=-1)[..., 0]
    return tensor, numbers


@pytest.mark.parametrize("library", ["torch", "torch with gaps", "jax"])
def test_bfloat16_of_each_library(function, soft, library):
    """In every argument that is a number: the float32 results of the same numbers, rounded."""
    arrays = full_call(function, (60, 5), np.float32, soft)
    if function == "cross_entropy" and not soft:
        arrays["targets"] = arrays["targets"].astype(np.float32)
    where = arrays.pop("where")
    pairs = {name: bfloat16_of(library, value) for name, value in arrays.items()}
    theirs = {name: pair[0] for name, pair in pairs.items()}
    exact = {name: pair[1].astype(np.float32) for name, pair in pairs.items()}
    bfloat16 = pairs["first"][1].dtype
    rounded = {"shape": (60, 5), "dtype": bfloat16, "where": where}
    expected = call(function, exact, where=where)
    for name in expected.keys() - {"loss"}:
        expected[name] = expected[name].astype(bfloat16)
    assert_same_bits(call(function, theirs, **rounded), expected)
    # beside float32 logits
    del theirs["first"]
    expected = call(function, exact, where=where)
    assert_same_bits(call(function, {"first": exact["first"]} | theirs, where=where), expected)


# --- one number ---------------------------------------------------------------------------------------------


def torch_scalar(value):
    return pytest.importorskip("torch").tensor(value)


def jax_scalar(value):
    return pytest.importorskip("jax").numpy.asarray(value)


SCALARS = [float, np.float64, np.float32, np.array, OnlyArray, OnlyDLPack, torch_scalar, jax_scalar]


@pytest.mark.parametrize("kind", SCALARS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ["targets", "sample_weight", "pos_weight"])
def test_scalar_arguments(dtype, name, kind):
    arrays = full_call("bce_with_logits", (6, 4), dtype, True)
    expected = call("bce_with_logits", arrays | {name: np.full((6, 4), 0.75, dtype)})
    value = kind(np.array(0.75)) if kind in (OnlyArray, OnlyDLPack) else kind(0.75)
    assert_same_bits(call("bce_with_logits", arrays | {name: value}), expected)


@pytest.mark.parametrize(
    "value",
    [True, np.True_, np.array(True), OnlyDLPack(np.array(True))],
    ids=["bool", "bool_", "0-d", "DLPack"],
)
def test_scalar_mask(function, dtype, value):
    arrays = full_call(function, (6, 4), dtype, True)
    del arrays["where"]
    assert_same_bits(call(function, arrays, where=value), call(function, arrays))


@pytest.mark.parametrize(
    "kind", [int, np.int64, np.uint8, torch_scalar, jax_scalar], ids=lambda kind: kind.__name__
)
def test_scalar_labels(dtype, kind):
    logits = inputs("cross_entropy", (6, 4), dtype)[0]
    assert fb.cross_entropy(logits, kind(2)) == fb.cross_entropy(logits, np.full(6, 2))


def test_lists_may_hold_scalars_of_numpy(dtype):
    logits, targets = inputs("bce_with_logits", (40,), dtype)
    assert fb.bce_with_logits(list(logits), tuple(targets)) == fb.bce_with_logits(logits, targets)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "name", "argument"), ARGUMENTS)
def test_a_device_that_is_no_cpu(function, name, argument):
    arrays = full_call(function, (6, 4), np.float32, True)
    with pytest.raises(TypeError, match=rf"^{argument}: .*DLPackElsewhere"):
        call(
            function, arrays | {name: DLPackElsewhere(arrays[name])}, shape=(6, 4), dtype=np.dtype(np.float32)
        )


@pytest.mark.parametrize(("function", "name", "argument"), NUMBERS)
def test_a_tensor_that_requires_grad(function, name, argument):
    torch = pytest.importorskip("torch")
    arrays = full_call(function, (6, 4), np.float32, True)
    tensor = torch.from_numpy(arrays[name]).requires_grad_()
    with pytest.raises(TypeError, match=rf"^{argument}: .*\b{argument}\.detach\(\)"):
        call(function, arrays | {name: tensor}, shape=(6, 4), dtype=np.dtype(np.float32))
    assert_same_bits(call(function, arrays | {name: tensor.detach()}), call(function, arrays))


@pytest.mark.parametrize(("function", "name", "argument"), ARGUMENTS)
def test_elements_that_are_masked(function, name, argument):
    """Are neither used nor left out silently: what was meant is `where`."""
    arrays = full_call(function, (6, 4), np.float64, True)
    mask = np.zeros(arrays[name].shape, bool)
    mask.flat[3] = True
    with pytest.raises(TypeError, match=rf"^{argument}: .*mask.*where=~(\w+\.)?mask"):
        call(function, arrays | {name: np.ma.array(arrays[name], mask=mask)})


def test_columns_may_have_any_name():
    """Also those of attributes that something else is known by."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"requires_grad": [0.5], "mask": [-2.0]})
    assert fb.bce_with_logits(frame, [[1, 0]]) == fb.bce_with_logits([[0.5, -2.0]], [[1, 0]])
    record = np.rec.array([(1.0,)], dtype=[("mask", float)])
    with pytest.raises(TypeError, match="dtype"):
        fb.bce_with_logits(record, 0)


def test_masked_logits_left_out_as_the_message_says(dtype):
    logits, targets = inputs("bce_with_logits", (40,), dtype)
    masked = np.ma.masked_where(np.arange(40) % 3 == 0, logits)
    loss = fb.bce_with_logits(masked.data, targets, where=~masked.mask)
    kept = np.arange(40) % 3 != 0
    assert loss == pytest.approx(fb.bce_with_logits(logits[kept], targets[kept]), rel=1e-6)


@pytest.mark.parametrize("library", ["pandas", "arrow", "polars"])
def test_missing_values(library):
    """Become NaN, which is an answer; `where` leaves them out."""
    if library == "pandas":
        column = pytest.importorskip("pandas").Series([0.5, None, -2.0], dtype="Float64")
    elif library == "arrow":
        column = pytest.importorskip("pyarrow").array([0.5, None, -2.0])
    else:
        column = pytest.importorskip("polars").Series([0.5, None, -2.0])
    losses = fb.bce_with_logits(column, [1, 0, 1], reduction="none")
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False])
    left = fb.bce_with_logits(column, [1, 0, 1], where=[True, False, True])
    assert left == fb.bce_with_logits([0.5, -2.0], [1, 1])


@pytest.mark.parametrize("kind", [np.array, torch_scalar, jax_scalar, "bfloat16"], ids=str)
def test_numbers_may_be_arrays_without_dimensions(function, kind):
    """As the sum of a mask is, in NumPy, torch and JAX."""
    if kind == "bfloat16":
        kind = pytest.importorskip("ml_dtypes").bfloat16
    first, targets = inputs(function, (6, 4), np.float64)
    plain = {"normalizer": 3.0}
    if function in SMOOTHED:
        plain["label_smoothing"] = 0.25
    if function == "bce":
        plain["eps"] = 0.125
    if function == "sigmoid_focal_loss":
        plain |= {"alpha": 0.75, "gamma": 1.5}
    given = {name: kind(value) for name, value in plain.items()}
    assert_same_bits(
        everything(function, first, targets, **given), everything(function, first, targets, **plain)
    )


@pytest.mark.parametrize("make", ["sparse", "meta"])
def test_tensors_without_memory_of_their_own(make):
    torch = pytest.importorskip("torch")
    tensor = torch.eye(3).to_sparse() if make == "sparse" else torch.empty(3, 3, device="meta")
    with pytest.raises(TypeError, match=r"^logits: "):
        fb.bce_with_logits(tensor, 1)


# --- memory -------------------------------------------------------------------------------------------------

# The sources that NumPy reads where they are. It copies Arrow's bits that are booleans, several chunks, and
# frames whose columns lie apart; the boolean columns of polars are bits, too.
READ_IN_PLACE = [
    "memmap r", "memmap c", "bytes", "memoryview", "array.array", "masked nowhere", "__array__",
    "__array_interface__", "__dlpack__", "__dlpack__ old", "__dlpack__ sequence", "torch", "torch with gaps",
    "jax", "array_api_strict", "pandas", "pandas nullable", "arrow", "polars",
]  # fmt: skip
BITS = {"arrow", "polars"}


@pytest.mark.parametrize("name", READ_IN_PLACE)
def test_sources_are_not_copied(name, tmp_path):
    """Each array is 6 MB or more, and all a call allocates is less than 2."""
    wrap = SOURCES[name][0]
    logits = wrap(np.linspace(-9, 9, SIZE, dtype=np.float32), tmp_path)
    targets = wrap((np.arange(SIZE) % 2).astype(np.int64), tmp_path)
    weight = wrap(np.ones(SIZE, np.float32), tmp_path)
    where = np.arange(SIZE) % 3 > 0
    if name not in BITS | NO_BOOLEANS:
        where = wrap(where, tmp_path)
    out = np.empty(SIZE, np.float32)
    for options in ({}, {"where": where, "sample_weight": weight}):
        peak = traced_peak(
            lambda options=options: fb.bce_with_logits_value_and_grad(logits, targets, out=out, **options)
        )
        assert peak <= LIMIT
    if name == "__dlpack__ sequence":
        assert logits.asked == targets.asked == 0


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_bfloat16_is_not_copied(library):
    logits = bfloat16_of(library, np.linspace(-9, 9, SIZE))[0]
    targets = bfloat16_of(library, np.arange(SIZE) % 2)[0]
    out = np.empty(SIZE, np.float32)
    assert traced_peak(lambda: fb.bce_with_logits_value_and_grad(logits, targets, out=out)) <= LIMIT


@pytest.mark.parametrize("name", ["pandas", "arrow tensor"])
def test_frames_and_tensors_are_not_copied(name, tmp_path):
    logits = SOURCES[name][0](np.ones((SIZE // 4, 4), np.float32), tmp_path)
    targets = SOURCES[name][0](np.full((SIZE // 4, 4), 0.25), tmp_path)
    out = np.empty((SIZE // 4, 4), np.float32)
    assert traced_peak(lambda: fb.cross_entropy_value_and_grad(logits, targets, out=out)) <= LIMIT


# The libraries' own allocators are not traced: what the system counts.
PEAK_OF_PROCESS = """
    import pathlib, resource, sys
    sys.path.insert(0, sys.argv[1])
    import numpy as np
    import fastbce
    from test_inputs import SOURCES, bfloat16_of

    name = sys.argv[2]
    size = 10_000_000
    if name.endswith("bfloat16"):
        x, y = (bfloat16_of(name.split()[0], np.arange(size) % 2)[0] for _ in range(2))
    else:
        x, y = (SOURCES[name][0](np.arange(size) % 2 * np.float32(1), pathlib.Path()) for _ in range(2))
    out = np.ones(size, np.float32)
    fastbce.bce_with_logits_value_and_grad(x[:100_000], y[:100_000], out=out[:100_000])
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    peak = lambda: int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    before = peak()
    fastbce.bce_with_logits_value_and_grad(x, y, out=out)
    print((peak() - before) * 1024)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux alone can reset the peak")
@pytest.mark.parametrize("name", ["torch", "torch bfloat16", "jax", "jax bfloat16", "arrow", "polars"])
def test_peak_of_the_process(name):
    """20 MB or more in each of two arrays."""
    pytest.importorskip({"arrow": "pyarrow"}.get(name, name.split()[0]))
    paths = [str(Path(fb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PEAK_OF_PROCESS), str(Path(__file__).parent), name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) <= LIMIT


@pytest.mark.parametrize("kind", [OnlyArray, OnlyDLPack, OldDLPack, DLPackSequence])
def test_inputs_are_let_go(kind):
    """Nothing keeps the memory of another library after the call, nor after an error."""
    numbers = np.linspace(-1, 1, 100)
    watch = weakref.ref(numbers)
    value = kind(numbers)
    fb.bce_with_logits(value, 1, sample_weight=value)
    with pytest.raises(ValueError, match="targets"):
        fb.bce_with_logits(value, value)
    with contextlib.suppress(ValueError):
        loss_of("bce")(value, 1)
    del numbers, value
    assert watch() is None
