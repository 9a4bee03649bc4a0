"""What torch returns in float64, forward, backward and twice backward; and where it is torch that is off."""

import numpy as np
import pytest
from cases import loss_of, value_and_grad_of

import fastbce as fb

torch = pytest.importorskip("torch")
F = torch.nn.functional

REDUCTIONS = ("none", "sum", "mean")
INF = float("inf")


def assert_agree(actual, expected, what=""):
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-14, err_msg=str(what))


def tensor(array):
    return None if array is None else torch.from_numpy(np.array(array, order="C"))


def forward_and_backward(loss, first):
    """What `loss` returns for a tensor, and its gradient, or that of its sum."""
    leaf = tensor(first).requires_grad_()
    value = loss(leaf)
    value.sum().backward()
    return value, leaf.grad


def second_derivatives(loss, first, axis=None):
    """The Hessian's diagonal, for a sum over elements, or rows along `axis`, that do not touch each other."""
    leaf = tensor(first).requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    if axis is None:
        return torch.autograd.grad(grad.sum(), leaf)[0]
    hess = torch.zeros_like(leaf)
    for c in range(leaf.shape[axis]):
        (of_class,) = torch.autograd.grad(grad.select(axis, c).sum(), leaf, retain_graph=True)
        hess.select(axis, c).copy_(of_class.select(axis, c))
    return hess


def check(function, loss, first, targets, **options):
    value, grad = forward_and_backward(loss, first)
    actual = value_and_grad_of(function)(first, targets, **options)
    assert_agree(actual[0], value, options)
    assert_agree(actual[1], grad, options)
    assert_agree(loss_of(function)(first, targets, **options), value, options)


# --- two classes --------------------------------------------------------------------------------------------


def binary(shape, soft):
    rng = np.random.default_rng(len(shape))
    targets = rng.random(shape) if soft else rng.integers(0, 2, shape).astype(float)
    return rng.normal(scale=5, size=shape), targets, rng.uniform(0.25, 3, shape)


SHAPES = [(), (7,), (5, 4), (3, 4, 5)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, "all", "column"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_binary_cross_entropy(soft, shape, weighted, reduction):
    logits, targets, weight = binary(shape, soft)
    probs = 1 / (1 + np.exp(-logits))
    weight = {False: None, "all": weight, "column": weight[..., :1] if shape else weight}[weighted]

    def loss(p):
        return F.binary_cross_entropy(p, tensor(targets), weight=tensor(weight), reduction=reduction)

    check("bce", loss, probs, targets, sample_weight=weight, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("power", [None, "one", "last", "all"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_binary_cross_entropy_with_logits(soft, shape, power, weighted, reduction):
    logits, targets, weight = binary(shape, soft)
    rng = np.random.default_rng(1)
    sizes = {None: None, "one": (), "last": shape[-1:], "all": shape}
    pos_weight = None if power is None else rng.uniform(0, 4, sizes[power])
    weight = weight if weighted else None

    def loss(x, reduction=reduction):
        return F.binary_cross_entropy_with_logits(
            x, tensor(targets), weight=tensor(weight), pos_weight=tensor(pos_weight), reduction=reduction
        )

    options = {"sample_weight": weight, "pos_weight": pos_weight}
    check("bce_with_logits", loss, logits, targets, reduction=reduction, **options)
    grad, hess = fb.bce_with_logits_grad_hess(logits, targets, **options)
    assert_agree(grad, forward_and_backward(lambda x: loss(x, "sum"), logits)[1])
    assert_agree(hess, second_derivatives(lambda x: loss(x, "sum"), logits))


def torchvision_focal_loss(inputs, targets, alpha, gamma, reduction):
    """torchvision.ops.sigmoid_focal_loss, as its source has it."""
    p = torch.sigmoid(inputs)
    ce_loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = ce_loss * ((1 - p_t) ** gamma)
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[reduction]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.75])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.25, 0.8, 1.0])
def test_sigmoid_focal_loss(soft, alpha, gamma, reduction):
    """Logits within 5: beyond, torch's 1 - p_t has lost its digits."""
    logits, targets, _ = binary((6, 5), soft)
    logits = np.clip(logits, -5, 5)

    def loss(x):
        return torchvision_focal_loss(x, tensor(targets), alpha, gamma, reduction)

    check("sigmoid_focal_loss", loss, logits, targets, alpha=alpha, gamma=gamma, reduction=reduction)


