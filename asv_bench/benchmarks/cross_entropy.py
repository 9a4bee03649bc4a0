"""Softmax cross-entropy with class labels."""

import math

import numpy as np

from . import common


class CrossEntropy(common.Timed):
    params = (common.IMPLEMENTATIONS, common.DTYPES, common.SHAPES)
    param_names = ("implementation", "dtype", "shape")

    def setup(self, implementation, dtype, shape):
        self.library = common.LIBRARIES[implementation]
        self.logits, self.labels = common.class_logits(dtype, shape)
        self.grad = np.empty_like(self.logits)
        self.many_calls(math.prod(common.parse_shape(shape)))

    def time_cross_entropy(self, implementation, dtype, shape):
        library, logits, labels = self.library, self.logits, self.labels
        for _ in self.calls:
            library.cross_entropy(logits, labels)

    def time_cross_entropy_value_and_grad(self, implementation, dtype, shape):
        library, logits, labels, grad = self.library, self.logits, self.labels, self.grad
        for _ in self.calls:
            library.cross_entropy_value_and_grad(logits, labels, out=grad)


class CrossEntropySpeedup:
    params = (common.DTYPES, common.SHAPES)
    param_names = ("dtype", "shape")

    def track_speedup_vs_numpy(self, dtype, shape):
        logits, labels = common.class_logits(dtype, shape)
        grad = np.empty_like(logits)
        return common.speedup_vs_numpy(
            lambda library: library.cross_entropy_value_and_grad(logits, labels, out=grad)
        )

    track_speedup_vs_numpy.unit = "x"
