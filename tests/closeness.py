"""When a result is right: within a few roundings of the terms it is made of."""

import numpy as np
from reference import finfo, ulp

# Rounding errors allowed, in units of the dtype's epsilon, of the size of the terms that are added up.
ROUNDINGS = 16


def assert_close(actual, expected, size, dtype, what, stored=None):
    """`actual` is `expected` but for a few roundings, in `dtype`, of the terms it is made of.

    And for the last one, to the dtype `stored` in. What is beyond the largest number of either is infinite.
    """
    actual, stored = np.asarray(actual), dtype if stored is None else stored
    value = actual.astype(np.float64).astype(np.longdouble)
    expected, size = (np.asarray(array).astype(np.longdouble) for array in (expected, size))
    info, held = finfo(dtype), finfo(stored)
    with np.errstate(invalid="ignore", over="ignore"):
        slack = ROUNDINGS * (float(info.eps) * size + float(info.smallest_subnormal))
        if stored != dtype:
            slack = slack + ulp(np.where(np.isfinite(expected), expected, 0), stored) / 2
        wrong = ~(abs(value - expected) <= slack)
        largest = np.longdouble(min(float(info.max), float(held.max)))
        overflow = np.isinf(value) & (abs(expected) + slack > largest) & (value * expected > 0)
    wrong &= ~((value == expected) | (np.isnan(value) & np.isnan(expected)) | overflow)
    assert actual.shape == expected.shape, what
    assert not wrong.any(), (
        f"{what} at {np.argwhere(wrong)[0]}: {actual[wrong][:5]} instead of {expected[wrong][:5]}"
    )
