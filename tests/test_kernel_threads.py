"""Promise 3: the kernels in several threads at once, watched by ThreadSanitizer."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from compilers import COMPILER, needs, setting

TESTS = Path(__file__).parent
SIMD = TESTS.parent / "fastbce/simd"
# ThreadSanitizer needs the addresses where it expects them, which newer kernels move about.
AS_IT_WAS = ["setarch", "-R"] if shutil.which("setarch") else []


def built(folder, *more):
    """kernel_threads.c and the kernels, as one program."""
    sources = [*(SIMD / f"{name}.c" for name in setting("KERNELS")), TESTS / "kernel_threads.c"]
    flags = [flag for flag in setting("FLAGS") if flag != "-O3"]
    program = folder / "kernel_threads"
    command = [
        *COMPILER,
        "-O1",
        "-g",
        *flags,
        *more,
        f"-I{SIMD}",
        *sources,
        "-lm",
        "-lpthread",
        "-o",
        program,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode and "tsan" in done.stderr:
        pytest.skip("not installed: ThreadSanitizer (Debian: apt-get install libtsan2)")
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="pthreads under ThreadSanitizer on Linux")
@needs(COMPILER[0])
def test_no_kernel_races(tmp_path):
    """All kernels, in four threads that share their inputs; of what changes meanwhile, only loaders read."""
    program = built(tmp_path, "-fsanitize=thread")
    done = subprocess.run([*AS_IT_WAS, program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout) >= 4
