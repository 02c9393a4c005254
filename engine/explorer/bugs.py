"""Mystery bugs for the page: what a gradient check shows of a planted bug, and apart from that its solution."""

from __future__ import annotations

import base64
import difflib
import inspect
import json
import textwrap
from typing import Any

import numpy as np

from engine import zoo
from engine.checking.check import gradcheck
from engine.classroom.puzzle.gate_errors import analytic, cotangents, gate_errors, numeric
from engine.explorer.pool import Pool
from engine.explorer.recording import statements_of
from kernels.cells import Cell

Json = dict[str, Any]

#: The bugs of the page, easy ones first; the page shows numbers, not names.
CHOSEN = (
    "lstm-o-sign",
    "rnn-tanh-slope-forgotten",
    "lstm-f-slope-halved",
    "gru-z-sign",
    "lstm-dg-through-f",
    "lstm-i-f-exchanged",
    "gru-reset-path-missing",
    "lstm-dc-overwritten",
    "dh-cut-in-the-middle",
    "lstm-c-for-c-prev",
    "weight-hh-with-h-after-the-step",
    "lstm-dc-through-i",
    "gru-direct-path-missing",
    "lstm-recurrent-weight-transposed",
    "lstm-final-c-dropped",
    "gru-after-reset-inside",
)

#: Names whose lines could have been changed by the same factor, with the same numbers: such a guess is right too.
TWINS = {"lstm-o-sign": ("do",), "gru-z-sign": ("da_z",), "gru-reset-path-missing": ("da_r",)}

#: Where a bug can stand outside the gate functions, by the beginning of its site.
OUTSIDE = {
    "Steps": "around the gate functions: the product with the recurrent weights",
    "ReferenceKernels.backward_layer": "the gradients of the weights",
    "ReferenceKernels": "the loop over time",
    "kernels.products": "the gradients of the weights",
    "Recurrent": "the states that enter and leave the layer",
}


def bug_data(name: str, pool: Pool, seed: int = 0) -> Json:
    """One mystery bug for the page.

    Parameters
    ----------
    name : str
        Of `engine.zoo`.
    pool : Pool
        Takes the errors of every entry.
    seed : int
        Of the case in which the bug shows.

    Returns
    -------
    dict
        What is shown at once: the cell, its backward lines, each tensor's error, the error of each gate's gradient at
        each step.  ``sealed`` is the solution as base64
        of JSON, so that a look at the page's source does not give it away: story, diff, diagnosis, and what is judged.
    """
    bug = zoo.find(name)
    case = bug.case(seed)
    dy, dlast = cotangents(case, seed)
    with bug.plant():
        report = gradcheck(case.layer, case.x, case.state, case.lengths, seed=seed)
        claimed = analytic(case, dy, dlast)
    cell: Cell = case.layer.cell
    lines = backward_lines(cell)
    right, wrong, title = texts_of(bug)
    solution = {
        "name": bug.name,
        "story": bug.story,
        "diff": diff_of(right, wrong),
        "report": str(report),
        "where": str(report.diagnosis or ""),
        "gates": sorted("none" if gate is None else gate for gate in bug.gates),
        "step": bug.time_step,
        "line": _place_of(lines, right, wrong, title),
        "twins": [line for name in TWINS.get(bug.name, ()) for line in lines if line.startswith(f"{name} = ")],
    }
    return {
        "cell": cell.title,
        "gates": list(cell.gates) if len(cell.gates) > 1 else [],
        "steps": int(case.x.shape[0]),
        "hidden": case.layer.hidden_size,
        "lines": lines,
        "outside": list(dict.fromkeys(OUTSIDE.values())),
        "verdict": report.verdict,
        "errors": pool.place(gate_errors(claimed, numeric(case, dy, dlast))),
        "tensors": [_tensor(row, pool) for row in report.rows],
        "sealed": base64.b64encode(json.dumps(solution).encode()).decode("ascii"),
    }


def backward_lines(cell: Cell) -> list[str]:
    """The lines of a cell's backward functions as they stand in the file, in the order in which they run."""
    found = []
    for work in reversed(cell.works):
        found += [statement.code for statement in statements_of(work.backward)]
        lines, first = inspect.getsourcelines(work.backward.function)
        found.append(" ".join(line.strip() for line in lines[work.backward.last_line - first :]))
    return found


def texts_of(bug: zoo.Bug) -> tuple[str, str, str]:
    """The right text of the function that a bug is planted in, the wrong one, and where the function stands."""
    plant: Any = bug.plant
    right = wrong = textwrap.dedent(inspect.getsource(inspect.unwrap(plant.site.read())))
    for was, becomes in plant.edits:
        wrong = wrong.replace(was, becomes)
    return right, wrong, plant.site.title


def diff_of(right: str, wrong: str) -> str:
    """The lines that differ, with one line around them: ``-`` is right, ``+`` is wrong."""
    lines = difflib.unified_diff(right.splitlines(), wrong.splitlines(), n=1, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _place_of(lines: list[str], right: str, wrong: str, title: str) -> str:
    """The changed line of a gate function, or where outside of them the bug stands."""
    for part, words in OUTSIDE.items():
        if title.startswith(part):
            return words
    pairs = zip(right.splitlines(), wrong.splitlines(), strict=True)
    changed = next(was.strip() for was, becomes in pairs if was != becomes)
    return next(line for line in lines if line.startswith(changed) or changed in line)


def _tensor(row: Any, pool: Pool) -> Json:
    """Name, shape, error and a map of the errors: (rows, columns), time to the right where the tensor has it.

    ``seen`` are the errors by gate block for the one upstream gradient that shows the bug most simply.
    """
    found = {
        "name": row.name,
        "shape": list(row.shape),
        "error": float(f"{row.worst.error:.3e}"),
        "verdict": row.verdict,
        "time": row.time_axis is not None,
        "seen": [float(f"{error:.2g}") for error in row.by_gate_seen.values()],
    }
    if row.errors is None:  # it is right
        return found | {"map": None}
    errors = row.errors if row.time_axis is None else np.moveaxis(row.errors, row.time_axis, -1)
    matrix = errors.reshape(-1, errors.shape[-1]) if errors.ndim > 1 else errors[:, None]
    return found | {"map": pool.place(matrix), "rows": len(matrix)}
