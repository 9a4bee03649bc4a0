"""Binary cross-entropy of probabilities."""

import numpy as np

from . import common


class BCE(common.Timed):
    params = (common.IMPLEMENTATIONS, common.DTYPES, common.SIZES)
    param_names = ("implementation", "dtype", "size")

    def setup(self, implementation, dtype, size):
        self.library = common.LIBRARIES[implementation]
        self.probs, self.targets = common.binary_probs(dtype, size)
        self.grad = np.empty_like(self.probs)
        self.many_calls(size)

    def time_bce(self, implementation, dtype, size):
        library, probs, targets = self.library, self.probs, self.targets
        for _ in self.calls:
            library.bce(probs, targets)

    def time_bce_value_and_grad(self, implementation, dtype, size):
        library, probs, targets, grad = self.library, self.probs, self.targets, self.grad
        for _ in self.calls:
            library.bce_value_and_grad(probs, targets, out=grad)


class BCESpeedup:
    params = (common.DTYPES, common.SIZES)
    param_names = ("dtype", "size")

    def track_speedup_vs_numpy(self, dtype, size):
        probs, targets = common.binary_probs(dtype, size)
        grad = np.empty_like(probs)
        return common.speedup_vs_numpy(lambda library: library.bce_value_and_grad(probs, targets, out=grad))

    track_speedup_vs_numpy.unit = "x"
