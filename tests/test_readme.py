"""README.md: its examples print what they show, and its figures are those of docs/. Links lead somewhere."""

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


SESSIONS = [block for block in BLOCKS if block.startswith(">>>")]
PROGRAMS = [block for block in BLOCKS if "print(" in block]


def test_examples_are_found():
    assert len(SESSIONS) == 2
    assert len(PROGRAMS) == 1


@pytest.mark.parametrize("block", SESSIONS)
def test_sessions_print_what_they_show(block):
    names = {}
    exec("import numpy as np, fastbce as fb", names)
    test = doctest.DocTestParser().get_doctest(block, names, "README.md", None, 0)
    report = io.StringIO()
    doctest.DocTestRunner().run(test, out=report.write)
    assert not report.getvalue(), report.getvalue()


@pytest.mark.parametrize("block", PROGRAMS)
def test_programs_print_what_they_say(block):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})
    assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)


def anchors(page):
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def worst(function, dtypes, result):
    """The largest figure that docs/accuracy.md has for the functions whose name matches."""
    rows = re.findall(
        r"^\| (.+?) \| (\w+) \| (\w+) \|.*\| ([\d.]+) \| `.*` \|$",
        (ROOT / "docs/accuracy.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return max(
        float(figure)
        for name, what, dtype, figure in rows
        if re.fullmatch(function, name) and what == result and dtype in dtypes
    )


NAMES = {
    "`bce_with_logits`, hard targets": "bce_with_logits, hard",
    "`bce`, hard targets": "bce, hard",
    "`bce_with_logits`, `bce`, soft targets": "bce(_with_logits)?, soft",
    "`cross_entropy`, labels, 2 to 2¹⁸ classes": r"cross_entropy, labels, [\d,]+ to [\d,]+ classes",
}


IN_SHORT = {
    "binary, hard targets": "bce(_with_logits)?, hard",
    "binary, soft targets": "bce(_with_logits)?, soft",
    "binary, with `pos_weight` or `label_smoothing`": "bce.*, (pos_weight|label_smoothing)",
    "focal, hard targets": "sigmoid_focal_loss, hard",
    "focal, soft targets": "sigmoid_focal_loss, soft",
    "cross-entropy, labels": "cross_entropy, labels.*",
    "cross-entropy, rows of probabilities or `label_smoothing`": "cross_entropy, (soft|label_smoothing).*",
}


def test_accuracy_in_short_is_that_of_its_table():
    page = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} == set(IN_SHORT)
    for name, loss, gradient in rows:
        expected = [worst(IN_SHORT[name], ["float32", "float64"], result) for result in ("loss", "gradient")]
        assert [float(loss), float(gradient)] == expected, name


def test_accuracy_is_that_of_its_page():
    section = README.split("## Accuracy")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \| (float[\w, ]+) \| .* \| ([\d.]+) \| ([\d.]+) \|$", section, re.MULTILINE)
    assert {name for name, *_ in rows} == set(NAMES)
    for name, dtypes, loss, gradient in rows:
        expected = [worst(NAMES[name], dtypes.split(", "), result) for result in ("loss", "gradient")]
        assert [float(loss), float(gradient)] == expected, name
