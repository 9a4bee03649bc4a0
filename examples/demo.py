"""Train small learners on real data with fastbce and with plain NumPy, and compare.

    python examples/demo.py [--quick] [--output demo.png]

Both trainings start from the same parameters and see the same batches; only the function that computes the
loss and its gradient differs. They take turns, one epoch each, so that a busy moment of the machine hits
both. The program fails if the two reach different losses.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import data
import numpy as np
import numpy_losses
from learners import Array, Learner, Linear, OneHiddenLayer, ValueAndGrad, train
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

import fastbce as fb

# The two round differently, by about 1e-7 of a value in float32. A wrong gradient moves the loss far more.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Task:
    """A learner, the data it trains on, and the loss in both implementations."""

    name: str
    data: data.Data
    learner: Callable[[], Learner]
    fastbce: ValueAndGrad
    numpy: ValueAndGrad
    epochs: int
    batch_size: int
    step: float
    score: str = "accuracy"


@dataclass
class Training:
    """One learner in training with one implementation of the loss, which is timed."""

    task: Task
    value_and_grad: ValueAndGrad
    curve: list[float] = field(default_factory=list)
    call_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        task = self.task
        self.learner = task.learner()
        x, targets = task.data.x_train, task.data.y_train
        self._epochs = train(
            self.learner,
            x,
            targets,
            self._timed,
            epochs=task.epochs,
            batch_size=task.batch_size,
            step=task.step,
        )
        # Warm up on the first batch, untimed: caches, threads and memory are then as in every later call.
        logits = self.learner.logits(x[: task.batch_size])
        for _ in range(3):
            self.value_and_grad(logits, targets[: len(logits)], out=np.empty_like(logits))

    def _timed(self, logits: Array, targets: Array, *, out: Array) -> tuple[float, Array]:
        start = perf_counter()
        result = self.value_and_grad(logits, targets, out=out)
        self.call_seconds.append(perf_counter() - start)
        return result

    def run_epoch(self) -> None:
        """Train for one more epoch."""
        start = perf_counter()
        self.curve.append(next(self._epochs))
        self.seconds += perf_counter() - start

    @property
    def loss(self) -> float:
        """The loss reached: the mean of the last epoch."""
        return self.curve[-1]

    @property
    def seconds_per_call(self) -> float:
        """The time a call of the loss and gradient took: the median, which an interruption does not move."""
        return median(self.call_seconds)

    def held_out(self) -> tuple[float, float]:
        """Compute the log-loss and the score of the task on the data held out."""
        targets = self.task.data.y_test
        logits = self.learner.logits(self.task.data.x_test).astype(np.float64)
        if logits.ndim == 1:
            probs = np.exp(-np.logaddexp(0, -logits))
            predicted = (logits > 0).astype(targets.dtype)
        else:
            probs = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
            predicted = logits.argmax(axis=1)
        if self.task.score == "ROC AUC":
            score = roc_auc_score(targets, logits)
        else:
            score = accuracy_score(targets, predicted)
        return float(log_loss(targets, probs)), float(score)

    def positives_found(self) -> float:
        """Compute the share of the positives held out that are given a probability above one half."""
        logits = self.learner.logits(self.task.data.x_test)
        return float((logits[self.task.data.y_test == 1] > 0).mean())


@dataclass(frozen=True)
class Comparison:
    """The same task, trained with both."""

    task: Task
    fastbce: Training
    numpy: Training

    @property
    def ratio(self) -> float:
        """How many times longer NumPy takes for the loss and its gradient."""
        return self.numpy.seconds_per_call / self.fastbce.seconds_per_call

    @property
    def agree(self) -> bool:
        """Whether both reached the same loss."""
        return math.isclose(self.fastbce.loss, self.numpy.loss, rel_tol=TOLERANCE)


def make_tasks(quick: bool) -> list[Task]:
    """Load the data and list what is trained on it; `quick` takes a part of the flights and few epochs."""
    flights = data.flights(every=16 if quick else 1)
    breast_cancer = data.breast_cancer()
    digits = data.digits()
    shorten = 10 if quick else 1

    bce = fb.bce_with_logits_value_and_grad
    plain_bce = numpy_losses.bce_with_logits_value_and_grad
    cross_entropy = fb.cross_entropy_value_and_grad
    plain_cross_entropy = numpy_losses.cross_entropy_value_and_grad

    on_time_per_late = float((flights.y_train == 0).sum() / (flights.y_train == 1).sum())
    flights_learner = partial(Linear, flights.x_train.shape[1])
    pixels = digits.x_train.shape[1]
    return [
        Task(
            "flights, logistic",
            flights,
            flights_learner,
            bce,
            plain_bce,
            epochs=100 // shorten,
            batch_size=16_384,
            step=0.1,
            score="ROC AUC",
        ),
        Task(
            f"flights, pos_weight {on_time_per_late:.1f}",
            flights,
            flights_learner,
            fb.BCEWithLogitsLoss(pos_weight=on_time_per_late).value_and_grad,
            partial(plain_bce, pos_weight=on_time_per_late),
            epochs=100 // shorten,
            batch_size=16_384,
            step=0.1,
            score="ROC AUC",
        ),
        Task(
            "breast cancer, logistic",
            breast_cancer,
            partial(Linear, breast_cancer.x_train.shape[1], dtype=np.float64),
            bce,
            plain_bce,
            epochs=200 // shorten,
            batch_size=len(breast_cancer.x_train),
            step=0.1,
        ),
        Task(
            "digits, softmax",
            digits,
            partial(Linear, pixels, 10),
            cross_entropy,
            plain_cross_entropy,
            epochs=40 // shorten,
            batch_size=128,
            step=0.3,
        ),
        Task(
            "digits, hidden layer",
            digits,
            partial(OneHiddenLayer, pixels, 64, 10),
            cross_entropy,
            plain_cross_entropy,
            epochs=40 // shorten,
            batch_size=128,
            step=0.1,
        ),
    ]


def compare(task: Task, advance: Callable[[], object]) -> Comparison:
    """Train `task` with both, in turn; `advance` is called after each epoch."""
    both = Comparison(task, Training(task, task.fastbce), Training(task, task.numpy))
    for _ in range(task.epochs):
        both.fastbce.run_epoch()
        both.numpy.run_epoch()
        advance()
    return both


def make_table(results: list[Comparison]) -> Table:
    """Lay out all results, two lines per task, within 80 columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("\ndata and learner", no_wrap=True)
    table.add_column("\nwith")
    table.add_column("loss\nreached", justify="right")
    table.add_column("held out\nlog-loss", justify="right")
    table.add_column("held out\nscore", justify="right")
    table.add_column("loss+\ngrad µs", justify="right")
    table.add_column("\nratio", justify="right")
    for result in results:
        task = result.task
        rows, features = task.data.x_train.shape
        shape = f"[dim]{rows:,} x {features}, {task.data.x_train.dtype}[/dim]"
        for label, name, training, ratio in (
            (task.name, "fastbce", result.fastbce, f"[bold]{result.ratio:.1f}x[/bold]"),
            (shape, "NumPy", result.numpy, ""),
        ):
            held_out_loss, score = training.held_out()
            table.add_row(
                label,
                name,
                f"{training.loss:.6f}",
                f"{held_out_loss:.4f}",
                f"AUC {score:.3f}" if task.score == "ROC AUC" else f"{score:.1%}",
                f"{training.seconds_per_call * 1e6:,.1f}",
                ratio,
                end_section=name == "NumPy",
            )
    return table


