"""Many changed copies of a layer's forward pass at once.

Differences need the outputs for thousands of slightly changed tensors.  Here K of them run together: every array has an
axis of copies in front, of length K if it is changed and 1 otherwise.  The plain kernels (`kernels.reference`) accept
such an axis, and walk the time once for all copies.  Complex arrays pass too.

The dropout masks are those of a tape, so every copy drops the same units.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from engine.errors import bad_type
from engine.layers.activation import Activation
from engine.layers.attention import Attention
from engine.layers.base import Layer
from engine.layers.cell_parameters import of_direction
from engine.layers.crf import CRF
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.heads import Heads
from engine.layers.linear import Linear
from engine.layers.masks import apply_mask
from engine.layers.normalisation import BatchNorm, LayerNorm
from engine.layers.pooling import Pool
from engine.layers.recurrent import Recurrent
from engine.layers.rnn import GRU, LSTM, RNN
from engine.layers.sequential import Sequential
from engine.layers.translator import Translator
from engine.layers.walk import Direction, forward_walk
from kernels.activations import matmul
from kernels.cells import Pass, factors_of
from kernels.reference import ReferenceKernels

#: The layers that this file knows.  A subclass with its own forward runs copy by copy.
KNOWN = (
    *(Recurrent, RNN, GRU, LSTM, Linear, Embedding, Dropout, Sequential, LayerNorm, BatchNorm, Pool),
    *(Activation, Attention, CRF, Heads, Translator),
)
ALL_STEPS = slice(None)


def known(layer: Any) -> bool:
    """Whether copies of this layer can run together."""
    own = "forward" in vars(layer) or not any(type(layer).forward is base.forward for base in KNOWN)
    return isinstance(layer, KNOWN) and not own and all(map(known, getattr(layer, "layers", ())))


@functools.singledispatch
def run(
    layer: Any, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = ALL_STEPS
) -> tuple[Any, Any]:
    """Output and final state of copies.

    Parameters
    ----------
    layer : a layer that is `known`.
    tape : of a forward pass with the same lengths; its masks are used.
    params : by name, each with the axis of copies in front.
    x, state : with that axis as well; an Embedding's x is on its tape.
    span : the time steps of the tape that x holds, if rows are full.

    Returns
    -------
    y, state : with the axis of copies in front.
    """
    raise bad_type("layer", "a layer of engine", f"a {type(layer).__name__}")


@run.register
def _recurrent(
    layer: Recurrent, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = ALL_STEPS
) -> tuple[Any, Any]:
    xp, timeline = layer.backend.xp, tape.timeline
    kernels = ReferenceKernels(xp)
    states = state if isinstance(state, tuple) else (state,)
    # inside: (T, K, B, ...)
    entering = x.swapaxes(1, 2).swapaxes(0, 1) if layer.batch_first else x.swapaxes(0, 1)
    dtype = xp.result_type(entering, *states, *params.values())
    last: list[Any] = []

    def enter(number: int, values: Any) -> Any:
        mask = tape.masks[number]
        return values if mask is None else apply_mask(xp, values, mask[span][:, None])

    def run_direction(direction: Direction, values: Any) -> Any:
        record = tape.layers[direction.layer][direction.reverse]
        weights = {name: _beside_rows(value) for name, value in of_direction(layer.cell, direction, params).items()}
        weights = record.masked(weights)
        pre = _project(xp, values, weights["weight_ih"])
        if "bias_ih" in weights:
            pre = pre + weights["bias_ih"]
        copies = max(pre.shape[1], *(len(value) for value in (*states, *params.values())))
        pre = xp.asarray(xp.broadcast_to(pre, (len(pre), copies, *pre.shape[2:])), dtype=dtype)
        first = tuple(part[:, direction.slot] for part in states)
        factors = factors_of(record.factors, span)
        found = kernels.forward(Pass(record.cell, weights, timeline.lengths, factors), pre, first)
        last.append(tuple(slots[-1] for slots in found.states))
        return _clean(xp, timeline, found.h[1:])

    y = forward_walk(
        layer.num_layers, layer.num_directions, _clean(xp, timeline, entering), enter, run_direction,
        lambda values: _flip(timeline, values), lambda outputs: xp.concatenate(outputs, axis=-1),
    )  # fmt: skip
    after = tuple(xp.stack(part, axis=1) for part in zip(*last, strict=True))
    y = y.swapaxes(0, 1)
    return (y.swapaxes(1, 2) if layer.batch_first else y), after if len(after) > 1 else after[0]


def _beside_rows(value: Any) -> Any:
    """A vector (K, units) of each copy as (K, 1, units), beside the rows of a batch; a matrix as it is."""
    return value[:, None] if value.ndim == 2 else value


def _project(xp: Any, x: Any, weight: Any) -> Any:
    """The hoisted product of all steps, one for each copy: (T, K, B, D) and (K, G*H, D) -> (T, K, B, G*H)."""
    steps, copies, batch, features = x.shape
    rows = x.swapaxes(0, 1).reshape(copies, steps * batch, features)
    found = matmul(xp, rows, weight.swapaxes(-1, -2))
    return found.reshape(len(found), steps, batch, found.shape[-1]).swapaxes(0, 1)


@run.register
def _linear(
    layer: Linear, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = ALL_STEPS
) -> tuple[Any, None]:
    x = clean_layout(layer, tape, x)
    single = x.ndim == 2  # one vector (D,) in each copy
    x = x[:, None] if single else x
    weight = params["weight"]
    weight = weight.reshape(len(weight), *(1,) * (x.ndim - 3), *weight.shape[1:])
    y = matmul(layer.backend.xp, x, weight.swapaxes(-1, -2))
    if layer.bias:
        bias = params["bias"]
        y = y + bias.reshape(len(bias), *(1,) * (x.ndim - 2), -1)
    return clean_layout(layer, tape, y[:, 0] if single else y), None


@run.register
def _embedding(
    layer: Embedding, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = ALL_STEPS
) -> tuple[Any, None]:
    y = params["weight"][:, layer.backend.asarray(tape.kept[_in_layout(layer, span)])]
    y = y.reshape(layer.joined_shape(y.shape))
    return clean_layout(layer, tape, y), None


@run.register
def _dropout(
    layer: Dropout, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = ALL_STEPS
) -> tuple[Any, None]:
    x = clean_layout(layer, tape, x)
    if tape.kept is None:
        return x, None
    mask = tape.kept if tape.kept.ndim == 2 else tape.kept[_in_layout(layer, span)]
    return apply_mask(layer.backend.xp, x, mask), None


@run.register
def _sequential(
    layer: Sequential, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = ALL_STEPS
) -> tuple[Any, tuple[Any, ...]]:
    states = []
    for number, (part, part_tape, part_state) in enumerate(zip(layer.layers, tape.tapes, state, strict=True)):
        prefix = f"{number}."
        own = {name[len(prefix) :]: value for name, value in params.items() if name.startswith(prefix)}
        x, last = run(part, part_tape, own, x, part_state, span)
        states.append(last)
    return x, tuple(states)


def _in_layout(layer: Layer, span: slice) -> tuple[slice, ...]:
    return (slice(None), span) if layer.batch_first else (span,)


# -- lengths, with an axis of copies --------------------------------------------------------------------------------


def _clean(xp: Any, timeline: Any, values: Any) -> Any:
    """(T, K, B, ...) with pads 0."""
    if timeline.lengths is None:
        return values
    valid = xp.arange(timeline.steps)[:, None] < timeline.lengths  # (T, B)
    return xp.where(valid[:, None, :, None], values, 0)


def _flip(timeline: Any, values: Any) -> Any:
    """(T, K, B, ...) into the reverse direction's processing order, or back."""
    return timeline.flip(values.swapaxes(1, 2)).swapaxes(1, 2)


def clean_layout(layer: Layer, tape: Any, values: Any) -> Any:
    """(K, T, B, ...), or (K, B, T, ...), with pads 0."""
    if tape.timeline is None:
        return values
    xp = layer.backend.xp
    if layer.batch_first:
        time_first = values.swapaxes(0, 2).swapaxes(1, 2)  # (T, K, B, ...)
        return _clean(xp, tape.timeline, time_first).swapaxes(1, 2).swapaxes(0, 2)
    return _clean(xp, tape.timeline, values.swapaxes(0, 1)).swapaxes(0, 1)
