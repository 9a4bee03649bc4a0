"""What `python -m fastbce bench` does: time a loss and its gradient with fastbce and with other libraries.

Each call gets the same arrays, computes the loss and its gradient, and writes the gradient into an array that
is there already where the library can. The calls take turns, so that whatever else the machine does hits all.
"""

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastbce as fb

Array = npt.NDArray[Any]
Result = tuple[
    Any, Any
]  # the loss, or the losses of the elements; and the gradient of its mean, or of their sum


class Problem(NamedTuple):
    """What a library is given: logits or probabilities, targets or labels, room for the gradient."""

    loss: str
    x: Array
    y: Array
    grad: Array
    threads: int


Call = Callable[[], Result]


def make_problem(loss: str, dtype: str, size: int, classes: int, threads: int) -> Problem:
    """Draw inputs: as many logits or probabilities as `size` says, for cross-entropy in whole rows."""
    rng = np.random.default_rng(0)
    if loss == "cross_entropy":
        rows = max(1, size // classes)
        x = (rng.standard_normal((rows, classes)) * 3).astype(dtype)
        return Problem(loss, x, rng.integers(0, classes, rows), np.empty_like(x), threads)
    x = rng.uniform(1e-6, 1 - 1e-6, size) if loss == "bce" else rng.standard_normal(size) * 3
    x = x.astype(dtype)
    return Problem(loss, x, (rng.random(size) < 0.4).astype(dtype), np.empty_like(x), threads)


# --- the libraries: each function returns a call, or None where there is none for that loss -----------------


def _fastbce(problem: Problem) -> Call:
    loss, x, y, grad, _ = problem
    function = getattr(fb, loss + "_value_and_grad")
    return lambda: function(x, y, out=grad)


def _numpy(problem: Problem) -> Call:
    loss, x, y, grad, _ = problem

    def bce_with_logits() -> Result:
        t = np.exp(-np.abs(x))
        value = (np.maximum(x, 0) - x * y + np.log1p(t)).mean()
        np.divide(np.where(x >= 0, 1, t), 1 + t, out=grad)
        np.subtract(grad, y, out=grad)
        return value, np.divide(grad, x.size, out=grad)

    def bce() -> Result:
        value = -(y * np.log(x) + (1 - y) * np.log1p(-x)).mean()
        np.subtract(x, y, out=grad)
        np.divide(grad, np.maximum(x * (1 - x), 1e-12), out=grad)
        return value, np.divide(grad, x.size, out=grad)

    rows = np.arange(len(x))

    def cross_entropy() -> Result:
        largest = x.max(axis=1, keepdims=True)
        np.exp(np.subtract(x, largest, out=grad), out=grad)
        total = grad.sum(axis=1, keepdims=True)
        value = ((np.log(total) + largest)[:, 0] - x[rows, y]).mean()
        np.divide(grad, total, out=grad)
        grad[rows, y] -= 1
        return value, np.divide(grad, len(x), out=grad)

    return {"bce_with_logits": bce_with_logits, "bce": bce, "cross_entropy": cross_entropy}[loss]


def _scipy(problem: Problem) -> Call | None:
    from scipy import special

    loss, x, y, grad, _ = problem

    def call() -> Result:
        value = (np.logaddexp(0, x) - x * y).mean()
        np.subtract(special.expit(x, out=grad), y, out=grad)
        return value, np.divide(grad, x.size, out=grad)

    return call if loss == "bce_with_logits" else None


def _sklearn(problem: Problem) -> Call | None:
    from sklearn._loss import _loss as sk

    loss, x, y, grad, threads = problem
    if loss == "bce":
        return None
    function = sk.CyHalfBinomialLoss() if loss == "bce_with_logits" else sk.CyHalfMultinomialLoss()
    targets, losses = y.astype(x.dtype), np.empty(len(x), x.dtype)

    def call() -> Result:
        function.loss_gradient(targets, x, None, losses, grad, threads)
        return losses, grad

    return call


def _torch(problem: Problem, compile_it: bool = False) -> Call:
    import torch

    torch.set_num_threads(problem.threads)
    functional = torch.nn.functional
    function: Any = {
        "bce_with_logits": functional.binary_cross_entropy_with_logits,
        "bce": functional.binary_cross_entropy,
        "cross_entropy": functional.cross_entropy,
    }[problem.loss]
    if compile_it:
        function = torch.compile(function)
    x, y = torch.from_numpy(problem.x).requires_grad_(), torch.from_numpy(problem.y)

    def call() -> Result:
        x.grad = None
        value = function(x, y)
        value.backward()
        return value.detach(), x.grad

    return call


def _jax(problem: Problem) -> Call:
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    function = {
        "bce_with_logits": lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean(),
        "bce": lambda x, y: -(y * jnp.log(x) + (1 - y) * jnp.log1p(-x)).mean(),
        "cross_entropy": lambda x, y: optax.softmax_cross_entropy_with_integer_labels(x, y).mean(),
    }[problem.loss]
    both, x, y = jax.jit(jax.value_and_grad(function)), jnp.asarray(problem.x), jnp.asarray(problem.y)
    return lambda: jax.block_until_ready(both(x, y))


def _numba(problem: Problem) -> Call | None:
    import numba

    loss, x, y, grad, threads = problem
    if loss != "bce_with_logits":
        return None

    def kernel(x: Array, y: Array, grad: Array) -> float:
        total = 0.0
        for i in numba.prange(x.size):
            t = np.exp(-abs(x[i]))
            total += max(x[i], 0) - x[i] * y[i] + np.log1p(t)
            grad[i] = ((1 / (1 + t) if x[i] >= 0 else t / (1 + t)) - y[i]) / x.size
        return total / x.size

    # A parallel loop takes 20 us to start: whoever writes one for few elements leaves that out.
    parallel = threads > 1 and x.size > 20_000
    if parallel:
        numba.set_num_threads(threads)
    compiled = numba.njit(parallel=parallel, fastmath=True, error_model="numpy")(kernel)
    return lambda: (compiled(x, y, grad), grad)


def _numexpr(problem: Problem) -> Call | None:
    import numexpr

    loss, x, y, grad, threads = problem
    numexpr.set_num_threads(threads)
    names = {"x": x, "y": y, "n": np.array(x.size, x.dtype)}

    def call() -> Result:
        total = numexpr.evaluate("sum(where(x > 0, x, 0) - x * y + log1p(exp(-abs(x))))", names)
        return total / x.size, numexpr.evaluate("(1 / (1 + exp(-x)) - y) / n", names, out=grad)

    return call if loss == "bce_with_logits" else None


LOSSES = ("bce_with_logits", "bce", "cross_entropy")


class Peer(NamedTuple):
    """A library to compare with: the packages it takes, and how to make a call of it."""

    packages: tuple[str, ...]
    make_call: Callable[[Problem], Call | None]


PEERS = {
    "numpy": Peer(("numpy",), _numpy),
    "scipy": Peer(("scipy",), _scipy),
    "scikit-learn": Peer(("sklearn",), _sklearn),
    "torch": Peer(("torch",), _torch),
    "torch.compile": Peer(("torch",), lambda problem: _torch(problem, compile_it=True)),
    "jax": Peer(("jax", "optax"), _jax),
    "numba": Peer(("numba",), _numba),
    "numexpr": Peer(("numexpr",), _numexpr),
}


def installed_peers() -> list[str]:
    """Name the libraries that can be compared with here."""
    return [
        name
        for name, peer in PEERS.items()
        if all(importlib.util.find_spec(package) is not None for package in peer.packages)
    ]


# --- measuring ----------------------------------------------------------------------------------------------


def best_times(calls: dict[str, Call], seconds: float, round_seconds: float = 0.004) -> dict[str, float]:
    """Measure the best time of each call over rounds that take the calls in turn, for about `seconds`."""
    repeats = {}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(round_seconds / (time.perf_counter() - start)))
    best = dict.fromkeys(calls, math.inf)
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        rounds += 1
        for name, call in calls.items():
            time.sleep(0.001)  # idle threads of the last call stop spinning
            call()
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / repeats[name])
    return best


