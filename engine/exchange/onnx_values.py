"""What stands for a tensor of an ONNX graph while it is read: no numbers but those of constants, the meaning instead.

The graph is walked once, node by node.  Axes have letters: ``"0"`` and ``"1"`` are the first two axes of the file's x,
whose order in time and batch the first recurrent node tells; N is directions, or several ids of a step; F features, P
both leading axes as one, B the batch where time is gone, S the states of several layers and directions, ``"-"`` an axis
of length one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.exchange.parts import Part


class Unreadable(Exception):  # noqa: N818 - caught by the reader, which knows the node
    """A node does something that no layer here does; the text says what."""


@dataclass(frozen=True)
class Signal:
    """What comes out of the layers so far.

    Attributes
    ----------
    parts : the layers from x to here.
    axes : the letters of its axes.
    features : the size of F; None of ids.
    directions : the size of N.
    half : which of two directions is left; None for all.
    """

    parts: tuple[Part, ...]
    axes: tuple[str, ...]
    features: int | None
    directions: int = 1
    half: int | None = None

    def size(self, axis: str) -> int | str:
        """The size of an axis, or its letter where that is not known."""
        known = {"N": self.directions, "F": self.features, "-": 1}.get(axis)
        return axis if known is None else known

    def then(self, part: Part, features: int | None) -> Signal:
        """The signal behind one more layer, which keeps the axes."""
        return replace(self, parts=(*self.parts, part), features=features)

    def forms(self) -> Iterator[Signal]:
        """The signal in each form that a Reshape may give it; the numbers stay in their order."""
        yield from self._merged()
        for one in self._merged():  # last, because any size fits both axes as one
            axes = one.axes
            if axes[:2] in (("0", "1"), ("1", "0")):
                yield replace(one, axes=("P" + "".join(axes[:2]), *axes[2:]))
            elif axes[0].startswith("P"):
                yield replace(one, axes=(*axes[0][1:], *axes[1:]))

    def _merged(self) -> Iterator[Signal]:
        yield self
        axes = self.axes
        for gone in ("N", "-"):
            if gone in axes and self.size(gone) == 1:
                yield replace(self, axes=tuple(axis for axis in axes if axis != gone))
        if axes[-2:] == ("N", "F") and self.features is not None:
            yield replace(self, axes=(*axes[:-2], "F"), features=self.directions * self.features, directions=1)


@dataclass(frozen=True)
class State:
    """The last state of one direction of the layer that `parts` ends with."""

    parts: tuple[Part, ...]
    direction: int
    directions: int


@dataclass(frozen=True)
class States:
    """Last states of layers and directions along the axis S; one alone where S is gone."""

    items: tuple[State, ...]
    axes: tuple[str, ...]
    features: int

    def size(self, axis: str) -> int | str:
        """The size of an axis, or its letter where that is not known."""
        known = {"S": len(self.items), "F": self.features}.get(axis)
        return axis if known is None else known

    def forms(self) -> Iterator[States | Signal]:
        """The states in each form that a Reshape may give them."""
        yield self
        if "S" in self.axes and len(self.items) == 1:
            yield replace(self, axes=tuple(axis for axis in self.axes if axis != "S"))
        if self.axes == ("B", "S", "F"):
            yield self.joined()

    def joined(self) -> Signal:
        """The vector of each row that a Pool("last") gives: the state of each direction of one layer."""
        first = self.items[0]
        wanted = tuple(State(first.parts, d, first.directions) for d in range(first.directions))
        if self.items != wanted:
            raise Unreadable("states of several layers, or of one direction alone, in place of the last layer's")
        pool = Part("Pool", {"kind": "last", "directions": first.directions})
        return Signal((*first.parts, pool), ("B", "F"), first.directions * self.features)


@dataclass(frozen=True)
class Shape:
    """Sizes of axes: numbers, or the letter of an axis; `scalar` for one alone."""

    entries: tuple[int | str, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Tag:
    """A tensor of which only the meaning matters.

    Attributes
    ----------
    meaning : ``"zeros"``, ``"given"`` (an input for first states), ``"lengths"``, ``"steps"`` (0, 1, 2, ...),
        ``"valid"`` (which steps are), or ``"all"`` (the size of one axis, for each row).
    axis : the letter of the axis, of "steps" and "all".
    """

    meaning: str
    axis: str = ""


Value = Any  # a Signal, States, Shape, Tag, or the array of a constant


def signal(value: Value) -> Signal:
    """The value as what comes out of the layers."""
    if isinstance(value, States):
        value = value.joined() if "S" not in value.axes else value
    if not isinstance(value, Signal):
        raise Unreadable("something else than the output of the layer before")
    if value.half is not None:
        raise Unreadable("the output of one direction alone")
    return value


def constant(value: Value, what: str) -> np.ndarray:
    """The value as numbers that stand in the file."""
    if isinstance(value, Shape) and all(isinstance(entry, int) for entry in value.entries):
        found = np.array(value.entries, np.int64)
        return found[0] if value.scalar else found
    if not isinstance(value, np.ndarray | np.generic):
        raise Unreadable(f"{what} that is no constant of the file")
    return np.asarray(value)


def shape(value: Value) -> Shape:
    """The value as sizes of axes."""
    if isinstance(value, Shape):
        return value
    found = constant(value, "a size")
    if found.dtype.kind not in "iu" or found.ndim > 1:
        raise Unreadable("sizes that are no row of integers")
    return Shape(tuple(int(entry) for entry in np.atleast_1d(found)), found.ndim == 0)


def short(value: Any) -> float:
    """A number that the file holds in float32 as it was written: 0.1, and not 0.10000000149."""
    return float(str(np.float32(value)))
