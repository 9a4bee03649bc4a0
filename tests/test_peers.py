"""What optax (float64) and scikit-learn return, gradients and Hessians included; and where those are off."""

import numpy as np
import pytest
from cases import loss_of, value_and_grad_of

import fastbce as fb

INF = float("inf")


def assert_agree(actual, expected, what=""):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=1e-10, atol=1e-14, err_msg=str(what))


def logits_and_targets(shape, soft, classes=None):
    """Targets between 0 and 1, or labels and rows of `classes`."""
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=4, size=shape)
    if classes is None:
        return logits, rng.random(shape) if soft else rng.integers(0, 2, shape).astype(float)
    return logits, rng.dirichlet(np.ones(classes), shape[:-1]) if soft else rng.integers(
        0, classes, shape[:-1]
    )


# --- optax --------------------------------------------------------------------------------------------------


@pytest.fixture
def optax():
    """With float64 switched on for the test alone."""
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    with jax.enable_x64(True):
        yield optax


def check_optax(function, loss, logits, targets, **options):
    """Each loss, and the gradient of their sum."""
    import jax

    assert_agree(loss_of(function)(logits, targets, reduction="none", **options), loss(logits), options)
    total, grad = jax.value_and_grad(lambda x: loss(x).sum())(jax.numpy.asarray(logits))
    assert grad.dtype == np.float64
    ours = value_and_grad_of(function)(logits, targets, reduction="sum", **options)
    assert_agree(ours[0], total, options)
    assert_agree(ours[1], grad, options)


def test_sigmoid_binary_cross_entropy(optax, soft):
    logits, targets = logits_and_targets((5, 4), soft)
    check_optax("bce_with_logits", lambda x: optax.sigmoid_binary_cross_entropy(x, targets), logits, targets)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.75])
@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 1.0])
def test_sigmoid_focal_loss(optax, soft, alpha, gamma):
    """Its alpha of None is our -1. Logits within 5: beyond, its 1 - p_t has lost digits."""
    logits, targets = logits_and_targets((5, 4), soft)
    logits = np.clip(logits, -5, 5)

    def loss(x):
        return optax.sigmoid_focal_loss(x, targets, alpha=alpha, gamma=gamma)

    ours = -1.0 if alpha is None else alpha
    check_optax("sigmoid_focal_loss", loss, logits, targets, alpha=ours, gamma=gamma)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_cross_entropy(optax, soft, axis):
    logits, targets = logits_and_targets((3, 5, 4), soft, 4)
    if soft:
        targets = np.moveaxis(targets, -1, axis)
    logits = np.moveaxis(logits, -1, axis)
    loss = optax.softmax_cross_entropy if soft else optax.softmax_cross_entropy_with_integer_labels
    check_optax("cross_entropy", lambda x: loss(x, targets, axis=axis), logits, targets, axis=axis)


def test_absent_classes(optax):
    """A mask of classes is a logit of -inf here; optax, as torch, then has nan with probability targets."""
    logits = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -3.0]])
    present = np.array([[True, False, True], [True, True, False]])
    labels = np.array([2, 0])
    theirs = optax.softmax_cross_entropy_with_integer_labels(logits, labels, where=present)
    masked = np.where(present, logits, -INF)
    assert_agree(fb.cross_entropy(masked, labels, reduction="none"), theirs)
    rows = np.eye(3)[labels]
    assert_agree(fb.cross_entropy(masked, rows, reduction="none"), theirs)
    assert np.isnan(optax.softmax_cross_entropy(masked, rows)).all()


def test_optax_has_nan_for_infinite_logits_that_are_right(optax):
    """0 * inf; the limit is 0."""
    logits, targets = np.array([INF, -INF]), np.array([1.0, 0.0])
    assert np.isnan(optax.sigmoid_binary_cross_entropy(logits, targets)).all()
    np.testing.assert_array_equal(fb.bce_with_logits(logits, targets, reduction="none"), [0, 0])


# --- scikit-learn -------------------------------------------------------------------------------------------


