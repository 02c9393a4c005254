"""The backward code of a pass as one numbered listing, and which of its lines a bug changes."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.zoo.rewriting import (
    GRU_BEFORE_GATES,
    GRU_BEFORE_OUTPUT,
    GRU_GATES,
    LSTM_GATES,
    RNN_GATES,
    STEP,
    TIME_LOOP,
    Rewrite,
    Site,
)

ROOT = Path(__file__).resolve().parents[3]
#: Where each cell's backward pass stands: its own equations, then the step and the time loop that all cells share.
SITES: dict[str, tuple[Site, ...]] = {
    "rnn_tanh": (RNN_GATES, STEP, TIME_LOOP),
    "lstm": (LSTM_GATES, STEP, TIME_LOOP),
    "gru": (GRU_GATES, STEP, TIME_LOOP),
    "gru_before": (GRU_BEFORE_OUTPUT, GRU_BEFORE_GATES, STEP, TIME_LOOP),
}


@dataclass(frozen=True)
class Line:
    """One line of the listing.

    Attributes
    ----------
    number : counted from 1 through the whole listing.
    text : as it stands in the file.
    part : the number of its function in the listing, from 0.
    file, file_line : where it stands.
    """

    number: int
    text: str
    part: int
    file: str
    file_line: int


@functools.cache
def listing(cell: str) -> tuple[Line, ...]:
    """The lines of a cell's backward code, without docstrings, numbered through; call it while no bug is planted."""
    lines: list[Line] = []
    for part, site in enumerate(SITES[cell]):
        file = Path(inspect.getsourcefile(_function(site)) or "").resolve().relative_to(ROOT).as_posix()
        for place, text in enumerate(_without_docstring(_text(site)), _first_line(site)):
            if text is not None:
                lines.append(Line(len(lines) + 1, text, part, file, place))
    return tuple(lines)


def changed_lines(cell: str, plant: Rewrite) -> list[Line]:
    """The lines of the listing that the bug changes.

    Returns
    -------
    list of Line
        Empty if the bug stands in none of the listed functions.
    """
    parts = [part for part, site in enumerate(SITES[cell]) if site is plant.site]
    if not parts:
        return []
    own = [line for line in listing(cell) if line.part == parts[0]]
    right, wrong = both_sources(plant)
    first = _first_line(plant.site)
    matcher = difflib.SequenceMatcher(None, right, wrong, autojunk=False)
    places = {
        first + k for kind, start, stop, _, _ in matcher.get_opcodes() if kind != "equal" for k in range(start, stop)
    }
    return [line for line in own if line.file_line in places]


def both_sources(plant: Rewrite) -> tuple[list[str], list[str]]:
    """The lines of the right function and of the wrong one."""
    source = wrong = _text(plant.site)
    for was, becomes in plant.edits:
        wrong = wrong.replace(was, becomes)
    return source.splitlines(), wrong.splitlines()


def diff(plant: Rewrite) -> str:
    """What the bug changes, as a unified diff."""
    right, wrong = both_sources(plant)
    title = plant.site.title
    return "\n".join(difflib.unified_diff(right, wrong, f"{title} (right)", f"{title} (wrong)", n=2, lineterm=""))


@functools.cache
def _text(site: Site) -> str:
    return textwrap.dedent(inspect.getsource(_function(site)))


@functools.cache
def _first_line(site: Site) -> int:
    return inspect.getsourcelines(_function(site))[1]


def _function(site: Site) -> Callable[..., Any]:
    return inspect.unwrap(site.read())


def _without_docstring(source: str) -> list[str | None]:
    """The lines of a function; None in place of its docstring and of its decorators."""
    lines: list[str | None] = list(source.splitlines())
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.FunctionDef)
    hidden: Sequence[int] = range(1, tree.lineno)
    docstring = tree.body[0]
    if ast.get_docstring(tree) is not None:
        hidden = (*hidden, *range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return [None if number in hidden else line for number, line in enumerate(lines, 1)]
