"""Forward over backward in the loops of a kernel set: the tangent of a cell runs there as any cell does.

Only the products with the recurrent weights have to wait for the step before.  All others are made for all steps at
once: what the tangents of weights and input add to the pre-activations goes in as factors of the steps, and what the
tangent of the recurrent weights sends back is added to the gradients of the outputs.
"""

from __future__ import annotations

from typing import Any

from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.duals import Dual, dual
from kernels.second import DualWalk, Walk
from kernels.tangent_cells import tangent_of

Array = Any  # of the kernel set's library

#: The kernel sets that take the cells of `kernels.tangent_cells`.
_SETS = ("reference", "numba")


def walk_of(kernels: Any, given: Pass, run: Run) -> Walk:
    """The best walk for a cell.

    Parameters
    ----------
    kernels : the kernel set of the arrays.
    given : as in the forward pass; weights that move are dual numbers.
    run : what the forward pass left.
    """
    tangent = tangent_of(given.cell) if kernels.name in _SETS else None
    return DualWalk(kernels, given, run) if tangent is None else TangentWalk(kernels, given, run, tangent)


class TangentWalk:
    """The walk of a tangent cell; see `kernels.second.Walk`."""

    def __init__(self, kernels: Any, given: Pass, run: Run, tangent: Cell) -> None:
        self.kernels, self.xp, self.given, self.taped, self.tangent = kernels, kernels.xp, given, run, tangent
        self.multiply = kernels.matmul
        self.T, self.B, self.G, self.H = run.gates.shape
        self.nothing = self.xp.zeros((self.T, self.B, 1), dtype=run.h.dtype)  # the input of the tangent's steps
        self.factors: dict[str, Array] = {}

    def _plain(self, name: str) -> Array:
        return dual(self.given.weights[name]).value if name in self.given.weights else None

    def _moved(self, name: str) -> Array:
        found = self.given.weights.get(name)
        return found.dot if isinstance(found, Dual) else None

    def forward(self, x: Array, x_dot: Array, states_dot: tuple[Array, ...]) -> Run:
        """See `kernels.second.Walk.forward`."""
        for name in self.tangent.given:
            kind, _, rest = name[2:].partition("_")
            if kind == "v":
                self.factors[name] = self._value(rest)
            elif kind in ("e", "u"):
                self.factors[name] = self._added(rest, kind, x, x_dot)
            else:  # what a state receives is known in the backward pass alone
                self.factors[name] = self.xp.zeros((1, 1, self.H), dtype=self.nothing.dtype)
        self.moved, _ = self.kernels.forward_layer(self._pass(), self.nothing, states_dot)
        return self.moved

    def _pass(self) -> Pass:
        """The tangent's pass: the recurrent weights are the cell's own, those of a unit are its tangents."""
        weights = {"weight_ih": self.xp.zeros((self.G * self.H, 1), dtype=self.nothing.dtype)}
        if self.tangent.recurrent:
            weights["weight_hh"] = self._plain("weight_hh")
        for name in self.tangent.own:
            found = self._moved(name)
            weights[name] = self.xp.zeros_like(self._plain(name)) if found is None else found
        return Pass(self.tangent, weights, self.given.lengths, self.factors)

    def _value(self, name: str) -> Array:
        """A value on the tape, for every step."""
        cell, run = self.given.cell, self.taped
        if name.startswith("before_"):
            return run.states[cell.states.index(name[len("before_") :])][:-1]
        if name in cell.own:
            return self._plain(name).reshape(1, 1, self.H)
        if name in cell.states:
            return run.states[cell.states.index(name)][1:]
        if name in cell.kept:
            return run.kept[name]
        return self.xp.ascontiguousarray(run.gates[:, :, cell.gates.index(name)])

    def _added(self, gate: str, side: str, x: Array, x_dot: Array) -> Array:
        """What moves a gate's pre-activation beside the recurrent product: (T, B, H) of its input or hidden side."""
        cell, found = self.given.cell, self.xp.zeros((self.T * self.B, self.H), dtype=self.nothing.dtype)
        hidden = side == "u" or (gate in cell.recurrent and gate not in cell.separate)
        at = cell.gates.index(gate) * self.H
        row = cell.recurrent.index(gate) * self.H if hidden else 0
        parts = [] if side == "u" else [(x, self._moved("weight_ih"), at), (x_dot, self._plain("weight_ih"), at)]
        parts += [(self.taped.h[:-1], self._moved("weight_hh"), row)] if hidden else []
        for operand, weight, first in parts:  # a = x W' + b + h_prev U' + b
            if operand is not None and weight is not None:
                found += self.multiply(operand.reshape(len(found), -1), weight[first : first + self.H].T)
        biases = [] if side == "u" else [(self._moved("bias_ih"), at)]
        for bias, first in biases + ([(self._moved("bias_hh"), row)] if hidden else []):
            if bias is not None:
                found += bias[first : first + self.H]
        return found.reshape(self.T, self.B, self.H)

    def backward(self, dy: Dual) -> tuple[Adjoints, Adjoints]:
        """See `kernels.second.Walk.backward`."""
        cell, none = self.given.cell, (None,) * len(self.taped.states)
        weights = {name: dual(value).value for name, value in self.given.weights.items() if not name.startswith("bias")}
        weights["weight_ih"] = self.xp.zeros((self.G * self.H, 1), dtype=self.nothing.dtype)
        given = Pass(cell, weights, self.given.lengths, {})
        plain, _ = self.kernels.backward_layer(given, self.taped, self.nothing, dy.value, none, {}, True)
        for name, received in zip(cell.states, plain.traces or (), strict=True):
            if f"k_d_{name}" in self.factors:
                self.factors[f"k_d_{name}"] = received[1:]
        dy_dot, first = dy.dot, None
        if self._moved("weight_hh") is not None:  # a = h_prev U' + b, and h[t] is y[t-1]
            sent = self.multiply(plain.da_hidden.reshape(self.T * self.B, -1), self._moved("weight_hh"))
            sent = sent.reshape(self.T, self.B, -1)
            dy_dot = self.xp.concatenate([dy_dot[:-1] + sent[1:], dy_dot[-1:]])
            first = sent[0]
        own = {name: self.xp.zeros_like(self._plain(name)) for name in cell.own}
        dots, _ = self.kernels.backward_layer(self._pass(), self.moved, self.nothing, dy_dot, none, own, True)
        dstates = dots.dstates if first is None else (dots.dstates[0] + first, *dots.dstates[1:])
        return plain, dots._replace(own=own, dstates=dstates)
