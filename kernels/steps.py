"""One step of any cell in array code, forward and backward, derived from where the names lie (`kernels.phases`).

A value is looked up by its `Place`; a step is a dictionary of them.  Forward fills it phase by phase: product, row
functions, gate functions.  Backward reads the values that forward left, phase by phase from the last.

Shapes: B batch, H hidden units, P width of the hidden state (H without a projection), G gate blocks, R of them with
recurrent weights.  A gradient check runs K changed copies at once: any array may have an axis K in front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernels.activations import library
from kernels.cells import Cell, Pass, Run
from kernels.phases import Place, Work, is_ours, scale_of

Array = Any
Values = dict[Place, Array]
_VALID = Place("given", "valid")  # (B,) which rows are not past their end, for a user's row functions


class Gradients:
    """What the reverse of a step has found so far.

    Attributes
    ----------
    values : gradient of each state after the step and of each value within it, by name.
    previous : gradient of each state before the step, by name; None if there is none yet.
    input, hidden : gradient of each gate's pre-activation, of its input part and of its hidden part.
    own : gradient of each weight of a unit, row by row, (B, H).
    totals : the whole gradient of each state within the step: as it came in, or as a backward function returned it.
    projected : gradient of the product that makes the hidden state, in a cell with a projection.
    """

    def __init__(self, states: tuple[str, ...], dstates: tuple[Array, ...]) -> None:
        self.values: dict[str, Array] = dict(zip(states, dstates, strict=True))
        self.totals = dict(self.values)
        self.previous: dict[str, Array] = dict.fromkeys(states)
        self.input: dict[str, Array] = {}
        self.hidden: dict[str, Array] = {}
        self.own: dict[str, Array] = {}
        self.projected: Array = None

    def of(self, name: str) -> Array:
        """The gradient of a value, as far as it is known."""
        return self.values[name]

    def add(self, name: str, value: Array) -> None:
        """Add to the gradient of a value of this step."""
        self.values[name] = self.values[name] + value if name in self.values else value

    def add_place(self, place: Place, value: Array) -> None:
        """Add to the gradient of what a product multiplied."""
        if place.kind != "prev":
            return self.add(place.name.partition("__")[0], value)
        known = self.previous[place.name]
        self.previous[place.name] = value if known is None else known + value

    def take(self, cell: Cell, work: Work, values: tuple[Array, ...]) -> None:
        """Add the results of a backward function to the gradients found so far."""
        for name, value in zip(work.backward.results, values, strict=True):
            kind, _, gate = name.partition("_")
            if gate in cell.gates and kind in ("da", "dx", "dh"):
                if kind != "dh":
                    self.input[gate] = value
                if kind != "dx":
                    self.hidden[gate] = value
            elif name.endswith("_prev"):
                self.add_place(Place("prev", name[1:-5]), value)
            elif name[1:] in cell.own:
                self.own[name[1:]] = value
            elif name[1:] in work.replaces:
                self.values[name[1:]] = value
                if makes(work, name[1:]):
                    self.totals[name[1:]] = value
            else:
                self.add(name[1:], value)


def _between(work: Work) -> str:
    """The name under which gate functions ask for the source of the phase after its row functions."""
    assert work.source is not None
    return "between_" + work.source.name.partition("__")[0]


def makes(work: Work, state: str) -> bool:
    """Whether the phase makes the state after the step, out of other values: its gradient is then the whole state's."""
    return any(Place("new", state) in places for places in work.outputs) and state not in work.forward.arguments


