"""The command line: `python -m fastbce`."""

import argparse
import importlib.util
import math
import os
from pathlib import Path

import fastbce as fb
from fastbce import _bench


def _losses(text: str) -> list[str]:
    chosen = text.split(",")
    for name in chosen:
        if name not in _bench.LOSSES:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(_bench.LOSSES)}, got {name!r}")
    return chosen


def _peers(text: str) -> list[str]:
    installed, chosen = _bench.installed_peers(), text.split(",")
    for name in chosen:
        if name not in installed:
            reason = (
                "is not installed" if name in _bench.PEERS else "is no library that fastbce is compared with"
            )
            raise argparse.ArgumentTypeError(f"{name!r} {reason}; available here: {','.join(installed)}")
    return chosen


def _at_least_one(text: str, most: int = 4096) -> int:
    digits = text.lstrip("0")  # of thousands Python makes no number
    if not digits.isdecimal() or len(digits) > 10 or int(digits) > most:
        raise argparse.ArgumentTypeError(f"expected a positive integer, {most:,} at most, got {text!r}")
    return int(digits)


def _sizes(text: str) -> list[int]:
    return sorted({_at_least_one(size, 10**9) for size in text.split(",")})


def _classes(text: str) -> int:
    return _at_least_one(text, 10**9)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return seconds


def _file(text: str) -> Path:
    """A file that can be written, as far as its folder says: to be told after a minute would be late."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"expected a file in a folder that can be written, got {text!r}")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastbce", description="Cross-entropy losses with gradients over NumPy arrays."
    )
    parser.add_argument("--version", action="version", version=f"fastbce {fb.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("config", help="print what fastbce uses on this machine")
    bench = commands.add_parser(
        "bench",
        help="compare its speed with that of other libraries",
        description="Time loss and gradient of the same arrays with fastbce and with every other library that"
        " is installed, all in turn, and print the best time of each.",
    )
    bench.add_argument(
        "--peers", type=_peers, metavar="NAME,...",
        help=f"what to compare with, of {', '.join(_bench.PEERS)} (default: all that are installed, but not"
        " torch.compile, which takes long to compile)",
    )  # fmt: skip
    bench.add_argument(
        "--loss", type=_losses, default=list(_bench.LOSSES), metavar="NAME,...",
        help=f"of {', '.join(_bench.LOSSES)} (default: all)",
    )  # fmt: skip
    bench.add_argument(
        "--dtype", choices=["float32", "float64"], default="float32", help="(default: float32)"
    )
    bench.add_argument(
        "--sizes", type=_sizes, default=[32, 1_000, 10_000, 100_000, 1_000_000, 4_000_000], metavar="N,...",
        help="numbers of logits or probabilities (default: 32 to 4,000,000)",
    )  # fmt: skip
    bench.add_argument(
        "--classes", type=_classes, default=10, metavar="N", help="of cross_entropy (default: 10)"
    )
    bench.add_argument(
        "--threads", type=_at_least_one, default=fb.get_num_threads(), metavar="N",
        help="how many threads each library may use (default: %(default)s)",
    )  # fmt: skip
    bench.add_argument(
        "--seconds", type=_seconds, default=45.0, metavar="S",
        help="how long to measure in all; imports and compilers come on top (default: 45)",
    )  # fmt: skip
    bench.add_argument("--plot", type=_file, metavar="FILE.png", help="draw time per element against size")
    bench.add_argument("--json", type=_file, metavar="FILE", help="write all times, in seconds")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run a command."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.command == "config":
        fb.show_config()
    elif args.command == "bench":
        missing = [
            name
            for name in ["rich"] + ["matplotlib"] * bool(args.plot)
            if importlib.util.find_spec(name) is None
        ]
        if missing:
            parser.error(f"bench needs {' and '.join(missing)}: pip install {' '.join(missing)}")
        if args.plot and args.plot.suffix[1:].lower() not in ["", *_bench.plot_formats()]:  # "" is .png
            known = ", ".join("." + name for name in _bench.plot_formats())
            parser.error(
                f"argument --plot: expected a file that ends with one of {known}, got {str(args.plot)!r}"
            )
        _bench.run(args)
    else:
        parser.print_help()


if __name__ == "__main__":
    main()