# --- several classes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignore_index", [None, -100, 1, "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4,), (6, 4), (3, 4, 5), (2, 4, 3, 2)], ids=str)
def test_cross_entropy(shape, weighted, smoothing, ignore_index, reduction):
    """torch's class axis is the second, or the only one; its mean is our weighted_mean, or mean for rows."""
    axis = 0 if len(shape) == 1 else 1
    rng = np.random.default_rng(2)
    logits = rng.normal(scale=4, size=shape)
    samples = (*shape[:axis], *shape[axis + 1 :])
    options = {"class_weight": rng.uniform(0.25, 3, shape[axis]) if weighted else None}
    options["label_smoothing"] = smoothing
    arguments = {"weight": tensor(options["class_weight"]), "label_smoothing": smoothing}
    if ignore_index == "probabilities":
        targets = np.moveaxis(rng.dirichlet(np.ones(shape[axis]), samples), -1, axis)
    else:
        targets = rng.choice([0, 2, 3], samples)
        if ignore_index is not None and samples:
            targets[rng.random(samples) < 0.3] = ignore_index
        options["ignore_index"] = ignore_index
        arguments["ignore_index"] = -100 if ignore_index is None else ignore_index
    ours = "weighted_mean" if reduction == "mean" and targets.ndim < logits.ndim else reduction

    def loss(x, reduction=reduction):
        return F.cross_entropy(x, tensor(np.asarray(targets)), reduction=reduction, **arguments)

    check("cross_entropy", loss, logits, targets, axis=axis, reduction=ours, **options)
    grad, hess = fb.cross_entropy_grad_hess(logits, targets, axis=axis, **options)
    assert_agree(grad, forward_and_backward(lambda x: loss(x, "sum"), logits)[1])
    assert_agree(hess, second_derivatives(lambda x: loss(x, "sum"), logits, axis))


def test_mean_of_nothing_is_nan_in_torch_too():
    logits, labels = np.zeros((2, 3)), np.full(2, -100)
    assert torch.isnan(F.cross_entropy(tensor(logits), tensor(labels)))
    assert np.isnan(fb.cross_entropy(logits, labels, ignore_index=-100))


# --- where torch is off -------------------------------------------------------------------------------------
# Each test shows what torch returns, and what the mathematics, or its own rule, says.


def test_torch_limits_the_gradient_of_float64_probabilities_by_a_float32():
    """Its constant 1e-12 is a C float, in float64 too: 6e-9 away. Ours is a double there."""
    _, grad = forward_and_backward(
        lambda p: F.binary_cross_entropy(p, tensor(np.array([1.0, 0.0])), reduction="none"),
        np.array([0.0, 1.0]),
    )
    np.testing.assert_allclose(grad.numpy(), np.array([-1, 1]) / float(np.float32(1e-12)), rtol=1e-14)
    ours = fb.bce_value_and_grad(np.array([0.0, 1.0]), [1.0, 0.0], reduction="none")[1]
    np.testing.assert_allclose(ours, [-1e12, 1e12], rtol=1e-14)


def test_torch_loses_small_losses():
    """x - logsigmoid(x) is a difference of 15 and 15: log1p(exp(-15)) is 3.06e-7, and torch's loss 0."""
    logits, zeros = np.array([-15, -20, -30], np.float32), np.zeros(3, np.float32)
    theirs = F.binary_cross_entropy_with_logits(tensor(logits), tensor(zeros), reduction="none")
    assert not theirs.any()
    exact = np.log1p(np.exp(logits.astype(np.float64)))
    np.testing.assert_allclose(fb.bce_with_logits(logits, zeros, reduction="none"), exact, rtol=1e-7)


