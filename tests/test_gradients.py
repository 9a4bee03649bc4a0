"""The gradient is the slope of the loss that is returned: against differences of losses, in float64."""

import numpy as np
import pytest
from cases import CLASS_WEIGHT, SMOOTHED, inputs, loss_of, losses_shape, value_and_grad_of

# A central difference of fourth order: its own error is about STEP**4 times the fifth derivative.
STEP = 5e-4
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
SHAPE = (4, 3)


def slope(loss, point):
    """The gradient of `loss` at `point`, one coordinate at a time."""
    grad = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        for steps, factor in STENCIL:
            moved = point.copy()
            moved[index] += steps * STEP
            grad[index] += factor * loss(moved) / STEP
    return grad


def options_of(function, soft):
    """Sets of options worth a gradient of their own."""
    elements = losses_shape(function, SHAPE)
    rng = np.random.default_rng(7)
    weight = rng.uniform(0.5, 2, elements)
    where = np.ones(elements, bool)
    where[1] = False
    sets = [
        {},
        {"sample_weight": weight},
        {"sample_weight": weight * np.where(rng.random(elements) < 0.3, -1, 1)},
        {"where": where, "sample_weight": weight},
    ]
    if function in SMOOTHED:
        sets += [{"label_smoothing": 0.2}, {"label_smoothing": 1.0, "where": where}]
    if function == "sigmoid_focal_loss":
        sets += [{"alpha": alpha, "sample_weight": weight} for alpha in (-1.0, 0.0, 0.7, 1.0)]
        sets += [{"gamma": gamma, "where": where} for gamma in (0.0, 0.5, 1.0, 3.75)]
    if function == "cross_entropy":
        class_weight = rng.uniform(0.5, 2, SHAPE[-1])
        sets += [{"class_weight": class_weight}]
        sets += [{"class_weight": class_weight, "label_smoothing": 0.3, "sample_weight": weight}]
        sets += [] if soft else [{"class_weight": class_weight, "ignore_index": 1, "label_smoothing": 0.1}]
    elif function in CLASS_WEIGHT:
        power = rng.uniform(0.5, 4, SHAPE)
        sets += [{"pos_weight": 3.0}, {"pos_weight": power, "label_smoothing": 0.1, "sample_weight": weight}]
    if function == "bce":
        sets += [{"eps": 1e-6, "sample_weight": weight}, {"eps": 0.25}]
    return sets


def point_of(function, soft):
    """Logits within 3, or probabilities that stay away, also when stepped, from the ends and from eps."""
    first, targets = inputs(function, SHAPE, np.float64, soft=soft, seed=8)
    if function == "bce":
        return np.linspace(0.21, 0.81, first.size).reshape(SHAPE), targets
    return np.clip(first, -3, 3), targets


@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_gradient_is_the_slope_of_the_loss(function, soft, reduction):
    first, targets = point_of(function, soft)
    for options in options_of(function, soft):
        options["reduction"] = reduction

        def loss(point, options=options):
            return loss_of(function)(point, targets, **options)

        grad = value_and_grad_of(function)(first, targets, **options)[1]
        np.testing.assert_allclose(grad, slope(loss, first), rtol=0, atol=5e-9, err_msg=str(options))


def test_gradient_of_each_loss(function, soft):
    """With reduction="none" it is that of each loss by itself, and of their sum."""
    first, targets = point_of(function, soft)
    for options in options_of(function, soft):

        def loss(point, options=options):
            return float(np.sum(loss_of(function)(point, targets, reduction="none", **options)))

        grad = value_and_grad_of(function)(first, targets, reduction="none", **options)[1]
        np.testing.assert_allclose(grad, slope(loss, first), rtol=0, atol=5e-9, err_msg=str(options))


def test_gradient_where_probabilities_are_clipped():
    """It is 0 where clipping moved them, and that of the log elsewhere, the bounds included."""
    probs = np.array([0.0, 0.05, 0.1, 0.2, 0.9, 0.95, 1.0])
    for target, expected in ((1, [0, 0, -10, -5, -1 / 0.9, 0, 0]), (0, [0, 0, 1 / 0.9, 1.25, 10, 0, 0])):
        targets = np.full(probs.shape, target)
        grad = value_and_grad_of("bce")(probs, targets, eps=0.1, reduction="sum")[1]
        np.testing.assert_allclose(grad, expected, rtol=1e-14)


def test_gradients_over_the_classes_add_up_to_nothing(dtype, soft):
    """Moving all logits of a row together changes nothing."""
    first, targets = inputs("cross_entropy", (50, 7), dtype, soft=soft)
    grad = value_and_grad_of("cross_entropy")(first, targets, reduction="none", label_smoothing=0.1)[1]
    np.testing.assert_allclose(grad.astype(np.float64).sum(axis=1), 0, atol=8 * np.finfo(dtype).eps)
