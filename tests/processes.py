"""Other Python processes that see this fastbce, for what a test must not do to its own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import fastbce as fb

PATHS = [str(Path(fb.__file__).parents[1]), str(Path(__file__).parent)]


def run(*arguments, timeout=60, **environment):
    """What is printed by a Python, and its errors; it and all of its children are gone afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    clean["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's threads would be counted as ours
    clean["PYTHONPATH"] = os.pathsep.join([*PATHS, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], env=clean | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        return output, errors + f"hung for {timeout} seconds"


def printed_by(code, *arguments, **options):
    """The words that this code prints; it must not write anything to stderr."""
    output, errors = run("-c", textwrap.dedent(code), *arguments, **options)
    assert not errors, errors
    return output.split()
