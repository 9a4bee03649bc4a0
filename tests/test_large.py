"""Section 5: more than 2³¹ elements, and offsets beyond 4 GB, in a few MB of memory.

Large arrays are views that read, or write, the same few numbers again and again. In a `skewed` view the last
number belongs to the last element alone: what stops too early, or wraps around, never comes to it.

Logits are so far apart that losses and gradients are whole numbers: the exact ones can be compared with ==.
"""

import mmap

import numpy as np
import pytest
from cases import loss_of, value_and_grad_of
from numpy.lib.stride_tricks import as_strided

import fastbce as fb

pytestmark = pytest.mark.slow

LENGTH = 2**31 + 17
SHAPE = (2**16 + 64, 2**15)  # 2³¹ elements, and 64 rows more
BINARY = ("bce", "bce_with_logits")


def reserved(nbytes):
    """That many bytes of 0. What is only read takes no memory, what is written takes a page."""
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def repeated(value, dtype, shape=(LENGTH,)):
    return np.broadcast_to(dtype(value), shape)


def skewed(buffer, shape=SHAPE):
    """Element (i, j) is number i + j of the buffer, along its last axis."""
    step = buffer.strides[-1]
    return as_strided(buffer, (*buffer.shape[:-1], *shape), (*buffer.strides[:-1], step, step))


def times_used(shape):
    """How many elements of a skewed view each number of its buffer is."""
    shorter = min(shape)
    place = np.arange(sum(shape) - 1)
    return np.minimum(np.minimum(place + 1, shorter), place[::-1] + 1)


def whole_numbers(shape=SHAPE):
    """Logits whose losses are their sizes and whose gradients are 1 or -1, targets, and weights."""
    rng = np.random.default_rng(0)
    size = sum(shape) - 1
    logits = rng.integers(200, 2000, size) * rng.choice([-1, 1], size)
    logits[-1] = 4097
    return logits, (logits < 0).astype(np.uint8), rng.integers(1, 8, size)


# --- sums and counts ----------------------------------------------------------------------------------------


def test_sum_and_mean(dtype):
    logits, targets = repeated(64, dtype), repeated(0, np.uint8)
    assert fb.bce_with_logits(logits, targets, reduction="sum") == 64 * LENGTH
    assert fb.bce_with_logits(logits, targets) == 64


@pytest.mark.parametrize("where", [None, repeated(True, bool)], ids=["all", "where"])
def test_weighted_mean(where):
    """A count, and a sum of weights, that would be wrong in 32 bits."""
    logits, targets, weight = repeated(64, np.float32), repeated(0, bool), repeated(3, np.int8)
    options = {"sample_weight": weight, "where": where}
    assert fb.bce_with_logits(logits, targets, reduction="weighted_mean", **options) == 64
    assert fb.bce_with_logits(logits, targets, **options) == 3 * 64


def test_every_element_is_in_the_sum_once():
    logits, targets, weights = whole_numbers()
    total = int(np.sum(abs(logits) * weights * times_used(SHAPE)))
    actual = fb.bce_with_logits(
        skewed(logits.astype(np.float32)),
        skewed(targets),
        sample_weight=skewed(weights.astype(np.float32)),
        reduction="sum",
    )
    assert actual == total


def test_elements_that_are_left_out():
    """Nearly all of them; the last one counts."""
    logits, targets, _ = whole_numbers()
    mask = np.zeros(logits.size, bool)
    mask[[5, 70_000, -1]] = True
    count = int(np.sum(mask * times_used(SHAPE)))
    total = int(np.sum(mask * abs(logits) * times_used(SHAPE)))
    arrays = skewed(logits.astype(np.float32)), skewed(targets)
    assert fb.bce_with_logits(*arrays, where=skewed(mask), reduction="sum") == total
    assert fb.bce_with_logits(*arrays, where=skewed(mask)) == total / count
    row = np.zeros((SHAPE[0], 1), bool)
    row[-1] = True
    losses = abs(logits[-SHAPE[1] :])
    assert fb.bce_with_logits(*arrays, where=row) == losses.sum() / SHAPE[1]


