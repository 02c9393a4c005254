"""The compiled loops of a cell: one layer and direction, one call a thread.

The gate equations are those of `kernels.gates`, the very same source (`kernels.cpu.rows`).  The walk around them stands
once for every cell, in `kernels.cpu.forward_loop` and `kernels.cpu.backward_loop`; here the two are put together for a
cell when it is first used, and kept.

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
from kernels.cpu.backward_loop import make_backward
from kernels.cpu.compiling import compiled
from kernels.cpu.flow import is_narrow
from kernels.cpu.forward_loop import make_forward
from kernels.cpu.row_texts import kept_names
from kernels.cpu.rows import make_rows
from kernels.cpu.shares import blocks
from kernels.phases import Place


class Loops(NamedTuple):
    """The loops of a cell, and what their callers need to know.

    Attributes
    ----------
    forward, backward : the loops.
    forward_table, backward_table : their argument `table`.
    kept : for each kept array of forward, whether it is as wide as h, not H; values, spares : the same of backward.
    one_block : whether the one gate is the new hidden state, as in an RNN.
    ran : (way, dtype) of the loops that have run, so that their compiled code exists.
    """

    forward: Any
    backward: Any
    forward_table: np.ndarray
    backward_table: np.ndarray
    kept: tuple[bool, ...]
    values: tuple[bool, ...]
    spares: tuple[bool, ...]
    one_block: bool
    ran: set[tuple[str, Any]]


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
    products = blocks(cell)
    joins = [[block.gate, block.gates, block.row, int(block.kept < 0)] for block in products]
    stages = [
        [stage.first, stage.last - stage.first, cell.recurrent.index(cell.gates[stage.first]), 1]
        if stage.source is not None
        else [0, 0, 0, 0]
        for stage in cell.stages
    ]
    # all that the loops enclose, beside the sources of this package
    layout = (
        cell.gates,
        cell.states,
        cell.kept,
        kept_names(cell),
        cell.recurrent,
        cell.splits,
        cell.projected,
        cell.projected_at,
    )
    sources = tuple((stage.source, stage.narrow) for stage in cell.stages)
    key = f"{layout}\n{products}\n{stages}\n{sources}\n{rows.targets}\n{rows.projected}\n{rows.flow}\n{rows.text}"
    return Loops(
        _compiled(cell, "forward", make_forward(cell, rows), key),
        _compiled(cell, "backward", make_backward(cell, rows), key),
        np.array(joins, np.int64).reshape(-1, 4),
        np.array(stages, np.int64).reshape(-1, 4),
        tuple(is_narrow(cell, name) for name in kept_names(cell)),
        tuple(is_narrow(cell, name) for name in rows.flow.values),
        tuple(is_narrow(cell, name) for name in rows.flow.spares),
        _is_one_block(cell),
        set(),
    )


def _is_one_block(cell: Cell) -> bool:
    both = Place("new", "h"), Place("gate", cell.gates[0])
    return len(cell.gates) == 1 and any(set(both) <= set(places) for work in cell.works for places in work.outputs)


def _compiled(cell: Cell, way: str, loop: Any, key: str) -> Any:
    # one name each: compiled code from two files of the disk cache must not have one symbol for two functions
    digest = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
    loop.__name__ = loop.__qualname__ = f"{cell.name}_{way}_{digest}"
    return compiled(f"{cell.title} {way}", key=key)(loop)
