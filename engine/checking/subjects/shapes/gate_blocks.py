"""Which inputs of a recurrent function hold gates side by side, and along which axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: As many gates may be guessed from the shapes: of an LSTM, of a GRU.
GUESSED = (4, 3)


def gates_by_name(
    arrays: Mapping[str, Any], gates: Sequence[str] | None, gate_axis: int | None
) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    """The names of the gate blocks of each array that has some, and the axis along which they lie.

    Parameters
    ----------
    arrays : the inputs by name.
    gates : their names in order, such as ``"ifgo"``; None guesses whether there are some, and calls them by place.
    gate_axis : the axis along which they lie, negative from the end; None takes the one where the shapes fit.
    """
    shapes = {name: tuple(array.shape) for name, array in arrays.items() if 1 <= array.ndim <= 2}
    axes = (-1, 0) if gate_axis is None else (gate_axis,)
    for count in GUESSED if gates is None else (len(gates),):
        names = tuple(gates) if gates is not None else tuple(f"{k + 1} of {count}" for k in range(count))
        widths = [(_recurrent(shapes, count, axis, gates is None), axis) for axis in axes]
        if gates is not None:  # it is known that there are some: they need not look like those of a recurrent net
            widths += [(_divisible(shapes, count, axis), axis) for axis in axes]
        for width, axis in widths:
            own = {name: _place(shape, axis) for name, shape in shapes.items() if width and _size(shape, axis) == width}
            if own:
                return dict.fromkeys(own, names), own
    return {}, {}


def _place(shape: tuple[int, ...], axis: int) -> int:
    """The axis of an array; a bias has but one."""
    return 0 if len(shape) == 1 else axis % 2


def _size(shape: tuple[int, ...], axis: int) -> int:
    return shape[_place(shape, axis)]


def _recurrent(shapes: Mapping[str, tuple[int, ...]], count: int, axis: int, guess: bool) -> int:
    """The length of all gates together, if there is a recurrent weight; else 0.  A guess needs more evidence."""
    weights = [shape for shape in shapes.values() if len(shape) == 2]
    widths = [shape[_place(shape, axis)] for shape in weights]
    for shape in sorted(weights, key=lambda one: -one[_place(one, axis)]):
        width, other = shape[_place(shape, axis)], shape[1 - _place(shape, axis)]
        hidden, rest = divmod(width, count)
        if rest or hidden < 2:
            continue
        states = any(one is not shape and one[-1] == hidden for one in weights)
        beside = width in widths[: weights.index(shape)] + widths[weights.index(shape) + 1 :]
        fused = other > hidden and any(other - hidden in one for one in shapes.values() if one is not shape)
        if (states or not guess) and ((other == hidden and (beside or not guess)) or fused):
            return width
    return 0


def _divisible(shapes: Mapping[str, tuple[int, ...]], count: int, axis: int) -> int:
    """The length of a bias, or the largest of a weight, that is a multiple of the number of gates."""
    weights = [_size(shape, axis) for shape in shapes.values() if len(shape) == 2]
    biases = [shape[0] for shape in shapes.values() if len(shape) == 1 and (shape[0] in weights or not weights)]
    return max((one for one in biases or weights if one % count == 0), default=0)
