"""What a call costs before it computes: one element, or one sample of two classes."""

import numpy as np

from . import common

INPUTS = {
    "bce": common.binary_probs,
    "bce_with_logits": common.binary_logits,
    "sigmoid_focal_loss": common.binary_logits,
    "cross_entropy": common.class_logits,
}


class Overhead(common.Timed):
    params = (common.IMPLEMENTATIONS, tuple(INPUTS))
    param_names = ("implementation", "loss")

    def setup(self, implementation, loss):
        self.library = common.LIBRARIES[implementation]
        self.x, self.y = INPUTS[loss]("float32", "1x2" if loss == "cross_entropy" else 1)
        self.grad = np.empty_like(self.x)
        self.many_calls(1)

    def time_loss(self, implementation, loss):
        call, x, y = getattr(self.library, loss), self.x, self.y
        for _ in self.calls:
            call(x, y)

    def time_value_and_grad(self, implementation, loss):
        call, x, y, grad = getattr(self.library, loss + "_value_and_grad"), self.x, self.y, self.grad
        for _ in self.calls:
            call(x, y, out=grad)


class Options(common.Timed):
    """The same with more to check: weights, or memory that overlaps. The NumPy baseline has neither."""

    params = (("fastbce",), ("bce_with_logits", "cross_entropy"), ("sample_weight", "in place"))
    param_names = ("implementation", "loss", "option")

    def setup(self, implementation, loss, option):
        self.library = common.LIBRARIES[implementation]
        x, self.y = INPUTS[loss]("float32", "1x2" if loss == "cross_entropy" else 1)
        self.x = x.copy()  # it is overwritten
        self.options = {"out": self.x} if option == "in place" else {"sample_weight": np.ones(1, np.float32)}
        self.many_calls(1)

    def time_value_and_grad(self, implementation, loss, option):
        call, x, y, options = getattr(self.library, loss + "_value_and_grad"), self.x, self.y, self.options
        for _ in self.calls:
            call(x, y, **options)


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
