"""Which entries of a gradient depart, in words: a column, a time step, the diagonal, one entry."""

from __future__ import annotations

import math

import numpy as np

#: So many entries or indices are listed one by one.
LISTED = 4
PLURAL = {"entry": "entries", "index": "indices"}


def extent(
    departs: np.ndarray, silent: np.ndarray | None = None, time_axis: int | None = None, batch_axis: int | None = None
) -> str:
    """Words for the entries that are true.

    Parameters
    ----------
    departs : entries that depart.
    silent : entries that cannot depart, because both values are 0 or they were not checked; they fit any description.
    time_axis, batch_axis : the axes that count time steps and rows of a batch, if they are known.

    Returns
    -------
    str
        such as ``"only columns 15 to 19"``; empty if no entry departs, or the tensor has only one.
    """
    silent = np.zeros_like(departs) if silent is None else silent & ~departs
    count = int(np.count_nonzero(departs))
    if count == 0 or departs.size == 1:
        return ""
    if (departs | silent).all():
        return "every entry that is not 0" if silent.any() else "every entry"
    if count == 1:
        return f"one entry: {_place(departs)}"
    axes = _Axes(departs.shape, time_axis, batch_axis)
    box = axes.of(departs, silent)
    if box is not None and 1 < len(box) and count <= LISTED and count < math.prod(map(len, box.values())):
        box = None  # a block of which most was not looked at
    other = ~departs & ~silent
    without = axes.of(other, silent)
    if box is not None and (without is None or _simple(box) or not _simple(without)):
        return _box(axes, box)
    if np.count_nonzero(other) == 1:
        return f"all but one entry: {_place(other)}"
    named = _triangle(departs, silent)
    if not named and without is not None:
        named = "all but " + " in ".join(axes.words(axis, indices) for axis, indices in without.items())
    if named:
        return named
    if count <= LISTED:
        places = [f"[{', '.join(map(str, place))}]" for place in np.argwhere(departs).tolist()]
        return f"{count} entries: {', '.join(places)}"
    within = axes.bounds(departs, silent)
    few = {
        axis: indices
        for axis, indices in within.items()
        if 2 * len(indices) <= departs.shape[axis] and _simple({0: indices})
    }
    inside = ", all in " + " and ".join(axes.words(*one) for one in few.items()) if few else ""
    return f"{count} of {departs.size} entries{inside}"


class _Axes:
    """The axes of a tensor, with a word for what each of them counts."""

    def __init__(self, shape: tuple[int, ...], time_axis: int | None, batch_axis: int | None) -> None:
        self.shape = shape
        plain = ["entry"] if len(shape) == 1 else ["row", "column"] if len(shape) == 2 else []
        self.singular = plain or [f"index of axis {axis}" for axis in range(len(shape))]
        if batch_axis is not None and batch_axis < len(shape):
            self.singular[batch_axis] = "batch row"
        if time_axis is not None and time_axis < len(shape):
            self.singular[time_axis] = "time step"

    def of(self, marked: np.ndarray, silent: np.ndarray) -> dict[int, np.ndarray] | None:
        """By axis the indices of a block that holds all marked entries and no others; None if there is none."""
        found = self.bounds(marked, silent)
        for box in (*({axis: indices} for axis, indices in found.items()), found):
            block: np.ndarray = np.ones(self.shape, dtype=bool)
            for axis, indices in box.items():
                inside = np.isin(np.arange(self.shape[axis]), indices)
                block &= inside.reshape([-1 if one == axis else 1 for one in range(len(self.shape))])
            if box and (marked | silent)[block].all():
                return box
        return None

    def bounds(self, marked: np.ndarray, silent: np.ndarray) -> dict[int, np.ndarray]:
        """By axis the indices at which something is marked, except for axes where all are."""
        found = {}
        for axis in range(len(self.shape)):
            others = tuple(one for one in range(len(self.shape)) if one != axis)
            some: np.ndarray = np.asarray(marked.any(axis=others))
            if not (some | silent.all(axis=others)).all():
                found[axis] = np.flatnonzero(some)
        return found

    def words(self, axis: int, indices: np.ndarray) -> str:
        """Such as ``columns 15 to 19``, ``row 4 (the last)``, ``indices 1 to 2 of axis 0``."""
        word, of, rest = self.singular[axis].partition(" of ")
        many = PLURAL.get(word, f"{word}s")
        gaps = np.diff(indices)
        if len(indices) == 1:
            last = indices[0] == self.shape[axis] - 1 and not of
            return f"{word} {indices[0]}{of}{rest}" + " (the last)" * bool(last)
        if (gaps == 1).all():
            return f"{many} {indices[0]} to {indices[-1]}{of}{rest}"
        if _every_second(indices):
            return f"every second {word}{of}{rest} from {indices[0]} to {indices[-1]}"
        if len(indices) <= 2 * LISTED:
            return f"{many} {', '.join(map(str, indices))}{of}{rest}"
        return f"{len(indices)} of {self.shape[axis]} {many}{of}{rest}"


def _simple(box: dict[int, np.ndarray]) -> bool:
    """Whether the indices along each axis follow each other, one by one or two by two."""
    return all(len(set(np.diff(indices).tolist()) | {1}) == 1 or _every_second(indices) for indices in box.values())


def _every_second(indices: np.ndarray) -> bool:
    return len(indices) > 2 and bool((np.diff(indices) == 2).all())


def _box(axes: _Axes, box: dict[int, np.ndarray]) -> str:
    axis, indices = next(iter(box.items()))
    if len(box) == 1 and axes.singular[axis] == "time step":
        steps = axes.words(axis, indices).removeprefix("time steps ").removeprefix("time step ")
        return f"a whole time step: {steps}" if len(indices) == 1 else f"whole time steps: {steps}"
    if len(box) == 1 and axes.singular[axis] == "batch row" and indices.tolist() == [axes.shape[axis] - 1]:
        return f"only the last batch row: {indices[0]}"
    return "only " + " in ".join(axes.words(axis, indices) for axis, indices in box.items())


def _triangle(departs: np.ndarray, silent: np.ndarray) -> str:
    """Words for the diagonal, and what lies on one side of it."""
    if departs.ndim != 2 or min(departs.shape) < 3:
        return ""
    rows, columns = np.indices(departs.shape)
    regions = {
        "the diagonal": rows == columns,
        "all but the diagonal": rows != columns,
        "all above the diagonal": rows < columns,
        "all below the diagonal": rows > columns,
        "the diagonal and all above it": rows <= columns,
        "the diagonal and all below it": rows >= columns,
    }
    for words, region in regions.items():
        if not (departs & ~region).any() and (departs | silent)[region].all():
            return words
    return ""


def _place(marked: np.ndarray) -> str:
    return f"[{', '.join(map(str, np.argwhere(marked)[0].tolist()))}]"
