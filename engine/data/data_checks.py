"""Checks of arguments that the data rooms share; each raises the project's one-sentence error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.errors import DataError, bad_input, bad_type
from engine.plain_arrays import host_integers


def bad_data(source: object, expected: str, got: object, hint: str = "") -> DataError:
    """Build a `DataError` in the one form that all messages share; `source` names the file or the series."""
    return DataError(str(bad_input(str(source), expected, got, hint)))


def require_ids(argument: str, ids: Any) -> NDArray[np.integer[Any]]:
    """Return `ids` (n,) as a host array of integers; an empty list is an empty array of int32."""
    expected = "a one-dimensional array of integers on the host"
    if isinstance(ids, str | bytes) or not hasattr(ids, "__len__"):
        raise bad_type(argument, expected, describe(ids), "pass a NumPy array or a list")
    array = host_integers(argument, ids, expected, "encode the text with a Vocabulary first")
    if array.ndim != 1:
        raise bad_input(argument, expected, f"shape {array.shape}", "flatten it first")
    return array.astype(np.int32) if array.size == 0 and isinstance(ids, list | tuple | range) else array
