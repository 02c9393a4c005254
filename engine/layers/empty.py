"""A recurrent pass over no time steps or no rows: the time loops have nothing to do, so no kernel is called.

The output is empty, the final state is the initial one, its gradient passes straight through, and the parameters'
gradients get nothing (rule 9).  Shapes are those of every other pass, so that a tape and a trace read alike.
"""

from __future__ import annotations

from typing import Any

from engine.backend import Backend
from engine.layers.timeline import Timeline
from kernels.cells import Adjoints, Cell, Run


def run(backend: Backend, cell: Cell, timeline: Timeline, h0: Any, c0: Any) -> tuple[Run, Any]:
    """What the time loop of one layer and direction leaves, and its output (T, B, H)."""
    xp, shape = backend.xp, (timeline.steps, *h0.shape)  # (T, B, H)
    gates = xp.zeros((*shape[:2], len(cell.gates), shape[2]), dtype=h0.dtype)
    hidden_n = xp.zeros(shape, dtype=h0.dtype) if cell.splits_n else None
    h = _every_slot(xp, timeline, h0)
    c = _every_slot(xp, timeline, c0) if cell.has_c else None
    return Run(h, c, gates, hidden_n), xp.zeros(shape, dtype=h0.dtype)


def adjoints(
    backend: Backend, cell: Cell, record: Run, timeline: Timeline, dlast: tuple[Any, Any], slot: int
) -> Adjoints:
    """Reverse of `run`: the gradient of the final state, of which a part may be None, is that of the initial one."""
    xp = backend.xp
    da = xp.zeros_like(record.gates)  # also on the hidden side: both are empty
    dh, dc = (_every_slot(xp, timeline, xp.zeros_like(record.h[0]) if part is None else part[slot]) for part in dlast)
    return Adjoints(da, da, dh[0], dc[0] if cell.has_c else None, dh, dc if cell.has_c else None)


def _every_slot(xp: Any, timeline: Timeline, value: Any) -> Any:
    """A new (T+1, B, H) with the value (B, H) in every slot; there is one slot, or no row."""
    slots = xp.empty((timeline.steps + 1, *value.shape), dtype=value.dtype)
    slots[...] = value
    return slots
