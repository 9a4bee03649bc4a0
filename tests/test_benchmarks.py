"""Each benchmark calls the function that it names, and its NumPy counterpart computes the same."""

import ast
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbce as fb

asv_discovery = pytest.importorskip("asv_runner.discovery")  # comes with asv
OTHERS = {"import_time.Import.timeraw_import_fastbce", "overhead.Yardstick.time_numpy_add"}
FOLDER = Path(__file__).parents[1] / "asv_bench"


@pytest.fixture(scope="module")
def suite():
    """The package of benchmarks, imported as asv does it; and what asv finds in it, by name."""
    sys.path.insert(0, str(FOLDER))
    import benchmarks.accuracy
    import benchmarks.numpy_baseline
    import benchmarks.overhead

    yield benchmarks, {found.name: found for found in asv_discovery.disc_benchmarks("benchmarks")}
    sys.path.remove(str(FOLDER))
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


class Recorder:
    """Notes which of its functions are called."""

    def __init__(self):
        self.called = set()

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.called.add(name)


def named(benchmark, params):
    """The function that a benchmark names, with these parameters."""
    module, _, method = benchmark.name.split(".")
    kind, _, rest = method.partition("_")
    suffix = {"loss": "", "value_and_grad": "_value_and_grad", "grad_hess": "_grad_hess"}
    if kind == "peakmem":
        return rest
    if kind == "track":
        return module + suffix[params["result"]]
    return params.get("loss", module) + suffix[rest]


def combinations(benchmark):
    """All parameters of a benchmark: the values, and a dictionary by name."""
    values = [[ast.literal_eval(value) for value in choices] for choices in benchmark.params]
    for chosen in itertools.product(*values):
        yield chosen, dict(zip(benchmark.param_names, chosen, strict=True))


def run(benchmark, values):
    """Set a benchmark up as asv does, and run it once."""
    instance = type(benchmark.func.__self__)()
    if hasattr(instance, "setup"):
        instance.setup(*values)
    return getattr(instance, benchmark.func.__name__)(*values)


def test_every_benchmark_calls_what_it_names(suite, monkeypatch):
    package, found = suite
    monkeypatch.setattr(package.common, "best_times", lambda calls: [call() or 1.0 for call in calls])
    monkeypatch.setattr(package.memory, "BYTES", 8_000)
    all_called = set()
    for name, benchmark in found.items():
        if name.startswith("accuracy.") or name in OTHERS:
            continue
        for values, params in combinations(benchmark):
            if params.get("size") == 4_000_000 or params.get("shape") == "4096x1000":
                continue  # they take long to draw
            libraries = {library: Recorder() for library in package.common.LIBRARIES}
            monkeypatch.setattr(package.common, "LIBRARIES", libraries)
            run(benchmark, values)
            for library, recorder in libraries.items():
                used = params.get("implementation", library) == library
                assert recorder.called == ({named(benchmark, params)} if used else set()), (name, values)
                all_called |= recorder.called
    public = {name for name in fb.__all__ if name.startswith(tuple(package.accuracy.CASES))}
    assert len(public) == 10
    assert all_called == public, "every public function has a benchmark"


def test_the_yardsticks_call_what_they_name(suite, monkeypatch):
    _, found = suite
    assert found.keys() >= OTHERS
    assert run(found["import_time.Import.timeraw_import_fastbce"], ())[0] == "import fastbce"
    recorder = Recorder()
    monkeypatch.setattr(np, "add", recorder.add)
    run(found["overhead.Yardstick.time_numpy_add"], ())
    assert recorder.called == {"add"}


def test_a_speedup_is_numpys_time_over_ours(suite, monkeypatch):
    package, found = suite
    monkeypatch.setattr(package.common, "best_times", lambda calls: [2.0, 6.0])
    for name, expected in (("track_speedup_vs_numpy", 3.0), ("track_time_vs_numpy", 0.333333)):
        assert run(found[f"bce.BCEVsNumPy.{name}"], ("value_and_grad", "float32", 32)) == expected


def test_the_class_axis_first_is_over_last(suite, monkeypatch):
    package, found = suite
    axes = []
    recorder = Recorder()
    recorder.cross_entropy_value_and_grad = lambda x, y, axis=-1, out=None: axes.append((axis, out.shape))
    monkeypatch.setattr(package.common, "LIBRARIES", {"fastbce": recorder})
    monkeypatch.setattr(
        package.common, "best_times", lambda calls: [call() or 2.0 + len(axes) for call in calls]
    )
    name = "cross_entropy.ClassAxisFirst.track_time_vs_class_axis_last"
    assert run(found[name], ("fastbce", "value_and_grad", "float32", "6x3")) == 0.75
    assert axes == [(0, (3, 6)), (-1, (6, 3))]