# --- what is written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64], ids=["same", "other"])
@pytest.mark.parametrize("function", ["bce_with_logits", "sigmoid_focal_loss", "bce_with_logits_grad_hess"])
def test_results_are_written_to_the_end(function, out_dtype):
    """All are so wrong that the focal loss, without class balancing, is the other one; Hessians are 0."""
    logits, targets, weights = whole_numbers()
    expected = {
        "out": np.sign(logits) * weights,
        "loss_out": abs(logits) * weights,
        "proba_out": logits > 0,
    }
    call, options = getattr(fb, function + "_value_and_grad", None), {"reduction": "none"}
    if function == "sigmoid_focal_loss":
        options["alpha"] = -1
    elif function == "bce_with_logits_grad_hess":
        call, options = fb.bce_with_logits_grad_hess, {}
        expected["grad_out"], expected["hess_out"] = expected.pop("out"), np.zeros(logits.size)
        del expected["loss_out"]
    outputs = {name: np.full(logits.size, 77, out_dtype) for name in expected}
    call(
        skewed(logits.astype(np.float32)),
        skewed(targets),
        sample_weight=skewed(weights.astype(np.float32)),
        **options,
        **{name: skewed(buffer) for name, buffer in outputs.items()},
    )
    for name, buffer in outputs.items():
        np.testing.assert_array_equal(buffer, expected[name], err_msg=name)


# --- positions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", BINARY)
def test_a_target_out_of_range_at_the_end(function):
    targets = reserved(LENGTH)
    targets[-1] = 2
    first, out = repeated(0.5, np.float32), as_strided(np.zeros(1, np.float32), (LENGTH,), (0,))
    words = rf"^targets: .* got 2 at position {LENGTH - 1}$"
    with pytest.raises(ValueError, match=words):
        loss_of(function)(first, targets)
    with pytest.raises(ValueError, match=words):
        value_and_grad_of(function)(first, targets, out=out)


def test_a_probability_out_of_range_at_the_end():
    probs = np.full(sum(SHAPE) - 1, 0.5, np.float32)
    probs[-1] = 1.5
    last = rf"\({SHAPE[0] - 1}, {SHAPE[1] - 1}\)"
    with pytest.raises(ValueError, match=rf"^probs: .* got 1\.5 at position {last}$"):
        fb.bce(skewed(probs), np.uint8(1))


@pytest.mark.parametrize("bad", [2, 255])
def test_a_label_out_of_range_at_the_end(bad):
    labels = reserved(LENGTH)
    labels[-1] = bad
    with pytest.raises(IndexError, match=rf"^targets: .* got {bad} at position {LENGTH - 1}$"):
        fb.cross_entropy(repeated(0, np.float32, (LENGTH, 2)), labels)


def test_all_labels_are_ignored_but_the_last():
    labels = reserved(LENGTH)
    labels[-1] = 1
    logits = np.broadcast_to(np.float32([500, 0]), (LENGTH, 2))
    assert fb.cross_entropy(logits, labels, ignore_index=0) == 500


# --- classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_classes_along_any_axis(axis):
    """Fewer than 2³¹ rows of 32 classes: the weight goes from the label to the largest logit."""
    shape, n_classes = (2**13 + 16, 2**13), 32
    size = sum(shape) - 1
    rng = np.random.default_rng(1)
    labels, step = rng.integers(0, n_classes, size), rng.integers(1, n_classes, size)
    largest = (labels + step) % n_classes
    gap, weights = rng.integers(200, 1000, size), rng.integers(1, 8, size)
    labels[-1], largest[-1], gap[-1], weights[-1] = 3, 30, 4097, 5
    logits, grad, proba = (np.zeros((n_classes, size), np.float32) for _ in range(3))
    logits[largest, np.arange(size)] = gap
    losses = np.zeros(size, np.float32)
    loss = fb.cross_entropy_value_and_grad(
        np.moveaxis(skewed(logits, shape), 0, axis),
        skewed(labels.astype(np.int16), shape),
        axis=axis,
        sample_weight=skewed(weights.astype(np.float32), shape),
        reduction="sum",
        out=np.moveaxis(skewed(grad, shape), 0, axis),
        loss_out=skewed(losses, shape),
        proba_out=np.moveaxis(skewed(proba, shape), 0, axis),
        num_threads=1,  # rows share memory, and exponentials are kept there: two threads might meet
    )[0]
    assert loss == int(np.sum(weights * gap * times_used(shape)))
    expected = np.zeros((n_classes, size))
    expected[largest, np.arange(size)] = weights
    expected[labels, np.arange(size)] = -weights
    np.testing.assert_array_equal(grad, expected)
    np.testing.assert_array_equal(proba, expected > 0)
    np.testing.assert_array_equal(losses, weights * gap)
    if axis == 0:
        grad[:], hess = 77, np.full_like(grad, 77)
        fb.cross_entropy_grad_hess(
            skewed(logits, shape),
            skewed(labels.astype(np.int16), shape),
            axis=0,
            sample_weight=skewed(weights.astype(np.float32), shape),
            grad_out=skewed(grad, shape),
            hess_out=skewed(hess, shape),
            num_threads=1,
        )
        np.testing.assert_array_equal(grad, expected)
        assert not hess.any()


