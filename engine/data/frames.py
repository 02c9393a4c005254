"""Data frames of any library, through narwhals, which is imported when something may be one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.data.data_checks import bad_data
from engine.data.table import Table
from engine.errors import DataError, bad_type


class FrameTable(Table):
    """The columns of a data frame. Its index is not a column; null, NaN and NA are missing cells."""

    def __init__(self, names: Sequence[str], columns: Sequence[Any], source: str, index: Any = None) -> None:
        super().__init__(names, np.arange(len(columns[0]) if columns else 0), source)
        self._columns = columns  # narwhals Series
        self._index = index  # the same, named in `labels`
        if index is not None:
            self.labels = (str(index.name),)

    def cells(self, name: str) -> list[str]:
        """Return the cells of column `name` as text; times are written as ISO 8601."""
        column = self._index if name in self.labels else self._columns[self.place(name)]
        if str(column.dtype).startswith("Datetime") and column.dtype.time_zone is None:
            return _written(column.to_numpy().astype("datetime64[us]"))
        missing = column.is_null().to_list()
        return ["" if gap else _text(value) for gap, value in zip(missing, column.to_list(), strict=True)]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return column `name` (N,), NaN where a cell is missing."""
        column = self._columns[self.place(name)]
        if column.dtype.is_numeric():
            values = np.asarray(_floats(column), dtype=np.float64)
        elif str(column.dtype) == "Object" or column.is_null().all():
            values = self._objects(column, name)
        else:
            raise self._no_numbers(name, f"{column.dtype}")
        return self.sound(name, values, integers=column.dtype.is_integer())

    def _objects(self, column: Any, name: str) -> NDArray[np.float64]:
        """Return the numbers of a column of Python objects."""
        values = np.full(len(column), np.nan)
        for row, (gap, value) in enumerate(zip(column.is_null().to_list(), column.to_list(), strict=True)):
            if gap:
                continue
            if isinstance(value, bool) or not hasattr(value, "__float__") or hasattr(value, "__len__"):
                raise self._no_numbers(name, f"{describe(value)} in row {row}")
            values[row] = float(value)
        return values

    def _no_numbers(self, name: str, got: str) -> DataError:
        hint = "choose another column, or convert this one first"
        return bad_data(self.source, f"numbers in column {name!r}", got, hint)


def frame_table(argument: str, obj: Any) -> FrameTable | None:
    """Return a data frame, or one column of one, as a table; None if `obj` is none.

    Raises
    ------
    InputTypeError
        It is a lazy frame, whose data is not in memory yet; or two of its columns have the same name.
    """
    try:
        import narwhals as nw
    except ImportError:  # it comes with the engine; without it, there are no frames
        return None
    expected = "a data frame in memory whose columns have different names"
    try:
        frame = nw.from_native(obj, allow_series=True, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            raise bad_type(argument, expected, describe(obj), "collect it first, for example with .collect()")
        if isinstance(frame, nw.Series):
            names = [str(frame.name if frame.name is not None else 0)]
            return FrameTable(names, [frame], describe(obj), _index(frame, names))
        if not isinstance(frame, nw.DataFrame):
            return None
        names = [str(name) for name in frame.columns]
        columns = [frame.get_column(name) for name in frame.columns]
    except nw.exceptions.NarwhalsError as error:
        got = f"{describe(obj)} ({' '.join(str(error).split())[:80]})"
        raise bad_type(argument, expected, got, "give its columns different names") from None
    if not columns:
        raise bad_data(describe(obj), "a data frame with columns", "one without", "give the data")
    return FrameTable(names, columns, describe(obj), _index(frame, names))


def frame_matrix(argument: str, obj: Any) -> NDArray[np.float64] | None:
    """Return all columns (N, C) of a data frame as numbers, NaN where a cell is missing; None if `obj` is none."""
    table = frame_table(argument, obj)
    if table is None:
        return None
    columns = [table.numbers(name) for name in table.names]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))


def _index(frame: Any, names: Sequence[str]) -> Any:
    """Return the index of a pandas-like frame or column, if it holds times or texts, as a narwhals Series."""
    import narwhals as nw

    index = nw.maybe_get_index(frame)
    if index is None or getattr(index, "nlevels", 1) > 1:
        return None
    name = str(index.name if index.name is not None else "index")
    if name in names or not (
        hasattr(index, "asfreq") or hasattr(index, "tz_localize") or index.dtype.kind not in "biufc"
    ):
        return None
    return nw.from_native(index.to_series(name=name), series_only=True)


def _floats(column: Any) -> Any:
    """Return a numeric column (N,) in float64, NaN where a cell is missing."""
    import narwhals as nw

    return column.cast(nw.Float64).to_numpy()


def _written(times: NDArray[np.datetime64]) -> list[str]:
    """Return times without a zone as text, with no more decimals than necessary; "" for a missing time."""
    known = times[~np.isnat(times)].astype(np.int64)
    unit: Any = next(
        (unit for unit, size in (("D", 86_400_000_000), ("s", 1_000_000)) if not (known % size).any()), "us"
    )
    return ["" if text == "NaT" else text for text in np.datetime_as_string(times, unit=unit).tolist()]


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value).strip()
