"""Checks of what a recurrent layer is given: input, state, lengths and gradients, each with one clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.timeline import Timeline

if TYPE_CHECKING:
    from engine.layers.recurrent_passes import RecurrentPasses

Array = Any  # of the layer's backend


class Entered(NamedTuple):
    """What passes over an x of one shape share, where every row has all steps.

    Attributes
    ----------
    timeline : the valid steps: all.
    zeros : the first states where none are given, by layer and direction; nobody writes into them.
    shapes : of the states of all layers and directions.
    """

    timeline: Timeline
    zeros: tuple[tuple[Array, ...], ...]
    shapes: tuple[tuple[int, ...], ...]


MOST_SHAPES = 64  # whose checks a layer remembers
SMALL = 1 << 16  # bytes of zeros that are kept


def enter(
    layer: RecurrentPasses, x: Array, state: Any, lengths: Any
) -> tuple[Array, Timeline, tuple[tuple[Array, ...], ...]]:
    """Check the arguments of a pass.

    x comes back time-major; the first states come by layer and direction, zeros where None was given.
    """
    memo, entered = layer._params.memo, None
    plain = type(x) is np.ndarray and x.dtype is layer.dtype and lengths is None
    if plain and "entered" in memo:  # in a small pass, to check takes as long as the gates
        entered = memo["entered"].get(x.shape)
    if entered is None:
        return _enter_anew(layer, x, state, lengths, memo.setdefault("entered", {}) if plain else None)
    x = x.swapaxes(0, 1) if layer.batch_first else x
    if state is None:
        return x, entered.timeline, entered.zeros
    given = (state,) if type(state) is np.ndarray else state
    if not _as_expected(given, entered.shapes, layer.dtype):
        given = enter_state(layer, "state", state, entered.timeline.batch)
    return x, entered.timeline, _by_slot(given)


def _as_expected(given: Any, shapes: tuple[tuple[int, ...], ...], dtype: np.dtype) -> bool:
    """Whether these are plain arrays of these shapes; the answer no says nothing."""
    if type(given) is not tuple or len(given) != len(shapes):
        return False
    for part, shape in zip(given, shapes, strict=True):
        if type(part) is not np.ndarray or part.shape != shape or part.dtype is not dtype:
            return False
    return True


def _by_slot(states: tuple[Array, ...]) -> tuple[tuple[Array, ...], ...]:
    return tuple(zip(*states, strict=True))


def _enter_anew(
    layer: RecurrentPasses, x: Array, state: Any, lengths: Any, known: dict[Any, Entered] | None
) -> tuple[Array, Timeline, tuple[tuple[Array, ...], ...]]:
    """`enter` for an x of a shape that is not `known`."""
    axes = "(B, T, D)" if layer.batch_first else "(T, B, D)"
    layer.backend.require("x", x, dtype=layer.dtype, shape=(None, None, layer.input_size), axes=axes)
    shape, x = x.shape, x.swapaxes(0, 1) if layer.batch_first else x
    steps, batch = x.shape[:2]
    timeline = Timeline(layer.backend, steps, batch, lengths)
    slots, zeros = layer.num_layers * layer.num_directions, layer.backend.xp.zeros
    given = enter_state(layer, "state", state, batch)
    shapes = tuple([(slots, batch, width) for width in layer.widths])
    states = [
        zeros(shape, dtype=layer.dtype) if part is None else part for part, shape in zip(given, shapes, strict=True)
    ]
    firsts = tuple([tuple([part[slot] for part in states]) for slot in range(slots)])
    if state is None and known is not None and sum(part.nbytes for part in states) < SMALL:
        if len(known) >= MOST_SHAPES:
            known.clear()
        known[shape] = Entered(timeline, firsts, shapes)
    return x, timeline, firsts


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
    width, steps, batch = layer.num_directions * layer.widths[0], timeline.steps, timeline.batch
    wanted = (batch, steps, width) if layer.batch_first else (steps, batch, width)
    known = type(dy) is np.ndarray and dy.shape == wanted and dy.dtype is layer.dtype
    if not known or layer.backend.xp is not np:  # in a small pass, to check takes as long as the gates
        axes = "(B, T, N*H)" if layer.batch_first else "(T, B, N*H)"
        layer.backend.require("dy", dy, dtype=layer.dtype, shape=wanted, axes=f"{axes}, that of y")
    dy = dy.swapaxes(0, 1) if layer.batch_first else dy
    return dy if timeline.lengths is None else timeline.clean(dy)
