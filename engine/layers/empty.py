"""A recurrent pass over no time steps or no rows: the time loops have nothing to do, so no kernel is called.

The output is empty, the final state is the initial one, its gradient passes straight through, and the parameters'
gradients get nothing (rule 9).  Shapes are those of every other pass, so that a tape and a trace read alike.
"""

from __future__ import annotations

from typing import Any

from engine.backend import Backend
from engine.layers.timeline import Timeline
from kernels.cells import Adjoints, Cell, Run

Array = Any  # of the backend


def run(backend: Backend, cell: Cell, timeline: Timeline, units: int, states: tuple[Array, ...]) -> tuple[Run, Array]:
    """The result of the time loop of one layer and direction, and its output (T, B, H)."""
    xp, rows, dtype = backend.xp, (timeline.steps, timeline.batch), states[0].dtype
    gates = xp.zeros((*rows, len(cell.gates), units), dtype=dtype)
    kept = {name: xp.zeros((*rows, units), dtype=dtype) for name in cell.kept}
    slots = tuple(_every_slot(xp, timeline, state) for state in states)
    return Run(slots, gates, kept), xp.zeros((*rows, states[0].shape[-1]), dtype=dtype)


def adjoints(backend: Backend, cell: Cell, record: Run, timeline: Timeline, dlast: tuple[Array, ...]) -> Adjoints:
    """Reverse of `run`: the initial state gets the gradient of the final one, of which a part may be None."""
    xp = backend.xp
    da = xp.zeros_like(record.gates)  # also on the hidden side: both are empty
    traces = tuple(
        _every_slot(xp, timeline, xp.zeros_like(slots[0]) if part is None else part)
        for slots, part in zip(record.states, dlast, strict=True)
    )
    return Adjoints(da, da, tuple(slots[0] for slots in traces), traces, {}, None)


def _every_slot(xp: Any, timeline: Timeline, value: Array) -> Array:
    """A new (T+1, B, H) with the value (B, H) in every slot; there is one slot, or no row."""
    slots = xp.empty((timeline.steps + 1, *value.shape), dtype=value.dtype)
    slots[...] = value
    return slots
