"""Which column of a table holds the times of its rows: the one that is named, or the one that looks like it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from engine.data.checks import bad_data
from engine.data.time_text import DAY, Read, Unread, is_time, read_times
from engine.data.times import Times

_WORDS = {
    *("date", "time", "datetime", "timestamp", "ts", "ds", "dt", "t", "day", "week", "month", "quarter", "year", "yr"),
    *("hour", "epoch", "period", "utc", "when", "index", "unnamed", "step"),
    *("datum", "zeit", "zeitpunkt", "zeitstempel", "tag", "woche", "monat", "quartal", "jahr", "stunde"),
    *("fecha", "hora", "mes", "jour", "heure", "mois", "an", "annee", "data", "ano", "giorno", "mese", "anno"),
}
_YEAR, _MONTH, _DAY = {"year", "yr", "yyyy", "jahr"}, {"month", "mon", "mm", "mo", "monat"}, {"day", "dd", "dom", "tag"}
_QUARTER, _HOUR = {"quarter", "qtr", "q", "quartal"}, {"hour", "hr", "hh", "time", "clock", "stunde", "zeit", "uhrzeit"}
_CLOCK = re.compile(r"([01]?\d|2[0-4])(:[0-5]\d){0,2}")
_PEEK = 5  # cells that are looked at before a whole column is read
#: The choice that looks at no column.
NONE = "none"

Column = Callable[[int], Sequence[str]]


def named_as_time(name: str) -> bool:
    """Whether a column's name says that it holds times."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.split(r"[\W\d_]+", spaced.lower())
    return not name.strip() or any(word in _WORDS for word in words if word)


def find_times(
    names: Sequence[str], column: Column, taken: Sequence[int], lines: Sequence[int], source: str, wanted: str | None
) -> tuple[Times | None, str]:
    """Return the times of the rows, and a sentence on why they were not read, "" if nothing is to be said.

    Parameters
    ----------
    names : of all columns.
    column : the cells of one column, by its place: stripped texts, one a row.
    taken : the places of the columns of the series, which hold no times.
    lines : of each row in the file, for messages.
    wanted : the name of the column, `NONE` for none, or None: the one that looks like it.

    Raises
    ------
    DataError
        The column that is wanted is not there; or it, or a column named as a time, holds a cell that is none.
    """
    if wanted is not None and wanted not in names:
        if wanted == NONE:
            return None, ""
        raise bad_data(source, f"a column of times among {', '.join(map(repr, names))}", repr(wanted), "name one of it")
    if wanted is not None:
        cells = column(names.index(wanted))
        read = read_times(cells, numeric=True)
        if isinstance(read, Unread):
            raise _unread(read, wanted, cells, lines, source)
        return _told(Times(wanted, cells, read))
    free = [place for place in range(len(names)) if place not in taken]
    named = [place for place in free if named_as_time(names[place])]
    found = _joined(names, column, taken)
    notes: list[str] = []
    for places in (named, [place for place in free if place not in named]):
        for place in () if found and places is not named else places:
            times, note = _candidate(names[place], column(place), lines, source, places is named)
            found += [_told(times)] if times else []
            notes += [note] if note else []
    if not found:
        return None, notes[0] if notes else ""
    for good in ("in_order", "distinct"):
        for times, note in found:
            if getattr(times, good):
                return times, note
    return _with_clock(found[0][0], names, column, free), found[0][1]


def _told(times: Times) -> tuple[Times, str]:
    """The times, with day and month in the order that makes more sense of them; and a word where neither does more."""
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
    """How much the usual step of the rows is the usual one; a month counts as one step."""
    if not times.in_order or times.step is None:
        return 0.0
    lacking = times.missing_before()
    return (1.0 if times.step.even else 0.5) - float(np.mean(lacking > 0))


