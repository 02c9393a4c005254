"""Forward-mode derivatives of whole layers: the tangent of the output and of the final state, in one pass.

The cells' part is `kernels.tangents`; here it is carried through stacking, directions, lengths, dropout masks and the
layers around it.  Nothing here is shared with the backward passes, which it testifies for or against.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from engine.errors import bad_type
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.recurrent import Recurrent
from engine.layers.sequential import Sequential
from engine.layers.timeline import clean
from kernels.tangents import Tangents, run_tangent


@functools.singledispatch
def jvp(layer: Any, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, Any]:
    """Tangents of a layer's output and final state.

    Parameters
    ----------
    layer : any layer of the engine.
    tape : of the forward pass to differentiate at.
    params_dot : tangent of every parameter by name.
    x_dot : tangent of the input, in its shape; not looked at where the input is integer.
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
    xp, timeline, H = layer.backend.xp, tape.timeline, layer.hidden_size
    x_dot = timeline.clean(x_dot.swapaxes(0, 1) if layer.batch_first else x_dot)
    h0_dot, c0_dot = state_dot if layer.cell.has_c and state_dot is not None else (state_dot, None)
    zeros = xp.zeros((timeline.batch, H), dtype=x_dot.dtype)
    h_last, c_last = [], []
    for number in range(layer.num_layers):
        if tape.masks[number] is not None:
            x_dot = x_dot * tape.masks[number]  # layer_input = layer_input * mask
        outputs = []
        for direction in range(layer.num_directions):
            end = f"_l{number}" + "_reverse" * direction
            slot = number * layer.num_directions + direction
            record = tape.layers[number][direction]
            weight_ih, weight_hh = layer.params["weight_ih" + end], layer.params["weight_hh" + end]
            moved = timeline.flip(x_dot) if direction else x_dot
            # pre = x W_ih' + b_ih
            pre_dot = moved @ weight_ih.T + record.x @ params_dot["weight_ih" + end].T
            if layer.bias:
                pre_dot = pre_dot + params_dot["bias_ih" + end]
            tangents = Tangents(
                pre_dot,
                params_dot["weight_hh" + end],
                params_dot.get("bias_hh" + end),
                zeros if h0_dot is None else h0_dot[slot],
                (zeros if c0_dot is None else c0_dot[slot]) if layer.cell.has_c else None,
            )
            h_dot, c_dot = run_tangent(xp, layer.cell, record.run, weight_hh, tangents, timeline.lengths)
            y_dot = timeline.clean(h_dot[1:])
            outputs.append(timeline.flip(y_dot) if direction else y_dot)
            h_last.append(h_dot[-1])
            c_last.append(c_dot)
        x_dot = xp.concatenate(outputs, axis=2)
    h_n = xp.stack(h_last)
    last = (h_n, xp.stack(c_last)) if layer.cell.has_c else h_n
    return (x_dot.swapaxes(0, 1) if layer.batch_first else x_dot), last


@jvp.register
def _linear(layer: Linear, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, None]:
    x_dot = clean(layer.backend.xp, x_dot, tape.timeline, layer.batch_first)
    y_dot = x_dot @ layer.params["weight"].T + tape.x @ params_dot["weight"].T  # y = x W' + b
    if layer.bias:
        y_dot = y_dot + params_dot["bias"]
    return clean(layer.backend.xp, y_dot, tape.timeline, layer.batch_first), None


@jvp.register
def _embedding(
    layer: Embedding, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, None]:
    y_dot = params_dot["weight"][layer.backend.asarray(tape.ids)]  # y = weight[ids]
    if tape.valid is not None:
        y_dot = layer.backend.xp.where(layer.backend.asarray(tape.valid)[..., None], y_dot, 0)
    return y_dot, None


@jvp.register
def _dropout(layer: Dropout, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, None]:
    x_dot = clean(layer.backend.xp, x_dot, tape.timeline, layer.batch_first)
    return (x_dot if tape.mask is None else x_dot * tape.mask), None  # y = x * mask


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
