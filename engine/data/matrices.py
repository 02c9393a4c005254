"""Tables of numbers as arguments: arrays, and data frames, which become arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.data.data_checks import bad_data
from engine.data.frames import frame_matrix
from engine.errors import bad_input, bad_type
from engine.plain_arrays import refuse_own_rules


def array_of(argument: str, values: Any) -> Any:
    """Return the numbers (N, C) of a data frame, NaN where a cell is missing; return anything else as it is."""
    found = None if isinstance(values, np.ndarray) else frame_matrix(argument, values)
    return values if found is None else found


def require_matrix(argument: str, values: Any) -> NDArray[np.float64]:
    """Return `values` (N, C), (N,) as one column, or a data frame of numbers, as a new float64 array (N, C)."""
    expected = "a float array (N,) or (N, C) on the host, or a data frame"
    values = array_of(argument, values)
    refuse_own_rules(argument, values, expected)
    if not isinstance(values, np.ndarray):
        raise bad_type(argument, expected, describe(values), "load it with load_series, or make it a NumPy array")
    if values.dtype.kind != "f":
        raise bad_type(argument, expected, f"dtype {values.dtype}", "convert it with .astype(float)")
    if values.ndim not in (1, 2):
        raise bad_input(argument, expected, f"shape {values.shape}", "give rows (time) by columns")
    return np.array(values if values.ndim == 2 else values[:, np.newaxis], dtype=np.float64)


def require_numbers(argument: str, values: Any) -> NDArray[np.float64]:
    """Return `values`, an array or lists of numbers, as a float64 array of the same shape."""
    refuse_own_rules(argument, values)
    if isinstance(values, memoryview | bytes | bytearray):
        raise bad_type(argument, "an array of numbers", describe(values))
    try:
        array = np.asarray(values)
    except Exception:  # lists of different lengths, an object whose __array__ fails
        raise bad_type(argument, "an array of numbers", describe(values)) from None
    if array.dtype.kind not in "fiu":
        raise bad_type(argument, "an array of numbers", f"dtype {array.dtype}")
    return array.astype(np.float64)


def require_finite(argument: str, values: NDArray[np.float64], first_row: int = 0) -> None:
    """Raise a `DataError` for the first cell of `values` (N, C) that is NaN or infinite."""
    good = np.isfinite(values)
    if not good.all():
        row, column = (int(k) for k in np.argwhere(~good)[0])
        hint = 'fill the gaps first, for example with load_series(..., missing="interpolate")'
        where = f"{values[row, column]} at row {row + first_row}, column {column}"
        raise bad_data(argument, "finite numbers", where, hint)
