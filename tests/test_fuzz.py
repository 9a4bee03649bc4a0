"""The fuzzer's own check, on random bytes; and, as calls, what fuzzing has found."""

import fuzz
import ml_dtypes
import numpy as np
import pytest

import fastbce as fb


def test_random_calls():
    """Without coverage to guide it: ``make fuzz`` goes further."""
    outcomes = fuzz.random_calls(3000)
    assert outcomes["calls"] > 2000
    assert min(outcomes[name] for name in ("returned", "compared", "objects", "TypeError", "IndexError")) > 10


@pytest.mark.parametrize("ignored", [2**63, -(2**63) - 1, 10**400], ids=["2^63", "-2^63 - 1", "10^400"])
@pytest.mark.parametrize("dtype", ["?", "b", "q", "Q", "e", "f", "d", "g", ml_dtypes.bfloat16])
def test_ignored_labels_that_no_int64_holds(ignored, dtype):
    """Of a single label NumPy compares to a scalar; with some dtypes, not at all."""
    for logits, labels in (([0.5, 1.5], 1), ([[0.5, 1.5]] * 2, [1, 0])):
        labels = np.asarray(labels, dtype)
        expected = fb.cross_entropy(logits, labels)
        assert fb.cross_entropy(logits, labels, ignore_index=ignored) == expected
        assert fb.cross_entropy(logits, labels, ignore_index=ignored, where=True) == expected


@pytest.mark.parametrize("dtype", ["Q", "f", "d", "g", ml_dtypes.bfloat16])
def test_labels_that_are_ignored_and_no_int64(dtype):
    for labels in (2**63, [2**63, 2**63]):
        logits = np.zeros((*np.shape(labels), 2))
        labels = np.asarray(labels).astype(dtype)
        assert fb.cross_entropy(logits, labels, ignore_index=2**63, reduction="sum") == 0
        with pytest.raises(IndexError):
            fb.cross_entropy(logits, labels, ignore_index=2**63 + 1, reduction="sum")


@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
def test_weights_beyond_float32_raise_no_warning(name):
    """They become infinite, as numbers that are computed do."""
    logits = np.array([[0.5, 1.5], [1.5, 0.5]], np.float32)
    assert fb.cross_entropy(logits, [0, 1], **{name: np.array([1e300, 1e300])}) == np.inf


def test_a_label_that_is_a_signalling_nan():
    labels = np.array([0x7D00], np.uint16).view(np.float16)
    with pytest.raises(ValueError, match="whole numbers, got nan at position 0"):
        fb.cross_entropy([[0.5, 1.5]], labels)


def test_weights_beyond_float64_are_written():
    weights = np.array([np.finfo(np.longdouble).max, 1])
    loss = fb.BCELoss(pos_weight=weights)
    assert repr(loss) in (
        "BCELoss(pos_weight=[float('inf'), 1.0])",
        f"BCELoss(pos_weight={[*weights]})",
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_signalling_nans_raise_no_warning(dtype):
    """Whether one is weighed, or looked at."""
    signalling = {2: 0x7D00, 4: 0x7FA00000, 8: 0x7FF4 << 48}[np.dtype(dtype).itemsize]
    weights = np.ones(40, dtype)
    weights.view(f"u{weights.itemsize}")[:-1:3] = signalling
    assert np.isnan(fb.bce_with_logits(np.zeros(40), 1, pos_weight=weights))
    weights[-1] = -1  # behind them all: fmin forgets what comes before one
    with pytest.raises(ValueError, match=r"got -1\.0 at position"):
        fb.bce_with_logits(np.zeros(40), 1, pos_weight=weights)
