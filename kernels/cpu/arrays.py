"""Arrays made ready for compiled code: lines of numbers, with the steps from row to row."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Array = np.ndarray


def rows(a: Array) -> Array:
    """The array itself if it is writeable and its rows lie next to each other, else a copy.

    A read-only array is copied too: to Numba it is another type, for which it would compile once more.
    """
    return a if a.flags.carray else np.array(a, order="C")


@functools.cache
def nothing(axes: int, dtype: Any) -> Array:
    """An empty array, in place of one that a cell does not have.  Nobody reads or writes it."""
    return np.empty((0,) * axes, dtype)


def line(a: Array | None, dtype: Any) -> Array:
    """The array as one line; an empty one for None."""
    return nothing(1, dtype) if a is None else rows(a).reshape(-1)


def matrix(a: Array) -> tuple[Array, int, int]:
    """A matrix as (line, step from row to row, step from column to column); one of the steps is 1."""
    if a.flags.writeable and a.flags.f_contiguous:
        return a.T.reshape(-1), 1, a.shape[0]
    return line(a, a.dtype), a.shape[1], 1


@functools.lru_cache(maxsize=64)
def plain(count: int) -> Array:
    """0, 1, 2, ...: the numbers of rows; it is only read."""
    return np.arange(count)


@functools.lru_cache(maxsize=64)
def _all_steps(steps: int, batch: int) -> tuple[Array, Array]:
    """The result of `in_order` for rows that all run to the end; it is only read."""
    return np.full(batch, steps, np.int64), np.arange(batch)


def in_order(lengths: Array | None, steps: int, batch: int) -> tuple[Array, Array]:
    """The lengths (B,), and the rows from the longest to the shortest."""
    if lengths is None:
        return _all_steps(steps, batch)
    ends = np.array(lengths, dtype=np.int64)
    return ends, np.argsort(-ends, kind="stable")
