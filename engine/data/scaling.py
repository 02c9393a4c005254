"""Scaling to a range in which a network learns well: fitted once, on the training part only, and undone for reports.

Every scaler is `(x - offset) / scale` with two numbers a column; only how they are measured differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.checks import integer, number
from engine.data.data_checks import bad_data
from engine.data.matrices import array_of, require_finite, require_matrix
from engine.errors import bad_input, bad_type
from engine.plain_arrays import refuse_own_rules

_Floats = NDArray[np.float64]

# Below this a range is round-off of zero, and dividing by it could overflow.
_LEAST_RANGE = float(np.finfo(np.float64).tiny)


class Scaler:
    """What all scalers share; call `fit` first, and only once.

    Attributes
    ----------
    offset, scale : float64 (C,), or None before `fit`
        `scale` is 1 for a column that is constant in the training part: there it becomes 0, and later differences from
        the constant keep their size.
    """

    def __init__(self) -> None:
        self.offset: _Floats | None = None
        self.scale: _Floats | None = None

    def fit(self, values: NDArray[Any]) -> Self:
        """Measure offset and scale of each column of `values` (N, C), the training part alone; return the scaler.

        Raises
        ------
        InputError
            The scaler is already fitted.
        DataError
            `values` has no rows, a NaN or an infinity.
        """
        if self.offset is not None:
            hint = "make a new scaler: refitting would change the meaning of what was scaled before"
            raise bad_input("fit", "a scaler that is not fitted yet", "one that is", hint)
        table = require_matrix("values", values)
        if table.size == 0:
            expected = "at least one row and one column"
            raise bad_data("values", expected, f"shape {table.shape}", "give the training part")
        require_finite("values", table)
        low = table.min(axis=0)
        with np.errstate(over="ignore"):
            span = table.max(axis=0) - low
        if not np.isfinite(span).all():
            raise bad_data("values", "a range that float64 can hold", "one that overflows", "use a larger unit")
        self.offset, self.scale = self._measure(table, low, span)
        return self

    def transform(self, values: NDArray[Any]) -> _Floats:
        """Return `values` (..., C) scaled, as a new array."""
        offset, scale = self._fitted()
        with np.errstate(over="ignore"):  # numbers beyond float64 become infinite, which the user sees
            return (self._columns(values, len(offset)) - offset) / scale

    def inverse(self, values: NDArray[Any]) -> _Floats:
        """Return scaled `values` (..., C) in their own unit again."""
        offset, scale = self._fitted()
        with np.errstate(over="ignore"):
            return self._columns(values, len(offset)) * scale + offset

    def inverse_column(self, values: NDArray[Any], column: int) -> _Floats:
        """Return scaled `values` of any shape, all of one column (a forecast), in their own unit again."""
        offset, scale = self._fitted()
        place = integer("column", column, 0)
        if place >= len(offset):
            raise bad_input("column", f"an integer in 0..{len(offset) - 1}", place, "count the columns from 0")
        with np.errstate(over="ignore"):
            return _floats(values) * scale[place] + offset[place]

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `json.dumps` takes and `scaler_from_json` gives back as an equal scaler."""
        offset, scale = self._fitted()
        return {"type": type(self).__name__, "offset": offset.tolist(), "scale": scale.tolist()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scaler):
            return NotImplemented
        if type(self) is not type(other) or (self.offset is None) != (other.offset is None):
            return False
        return self.offset is None or self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # it changes when it is fitted

    def __repr__(self) -> str:
        state = "not fitted" if self.offset is None else f"{len(self.offset)} columns"
        return f"{type(self).__name__}({state})"

    def _measure(self, table: _Floats, low: _Floats, span: _Floats) -> tuple[_Floats, _Floats]:
        """Return offset (C,) and scale (C,) of `table` (N, C); `low` (C,) and `span` (C,) are its minimum and range.

        `table` may be overwritten: windows over a long series are large.
        """
        raise NotImplementedError

    def _fitted(self) -> tuple[_Floats, _Floats]:
        if self.offset is None or self.scale is None:
            hint = "call fit with the training part first"
            raise bad_input(type(self).__name__, "a fitted scaler", "one that is not fitted", hint)
        return self.offset, self.scale

    @staticmethod
    def _columns(values: NDArray[Any], count: int) -> _Floats:
        table = _floats(values)
        if table.ndim == 0 or table.shape[-1] != count:
            expected = f"shape (..., {count}), a column for each one fitted"
            raise bad_input("values", expected, f"shape {table.shape}", "use inverse_column for one column alone")
        return table


class MinMaxScaler(Scaler):
    """Smallest training value to 0, greatest to 1; later values may fall outside."""

    def _measure(self, table: _Floats, low: _Floats, span: _Floats) -> tuple[_Floats, _Floats]:
        return low, np.where(span < _LEAST_RANGE, 1.0, span)


class ZScoreScaler(Scaler):
    """Training mean to 0 and training standard deviation (divisor N) to 1."""

    def _measure(self, table: _Floats, low: _Floats, span: _Floats) -> tuple[_Floats, _Floats]:
        # Measured on the unit range, where squares neither overflow nor vanish, and where a constant column is exactly
        # 0: the plain mean of equal numbers is off by round-off, and would leave a deviation of 1e-17 to divide by.
        constant = span < _LEAST_RANGE
        width = np.where(constant, 1.0, span)
        table -= low
        table /= width
        return low + width * table.mean(axis=0), np.where(constant, 1.0, width * table.std(axis=0))


class Identity(Scaler):
    """Leave the values as they are, behind the same interface."""

    def _measure(self, table: _Floats, low: _Floats, span: _Floats) -> tuple[_Floats, _Floats]:
        return np.zeros(table.shape[1]), np.ones(table.shape[1])


_SCALERS: dict[str, type[Scaler]] = {kind.__name__: kind for kind in (MinMaxScaler, ZScoreScaler, Identity)}


def scaler_from_json(record: Mapping[str, Any]) -> Scaler:
    """Return the fitted scaler that `Scaler.to_json` described.

    Raises
    ------
    DataError
        The record is not one that `to_json` makes.
    """
    expected = f'a record {{"type": one of {", ".join(_SCALERS)}, "offset": [...], "scale": [...]}}'
    try:
        scaler = _SCALERS[record["type"]]()
        if not all(isinstance(record[key], list | tuple) for key in ("offset", "scale")):
            raise TypeError
        offset, scale = (np.array([number(key, v, low=-math.inf) for v in record[key]]) for key in ("offset", "scale"))
        sound = offset.ndim == 1 and offset.size > 0 and offset.shape == scale.shape
        if not (sound and np.isfinite(offset).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError
    except Exception:  # a record of someone's own making may raise anything
        raise bad_data(
            "scaler", expected, repr(record) if isinstance(record, str) else record, "use what Scaler.to_json returned"
        ) from None
    scaler.offset, scaler.scale = offset, scale
    return scaler


def _floats(values: Any) -> _Floats:
    values = array_of("values", values)
    refuse_own_rules("values", values)
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        got = f"dtype {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
        raise bad_type("values", "a float array on the host", got, "convert it with .astype(float)")
    return values.astype(np.float64)
