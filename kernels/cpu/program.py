"""What the loops do at each step of a cell, as a table of numbers: the loops are compiled once, for every cell.

A row of the table is an operation: its kind, then its arguments.  The first row holds counts.  Arrays are named by
their place in the table of lines: those that every pass has, in the order of `FORWARD` or `BACKWARD`, then the cell's.

ROWS         stage, narrow: the row function of a stage (`kernels.cpu.rows`), on units of h if narrow
PRODUCT      forward: meet, source, slot, width, offset; weight, row, gates, narrow; target, slot, width, offset; start
                 target = U source: `row`, `gates` say which part of the weights; `meet` whether other threads' parts
                 of the source must be there first; `start` what is added (START_...)
             backward: line, gate, gates, row, target, added
                 the gradient of what was multiplied
PAST         line, moves, width, blocks: what a row that has ended has there: the state before (moves) or zeros
PROJECTED    line, added, in_place: backward of the projection
MOVE         from, to, width, slots: copy a row, from one with the gradients of a state to another
GRADIENT     side, gate, row, gates, source, slot, width, offset, weight: a part of the gradient of a weight

A slot is that of the state before a step (OLD) or after it (NEW), of gates and kept values (SLOT), or the row in pre.
A width is H, P or G*H: their numbers are WIDTH_...
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kernels.cells import Cell
from kernels.cpu.compiling import inlined
from kernels.cpu.flow import Flow, Target, is_narrow, kept_names, projected_before, separate
from kernels.phases import Place

ROWS, PRODUCT, PAST, PROJECTED, MOVE, GRADIENT = range(6)
OLD, NEW, SLOT, PRE = range(4)
WIDTH_H, WIDTH_P, WIDTH_GATES = range(3)
START_NONE, START_ITSELF, START_BIAS = range(3)
IH, HH, HR = range(3)  # which weight
COLUMNS = 15

FORWARD = tuple(
    "x weight_ih weight_hh weight_hr bias_ih bias_hh y pre packs lengths order indices program rounded scratch".split()
)
BACKWARD = tuple(
    "x weight_ih weight_hh weight_hr dx dy packs lengths order indices program plain rounded scratch da da_hidden down "
    "dprojected trace_da trace_da_hidden trace_dprojected own target_ih target_hh target_hr target_bias_ih "
    "target_bias_hh total_ih total_hh total_hr total_bias_ih total_bias_hh".split()
)


def names_forward(cell: Cell) -> tuple[str, ...]:
    """The names of all lines of forward, in order; those of a factor are the array and its steps in t and b."""
    given = (f"given{k}{part}" for k in range(len(cell.given)) for part in ("", "_t", "_b"))
    first = (f"first{k}" for k in range(len(cell.states)))  # the states before the first step
    return (*FORWARD, *_of_cell(cell, len(kept_names(cell))), *given, *first)


def names_backward(cell: Cell, flow: Flow) -> tuple[str, ...]:
    """The names of all lines of backward; the gradient of a last state is the array, and whether there is one."""
    given = (f"given{k}{part}" for k in range(len(cell.given)) for part in ("", "_t", "_b"))
    last = (f"last{k}{part}" for k in range(len(cell.states)) for part in ("", "_there"))
    parts = (("dstates", cell.states), ("values", flow.values), ("spares", flow.spares), ("traces", cell.states))
    gradients = (f"{which}{k}" for which, names in parts for k in range(len(names)))
    return (*BACKWARD, *gradients, *_of_cell(cell, len(cell.kept)), *given, *last)


def _of_cell(cell: Cell, kept: int) -> tuple[str, ...]:
    numbered = [[f"{which}{k}" for k in range(n)] for which, n in (("states", len(cell.states)), ("kept", kept))]
    return (*numbered[0], "gate", *numbered[1], *(f"own{k}" for k in range(len(cell.own))))


@inlined
def fields(operation):  # type: ignore[no-untyped-def]
    """The numbers of a row of the table, to be given names."""
    o = operation
    return o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8], o[9], o[10], o[11], o[12], o[13], o[14]


class _Source(NamedTuple):
    """What a product multiplies: line, slot, width, offset in gates."""

    line: int
    slot: int
    width: int
    offset: int


def _source(cell: Cell, place: Place, names: tuple[str, ...]) -> _Source:
    width = WIDTH_P if is_narrow(cell, place.name) else WIDTH_H
    if place.kind in ("prev", "new"):
        line = names.index(f"states{cell.states.index(place.name)}")
        return _Source(line, OLD if place.kind == "prev" else NEW, width, 0)
    if place.kind == "gate":
        return _Source(names.index("gate"), SLOT, WIDTH_GATES, cell.gates.index(place.name))
    return _Source(names.index(f"kept{kept_names(cell).index(place.name)}"), SLOT, width, 0)


def _table(counts: tuple[int, ...], operations: Iterable[tuple[int, ...]]) -> np.ndarray:
    found = [counts, *operations]
    return np.array([[*map(int, row), *(0,) * (COLUMNS - len(row))] for row in found], np.int64)


def forward_program(cell: Cell) -> np.ndarray:
    """The operations of a step forward.

    First comes where they end, where the rest of the table ends, the line of the first given state, how many there are.
    """
    names, found = names_forward(cell), list[tuple[int, ...]]()
    for n in range(len(cell.stages) + 1):
        if n == projected_before(cell) and cell.projected is not None:
            source, h = _source(cell, cell.projected, names), names.index("states0")
            found.append((PRODUCT, 1, *source, HR, 0, 1, 1, h, NEW, WIDTH_P, 0, START_NONE))
        if n < len(cell.stages):
            found += _products_of_stage(cell, n, names)
            found.append((ROWS, n, cell.stages[n].narrow))
    count = len(found)
    found += [(PAST, names.index(f"states{k}"), 1, _width(cell, name), 1) for k, name in enumerate(cell.states)]
    found += [(PAST, names.index("gate"), 0, WIDTH_H, len(cell.gates))]
    found += [(PAST, names.index(f"kept{k}"), 0, _width(cell, name), 1) for k, name in enumerate(cell.kept)]
    return _table((count, len(found), names.index("first0"), len(cell.states)), found)


def _width(cell: Cell, name: str) -> int:
    return WIDTH_P if is_narrow(cell, name) else WIDTH_H


def _products_of_stage(cell: Cell, number: int, names: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Gates whose hidden parts are added to their input parts are multiplied together, one that is apart by itself."""
    stage, found, together = cell.stages[number], list[tuple[int, ...]](), 0
    if stage.source is None:
        return found
    source, meet = _source(cell, stage.source, names), number > 0 and stage.source.kind != "prev"
    for gate in range(stage.first, stage.last):
        name, row = cell.gates[gate], cell.recurrent.index(cell.gates[gate])
        if name in separate(cell):
            to = names.index(f"kept{kept_names(cell).index(f'h_{name}')}"), SLOT, WIDTH_H, 0
            found.append((PRODUCT, meet and not found, *source, HH, row, 1, 0, *to, START_BIAS))
            together = 0
        elif together:
            found[-1] = (*found[-1][:8], found[-1][8] + 1, *found[-1][9:])
        else:
            to = names.index("pre"), PRE, WIDTH_GATES, gate
            found.append((PRODUCT, meet and not found, *source, HH, row, 1, 0, *to, START_ITSELF))
            together = 1
    return found


