"""Binary losses, all arrays in Fortran order or broadcast: column by column, with the bits of C order."""

import numpy as np
import pytest
from cases import WITH_LOGITS, grad_hess_of, inputs, loss_of, same_bits, value_and_grad_of

import fastbce as fb

# Panels that end within rows, of few columns and many, whole vectors of rows or not, one chunk or several.
# With more threads, or a small second-level cache, some are transposed instead.
SHAPES = [(5000, 7), (1300, 97), (1200, 128), (700, 1000)]
FUNCTIONS = ["bce", "bce_with_logits", "sigmoid_focal_loss"]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=FUNCTIONS)
def binary(request):
    return request.param


def exactly(array):
    return np.asfortranarray(array)


def between_others(array):
    """In memory that has more columns before and behind, and more rows."""
    large = np.full((array.shape[1] + 2, array.shape[0] + 3), 1, array.dtype)
    large[1:-1, 2:-1] = array.T
    return large[1:-1, 2:-1].T


@pytest.fixture(params=[exactly, between_others], ids=lambda one: one.__name__)
def lay(request):
    return request.param


def nothing_around(array):
    """Whether what lies between_others is as it was; overwrites the array."""
    array[...] = 1
    return bool((array.base == 1).all())


def weights_like(shape, dtype, options, seed=2):
    """Weights of elements, of columns, of rows or of none, under each of these names."""
    rng = np.random.default_rng(seed)
    kinds = [shape, shape[1:], (shape[0], 1), ()]
    for kind in kinds:
        values = {"where": rng.random(kind) < 0.8}
        for name in ("sample_weight", "pos_weight"):
            values[name] = rng.uniform(0.5, 2, kind).astype(dtype)
        yield {name: values[name] for name in options}


def laid_out(options, lay):
    return {name: lay(value) if np.ndim(value) == 2 else value for name, value in options.items()}


@pytest.fixture(autouse=True)
def two_threads():
    with fb.threads(2):
        yield


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_loss_and_gradient(binary, dtype, soft, lay, shape, threads):
    first, targets = inputs(binary, shape, dtype, soft=soft)
    for reduction in ("mean", "sum"):
        expected, grad = value_and_grad_of(binary)(first, targets, reduction=reduction)
        out = lay(np.full(shape, 77, dtype))
        loss, _ = value_and_grad_of(binary)(
            lay(first), lay(targets), out=out, reduction=reduction, num_threads=threads
        )
        assert same_bits(loss, expected)
        assert same_bits(out, grad)
        assert lay is exactly or nothing_around(out)
        assert same_bits(loss_of(binary)(lay(first), lay(targets), reduction=reduction), expected)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
def test_weights_that_lie_alike_or_broadcast(binary, dtype, lay, shape, reduction):
    first, targets = inputs(binary, shape, dtype)
    names = ["sample_weight", "where"] + ["pos_weight"] * (binary != "sigmoid_focal_loss")
    drawn = [{name: options[name]} for options in weights_like(shape, dtype, names) for name in names]
    drawn += weights_like(shape, dtype, names)
    for options in drawn:
        expected, grad = value_and_grad_of(binary)(first, targets, reduction=reduction, **options)
        out = lay(np.full(shape, 77, dtype))
        loss, _ = value_and_grad_of(binary)(
            lay(first), lay(targets), out=out, reduction=reduction, **laid_out(options, lay)
        )
        assert same_bits(loss, expected)
        assert same_bits(out, grad)


@pytest.mark.parametrize("name", ["sample_weight", "pos_weight"])
def test_weights_that_broadcast_from_elsewhere(dtype, name):
    """In the other byte order, of rows that do not follow each other."""
    first, targets = inputs("bce_with_logits", (1300, 97), dtype)
    rng = np.random.default_rng(3)
    every_other = rng.uniform(0.5, 2, (1300, 2)).astype(dtype)[:, :1]
    swapped = rng.uniform(0.5, 2, 97).astype(np.dtype(dtype).newbyteorder())
    for weights in every_other, swapped:
        options = {name: weights.astype(dtype).copy()}
        expected, grad = value_and_grad_of("bce_with_logits")(first, targets, **options)
        out = exactly(np.empty_like(first))
        loss, _ = value_and_grad_of("bce_with_logits")(
            exactly(first), exactly(targets), out=out, **{name: weights}
        )
        assert same_bits(loss, expected)
        assert same_bits(out, grad)


