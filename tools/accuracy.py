#!/usr/bin/env python3
"""Measure how far every result is from the exact one, in ULP, and print the worst with its input.

    make accuracy                        # samples: half a minute on 2 cores
    make accuracy ARGS='--only "^bce,"'  # the cases whose name matches
    make accuracy ARGS='--exhaustive --peers --write docs/accuracy.md'  # every float32

What is measured, with the bounds, is in tests/accuracy_cases.py; exact values come from tools/ulp/exact.c.
Exits with 1 if a result is beyond its bound. Needs tqdm, mpmath, ml_dtypes and a C compiler: without
one, mpmath judges float64, and only a thousand inputs of each case. How inputs are chosen: docs/accuracy.md.
"""

import argparse
import pathlib
import re
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

import reference  # noqa: E402
from accuracy_cases import CASES, draw, errors_by, run  # noqa: E402
from ulp import peers, sums, table  # noqa: E402
from ulp.exact import Exact, compile_into  # noqa: E402
from ulp.sweep import sweep  # noqa: E402

import fastbce as fb  # noqa: E402

PLAIN = re.compile("^bce(_with_logits)?, (hard|soft)$")


def inputs_of(case, points):
    """How many inputs are drawn: as many for each of two hard targets as for all soft ones."""
    if not PLAIN.search(case.name):
        return points // 10
    return 2 * points if case.name.endswith("hard") else points


def check(exact, chosen):
    """Return how far the errors that exact.c finds are from those that mpmath finds, and of how many."""
    rng, largest, count = np.random.default_rng(4), 0.0, 0
    for case, dtype in chosen:
        shapes = [(20, c) for c in case.classes if c <= 10] or [(2, case.classes[0])] if case.rows else [300]
        for shape in shapes:
            inputs = draw(case, rng, shape, dtype)
            results = run(case, inputs)
            expected = errors_by(reference.EXACT, case, dtype, inputs, results)
            for result, error in exact.errors(case, dtype, inputs, results).items():
                # Next to a power of two either of two ULP may be meant.
                other = np.minimum(abs(error - expected[result]), abs(error - 2 * expected[result]))
                difference = other / np.maximum(1, expected[result])
                largest, count = max(largest, float(difference.max())), count + error.size
    return largest, count


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exhaustive", action="store_true", help="every float32, and 40 times the sample")
    parser.add_argument(
        "--peers", action="store_true", help="torch, optax and scikit-learn, those that are there"
    )
    parser.add_argument("--only", default="", metavar="REGEX", help="the cases whose name matches")
    parser.add_argument(
        "--points", type=int, help="inputs of bce and bce_with_logits a target; others: a tenth"
    )
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="put the tables into this file")
    parser.add_argument(
        "--worst", action="store_true", help="print the worst inputs for tests/worst_inputs.py"
    )
    args = parser.parse_args()
    points = args.points or (10_000_000 if args.exhaustive else 500_000)
    chosen = [
        (case, dtype) for case in CASES.values() if re.search(args.only, case.name) for dtype in case.bounds
    ]
    fb.show_config()
    started = time.monotonic()

    with tempfile.TemporaryDirectory() as folder:
        exact = Exact(compile_into(folder))
        if exact.libraries:
            difference, count = check(exact, chosen)
            print(f"exact.c against mpmath: differs by {difference:.1g} ULP at most, {count:,} results")
            if difference > 1e-6:
                return "exact.c is wrong"
        else:
            print("no C compiler: mpmath, and few inputs of float64")
        compared = list(peers.measure(exact)) if args.peers else []
    found, _ = sweep(
        chosen,
        lambda case: inputs_of(case, points),
        args.exhaustive,
    )
    summed = []
    if not args.only:
        size = 30_000_000 if args.exhaustive else 1_000_000
        summed = [
            (*measured[:3], size, sums.BOUNDS[measured[0]], measured[3]) for measured in sums.measure(size)
        ]
    measured = list(table.lines(found, summed, args.exhaustive))
    print(*table.text(measured), sep="\n")
    if compared:
        print(*table.peers_markdown(compared), sep="\n")
    if args.worst:
        print(*table.worst_inputs(found), sep="\n")
    if args.write:
        table.write(args.write, "accuracy", table.markdown(measured))
        if compared:
            table.write(args.write, "peers", table.peers_markdown(compared))
    print(f"{time.monotonic() - started:.0f} seconds")
    beyond = [line for line in measured if not line[6] <= line[5]]
    return f"{len(beyond)} results are beyond their bound" if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