@pytest.fixture
def log_loss():
    return pytest.importorskip("sklearn.metrics").log_loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_of_two_classes(log_loss, dtype, normalize, weighted):
    """It clips to the epsilon of the dtype, 0 and 1 included, and its mean is a weighted_mean."""
    rng = np.random.default_rng(4)
    probs = np.concatenate([[0, 1, 0, 1, 1e-20], rng.random(20)]).astype(dtype)
    labels = np.concatenate([[0, 1, 1, 0, 1], rng.integers(0, 2, 20)])
    weight = rng.uniform(0, 3, 25) if weighted else None
    ours = fb.bce(
        probs, labels, eps=float(np.finfo(dtype).eps), sample_weight=weight,
        reduction="weighted_mean" if normalize else "sum",
    )  # fmt: skip
    theirs = log_loss(labels, probs, sample_weight=weight, normalize=normalize)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10 if dtype == np.float64 else 1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_log_loss_of_several_classes(log_loss, weighted):
    """Of probabilities; ours of the logits they come from."""
    logits, labels = logits_and_targets((30, 4), False, 4)
    weight = np.random.default_rng(5).uniform(0, 3, 30) if weighted else None
    probs = np.empty_like(logits)
    ours = fb.cross_entropy(logits, labels, sample_weight=weight, reduction="weighted_mean", proba_out=probs)
    assert_agree(log_loss(labels, probs, sample_weight=weight, labels=range(4)), ours)


@pytest.fixture
def sklearn_losses():
    return pytest.importorskip("sklearn._loss.loss")


@pytest.mark.parametrize("weighted", [False, True])
def test_half_binomial_loss(sklearn_losses, soft, weighted):
    logits, targets = logits_and_targets((50,), soft)
    weight = np.random.default_rng(6).uniform(0, 3, 50) if weighted else None
    peer, arguments = sklearn_losses.HalfBinomialLoss(), {"y_true": targets, "raw_prediction": logits}
    loss, grad = value_and_grad_of("bce_with_logits")(logits, targets, sample_weight=weight, reduction="none")
    theirs = peer.loss_gradient(**arguments, sample_weight=weight)
    assert_agree(loss, theirs[0])
    assert_agree(grad, theirs[1])
    grad, hess = fb.bce_with_logits_grad_hess(logits, targets, sample_weight=weight)
    theirs = peer.gradient_hessian(**arguments, sample_weight=weight)
    assert_agree(grad, theirs[0])
    assert_agree(hess, theirs[1])


@pytest.mark.parametrize("weighted", [False, True])
def test_half_multinomial_loss(sklearn_losses, weighted):
    logits, labels = logits_and_targets((50, 4), False, 4)
    weight = np.random.default_rng(7).uniform(0, 3, 50) if weighted else None
    peer = sklearn_losses.HalfMultinomialLoss(n_classes=4)
    arguments = {"y_true": labels.astype(float), "raw_prediction": np.asfortranarray(logits)}
    probs = np.empty_like(logits)
    loss, grad = value_and_grad_of("cross_entropy")(
        logits, labels, sample_weight=weight, reduction="none", proba_out=probs
    )
    theirs = peer.loss_gradient(**arguments, sample_weight=weight)
    assert_agree(loss, theirs[0])
    assert_agree(grad, theirs[1])
    assert_agree(probs, peer.gradient_proba(**arguments)[1])
    grad, hess = fb.cross_entropy_grad_hess(logits, labels, sample_weight=weight)
    theirs = peer.gradient_hessian(**arguments, sample_weight=weight)
    assert_agree(grad, theirs[0])
    assert_agree(hess, theirs[1])


def test_scikit_learn_loses_the_gradient_and_hessian_of_a_confident_row(sklearn_losses):
    """p - 1 and p (1 - p) are 0 once p rounds to 1: as if nothing were left to learn."""
    logits = np.array([[40.0, 0.0, 0.0]])
    peer = sklearn_losses.HalfMultinomialLoss(n_classes=3)
    theirs = peer.gradient_hessian(y_true=np.zeros(1), raw_prediction=np.asfortranarray(logits))
    assert theirs[0][0, 0] == 0
    assert theirs[1][0, 0] == 0
    grad, hess = fb.cross_entropy_grad_hess(logits, [0])
    rest = 2 * np.exp(-40)  # but for terms 1e17 times smaller
    np.testing.assert_allclose(grad, [[-rest, rest / 2, rest / 2]], rtol=1e-14)
    np.testing.assert_allclose(hess, [[rest, rest / 2, rest / 2]], rtol=1e-14)
