"""A cell whose gate functions are run one statement at a time, so that the value of every line is known.

The statements are those of the gate functions themselves: nothing is written again, and a line that changes there
changes here.  The engine runs the recording cell as it runs any other one.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.cells import Cell
from kernels.equations import Equation, body
from kernels.phases import Work


@dataclass(frozen=True)
class Statement:
    """One line of a gate function.

    Attributes
    ----------
    target : str
        The name that gets the value.
    expression : ast.expr
        What stands to the right of the equals sign.
    code : str
        The line as it stands in the file, its comment included.
    line : int
        Its number in the file.
    """

    target: str
    expression: ast.expr
    code: str
    line: int


@dataclass
class Record:
    """What a gate function was given and what its lines gave, call by call.

    Attributes
    ----------
    equation : Equation
        The function as the cell read it.
    statements : tuple of Statement
        Its lines, without the ``return``.
    given : dict of str to list of ndarray
        Every argument that is an array, (B, H) or (H,) for a weight of a unit, in the order of the calls.
    found : list of list of ndarray
        For each line its values (B, H), in the order of the calls.
    """

    equation: Equation
    statements: tuple[Statement, ...]
    given: dict[str, list[np.ndarray]] = field(default_factory=dict)
    found: list[list[np.ndarray]] = field(default_factory=list)


@dataclass(frozen=True)
class RecordedWork:
    """The records of one phase."""

    forward: Record
    backward: Record


def statements_of(equation: Equation) -> tuple[Statement, ...]:
    """The lines of a gate function with the text of its file.

    Parameters
    ----------
    equation : Equation
        As `kernels.equations.read` gives it.

    Returns
    -------
    tuple of Statement
        In order; the ``return`` is left out.
    """
    lines, first = inspect.getsourcelines(equation.function)
    found = []
    for node in body(equation.tree)[:-1]:
        assert isinstance(node, ast.Assign)
        assert isinstance(node.targets[0], ast.Name)
        last = node.end_lineno or node.lineno
        text = [equation.text(line.strip()) for line in lines[node.lineno - first : last - first + 1]]
        found.append(Statement(node.targets[0].id, node.value, " ".join(text), node.lineno))
    return tuple(found)


def recording(cell: Cell) -> tuple[Cell, tuple[RecordedWork, ...]]:
    """The same cell with gate functions that record.

    Parameters
    ----------
    cell : Cell
        Any cell; it stays as it is.

    Returns
    -------
    Cell
        Computes the same bits; it is in no registry.
    tuple of RecordedWork
        One for each phase; they fill as the cell runs.
    """
    works, records = [], []
    for work in cell.works:
        pair = RecordedWork(*(Record(e, statements_of(e)) for e in (work.forward, work.backward)))
        works.append(_watched(work, pair))
        records.append(pair)
    copy = Cell.__new__(Cell)
    copy.__dict__.update(vars(cell))
    copy.works, copy.variants = tuple(works), {}
    return copy, tuple(records)


def _watched(work: Work, pair: RecordedWork) -> Work:
    return work._replace(
        forward=work.forward._replace(function=_one_line_at_a_time(pair.forward)),
        backward=work.backward._replace(function=_one_line_at_a_time(pair.backward)),
    )


def _one_line_at_a_time(record: Record) -> Callable[..., Any]:
    """A function that does what the gate function does and writes down the value of each line."""
    equation = record.equation
    codes = [
        compile(ast.fix_missing_locations(ast.Expression(s.expression)), f"<{equation.name}, line {s.line}>", "eval")
        for s in record.statements
    ]

    def run(*arguments: Any) -> Any:
        scope: dict[str, Any] = dict(zip(equation.arguments, arguments, strict=True))
        arrays = {name: value for name, value in scope.items() if getattr(value, "ndim", 0) > 0}
        for name, value in arrays.items():
            record.given.setdefault(name, []).append(np.array(value))
        shape = np.broadcast_shapes(*(value.shape for value in arrays.values()))
        record.found = record.found or [[] for _ in codes]
        for code, statement, values in zip(codes, record.statements, record.found, strict=True):
            scope[statement.target] = eval(code, {"__builtins__": {}}, scope)
            values.append(np.array(np.broadcast_to(scope[statement.target], shape)))
        found = tuple(scope[name] for name in equation.results)
        return found if len(found) > 1 else found[0]

    return run
