"""The walk over layers and directions: the one place that knows how they are stacked (rule 10).

Forward, predict, backward, the gradient check's copies and its forward mode all use this walk.  Each passes in the work
of one layer and direction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Array = Any  # of the layer's backend


class Direction(NamedTuple):
    """One layer and direction.

    Attributes
    ----------
    layer, reverse : which one.
    slot : its place in a state (L*N, B, H), which is layer-major.
    end : how the names of its parameters end, such as ``_l0_reverse``.
    """

    layer: int
    reverse: bool
    slot: int
    end: str


@functools.cache  # a layer asks at every pass
def directions(layer: int, count: int) -> tuple[Direction, ...]:
    """The directions of a layer, forward first; `count` is 1 or 2."""
    return tuple(Direction(layer, d == 1, layer * count + d, f"_l{layer}" + "_reverse" * d) for d in range(count))


def every_direction(layers: int, count: int) -> Iterator[Direction]:
    """All directions of all layers, in the order of their slots."""
    for layer in range(layers):
        yield from directions(layer, count)


def forward_walk(
    layers: int,
    count: int,
    x: Array,
    enter: Callable[[int, Array], Array],
    run: Callable[[Direction, Array], Array],
    flip: Callable[[Array], Array],
    join: Callable[[list[Array]], Array],
) -> Array:
    """From the bottom layer to the top: x -> y.

    Parameters
    ----------
    enter : what happens to the input of a layer, such as a dropout mask.
    run : the output of one direction from its input in processing order.
    flip : from time order into the reverse direction's processing order, and back.
    join : joins the outputs of two directions along their features.
    """
    for layer in range(layers):
        x = enter(layer, x)
        outputs = []
        for direction in directions(layer, count):
            y = run(direction, flip(x) if direction.reverse else x)
            outputs.append(flip(y) if direction.reverse else y)
        x = join(outputs) if count > 1 else outputs[0]
    return x


def backward_walk(
    layers: int,
    count: int,
    dy: Array,
    leave: Callable[[int, Array], Array],
    run: Callable[[Direction, Array], Array],
    flip: Callable[[Array], Array],
    width: int,
) -> Array:
    """Reverse of `forward_walk`: dy -> dx, from the top layer to the bottom.

    Parameters
    ----------
    dy : (T, B, N*width), or None for zeros.
    leave : reverse of `enter`.
    run : gradient of the input of one direction from that of its output, which may be None; in processing order.
    width : features of the output of one direction.
    """
    for layer in reversed(range(layers)):
        dx: Array = None
        for direction in directions(layer, count):
            d = int(direction.reverse)
            part = dy if dy is None or count == 1 else dy[:, :, d * width : (d + 1) * width]  # x = join(outputs)
            if part is not None and direction.reverse:
                part = flip(part)  # outputs = flip(y)
            dx_d = run(direction, part)
            dx_d = flip(dx_d) if direction.reverse else dx_d  # y = run(flip(x))
            dx = dx_d if dx is None else dx + dx_d
            del dx_d  # as large as x: the layers below need the room
        dy = leave(layer, dx)  # x = enter(x)
    return dy
