"""Numeric series from CSV and NPY files: strict about what a number is, and open about every gap."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.checks import bad_data
from engine.data.files import decode_text, read_bytes
from engine.errors import bad_input, bad_type

_SERIES_FILE = "a CSV file with a header line, or an NPY file of floats"
_NPY_MAGIC = b"\x93NUMPY"
_DELIMITERS = (",", ";", "\t")
_MISSING_CELLS = frozenset({"", "na", "n/a", "nan", "null", "."})
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
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    filled: NDArray[np.bool_]
    source: str

    @property
    def filled_count(self) -> int:
        """How many missing cells were filled by interpolation."""
        return int(self.filled.sum())


def load_series(
    path: str | os.PathLike[str], column: str | Sequence[str] | None = None, missing: str = "error"
) -> Series:
    """Read a series from a CSV or an NPY file; the content decides which, not the name.

    Parameters
    ----------
    path : file name
        CSV: UTF-8, a header line, cells separated by comma, semicolon or tab, decimal points, the same number of cells
        in every row. NPY: floats (N,) or (N, C), whose columns are named "0", "1", ...; loading it never runs code.
    column : str, list of str, or None
        The column or columns wanted. None takes the only column of a CSV file, and all columns of an NPY file.
    missing : {"error", "interpolate"}
        A missing cell is an empty one, NA, N/A, NaN, null or a single point, in any case. "interpolate" fills it on the
        straight line, by row number, between the known values around it; before the first and after the last known
        value with that value. The fill of a gap looks at the value after it, so a gap that reaches over the border of
        the training part carries a little of the later part into it.

    Raises
    ------
    DataError
        The file or a cell in it cannot be used; the message names the line and the column.
    InputError
        `missing` or `column` is no valid choice.
    """
    if missing not in ("error", "interpolate"):
        raise bad_input("missing", '"error" or "interpolate"', repr(missing), "choose one of these")
    wanted = _wanted_columns(column)
    raw = read_bytes(path, _SERIES_FILE)
    if raw.startswith(_NPY_MAGIC):
        series, lines = _read_npy(raw, os.fspath(path), wanted)
        unit = "row"
    elif os.fspath(path).lower().endswith((".npy", ".npz")):
        got = "a ZIP archive (NPZ)" if raw.startswith(b"PK") else "a file without the NPY signature"
        raise bad_data(os.fspath(path), _SERIES_FILE, got, "write one array with numpy.save(file, array)")
    else:
        series, lines = _read_csv(decode_text(raw, path, _SERIES_FILE), os.fspath(path), wanted)
        unit = "line"
    if len(series.values) < _LEAST_ROWS:
        mend = "give a longer series"
        raise bad_data(series.source, f"at least {_LEAST_ROWS} rows of data", len(series.values), mend)
    return _fill(series, lines, unit, interpolate=missing == "interpolate")


def _wanted_columns(column: object) -> list[str] | None:
    if column is None:
        return None
    names = [column] if isinstance(column, str) else column
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise bad_type("column", "a column name or a list of them", repr(column), "use the names in the header line")
    if not names:
        raise bad_input("column", "at least one column name", "an empty list", "leave it out or name a column")
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise bad_input("column", "each column once", f"{twice[0]!r} twice", "name it once")
    return list(names)


def _pick(names: Sequence[str], wanted: Sequence[str], source: str) -> list[int]:
    """Return the place of each wanted column."""
    places = []
    for name in wanted:
        count = list(names).count(name)
        if count != 1:
            got = f"{name!r}" if count == 0 else f"{name!r}, which {count} columns are called"
            mend = "choose one of these" if count == 0 else "give them different names in the header line"
            raise bad_data(source, f"a column among {_listed(names)}", got, mend)
        places.append(names.index(name))
    return places


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


# --- CSV ----------------------------------------------------------------------------------------------------------


def _read_csv(text: str, source: str, wanted: Sequence[str] | None) -> tuple[Series, list[int]]:
    """Return the series, NaN where a cell is missing, and the line number of each row."""
    rows, lines = _cells(text, source)
    names = rows[0]
    numbers = [_number(cell) for cell in names]
    if None not in numbers and any(number == number for number in numbers):  # all numbers, or gaps among numbers
        mend = "put a line with the column names first"
        raise bad_data(source, "a header line with column names", f"the numbers {_listed(names)}", mend)
    if wanted is None:
        if len(names) > 1:
            mend = "say which column is wanted, for example with --column NAME"
            raise bad_data(source, f"a column named among {_listed(names)}", "none", mend)
        wanted = names
    places = _pick(names, wanted, source)
    values = np.empty((len(rows) - 1, len(places)))
    for row, (cells, line) in enumerate(zip(rows[1:], lines[1:], strict=True)):
        if len(cells) != len(names):
            mend = "give every row the same number of cells"
            expected = f"{len(names)} cells a row as in the header line"
            raise bad_data(source, expected, f"{len(cells)} in line {line}", mend)
        for place, index in enumerate(places):
            number = _number(cells[index])
            if number is None or math.isinf(number):
                where = f"{cells[index][:40]!r} in line {line}, column {names[index]!r}"
                mend = "write plain finite numbers with a decimal point, or leave the cell empty if it is unknown"
                raise bad_data(source, "numbers", where, mend)
            values[row, place] = number
    return Series(values, tuple(wanted), np.isnan(values), source), lines[1:]


def _cells(text: str, source: str) -> tuple[list[list[str]], list[int]]:
    """Return the stripped cells of the header line and of each row, and the line on which each begins."""
    rows: list[list[str]] = []
    lines: list[int] = []
    begin = 1
    try:
        # strict: an unfinished quotation would otherwise swallow the rest of the file without a word.
        reader = csv.reader(io.StringIO(text), delimiter=_sniff(text), strict=True)
        for cells in reader:
            blank = not cells or (len(cells) == 1 and cells[0].isspace())
            if rows or not blank:  # blank lines before the header line do not count
                rows.append([] if blank else [cell.strip() for cell in cells])
                lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        mend = "check the quotation marks, or write the file again"
        raise bad_data(source, "well-formed CSV", f"an error from line {begin} on ({error})", mend) from None
    while rows and not rows[-1]:  # blank lines at the end
        rows.pop()
        lines.pop()
    if not rows:
        raise bad_data(source, _SERIES_FILE, "nothing but blank lines", "check that it was written completely")
    if len(rows) == 1:
        raise bad_data(source, "rows of numbers below the header line", "the first line alone", "give the data")
    if len(rows[0]) == 1:
        # In a file of one column a blank line is an empty cell.
        rows = [cells or [""] for cells in rows]
    return rows, lines


def _sniff(text: str) -> str:
    """Return the delimiter that cuts the header line into most cells, and preferably the first row into as many."""
    lines = [*islice(filter(str.strip, io.StringIO(text)), 2), "", ""]

    def count(line: str, delimiter: str) -> int:
        return len(next(csv.reader([line], delimiter=delimiter), []))

    def merit(delimiter: str) -> tuple[bool, int]:
        cells = count(lines[0], delimiter)
        return (cells > 1 and cells == count(lines[1], delimiter), cells)

    return max(_DELIMITERS, key=merit)


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is text."""
    if cell.lower() in _MISSING_CELLS:
        return float("nan")
    if "_" in cell:  # float() takes "1_000" as Python source does; in a data file it is a slip
        return None
    try:
        return float(cell)
    except ValueError:
        return None


