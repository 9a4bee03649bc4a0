"""What `make dashboard` publishes shows fastbce and NumPy as two lines of one graph, in a browser."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = Path(sys.prefix) / "dashboard"
BENCHMARK = "bce.BCE.time_value_and_grad"
BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
NEEDED = {
    "asv (pip install --group bench)": shutil.which("asv", path=Path(sys.executable).parent),
    "git": shutil.which("git"),
    "chromium (on Debian: apt-get install chromium)": BROWSER,
    "npm (on Debian: apt-get install npm), then `make test`": LIBRARIES.joinpath("node_modules").is_dir(),
}
MISSING = [name for name, found in NEEDED.items() if not found]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="needs " + ", ".join(MISSING))

# Shows the graph in a frame, and writes down what is drawn there: each line's label, its points, and how many
# pixels have its colour.
PROBE = f"""<!doctype html>
<iframe id=page width=1200 height=800
  src="index.html#{BENCHMARK}?p-dtype='float32'&p-size=32&y-axis-scale=log"></iframe>
<pre id=lines></pre>
<script>
function pixels(context, colour) {{
  const [r, g, b] = colour.match(/\\d+/g).map(Number);
  const data = context.getImageData(0, 0, context.canvas.width, context.canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    count += Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 60;
  return count;
}}
setInterval(() => {{
  const page = document.getElementById("page").contentWindow;
  const plot = page.$ && page.$("#main-graph").data("plot");
  if (!plot) return;
  const context = plot.getCanvas().getContext("2d");
  document.getElementById("lines").textContent = JSON.stringify(plot.getData().map(
    line => ({{label: line.label, points: line.data, pixels: pixels(context, line.color)}})));
}}, 200);
</script>
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of pages: one small benchmark, measured for two commits of a repository of its own."""
    folder = tmp_path_factory.mktemp("dashboard")
    environment = os.environ | {"HOME": str(folder)}
    for key in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{key}_NAME": "a", f"GIT_{key}_EMAIL": "a@b.c"}
    at = partial(run, cwd=folder, env=environment)
    asv = partial(at, Path(sys.executable).with_name("asv"))

    at("git", "init", "--quiet", "--initial-branch=main")
    config = re.sub(r"^ *//.*$", "", (ROOT / "asv_bench/asv.conf.json").read_text(), flags=re.MULTILINE)
    config = json.loads(config) | {
        "repo": ".",
        "benchmark_dir": str(ROOT / "asv_bench/benchmarks"),
        "env_dir": "env",
        "results_dir": "results",
        "html_dir": "html",
    }
    (folder / "asv.conf.json").write_text(json.dumps(config))
    asv("machine", "--yes", "--machine", "here")
    for day in (1, 2):
        date = f"2026-01-0{day}T00:00:00+00:00"
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        at("git", "commit", "--quiet", "--allow-empty", "--message", date, env=environment | dates)
        commit = at("git", "rev-parse", "HEAD").strip()
        asv(
            "run", "--machine", "here", "--environment", f"existing:{sys.executable}",
            "--set-commit-hash", commit, "--bench", rf"{BENCHMARK}\(.*, 'float32', 32\)",
            "--attribute", "repeat=2", "--attribute", "rounds=1", "--attribute", "warmup_time=0",
        )  # fmt: skip
    asv("publish")
    at(sys.executable, ROOT / "tools/offline_dashboard.py", "html", LIBRARIES)
    return folder / "html"


@pytest.fixture
def address(published):
    """Where the pages are served: they load data, which a browser does not read from files."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *args: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=published)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pages_need_no_network(published):
    index = (published / "index.html").read_text()
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]*)"', index)
    assert len(loaded) > 15
    for name in loaded:
        assert (published / name).is_file(), name


def test_a_browser_draws_both_lines(published, address, tmp_path):
    (published / "probe.html").write_text(PROBE)
    dom = run(
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=20000", "--dump-dom", f"{address}/probe.html",
    )  # fmt: skip
    text = re.search(r'<pre id="lines">(.*?)</pre>', dom, re.DOTALL)[1]
    lines = {line["label"]: line for line in json.loads(html.unescape(text))}
    assert lines.keys() == {f"dtype-float32; implementation-{name}; size-32" for name in ("fastbce", "numpy")}
    for line in lines.values():
        assert len(line["points"]) == 2, "one for each commit"
        assert all(1e-8 < seconds < 0.1 for _, seconds in line["points"])
        assert line["pixels"] > 200