def backward_program(
    cell: Cell, flow: Flow, targets: tuple[Target | None, ...], projected: Target | None
) -> np.ndarray:
    """Notes of a trace, the operations of a step backward, and the gradients of weights.

    First comes where each of the three ends; whether there is a hidden side; the number of own weights; the line of the
    first given gradient of a state.
    """
    names = names_backward(cell, flow)
    side, found = names.index("da_hidden" if cell.splits else "da"), list[tuple[int, ...]]()
    notes = [
        (MOVE, names.index(f"dstates{k}"), names.index(f"traces{k}"), _width(cell, name), 1)
        for k, name in enumerate(cell.states)
    ]
    gradients = [(GRADIENT, names.index("da"), 0, 0, len(cell.gates), names.index("x"), OLD, WIDTH_H, 0, IH)]
    for n in reversed(range(len(cell.stages) + 1)):
        if n < len(cell.stages):
            stage, target = cell.stages[n], targets[n]
            found.append((ROWS, n, stage.narrow))
            if target is not None and stage.source is not None:
                gates, row = stage.last - stage.first, cell.recurrent.index(cell.gates[stage.first])
                found.append((PRODUCT, side, stage.first, gates, row, names.index(target.line), target.added))
                gradients.append((GRADIENT, side, stage.first, row, gates, *_source(cell, stage.source, names), HH))
        if n == projected_before(cell) and cell.projected is not None and projected is not None:
            found.append((PROJECTED, names.index(projected.line), projected.added, "h" not in flow.spares))
            source = _source(cell, cell.projected, names)
            gradients.append((GRADIENT, names.index("dprojected"), 0, 0, 1, *source, HR))
    found += [
        (MOVE, names.index(f"spares{k}"), names.index(f"dstates{cell.states.index(name)}"), _width(cell, name), 0)
        for k, name in enumerate(flow.spares)
    ]
    counts = (
        len(notes),
        len(notes) + len(found),
        len(notes) + len(found) + len(gradients),
        bool(cell.splits),
        len(cell.own),
        names.index("last0"),
    )
    return _table(counts, [*notes, *found, *gradients])
