"""What type checkers make of every call: checked by mypy, never run. A line that must be an error says so."""

from typing import Any, Literal, assert_type

import numpy as np
from numpy.typing import NDArray

import fastbce as fb
from fastbce._typing import Array

Result = float | Array


class OnlyArray:
    """What torch, pandas and JAX have in common."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        raise NotImplementedError


class OnlyDLPack:
    """An array of a library that has no other protocol."""

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None) -> object:
        raise NotImplementedError

    def __dlpack_device__(self) -> tuple[int, int]:
        raise NotImplementedError


def results(
    x: NDArray[np.float32], y: NDArray[np.int64], chosen: str, either: Literal["sum", "none"]
) -> None:
    """A float, or an array with reduction="none"; one of the two where only the program knows."""
    assert_type(fb.bce(x, y), float)
    assert_type(fb.bce(x, y, reduction="weighted_mean", normalizer=3), float)
    assert_type(fb.bce(x, y, reduction="none"), Array)
    assert_type(fb.bce(x, y, reduction=chosen), Result)
    assert_type(fb.bce(x, y, reduction=either), Result)
    assert_type(fb.bce_value_and_grad(x, y), tuple[float, Array])
    assert_type(fb.bce_value_and_grad(x, y, reduction="none"), tuple[Array, Array])
    assert_type(fb.bce_value_and_grad(x, y, reduction=chosen), tuple[Result, Array])

    assert_type(fb.bce_with_logits(x, y, reduction="sum"), float)
    assert_type(fb.bce_with_logits(x, y, reduction="none"), Array)
    assert_type(fb.bce_with_logits(x, y, reduction=chosen), Result)
    assert_type(fb.bce_with_logits_value_and_grad(x, y), tuple[float, Array])
    assert_type(fb.bce_with_logits_value_and_grad(x, y, reduction="none"), tuple[Array, Array])
    assert_type(fb.bce_with_logits_value_and_grad(x, y, reduction=chosen), tuple[Result, Array])
    assert_type(fb.bce_with_logits_grad_hess(x, y), tuple[Array, Array])

    assert_type(fb.sigmoid_focal_loss(x, y), float)
    assert_type(fb.sigmoid_focal_loss(x, y, reduction="none"), Array)
    assert_type(fb.sigmoid_focal_loss(x, y, reduction=chosen), Result)
    assert_type(fb.sigmoid_focal_loss_value_and_grad(x, y), tuple[float, Array])
    assert_type(fb.sigmoid_focal_loss_value_and_grad(x, y, reduction="none"), tuple[Array, Array])
    assert_type(fb.sigmoid_focal_loss_value_and_grad(x, y, reduction=chosen), tuple[Result, Array])

    assert_type(fb.cross_entropy(x, y), float)
    assert_type(fb.cross_entropy(x, y, reduction="none"), Array)
    assert_type(fb.cross_entropy(x, y, reduction=chosen), Result)
    assert_type(fb.cross_entropy_value_and_grad(x, y), tuple[float, Array])
    assert_type(fb.cross_entropy_value_and_grad(x, y, reduction="none"), tuple[Array, Array])
    assert_type(fb.cross_entropy_value_and_grad(x, y, reduction=chosen), tuple[Result, Array])
    assert_type(fb.cross_entropy_grad_hess(x, y), tuple[Array, Array])


def inputs(x: NDArray[np.float64], half: NDArray[np.float16]) -> None:
    """Whatever NumPy reads; numbers of Python and of NumPy; outputs of the caller's dtype."""
    fb.bce(0.5, True)
    fb.bce([0.5, 0.25], [1, 0], sample_weight=[1, 2], pos_weight=2, where=[True, False])
    fb.bce_with_logits(OnlyArray(), OnlyArray(), sample_weight=OnlyArray(), pos_weight=OnlyArray())
    fb.bce_with_logits(OnlyDLPack(), OnlyDLPack(), sample_weight=OnlyDLPack(), where=OnlyDLPack())
    fb.cross_entropy([[0.0, 1.0]], [1], class_weight=(1, 2), ignore_index=np.int8(-1), axis=np.int64(1))
    fb.cross_entropy_grad_hess(OnlyDLPack(), OnlyArray(), class_weight=OnlyDLPack(), num_threads=1)
    fb.bce(x, x, label_smoothing=np.float32(0.1), eps=np.float64(1e-7), normalizer=np.int64(3))
    fb.bce(x, x, label_smoothing=np.array(0.1, np.float32), eps=np.array(1e-7), normalizer=np.array(3))
    fb.SigmoidFocalLoss(alpha=np.array(0.5))
    fb.sigmoid_focal_loss_value_and_grad(half, x, alpha=-1, gamma=np.float32(1.5), out=half, loss_out=x)
    fb.bce_with_logits_grad_hess(half, x, grad_out=half, hess_out=x, proba_out=None)


