"""Softmax cross-entropy with class labels."""

import functools

import numpy as np

from . import common


class Case:
    function = "cross_entropy"
    inputs = staticmethod(common.class_logits)


class CrossEntropy(Case, common.TimesWithHessian):
    params = (common.IMPLEMENTATIONS, common.DTYPES, common.SHAPES)
    param_names = ("implementation", "dtype", "shape")


class CrossEntropyVsNumPy(Case, common.Ratios):
    params = (("value_and_grad", "grad_hess"), common.DTYPES, common.SHAPES)
    param_names = ("result", "dtype", "shape")


class ClassAxisFirst:
    """The time with the class axis first over that with it last, measured in turn, on one thread."""

    # Few classes; more, of rows that are copied; rows so few that their classes alternate in memory.
    params = (("fastbce",), ("value_and_grad",), common.DTYPES, ("4096x10", "512x300", "5x20000"))
    param_names = ("implementation", "result", "dtype", "shape")

    def track_time_vs_class_axis_last(self, implementation, result, dtype, shape):
        x, y = common.class_logits(dtype, shape)
        turned = np.ascontiguousarray(x.T)
        call = getattr(common.LIBRARIES[implementation], f"cross_entropy_{result}")
        calls = [
            functools.partial(call, turned, y, axis=0, out=np.empty_like(turned)),
            functools.partial(call, x, y, out=np.empty_like(x)),
        ]
        return common.ratio_of_times(calls)

    track_time_vs_class_axis_last.unit = "x"


class Strided:
    """The time of logits between which other numbers lie over that of contiguous ones, likewise."""

    LAYOUTS = ("a class more", "every other class")
    params = (("fastbce",), ("value_and_grad",), common.DTYPES, ("4096x10", "512x300", "100x2000"), LAYOUTS)
    param_names = ("implementation", "result", "dtype", "shape", "layout")

    def track_time_vs_contiguous(self, implementation, result, dtype, shape, layout):
        x, y = common.class_logits(dtype, shape)
        samples, classes = x.shape
        if layout == "a class more":
            strided = np.empty((samples, classes + 1), dtype)[:, :-1]
        else:
            strided = np.empty((samples, 2 * classes), dtype)[:, ::2]
        strided[...] = x
        call = getattr(common.LIBRARIES[implementation], f"cross_entropy_{result}")
        calls = [functools.partial(call, z, y, out=np.empty_like(x)) for z in (strided, x)]
        return common.ratio_of_times(calls)

    track_time_vs_contiguous.unit = "x"
