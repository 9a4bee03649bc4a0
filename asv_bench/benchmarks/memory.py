"""Peak memory of the process for 100 MB of logits: inputs, gradient, and what the call adds."""

import numpy as np

from . import common

BYTES = 100_000_000


class Memory:
    params = (common.IMPLEMENTATIONS, common.DTYPES, ("same", "bool", "int64"))
    param_names = ("implementation", "dtype", "targets")

    def setup(self, implementation, dtype, targets):
        self.library = common.LIBRARIES[implementation]
        size = BYTES // np.dtype(dtype).itemsize
        # filled, so that every page is in memory before the call; 0.5 serves as a logit and as a probability
        self.inputs = np.full(size, 0.5, dtype)
        self.targets = np.full(size, 1, dtype if targets == "same" else targets)
        self.grad = np.full_like(self.inputs, 1)

    def peakmem_bce_with_logits_value_and_grad(self, implementation, dtype, targets):
        self.library.bce_with_logits_value_and_grad(self.inputs, self.targets, out=self.grad)

    def peakmem_sigmoid_focal_loss_value_and_grad(self, implementation, dtype, targets):
        self.library.sigmoid_focal_loss_value_and_grad(self.inputs, self.targets, out=self.grad)

    def peakmem_bce_value_and_grad(self, implementation, dtype, targets):
        self.library.bce_value_and_grad(self.inputs, self.targets, out=self.grad)


class CrossEntropyMemory:
    params = (common.IMPLEMENTATIONS, common.DTYPES)
    param_names = ("implementation", "dtype")

    def setup(self, implementation, dtype):
        self.library = common.LIBRARIES[implementation]
        shape = (BYTES // (1_000 * np.dtype(dtype).itemsize), 1_000)
        self.logits, self.labels = np.full(shape, 0.5, dtype), np.zeros(shape[0], np.int64)
        self.grad = np.full_like(self.logits, 1)

    def peakmem_cross_entropy_value_and_grad(self, implementation, dtype):
        self.library.cross_entropy_value_and_grad(self.logits, self.labels, out=self.grad)