def busy(threads: int) -> str | None:
    """Say so if other work wants the cores that `threads` threads are about to take."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load + threads <= cores + 0.7:  # what came before this command may still show in the load
        return None
    return f"This machine is busy: a load of {load:.1f} on {cores} cores. Expect no steady times."


def memory_bandwidth(threads: int) -> float:
    """Measure the bytes per second that np.add reads and writes on so many threads, far beyond the caches."""
    size = 1 << 24
    x, y, out = (np.ones(size, np.float32) for _ in range(3))
    edges = [size * i // threads for i in range(threads + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:

        def call() -> Result:
            return list(pool.map(lambda part: np.add(x[part], y[part], out=out[part]), parts)), None

        seconds = best_times({"add": call}, seconds=0.5)["add"]
    return (x.nbytes + y.nbytes + out.nbytes) / seconds


class Row(NamedTuple):
    """The times of one loss and size, in seconds a call, and the time its arrays take to pass the memory."""

    loss: str
    size: int
    seconds: dict[str, float]
    memory_seconds: float


def make_calls(problem: Problem, names: list[str], warn: Callable[[str], object]) -> dict[str, Call]:
    """Prepare what is compared; leave out, with a warning, what fails or computes something else."""
    ours = _fastbce(problem)
    expected, calls = ours()[0], {"fastbce": ours}
    for name in names:
        try:
            call = PEERS[name].make_call(problem)
            value = float(np.asarray(call()[0]).mean()) if call else expected
        except Exception as error:  # whatever another library raises: the others can still be compared
            warn(f"{name} is left out of {problem.loss}: {type(error).__name__}: {error}")
            continue
        if not math.isclose(value, expected, rel_tol=0.02):  # numexpr adds millions of float32 in float32
            warn(f"{name} is left out of {problem.loss}: its loss is {value:.6g}, not {expected:.6g}")
        elif call:
            calls[name] = call
    return calls


def measure(args: argparse.Namespace, bandwidth: float, warn: Callable[[str], object]) -> Iterator[Row]:
    """Measure each loss at each size."""
    for loss in args.loss:
        for size in args.sizes:
            problem = make_problem(loss, args.dtype, size, args.classes, args.threads)
            calls = make_calls(problem, args.peers, warn)
            seconds = best_times(calls, args.seconds / len(args.loss) / len(args.sizes))
            moved = problem.x.nbytes + problem.y.nbytes + problem.grad.nbytes
            yield Row(loss, problem.x.size, seconds, moved / bandwidth)


# --- showing ------------------------------------------------------------------------------------------------


def show_loss(loss: str, args: argparse.Namespace) -> str:
    return f"{loss}, {args.classes} classes" if loss == "cross_entropy" else loss


def show_threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def show_time(seconds: float) -> str:
    """Write a time with three digits."""
    for unit in ("s", "ms", "µs", "ns"):
        if seconds >= 1 or unit == "ns":
            break
        seconds *= 1000
    return f"{seconds:.{2 if seconds < 10 else 1 if seconds < 100 else 0}f} {unit}"


def make_table(rows: list[Row], args: argparse.Namespace) -> Any:
    """Lay out the times of one loss: a line for each library, a column for each size."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(f"{row.size:,}", justify="right")
    names = [name for name in ("fastbce", *args.peers) if any(name in row.seconds for row in rows)]
    for name in names:
        times = [show_time(row.seconds[name]) if name in row.seconds else "" for row in rows]
        table.add_row(name, *times, style="bold" if name == "fastbce" else "", end_section=name == names[-1])

    def add_ratios(label: str, choose: Callable[[dict[str, float]], float | None]) -> None:
        ratios = [choose(row.seconds) for row in rows]
        if any(ratios):
            shown = [f"{ratio:.1f}x" if ratio else "" for ratio in ratios]
            table.add_row(label, *shown, style="bold")

    def vs_best(seconds: dict[str, float]) -> float | None:
        others = [value for name, value in seconds.items() if name != "fastbce"]
        return min(others) / seconds["fastbce"] if others else None

    add_ratios("vs numpy", lambda seconds: seconds.get("numpy", 0) / seconds["fastbce"])
    add_ratios("vs best", vs_best)
    return table