def test_torch_has_nan_for_infinite_logits_that_are_right():
    """0 * inf; the limit is 0."""
    logits, targets = np.array([INF, -INF]), np.array([1.0, 0.0])
    theirs = F.binary_cross_entropy_with_logits(tensor(logits), tensor(targets), reduction="none")
    assert torch.isnan(theirs).all()
    np.testing.assert_array_equal(fb.bce_with_logits(logits, targets, reduction="none"), [0, 0])
    rows = np.array([[INF, 0.0]])
    assert torch.isnan(F.cross_entropy(tensor(rows), torch.tensor([0])))
    assert fb.cross_entropy(rows, [0]) == 0


def test_torch_has_nan_for_an_infinite_logit_that_is_wrong():
    """A loss of +inf at +inf, and of nan at -inf: inf - inf."""
    logits, targets = np.array([INF, -INF]), np.array([0.0, 1.0])
    theirs = F.binary_cross_entropy_with_logits(tensor(logits), tensor(targets), reduction="none")
    assert theirs[0] == INF
    assert torch.isnan(theirs[1])
    np.testing.assert_array_equal(fb.bce_with_logits(logits, targets, reduction="none"), [INF, INF])


def test_torch_has_nan_for_an_absent_class_with_probability_targets():
    """0 * inf. A class of logit -inf and target 0 is as if it were absent: in torch, for labels only."""
    rows, targets = np.array([[0.0, -INF, 1.0]]), np.array([[0.5, 0.0, 0.5]])
    assert torch.isnan(F.cross_entropy(tensor(rows), tensor(targets)))
    without = fb.cross_entropy(rows[:, [0, 2]], np.array([[0.5, 0.5]]))
    assert_agree(without, F.cross_entropy(tensor(rows[:, [0, 2]]), tensor(targets[:, [0, 2]])))
    assert_agree(fb.cross_entropy(rows, targets), without)


def test_torch_loses_the_gradient_of_a_confident_row():
    """p - 1 is 0 once p rounds to 1; and so is the loss. exp(-40) is not."""
    rows = np.array([[40.0, 0.0, 0.0]])
    loss, grad = forward_and_backward(lambda x: F.cross_entropy(x, torch.tensor([0])), rows)
    assert loss == 0
    assert grad[0, 0] == 0
    ours = fb.cross_entropy_value_and_grad(rows, [0])
    rest = 2 * np.exp(-40) / (1 + 2 * np.exp(-40))
    np.testing.assert_allclose(ours[0], np.log1p(2 * np.exp(-40)), rtol=1e-14)
    np.testing.assert_allclose(ours[1], [[-rest, rest / 2, rest / 2]], rtol=1e-14)


def test_torchvision_loses_focal_losses_of_confident_logits():
    """1 - p_t is 0 once p_t rounds to 1; and with gamma below 1, the slope of its power is infinite there."""
    logits, ones = np.array([40.0]), np.ones(1)
    loss, grad = forward_and_backward(
        lambda x: torchvision_focal_loss(x, tensor(ones), -1, 2.0, "none"), logits
    )
    assert loss == 0
    assert grad == 0
    _, grad = forward_and_backward(lambda x: torchvision_focal_loss(x, tensor(ones), -1, 0.5, "none"), logits)
    assert torch.isnan(grad).all()
    for gamma in (0.5, 2.0):
        ours = fb.sigmoid_focal_loss_value_and_grad(logits, ones, alpha=-1, gamma=gamma, reduction="none")
        exact = np.exp(-40 * (1 + gamma))  # but for terms 1e17 times smaller
        np.testing.assert_allclose(ours[0], exact, rtol=1e-13)
        np.testing.assert_allclose(ours[1], -(1 + gamma) * exact, rtol=1e-13)