def _candidate(
    name: str, cells: Sequence[str], lines: Sequence[int], source: str, named: bool
) -> tuple[Times | None, str]:
    """The column as times, if it is one; a word if its name says so and its cells do not."""
    if isinstance(read_times(cells[:_PEEK], named), Unread) and (not named or not is_time(cells[0])):
        return None, _not_understood(name, cells, lines) if named and not _is_number(cells[0]) else ""
    read = read_times(cells, named)
    if isinstance(read, Unread):
        if named and is_time(cells[0]):
            raise _unread(read, name, cells, lines, source)
        return None, ""
    times = Times(name, cells, read)
    if len(cells) > 2 and (read.local == read.local[0]).all():
        return None, ""  # when the file was written, say
    if read.written.form in ("number", "year") and not times.distinct:
        # A year with rows for its months, hours that begin anew every day: the order within is not told.
        return None, _not_understood(name, cells, lines) if read.written.form == "year" else ""
    if read.written.form == "number" and not (times.in_order or _permuted(times)):
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


def _not_understood(name: str, cells: Sequence[str], lines: Sequence[int]) -> str:
    return (
        f"column {name!r} is not understood as the times of the rows ({cells[0]!r} in line {lines[0]}), so their "
        "order is not checked; write times as 2020-12-31 or 2020-12-31 23:59, or name their column with --time"
    )


def _unread(read: Unread, name: str, cells: Sequence[str], lines: Sequence[int], source: str) -> Exception:
    form = f", written as {read.form} like {cells[0]!r} in line {lines[0]}" if read.form else ""
    got = f"{cells[read.row][:40]!r} in line {lines[read.row]}"
    mend = "write all times in one way, such as 2020-12-31 23:59, or look at none with --time none"
    return bad_data(source, f"a time in every cell of column {name!r}{form}", got, mend)


# --- times in several columns -------------------------------------------------------------------------------------


def _joined(names: Sequence[str], column: Column, taken: Sequence[int]) -> list[tuple[Times, str]]:
    """Year and month or quarter, and day and hour if there are any, in columns of their own."""
    low = [name.strip().lower() if place not in taken else "" for place, name in enumerate(names)]

    def place(words: set[str]) -> int | None:
        return next((index for index, name in enumerate(low) if name in words), None)

    year, month, quarter, day, hour = map(place, (_YEAR, _MONTH, _QUARTER, _DAY, _HOUR))
    if year is None or (month is None and quarter is None):
        return []
    if month is None:
        assert quarter is not None
        pairs = zip(column(year), column(quarter), strict=True)
        used, cells = [year, quarter], [f"{_whole(y)}Q{_whole(q).upper().lstrip('Q')}" for y, q in pairs]
    else:
        used = [index for index in (year, month, day, hour if day is not None else None) if index is not None]
        cells = list(_dates([column(index) for index in used]))
    read = read_times(cells)
    return [] if isinstance(read, Unread) else [(Times(", ".join(names[index] for index in used), cells, read), "")]


def _dates(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    """Years, months, days and hours as one text a row."""
    for year, month, *rest in zip(*columns, strict=True):
        text = f"{_whole(year)}-{_whole(month):0>2}"
        if rest:
            text += f"-{_whole(rest[0]):0>2}"
        yield text + (f" {_whole(rest[1]):0>2}" + ":00" * (":" not in rest[1]) if len(rest) > 1 else "")


def _whole(cell: str) -> str:
    return cell.removesuffix(".0")


def _with_clock(times: Times, names: Sequence[str], column: Column, free: Sequence[int]) -> Times:
    """The dates together with a column of the time of the day, if that is what makes each row a time of its own."""
    if (times.read.local % DAY).any() or times.read.written.pattern is None:
        return times
    for place in free:
        name = names[place]
        if name == times.name or not any(word in _HOUR for word in re.split(r"[\W\d_]+", name.lower())):
            continue
        clock = [_whole(cell) for cell in column(place)]
        if all(map(_CLOCK.fullmatch, clock)):
            pairs = zip(times.cells, clock, strict=True)
            cells = [f"{day} {hour:0>2}" + ":00" * (":" not in hour) for day, hour in pairs]
            read = read_times(cells)
            if isinstance(read, Read):
                together = Times(f"{times.name}, {name}", cells, read)
                return together if together.distinct else times
    return times


__all__ = ["NONE", "find_times", "named_as_time"]
