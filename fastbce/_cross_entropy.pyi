from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Array: TypeAlias = NDArray[np.floating[Any]]
_Out: TypeAlias = NDArray[Any] | None
_Scalar: TypeAlias = Literal["sum", "mean", "weighted_mean"]

@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: int = -1,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    reduction: _Scalar = "mean",
    normalizer: float | None = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> float: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: int = -1,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> _Array: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: int = -1,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    reduction: _Scalar = "mean",
    normalizer: float | None = None,
    out: _Out = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> tuple[float, _Array]: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: int = -1,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: _Out = None,
    loss_out: _Out = None,
    proba_out: _Out = None,
    num_threads: int | None = None,
) -> tuple[_Array, _Array]: ...