def test_probability_rows():
    """Targets as large as the logits: a row of them with all its weight on one class."""
    shape, n_classes = (2**13 + 16, 2**13), 32
    size = sum(shape) - 1
    logits, targets, grad = (np.zeros((size, n_classes), np.float32) for _ in range(3))
    logits[:, 7], logits[-1, 7], targets[:, 0] = 500, 900, 1
    strides = (logits.strides[0], *logits.strides)
    views = [as_strided(array, (*shape, n_classes), strides) for array in (logits, targets, grad)]
    loss = fb.cross_entropy_value_and_grad(*views[:2], reduction="sum", out=views[2])[0]
    assert loss == 500 * shape[0] * shape[1] + 400
    np.testing.assert_array_equal(grad[:, [0, 7]], np.tile([-1.0, 1.0], (size, 1)))
    assert np.count_nonzero(grad) == 2 * size


# --- offsets in memory --------------------------------------------------------------------------------------

GAP = 2**20  # bytes between two places that hold something
PLACES = 5000


def far_apart(values):
    """A copy of a 2-D array of PLACES rows, GAP bytes from row to row."""
    size = values.itemsize
    memory = reserved(PLACES * GAP).view(values.dtype)
    copy = as_strided(memory, values.shape, (GAP, size))
    copy[...] = values
    return copy


TURNS = {
    "forwards": lambda array: array,
    "backwards": lambda array: array[::-1],
    "both backwards": lambda array: array[::-1, ::-1],
    "transposed": lambda array: array.T,
    "few, far apart": lambda array: array[::-2000],  # more than 2³¹ bytes from one to the next
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("function", BINARY)
def test_steps_beyond_four_gigabytes(function, dtype, turn):
    turn = TURNS[turn]
    rng = np.random.default_rng(2)
    arrays = {
        "first": rng.uniform(0.01, 0.99, (PLACES, 20)).astype(dtype),
        "targets": rng.integers(0, 2, (PLACES, 20)),
        "sample_weight": rng.uniform(0.5, 2, (PLACES, 20)).astype(dtype),
        "where": rng.random((PLACES, 20)) < 0.7,
        "out": np.zeros((PLACES, 20), dtype),
    }
    near = {name: np.ascontiguousarray(turn(array)) for name, array in arrays.items()}
    far = {name: turn(far_apart(array)) for name, array in arrays.items()}
    losses = []
    for call in (near, far):
        options = {name: array for name, array in call.items() if name not in ("first", "targets")}
        losses.append(value_and_grad_of(function)(call["first"], call["targets"], **options)[0])
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(far["out"], near["out"])
    assert np.count_nonzero(far["out"]) == np.count_nonzero(near["where"])


@pytest.mark.parametrize("axis", [0, 1])
def test_classes_beyond_four_gigabytes(dtype, axis):
    """The classes of a row that far apart, and the rows."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(PLACES, 7)).astype(dtype)
    labels = rng.integers(0, logits.shape[axis], logits.shape[1 - axis])
    expected = fb.cross_entropy_value_and_grad(logits, labels, axis=axis)
    for turn in (slice(None), slice(None, None, -1)):
        out = far_apart(np.zeros_like(logits))
        far = far_apart(logits[turn])[turn]
        loss = fb.cross_entropy_value_and_grad(far, labels, axis=axis, out=out[turn])[0]
        assert loss == expected[0]
        np.testing.assert_array_equal(out[turn], expected[1])


@pytest.mark.parametrize("step", [2**30, -(2**30)])
def test_memmap_of_more_than_four_gigabytes(step, tmp_path):
    """Six float32, 4 GB from one to the next, in a file with holes."""
    values = np.array([-1.5, 0.25, 3, -7, 20, 0.5], np.float32)
    with open(tmp_path / "logits", "wb") as file:
        for place, value in enumerate(values):
            file.seek(place * 2**32)
            file.write(value.tobytes())
    mapped = np.memmap(tmp_path / "logits", np.float32, "r")[::step]
    assert mapped.shape == (6,)
    expected = fb.bce_with_logits_value_and_grad(values[:: np.sign(step)], [0, 1, 1, 0, 1, 0])
    loss, grad = fb.bce_with_logits_value_and_grad(mapped, [0, 1, 1, 0, 1, 0])
    assert loss == expected[0]
    np.testing.assert_array_equal(grad, expected[1])
