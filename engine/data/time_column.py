"""Find the column of a table that holds the times of its rows: the one that is named, or the one that looks like it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from engine.data.data_checks import bad_data
from engine.data.table import Table
from engine.data.time_fields import DAY
from engine.data.time_text import Read, Unread, is_time, read_times
from engine.data.times import Times

_WORDS = {
    *("date", "time", "datetime", "timestamp", "ts", "ds", "dt", "t", "day", "week", "month", "quarter", "year", "yr"),
    *("hour", "epoch", "unix", "period", "utc", "when", "at", "index", "unnamed", "step"),
    *("datum", "zeit", "zeitpunkt", "zeitstempel", "tag", "woche", "monat", "quartal", "jahr", "stunde"),
    *("fecha", "hora", "mes", "jour", "heure", "mois", "annee", "ano", "giorno", "mese", "anno"),
}
_YEAR, _MONTH, _DAY = {"year", "yr", "yyyy", "jahr"}, {"month", "mon", "mm", "mo", "monat"}, {"day", "dd", "dom", "tag"}
_QUARTER, _HOUR = {"quarter", "qtr", "q", "quartal"}, {"hour", "hr", "hh", "time", "clock", "stunde", "zeit", "uhrzeit"}
_COMPOUND = re.compile(r"(?!up|candi|vali|man|run|life|over|part|some)\w+(date|time|stamp)")  # obsdate, unixtime
_CLOCK = re.compile(r"([01]?\d|2[0-4])(:[0-5]\d){0,2}")
#: The choice that looks at no column.
NONE = "none"


def named_as_time(name: str) -> bool:
    """Whether a column's name says that it holds times."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.split(r"[\W\d_]+", spaced.lower())
    return not name.strip() or any(word in _WORDS or _COMPOUND.fullmatch(word) for word in words if word)


def find_times(table: Table, columns: Sequence[str], wanted: str | None) -> tuple[Times | None, str]:
    """Return the times of the rows of a table, and a sentence on why they were not read, or "".

    Parameters
    ----------
    columns : those of the series, which hold no times.
    wanted : the name of the column, `NONE` for none, or None: the one that looks like it.

    Raises
    ------
    DataError
        The wanted column does not exist; or a cell of it, or of a column with a name like "date", is not a time.
    """
    if wanted == NONE and wanted not in (*table.names, *table.labels):
        return None, ""
    if wanted is not None:
        cells = table.cells(wanted)
        read = read_times(cells, numeric=True)
        if isinstance(read, Unread):
            raise _unread(read, wanted, cells, table)
        return _told(Times(wanted, cells, read))
    free = [name for name in table.names if name not in columns and table.names.count(name) == 1]
    free += table.labels
    named = [name for name in free if named_as_time(name) and name not in table.labels]
    found = _joined(table, free)
    notes: list[str] = []
    for names in (named, [name for name in free if name not in named]):
        for name in () if found and names is not named else names:
            times, note = _candidate(table, name, names is named)
            found += [_told(times)] if times else []
            notes += [note] if note else []
    if not found:
        return None, notes[0] if notes else ""
    found = _likeliest(found)
    for good in ("in_order", "distinct"):
        for times, note in found:
            if getattr(times, good):
                return times, note
    return _with_clock(found[0][0], table, free), found[0][1]


def _likeliest(found: list[tuple[Times, str]]) -> list[tuple[Times, str]]:
    """The columns that hold dates rather than row numbers, and among these the ones with the plainest names."""

    def rank(times: Times) -> tuple[bool, bool]:
        return times.read.written.calendar, times.name.strip().lower() in _WORDS or ", " in times.name

    best = max(rank(times) for times, _ in found)
    return [(times, note) for times, note in found if rank(times) == best]


def _told(times: Times) -> tuple[Times, str]:
    """The times with day and month in the more sensible order; and a note if both orders are equally sensible."""
    other = times.read.other
    if other is None:
        return times, ""
    exchanged = Times(times.name, times.cells, other)
    merits = [(abs(int(np.sign(np.diff(t.axis)).sum())), _evenness(t)) for t in (times, exchanged)]
    if merits[0] == merits[1]:
        note = (
            f"column {times.name!r} does not tell day from month ({times.cells[-1]!r}): it is read as month/day; "
            "write the year first, as 2020-12-31, if that is wrong"
        )
        return times, note
    return (times if merits[0] > merits[1] else exchanged), ""


def _evenness(times: Times) -> float:
    """The share of the rows that have the usual step; a month counts as one step."""
    if not times.in_order or times.step is None:
        return 0.0
    lacking = times.missing_before()
    return (1.0 if times.step.even else 0.5) - float(np.mean(lacking > 0))


