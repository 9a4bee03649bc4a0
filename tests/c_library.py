"""Small C libraries that tests compile for themselves."""

import os
import shlex
import shutil
import subprocess

import pytest


def build(folder, source, *flags):
    """The path of a shared library made of `source`; skips the test where that cannot be."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler {compiler[0]!r}: on Debian, apt-get install gcc")
    file, library = folder / "library.c", folder / "library.so"
    file.write_text(source)
    command = [*compiler, "-O1", "-shared", "-fPIC", *flags, file, "-o", library]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.skip(f"{compiler[0]} {' '.join(flags)} cannot compile the library: {run.stderr}")
    return library


OPENMP = """
#include <omp.h>

/* What any library does: a region, whose threads the runtime keeps. Returns how many there were. */
int region(int threads)
{
    int count = 0;
#pragma omp parallel num_threads(threads) reduction(+ : count)
    count += 1;
    return count;
}

/* Calls back from within a region, in one of its threads. */
void inside(void (*callback)(void))
{
#pragma omp parallel num_threads(2)
#pragma omp master
    callback();
}
"""