# --- NPY ----------------------------------------------------------------------------------------------------------


def _read_npy(raw: bytes, source: str, wanted: Sequence[str] | None) -> tuple[Series, list[int]]:
    """Return the series, NaN where a cell is missing, and the number of each row, from 0."""
    try:
        array: Any = np.load(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # a damaged header raises anything, from SyntaxError to MemoryError
        reason = " ".join(str(error).split())
        got = "an array of Python objects" if "Object arrays" in reason else f"a damaged file ({reason})"
        mend = "write it again with numpy.save(file, array.astype(float))"
        raise bad_data(source, "an NPY file of floats (N,) or (N, C)", got, mend) from None
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        mend = "write it again with numpy.save(file, array.astype(float))"
        raise bad_data(source, "floats (N,) or (N, C) of at most 64 bits", f"dtype {array.dtype}", mend)
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise bad_data(source, "floats (N,) or (N, C)", f"shape {array.shape}", "give rows (time) by columns")
    table = array.reshape(len(array), 1) if array.ndim == 1 else array
    names = [str(index) for index in range(table.shape[1])]
    wanted = names if wanted is None else wanted
    places = _pick(names, wanted, source)
    values = table[:, places].astype(np.float64)
    if np.isinf(values).any():
        row, place = (int(k) for k in np.argwhere(np.isinf(values))[0])
        where = f"{values[row, place]} in row {row}, column {wanted[place]!r}"
        raise bad_data(source, "finite numbers", where, "correct it, or write NaN if it is unknown")
    return Series(values, tuple(wanted), np.isnan(values), source), list(range(len(values)))


# --- gaps ---------------------------------------------------------------------------------------------------------


def _fill(series: Series, lines: Sequence[int], unit: str, *, interpolate: bool) -> Series:
    """Return the series without gaps, or raise where gaps are not to be filled or a column is nothing but gap."""
    gaps = series.filled  # (N, C)
    count = int(gaps.sum())
    if not count:
        return series
    row, place = (int(k) for k in np.argwhere(gaps)[0])
    first = f"the first in {unit} {lines[row]}, column {series.names[place]!r}"
    if not interpolate:
        got = f"{count} missing cell{'s' if count > 1 else ''}, {first}"
        mend = 'fill them linearly with --missing interpolate (missing="interpolate"), or correct the file'
        raise bad_data(series.source, "a number in every cell", got, mend)
    values = series.values.copy()
    at = np.arange(len(values))
    for place, name in enumerate(series.names):
        gap = gaps[:, place]
        if gap.all():
            raise bad_data(series.source, f"some numbers in column {name!r}", "missing cells alone", "choose another")
        values[gap, place] = np.interp(at[gap], at[~gap], values[~gap, place])
    return replace(series, values=values)
