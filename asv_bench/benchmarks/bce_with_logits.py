"""Binary cross-entropy of logits."""

from . import common


class Case:
    function = "bce_with_logits"
    inputs = staticmethod(common.binary_logits)


class BCEWithLogits(Case, common.TimesWithHessian):
    pass


class BCEWithLogitsVsNumPy(Case, common.Ratios):
    params = (("value_and_grad", "grad_hess"), common.DTYPES, common.SIZES)
