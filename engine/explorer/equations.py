"""The lines of one step for the page: code, formula, numbers, and which edge of the drawing a line walks."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np

from engine.explorer.formulas import Name, formula, names_in, plain
from engine.explorer.pool import Place, Pool
from engine.explorer.recording import Record, Statement
from engine.explorer.runs import StepRun
from kernels.phases import Work
from kernels.steps import Steps

Json = dict[str, Any]
_QUOTED = re.compile(r"\b([A-Za-z_]\w*) = ")


def file_of(function: Any) -> str:
    """Where a function stands, for people: the path within the package, or the bare name of a user's file."""
    module = str(function.__module__)
    if module.split(".")[0] in ("kernels", "engine"):
        return module.replace(".", "/") + ".py"
    return function.__code__.co_filename.replace("\\", "/").rsplit("/", 1)[-1]


class StepEquations:
    """Writes the functions of a run's step: forward in their order, backward in theirs.

    Parameters
    ----------
    run : StepRun
        Whose numbers are shown.
    pool : Pool
        Takes the numbers.
    """

    def __init__(self, run: StepRun, pool: Pool) -> None:
        self.run, self.pool = run, pool
        self.made = {s.target: s for pair in run.records for s in pair.forward.statements}
        arguments = {name for pair in run.records for name in pair.forward.given}
        self.known = {*self.made, *arguments, *run.cell.states, *(f"{s}_prev" for s in run.cell.states)}
        self.number = 0  # of the backward line written last

    # -- numbers -------------------------------------------------------------------------------------------------------

    def shown(self, values: np.ndarray) -> np.ndarray:
        """The chosen units of (..., W): those that a narrow value does not have are left out."""
        units = self.run.units
        return values[..., units[units < values.shape[-1]]]

    def place(self, values: list[np.ndarray]) -> Place:
        """The place of what a name was at each step; a weight of a unit is the same at each."""
        if values[0].ndim == 1:
            return self.pool.place(self.shown(values[0]))
        return self.pool.place(self.shown(np.stack([value[0] for value in values])))

    # -- functions -----------------------------------------------------------------------------------------------------

    def functions(self) -> list[Json]:
        """Forward functions, then backward functions, in the order in which they run; then what the engine adds."""
        pairs = list(zip(self.run.cell.works, self.run.records, strict=True))
        forward = [self._forward(work, pair.forward) for work, pair in pairs]
        backward = [self._function(work, pair.backward, "backward") for work, pair in reversed(pairs)]
        last = self._previous_hidden()
        return [*forward, *backward, *([last] if last else [])]

    def _forward(self, work: Work, record: Record) -> Json:
        return self._function(work, record, "forward") | {"before": _product(work, self.run)}

    def _function(self, work: Work, record: Record, direction: str) -> Json:
        at = {name: self.place(values) for name, values in record.given.items()}
        found: Json = {
            "direction": direction,
            "name": record.equation.name,
            "file": file_of(record.equation.function),
            "args": dict(at),
            "lines": [],
        }
        if direction == "backward":
            names = [place.name for place in work.reads if place.kind == "grad"]
            found["arrives"] = {f"d{name}": _sender(self.run, work, name) for name in names}
        for statement, values in zip(record.statements, record.found, strict=True):
            line = self._line(statement, at)
            at[statement.target] = line["at"] = self.place(values)
            line |= {"uses": names_in(statement.expression)} if direction == "forward" else self._reversed(statement)
            found["lines"].append(line)
        return found

    def _line(self, statement: Statement, at: dict[str, Place]) -> Json:
        parts = formula(statement.expression, self.run.cell.act)
        return {
            "target": statement.target,
            "code": statement.code,
            "line": statement.line,
            "parts": [part if isinstance(part, str) else [part.name, at[part.name]] for part in parts],
        }

    def _reversed(self, statement: Statement) -> Json:
        """Of a backward line: its number, the forward line that it reverses, the edge that it walks."""
        value = statement.target[1:]
        if statement.target[:1] != "d" or value not in self.known:
            return {"number": 0}
        self.number += 1
        quoted = [name for name in _QUOTED.findall(statement.code.partition("#")[2]) if name in self.made]
        uses = [name for name, line in self.made.items() if value in names_in(line.expression)]
        through = next(iter([*quoted, *uses]), None)
        if through is None:
            return {"number": self.number}
        line = self.made[through]
        text = plain([Name(through), " = ", *formula(line.expression, self.run.cell.act)])
        return {"number": self.number, "edge": [value, through], "reverses": text}

    # -- what the engine adds ------------------------------------------------------------------------------------------

    def _previous_hidden(self) -> Json | None:
        """The gradient of slot t: what the gate functions send back directly, and what the products send back."""
        run = self.run
        slot = run.trace.dh[:-1, 0]
        direct = np.zeros_like(slot)
        parts: list[Any] = []
        for pair in run.records:
            for statement, values in zip(pair.backward.statements, pair.backward.found, strict=True):
                if statement.target == "dh_prev":
                    sent = np.stack([value[0] for value in values])
                    direct = direct + sent
                    parts += [" + "] * bool(parts) + [["dh_prev", self.pool.place(self.shown(sent))]]
        through = [work for work in run.cell.works if work.gates and work.source and work.source.kind == "prev"]
        if through:
            gates = ", ".join(gate for work in through for gate in work.gates)
            parts += [" + "] * bool(parts) + [[f"U′ da ({gates})", self.pool.place(self.shown(slot - direct))]]
        if not parts:
            return None
        code, number = _quoted(Steps.backward, "dsource = ")
        if not through:
            code, number = _quoted(Steps.backward, "found.take(")
        self.number += 1
        line = {"target": "dh[t]", "code": code, "line": number, "parts": parts, "number": self.number}
        line |= {"at": self.pool.place(self.shown(slot)), "edge": ["h_prev", ""]}
        return {
            "direction": "engine", "name": "backward", "file": file_of(Steps.backward), "args": {}, "lines": [line],
            "arrives": {},
        }  # fmt: skip


