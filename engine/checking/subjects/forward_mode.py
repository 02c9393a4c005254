"""Forward-mode derivatives of whole layers: the tangent of the output and of the final state, in one pass.

The cells' part is `kernels.duals`; here it is carried through stacking, directions, lengths, dropout masks and the
layers around it.  Nothing here is shared with the backward passes, because it must check them independently.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from engine.errors import bad_type
from engine.layers.cell_parameters import of_direction
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.recurrent import Recurrent
from engine.layers.sequential import Sequential
from engine.layers.timeline import clean
from engine.layers.walk import Direction, forward_walk
from kernels.cells import Pass
from kernels.duals import Dual, run_tangent


@functools.singledispatch
def jvp(layer: Any, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, Any]:
    """Tangents of a layer's output and final state.

    Parameters
    ----------
    layer : any layer of the engine.
    tape : of the forward pass at which to differentiate.
    params_dot : tangent of every parameter by name.
    x_dot : tangent of the input, in its shape; ignored if the input is integer.
    state_dot : tangent of the initial state, in its structure; None is zeros.

    Returns
    -------
    y_dot, state_dot : in the shapes that forward gave y and the final state.
    """
    raise bad_type("layer", "a layer with a forward-mode derivative", f"a {type(layer).__name__}")


@jvp.register
def _recurrent(
    layer: Recurrent, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, Any]:
    xp, timeline = layer.backend.xp, tape.timeline
    x_dot = timeline.clean(x_dot.swapaxes(0, 1) if layer.batch_first else x_dot)
    several = len(layer.cell.states) > 1
    states_dot = (state_dot if several else (state_dot,)) if state_dot is not None else (None,) * len(layer.cell.states)
    last: list[Any] = []

    def enter(number: int, values_dot: Any) -> Any:
        mask = tape.masks[number]
        return values_dot if mask is None else values_dot * mask  # x = x * mask

    def run(direction: Direction, values_dot: Any) -> Any:
        record = tape.layers[direction.layer][direction.reverse]
        dots = of_direction(layer.cell, direction, params_dot)
        weights = {
            name: Dual(value, dots[name]) for name, value in of_direction(layer.cell, direction, layer.params).items()
        }
        weights = record.masked(weights)
        states = tuple(
            Dual(slots[0], xp.zeros_like(slots[0]) if part is None else part[direction.slot])
            for slots, part in zip(record.run.states, states_dot, strict=True)
        )
        W = weights["weight_ih"]  # pre = x W_ih' + b_ih
        pre = Dual(record.x @ W.value.T, values_dot @ W.value.T + record.x @ W.dot.T)
        if "bias_ih" in weights:
            pre = pre + weights["bias_ih"]
        h_dot, after = run_tangent(xp, Pass(record.cell, weights, timeline.lengths, record.factors), pre, states)
        last.append(after)
        return timeline.clean(h_dot[1:])

    y_dot = forward_walk(
        layer.num_layers, layer.num_directions, x_dot, enter, run, timeline.flip,
        lambda outputs: xp.concatenate(outputs, axis=2),
    )  # fmt: skip
    after = tuple(xp.stack(part) for part in zip(*last, strict=True))
    return (y_dot.swapaxes(0, 1) if layer.batch_first else y_dot), after if several else after[0]


@jvp.register
def _linear(layer: Linear, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, None]:
    x_dot = clean(layer.backend.xp, x_dot, tape.timeline, layer.batch_first)
    y_dot = x_dot @ layer.params["weight"].T + tape.kept @ params_dot["weight"].T  # y = x W' + b
    if layer.bias:
        y_dot = y_dot + params_dot["bias"]
    return clean(layer.backend.xp, y_dot, tape.timeline, layer.batch_first), None


@jvp.register
def _embedding(
    layer: Embedding, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, None]:
    y_dot = params_dot["weight"][layer.backend.asarray(tape.kept)]  # y = weight[ids]
    y_dot = y_dot.reshape(layer.joined_shape(y_dot.shape))
    return clean(layer.backend.xp, y_dot, tape.timeline, layer.batch_first), None


@jvp.register
def _dropout(layer: Dropout, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, None]:
    x_dot = clean(layer.backend.xp, x_dot, tape.timeline, layer.batch_first)
    return (x_dot if tape.kept is None else x_dot * tape.kept), None  # y = x * mask


@jvp.register
def _sequential(
    layer: Sequential, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, tuple[Any, ...]]:
    states_dot = []
    given = (None,) * len(layer.layers) if state_dot is None else state_dot
    for number, (part, part_tape, part_dot) in enumerate(zip(layer.layers, tape.tapes, given, strict=True)):
        prefix = f"{number}."
        own = {name[len(prefix) :]: dot for name, dot in params_dot.items() if name.startswith(prefix)}
        x_dot, last_dot = jvp(part, part_tape, own, x_dot, part_dot)
        states_dot.append(last_dot)
    return x_dot, tuple(states_dot)
