"""A report as a table that a person can read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.checking.report.report import Departure, Report, Row

WIDTH = 79
#: A text longer than this is printed only once.
LONG = 50
#: What to do next, by verdict.
NEXT = {
    "cannot tell": "take inputs and weights of moderate size (nothing saturated), or fewer time steps",
    "kink": 'no bug if the kink is meant (relu, max, abs); move the inputs off it, or allow=("kink",) in a test',
    "non-deterministic": "draw random numbers once and hand them in, or seed the generator inside forward",
    "input mutated": "work on copies (x = x.copy(); dh = dh + dy[t] in place of dh += dy[t]); set gradients to 0 first",
    "non-finite": "look for a log, a square root or a division at 0, or exp of a large number",
}
OTHER_METHOD = {
    "central": 'method="complex" loses nothing to rounding where forward takes complex arrays',
    "directional": 'method="complex" loses nothing to rounding where forward takes complex arrays',
    "taylor": 'method="central" looks at every entry by itself',
    "complex": 'method="central" needs no complex arrays',
}


def table(report: Report) -> str:
    """The rows with their texts, the verdict, and what to do next."""
    values = "order / right order" if report.method == "taylor" else "backward / numerical"
    lines = [f"{'tensor':<20} {'shape':<13} {'error':>8}  {'verdict':<11} at: {values}"]
    for row, words in zip(report.rows, said(report), strict=True):
        lines += [_line(row), *_wrap(words, "  ")]
    lines.append(summary(report))
    for note in notes(report):
        lines += textwrap.wrap(note, WIDTH, subsequent_indent="  ")
    return only_verdict(report, "\n".join(lines))


def said(report: Report) -> list[str]:
    """The text below each row.

    Backward carries an error into every entry of every tensor before it.  This is not repeated for each of them, and a
    long text that fits several rows is printed once.
    """
    found: list[str] = []
    first: dict[str, str] = {}
    for row in report.rows:
        words = row.words
        if report.diagnosis is not None and report.diagnosis.name != row.name and words == "every entry":
            words = ""
        elif report.diagnosis is not None and report.diagnosis.name == row.name and report.diagnosis.cause:
            cause = report.diagnosis.cause  # it stands below the verdict
            words = "" if words == cause else words.removesuffix(f"; {cause}")
        if len(words) > LONG and first.setdefault(words, row.name) != row.name:
            words = f"the same as {in_one_line(first[words], 20)}"
        found.append(words)
    return found


def only_verdict(report: Report, text: str) -> str:
    """The text, "wrong:" in it for the verdict alone: names are the user's own."""
    return text if report.verdict == "wrong" else text.replace("wrong:", "wrong :")


def summary(report: Report) -> str:
    """The line that begins with the verdict and a colon."""
    verdict, total = report.verdict, len(report.rows)
    own = sum(row.verdict == verdict for row in report.rows)
    count = f"{total} tensor" + "s" * (total != 1)
    if 0 < own < total:
        count = f"{own} tensor{'s' * (own != 1)} of {total}"
    return f"{verdict}: {count}, method {report.method}, tolerance {report.tol:.0e}"


def notes(report: Report) -> Iterator[str]:
    """Sentences below the verdict."""
    if report.cause and not report.diagnosis:
        yield f"because {report.cause}"
    if report.diagnosis:
        yield f"where: {report.diagnosis}"
    if report.verdict in NEXT:
        other = OTHER_METHOD.get(report.method, "") if report.verdict == "cannot tell" else ""
        rest = "" if other and report.cause else NEXT[report.verdict]  # the method does not reach this function
        yield "next: " + (f"{other}; or {rest}" if other and rest else other or rest)
    yield from (f"note: {note}" for note in report.notes)
    yield from (f"warning: {warning}" for warning in report.warnings)


def place(worst: Departure) -> str:
    """Where an entry stands: its index, and its gate block."""
    index = f"[{','.join(map(str, worst.index))}]" if worst.index else ""
    return " ".join(filter(None, (index, worst.gate)))


def two_numbers(one: float, other: float) -> tuple[str, str]:
    """Both with four digits, or as many as show the difference, and two more that show its size."""
    digits = 4
    while digits < 17 and one != other and f"{one:.{digits}g}" == f"{other:.{digits}g}":
        digits += 1
    digits = min(17, digits + 2) if digits > 4 else digits
    return f"{one:.{digits}g}", f"{other:.{digits}g}"


def in_one_line(name: str, width: int | None = None) -> str:
    """A name without line breaks, cut to a width."""
    name = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
    return name if width is None or len(name) <= width else name[: width - 2] + ".."


def numbers(row: Row) -> tuple[str, str]:
    """Backward's value at the row's place, and the right one."""
    worst = row.worst
    if row.verdict == "ok":
        return f"{worst.analytic:.4g}", f"{worst.numeric:.4g}"
    return two_numbers(worst.analytic, worst.numeric)


def shape(row: Row) -> str:
    """Such as ``6x3x2``."""
    return "x".join(map(str, row.shape)) or "scalar"


def _line(row: Row) -> str:
    name, (backward, numeric) = in_one_line(row.name, 20), numbers(row)
    numbered = f"{name:<20} {shape(row):<13} {row.worst.error:>8.1e}  {row.verdict:<11} "
    if row.verdict == "not looked at":
        return f"{name:<20} {shape(row):<13} {'-':>8}  {row.verdict}"
    at = "" if row.pattern.startswith("shape ") else f"{place(row.worst)} {backward} / {numeric}"
    return f"{numbered}{at}".rstrip()


def _wrap(words: str, indent: str) -> list[str]:
    return textwrap.wrap(words, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")