def _quoted(function: Any, begins: str) -> tuple[str, int]:
    """The line of a function that begins so, and its number in the file."""
    lines, first = inspect.getsourcelines(function)
    at = next(k for k, line in enumerate(lines) if line.strip().startswith(begins))
    return lines[at].strip(), first + at


def _product(work: Work, run: StepRun) -> str:
    """What stands before the gate functions of a phase, in words."""
    if not work.gates:
        between = work.between
        return f"between_{_name(work)} = {between.forward.__name__}({_name(work)})" if between else ""
    bias = (" + b_ih", " + b_hh") if run.cell.biased and "bias_ih" in run.shares else ("", "")
    hidden = f" + U {_name(work)}{bias[1]}" if work.source else ""
    row = f", rows passed through {work.between.forward.__name__}" if work.between else ""
    return f"a = W x[t]{bias[0]}{hidden} for {', '.join(work.gates)}{row}"


def _name(work: Work) -> str:
    """What the product of a phase multiplies."""
    assert work.source is not None
    return f"{work.source.name}_prev" if work.source.kind == "prev" else work.source.name.partition("__")[0]


def _sender(run: StepRun, work: Work, name: str) -> str:
    """Who sent the gradient that a backward function starts with, in words."""
    later = run.cell.works[run.cell.works.index(work) + 1 :]
    if run.cell.projected is not None and run.cell.projected.name == name:
        return f"d{name} = W_hr′ dh, back through the projection"
    for other in later:
        if other.source is not None and _name(other) == name:
            slot = f"d{name} of slot t+1, and " if name in run.cell.states else f"d{name} = "
            if other.gates:
                return f"{slot}U′ da of {', '.join(other.gates)}, back through the product"
            assert other.between is not None
            return f"{slot}what came back through {other.between.forward.__name__}"
    if any(f"d{name}" in other.backward.results for other in later):
        return f"d{name} from the phase after this one"
    return f"d{name} of slot t+1, from everything later"
