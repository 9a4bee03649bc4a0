"""Losses as values: objects that hold the options which describe a loss."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar, overload

import numpy as np

from fastbce._arrays import _converted
from fastbce._bce import (
    bce,
    bce_value_and_grad,
    bce_with_logits,
    bce_with_logits_grad_hess,
    bce_with_logits_value_and_grad,
    sigmoid_focal_loss,
    sigmoid_focal_loss_value_and_grad,
)
from fastbce._cross_entropy import cross_entropy, cross_entropy_grad_hess, cross_entropy_value_and_grad

if TYPE_CHECKING:
    from typing import SupportsIndex

    import typing_extensions
    from numpy.typing import NDArray

    from fastbce._typing import Array, Input, Number, Out, Scalar

    # What a call returns: a float, or an array with reduction="none". `BCELoss` alone means `BCELoss[float]`.
    Value = typing_extensions.TypeVar("Value", bound=float | Array, default=float, covariant=True)
else:
    Value = TypeVar("Value")

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "SigmoidFocalLoss"]

# The most elements of an array that repr writes out.
WRITTEN = 1000
# The most dimensions of a NumPy array.
MAX_NDIM = 64


def _as_array(value: Input | None, name: str) -> NDArray[Any] | None:
    return None if value is None else _converted(value, name)


def _kept(array: NDArray[Any] | None) -> float | NDArray[Any] | None:
    """Copy an array into memory that nothing can write to; turn one number into a float that is equal."""
    if array is None:
        return None
    if array.ndim == 0 and isinstance(_numbers(array)[0], float):
        return float(array)
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def _number(x: Any) -> Any:
    """Turn a number into an equal float or int of Python. A long double may be neither, and stays."""
    if x != x or float(x) == x:
        return float(x)
    return int(x) if abs(x) < 2**64 and int(x) == x else x


def _numbers(option: NDArray[Any]) -> list[Any]:
    with np.errstate(all="ignore"):  # a long double may be infinite as a float
        exact = option if option.dtype.kind in "biuf" else option.astype(np.float64)
        return [_number(x) for x in exact.ravel().tolist()]


def _comparable(option: Any) -> Any:
    """Turn an option into what compares and hashes as its value: NaN as itself."""
    if isinstance(option, np.ndarray):
        return option.shape, tuple("nan" if x != x else x for x in _numbers(option))
    return "nan" if option != option else option


def _written(option: Any) -> str:
    """Write an option as Python."""
    if not isinstance(option, np.ndarray):
        text = repr(option)
    elif option.size > WRITTEN:
        return f"<{option.dtype} array of shape {option.shape}>"
    elif option.size == 0:
        return f"np.empty({option.shape})"
    elif all(isinstance(x, float) for x in _numbers(option)):
        text = repr(option.astype(np.float64).tolist())
    else:
        text = repr(option.tolist())
    return re.sub(r"\b(nan|inf)\b", r"float('\1')", text)


def _no_elements(pos_weight: NDArray[Any] | None) -> Array:
    """Logits and targets at once, empty: a call checks its options, and that costs nothing."""
    return np.empty((0,) if pos_weight is None else (0, *pos_weight.shape))


def _no_rows(axis: Any, class_weight: NDArray[Any] | None) -> tuple[Array, NDArray[np.int64]]:
    """Logits that have `axis` and a class for each weight, and labels, without a row: as `_no_elements`."""
    try:
        axis = operator.index(axis)
    except TypeError:
        axis = -1  # cross_entropy says what is wrong
    ndim = min(max(2, axis + 1, -axis), MAX_NDIM)
    shape = [0] * ndim
    shape[axis % ndim] = 1 if class_weight is None or class_weight.ndim == 0 else len(class_weight)
    return np.empty(shape), np.empty([0] * (ndim - 1), np.int64)


class _Loss(Generic[Value]):
    """What the losses share: they are values, which do not change."""

    _defaults: ClassVar[dict[str, Any]]  # of the options, which are attributes of the same name

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._defaults}

    if not TYPE_CHECKING:  # a type checker would take it that any attribute can be set

        def __setattr__(self, name: str, value: object) -> None:
            # Each option once, by __init__. A class derived from these may have other attributes.
            if hasattr(self, name) if name in self._defaults else "_defaults" in vars(type(self)):
                raise AttributeError(f"{type(self).__name__} does not change: {name!r} cannot be set")
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if name in self._defaults:
                raise AttributeError(f"{type(self).__name__} does not change: {name!r} cannot be deleted")
            super().__delattr__(name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name, option in self._options().items():
            if isinstance(option, np.ndarray):  # a copy or an unpickled array can be written to
                vars(self)[name] = _kept(option)

    def _comparable(self) -> tuple[Any, ...]:
        return tuple(_comparable(option) for option in self._options().values())

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self) -> int:
        return hash((type(self), self._comparable()))

    def __repr__(self) -> str:
        given = [
            f"{name}={_written(option)}"
            for name, option in self._options().items()
            if _comparable(option) != self._defaults[name]
        ]
        return f"{type(self).__name__}({', '.join(given)})"


class BCELoss(_Loss[Value]):
    """Binary cross-entropy of probabilities, with its options.

    A value: it never changes, and compares, hashes, prints, copies and pickles by its options.

    Parameters
    ----------
    pos_weight, label_smoothing, eps, reduction
        As in `bce`, checked here, and attributes of the same name. An array is copied.

    Raises
    ------
    TypeError, ValueError
        As in `bce`.

    Examples
    --------
    >>> import fastbce as fb
    >>> loss = fb.BCELoss(pos_weight=2)
    >>> round(loss([0.9, 0.2], [1, 0]), 6)
    0.216932
    """

    @overload
    def __init__(
        self: BCELoss[float],
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        eps: Number | None = None,
        reduction: Scalar = "mean",
    ) -> None: ...
    @overload
    def __init__(
        self: BCELoss[Array],
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        eps: Number | None = None,
        reduction: Literal["none"],
    ) -> None: ...
    @overload
    def __init__(
        self: BCELoss[float | Array],
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        eps: Number | None = None,
        reduction: str,
    ) -> None: ...
    def __init__(
        self,
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        eps: Number | None = None,
        reduction: str = "mean",
    ) -> None:
        positive = _as_array(pos_weight, "pos_weight")
        nothing = _no_elements(positive)
        bce(
            nothing,
            nothing,
            pos_weight=pos_weight,
            label_smoothing=label_smoothing,
            eps=eps,
            reduction=reduction,
        )
        self.pos_weight: Final = _kept(positive)
        self.label_smoothing: Final = float(label_smoothing)
        self.eps: Final = None if eps is None else float(eps)
        self.reduction: Final = str.__str__(reduction)  # of an enumeration, what it is equal to

    _defaults = __init__.__kwdefaults__ or {}

    def __call__(
        self,
        probs: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        loss_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> Value:
        """Compute the loss: `bce` with these options."""
        return bce(  # type: ignore[return-value]
            probs,
            targets,
            sample_weight=sample_weight,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            where=where,
            eps=self.eps,
            reduction=self.reduction,
            normalizer=normalizer,
            loss_out=loss_out,
            num_threads=num_threads,
        )

    def value_and_grad(
        self,
        probs: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        out: Out = None,
        loss_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> tuple[Value, Array]:
        """Compute the loss and its gradient: `bce_value_and_grad` with these options."""
        return bce_value_and_grad(  # type: ignore[return-value]
            probs,
            targets,
            sample_weight=sample_weight,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            where=where,
            eps=self.eps,
            reduction=self.reduction,
            normalizer=normalizer,
            out=out,
            loss_out=loss_out,
            num_threads=num_threads,
        )


class BCEWithLogitsLoss(_Loss[Value]):
    """Binary cross-entropy of logits, with its options.

    A value: it never changes, and compares, hashes, prints, copies and pickles by its options.

    Parameters
    ----------
    pos_weight, label_smoothing, reduction
        As in `bce_with_logits`, checked here, and attributes of the same name. An array is copied.

    Raises
    ------
    TypeError, ValueError
        As in `bce_with_logits`.

    Examples
    --------
    >>> import fastbce as fb
    >>> loss = fb.BCEWithLogitsLoss(pos_weight=[1, 2], reduction="sum")
    >>> loss
    BCEWithLogitsLoss(pos_weight=[1.0, 2.0], reduction='sum')
    >>> value, grad = loss.value_and_grad([0.0, 2.0], [1, 0])
    >>> round(value, 6), grad.round(6).tolist()
    (2.820075, [-0.5, 0.880797])
    """

    @overload
    def __init__(
        self: BCEWithLogitsLoss[float],
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        reduction: Scalar = "mean",
    ) -> None: ...
    @overload
    def __init__(
        self: BCEWithLogitsLoss[Array],
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        reduction: Literal["none"],
    ) -> None: ...
    @overload
    def __init__(
        self: BCEWithLogitsLoss[float | Array],
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        reduction: str,
    ) -> None: ...
    def __init__(
        self,
        *,
        pos_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        reduction: str = "mean",
    ) -> None:
        positive = _as_array(pos_weight, "pos_weight")
        nothing = _no_elements(positive)
        bce_with_logits(
            nothing,
            nothing,
            pos_weight=pos_weight,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
        self.pos_weight: Final = _kept(positive)
        self.label_smoothing: Final = float(label_smoothing)
        self.reduction: Final = str.__str__(reduction)  # of an enumeration, what it is equal to

    _defaults = __init__.__kwdefaults__ or {}

    def __call__(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        loss_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> Value:
        """Compute the loss: `bce_with_logits` with these options."""
        return bce_with_logits(  # type: ignore[return-value]
            logits,
            targets,
            sample_weight=sample_weight,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            where=where,
            reduction=self.reduction,
            normalizer=normalizer,
            loss_out=loss_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )

    def value_and_grad(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        out: Out = None,
        loss_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> tuple[Value, Array]:
        """Compute the loss and its gradient: `bce_with_logits_value_and_grad` with these options."""
        return bce_with_logits_value_and_grad(  # type: ignore[return-value]
            logits,
            targets,
            sample_weight=sample_weight,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            where=where,
            reduction=self.reduction,
            normalizer=normalizer,
            out=out,
            loss_out=loss_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )

    def grad_hess(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        grad_out: Out = None,
        hess_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> tuple[Array, Array]:
        """Compute gradient and Hessian, of each element: `bce_with_logits_grad_hess` with these options."""
        return bce_with_logits_grad_hess(
            logits,
            targets,
            sample_weight=sample_weight,
            pos_weight=self.pos_weight,
            label_smoothing=self.label_smoothing,
            where=where,
            grad_out=grad_out,
            hess_out=hess_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )


class CrossEntropyLoss(_Loss[Value]):
    """Softmax cross-entropy of logits, with its options.

    A value: it never changes, and compares, hashes, prints, copies and pickles by its options.

    Parameters
    ----------
    axis, class_weight, label_smoothing, ignore_index, reduction
        As in `cross_entropy`, checked here, and attributes of the same name. An array is copied. Whether the
        logits have that `axis`, and one class for each of `class_weight`, is checked in each call.

    Raises
    ------
    TypeError, ValueError
        As in `cross_entropy`.

    Notes
    -----
    **With `class_weight`, torch's "mean" is** ``reduction="weighted_mean"``: it divides by the sum of the
    weights. The plain "mean" here divides by the number of rows.

    Examples
    --------
    >>> import fastbce as fb
    >>> loss = fb.CrossEntropyLoss(class_weight=[1, 3], reduction="weighted_mean")
    >>> round(loss([[0.0, 0.0], [2.0, 0.0]], [0, 1]), 6)
    1.768483
    """

    @overload
    def __init__(
        self: CrossEntropyLoss[float],
        *,
        axis: SupportsIndex = -1,
        class_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        ignore_index: SupportsIndex | None = None,
        reduction: Scalar = "mean",
    ) -> None: ...
    @overload
    def __init__(
        self: CrossEntropyLoss[Array],
        *,
        axis: SupportsIndex = -1,
        class_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        ignore_index: SupportsIndex | None = None,
        reduction: Literal["none"],
    ) -> None: ...
    @overload
    def __init__(
        self: CrossEntropyLoss[float | Array],
        *,
        axis: SupportsIndex = -1,
        class_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        ignore_index: SupportsIndex | None = None,
        reduction: str,
    ) -> None: ...
    def __init__(
        self,
        *,
        axis: SupportsIndex = -1,
        class_weight: Input | None = None,
        label_smoothing: Number = 0.0,
        ignore_index: SupportsIndex | None = None,
        reduction: str = "mean",
    ) -> None:
        weights = _as_array(class_weight, "class_weight")
        logits, labels = _no_rows(axis, weights)
        cross_entropy(
            logits,
            labels,
            axis=axis,
            class_weight=class_weight,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        self.axis: Final = operator.index(axis)
        self.class_weight: Final = _kept(weights)
        self.label_smoothing: Final = float(label_smoothing)
        self.ignore_index: Final = None if ignore_index is None else operator.index(ignore_index)
        self.reduction: Final = str.__str__(reduction)  # of an enumeration, what it is equal to

    _defaults = __init__.__kwdefaults__ or {}

    def __call__(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        loss_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> Value:
        """Compute the loss: `cross_entropy` with these options."""
        return cross_entropy(  # type: ignore[return-value]
            logits,
            targets,
            axis=self.axis,
            sample_weight=sample_weight,
            class_weight=self.class_weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            where=where,
            reduction=self.reduction,
            normalizer=normalizer,
            loss_out=loss_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )

    def value_and_grad(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        out: Out = None,
        loss_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> tuple[Value, Array]:
        """Compute the loss and its gradient: `cross_entropy_value_and_grad` with these options."""
        return cross_entropy_value_and_grad(  # type: ignore[return-value]
            logits,
            targets,
            axis=self.axis,
            sample_weight=sample_weight,
            class_weight=self.class_weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            where=where,
            reduction=self.reduction,
            normalizer=normalizer,
            out=out,
            loss_out=loss_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )

    def grad_hess(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        grad_out: Out = None,
        hess_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> tuple[Array, Array]:
        """Compute gradient and Hessian diagonal: `cross_entropy_grad_hess` with these options."""
        return cross_entropy_grad_hess(
            logits,
            targets,
            axis=self.axis,
            sample_weight=sample_weight,
            class_weight=self.class_weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            where=where,
            grad_out=grad_out,
            hess_out=hess_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )


class SigmoidFocalLoss(_Loss[Value]):
    """Focal loss of logits, with its options.

    A value: it never changes, and compares, hashes, prints, copies and pickles by its options.

    Parameters
    ----------
    alpha, gamma, reduction
        As in `sigmoid_focal_loss`, checked here, and attributes of the same name.

    Raises
    ------
    TypeError, ValueError
        As in `sigmoid_focal_loss`.

    Examples
    --------
    >>> import fastbce as fb
    >>> loss = fb.SigmoidFocalLoss(gamma=1.5, reduction="sum")
    >>> value, grad = loss.value_and_grad([0.0, 2.0], [1, 0])
    >>> round(value, 6)
    1.379911
    """

    @overload
    def __init__(
        self: SigmoidFocalLoss[float],
        *,
        alpha: Number = 0.25,
        gamma: Number = 2.0,
        reduction: Scalar = "mean",
    ) -> None: ...
    @overload
    def __init__(
        self: SigmoidFocalLoss[Array],
        *,
        alpha: Number = 0.25,
        gamma: Number = 2.0,
        reduction: Literal["none"],
    ) -> None: ...
    @overload
    def __init__(
        self: SigmoidFocalLoss[float | Array],
        *,
        alpha: Number = 0.25,
        gamma: Number = 2.0,
        reduction: str,
    ) -> None: ...
    def __init__(
        self,
        *,
        alpha: Number = 0.25,
        gamma: Number = 2.0,
        reduction: str = "mean",
    ) -> None:
        nothing = _no_elements(None)
        sigmoid_focal_loss(nothing, nothing, alpha=alpha, gamma=gamma, reduction=reduction)
        self.alpha: Final = float(alpha)
        self.gamma: Final = float(gamma)
        self.reduction: Final = str.__str__(reduction)  # of an enumeration, what it is equal to

    _defaults = __init__.__kwdefaults__ or {}

    def __call__(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        loss_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> Value:
        """Compute the loss: `sigmoid_focal_loss` with these options."""
        return sigmoid_focal_loss(  # type: ignore[return-value]
            logits,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            sample_weight=sample_weight,
            where=where,
            reduction=self.reduction,
            normalizer=normalizer,
            loss_out=loss_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )

    def value_and_grad(
        self,
        logits: Input,
        targets: Input,
        *,
        sample_weight: Input | None = None,
        where: Input | None = None,
        normalizer: Number | None = None,
        out: Out = None,
        loss_out: Out = None,
        proba_out: Out = None,
        num_threads: SupportsIndex | None = None,
    ) -> tuple[Value, Array]:
        """Compute the loss and its gradient: `sigmoid_focal_loss_value_and_grad` with these options."""
        return sigmoid_focal_loss_value_and_grad(  # type: ignore[return-value]
            logits,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            sample_weight=sample_weight,
            where=where,
            reduction=self.reduction,
            normalizer=normalizer,
            out=out,
            loss_out=loss_out,
            proba_out=proba_out,
            num_threads=num_threads,
        )
