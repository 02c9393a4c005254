"""The parameters of a recurrent layer: names, shapes and first values, read off its cell."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from engine.checks import describe, integer
from engine.errors import bad_input
from engine.layers.walk import Direction, every_direction
from kernels.cells import Cell

Array = Any  # of the layer's backend


def shapes_of(
    cell: Cell, inputs: int, units: int, width: int, layers: int, directions: int, bias: bool
) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by name, in PyTorch's order.

    Parameters
    ----------
    inputs, units, width : D, H, and P, the width of h; layers, directions : L and N.
    bias : whether there are biases, in a cell that may have them.
    """
    rows, recurrent, biased = len(cell.gates) * units, len(cell.recurrent) * units, bias and cell.biased
    shapes: dict[str, tuple[int, ...]] = {}
    for direction in every_direction(layers, directions):
        features = inputs if direction.layer == 0 else directions * width
        own: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features)}
        own |= {"weight_hh": (recurrent, width)} if recurrent else {}
        own |= {"bias_ih": (rows,)} if biased else {}
        own |= {"bias_hh": (recurrent,)} if biased and recurrent else {}
        own |= {"weight_hr": (width, units)} if cell.projected else {}
        own |= dict.fromkeys(cell.own, (units,))
        shapes |= {name + direction.end: shape for name, shape in own.items()}
    return shapes


def of_direction(cell: Cell, direction: Direction, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The entries of one layer and direction, by name without the ending."""
    return {name: arrays[full] for name, full in _names(cell.own, direction.end) if full in arrays}


@functools.lru_cache(maxsize=1024)
def _names(own: tuple[str, ...], end: str) -> tuple[tuple[str, str], ...]:
    """Each name of a direction's parameters, without the ending and with it."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", *own)
    return tuple((name, name + end) for name in names)


def checked_projection(cell: Cell, proj_size: Any, units: int) -> int:
    """P, or 0 for a cell without a projection."""
    size = integer("proj_size", proj_size, 0)
    if cell.projected is None and size:
        raise bad_input("proj_size", f"0 for the cell {cell.name}, which has no projection", describe(proj_size))
    if cell.projected is not None and not 0 < size < units:
        raise bad_input("proj_size", f"the width of h, 1..{units - 1}", describe(proj_size))
    return size
