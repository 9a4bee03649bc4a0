"""What was measured, as text and as Markdown."""

import math

import numpy as np
from accuracy_cases import CASES, RESULTS

from . import peers

HEAD = ("function", "result", "dtype", "inputs", "measured", "bound", "worst ULP", "at")
MARKS = "<!-- begin: {} -->\n", "<!-- end: {} -->\n"


def number(value):
    """As few digits as tell this float from its neighbours."""
    value = np.asarray(value)
    return repr(float(value)) if value.dtype == np.float64 or value.itemsize < 4 else str(np.float32(value))


def _value(array):
    if array.ndim:
        return "[" + ", ".join(number(value) for value in array) + "]"
    return str(int(array)) if array.dtype.kind in "iu" else number(array)


def place(case, entry):
    """The input, or how a row that is too long to print is drawn again."""
    _, inputs, (_, size, seed, i) = entry
    if inputs is not None:
        return "; ".join(map(_value, inputs))
    return f"row {i} of draw({seed}, {size})"


def _count(case, dtype, count, exhaustive):
    if case.name == "bce_with_logits, hard" and dtype == "float32" and exhaustive:
        return "all 2³², both targets"
    if case.name == "bce, hard" and dtype == "float32" and exhaustive:
        return "all, both targets"
    if "hard" in case.name and dtype in ("float16", "bfloat16"):
        return "all 2¹⁶, both targets"
    return power(count)


def lines(found, sums, exhaustive):
    """Tuples as HEAD says; cases that share a line are merged, and the bound is a float."""
    merged = {}
    for (name, dtype), measured in found.items():
        case = CASES[name]
        for result in RESULTS:
            if result not in case.bounds[dtype] or result not in measured.top:
                continue
            entry = merged.setdefault(
                (case.line or name, result, dtype), [0, case, case.bounds[dtype][result], None]
            )
            entry[0] += measured.count
            worst = measured.worst(result)
            if entry[3] is None or worst[0] > entry[3][1][0]:
                entry[3] = case, worst
    for (line, result, dtype), (count, case, bound, (worst_case, worst)) in merged.items():
        at = place(worst_case, worst)
        if worst_case.line and not worst_case.rows:
            at = f"gamma {worst_case.options['gamma']:g}: {at}"
        elif worst_case.rows:
            at = f"{worst_case.name.split(', ')[2]}: {at}"
        yield line, result, dtype, case.where, _count(case, dtype, count, exhaustive), bound, worst[0], at
    for dtype, where, result, size, bound, ulp in sums:
        yield "bce_with_logits", result, dtype, where, f"{size:,}", bound, ulp, ""


def digits(ulp):
    if ulp < 0.001:
        return power(ulp) if ulp else "0"
    return f"{ulp:.3f}" if ulp < 100 else power(ulp) if ulp >= 1e6 else f"{ulp:,.0f}"


def power(value):
    """2.4·10⁷, say."""
    exponent = math.floor(math.log10(value))
    return f"{value / 10**exponent:.1f}·10" + str(exponent).translate(
        str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    )


def text(measured):
    widths = (48, 11, 8, 9, 6)
    for line, result, dtype, _, count, bound, ulp, at in measured:
        flag = "" if ulp <= bound else "  BEYOND THE BOUND"
        cells = (line, result, dtype, digits(ulp), f"{bound:g}")
        yield " ".join(f"{c:{w}s}" for c, w in zip(cells, widths, strict=True)) + f" {count}  {at}{flag}"


def markdown(measured):
    yield "| " + " | ".join(HEAD) + " |"
    yield "| --- | --- | --- | --- | --- | ---: | ---: | --- |"
    for line, result, dtype, where, count, bound, ulp, at in measured:
        shown = f"`{at}`" if at else ""
        yield f"| {line} | {result} | {dtype} | {where} | {count} | {bound:g} | {digits(ulp)} | {shown} |"


def peers_markdown(measured):
    """One line a result, one column a library: the worst ULP, and the input that reaches it."""
    cells = {}
    for name, where, result, library, ulp, at in measured:
        shown = digits(ulp) + (f" at `{'; '.join(_value(np.asarray(v)) for v in at)}`" if at else "")
        cells.setdefault((name, where, result), {})[library] = shown
    yield "| function | inputs | result | " + " | ".join(peers.NAMES) + " |"
    yield "| --- | --- | --- |" + " --- |" * len(peers.NAMES)
    for (name, where, result), by_library in cells.items():
        line = ", ".join(name.split(", ")[:3]) if "cross" in name else name
        yield (
            f"| {line} | {where} | {result} | "
            + " | ".join(by_library.get(n, "") for n in peers.NAMES)
            + " |"
        )


def write(path, name, new):
    """Put lines between the two marks of this name."""
    begin, end = (mark.format(name) for mark in MARKS)
    old = path.read_text(encoding="utf-8")
    before, rest = old.split(begin)
    path.write_text(
        before + begin + "\n".join(["", *new, "", ""]) + end + rest.split(end)[1], encoding="utf-8"
    )


def worst_inputs(found):
    """The text of tests/worst_inputs.py's dictionary: by case and dtype the inputs that came out worst."""
    yield "WORST = {"
    for (name, dtype), measured in found.items():
        inputs = {}
        for result in measured.top:
            _, values, _ = measured.worst(result)
            if values is not None:
                inputs["; ".join(map(_value, values))] = "(" + ", ".join(map(_value, values)) + ")"
        if inputs:
            yield f'    ("{name}", "{dtype}"): [' + ", ".join(inputs.values()) + "],"
    yield "}"
