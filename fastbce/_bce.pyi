from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Array: TypeAlias = NDArray[np.floating[Any]]
_Out: TypeAlias = NDArray[Any] | None
_Scalar: TypeAlias = Literal["sum", "mean", "weighted_mean"]

@overload
def bce(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    eps: float | None = None,
    reduction: _Scalar = "mean",
    normalizer: float | None = None,
    loss_out: _Out = None,
    num_threads: int | None = None,
) -> float: ...
@overload
def bce(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    eps: float | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: _Out = None,
    num_threads: int | None = None,
) -> _Array: ...
@overload
def bce_value_and_grad(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    eps: float | None = None,
    reduction: _Scalar = "mean",
    normalizer: float | None = None,
    out: _Out = None,
    loss_out: _Out = None,
    num_threads: int | None = None,
) -> tuple[float, _Array]: ...
@overload
def bce_value_and_grad(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    eps: float | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: _Out = None,
    loss_out: _Out = None,
    num_threads: int | None = None,
) -> tuple[_Array, _Array]: ...
@overload
def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    reduction: _Scalar = "mean",
    normalizer: float | None = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> float: ...
@overload
def bce_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> _Array: ...
@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    reduction: _Scalar = "mean",
    normalizer: float | None = None,
    out: _Out = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> tuple[float, _Array]: ...
@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: _Out = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> tuple[_Array, _Array]: ...
