"""Binary cross-entropy of probabilities."""

from . import common


class Case:
    function = "bce"
    inputs = staticmethod(common.binary_probs)


class BCE(Case, common.Times):
    pass


class BCEVsNumPy(Case, common.Ratios):
    pass
