"""Binary and softmax cross-entropy with gradients over NumPy buffers: fast, accurate, dependable."""

try:
    from fastbce._bce import (
        bce,
        bce_value_and_grad,
        bce_with_logits,
        bce_with_logits_grad_hess,
        bce_with_logits_value_and_grad,
        sigmoid_focal_loss,
        sigmoid_focal_loss_value_and_grad,
    )
except ModuleNotFoundError as _error:
    if _error.name != "fastbce._bce":
        raise
    raise ImportError(
        f"fastbce: expected a compiled package, got its sources in {__path__[0].removesuffix('fastbce')}:"
        " leave that folder; or make build, and take .venv/bin/python there"
    ) from None
from fastbce._cross_entropy import cross_entropy, cross_entropy_grad_hess, cross_entropy_value_and_grad
from fastbce._threads import get_num_threads, set_num_threads, show_config, threads
from fastbce.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, SigmoidFocalLoss

# Not looked up when asked for: where a module has a __getattr__, every `fb.name` is slower.
__version__ = "0.1.0"

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "SigmoidFocalLoss",
    "bce",
    "bce_value_and_grad",
    "bce_with_logits",
    "bce_with_logits_grad_hess",
    "bce_with_logits_value_and_grad",
    "cross_entropy",
    "cross_entropy_grad_hess",
    "cross_entropy_value_and_grad",
    "get_num_threads",
    "set_num_threads",
    "show_config",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_value_and_grad",
    "threads",
]
