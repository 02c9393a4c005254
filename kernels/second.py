"""Forward over backward: how backward's results move with the weights, the input and the first states.

The derivative of a gradient along a direction is a Hessian-vector product (Pearlmutter 1994).  Here the step of
`kernels.steps` runs on dual numbers in both directions of time: forward makes the tangent of every value on the tape,
backward makes the tangent of every gradient.  So each cell's own forward and backward functions are all that is needed,
and a cell that somebody declares has second derivatives too.

Shapes: T time steps, B batch, H hidden units, P width of h, G gate blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.duals import Dual, dual, dual_steps
from kernels.phases import Place
from kernels.steps import Steps, Values

Array = Any  # of any array library

#: Where the values of a step lie that its backward may ask for.
_ON_TAPE = ("prev", "new", "gate", "kept", "own", "given", "library")


class Moved(NamedTuple):
    """What the forward walk leaves.

    Attributes
    ----------
    run : the tangents of the states and gates, and of the kept values that a product multiplies, laid out as on a tape.
    steps : the step on dual numbers.
    at : for each time step, its values as dual numbers, by place.
    """

    run: Run
    steps: Steps
    at: list[Values]


def forward(xp: Any, given: Pass, pre: Dual, states: tuple[Dual, ...]) -> Moved:
    """Walk a layer and direction over all T >= 1 steps.

    Parameters
    ----------
    given : as in the forward pass; the weights are dual numbers.
    pre : (T, B, G*H) the input projection.
    states : the initial states, each (B, H); h is (B, P).
    """
    cell, lengths, steps = given.cell, given.lengths, dual_steps(xp, given, pre.value.dtype)
    T, G = pre.shape[0], len(cell.gates)
    pre = pre.reshape(*pre.shape[:-1], G, pre.shape[-1] // G)
    run = Run(tuple(xp.empty((T + 1, *state.shape), dtype=state.dot.dtype) for state in states),
              xp.empty(pre.shape, dtype=pre.dot.dtype), _kept(xp, cell, pre.dot, states[0].dot))  # fmt: skip
    for slots, state in zip(run.states, states, strict=True):
        slots[0] = state.dot
    found = []
    for t in range(T):
        at = steps.forward(pre[t], states, t)
        valid = None if lengths is None else (lengths > t)[:, None]
        states = tuple(
            _chosen(xp, valid, dual(at[Place("new", name)]), old) for name, old in zip(cell.states, states, strict=True)
        )
        for slots, state in zip(run.states, states, strict=True):
            slots[t + 1] = state.dot
        for block, gate in enumerate(cell.gates):
            run.gates[t, :, block] = _valid(xp, valid, dual(at[Place("gate", gate)]).dot)
        for name, values in run.kept.items():
            values[t] = _valid(xp, valid, dual(at[Place("kept", name)]).dot)
        found.append({place: value for place, value in at.items() if place.kind in _ON_TAPE})
    return Moved(run, steps, found)


def backward(xp: Any, given: Pass, moved: Moved, dy: Dual, dlast: tuple[Dual, ...]) -> tuple[Adjoints, Adjoints]:
    """Walk the same steps from the end.

    Parameters
    ----------
    given : as for `forward`.
    moved : what it returned; it is only read.
    dy : (T, B, P) gradient of every output, 0 past a row's end.
    dlast : gradient of each state after the last step.

    Returns
    -------
    The adjoints, without traces, and their tangents.
    """
    cell, lengths, run = given.cell, given.lengths, moved.run
    both = [_empty_adjoints(xp, cell, run, given) for _ in range(2)]
    dstates = dlast
    for t in range(len(moved.at) - 1, -1, -1):
        valid = None if lengths is None else (lengths > t)[:, None]
        dstates = (dstates[0] + dy[t], *dstates[1:])  # y[t] = h[t+1]
        found = moved.steps.backward(moved.at[t], dstates)
        for part, side in zip(both, ("value", "dot"), strict=True):
            for block, gate in enumerate(cell.gates):
                part.da[t, :, block] = _valid(xp, valid, getattr(dual(found.input[gate]), side))
                if cell.splits:
                    hidden = found.hidden.get(gate, found.input[gate])
                    part.da_hidden[t, :, block] = _valid(xp, valid, getattr(dual(hidden), side))
            for name, value in found.own.items():
                part.own[name] += _valid(xp, valid, getattr(dual(value), side)).sum(axis=0)
            if part.dprojected is not None:
                part.dprojected[t] = _valid(xp, valid, getattr(dual(found.projected), side))
        dstates = tuple(  # S[t+1] = where(valid, S_new, S[t])
            _chosen(xp, valid, _or_zero(found.previous[name], old), old)
            for name, old in zip(cell.states, dstates, strict=True)
        )
    values = both[0]._replace(dstates=tuple(state.value for state in dstates))
    return values, both[1]._replace(dstates=tuple(state.dot for state in dstates))


def _kept(xp: Any, cell: Cell, pre: Array, h: Array) -> dict[str, Array]:
    """Room for the kept values that a product multiplies."""
    sources = [stage.source for stage in cell.stages] + [cell.projected]
    names = {place.name for place in sources if place is not None and place.kind == "kept"}
    widths = {name: h.shape[-1] if cell.is_narrow(name) else pre.shape[-1] for name in names}
    return {name: xp.empty((*pre.shape[:2], width), dtype=pre.dtype) for name, width in widths.items()}


def _empty_adjoints(xp: Any, cell: Cell, run: Run, given: Pass) -> Adjoints:
    da = xp.empty(run.gates.shape, dtype=run.gates.dtype)
    own = {name: xp.zeros_like(dual(given.weights[name]).value) for name in cell.own}
    dprojected = xp.empty(run.h[1:].shape, dtype=da.dtype) if cell.projected else None
    return Adjoints(da, xp.empty(da.shape, dtype=da.dtype) if cell.splits else da, (), None, own, dprojected)


def _valid(xp: Any, valid: Array, values: Array) -> Array:
    """The values of the rows that are not past their end; 0 of the others."""
    return values if valid is None else xp.where(valid, values, xp.zeros_like(values))


def _chosen(xp: Any, valid: Array, new: Dual, old: Dual) -> Dual:
    if valid is None:
        return new
    return Dual(xp.where(valid, new.value, old.value), xp.where(valid, new.dot, old.dot))


def _or_zero(found: Any, like: Dual) -> Dual:
    return like * 0 if found is None else dual(found)
