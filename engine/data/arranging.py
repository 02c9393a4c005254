"""The rows of a table in the order of their times: checked, sorted or filled up, and never silently so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.data.table import Selection, Table
from engine.data.time_column import find_times
from engine.data.times import Times, gap_note, order

# If more rows than this are missing for each one that is there, a time is likely mistyped: these are no gaps.
_MOST_INSERTED = 10


class Arranged(NamedTuple):
    """The rows of a series.

    Attributes
    ----------
    rows : int64 (M,)
        The row of the table for each, -1 for one that was inserted.
    times : of the table's rows in this order, without those inserted; None if the table has none.
    notes : sentences for the user about the rows.
    """

    rows: NDArray[np.int64]
    times: Times | None
    notes: tuple[str, ...]


def arrange(
    table: Table, columns: Sequence[str], empty: NDArray[np.bool_], time: str | None, *, sort: bool, regular: bool
) -> Arranged:
    """Check the order of a table's rows, and repair it if that is asked for.

    If rows have times, a row that is entirely blank is no time step and is left out.

    Parameters
    ----------
    empty : bool (N,)
        Which rows have no value in these columns.
    columns, time : as `find_times` takes them.
    sort : whether to sort the rows by their times.
    regular : whether to insert the rows that are missing by the usual step of the times.

    Raises
    ------
    DataError
        The rows are out of order without `sort`, a time occurs twice, or there are no times to sort by.
    """
    whole, rows = table, np.arange(len(table), dtype=np.int64)
    blank = table.blank_rows() if empty.any() else empty
    if blank.any():
        rows = np.flatnonzero(~blank)
        table = Selection(whole, rows)
    times, note = find_times(table, columns, time)
    notes = [note] if note else []

    def where(row: int) -> str:
        return f"{whole.unit} {whole.lines[rows[row]]}"

    if times is None:
        if sort or regular:
            option = "--sort (sort=True)" if sort else "--regular (regular=True)"
            raise bad_data(table.source, f"a column of times for {option}", "none", "name it with --time NAME")
        return Arranged(np.arange(len(whole), dtype=np.int64), None, tuple(notes))
    if blank.any():
        notes.append(f"{int(blank.sum()):,} blank rows between the others are left out")
    sorted_ = order(times, where, table.source, sort=sort)
    if sorted_ is not None:
        rows, times = rows[sorted_], times.take(sorted_)
        notes.append(f"the rows were not in the order of column {times.name!r} and are sorted")
    if not regular:
        note = gap_note(times, where)
        return Arranged(rows, times, (*notes, note) if note else tuple(notes))
    return _filled_up(table, rows, times, notes)


def _filled_up(table: Table, rows: NDArray[np.int64], times: Times, notes: list[str]) -> Arranged:
    """The rows with those that are missing inserted."""
    if times.step is None or not times.step.even:
        hint = "leave --regular out, or give the series at a regular step"
        raise bad_data(table.source, f"times in column {times.name!r} that keep to a step", "others", hint)
    lacking = times.missing_before()
    count = int(lacking.sum())
    if count > _MOST_INSERTED * len(rows):
        longest = int(np.argmax(lacking))
        got = f"a gap of {int(lacking[longest]):,} before {times.cells[longest]!r}"
        raise bad_data(table.source, "gaps that --regular can fill", got, "correct the time, or leave --regular out")
    if count:
        notes.append(f"{count:,} rows that are missing by column {times.name!r} are inserted as missing cells")
    filled_up = np.full(len(rows) + count, -1, dtype=np.int64)
    filled_up[np.arange(len(rows)) + np.cumsum(lacking)] = rows
    return Arranged(filled_up, times, tuple(notes))
