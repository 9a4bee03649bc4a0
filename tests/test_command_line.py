"""`python -m fastbce`: what it prints and writes, and that its comparison compares the same thing."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import fastbce as fb
from fastbce import __main__ as command_line
from fastbce import _bench

SIZES = [30, 1000]


def run(*arguments):
    command = [sys.executable, "-m", "fastbce", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={"COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(capsys, *arguments):
    """The error of a command that is refused, with exit status 2."""
    with pytest.raises(SystemExit) as error:
        command_line.main(list(arguments))
    assert error.value.code == 2
    return capsys.readouterr().err


def test_without_a_command_it_prints_help(capsys):
    command_line.main([])
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python -m fastbce")
    assert "bench" in printed
    assert "config" in printed


def test_version_and_config():
    assert run("--version") == f"fastbce {fb.__version__}\n"
    assert run("config").startswith(f"fastbce {fb.__version__}\ninstruction set: ")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """What a short run printed, and the files it wrote."""
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("bench")
    arguments = ["--peers", "numpy", "--sizes", ",".join(map(str, SIZES)), "--seconds", 0.3, "--threads", 1]
    plot, report = folder / "speed.png", folder / "speed.json"
    return run("bench", *arguments, "--plot", plot, "--json", report), plot, json.loads(report.read_text())


def test_report_has_every_time(comparison):
    _, _, report = comparison
    assert report["fastbce"]["version"] == fb.__version__
    assert report["versions"] == {"numpy": np.__version__}
    assert (report["dtype"], report["threads"]) == ("float32", 1)
    assert report["memory_bytes_per_second"] > 1e8
    measured = [(row["loss"], row["size"]) for row in report["results"]]
    assert measured == [(loss, size) for loss in _bench.LOSSES for size in SIZES]
    for row in report["results"]:
        assert row["seconds"].keys() == {"fastbce", "numpy"}
        assert all(1e-8 < seconds < 0.1 for seconds in row["seconds"].values())
        # two arrays of float32 for a row of 10 logits, and a label of 8 bytes; or three
        size = (2 * 4 + 0.8) if row["loss"] == "cross_entropy" else 3 * 4
        assert row["memory_seconds"] * report["memory_bytes_per_second"] == pytest.approx(size * row["size"])


def test_table_shows_the_times(comparison):
    printed, _, report = comparison
    tables = printed.split("loss and gradient")[1:]
    for loss, table in zip(_bench.LOSSES, tables, strict=True):
        lines = [line.split() for line in table.splitlines()]
        rows = [row for row in report["results"] if row["loss"] == loss]
        for name in ("fastbce", "numpy"):
            shown = [word for row in rows for word in _bench.show_time(row["seconds"][name]).split()]
            assert [name, *shown] in lines
        ratios = [f"{row['seconds']['numpy'] / row['seconds']['fastbce']:.1f}x" for row in rows]
        assert ["vs", "numpy", *ratios] in lines
        assert ["vs", "best", *ratios] in lines


def test_plot_is_a_picture_of_three_panels(comparison):
    from matplotlib.image import imread

    _, plot, _ = comparison
    pixels = imread(plot)[:, :, :3]
    assert pixels.shape[:2] == (594, 2046)
    blue = np.abs(pixels - [0x1F / 255, 0x77 / 255, 0xB4 / 255]).max(axis=2) < 0.01
    for panel in np.array_split(blue[:, :1900], 3, axis=1):
        assert panel.sum() > 1000, "fastbce's line is in each"


def test_wrong_arguments_say_what_is_expected(capsys, monkeypatch):
    monkeypatch.setattr(_bench, "installed_peers", lambda: ["numpy", "torch"])
    message = fails(capsys, "bench", "--peers", "numpy,tensorflow")
    assert "--peers: 'tensorflow' is no library that fastbce is compared with" in message
    assert message.endswith("available here: numpy,torch\n")
    message = fails(capsys, "bench", "--peers", "numpy,jax")
    assert "--peers: 'jax' is not installed; available here: numpy,torch\n" in message
    assert "expected some of bce_with_logits,bce" in fails(capsys, "bench", "--loss", "mse")
    assert "--sizes: expected a positive integer, 1,000,000,000 at most, got '1.5'" in fails(
        capsys, "bench", "--sizes", "1,1.5"
    )
    assert "--threads: expected a positive integer, 4,096 at most, got '0'" in fails(
        capsys, "bench", "--threads", "0"
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threads", "9" * 5000),
        ("--sizes", "99999999999999"),
        ("--seconds", "inf"),
        ("--seconds", "nan"),
        ("--seconds", "-1"),
        ("--plot", "no/such/folder/speed.png"),
        ("--plot", "speed.nonsense"),
        ("--json", "."),
    ],
)
def test_what_cannot_work_is_said_at_once(capsys, monkeypatch, option, value):
    """Not after a minute of measuring."""
    monkeypatch.setattr(_bench, "run", None)
    assert re.search(
        f"{option}: expected .*, got '{re.escape(value)}'", fails(capsys, "bench", option, value)
    )


@pytest.mark.parametrize("missing", ["rich", "matplotlib"])
def test_a_missing_extra_is_named(capsys, monkeypatch, tmp_path, missing):
    find = command_line.importlib.util.find_spec
    monkeypatch.setattr(
        command_line.importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    message = fails(capsys, "bench", "--seconds", "0", "--plot", str(tmp_path / "speed.png"))
    assert f"bench needs {missing}: pip install {missing}" in message


@pytest.mark.parametrize("name", [name for name in _bench.PEERS if name != "torch.compile"])
def test_every_library_computes_the_same(name, dtype):
    for package in _bench.PEERS[name].packages:
        pytest.importorskip(package)
    compared = []
    for loss in _bench.LOSSES:
        problem = _bench.make_problem(loss, np.dtype(dtype).name, 120, 10, threads=1)
        call = _bench.PEERS[name].make_call(problem)
        if call is None:
            continue
        compared.append(loss)
        value, grad = map(np.asarray, call())
        expected_value, expected = getattr(fb, loss + "_value_and_grad")(problem.x, problem.y)
        if name == "scikit-learn":  # losses of elements or rows, and the gradient of their sum
            value, grad = value.mean(), grad / len(problem.x)
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(value, expected_value, rtol=tolerance)
        np.testing.assert_allclose(grad, expected, rtol=tolerance, atol=tolerance / problem.x.size)
        assert grad.dtype == dtype
    assert "bce_with_logits" in compared


def test_what_fails_or_differs_is_left_out(monkeypatch):
    def broken(problem):
        raise RuntimeError("no such device")

    peers = {
        "broken": _bench.Peer((), broken),
        "other": _bench.Peer((), lambda problem: lambda: (0.5, problem.grad)),
        "none": _bench.Peer((), lambda problem: None),
        "numpy": _bench.PEERS["numpy"],
    }
    monkeypatch.setattr(_bench, "PEERS", peers)
    warnings = []
    problem = _bench.make_problem("bce", "float64", 100, 10, threads=1)
    assert list(_bench.make_calls(problem, list(peers), warnings.append)) == ["fastbce", "numpy"]
    assert warnings[0] == "broken is left out of bce: RuntimeError: no such device"
    assert warnings[1].startswith("other is left out of bce: its loss is 0.5, not ")
    assert len(warnings) == 2


def test_calls_take_turns_and_the_best_time_counts(monkeypatch):
    """With a clock that only the calls move: 3 and 5 ms, and the first ones slower."""
    now, order = [0.0], []

    def call(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds * (3 if len(order) < 6 else 1)

        return call

    monkeypatch.setattr(_bench.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(_bench.time, "sleep", lambda seconds: None)
    calls = {"a": call("a", 0.003), "b": call("b", 0.005)}
    assert _bench.best_times(calls, seconds=0.1) == pytest.approx({"a": 0.003, "b": 0.005})
    assert 0.1 < now[0] < 0.2
    assert "".join(order[2:]) == "aabb" * (len(order[2:]) // 4)  # one to warm up, one timed


def test_bandwidth_counts_every_byte_once(monkeypatch):
    def two_seconds(calls, seconds):
        parts = calls["add"]()[0]
        assert len(parts) == 3
        assert sum(part.size for part in parts) == 1 << 24
        assert all((part == 2).all() for part in parts)
        return {"add": 2.0}

    monkeypatch.setattr(_bench, "best_times", two_seconds)
    assert _bench.memory_bandwidth(threads=3) == 3 * 4 * (1 << 24) / 2


@pytest.mark.parametrize(("load", "threads", "warned"), [(0.5, 4, False), (3.0, 1, False), (3.0, 2, True)])
def test_a_busy_machine_is_a_warning(monkeypatch, load, threads, warned):
    monkeypatch.setattr(_bench.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(_bench.os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    expected = "This machine is busy: a load of 3.0 on 4 cores. Expect no steady times."
    assert _bench.busy(threads) == (expected if warned else None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.50 s"), (0.0123, "12.3 ms"), (9.99e-7, "999 ns"), (1e-6, "1.00 µs"), (3.21e-10, "0.32 ns")],
)
def test_times_have_three_digits(seconds, text):
    assert _bench.show_time(seconds) == text
