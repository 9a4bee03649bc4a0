"""Binary cross-entropy of logits."""

import functools

import numpy as np

from . import common


class Case:
    function = "bce_with_logits"
    inputs = staticmethod(common.binary_logits)


class BCEWithLogits(Case, common.TimesWithHessian):
    pass


class BCEWithLogitsVsNumPy(Case, common.Ratios):
    params = (("value_and_grad", "grad_hess"), common.DTYPES, common.SIZES)


class Labels:
    """The time of rows of labels, weighed, in another order or in place, over that without, on one thread."""

    VARIANTS = ("pos_weight of labels", "sample_weight of rows", "targets in Fortran order", "in place")
    params = (("fastbce",), ("value_and_grad",), common.DTYPES, ("4096x10", "512x300"), VARIANTS)
    param_names = ("implementation", "result", "dtype", "shape", "variant")

    def track_time_vs_plain(self, implementation, result, dtype, shape, variant):
        rows, columns = map(int, shape.split("x"))
        x, y = (array.reshape(rows, columns) for array in common.binary_logits(dtype, rows * columns))
        weights = common.binary_probs(dtype, rows)[0]
        call = getattr(common.LIBRARIES[implementation], f"bce_with_logits_{result}")
        in_place = x.copy()
        special = {
            "pos_weight of labels": functools.partial(call, x, y, pos_weight=weights[:columns]),
            "sample_weight of rows": functools.partial(call, x, y, sample_weight=weights[:, np.newaxis]),
            "targets in Fortran order": functools.partial(call, x, np.asfortranarray(y)),
            "in place": functools.partial(call, in_place, y),
        }[variant]
        out = in_place if variant == "in place" else np.empty_like(x)
        plain = functools.partial(call, x, y, out=np.empty_like(x))
        return common.ratio_of_times([functools.partial(special, out=out), plain])

    track_time_vs_plain.unit = "x"
