"""Focal loss of logits."""

from . import common


class Case:
    function = "sigmoid_focal_loss"
    inputs = staticmethod(common.binary_logits)


class SigmoidFocalLoss(Case, common.Times):
    pass


class SigmoidFocalLossVsNumPy(Case, common.Ratios):
    pass
