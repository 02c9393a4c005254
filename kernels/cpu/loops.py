"""The compiled loops of a cell: one layer and direction, one call a thread.

The gate equations are those of `kernels.gates`, the very same source (`kernels.cpu.rows`).  The walk around them
stands once for every cell, in `kernels.cpu.forward_loop` and `kernels.cpu.backward_loop`, and is compiled once; what it
needs of a cell is made when the cell is first used, and kept.

The threads of a team (`rank` of `size`) share the work in one of two ways.  By rows: each takes its rows of the batch
through all steps, and nobody waits.  By units (`by_units`): each takes a part of the hidden units of all rows, reads
its part of the weights only, and waits for the others once a step, or once a product.  Weight gradients are always
shared by rows of the weight.  No sum is ever split, so the bits are the same either way.

Rows of different lengths come in `order`, the longest first: at every step the rows that still run are the first so
many, and a row that has ended costs nothing but the copy of its state.
"""

from __future__ import annotations

import hashlib
import weakref
from typing import Any, NamedTuple

import numpy as np

from kernels.cells import Cell
from kernels.cpu.backward_loop import start_backward
from kernels.cpu.compiling import Shared
from kernels.cpu.flow import is_narrow, kept_names
from kernels.cpu.forward_loop import start_forward
from kernels.cpu.program import backward_program, forward_program, names_backward, names_forward
from kernels.cpu.rows import BACKWARD_KINDS, FORWARD_KINDS, make_rows
from kernels.phases import Place


class Loops(NamedTuple):
    """What runs a cell, and what its callers need to know.

    Attributes
    ----------
    forward, backward : the loops, the same for every cell.
    rows : the row functions, by way.
    programs, names : the operations and the names of the lines, by way (`kernels.cpu.program`).
    kept : for each kept array of forward, whether it is as wide as h, not H; values, spares : the same of backward.
    states, dstates, kept_lines : names of the lines of the states, of their gradients, and of the kept arrays.
    split : whether the hidden side of a gate has a gradient of its own.
    one_block : whether the one gate is the new hidden state, as in an RNN.
    ran : for (way, dtype) of the loops that have run, so that their compiled code exists, what is passed to them last:
        the address of the row function, and the number 1.
    """

    forward: Any
    backward: Any
    rows: dict[str, Shared]
    programs: dict[str, np.ndarray]
    names: dict[str, tuple[str, ...]]
    kept: tuple[bool, ...]
    values: tuple[bool, ...]
    spares: tuple[bool, ...]
    states: tuple[str, ...]
    dstates: tuple[str, ...]
    kept_lines: tuple[str, ...]
    split: bool
    one_block: bool
    ran: dict[tuple[str, Any], tuple[Any, Any]]


_LOOPS: weakref.WeakKeyDictionary[Cell, Loops] = weakref.WeakKeyDictionary()
_NONE: weakref.WeakSet[Cell] = weakref.WeakSet()


def loops_of(cell: Cell) -> Loops | None:
    """The loops of a cell; made when they are first asked for, compiled when they are first called.

    None for a cell with row functions: these are array code, and no gate functions.
    """
    found = _LOOPS.get(cell)
    if found is None and cell not in _NONE:
        if any(work.between is not None for work in cell.works):
            _NONE.add(cell)
        else:
            found = _LOOPS.setdefault(cell, _make(cell))
    return found


def _make(cell: Cell) -> Loops:
    rows = make_rows(cell)
    digest = hashlib.blake2b(rows.text.encode(), digest_size=4).hexdigest()
    functions = {}
    for way, row, kinds in (("forward", rows.forward, FORWARD_KINDS), ("backward", rows.backward, BACKWARD_KINDS)):
        # one name each: compiled code from two files of the disk cache must not have one symbol for two functions
        row.__name__ = row.__qualname__ = f"{cell.name}_{way}_{digest}"
        functions[way] = Shared(row, kinds, title=cell.title, key=rows.text)
    programs = {
        "forward": forward_program(cell),
        "backward": backward_program(cell, rows.flow, rows.targets, rows.projected),
    }

    def narrow(names: tuple[str, ...]) -> tuple[bool, ...]:
        return tuple(is_narrow(cell, name) for name in names)

    return Loops(
        start_forward,
        start_backward,
        functions,
        programs,
        {"forward": names_forward(cell), "backward": names_backward(cell, rows.flow)},
        narrow(kept_names(cell)),
        narrow(rows.flow.values),
        narrow(rows.flow.spares),
        tuple(f"states{k}" for k in range(len(cell.states))),
        tuple(f"dstates{k}" for k in range(len(cell.states))),
        tuple(f"kept{k}" for k in range(len(cell.kept))),
        bool(cell.splits),
        _is_one_block(cell),
        {},
    )


def _is_one_block(cell: Cell) -> bool:
    both = Place("new", "h"), Place("gate", cell.gates[0])
    return len(cell.gates) == 1 and any(set(both) <= set(places) for work in cell.works for places in work.outputs)
