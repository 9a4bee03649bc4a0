"""Softmax cross-entropy with class labels."""

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