def objects(x: NDArray[np.float32], y: NDArray[np.int64], chosen: str) -> None:
    """An object knows what its calls return."""
    assert_type(fb.BCELoss(), fb.BCELoss[float])
    assert_type(fb.BCELoss()(x, y), float)
    assert_type(fb.BCELoss(pos_weight=[1, 2], eps=1e-7, reduction="none")(x, y), Array)
    assert_type(fb.BCELoss(reduction=chosen)(x, y), Result)
    assert_type(fb.BCELoss(reduction="sum").value_and_grad(x, y), tuple[float, Array])
    assert_type(fb.BCELoss(reduction="none").value_and_grad(x, y), tuple[Array, Array])

    assert_type(fb.BCEWithLogitsLoss(pos_weight=OnlyDLPack())(x, y), float)
    assert_type(fb.BCEWithLogitsLoss(reduction="none")(x, y), Array)
    assert_type(fb.BCEWithLogitsLoss(reduction=chosen)(x, y), Result)
    assert_type(fb.BCEWithLogitsLoss(reduction="mean").value_and_grad(x, y, out=x), tuple[float, Array])
    assert_type(fb.BCEWithLogitsLoss(reduction="none").grad_hess(x, y), tuple[Array, Array])

    assert_type(fb.CrossEntropyLoss(class_weight=x, reduction="weighted_mean")(x, y), float)
    assert_type(fb.CrossEntropyLoss(ignore_index=-100, reduction="none")(x, y), Array)
    assert_type(fb.CrossEntropyLoss(reduction=chosen)(x, y), Result)
    assert_type(fb.CrossEntropyLoss().value_and_grad(x, y, num_threads=1), tuple[float, Array])
    assert_type(fb.CrossEntropyLoss(axis=1).grad_hess(x, y, hess_out=x), tuple[Array, Array])

    assert_type(fb.SigmoidFocalLoss(gamma=1)(x, y), float)
    assert_type(fb.SigmoidFocalLoss(alpha=np.float64(-1), reduction="none")(x, y), Array)
    assert_type(fb.SigmoidFocalLoss(reduction=chosen).value_and_grad(x, y), tuple[Result, Array])

    loss: fb.BCELoss = fb.BCELoss()  # without a parameter: what returns a float
    assert_type(loss(x, y), float)
    any_of_them: fb.CrossEntropyLoss[Result] = fb.CrossEntropyLoss(reduction="none")
    assert_type(any_of_them(x, y), Result)
    assert_type(loss.label_smoothing, float)
    assert_type(fb.CrossEntropyLoss().axis, int)


class Named(fb.BCEWithLogitsLoss[float]):
    """A derived class has attributes of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(pos_weight=2, reduction="sum")
        self.name = name


def derived(x: NDArray[np.float32]) -> None:
    """It is called as the class it is derived from."""
    assert_type(Named("clicks")(x, x), float)
    assert_type(Named("clicks").name, str)


def wrong(x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    """Mistakes that are found before the program runs."""
    fb.bce(x)  # type: ignore[call-overload]
    fb.bce(x, y, None)  # type: ignore[call-overload]
    fb.bce({"a"}, y)  # type: ignore[call-overload]
    fb.bce(x, object())  # type: ignore[call-overload]
    fb.bce(x, y, reduction=None)  # type: ignore[call-overload]
    fb.bce(x, y, label_smoothing=None)  # type: ignore[call-overload]
    fb.bce(x, y, eps="tiny")  # type: ignore[call-overload]
    fb.bce(x, y, out=x)  # type: ignore[call-overload]
    fb.bce(x, y, proba_out=x)  # type: ignore[call-overload]
    fb.bce_value_and_grad(x, y, out=[0.0])  # type: ignore[call-overload]
    fb.bce_with_logits(x, y, num_threads=1.5)  # type: ignore[call-overload]
    fb.bce_with_logits_grad_hess(x, y, reduction="sum")  # type: ignore[call-arg]
    fb.bce_with_logits_grad_hess(x, y, out=x)  # type: ignore[call-arg]
    fb.sigmoid_focal_loss(x, y, pos_weight=2)  # type: ignore[call-overload]
    fb.sigmoid_focal_loss(x, y, alpha=None)  # type: ignore[call-overload]
    fb.cross_entropy(x, y, axis=1.0)  # type: ignore[call-overload]
    fb.cross_entropy(x, y, ignore_index=1.5)  # type: ignore[call-overload]
    fb.cross_entropy_grad_hess(x, y, normalizer=2)  # type: ignore[call-arg]
    fb.bce(x, y).sum()  # type: ignore[attr-defined]

    fb.BCELoss(2.0)  # type: ignore[call-overload]
    fb.BCELoss(sample_weight=x)  # type: ignore[call-overload]
    fb.CrossEntropyLoss(axis=None)  # type: ignore[call-overload]
    fb.SigmoidFocalLoss(label_smoothing=0.1)  # type: ignore[call-overload]
    fb.SigmoidFocalLoss().grad_hess(x, y)  # type: ignore[attr-defined]
    fb.BCELoss()(x, y, pos_weight=2)  # type: ignore[call-arg]
    fb.BCELoss()(x, y).sum()  # type: ignore[attr-defined]
    fb.BCELoss().reduction = "sum"  # type: ignore[misc]
    fb.BCELoss().smoothing = 0.1  # type: ignore[attr-defined]
    takes_floats: fb.BCELoss = fb.BCELoss(reduction="none")  # type: ignore[assignment]
    print(takes_floats)
