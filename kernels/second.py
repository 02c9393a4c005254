"""Forward over backward: how backward's results move with the weights, the input and the first states.

The derivative of a gradient along a direction is a Hessian-vector product (Pearlmutter 1994).  A `Walk` makes it for
one layer and direction, from each cell's own forward and backward functions, and there are two of them:

`kernels.tangent_passes` runs the tangent of the cell, a cell too, in the loops of the kernel set; most cells have one.
`DualWalk` runs the steps of `kernels.steps` on dual numbers, in array code, for every cell with every option.

Shapes: T time steps, B batch, D features, H hidden units, P width of h, G gate blocks.
"""

from __future__ import annotations

from typing import Any, Protocol

from kernels import products
from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.duals import Dual, dual, dual_steps
from kernels.phases import Place
from kernels.steps import Values

Array = Any  # of any array library

#: Where the values of a step lie that its backward may ask for.
_ON_TAPE = ("prev", "new", "gate", "kept", "own", "given", "library")


class Walk(Protocol):
    """A layer and direction along a direction of its weights, input and first states."""

    def forward(self, x: Array, x_dot: Array, states_dot: tuple[Array, ...]) -> Run:
        """Walk all T >= 1 steps.

        Parameters
        ----------
        x : (T, B, D) the input in processing order, pads 0.
        x_dot : its tangent; None if it does not move.
        states_dot : the tangent of each initial state, (B, H); of h it is (B, P).

        Returns
        -------
        The tangents of the states, and of what the products multiply, laid out as on a tape.
        """

    def backward(self, dy: Dual) -> tuple[Adjoints, Adjoints]:
        """Walk the same steps from the end; the states after the last step receive nothing.

        Parameters
        ----------
        dy : (T, B, P) gradient of every output, 0 past a row's end.

        Returns
        -------
        The adjoints and their tangents.
        """


class DualWalk:
    """The walk on dual numbers.

    Parameters
    ----------
    kernels : of which the product is used.
    given : as in the forward pass; weights that move are dual numbers.
    run : what the forward pass left.
    """

    def __init__(self, kernels: Any, given: Pass, run: Run) -> None:
        self.xp, self.multiply, self.given, self.taped = kernels.xp, kernels.matmul, given, run
        self.steps = dual_steps(self.xp, given, run.h.dtype)
        self.at: list[Values] = []

    def forward(self, x: Array, x_dot: Array, states_dot: tuple[Array, ...]) -> Run:
        """See `Walk.forward`."""
        xp, cell, lengths = self.xp, self.given.cell, self.given.lengths
        states = tuple(Dual(slots[0], dot) for slots, dot in zip(self.taped.states, states_dot, strict=True))
        pre = projected(self.multiply, xp, self.given, x, x_dot)
        T, G = pre.shape[0], len(cell.gates)
        pre = pre.reshape(*pre.shape[:-1], G, pre.shape[-1] // G)
        run = Run(tuple(xp.empty((T + 1, *state.shape), dtype=state.dot.dtype) for state in states),
                  None, _kept(xp, cell, pre.dot, states[0].dot))  # fmt: skip
        for slots, state in zip(run.states, states, strict=True):
            slots[0] = state.dot
        gates = xp.empty(pre.shape, dtype=pre.dot.dtype)
        for t in range(T):
            at = self.steps.forward(pre[t], states, t)
            valid = None if lengths is None else (lengths > t)[:, None]
            states = tuple(
                _chosen(xp, valid, dual(at[Place("new", name)]), old)
                for name, old in zip(cell.states, states, strict=True)
            )
            for slots, state in zip(run.states, states, strict=True):
                slots[t + 1] = state.dot
            for block, gate in enumerate(cell.gates):
                gates[t, :, block] = _valid(xp, valid, dual(at[Place("gate", gate)]).dot)
            for name, values in run.kept.items():
                values[t] = _valid(xp, valid, dual(at[Place("kept", name)]).dot)
            self.at.append({place: value for place, value in at.items() if place.kind in _ON_TAPE})
        return run._replace(gates=gates)

    def backward(self, dy: Dual) -> tuple[Adjoints, Adjoints]:
        """See `Walk.backward`."""
        xp, cell, lengths = self.xp, self.given.cell, self.given.lengths
        both = [_empty_adjoints(xp, self.given, self.taped) for _ in range(2)]
        zeros = [xp.zeros_like(slots[0]) for slots in self.taped.states]
        dstates = tuple(Dual(part, part) for part in zeros)
        for t in range(len(self.at) - 1, -1, -1):
            valid = None if lengths is None else (lengths > t)[:, None]
            dstates = (dstates[0] + dy[t], *dstates[1:])  # y[t] = h[t+1]
            found = self.steps.backward(self.at[t], dstates)
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


def projected(multiply: products.Product, xp: Any, given: Pass, x: Array, x_dot: Array) -> Dual:
    """The input projection (T, B, G*H) of all steps, and its tangent."""
    weight, bias = dual(given.weights["weight_ih"]), given.weights.get("bias_ih")
    value = products.project_forward(multiply, x, weight.value, None if bias is None else dual(bias).value)
    dot = xp.zeros_like(value)
    if x_dot is not None:
        dot = dot + products.project_forward(multiply, x_dot, weight.value, None)  # pre = x W' + b
    if isinstance(given.weights["weight_ih"], Dual):
        dot = dot + products.project_forward(multiply, x, weight.dot, None)  # pre = x W' + b
    return Dual(value, dot + bias.dot if isinstance(bias, Dual) else dot)


def _kept(xp: Any, cell: Cell, pre: Array, h: Array) -> dict[str, Array]:
    """Room for the kept values that a product multiplies."""
    sources = [stage.source for stage in cell.stages] + [cell.projected]
    names = {place.name for place in sources if place is not None and place.kind == "kept"}
    widths = {name: h.shape[-1] if cell.is_narrow(name) else pre.shape[-1] for name in names}
    return {name: xp.empty((*pre.shape[:2], width), dtype=pre.dtype) for name, width in widths.items()}


def _empty_adjoints(xp: Any, given: Pass, run: Run) -> Adjoints:
    cell = given.cell
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
