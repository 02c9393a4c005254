"""Numeric series from files and data frames: a strict check of every number, and a note on every gap."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, switch
from engine.data.arranging import arrange
from engine.data.data_checks import bad_data
from engine.data.reading import read_table
from engine.data.table import ArrayTable, Table, listed
from engine.data.times import Times
from engine.errors import bad_input, bad_type

_LEAST_ROWS = 2


@dataclass(frozen=True)
class Series:
    """A numeric series, one row a time step.

    Attributes
    ----------
    values : float64 (N, C)
        Finite; the columns in the order they were asked for. The first one is the one to forecast.
    names : tuple of C strings
    filled : bool (N, C)
        True where a cell was missing and was filled by interpolation: no score may count it as known.
    source : str
        The file it came from.
    times : Times or None
        The times of the rows, without those that were inserted.
    notes : tuple of str
        Notes for the user on the order of the rows and their gaps, a sentence each.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    filled: NDArray[np.bool_]
    source: str
    times: Times | None = None
    notes: tuple[str, ...] = ()

    @property
    def filled_count(self) -> int:
        """How many missing cells were filled by interpolation."""
        return int(self.filled.sum())


def load_series(
    path: str | os.PathLike[str] | Any,
    column: str | Sequence[str] | None = None,
    missing: str = "error",
    *,
    decimal: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    skip: int = 0,
    time: str | None = None,
    sort: bool = False,
    regular: bool = False,
) -> Series:
    """Read a series from a CSV file, an NPY file or a data frame; a file's content decides what it is, not its name.

    Parameters
    ----------
    path : file name, or data frame
        What `read_table` takes.
    column : str, list of str, or None
        The column or columns wanted. None takes the only column of a table, and all columns of an NPY file.
    missing : {"error", "interpolate"}
        A missing cell is an empty one, NA, N/A, NaN, null or a single point, in upper or lower case. "interpolate"
        fills it on the straight line, by row number, between the known values around it; before the first and after
        the last known value it repeats that value. The filling of a gap uses the value after it. So cut `windows` with
        `filled`: then no window sees that value too early, and no filled cell is scored.
    decimal, delimiter, encoding, skip
        How a text file is written, if that cannot be found from the file: see `read_table`.
    time : str, optional
        The column with the times of the rows; "none" for none. If left out, the column that looks like times is taken.
        The rows must go from the oldest to the newest, and no two may have the same time.
    sort : bool
        Sort the rows by their times.
    regular : bool
        Insert the rows that are missing by the usual step of the times (calendar months and weekdays are steps too) as
        missing cells, which `missing` has to fill.

    Raises
    ------
    DataError
        The file or a cell in it cannot be used, or could be read in two ways; the message names the line and the
        column, and the option that helps.
    InputError
        An option has no valid value.
    """
    if not isinstance(missing, str) or missing not in ("error", "interpolate"):
        raise bad_input("missing", '"error" or "interpolate"', describe(missing), "choose one of these")
    wanted = _wanted_columns(column)
    if time is not None and not isinstance(time, str):
        raise bad_type(
            "time", "the name of a column, or None", describe(time), 'give "none" if there is no such column'
        )
    sorted_, regular_ = switch("sort", sort), switch("regular", regular)
    table = read_table(path, decimal=decimal, delimiter=delimiter, encoding=encoding, skip=skip)
    return series_from(table, wanted, interpolate=missing == "interpolate", time=time, sort=sorted_, regular=regular_)


def series_from(
    table: Table,
    columns: Sequence[str] | None,
    *,
    interpolate: bool,
    time: str | None = None,
    sort: bool = False,
    regular: bool = False,
) -> Series:
    """Return the `columns` of a table as a series; None and the other parameters as in `load_series`."""
    if columns is None:
        if len(table.names) > 1 and not isinstance(table, ArrayTable):
            hint = "say which column is wanted, for example with --column NAME"
            raise bad_data(table.source, f"a column named among {listed(table.names)}", "none", hint)
        columns = table.names
    values = np.stack([table.numbers(name) for name in columns], axis=1)
    if len(values) < _LEAST_ROWS:
        raise bad_data(table.source, f"at least {_LEAST_ROWS} rows of data", len(values), "give a longer series")
    empty = np.asarray(np.isnan(values).all(axis=1))
    rows, times, notes = arrange(table, columns, empty, time, sort=sort, regular=regular)
    inserted = rows < 0
    if inserted.any() and not interpolate:
        hint = "add --missing interpolate, or leave --regular out"
        got = f"{int(inserted.sum())} rows that are missing"
        raise bad_data(table.source, "a row at every step for --regular without --missing interpolate", got, hint)
    values = np.where(inserted[:, np.newaxis], np.nan, values[rows])
    gaps = np.isnan(values)
    if gaps.any():
        _fill(table, values, gaps, columns, rows, interpolate=interpolate)
    doubts = filter(None, map(table.note, columns))
    return Series(values, tuple(columns), gaps, table.source, times, (*notes, *doubts))


def _wanted_columns(column: object) -> list[str] | None:
    if column is None:
        return None
    names = [column] if isinstance(column, str) else column
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise bad_type(
            "column", "a column name or a list of them", describe(column), "use the names in the header line"
        )
    if not names:
        raise bad_input("column", "at least one column name", "an empty list", "leave it out or name a column")
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise bad_input("column", "each column once", f"{twice[0]!r} twice", "name it once")
    return list(names)


def _fill(
    table: Table,
    values: NDArray[np.float64],
    gaps: NDArray[np.bool_],
    names: Sequence[str],
    rows: NDArray[np.int64],
    *,
    interpolate: bool,
) -> None:
    """Fill the gaps in `values` (M, C), or raise if they must not be filled or a column has no known value.

    `rows` (M,) are those of the table.
    """
    if not interpolate:
        count = int(gaps.sum())
        row, place = (int(k) for k in np.argwhere(gaps)[0])
        got = f"{count} missing cell{'s' if count > 1 else ''}, the first in {table.where(rows[row], names[place])}"
        hint = 'fill them linearly with --missing interpolate (missing="interpolate"), or correct the data'
        raise bad_data(table.source, "a number in every cell", got, hint)
    at = np.arange(len(values))
    for place, name in enumerate(names):
        gap = gaps[:, place]
        if gap.all():
            raise bad_data(table.source, f"some numbers in column {name!r}", "missing cells alone", "choose another")
        values[gap, place] = np.interp(at[gap], at[~gap], values[~gap, place])