def _candidate(table: Table, name: str, named: bool) -> tuple[Times | None, str]:
    """The column as times, if it holds times; a note if only its name says that it does."""
    head = table.head(name)
    if isinstance(read_times(head, named), Unread) and not (named and is_time(head[0])):
        return None, _not_understood(table, name, head[0]) if named and not _is_number(head[0]) else ""
    cells = table.cells(name)
    read = read_times(cells, named)
    if isinstance(read, Unread):
        if named and is_time(cells[0]):
            raise _unread(read, name, cells, table)
        return None, ""
    times, form = Times(name, cells, read), read.written.form
    if len(cells) > 2 and (read.local == read.local[0]).all():
        return None, ""  # when the file was written, say
    if form in ("number", "year") and not times.distinct:
        # Such as years with a row for each month, or hours that start again every day: the order within is not known.
        return None, _not_understood(table, name, head[0]) if form == "year" else ""
    if form == "number" and not (times.in_order or _permuted(times)):
        return None, ""
    return times, ""


def _permuted(times: Times) -> bool:
    """Whether the rows are evenly spaced numbers in another order."""
    return len(np.unique(np.diff(np.sort(times.axis)))) == 1


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _not_understood(table: Table, name: str, first: str) -> str:
    return (
        f"column {name!r} is not understood as the times of the rows ({first!r} in {table.unit} {table.lines[0]}), so "
        "their order is not checked; write times as 2020-12-31 or 2020-12-31 23:59, or name their column with --time"
    )


def _unread(read: Unread, name: str, cells: Sequence[str], table: Table) -> Exception:
    form = f", written as {read.form} like {cells[0]!r} in {table.unit} {table.lines[0]}" if read.form else ""
    got = f"{cells[read.row][:40]!r} in {table.unit} {table.lines[read.row]}"
    hint = "write all times in one way, such as 2020-12-31 23:59, or look at none with --time none"
    return bad_data(table.source, f"a time in every cell of column {name!r}{form}", got, hint)


# --- times in several columns -------------------------------------------------------------------------------------


def _joined(table: Table, free: Sequence[str]) -> list[tuple[Times, str]]:
    """Year and month or quarter, and day and hour if there are any, in columns of their own."""
    low = [name.strip().lower() for name in free]

    def called(words: set[str]) -> str | None:
        return next((free[place] for place, name in enumerate(low) if name in words), None)

    year, month, quarter, day, hour = map(called, (_YEAR, _MONTH, _QUARTER, _DAY, _HOUR))
    if year is not None and month is not None:
        used = [name for name in (year, month, day, hour if day is not None else None) if name is not None]
        cells = list(_dates([table.cells(name) for name in used]))
    elif year is not None and quarter is not None:
        used = [year, quarter]
        pairs = zip(table.cells(year), table.cells(quarter), strict=True)
        cells = [f"{_whole(y)}Q{_whole(q).upper().lstrip('Q')}" for y, q in pairs]
    else:
        return []
    read = read_times(cells)
    return [] if isinstance(read, Unread) else [(Times(", ".join(used), cells, read), "")]


def _dates(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    """Years, months, days and hours as one text a row."""
    for year, month, *rest in zip(*columns, strict=True):
        text = f"{_whole(year)}-{_whole(month):0>2}"
        if rest:
            text += f"-{_whole(rest[0]):0>2}"
        yield text + (f" {_whole(rest[1]):0>2}" + ":00" * (":" not in rest[1]) if len(rest) > 1 else "")


def _whole(cell: str) -> str:
    return cell.removesuffix(".0")


def _with_clock(times: Times, table: Table, free: Sequence[str]) -> Times:
    """The dates together with a column of the time of the day, if both are needed to give each row its own time."""
    if (times.read.local % DAY).any() or times.read.written.pattern is None:
        return times
    for name in free:
        if name == times.name or not any(word in _HOUR for word in re.split(r"[\W\d_]+", name.lower())):
            continue
        clock = [_whole(cell) for cell in table.cells(name)]
        if all(map(_CLOCK.fullmatch, clock)):
            pairs = zip(times.cells, clock, strict=True)
            cells = [f"{day} {hour:0>2}" + ":00" * (":" not in hour) for day, hour in pairs]
            read = read_times(cells)
            if isinstance(read, Read):
                together = Times(f"{times.name}, {name}", cells, read)
                return together if together.distinct else times
    return times


__all__ = ["NONE", "find_times", "named_as_time"]
