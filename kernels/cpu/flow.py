"""Where the gradients of one step lie while backward goes through its stages, from the last to the first.

A state's gradient has one array (B, H) for "after the step" and, mostly, for "before the step" too: once the last stage
that asks for ``dS`` has read a number, the number for S_prev can take its place.  A cell that makes part of ``dS_prev``
earlier than that has a spare array for it.  The gradient of a value that passes from one stage to another has an array
as well; within a stage it is a local variable.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.cells import Cell
from kernels.phases import Place, Stage


class Target(NamedTuple):
    """An array that takes the gradient of what a product multiplied.

    Attributes
    ----------
    line : its name in the table of lines (`kernels.cpu.program.names_backward`).
    added : whether something is there already, to which the product is added.
    """

    line: str
    added: bool


class Flow(NamedTuple):
    """The arrays of a cell's backward step.

    Attributes
    ----------
    values : names of the values whose gradient passes between stages, a (B, H) array each.
    spares : the states whose "before" has an array of its own.
    consumed : for each state, the stage at which ``dS`` is read for the last time.  The projection consumes that of h;
        it stands between two stages, a half before the one that follows it.
    """

    values: tuple[str, ...]
    spares: tuple[str, ...]
    consumed: dict[str, float]


def base(name: str) -> str:
    """``h__0``, one of several values of that name, is called h where its gradient is meant."""
    return name.partition("__")[0]


def kept_names(cell: Cell) -> tuple[str, ...]:
    """The arrays of forward beside states and gates: those of the tape, then hidden parts that only forward needs."""
    return (*cell.kept, *(f"h_{gate}" for gate in separate(cell) if f"h_{gate}" not in cell.kept))


def separate(cell: Cell) -> tuple[str, ...]:
    """Gates whose hidden part is not added to the input part: gate functions, or the tape, need the two apart."""
    wanted = {*cell.separate, *(gate for gate in cell.recurrent if {f"x_{gate}", f"h_{gate}"} & {*cell.kept})}
    return tuple(gate for gate in cell.gates if gate in wanted)


def projected_before(cell: Cell) -> int:
    """The stage before which the projection stands: the number of stages where it comes last."""
    works = 0
    for number, stage in enumerate(cell.stages):
        if works == cell.projected_at:
            return number
        works += len(stage.works)
    return len(cell.stages)


def is_narrow(cell: Cell, name: str) -> bool:
    """Whether a value has the P numbers of the hidden state, not the H of a unit, in a cell with a projection."""
    if cell.projected is None:
        return False
    made = (label for work in cell.works if work.narrow for label in work.labels)
    return name == "h" or name in {other for label in made for other in (label, base(label))}


def read_grads(stage: Stage) -> set[str]:
    """The names whose gradient a stage asks for."""
    return {place.name for work in stage.works for place in work.reads if place.kind == "grad"}


def flow(cell: Cell) -> Flow:
    """Follow the gradients of a cell through its stages."""
    asked = [read_grads(stage) for stage in cell.stages]
    last = len(cell.stages) - 1
    consumed: dict[str, float] = {
        name: min((n for n, names in enumerate(asked) if name in names), default=last) for name in cell.states
    }
    if cell.projected is not None:
        consumed["h"] = projected_before(cell) - 0.5
    spares = tuple(s for s in cell.states if any(n > consumed[s] for n in _stages_before(cell, s)))
    values: dict[str, None] = {}
    for operand in (*(stage.source for stage in cell.stages), cell.projected):
        if operand is not None and operand.kind != "prev" and base(operand.name) not in cell.states:
            values[base(operand.name)] = None
    for n, stage in enumerate(cell.stages):
        for name in _results(stage):
            if any(name[1:] in names for names in asked[:n]) and name[1:] not in cell.states:
                values[name[1:]] = None
    return Flow(tuple(values), spares, consumed)


def _results(stage: Stage) -> list[str]:
    """What the backward functions of a stage return."""
    return [name for work in stage.works for name in work.backward.results]


def _stages_before(cell: Cell, state: str) -> list[int]:
    """The stages that give a part of the state's gradient before the step."""
    place = Place("prev", state)
    return [n for n, stage in enumerate(cell.stages) if stage.source == place or f"d{state}_prev" in _results(stage)]
