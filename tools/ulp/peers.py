"""The same for torch, optax and scikit-learn: float32 logits in +-20, where each has the function."""

import numpy as np
from accuracy_cases import CASES, run

NAMES = ("fastbce", "torch", "optax", "scikit-learn")


def _torch(case, x, y):
    import torch
    import torch.nn.functional as F

    functions = {
        "bce_with_logits": F.binary_cross_entropy_with_logits,
        "bce": F.binary_cross_entropy,
        "cross_entropy": F.cross_entropy,
    }
    if case.function not in functions:
        return None
    first = torch.from_numpy(x).requires_grad_()
    targets = torch.from_numpy(y if y.dtype == np.int64 else y.astype(np.float32))
    loss = functions[case.function](first, targets, reduction="none")
    loss.sum().backward()
    return {"loss": loss.detach().numpy(), "gradient": first.grad.numpy()}


def _optax(case, x, y):
    import jax
    import optax

    def focal(x, y):
        return optax.sigmoid_focal_loss(x, y, alpha=0.25, gamma=case.options["gamma"])

    labelled = y.dtype == np.int64
    functions = {
        "bce_with_logits": optax.sigmoid_binary_cross_entropy,
        "sigmoid_focal_loss": focal,
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels
        if labelled
        else optax.softmax_cross_entropy,
    }
    if case.function not in functions:
        return None
    targets = y if y.dtype == np.int64 else y.astype(np.float32)
    loss, back = jax.vjp(lambda x: functions[case.function](x, targets), x)
    return {"loss": np.asarray(loss), "gradient": np.asarray(back(np.ones_like(loss))[0])}


def _sklearn(case, x, y):
    from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss

    if case.function == "bce_with_logits":
        object_ = HalfBinomialLoss()
    elif case.function == "cross_entropy" and y.ndim == 1:
        object_ = HalfMultinomialLoss(n_classes=x.shape[1])
    else:
        return None
    loss, gradient = object_.loss_gradient(y.astype(np.float32), x)
    results = {"loss": loss, "gradient": gradient}
    if case.function == "bce_with_logits":
        results["hessian"] = object_.gradient_hessian(y.astype(np.float32), x)[1]
    return results


CALLS = {
    "fastbce": lambda case, x, y: run(case, (x, y)),
    "torch": _torch,
    "optax": _optax,
    "scikit-learn": _sklearn,
}

LINES = (
    ["bce_with_logits, hard", "bce_with_logits, soft", "bce, hard", "bce, soft"]
    + ["sigmoid_focal_loss, hard, gamma 2", "sigmoid_focal_loss, soft, gamma 2"]
    + [f"cross_entropy, {what}, uniform, 2 to 128 classes" for what in ("labels", "soft rows")]
    + [
        "cross_entropy, labels, confident, 2 to 128 classes",
        "cross_entropy, labels, uniform, 129 to 262,144 classes",
    ]
)


def _inputs(case, size):
    rng = np.random.default_rng(20)
    if case.rows:
        classes = 1000 if case.classes[0] > 10 else 10
        x, y = case.draw(rng, (size // classes, classes), "float32")
        return x, y, f"{classes} classes"
    x, y = case.draw(rng, size, "float32")
    if case.function == "bce":
        return x, y, "[0, 1]"
    return (
        np.concatenate([rng.uniform(-20, 20, size // 2).astype(np.float32), x[size // 2 :].clip(-20, 20)]),
        y,
        "±20",
    )


def measure(exact, size=1 << 20):
    """Yield (case, interval, result, library, ULP, input or None), without the libraries that are missing."""
    for name in LINES:
        case = CASES[name]
        x, y, where = _inputs(case, size)
        for library, call in CALLS.items():
            try:
                results = call(case, x, y)
            except ImportError:
                continue
            if results is None:
                continue
            errors = exact.errors(case, "float32", (x, y), {r: np.asarray(v) for r, v in results.items()})
            for result, error in errors.items():
                if result == "probability" or (result == "hessian" and case.rows):  # no other library has it
                    continue
                i = int(error.argmax())
                at = None if case.rows else (x[i], y[i])
                yield name, where, result, library, float(error[i]), at
