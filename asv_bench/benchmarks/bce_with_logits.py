"""Binary cross-entropy of logits."""

import numpy as np

from . import common


class BCEWithLogits(common.Timed):
    params = (common.IMPLEMENTATIONS, common.DTYPES, common.SIZES)
    param_names = ("implementation", "dtype", "size")

    def setup(self, implementation, dtype, size):
        self.library = common.LIBRARIES[implementation]
        self.logits, self.targets = common.binary_logits(dtype, size)
        self.grad = np.empty_like(self.logits)
        self.many_calls(size)

    def time_bce_with_logits(self, implementation, dtype, size):
        library, logits, targets = self.library, self.logits, self.targets
        for _ in self.calls:
            library.bce_with_logits(logits, targets)

    def time_bce_with_logits_value_and_grad(self, implementation, dtype, size):
        library, logits, targets, grad = self.library, self.logits, self.targets, self.grad
        for _ in self.calls:
            library.bce_with_logits_value_and_grad(logits, targets, out=grad)


class BCEWithLogitsSpeedup:
    params = (common.DTYPES, common.SIZES)
    param_names = ("dtype", "size")

    def track_speedup_vs_numpy(self, dtype, size):
        logits, targets = common.binary_logits(dtype, size)
        grad = np.empty_like(logits)
        return common.speedup_vs_numpy(
            lambda library: library.bce_with_logits_value_and_grad(logits, targets, out=grad)
        )

    track_speedup_vs_numpy.unit = "x"
