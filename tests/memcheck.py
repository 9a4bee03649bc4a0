"""Calls of every form for valgrind to watch: make test-memcheck, on AVX2, for valgrind has no AVX-512."""

import numpy as np
from attack import forms_of, options_for
from cases import inputs, losses_shape
from layouts import backwards, field_of_records, fortran, swapped

SHAPES = {"cross_entropy": [(3, 2), (17, 10), (18, 150), (70, 150), (7, 150)]}


def main():
    rng = np.random.default_rng(0)
    calls = 0
    for function in ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
        for shape in SHAPES.get(function, [(1,), (17,), (530,)]):
            for dtype in (np.float16, np.float32, np.float64):
                first, targets = inputs(function, shape, dtype, soft=bool(rng.integers(2)))
                options = options_for(function, shape, rng)
                for lay in (np.copy, backwards, field_of_records, fortran, swapped):
                    arrays = {name: lay(value) for name, value in options.items()}
                    for form, of_losses, of_elements in forms_of(function):
                        outputs = {name: np.empty(losses_shape(function, shape)) for name in of_losses}
                        outputs |= {name: lay(np.empty(shape)) for name in of_elements}
                        form(lay(first), lay(targets))
                        form(lay(first), lay(targets), **arrays, **outputs)
                        calls += 2
    print(calls, "calls")


if __name__ == "__main__":
    main()