def plot_formats() -> list[str]:
    """What a plot's file name may end with."""
    from matplotlib.backend_bases import FigureCanvasBase

    return sorted(FigureCanvasBase.get_supported_filetypes())


def draw(rows: list[Row], bandwidth: float, args: argparse.Namespace) -> None:
    """Draw time per element against size: a panel for each loss, a line for each library."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(args.loss) + 1.8, 5.4), layout="constrained")
    figure.suptitle(f"Loss and gradient, {args.dtype}, {show_threads(args.threads)}: time per element")
    panels = figure.subplots(1, len(args.loss), sharey=True, squeeze=False)[0]
    for panel, loss in zip(panels, args.loss, strict=True):
        of_loss = [row for row in rows if row.loss == loss]
        for name in ("fastbce", *args.peers):
            sizes = [row.size for row in of_loss if name in row.seconds]
            times = [row.seconds[name] / row.size * 1e9 for row in of_loss if name in row.seconds]
            if name == "fastbce":
                style = {"color": "C0", "linewidth": 3.5, "markersize": 8, "zorder": 3}
            else:
                style = {"color": f"C{list(PEERS).index(name) + 1}", "linewidth": 1.4, "markersize": 4}
            panel.plot(sizes, times, "o-", label=name, **style)
        floor = statistics.mean(row.memory_seconds / row.size * 1e9 for row in of_loss)
        memory = panel.axhline(floor, color="black", linestyle="--", linewidth=1)
        text = f"memory: {floor * 1e-9 * bandwidth:.3g} bytes per element at {bandwidth / 1e9:.3g} GB/s"
        panel.legend([memory], [text], loc="upper right", frameon=False)  # where large arrays leave room
        panel.set(title=show_loss(loss, args), xlabel="elements", xscale="log", yscale="log")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ns per element")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(args.plot, dpi=110)


def write_json(path: Path, rows: list[Row], bandwidth: float, args: argparse.Namespace) -> None:
    """Write what was measured, and with what."""
    packages = sorted({package for name in args.peers for package in PEERS[name].packages} - {"sklearn"})
    packages += ["scikit-learn"] * ("scikit-learn" in args.peers)
    report = {
        "fastbce": fb.show_config("dicts"),
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "dtype": args.dtype,
        "threads": args.threads,
        "memory_bytes_per_second": bandwidth,
        "results": [row._asdict() for row in rows],
    }
    path.write_text(json.dumps(report, indent=1) + "\n")


def run(args: argparse.Namespace) -> None:
    """Measure and show what the arguments ask for."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR_MAX", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = str(args.threads)
    os.environ["NPROC"] = str(args.threads)  # XLA's
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA says at length what takes long to compile
    fb.set_num_threads(args.threads)
    if args.peers is None:
        args.peers = [name for name in installed_peers() if name != "torch.compile"]

    console, progress_console = Console(highlight=False), Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    if warning := busy(args.threads):
        progress_console.print(warning, style="yellow")
    rows: list[Row] = []
    with Progress(*columns, console=progress_console, transient=True) as progress:
        bar = progress.add_task("memory", total=len(args.loss) * len(args.sizes))
        bandwidth = memory_bandwidth(args.threads)
        progress.update(bar, description=args.loss[0])
        for row in measure(args, bandwidth, lambda text: progress_console.print(text, style="yellow")):
            rows.append(row)
            progress.update(bar, advance=1, description=row.loss)
    threads = show_threads(args.threads)
    for loss in args.loss:
        title = f"{show_loss(loss, args)}: loss and gradient, {args.dtype}, {threads}"
        console.print(title, make_table([row for row in rows if row.loss == loss], args), sep="\n")
    console.print("vs: the other's time / fastbce's; above 1, fastbce is faster.")
    console.print(f"Memory: {bandwidth / 1e9:.3g} GB/s, measured with np.add on {threads}.")
    if args.plot:
        draw(rows, bandwidth, args)
        console.print(f"Plot: {args.plot}")
    if args.json:
        write_json(args.json, rows, bandwidth, args)
        console.print(f"Times: {args.json}")
