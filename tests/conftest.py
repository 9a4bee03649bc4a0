"""What every test file shares. Tests marked ``slow`` run when asked for: ``-m ""``."""

import numpy as np
import pytest


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """The dtypes that are computed in."""
    return request.param


@pytest.fixture(params=["bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"])
def function(request):
    """The name of a loss."""
    return request.param


@pytest.fixture(params=[False, True], ids=["hard", "soft"])
def soft(request):
    """Whether targets are labels, or 0 and 1; or fractions, and probability rows."""
    return request.param


@pytest.fixture(params=["contiguous", "strided"])
def lay(request):
    """How the input lies in memory: a function that lays an array out so."""
    if request.param == "contiguous":
        return lambda array: np.array(array, order="C")
    return lambda array: np.repeat(np.asarray(array)[..., None], 2, axis=-1)[..., 0]
