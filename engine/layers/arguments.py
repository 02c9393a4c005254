"""What reaches a recurrent layer, checked: input, state, lengths and gradients, each with one clear error."""

from __future__ import annotations

from typing import Any, Protocol

from engine.backend import Backend
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.timeline import Timeline
from kernels.cells import Cell


class RecurrentLayer(Protocol):
    """What the checks need to know of a layer."""

    backend: Backend
    dtype: Any
    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    num_directions: int
    batch_first: bool


def enter(layer: RecurrentLayer, x: Any, state: Any, lengths: Any) -> tuple[Any, Timeline, Any, Any]:
    """Check the arguments of a pass; x comes back time-major."""
    axes = "(B, T, D)" if layer.batch_first else "(T, B, D)"
    layer.backend.require("x", x, dtype=layer.dtype, shape=(None, None, layer.input_size), axes=axes)
    x = x.swapaxes(0, 1) if layer.batch_first else x
    steps, batch = x.shape[:2]
    timeline = Timeline(layer.backend, steps, batch, lengths)
    h0, c0 = enter_state(layer, "state", state, batch)
    slots = layer.num_layers * layer.num_directions
    zeros = layer.backend.xp.zeros((slots, batch, layer.hidden_size), dtype=layer.dtype)
    return x, timeline, zeros if h0 is None else h0, (zeros if c0 is None else c0) if layer.cell.has_c else None


def enter_state(
    layer: RecurrentLayer, name: str, state: Any, batch: int, part_may_be_none: bool = False
) -> tuple[Any, Any]:
    """Check a state or its gradient; returns (h, c), each None where it was not given."""
    if state is None:
        return None, None
    if not layer.cell.has_c:
        if isinstance(state, (tuple, list)):
            raise bad_type(
                name,
                "one array h (L*N, B, H)",
                f"{describe(state)} of {len(state)}",
                "only an LSTM has (h, c)",
            )
        _check_state_part(layer, name, state, batch)
        return state, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        got = describe(state) + (f" of {len(state)}" if isinstance(state, (tuple, list)) else "")
        raise bad_type(name, "a pair (h, c)", got, "an LSTM carries both")
    for part, letter in zip(state, "hc", strict=True):
        if part is not None or not part_may_be_none:
            _check_state_part(layer, f"{name} {letter}", part, batch)
    return state[0], state[1]


def _check_state_part(layer: RecurrentLayer, name: str, part: Any, batch: int) -> None:
    slots = layer.num_layers * layer.num_directions
    layer.backend.require(name, part, dtype=layer.dtype)
    if part.ndim == 3 and part.shape[1] != batch and part.shape == (slots, part.shape[1], layer.hidden_size):
        raise bad_input(
            name,
            f"batch size {batch}, that of x",
            f"batch size {part.shape[1]}",
            "a carried state belongs to the rows it came from: pass None for new ones",
        )
    layer.backend.require(name, part, shape=(slots, batch, layer.hidden_size), axes="(L*N, B, H)")


def enter_dy(layer: RecurrentLayer, dy: Any, timeline: Timeline) -> Any:
    """Check dy; it comes back time-major with its pads 0."""
    if dy is None:
        return None
    shape = (timeline.steps, timeline.batch, layer.num_directions * layer.hidden_size)
    wanted = (shape[1], shape[0], shape[2]) if layer.batch_first else shape
    axes = "(B, T, N*H)" if layer.batch_first else "(T, B, N*H)"
    layer.backend.require("dy", dy, dtype=layer.dtype, shape=wanted, axes=f"{axes}, that of y")
    dy = dy.swapaxes(0, 1) if layer.batch_first else dy
    return dy if timeline.lengths is None else timeline.clean(dy)
