"""What tests that compile the kernels themselves share."""

import ast
import os
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILER = shlex.split(os.environ.get("CC", "cc"))


def setting(name):
    """A list that setup.py assigns to a name: what the package itself is built with and from."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise KeyError(name)


def needs(*programs, packages=""):
    missing = [program for program in programs if not shutil.which(program)]
    hint = f" (Debian: apt-get install {packages})" if packages else ""
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}{hint}")
