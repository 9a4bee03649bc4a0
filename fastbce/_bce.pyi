from typing import Literal, SupportsIndex, overload

from fastbce._typing import Array, Input, Number, Out, Scalar

@overload
def bce(
    probs: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    eps: Number | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    loss_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float: ...
@overload
def bce(
    probs: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    eps: Number | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> Array: ...
@overload
def bce(
    probs: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    eps: Number | None = None,
    reduction: str,
    normalizer: Number | None = None,
    loss_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float | Array: ...
@overload
def bce_value_and_grad(
    probs: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    eps: Number | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float, Array]: ...
@overload
def bce_value_and_grad(
    probs: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    eps: Number | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: Out = None,
    loss_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[Array, Array]: ...
@overload
def bce_value_and_grad(
    probs: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    eps: Number | None = None,
    reduction: str,
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float | Array, Array]: ...
@overload
def bce_with_logits(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float: ...
@overload
def bce_with_logits(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> Array: ...
@overload
def bce_with_logits(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    reduction: str,
    normalizer: Number | None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float | Array: ...
@overload
def bce_with_logits_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float, Array]: ...
@overload
def bce_with_logits_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[Array, Array]: ...
@overload
def bce_with_logits_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    reduction: str,
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float | Array, Array]: ...
def bce_with_logits_grad_hess(
    logits: Input,
    targets: Input,
    *,
    sample_weight: Input | None = None,
    pos_weight: Input | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    grad_out: Out = None,
    hess_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[Array, Array]: ...
@overload
def sigmoid_focal_loss(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.25,
    gamma: Number = 2.0,
    sample_weight: Input | None = None,
    where: Input | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float: ...
@overload
def sigmoid_focal_loss(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.25,
    gamma: Number = 2.0,
    sample_weight: Input | None = None,
    where: Input | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> Array: ...
@overload
def sigmoid_focal_loss(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.25,
    gamma: Number = 2.0,
    sample_weight: Input | None = None,
    where: Input | None = None,
    reduction: str,
    normalizer: Number | None = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> float | Array: ...
@overload
def sigmoid_focal_loss_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.25,
    gamma: Number = 2.0,
    sample_weight: Input | None = None,
    where: Input | None = None,
    reduction: Scalar = "mean",
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float, Array]: ...
@overload
def sigmoid_focal_loss_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.25,
    gamma: Number = 2.0,
    sample_weight: Input | None = None,
    where: Input | None = None,
    reduction: Literal["none"],
    normalizer: None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[Array, Array]: ...
@overload
def sigmoid_focal_loss_value_and_grad(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.25,
    gamma: Number = 2.0,
    sample_weight: Input | None = None,
    where: Input | None = None,
    reduction: str,
    normalizer: Number | None = None,
    out: Out = None,
    loss_out: Out = None,
    proba_out: Out = None,
    num_threads: SupportsIndex | None = None,
) -> tuple[float | Array, Array]: ...
