"""Checks of what a recurrent layer is given: input, state, lengths and gradients, each with one clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.timeline import Timeline

if TYPE_CHECKING:
    from engine.layers.recurrent_passes import RecurrentPasses

Array = Any  # of the layer's backend


def enter(layer: RecurrentPasses, x: Array, state: Any, lengths: Any) -> tuple[Array, Timeline, tuple[Array, ...]]:
    """Check the arguments of a pass; x comes back time-major, the state as a tuple with zeros where None was given."""
    axes = "(B, T, D)" if layer.batch_first else "(T, B, D)"
    layer.backend.require("x", x, dtype=layer.dtype, shape=(None, None, layer.input_size), axes=axes)
    x = x.swapaxes(0, 1) if layer.batch_first else x
    steps, batch = x.shape[:2]
    timeline = Timeline(layer.backend, steps, batch, lengths)
    slots, zeros = layer.num_layers * layer.num_directions, layer.backend.xp.zeros
    given = enter_state(layer, "state", state, batch)
    states = [
        zeros((slots, batch, width), dtype=layer.dtype) if part is None else part
        for part, width in zip(given, layer.widths, strict=True)
    ]
    return x, timeline, tuple(states)


def enter_state(
    layer: RecurrentPasses, name: str, state: Any, batch: int, part_may_be_none: bool = False
) -> tuple[Array, ...]:
    """Check a state or its gradient; returns one for each state of the cell, None if it was not given."""
    states = layer.cell.states
    if state is None:
        return (None,) * len(states)
    several = isinstance(state, (tuple, list))
    if len(states) == 1:
        if several:
            got = f"{describe(state)} of {len(state)}"
            raise bad_type(name, "one array h (L*N, B, H)", got, f"the cell {layer.cell.name} carries no more")
        _check_state_part(layer, name, state, batch, 0)
        return (state,)
    if not several or len(state) != len(states):
        got = describe(state) + (f" of {len(state)}" if several else "")
        carries = f"the cell {layer.cell.name} carries {len(states)} states"
        wanted = f"a {'pair' if len(states) == 2 else 'tuple'} ({', '.join(states)})"
        raise bad_type(name, wanted, got, carries)
    for number, (part, letter) in enumerate(zip(state, states, strict=True)):
        if part is not None or not part_may_be_none:
            _check_state_part(layer, f"{name} {letter}", part, batch, number)
    return tuple(state)


def _check_state_part(layer: RecurrentPasses, name: str, part: Array, batch: int, number: int) -> None:
    slots, width = layer.num_layers * layer.num_directions, layer.widths[number]
    layer.backend.require(name, part, dtype=layer.dtype)
    if part.ndim == 3 and part.shape[1] != batch and part.shape == (slots, part.shape[1], width):
        raise bad_input(
            name,
            f"batch size {batch}, that of x",
            f"batch size {part.shape[1]}",
            "a carried state belongs to the rows it came from: pass None for new ones",
        )
    layer.backend.require(name, part, shape=(slots, batch, width), axes="(L*N, B, H)")


def enter_dy(layer: RecurrentPasses, dy: Array, timeline: Timeline) -> Array:
    """Check dy; it comes back time-major with its pads 0."""
    if dy is None:
        return None
    shape = (timeline.steps, timeline.batch, layer.num_directions * layer.widths[0])
    wanted = (shape[1], shape[0], shape[2]) if layer.batch_first else shape
    axes = "(B, T, N*H)" if layer.batch_first else "(T, B, N*H)"
    layer.backend.require("dy", dy, dtype=layer.dtype, shape=wanted, axes=f"{axes}, that of y")
    dy = dy.swapaxes(0, 1) if layer.batch_first else dy
    return dy if timeline.lengths is None else timeline.clean(dy)
