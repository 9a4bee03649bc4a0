"""tools/compare_speed.py, with a stand-in for asv: what is slower fails only if it is so again, alone."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "compare_speed.py"
SLOW = "bce.VsNumPy.track_time('grad', 1000)"
REPORT = f"""| Change   | Before | After | Ratio | Benchmark (Parameter)                |
|----------|--------|-------|-------|--------------------------------------|
| +        |      1 |   1.3 |   1.3 | {SLOW} |
| -        |      1 |   0.8 |   0.8 | bce.VsNumPy.track_time('value', 32)  |
"""


@pytest.mark.parametrize("statuses", [(0,), (1, 0), (1, 1)], ids=["faster", "slower once", "slower twice"])
def test_what_is_slower_is_measured_once_more(tmp_path, statuses):
    asv = tmp_path / "asv"
    asv.write_text(
        f"""#!{sys.executable}
import sys
from pathlib import Path
calls = Path({str(tmp_path)!r}, "calls")
with calls.open("a") as file:
    print(sys.argv[sys.argv.index("--bench") + 1], file=file)
status = {statuses!r}[len(calls.read_text().splitlines()) - 1]
print({REPORT!r} if status else "BENCHMARKS NOT SIGNIFICANTLY CHANGED.")
sys.exit(status)
"""
    )
    asv.chmod(0o755)
    command = [sys.executable, TOOL, "main", "--bench", "track_time"]
    done = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True)
    assert done.returncode == statuses[-1], done.stderr
    again = [r"^bce\.VsNumPy\.track_time\('grad',\ 1000\)$"] * (len(statuses) - 1)
    assert (tmp_path / "calls").read_text().splitlines() == ["track_time", *again]
