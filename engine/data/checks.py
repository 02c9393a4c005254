"""Checks of arguments that the data rooms share; each raises the project's one-sentence error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.errors import DataError, bad_input, bad_type
from engine.plain_arrays import host_integers, refuse_own_rules


def bad_data(source: object, expected: str, got: object, mend: str = "") -> DataError:
    """Build a `DataError` in the one form that all messages share; `source` names the file or the series."""
    return DataError(str(bad_input(str(source), expected, got, mend)))


def require_ids(argument: str, ids: Any) -> NDArray[np.integer[Any]]:
    """Return `ids` (n,) as a host array of integers; an empty list is an empty array of int32."""
    expected = "a one-dimensional array of integers on the host"
    if isinstance(ids, str | bytes) or not hasattr(ids, "__len__"):
        raise bad_type(argument, expected, describe(ids), "pass a NumPy array or a list")
    array = host_integers(argument, ids, expected, "encode the text with a Vocabulary first")
    if array.ndim != 1:
        raise bad_input(argument, expected, f"shape {array.shape}", "flatten it first")
    return array.astype(np.int32) if array.size == 0 and isinstance(ids, list | tuple | range) else array


def require_matrix(argument: str, values: Any) -> NDArray[np.float64]:
    """Return `values` (N, C), or (N,) as one column, as a new float64 array (N, C)."""
    expected = "a float array (N,) or (N, C) on the host"
    refuse_own_rules(argument, values, expected)
    if not isinstance(values, np.ndarray):
        raise bad_type(argument, expected, describe(values), "load it with load_series, or make it a NumPy array")
    if values.dtype.kind != "f":
        raise bad_type(argument, expected, f"dtype {values.dtype}", "convert it with .astype(float)")
    if values.ndim not in (1, 2):
        raise bad_input(argument, expected, f"shape {values.shape}", "give rows (time) by columns")
    return np.array(values if values.ndim == 2 else values[:, np.newaxis], dtype=np.float64)


def require_finite(argument: str, values: NDArray[np.float64], first_row: int = 0) -> None:
    """Raise a `DataError` for the first cell of `values` (N, C) that is NaN or infinite."""
    good = np.isfinite(values)
    if not good.all():
        row, column = (int(k) for k in np.argwhere(~good)[0])
        mend = 'fill the gaps first, for example with load_series(..., missing="interpolate")'
        where = f"{values[row, column]} at row {row + first_row}, column {column}"
        raise bad_data(argument, "finite numbers", where, mend)
