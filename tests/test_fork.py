"""A child of a fork computes, with the same bits, whatever ran in threads before it.

``python tests/test_fork.py`` tries 100 children of each kind, and prints a table.
"""

import sys
import tempfile
from pathlib import Path

import c_library
import fork_scenarios
import pytest
from processes import printed_by, run

import fastbce as fb

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not fb.show_config("dicts")["openmp"],
    reason="children are counted on Linux, and hang for want of OpenMP's threads alone",
)


def right_children(scenario, children, library, *, timeout=60):
    """How many children of this scenario came to the right results, and what went wrong."""
    script = fork_scenarios.__file__
    output, errors = run(
        script, scenario.__name__, children, fork_scenarios.digest(num_threads=1), library, timeout=timeout
    )
    return output.count("right"), errors


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_library.build(tmp_path_factory.mktemp("openmp"), c_library.OPENMP, "-fopenmp")


CHILDREN = pytest.mark.parametrize("children", [3, pytest.param(100, marks=pytest.mark.slow)])


@CHILDREN
@pytest.mark.parametrize("scenario", fork_scenarios.SCENARIOS)
def test_children_compute(scenario, children, library):
    right, errors = right_children(scenario, children, library)
    assert right == children, errors


@CHILDREN
@pytest.mark.parametrize("scenario", fork_scenarios.LIBRARIES)
def test_children_compute_beside(scenario, children, library):
    pytest.importorskip(fork_scenarios.LIBRARIES[scenario])
    right, errors = right_children(scenario, children, library, timeout=120)
    assert right == children, errors


SCENARIO = "from fork_scenarios import *\n"


def test_the_parent_keeps_its_threads():
    code = "import fastbce\nif os.fork() == 0: os._exit(0)\nos.wait()\ndigest()\nprint(threads())"
    assert printed_by(SCENARIO + code) == ["4"]


def test_a_child_may_have_threads_where_no_runtime_was():
    """As the workers of a fork server, whose parent has not imported anything that would have one."""
    code = "if os.fork() == 0:\n    digest()\n    print(threads(), flush=True)\n    os._exit(0)\nos.wait()"
    assert printed_by(SCENARIO + code) == ["4"]


def test_a_child_says_so():
    code = (
        "import fastbce\nif os.fork() == 0:\n"
        "    print(fastbce.show_config('dicts')['threads'], flush=True)\n    os._exit(0)\nos.wait()"
    )
    said = " ".join(printed_by(SCENARIO + code))
    assert "'count': 1" in said
    assert "fork" in said


if __name__ == "__main__":
    path = c_library.build(Path(tempfile.mkdtemp()), c_library.OPENMP, "-fopenmp")
    for scenario in (*fork_scenarios.SCENARIOS, *fork_scenarios.LIBRARIES):
        count, problem = right_children(scenario, 100, path, timeout=300)
        last = problem.splitlines()[-1] if problem else ""
        print(f"| {scenario.__name__.replace('_', ' ')} | {count} of 100 | {last}", flush=True)
