"""Forward over backward in the loops of a kernel set: the tangent of a cell runs there as any cell does.

Only the products with the recurrent weights have to wait for the step before.  All others are made for all steps at
once: what the tangents of weights and input add to the pre-activations goes in as factors of the steps, and what the
tangent of the recurrent weights sends back is added to the gradients of the outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.duals import Dual, dual
from kernels.second import DualWalk, Walk
from kernels.tangent_cells import tangent_of

Array = Any  # of the kernel set's library

#: The kernel sets that take the cells of `kernels.tangent_cells`.
_SETS = ("reference", "numba")


def walk_of(kernels: Any, given: Pass, run: Run, memory: dict[str, Any]) -> Walk:
    """The best walk for a cell.

    Parameters
    ----------
    kernels : the kernel set of the arrays.
    given : as in the forward pass; weights that move are dual numbers.
    run : what the forward pass left.
    memory : takes what other directions at the same place need again; empty at the first.
    """
    tangent = tangent_of(given.cell) if kernels.name in _SETS else None
    return DualWalk(kernels, given, run) if tangent is None else TangentWalk(kernels, given, run, tangent, memory)


class _Same(NamedTuple):
    """What is the same for every direction.

    Attributes
    ----------
    weights : of the cell, as they are.
    values : the factors ``k_v_X``.
    operand : (T*B, D+P) the input of each step beside the state before it, which the tangents of weights multiply.
    tangent : the weights of the tangent's steps: the cell's recurrent weights; tangents of those of a unit.
    own : takes the tangents of the gradients of the weights of a unit.
    packs : what the kernel set keeps of the tangent's weights.
    """

    weights: dict[str, Array]
    values: dict[str, Array]
    operand: Array
    tangent: dict[str, Array]
    own: dict[str, Array]
    packs: Any


class TangentWalk:
    """The walk of a tangent cell; see `kernels.second.Walk`."""

    def __init__(self, kernels: Any, given: Pass, run: Run, tangent: Cell, memory: dict[str, Any]) -> None:
        self.kernels, self.xp, self.given, self.taped, self.tangent = kernels, kernels.xp, given, run, tangent
        self.multiply, self.memory = kernels.matmul, memory
        self.T, self.B, self.G, self.H = run.gates.shape
        self.nothing = self.xp.zeros((self.T, self.B, 1), dtype=run.h.dtype)  # the input of the tangent's steps
        self.factors: dict[str, Array] = {}

    def _moved(self, name: str) -> Array:
        found = self.given.weights.get(name)
        return found.dot if isinstance(found, Dual) else None

    def _begin(self, x: Array) -> _Same:
        """What is the same for every direction, made at the first."""
        weights = {name: dual(value).value for name, value in self.given.weights.items()}
        tangent = {"weight_ih": self.xp.zeros((self.G * self.H, 1), dtype=self.nothing.dtype)}
        operand = x.reshape(self.T * self.B, -1)
        if self.tangent.recurrent:
            tangent["weight_hh"] = weights["weight_hh"]
            D, P = x.shape[2], self.taped.h.shape[2]
            both = self.kernels.empty((len(operand), D + P), operand.dtype)
            both[:, :D], both[:, D:] = operand, self.taped.h[:-1].reshape(len(operand), P)
            operand = both
        tangent |= {name: self.xp.zeros_like(weights[name]) for name in self.tangent.own}
        own = {name: self.xp.zeros_like(weights[name]) for name in self.tangent.own}
        values = {name: self._value(name[4:], weights) for name in self.tangent.given if name.startswith("k_v_")}
        return _Same(weights, values, operand, tangent, own, self.kernels.packs(self.tangent, tangent, own))

    def _value(self, name: str, weights: dict[str, Array]) -> Array:
        """A value on the tape, for every step."""
        cell, run = self.given.cell, self.taped
        if name.startswith("before_"):
            return run.states[cell.states.index(name[len("before_") :])][:-1]
        if name in cell.own:
            return weights[name].reshape(1, 1, self.H)
        if name in cell.states:
            return run.states[cell.states.index(name)][1:]
        if name in cell.kept:
            return run.kept[name]
        found = self.kernels.empty((self.T, self.B, self.H), run.gates.dtype)
        found[...] = run.gates[:, :, cell.gates.index(name)]
        return found

    def forward(self, x: Array, x_dot: Array, states_dot: tuple[Array, ...]) -> Run:
        """See `kernels.second.Walk.forward`."""
        if "same" not in self.memory:
            self.memory["same"] = self._begin(x)
        self.same: _Same = self.memory["same"]
        self.factors = dict(self.same.values)
        for name in self.tangent.given:
            if name[:4] in ("k_e_", "k_u_"):
                self.factors[name] = self._added(name[4:], name[2], x, x_dot)
            elif name.startswith("k_d_"):  # what a state receives is known in the backward pass alone
                self.factors[name] = self.xp.zeros((1, 1, self.H), dtype=self.nothing.dtype)
        for name in self.tangent.own:
            found = self._moved(name)
            self.same.tangent[name][...] = 0 if found is None else found
        self.moved, _ = self.kernels.forward_layer(self._pass(), self.nothing, states_dot)
        return self.moved

    def _pass(self) -> Pass:
        return Pass(self.tangent, self.same.tangent, self.given.lengths, self.factors, packs=self.same.packs)

    def _added(self, gate: str, side: str, x: Array, x_dot: Array) -> Array:
        """What moves a gate's pre-activation beside the recurrent product: (T, B, H) of its input or hidden side.

        a = x W' + b + h_prev U' + b
        """
        cell, weights, D = self.given.cell, self.same.weights, x.shape[2]
        hidden = side == "u" or (gate in cell.recurrent and gate not in cell.separate)
        at = cell.gates.index(gate) * self.H
        row = cell.recurrent.index(gate) * self.H if hidden else 0
        W, U = self._moved("weight_ih") if side == "e" else None, self._moved("weight_hh") if hidden else None
        parts = [part[first : first + self.H] for part, first in ((W, at), (U, row)) if part is not None]
        if parts:
            columns = slice(0 if W is not None else D, None if U is not None else D)
            joined = parts[0] if len(parts) == 1 else self.xp.concatenate(parts, axis=1)
            found = self.multiply(self.same.operand[:, columns], joined.T)
        else:
            found = self.xp.zeros((self.T * self.B, self.H), dtype=self.nothing.dtype)
        if side == "e" and x_dot is not None:
            found += self.multiply(x_dot.reshape(len(found), D), weights["weight_ih"][at : at + self.H].T)
        biases = [(self._moved("bias_ih"), at)] if side == "e" else []
        for bias, first in biases + ([(self._moved("bias_hh"), row)] if hidden else []):
            if bias is not None:
                found += bias[first : first + self.H]
        return found.reshape(self.T, self.B, self.H)

    def backward(self, dy: Dual) -> tuple[Adjoints, Adjoints]:
        """See `kernels.second.Walk.backward`."""
        none, plain = (None,) * len(self.taped.states), self._plain(dy.value)
        for name, received in zip(self.given.cell.states, plain.traces or (), strict=True):
            if f"k_d_{name}" in self.factors:
                self.factors[f"k_d_{name}"] = received[1:]
        dy_dot, first = dy.dot, None
        if self._moved("weight_hh") is not None:  # a = h_prev U' + b, and h[t] is y[t-1]
            sent = self.multiply(plain.da_hidden.reshape(self.T * self.B, -1), self._moved("weight_hh"))
            sent = sent.reshape(self.T, self.B, -1)
            dy_dot, first = self.kernels.empty(dy_dot.shape, dy_dot.dtype), sent[0]
            dy_dot[...] = dy.dot
            dy_dot[:-1] += sent[1:]
        for total in self.same.own.values():
            total[...] = 0
        dots, _ = self.kernels.backward_layer(self._pass(), self.moved, self.nothing, dy_dot, none, self.same.own, True)
        dstates = dots.dstates if first is None else (dots.dstates[0] + first, *dots.dstates[1:])
        own = {name: self.xp.copy(total) for name, total in self.same.own.items()}
        return plain, dots._replace(own=own, dstates=dstates)

    def _plain(self, dy: Array) -> Adjoints:
        """The adjoints; the gradient of y is the same for every direction."""
        if "plain" not in self.memory:
            weights = {name: value for name, value in self.same.weights.items() if not name.startswith("bias")}
            weights["weight_ih"] = self.same.tangent["weight_ih"]  # the gradient of x is made elsewhere
            given, none = Pass(self.given.cell, weights, self.given.lengths, {}), (None,) * len(self.taped.states)
            found, _ = self.kernels.backward_layer(given, self.taped, self.nothing, dy, none, {}, True)
            self.memory["plain"] = found
        kept: Adjoints = self.memory["plain"]
        return kept
