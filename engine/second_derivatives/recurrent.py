"""Forward over backward through a recurrent layer: its layers and directions, lengths and masks, around the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import bad_input
from engine.layers import arguments
from engine.layers.cell_parameters import of_direction
from engine.layers.masks import apply_mask
from engine.layers.recurrent import Recurrent
from engine.layers.tape import DirectionTape
from engine.layers.walk import Direction, backward_walk, forward_walk
from engine.second_derivatives.over_layers import Second, second
from kernels import products as big
from kernels import second as loops
from kernels.cells import Pass
from kernels.duals import Dual, dual

Array = Any  # of the layer's backend


@second.register
def _recurrent(
    layer: Recurrent, tape: Any, dots: Mapping[str, Array], x_dot: Array, state_dot: Any, products: Any
) -> Second:
    if layer.precision != "float32":
        hint = 'rounding has no derivative: load the weights into a layer of precision="float32"'
        raise bad_input("model", "recurrent layers of precision 'float32'", f"one of {layer.precision!r}", hint)
    return _Walk(layer, tape, dots, products).forward(x_dot, state_dot)


class _Walk:
    """The two walks of one layer along one direction."""

    def __init__(self, layer: Recurrent, tape: Any, dots: Mapping[str, Array], products: dict[str, Array]) -> None:
        self.layer, self.tape, self.dots, self.products = layer, tape, dots, products
        self.xp, self.timeline = layer.backend.xp, tape.timeline
        self.multiply = layer.backend.kernels.matmul
        self.moved: dict[int, tuple[Pass, loops.Moved, Array]] = {}
        self.last: list[tuple[Array, ...]] = []

    def forward(self, x_dot: Array, state_dot: Any) -> Second:
        """See `second`."""
        layer, timeline = self.layer, self.timeline
        given = arguments.enter_state(layer, "direction['state']", state_dot, timeline.batch)
        if x_dot is not None:
            x_dot = timeline.clean(x_dot.swapaxes(0, 1) if layer.batch_first else x_dot)

        def run(direction: Direction, values_dot: Array) -> Array:
            record = self.tape.layers[direction.layer][direction.reverse]
            states = tuple(
                Dual(slots[0], self.xp.zeros_like(slots[0]) if part is None else part[direction.slot])
                for slots, part in zip(record.run.states, given, strict=True)
            )
            return self._forward_direction(direction, record, values_dot, states)

        y_dot = forward_walk(
            layer.num_layers, layer.num_directions, x_dot, self._masked, run,
            lambda values: None if values is None else timeline.flip(values), layer._joined,
        )  # fmt: skip
        return Second(layer._laid_out(y_dot), layer._stacked(self.last), self.back)

    def _masked(self, number: int, values: Array) -> Array:
        mask = self.tape.masks[number]
        return values if mask is None or values is None else apply_mask(self.xp, values, mask)

    def _forward_direction(
        self, direction: Direction, record: DirectionTape, x_dot: Array, states: tuple[Dual, ...]
    ) -> Array:
        own = of_direction(self.layer.cell, direction, self.dots)
        weights = of_direction(self.layer.cell, direction, self.layer.params)
        weights = {name: Dual(value, own[name]) if name in own else value for name, value in weights.items()}
        given = Pass(record.cell, record.masked(weights), self.timeline.lengths, record.factors)
        if self.timeline.empty:
            self.last.append(tuple(state.dot for state in states))
            return self.xp.zeros((*record.x.shape[:2], states[0].shape[-1]), dtype=self.layer.dtype)
        moved = loops.forward(self.xp, given, self._projected(record.x, x_dot, weights), states)
        self.moved[direction.slot] = given, moved, x_dot
        self.last.append(tuple(slots[-1] for slots in moved.run.states))
        return self.timeline.clean(moved.run.h[1:])

    def _projected(self, x: Array, x_dot: Array, weights: dict[str, Any]) -> Dual:
        """The input projection of all steps, and its tangent."""
        weight, bias = dual(weights["weight_ih"]), weights.get("bias_ih")
        value = big.project_forward(self.multiply, x, weight.value, None if bias is None else dual(bias).value)
        dot = self.xp.zeros_like(value)
        if x_dot is not None:
            dot = dot + big.project_forward(self.multiply, x_dot, weight.value, None)  # pre = x W' + b
        if isinstance(weights["weight_ih"], Dual):
            dot = dot + big.project_forward(self.multiply, x, weight.dot, None)  # pre = x W' + b
        return Dual(value, dot + bias.dot if isinstance(bias, Dual) else dot)

    # -- back ----------------------------------------------------------------------------------------------------------

    def back(self, dy: Dual, dstate: Any) -> tuple[Dual, Any]:
        """See `Second`; the gradient of the last state is zero."""
        layer, timeline = self.layer, self.timeline
        first: list[Any] = [None] * (layer.num_layers * layer.num_directions)

        def run(direction: Direction, dy_d: Dual) -> Dual:
            record = self.tape.layers[direction.layer][direction.reverse]
            if timeline.empty:
                first[direction.slot] = tuple(self.xp.zeros_like(slots[0]) for slots in record.run.states)
                zeros = self.xp.zeros_like(record.x)
                weights = of_direction(layer.cell, direction, layer.params)
                self.products |= {name + direction.end: self.xp.zeros_like(value) for name, value in weights.items()}
                return Dual(zeros, zeros)
            dx, dots = self._back_direction(direction, record, dy_d)
            first[direction.slot] = dots
            return dx

        dy = dy.each(lambda part: timeline.clean(part.swapaxes(0, 1) if layer.batch_first else part))
        dx = backward_walk(
            layer.num_layers, layer.num_directions, dy,
            lambda number, values: values.each(lambda part: self._masked(number, part)),
            run, lambda values: values.each(timeline.flip), layer.widths[0],
        )  # fmt: skip
        return dx.each(layer._laid_out), layer._stacked(first)

    def _back_direction(self, direction: Direction, record: DirectionTape, dy: Dual) -> tuple[Dual, tuple[Array, ...]]:
        """The gradient of x, and the tangent of that of the first states; writes the products of the weights."""
        given, moved, x_dot = self.moved[direction.slot]
        zeros = [self.xp.zeros_like(slots[0]) for slots in record.run.states]
        plain, dots = loops.backward(self.xp, given, moved, dy, tuple(Dual(part, part) for part in zeros))
        weight, shape = dual(given.weights["weight_ih"]), record.x.shape
        dx_dot, found = big.project_backward(self.multiply, dots.da, record.x, weight.value)
        rows = plain.da.reshape(shape[0] * shape[1], len(weight.value))
        dx = self.multiply(rows, weight.value).reshape(shape)
        if isinstance(given.weights["weight_ih"], Dual):
            dx_dot = dx_dot + self.multiply(rows, weight.dot).reshape(shape)  # dx = da W
        if x_dot is not None:
            found["weight_ih"] = found["weight_ih"] + self.multiply(rows.T, x_dot.reshape(-1, shape[2]))  # dW = da' x
        found |= big.recurrent_weight_backward(self.multiply, self.xp, given.cell, record.run, dots)
        more = big.recurrent_weight_backward(self.multiply, self.xp, given.cell, moved.run, plain)
        for name in ("weight_hh", "weight_hr"):
            if name in found:
                found[name] = found[name] + more[name]  # dU = da' h_prev
        if record.weight_mask is not None:
            found["weight_hh"] = found["weight_hh"] * record.weight_mask  # weight_hh * weight_mask
        names = of_direction(self.layer.cell, direction, self.layer.params)
        self.products |= {name + direction.end: found[name] for name in names}
        return Dual(dx, dx_dot), dots.dstates
