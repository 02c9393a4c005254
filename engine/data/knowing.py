"""Which values of a series are known when a forecast is made: filled cells are not known, nor is their filling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.plain_arrays import refuse_own_rules


def filled_cells(filled: NDArray[np.bool_] | None, table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The filled cells (rows, D) of `table`, as a new array."""
    if filled is None:
        return np.zeros(table.shape, dtype=bool)
    expected = f"a bool array of the shape of the values, {table.shape}"
    refuse_own_rules("filled", filled, expected)
    if not isinstance(filled, np.ndarray) or filled.dtype != bool:
        got = describe(filled) if not isinstance(filled, np.ndarray) else f"dtype {filled.dtype}"
        raise bad_type("filled", expected, got, "take it from load_series")
    if filled.shape != table.shape and (table.shape[1] > 1 or filled.shape != table.shape[:1]):
        raise bad_input("filled", expected, f"shape {filled.shape}", "take it from load_series")
    return filled.reshape(table.shape).copy()


def as_known(
    x: NDArray[np.float64], table: NDArray[np.float64], gaps: NDArray[np.bool_], origins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The windows `x` (N, T, D) as they are known at their origins, and the last measured rows (N, D) before these."""
    rows = np.arange(len(table))[:, np.newaxis]
    measured = np.maximum.accumulate(np.where(gaps, -1, rows), axis=0)
    measured = np.where(measured < 0, rows, measured)  # before the first measured row there is nothing else
    last = measured[origins - 1]
    open_ = last < origins[:, np.newaxis] - 1  # windows (N, D) that end within a gap
    if open_.any():
        x = x.copy()
        for column in np.flatnonzero(open_.any(axis=0)):
            chosen = np.flatnonzero(open_[:, column])
            window = origins[chosen, np.newaxis] + np.arange(-x.shape[1], 0)
            x[chosen, :, column] = table[np.minimum(window, last[chosen, column, np.newaxis]), column]
        frozen(x)
    return x, last


def frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same array, made read-only."""
    array.flags.writeable = False
    return array
