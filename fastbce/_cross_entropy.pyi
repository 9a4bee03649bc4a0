from typing import Literal, SupportsIndex, overload

from fastbce._typing import Array, Input, Number, Out, Scalar

@overload
def cross_entropy(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float: ...
@overload
def cross_entropy(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> Array: ...
@overload
def cross_entropy(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    reduction: str,
    normalizer: Number | None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float | Array: ...
@overload
def cross_entropy_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float, Array]: ...
@overload
def cross_entropy_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[Array, Array]: ...
@overload
def cross_entropy_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    reduction: str,
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float | Array, Array]: ...
def cross_entropy_grad_hess(
    logits: Input,
    targets: Input,
    *,
    axis: SupportsIndex = -1,
    sample_weight: Input | None = None,
    class_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    ignore_index: SupportsIndex | None = None,
    where: Input | None = None,
    grad_out: Out = None,
    hess_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[Array, Array]: ...
