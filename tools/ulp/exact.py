"""Errors in ULP by exact.c, compiled with the C compiler of the machine; by mpmath where there is none."""

import ctypes
import pathlib
import shutil
import subprocess

import numpy as np
import reference
from accuracy_cases import FORMAT, RESULTS, errors_by

SOURCE = pathlib.Path(__file__).with_name("exact.c")
KINDS = {"bce_with_logits": 0, "bce": 1, "sigmoid_focal_loss": 2}


class _Format(ctypes.Structure):
    _fields_ = [("bits", ctypes.c_int), ("least", ctypes.c_int), ("beyond", ctypes.c_int)]


class _Options(ctypes.Structure):
    _fields_ = [("smoothing", ctypes.c_double), ("limit", ctypes.c_double)]
    _fields_ += [("alpha", ctypes.c_double), ("gamma", ctypes.c_double)]


def _compile(target, *options):
    for compiler in filter(shutil.which, ("cc", "gcc")):
        for libraries in (["-lquadmath", "-lm"], ["-lm"]):
            command = [compiler, "-O2", "-shared", "-fPIC", *options, SOURCE, "-o", target, *libraries]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return True
    return False


def compile_into(folder):
    """Return the folder, or None where exact.c does not compile: then errors are computed with mpmath."""
    narrow, wide = pathlib.Path(folder, "narrow.so"), pathlib.Path(folder, "wide.so")
    return folder if _compile(narrow) and _compile(wide, "-DWIDE") else None


def _pointer(array):
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


class Exact:
    """Measures results. `folder` is what compile_into returned."""

    def __init__(self, folder):
        self.libraries = folder and {
            name: ctypes.CDLL(str(pathlib.Path(folder, f"{name}.so"))) for name in ("narrow", "wide")
        }

    def errors(self, case, dtype, inputs, results):
        """By name: how far results are from the exact ones, in ULP; of rows the worst of their entries."""
        if self.libraries is None:
            numbers = reference.EXACT if dtype == "float64" else reference.DOUBLE
            return errors_by(numbers, case, dtype, inputs, results)
        inputs = [
            np.ascontiguousarray(a, None if case.rows and i == 1 and a.ndim == 1 else np.float64)
            for i, a in enumerate(inputs)
        ]
        actual = [np.ascontiguousarray(results[r], np.float64) if r in results else None for r in RESULTS]
        count = len(inputs[0])
        errors = [np.empty(count) if values is not None else None for values in actual]
        limit = 1e-12 if dtype == "float64" else float(np.float32(1e-12))
        options = _Options(
            case.options.get("label_smoothing", 0),
            limit,
            case.options.get("alpha", 0.25),
            case.options.get("gamma", 2),
        )
        common = (
            ctypes.byref(options), ctypes.byref(_Format(*FORMAT[dtype])),
            (ctypes.c_void_p * 4)(*map(_pointer, actual)), (ctypes.c_void_p * 4)(*map(_pointer, errors)),
        )  # fmt: skip
        library = self.libraries["wide" if dtype == "float64" else "narrow"]
        if case.rows:
            labelled = inputs[1].ndim == 1
            library.rows(
                ctypes.c_int64(count), ctypes.c_int64(inputs[0].shape[1]), _pointer(inputs[0]),
                _pointer(inputs[1]) if labelled else None, None if labelled else _pointer(inputs[1]), *common,
            )  # fmt: skip
        else:
            weight = inputs[2] if len(inputs) > 2 else None
            library.elements(
                KINDS[case.function],
                ctypes.c_int64(count),
                *map(_pointer, inputs[:2]),
                _pointer(weight),
                *common,
            )
        return {result: error for result, error in zip(RESULTS, errors, strict=True) if error is not None}