@pytest.mark.parametrize(
    ("layout", "strides"), [("a class more", (16, 4)), ("every other class", (24, 8))], ids=str
)
def test_strided_logits_are_over_contiguous_ones(suite, monkeypatch, layout, strides):
    package, found = suite
    given = []
    recorder = Recorder()
    recorder.cross_entropy_value_and_grad = lambda x, y, out: given.append((x.strides, x.tolist()))
    monkeypatch.setattr(package.common, "LIBRARIES", {"fastbce": recorder})
    monkeypatch.setattr(
        package.common, "best_times", lambda calls: [call() or 2.0 + len(given) for call in calls]
    )
    name = "cross_entropy.Strided.track_time_vs_contiguous"
    assert run(found[name], ("fastbce", "value_and_grad", "float32", "6x3", layout)) == 0.75
    assert [of for of, _ in given] == [strides, (12, 4)]
    assert given[0][1] == given[1][1]


@pytest.mark.parametrize(
    ("variant", "option"),
    [
        ("pos_weight of labels", {"pos_weight": (3,)}),
        ("sample_weight of rows", {"sample_weight": (6, 1)}),
        ("targets in Fortran order", {}),
        ("in place", {}),
    ],
    ids=str,
)
def test_rows_of_labels_are_over_plain_ones(suite, monkeypatch, variant, option):
    package, found = suite
    given = []
    recorder = Recorder()
    recorder.bce_with_logits_value_and_grad = lambda x, y, out, **options: given.append(
        (x is out, y.strides, {name: value.shape for name, value in options.items()})
    )
    monkeypatch.setattr(package.common, "LIBRARIES", {"fastbce": recorder})
    monkeypatch.setattr(
        package.common, "best_times", lambda calls: [call() or 2.0 + len(given) for call in calls]
    )
    name = "bce_with_logits.Labels.track_time_vs_plain"
    assert run(found[name], ("fastbce", "value_and_grad", "float32", "6x3", variant)) == 0.75
    strides = (4, 24) if "Fortran" in variant else (12, 4)
    assert given == [(variant == "in place", strides, option), (False, (12, 4), {})]


def test_best_times_are_of_one_call(suite, monkeypatch):
    """With a clock that only the functions move: 3 and 5 ms a call, and the first calls slower."""
    package, _ = suite
    now, calls = [0.0], []

    def function(seconds):
        def call():
            calls.append(seconds)
            now[0] += seconds * (2 if len(calls) < 20 else 1)

        return call

    monkeypatch.setattr(package.common.time, "thread_time", lambda: now[0])
    assert package.common.best_times([function(0.003), function(0.005)]) == pytest.approx([0.003, 0.005])


@pytest.mark.parametrize("loss", ["bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"])
def test_the_baseline_computes_the_same(suite, loss, dtype):
    package, _ = suite
    x, y = package.overhead.INPUTS[loss](np.dtype(dtype).name, "50x7" if loss == "cross_entropy" else 350)
    ours, baseline = package.common.LIBRARIES["fastbce"], package.numpy_baseline
    close = {"rtol": 100 * np.finfo(dtype).eps, "atol": 10 * np.finfo(dtype).eps}
    np.testing.assert_allclose(getattr(baseline, loss)(x, y), getattr(ours, loss)(x, y), **close)
    for name in (f"{loss}_value_and_grad", f"{loss}_grad_hess"):
        if not hasattr(ours, name):
            continue
        given = [np.empty_like(x), np.empty_like(x)]
        outputs = dict(zip(("grad_out", "hess_out"), given, strict=True))
        if name.endswith("value_and_grad"):
            outputs = {"out": given[0]}
        actual, expected = getattr(baseline, name)(x, y, **outputs), getattr(ours, name)(x, y)
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, b, **close)
            assert np.ndim(a) == 0 or (a.dtype == dtype and any(a is array for array in given))


@pytest.mark.parametrize(
    ("actual", "exact", "expected"),
    [(1, 1 + 2.0**-24, 0.5), (1, 1 - 2.0**-25, 0.5), (3, 3 - 2.0**-20, 4), (2.0**-149, 3 * 2.0**-150, 0.5)],
)
def test_ulps_are_those_of_the_exact_value(suite, actual, exact, expected):
    package, _ = suite
    assert package.accuracy.max_ulp(np.float32([1, actual]), np.array([1, exact])) == expected


def test_errors_are_measured(suite, monkeypatch):
    """Less than one ULP where that is promised, a few elsewhere, and more where 10 are added."""
    package, _ = suite
    benchmark = package.accuracy.Accuracy()
    promised = {"bce": 1, "bce_with_logits": 1, "sigmoid_focal_loss": 6, "cross_entropy": 4}

    def off(call, which):
        def wrapped(*args, **kwargs):
            results = call(*args, **kwargs)
            results[which][:] += 10 * np.spacing(results[which])
            return results

        return wrapped

    for loss, result, dtype in itertools.product(*benchmark.params):
        try:
            benchmark.setup(loss, result, dtype)
        except NotImplementedError:
            assert np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant
            continue
        assert 0.49 < benchmark.track_max_ulp(loss, result, dtype) <= promised[loss]
        name = loss + "_value_and_grad"
        with monkeypatch.context() as patch:
            patch.setattr(fb, name, off(getattr(fb, name), ("loss", "gradient").index(result)))
            assert benchmark.track_max_ulp(loss, result, dtype) > 9