def test_columns_that_are_not_the_same(dtype):
    """Arrays of three axes: of one the first two are a column, of the other the first alone."""
    first, targets = inputs("bce_with_logits", (100, 13, 97), dtype)
    expected, grad = value_and_grad_of("bce_with_logits")(first, targets)
    out = exactly(np.empty((1300, 97), dtype)).reshape(first.shape)
    by_two = exactly(first.reshape(1300, 97)).reshape(first.shape)
    by_one = exactly(targets.reshape(100, -1)).reshape(first.shape)
    assert by_two.strides[0] == 13 * by_two.strides[1]
    assert by_one.strides[1] == 97 * by_one.strides[2]
    loss, _ = value_and_grad_of("bce_with_logits")(by_two, by_one, out=out)
    assert same_bits(loss, expected)
    assert same_bits(out, grad)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_each_loss(binary, dtype, lay, shape, reduction):
    """Losses that lie so, too, whether they are added up or not; probabilities."""
    first, targets = inputs(binary, shape, dtype)
    losses = np.empty(shape, dtype)
    expected, grad = value_and_grad_of(binary)(first, targets, reduction=reduction, loss_out=losses)
    outputs = {name: lay(np.full(shape, 77, dtype)) for name in ("out", "loss_out")}
    if binary in WITH_LOGITS:
        proba = np.empty(shape, dtype)
        loss_of(binary)(first, targets, proba_out=proba)
        outputs["proba_out"] = lay(np.full(shape, 77, dtype))
    loss, _ = value_and_grad_of(binary)(lay(first), lay(targets), reduction=reduction, **outputs)
    assert same_bits(loss, expected)
    assert same_bits(outputs["out"], grad)
    assert same_bits(outputs["loss_out"], losses)
    assert binary not in WITH_LOGITS or same_bits(outputs["proba_out"], proba)
    assert lay is exactly or all(map(nothing_around, outputs.values()))


def test_gradient_and_hessian(dtype, lay, shape):
    first, targets = inputs("bce_with_logits", shape, dtype)
    grad, hess = grad_hess_of("bce_with_logits")(first, targets)
    outputs = {name: lay(np.full(shape, 77, dtype)) for name in ("grad_out", "hess_out")}
    grad_hess_of("bce_with_logits")(lay(first), lay(targets), **outputs)
    assert same_bits(outputs["grad_out"], grad)
    assert same_bits(outputs["hess_out"], hess)
    assert lay is exactly or all(map(nothing_around, outputs.values()))


@pytest.mark.parametrize("given", [np.int64, bool, np.uint8, np.float16, ">f8"])
def test_targets_of_other_dtypes(binary, dtype, lay, given):
    first, targets = inputs(binary, (1300, 97), dtype)
    expected, grad = value_and_grad_of(binary)(first, targets)
    out = lay(np.full(first.shape, 77, dtype))
    loss, _ = value_and_grad_of(binary)(lay(first), lay(targets.astype(given)), out=out)
    assert same_bits(loss, expected)
    assert same_bits(out, grad)


@pytest.mark.parametrize("option", [None, "loss_out", "proba_out"])
@pytest.mark.parametrize("function", WITH_LOGITS[:2])
def test_in_place(function, dtype, lay, shape, option):
    """The gradient takes the place of the logits, losses or probabilities that of targets."""
    first, targets = inputs(function, shape, dtype)
    targets = targets.astype(dtype)
    reduction = "none" if option == "loss_out" else "mean"
    wanted = {option: np.empty(shape, dtype)} if option else {}
    expected, grad = value_and_grad_of(function)(first, targets, reduction=reduction, **wanted)
    laid, laid_targets = lay(first), lay(targets)
    options = {option: laid_targets} if option else {}
    loss, _ = value_and_grad_of(function)(laid, laid_targets, out=laid, reduction=reduction, **options)
    assert same_bits(loss, expected)
    assert same_bits(laid, grad)
    assert not option or same_bits(laid_targets, wanted[option])
    assert lay is exactly or nothing_around(laid)


@pytest.mark.parametrize("part", [np.s_[:, :0], np.s_[:0], np.s_[:1], np.s_[:, :1]], ids=str)
def test_little_of_a_large_array(binary, dtype, part):
    """None of its columns, which are as far from each other as they were, or none of its rows; or one."""
    first, targets = inputs(binary, (5000, 7), dtype)
    expected, grad = value_and_grad_of(binary)(first[part].copy(), targets[part].copy(), reduction="sum")
    for backwards in (False, True):
        laid, laid_targets = exactly(first)[part], exactly(targets)[part]
        if backwards:
            laid, laid_targets = (exactly(array[:, ::-1])[:, ::-1][part] for array in (first, targets))
        loss, out = value_and_grad_of(binary)(laid, laid_targets, reduction="sum")
        assert same_bits(loss, expected)
        assert same_bits(out, grad)


@pytest.mark.parametrize("shape", [(1171, 14), (4097, 8), (8193, 2)], ids=str)
def test_last_panel_of_part_of_a_row(dtype, shape):
    """And columns that go backwards."""
    first, targets = inputs("bce_with_logits", shape, dtype)
    expected, grad = value_and_grad_of("bce_with_logits")(first, targets)
    laid, laid_targets, out = (
        exactly(array[:, ::-1])[:, ::-1] for array in (first, targets, np.empty_like(first))
    )
    loss, _ = value_and_grad_of("bce_with_logits")(laid, laid_targets, out=out)
    assert same_bits(loss, expected)
    assert same_bits(out, grad)


def test_position_of_a_bad_target(binary, dtype, lay):
    """The first one in C order, whichever column it lies in."""
    first, targets = inputs(binary, (1300, 97), dtype)
    targets[850, 3] = targets[851, 2] = 2
    with pytest.raises(ValueError, match=r"targets: expected values in .*, got 2 at position \(850, 3\)"):
        value_and_grad_of(binary)(lay(first), lay(targets), out=lay(np.empty_like(first)))
    mask = np.ones(first.shape, bool)
    mask[850:852] = False
    value_and_grad_of(binary)(lay(first), lay(targets), out=lay(np.empty_like(first)), where=lay(mask))
