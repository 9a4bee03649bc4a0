"""docs/errors.md: each call raises what the table says, word for word, and no message is missing from it."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastbce as fb

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.+?)` \| `(\w+)` \| `(.+)` \|$", PAGE, re.MULTILINE)
ANYTHING = "…"  # what the page puts for the words of the machine, or of another library


def test_the_table_is_read():
    """A row in another form would be one that nobody checks."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    headings = [line for line in lines if line in ("| call | exception | message |", "| --- | --- | --- |")]
    assert len(lines) == len(headings) + len(ROWS)
    assert len({call for call, _, _ in ROWS}) == len(ROWS)


def as_pattern(message):
    return ".*".join(re.escape(part) for part in message.split(ANYTHING))


def raised_by(call, folder):
    """Name and message of the exception; of the last line of a process, where the call is a command."""
    command = re.match(r"(?:(FASTBCE_\w+)=(\S+)|cd clone;) python -c \"(.*)\"$", call)
    if command is None:
        names = {}
        exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], names)
        if "torch" in call:
            names["torch"] = pytest.importorskip("torch")
        with pytest.raises(Exception) as error:  # noqa: PT011
            eval(call, names)
        return type(error.value).__name__, str(error.value)
    name, value, program = command.groups()
    options = []
    if name is None:
        options = ["-S"]  # or an editable installation comes first
        shutil.copytree(ROOT / "fastbce", folder / "fastbce", ignore=shutil.ignore_patterns("*.so"))
    run = subprocess.run(
        [sys.executable, *options, "-c", program],
        env=os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])} | ({name: value} if name else {}),
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode != 0
    return tuple(run.stderr.splitlines()[-1].split(": ", 1))


@pytest.mark.parametrize(("call", "exception", "message"), ROWS, ids=[call for call, _, _ in ROWS])
def test_each_call_raises_what_the_page_says(call, exception, message, tmp_path):
    actual = raised_by(call, tmp_path)
    assert actual[0] == exception
    assert re.fullmatch(as_pattern(message), actual[1]), actual[1]


def sources():
    """The files whose messages the page lists: all but the command line, which a call does not reach."""
    paths = (ROOT / "fastbce").glob("*.py*")
    return sorted(path for path in paths if path.suffix != ".pyi" and path.name != "__main__.py")


def messages_in_the_source():
    """Exception and message of every `raise`, with its values as they stand in the f-string."""
    literal = r'\s*f?"((?:[^"\\]|\\.)*)"'
    for path in sources():
        source = path.read_text(encoding="utf-8")
        for raised in re.finditer(rf"\b(?:raise|return) (\w+Error)\(((?:{literal})+)", source):
            text = "".join(re.findall(literal, raised[2]))
            yield pytest.param(raised[1], text, id=f"{path.name}-{text:.60}")


def test_the_source_is_read():
    """As many messages as there are places that make an exception with one."""
    text = "".join(path.read_text(encoding="utf-8") for path in sources())
    assert len(list(messages_in_the_source())) == len(re.findall(r"\w+Error\((?!\))", text)) > 20


@pytest.mark.parametrize(("exception", "text"), list(messages_in_the_source()))
def test_each_message_of_the_source_is_on_the_page(exception, text):
    pattern = ".+".join(re.escape(part) for part in re.split(r"\{[^{}]*\}", text))
    assert any(exception == shown and re.fullmatch(pattern, message) for _, shown, message in ROWS), (
        f"no call on the page raises {exception}: {text}"
    )


def test_each_argument_has_its_heading():
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
    documented = set(re.findall(r"`(\w+)`", headings))
    for name in fb.__all__:
        missing = inspect.signature(getattr(fb, name)).parameters.keys() - documented
        assert not missing, name