def draw(results: list[Comparison], path: Path) -> None:
    """Draw the learning curves and the speed ratios."""
    blue, orange = "#1f5fa8", "#f0a860"
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle("The same learners, trained with fastbce and with plain NumPy", fontsize=15)
    *curves, bars = figure.subplots(2, 3).flat
    for axis, result in zip(curves, results, strict=True):
        epochs = range(1, result.task.epochs + 1)
        axis.plot(epochs, result.numpy.curve, color=orange, linewidth=6, label="NumPy")
        axis.plot(epochs, result.fastbce.curve, color=blue, linewidth=1.8, label="fastbce")
        axis.set(title=result.task.name, xlabel="epoch (log scale)", ylabel="training loss", xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)

    # A name on two lines leaves the bars as wide as the curves.
    names = [result.task.name.replace(", ", ",\n") for result in results]
    container = bars.barh(names, [result.ratio for result in results], color=blue)
    bars.bar_label(container, fmt="%.1fx", padding=4)
    bars.axvline(1, color=orange, linewidth=3)
    bars.invert_yaxis()
    bars.margins(x=0.18)
    bars.set(title="Speed of loss + gradient", xlabel="NumPy's time / fastbce's (orange: equal)")
    bars.grid(axis="x", alpha=0.3)
    bars.set_axisbelow(True)
    figure.savefig(path, dpi=110)


def make_notes(results: list[Comparison]) -> str:
    """Say how to read the table, and what it does not show."""
    seconds = sum(result.fastbce.seconds for result in results)
    seconds_numpy = sum(result.numpy.seconds for result in results)
    found, found_weighted = (result.fastbce.positives_found() for result in results[:2])
    return f"""\
loss+grad: a call for the loss of a batch and its gradient, on up to {fb.get_num_threads()} threads
(the median). ratio: NumPy's time / fastbce's. The whole training, with
its matrix products, took {seconds:.2f} s with fastbce and {seconds_numpy:.2f} s with NumPy.
flights: from the timetable alone; January to September, held out: October on.
pos_weight: of the late flights held out, {found_weighted:.0%} (without it {found:.0%}) get a probability
above one half; the price is probabilities that are too high: see the log-loss.
"""


def main() -> None:
    """Run the demo; exit with a message if the two implementations disagree."""
    parser = argparse.ArgumentParser(description="Train with fastbce and with plain NumPy, and compare.")
    parser.add_argument("--quick", action="store_true", help="a part of the flights, a tenth of the epochs")
    parser.add_argument("--output", type=Path, default=Path("demo.png"), help="picture (default: demo.png)")
    args = parser.parse_args()

    console = Console(highlight=False)
    console.print("Loading flights, breast cancer and digits ...")
    tasks = make_tasks(args.quick)
    results = []
    with Progress(console=console) as progress:
        bar = progress.add_task("", total=sum(task.epochs for task in tasks))
        for task in tasks:
            progress.update(bar, description=f"{task.name:<24}")
            results.append(compare(task, partial(progress.advance, bar)))
        progress.update(bar, description=f"{'trained':<24}")

    console.print("\n", make_table(results), "\n\n", make_notes(results), sep="")
    draw(results, args.output)
    console.print(f"Learning curves and speed: {args.output}")

    differing = [result for result in results if not result.agree]
    for result in differing:
        name, ours, numpys = result.task.name, result.fastbce.loss, result.numpy.loss
        print(f"{name}: fastbce reached a loss of {ours:.8g}, NumPy {numpys:.8g}", file=sys.stderr)
    if differing:
        sys.exit(f"The losses above differ by more than {TOLERANCE:g} of their value.")
    console.print(f"Both reached the same losses, to within {TOLERANCE:g} of their value.")


if __name__ == "__main__":
    main()
