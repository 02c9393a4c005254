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
from engine.second_derivatives.over_layers import Products, Second, of_layer
from kernels.cells import Adjoints, Pass, Run
from kernels.duals import Dual, dual
from kernels.products import recurrent_weight_backward
from kernels.second import Walk
from kernels.tangent_passes import walk_of

Array = Any  # of the layer's backend


@of_layer.register
def _recurrent(
    layer: Recurrent, tape: Any, dots: Mapping[str, Array], x_dot: Array, state_dot: Any, products: Products
) -> Second:
    if layer.precision != "float32":
        hint = 'rounding has no derivative: load the weights into a layer of precision="float32"'
        raise bad_input("model", "recurrent layers of precision 'float32'", f"one of {layer.precision!r}", hint)
    return _Walk(layer, tape, dots, products).forward(x_dot, state_dot)


class _Walk:
    """The two walks of one layer along one direction."""

    def __init__(self, layer: Recurrent, tape: Any, dots: Mapping[str, Array], products: Products) -> None:
        self.layer, self.tape, self.dots, self.products = layer, tape, dots, products
        self.xp, self.timeline = layer.backend.xp, tape.timeline
        self.multiply = layer.backend.kernels.matmul
        self.walks: dict[int, tuple[Pass, Walk, Run, Array]] = {}
        self.last: list[tuple[Array, ...]] = []

    def forward(self, x_dot: Array, state_dot: Any) -> Second:
        """See `second`."""
        layer, timeline = self.layer, self.timeline
        given = arguments.enter_state(layer, "direction['state']", state_dot, timeline.batch)
        if x_dot is not None:
            x_dot = timeline.clean(x_dot.swapaxes(0, 1) if layer.batch_first else x_dot)

        def run(direction: Direction, values_dot: Array) -> Array:
            record = self.tape.layers[direction.layer][direction.reverse]
            states_dot = tuple(
                self.xp.zeros_like(slots[0]) if part is None else part[direction.slot]
                for slots, part in zip(record.run.states, given, strict=True)
            )
            return self._forward_direction(direction, record, values_dot, states_dot)

        y_dot = forward_walk(
            layer.num_layers, layer.num_directions, x_dot, self._masked, run,
            lambda values: None if values is None else timeline.flip(values), layer._joined,
        )  # fmt: skip
        return Second(layer._laid_out(y_dot), layer._stacked(self.last), self.back)

    def _masked(self, number: int, values: Array) -> Array:
        mask = self.tape.masks[number]
        return values if mask is None or values is None else apply_mask(self.xp, values, mask)

    def _forward_direction(
        self, direction: Direction, record: DirectionTape, x_dot: Array, states_dot: tuple[Array, ...]
    ) -> Array:
        if self.timeline.empty:
            self.last.append(states_dot)
            return self.xp.zeros((*record.x.shape[:2], states_dot[0].shape[-1]), dtype=self.layer.dtype)
        own = of_direction(self.layer.cell, direction, self.dots)
        weights = of_direction(self.layer.cell, direction, self.layer.params)
        weights = {name: Dual(value, own[name]) if name in own else value for name, value in weights.items()}
        given = Pass(record.cell, record.masked(weights), self.timeline.lengths, record.factors)
        memory = self.products.memory.setdefault(direction.slot, {})
        walk = walk_of(self.layer.backend.kernels, given, record.run, memory)
        moved = walk.forward(record.x, x_dot, states_dot)
        self.walks[direction.slot] = given, walk, moved, x_dot
        self.last.append(tuple(slots[-1] for slots in moved.states))
        return self.timeline.clean(moved.h[1:])

    # -- back ----------------------------------------------------------------------------------------------------------

    def back(self, dy: Dual, dstate: Any) -> tuple[Dual | None, Any]:
        """See `Second`; the gradient of the last state is zero."""
        layer, timeline = self.layer, self.timeline
        first: list[Any] = [None] * (layer.num_layers * layer.num_directions)

        def run(direction: Direction, dy_d: Dual) -> Dual | None:
            record = self.tape.layers[direction.layer][direction.reverse]
            if timeline.empty:
                first[direction.slot] = tuple(self.xp.zeros_like(slots[0]) for slots in record.run.states)
                own = of_direction(layer.cell, direction, self.dots)
                self.products |= {name + direction.end: self.xp.zeros_like(value) for name, value in own.items()}
                return Dual(self.xp.zeros_like(record.x), self.xp.zeros_like(record.x))
            given, walk, _, x_dot = self.walks[direction.slot]
            plain, dots = walk.backward(dy_d)
            first[direction.slot] = dots.dstates
            self._write(direction, record, (plain, dots))
            return None if x_dot is None else self._back_to_x(given, record.x.shape, plain.da, dots.da)

        def each(function: Any, values: Dual | None) -> Dual | None:
            return None if values is None else values.each(function)

        dx = backward_walk(
            layer.num_layers, layer.num_directions,
            dy.each(lambda part: timeline.clean(part.swapaxes(0, 1) if layer.batch_first else part)),
            lambda number, values: each(lambda part: self._masked(number, part), values),
            run, lambda values: each(timeline.flip, values), layer.widths[0],
        )  # fmt: skip
        return each(layer._laid_out, dx), layer._stacked(first)

    def _back_to_x(self, given: Pass, shape: tuple[int, ...], da: Array, da_dot: Array) -> Dual:
        """The gradient of x: da W."""
        weight = dual(given.weights["weight_ih"])
        rows, rows_dot = (part.reshape(shape[0] * shape[1], len(weight.value)) for part in (da, da_dot))
        dx_dot = self.multiply(rows_dot, weight.value)
        if isinstance(given.weights["weight_ih"], Dual):
            dx_dot = dx_dot + self.multiply(rows, weight.dot)
        return Dual(self.multiply(rows, weight.value).reshape(shape), dx_dot.reshape(shape))

    def _write(self, direction: Direction, record: DirectionTape, adjoints: tuple[Adjoints, Adjoints]) -> None:
        """The tangents of the gradients of the weights that move."""
        (plain, dots), (given, _, moved, x_dot) = adjoints, self.walks[direction.slot]
        rows = dots.da.reshape(-1, len(record.cell.gates) * self.layer.hidden_size)
        found = dict(dots.own) | {"bias_ih": rows.sum(axis=0)}
        names = of_direction(self.layer.cell, direction, self.dots)
        if "weight_ih" in names:  # dW = da' x
            found["weight_ih"] = self.multiply(rows.T, record.x.reshape(len(rows), -1))
            if x_dot is not None:
                moving = plain.da.reshape(rows.shape).T
                found["weight_ih"] = found["weight_ih"] + self.multiply(moving, x_dot.reshape(len(rows), -1))
        if names.keys() & {"weight_hh", "bias_hh", "weight_hr"}:  # dU = da' h_prev
            found |= recurrent_weight_backward(self.multiply, self.multiply, self.xp, given.cell, record.run, dots)
            more = recurrent_weight_backward(self.multiply, self.multiply, self.xp, given.cell, moved, plain)
            found |= {name: found[name] + more[name] for name in ("weight_hh", "weight_hr") if name in found}
        if record.weight_mask is not None and "weight_hh" in found:
            found["weight_hh"] = found["weight_hh"] * record.weight_mask  # weight_hh * weight_mask
        self.products |= {name + direction.end: found[name] for name in names}
