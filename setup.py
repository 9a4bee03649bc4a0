"""Build the extension modules. Metadata is in pyproject.toml.

No instruction-set flag appears here: the files fastbce/simd/isa_*.c each open their own, and which one runs
is decided when the package is imported.

Two environment variables are for tests: FASTBCE_SANITIZE=address,undefined (or thread, ...) builds with those
sanitizers, FASTBCE_OPENMP=0 without OpenMP.
"""

import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# The kernels are written so that these are enough to vectorise them. Results do not depend on the last two:
# nothing reads errno or the exception flags. Never -ffast-math.
FLAGS = ["-O3", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]

# For compilers that know them. GCC for x86 sets small arrays to zero with `rep stos`, which takes 30 cycles
# to begin: Cython keeps the arguments of a call in such an array, and this was a twentieth of a small call.
# Clang (14) keeps what one iteration of a loop has read for the next one, and then cannot vectorise it:
# float32 softmax cross-entropy took up to twice the time.
OPTIONAL_FLAGS = [
    ["-mmemset-strategy=vector_loop:256:noalign,libcall:-1:noalign"],
    ["-mllvm", "-enable-load-pre=false"],
]

# For the kernels, with GCC, which unrolls no loop of many iterations by itself. Twice, losses of logits take
# 4 % less time (GCC 12, AVX2; AVX-512 was not measured); more is slower again. Clang would only warn.
UNROLL_FLAGS = ["-funroll-loops", "--param=max-unroll-times=2"]

KERNELS = ["dispatch", "labels", "isa_generic", "isa_avx2", "isa_avx512", "isa_neon"]

SANITIZE = os.environ.get("FASTBCE_SANITIZE", "")
# A report ends the process. Overflow counts, which Python's own flags would define (-fwrapv).
SANITIZE_FLAGS = [
    "-g",
    "-fno-omit-frame-pointer",
    f"-fsanitize={SANITIZE}",
    "-fno-sanitize-recover=all",
    "-fno-wrapv",
]

PROGRAM = "int main(void) { return 0; }\n"
OPENMP_PROGRAM = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


def builds(compiler, program, compile_flags, link_flags=()):
    """Return whether this compiler builds the program with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = os.path.join(folder, "program.c"), os.path.join(folder, "program")
        with open(source, "w") as file:
            file.write(program)
        command = [*compiler.compiler_so, *compile_flags, source, "-o", result, *link_flags]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def openmp_flags(compiler):
    """Return the flags (compile, link) with which this compiler builds and links OpenMP, or none."""
    if os.environ.get("FASTBCE_OPENMP") == "0":
        return [], []
    candidates = [(["-fopenmp"], ["-fopenmp"])]
    if sys.platform == "darwin":
        candidates.append((["-Xpreprocessor", "-fopenmp"], ["-lomp"]))
    for compile_flags, link_flags in candidates:
        if builds(compiler, OPENMP_PROGRAM, compile_flags, link_flags):
            return compile_flags, link_flags
    return [], []


class BuildExt(build_ext):
    def build_extensions(self):
        compile_flags, link_flags = openmp_flags(self.compiler)
        if not compile_flags:
            print("fastbce: built without OpenMP; everything will run on one thread", file=sys.stderr)
        if SANITIZE:
            compile_flags, link_flags = compile_flags + SANITIZE_FLAGS, link_flags + SANITIZE_FLAGS
        known = [flag for flags in OPTIONAL_FLAGS if builds(self.compiler, PROGRAM, flags) for flag in flags]
        unroll = UNROLL_FLAGS if builds(self.compiler, PROGRAM, [*UNROLL_FLAGS, "-Werror"]) else []
        for extension in self.extensions:
            has_kernels = extension.name == "fastbce._arrays"
            extension.extra_compile_args = FLAGS + known + compile_flags + (unroll if has_kernels else [])
            extension.extra_link_args = link_flags
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()


def extension(name, sources=()):
    return Extension(
        f"fastbce.{name}",
        [f"fastbce/{name}.pyx", *sources],
        include_dirs=["fastbce", np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        depends=[
            "setup.py",
            *glob.glob("fastbce/simd/*"),
            *glob.glob("fastbce/*.h"),
            *glob.glob("fastbce/*.pxd"),
        ],
    )


setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=cythonize(
        [
            extension("_arrays", [f"fastbce/simd/{name}.c" for name in KERNELS]),
            extension("_bce"),
            extension("_blocks"),
            extension("_cross_entropy"),
            extension("_panels"),
            extension("_routes"),
            extension("_rows"),
            extension("_split"),
            extension("_threads"),
        ],
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    ),
)
