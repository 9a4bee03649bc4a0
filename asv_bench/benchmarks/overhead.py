"""What a call costs before it computes: one element, or one sample of two classes."""

import numpy as np

from . import common


class Overhead(common.Timed):
    params = (common.IMPLEMENTATIONS,)
    param_names = ("implementation",)

    def setup(self, implementation):
        self.library = common.LIBRARIES[implementation]
        self.logits, self.targets = common.binary_logits("float32", 1)
        self.probs, _ = common.binary_probs("float32", 1)
        self.class_logits, self.labels = common.class_logits("float32", "1x2")
        self.grad, self.class_grad = np.empty_like(self.logits), np.empty_like(self.class_logits)
        self.many_calls(1)

    def time_bce(self, implementation):
        library, probs, targets = self.library, self.probs, self.targets
        for _ in self.calls:
            library.bce(probs, targets)

    def time_bce_value_and_grad(self, implementation):
        library, probs, targets, grad = self.library, self.probs, self.targets, self.grad
        for _ in self.calls:
            library.bce_value_and_grad(probs, targets, out=grad)

    def time_bce_with_logits(self, implementation):
        library, logits, targets = self.library, self.logits, self.targets
        for _ in self.calls:
            library.bce_with_logits(logits, targets)

    def time_bce_with_logits_value_and_grad(self, implementation):
        library, logits, targets, grad = self.library, self.logits, self.targets, self.grad
        for _ in self.calls:
            library.bce_with_logits_value_and_grad(logits, targets, out=grad)

    def time_cross_entropy(self, implementation):
        library, logits, labels = self.library, self.class_logits, self.labels
        for _ in self.calls:
            library.cross_entropy(logits, labels)

    def time_cross_entropy_value_and_grad(self, implementation):
        library, logits, labels, grad = self.library, self.class_logits, self.labels, self.class_grad
        for _ in self.calls:
            library.cross_entropy_value_and_grad(logits, labels, out=grad)


class Yardstick(common.Timed):
    """What NumPy takes for a call that only adds two arrays of one element."""

    def setup(self):
        self.x, self.y = common.binary_logits("float32", 1)
        self.out = np.empty_like(self.x)
        self.many_calls(1)

    def time_numpy_add(self):
        x, y, out = self.x, self.y, self.out
        for _ in self.calls:
            np.add(x, y, out=out)
