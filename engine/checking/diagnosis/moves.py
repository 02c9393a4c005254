"""The right numbers in wrong places, in words: transposed, reversed, shifted, blocks exchanged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from engine.checking.diagnosis.pairs import ENOUGH, Pair

#: More exchanged places than this are called another order.
MANY = 4


def moved(pair: Pair) -> str:
    """Words for where the numbers of a gradient went; empty if they are not the right numbers."""
    return next(_moves(pair), "")


def _moves(pair: Pair) -> Iterator[str]:
    """The right numbers in wrong places: transposed, reversed, shifted, blocks exchanged."""
    claimed, numeric, time = pair.claimed, pair.numeric, pair.around.time_axis
    if claimed.ndim == 2 and min(claimed.shape) > 1 and pair.explained_by(numeric.T.reshape(claimed.shape)):
        yield "transposed" if claimed.shape[0] == claimed.shape[1] else "transposed, and reshaped to fit"
    for one, other in itertools.combinations(range(claimed.ndim if claimed.ndim > 2 else 0), 2):
        if claimed.shape[one] == claimed.shape[other] > 1 and pair.explained_by(numeric.swapaxes(one, other)):
            yield f"transposed: axes {one} and {other} exchanged"
    axes = sorted((axis for axis in range(claimed.ndim) if claimed.shape[axis] > 2), key=lambda axis: axis != time)
    if time in axes:
        yield from _shifts(pair, time)
    for axis in range(claimed.ndim):
        yield from _exchanged(pair, axis, [2, 3, 4])
    for axis in axes:
        yield from _shifts(pair, axis)
        yield from _exchanged(pair, axis, [claimed.shape[axis]])


def _shifts(pair: Pair, axis: int) -> Iterator[str]:
    claimed, numeric = (np.moveaxis(values, axis, 0) for values in (pair.claimed, pair.numeric))
    departs = np.moveaxis(pair.departs, axis, 0)
    if pair.explained_by(np.flip(pair.numeric, axis)):
        yield "reversed in time" if axis == pair.around.time_axis else f"reversed along axis {axis}"
    for by in (1, -1, 2, -2):
        here, there = (slice(by, None), slice(None, -by)) if by > 0 else (slice(None, by), slice(-by, None))
        moved = Pair(claimed[here], numeric[here], departs[here], pair.around)
        if departs[here].sum() >= ENOUGH and claimed[here].any() and moved.explained_by(numeric[there]):
            if axis == pair.around.time_axis:
                steps = "a step" if abs(by) == 1 else "two steps"
                yield f"shifted by {steps}: step t holds the gradient of step t{-by:+d}"
            yield f"shifted by {abs(by)} along axis {axis}: place k holds the gradient of k{-by:+d}"


def _exchanged(pair: Pair, axis: int, counts: list[int]) -> Iterator[str]:
    """Blocks along an axis that hold each other's gradients."""
    size = pair.claimed.shape[axis]
    for count in (count for count in counts if size % count == 0 and 1 < count <= 64):
        claimed, numeric, departs = (
            np.split(values, count, axis) for values in (pair.claimed, pair.numeric, pair.departs)
        )
        sources: list[int] = []
        for one, right, off in zip(claimed, numeric, departs, strict=True):
            block = Pair(one, right, off, pair.around)
            if not off.any():
                sources.append(len(sources))
                continue
            sources.append(next((k for k, other in enumerate(numeric) if block.explained_by(other)), -1))
        if sorted(sources) == list(range(count)):
            wrong = [str(k) for k, source in enumerate(sources) if k != source]
            those = " and ".join(wrong) if len(wrong) == 2 else ", ".join(wrong[:8]) + ", ..." * (len(wrong) > 8)
            if count == size and len(wrong) > MANY:
                yield f"the right numbers in another order along axis {axis}: a wrong index, or a reshape?"
            kind = f"places {those}" if count == size else f"blocks {those} of {count}"
            yield f"{kind} along axis {axis} exchanged"
