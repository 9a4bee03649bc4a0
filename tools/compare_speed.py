"""Fail if HEAD is slower than another revision: ``python tools/compare_speed.py REVISION --bench REGEX``.

Runs ``asv continuous``. What is slower is measured once more, alone: on a machine that others share something
always is, but not the same thing twice.
"""

import argparse
import re
import subprocess
import sys

SLOWER = re.compile(r"^\| \+ .*\| (\S.*?) +\|$", re.MULTILINE)


def slower(report):
    """Benchmarks, with their parameters, that a report of ``asv continuous`` marks as slower."""
    return SLOWER.findall(report)


def compare(revision, benches):
    """Return asv's exit status and its report, which is printed as it comes."""
    chosen = [part for bench in benches for part in ("--bench", bench)]
    command = ["asv", "--config", "asv_bench/asv.conf.json", "continuous", "--factor", "1.15"]
    report = []
    with subprocess.Popen([*command, *chosen, revision, "HEAD"], stdout=subprocess.PIPE, text=True) as asv:
        for line in asv.stdout:
            print(line, end="", flush=True)
            report.append(line)
    return asv.returncode, "".join(report)


def main():
    """Compare, and what is slower once more."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("revision", help="what HEAD is compared with")
    parser.add_argument("--bench", required=True, help="regular expression of the benchmarks")
    arguments = parser.parse_args()

    status, report = compare(arguments.revision, [arguments.bench])
    suspects = slower(report)
    if status and suspects:
        print(f"Once more, {len(suspects)} that came out slower: only what is slower twice fails.")
        sys.stdout.flush()
        status, _ = compare(arguments.revision, [f"^{re.escape(name)}$" for name in suspects])
    sys.exit(status)


if __name__ == "__main__":
    main()