class Steps:
    """The steps of one layer and direction.

    Parameters
    ----------
    xp : the array library.
    given : the cell, its weights and factors; the lengths are the time loop's affair.
    one : the number 1 in the arrays' dtype.
    multiply : the matrix product.
    project : the one with weight_hr, if it is another one.
    functions : the functions that gate functions may call, by name; None means those of `xp`.
    """

    def __init__(
        self,
        xp: Any,
        given: Pass,
        one: Array,
        multiply: Callable[[Array, Array], Array],
        functions: Mapping[str, Any] | None = None,
        project: Callable[[Array, Array], Array] | None = None,
    ) -> None:
        self.xp, self.multiply, self.project = xp, multiply, project or multiply
        self.cell, weights, self.factors = given.cell, given.weights, given.factors
        mine = any(work.between and not is_ours(work.between.forward) for work in self.cell.works)
        self.lengths = given.lengths if mine else None
        self.weight_hh: Array = weights.get("weight_hh")
        self.bias_hh: Array = weights.get("bias_hh")
        self.weight_hr: Array = weights.get("weight_hr")
        self.constants: Values = {Place("own", name): weights[name] for name in self.cell.own}
        self.constants |= {Place("library", n): f for n, f in (functions or library(xp, self.cell.act, one)).items()}

    def _fixed(self, t: int) -> Values:
        """The values of a step that are not on the tape: functions, weights of a unit, factors of this step."""
        valid = {} if self.lengths is None else {_VALID: self.lengths > t}
        given = {Place("given", name): f[t if len(f) > 1 else 0] for name, f in self.factors.items()}
        return self.constants | given | valid

    def _results(self, found: Any, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """The results of a gate function in that shape: a result made of weights and numbers alone is smaller."""
        values = found if isinstance(found, tuple) else (found,)
        return tuple(value if getattr(value, "shape", ()) == shape else self._filled(value, shape) for value in values)

    def _filled(self, value: Array, shape: tuple[int, ...]) -> Array:
        return value + self.xp.zeros(shape, dtype=self.constants[Place("library", "one")].dtype)

    def _rows(self, work: Work) -> slice:
        """The rows of weight_hh that belong to a phase."""
        first, H = self.cell.recurrent.index(work.gates[0]), self.weight_hh.shape[-2] // len(self.cell.recurrent)
        return slice(first * H, (first + len(work.gates)) * H)

    # -- forward ------------------------------------------------------------------------------------------------------

    def forward(self, pre: Array, states: tuple[Array, ...], t: int) -> Values:
        """Run step t: all values that it makes.

        Parameters
        ----------
        pre : (B, G, H) input projection of this step with bias_ih.
        states : before the step, each (B, H).
        """
        at = self._fixed(t) | {Place("prev", name): value for name, value in zip(self.cell.states, states, strict=True)}
        for number, work in enumerate(self.cell.works):
            if number == self.cell.projected_at:
                self._project(at)
            if work.gates:
                self._gates_forward(at, work, pre)
            elif work.between:
                self._between_forward_of_value(at, work)
            shape = states[0].shape if work.narrow else pre[..., 0, :].shape
            values = self._results(work.forward.function(*(at[place] for place in work.inputs)), shape)
            for label, places, value in zip(work.labels, work.outputs, values, strict=True):
                at |= dict.fromkeys((Place("local", label), *places), value)
        if self.cell.projected_at == len(self.cell.works):
            self._project(at)
        return at

    def _project(self, at: Values) -> None:
        if self.cell.projected is not None:  # h = W_hr m
            at[Place("new", "h")] = self.project(at[self.cell.projected], self.weight_hr.swapaxes(-1, -2))

    def _gates_forward(self, at: Values, work: Work, pre: Array) -> None:
        """Pre-activations of a phase: a = x + U source + b."""
        first = self.cell.gates.index(work.gates[0])
        x = pre[..., first : first + len(work.gates), :]
        h = None if work.source is None else self._recur(at[work.source], work).reshape(x.shape)
        if work.between:
            x, h = self._between_forward(at, work, x, h)
        scaled = work.between is not None and work.between.scaled
        for block, gate in enumerate(work.gates):
            x_gate, h_gate = x[..., block, :], None if h is None else h[..., block, :]
            if scaled:
                x_gate, h_gate = self._scaled(at, gate, "x", x_gate), self._scaled(at, gate, "h", h_gate)
            at |= {Place("x", gate): x_gate, Place("h", gate): h_gate}
            if gate not in self.cell.separate:
                at[Place("a", gate)] = x_gate if h_gate is None else x_gate + h_gate
            for kind in ("a", "x", "h"):
                if f"{kind}_{gate}" in self.cell.kept:
                    at[Place("kept", f"{kind}_{gate}")] = at[Place(kind, gate)]

    def _recur(self, operand: Array, work: Work) -> Array:
        """U operand + b of a phase."""
        rows = self._rows(work)
        product = self.multiply(operand, self.weight_hh[..., rows, :].swapaxes(-1, -2))
        return product if self.bias_hh is None else product + self.bias_hh[..., rows]

    def _apart(self, work: Work) -> bool:
        """Whether the row functions get the input part and the hidden part one by one."""
        return work.gates[0] in self.cell.separate or work.between.scaled  # type: ignore[union-attr]

    def _between_forward(self, at: Values, work: Work, x: Array, h: Array) -> list[Array]:
        """The row functions on the input part and the hidden part, or on their sum."""
        if not self._apart(work):
            x, h = (x if h is None else x + h), None
        found: list[Array] = [None, None]
        for number, part in enumerate((x, h)):
            if part is not None:
                rows = part.reshape(*part.shape[:-2], part.shape[-2] * part.shape[-1])
                at[Place("kept", f"rows_{'xh'[number]}_{work.gates[0]}")] = rows
                found[number] = self.through(at, work.between.forward, rows).reshape(part.shape)  # type: ignore[union-attr]
        return found

    def through(self, at: Values, function: Callable[..., Array], *parts: Array) -> Array:
        """A row function on all rows of a step.

        One of ours takes any axes in front, and each row alone.  A user's gets (R, W), the R rows that are not past
        their end, as it may work along either axis; the copies of a gradient check come one after the other.
        """
        if is_ours(function):
            return function(*parts)
        valid = at.get(_VALID)
        if valid is None:
            return self.through_copies(function, parts)
        found = self.xp.zeros_like(parts[0])
        if valid.any():
            found[..., valid, :] = self.through_copies(function, [part[..., valid, :] for part in parts])
        return found

    def through_copies(self, function: Callable[..., Array], parts: Sequence[Array]) -> Array:
        """A user's row function on (R, W), or on K copies of it; what has no axis of copies is the same for all."""
        copies = max(len(part) if len(part.shape) > 2 else 0 for part in parts)
        if not copies:
            return function(*parts)
        apart = [part if len(part.shape) > 2 else part[None] for part in parts]
        return self.xp.stack([function(*(part[k % len(part)] for part in apart)) for k in range(copies)])

    def _scaled(self, at: Values, gate: str, part: str, value: Array) -> Array:
        """What the row functions made, times its gain and plus its bias (`kernels.phases.Between`); None stays None."""
        if value is None:
            return None
        gain, bias = (at.get(Place("own", name)) for name in scale_of(gate, part))
        return gain * value if bias is None else gain * value + bias

    def _between_forward_of_value(self, at: Values, work: Work) -> None:
        """The row functions on a value; their result goes on the tape too if backward asks for it."""
        name = _between(work)
        value = self.through(at, work.between.forward, at[work.source])  # type: ignore[union-attr, index]
        at |= dict.fromkeys([Place("between", name), *([Place("kept", name)] if name in self.cell.kept else [])], value)

    # -- backward -----------------------------------------------------------------------------------------------------

    def tape(self, run: Run, t: int) -> Values:
        """What forward left of step t."""
        at = self._fixed(t)
        for name, slots in zip(self.cell.states, run.states, strict=True):
            at |= {Place("prev", name): slots[t], Place("new", name): slots[t + 1]}
        at |= {Place("gate", gate): run.gates[t, ..., block, :] for block, gate in enumerate(self.cell.gates)}
        return at | {Place("kept", name): values[t] for name, values in run.kept.items()}

    def backward(self, at: Values, dstates: tuple[Array, ...]) -> Gradients:
        """Reverse of `forward`: gradients of the states after the step -> gradients of everything before them.

        Parameters
        ----------
        at : `tape` of the step.
        dstates : gradient of each state after the step, each (B, H).
        """
        found = Gradients(self.cell.states, dstates)
        if self.cell.projected_at == len(self.cell.works):
            self._project_backward(found)
        for number, work in reversed(list(enumerate(self.cell.works))):
            values = (found.of(place.name) if place.kind == "grad" else at[place] for place in work.reads)
            shape = (dstates[0] if work.narrow else at[Place("gate", self.cell.gates[0])]).shape
            found.take(self.cell, work, self._results(work.backward.function(*values), shape))
            if work.between and not work.gates:
                self._between_backward_of_value(at, work, found)
            elif work.between:
                self._between_backward(at, work, found)
            if work.source is not None and work.gates:
                side = self.xp.concatenate([found.hidden[gate] for gate in work.gates], axis=-1)
                dsource = self.multiply(side, self.weight_hh[..., self._rows(work), :])  # a = x + U source + b
                found.add_place(work.source, dsource)
            if number == self.cell.projected_at:
                self._project_backward(found)
        return found

    def _project_backward(self, found: Gradients) -> None:
        if self.cell.projected is not None:
            found.projected = found.of("h")
            found.add_place(self.cell.projected, self.project(found.projected, self.weight_hr))  # h = W_hr m

    def _between_backward(self, at: Values, work: Work, found: Gradients) -> None:
        for kind, side in (("x", found.input), ("h", found.hidden)):
            if kind == "h" and not self._apart(work):
                found.hidden |= {gate: found.input[gate] for gate in work.gates}
                break
            rows = at[Place("kept", f"rows_{kind}_{work.gates[0]}")]
            out = self.through(at, work.between.forward, rows)  # type: ignore[union-attr]
            H = rows.shape[-1] // len(work.gates)
            blocks = {gate: slice(block * H, (block + 1) * H) for block, gate in enumerate(work.gates)}
            if work.between.scaled:  # type: ignore[union-attr]
                for gate, block in blocks.items():
                    self._scaled_backward(at, found, gate, kind, side, out[..., block])
            dout = self.xp.concatenate([side[gate] for gate in work.gates], axis=-1)
            drows = self.through(at, work.between.backward, dout, rows, out)  # type: ignore[union-attr]
            side |= {gate: drows[..., block] for gate, block in blocks.items()}

    def _scaled_backward(
        self, at: Values, found: Gradients, gate: str, part: str, side: dict[str, Array], value: Array
    ) -> None:
        """Reverse of `_scaled`."""
        gain, bias = scale_of(gate, part)
        found.own[gain] = side[gate] * value  # gain * value + bias
        if bias in self.cell.own:
            found.own[bias] = side[gate]  # gain * value + bias
        side[gate] = side[gate] * at[Place("own", gain)]  # gain * value + bias

    def _between_backward_of_value(self, at: Values, work: Work, found: Gradients) -> None:
        place, between = work.source, work.between
        assert place is not None
        assert between is not None
        rows, dout = at[place], found.values.pop(_between(work))
        out = self.through(at, between.forward, rows)
        found.add_place(place, self.through(at, between.backward, dout, rows, out))
