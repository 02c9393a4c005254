"""How times are written in a file: read a column of cells into numbers, and write later times in the same way.

Times are kept as whole microseconds of the wall clock, and apart from them how far that clock is ahead of UTC.
Numbers that are no date (seconds since a start, row numbers) are kept as whole units of their last decimal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.time_fields import (
    DAY,
    EPOCH,
    FULL_MONTHS,
    SHORT_MONTHS,
    calendar_days,
    field_numbers,
    full_years,
    month_numbers,
    times_of_day,
    week_days,
    zone_ahead,
)

_NAME = r"(?P<mon>[A-Za-z]{3,9})\.?"
_CLOCK = (
    r"(?:(?:T|,? )(?P<H>\d{1,2})(?::(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?(?: ?(?P<p>[AaPp][Mm]))?"
    r"(?: ?(?P<z>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?"
)
#: Forms that only times have.  ``a`` and ``b`` are day and month in an order that the whole column has to tell.
_FORMS = {
    "year-month-day": r"(?P<Y>\d{4})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})" + _CLOCK,
    "day.month.year": r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<Y>\d{4}|\d{2})" + _CLOCK,
    "day/month/year or month/day/year": r"(?P<a>\d{1,2})(?P<sep>[-/])(?P<b>\d{1,2})(?P=sep)(?P<Y>\d{4})" + _CLOCK,
    "day/month/yy or month/day/yy": r"(?P<a>\d{1,2})/(?P<b>\d{1,2})/(?P<Y>\d{2})" + _CLOCK,
    "day month-name year": rf"(?P<d>\d{{1,2}})[- ]{_NAME}[- ,] ?(?P<Y>\d{{4}}|\d{{2}})" + _CLOCK,
    "month-name day, year": rf"{_NAME} (?P<d>\d{{1,2}}),? (?P<Y>\d{{4}})" + _CLOCK,
    "month-name year": rf"{_NAME}[- ](?P<Y>\d{{4}})",
    "year month-name": rf"(?P<Y>\d{{4}})[- ]{_NAME}",
    "year-month": r"(?P<Y>\d{4})[-/M](?P<m>\d{1,2})",
    "month/year": r"(?P<m>\d{1,2})/(?P<Y>\d{4})",
    "year quarter": r"(?P<Y>\d{4})[- /]?[Qq](?P<q>[1-4])",
    "quarter year": r"[Qq](?P<q>[1-4])[- /]?'?(?P<Y>\d{4})",
    "quarter Q year": r"(?P<q>[1-4])[Qq](?P<Y>\d{4})",
    "year-week": r"(?P<Y>\d{4})-?W(?P<w>\d{2})(?:-?(?P<u>[1-7]))?",
}
#: Forms that other numbers have too: they count where the column is named as a time.
_NUMERIC_FORMS = {
    "yearmonthday": r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])",
    "yearmonth": r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])",
    "year": r"(?P<Y>[12]\d{3})",
}
_PATTERNS = {name: re.compile(form) for name, form in _FORMS.items()}
_NUMERIC_PATTERNS = {name: re.compile(form) for name, form in _NUMERIC_FORMS.items()}
# Possessive (*+): the way back out of a million rows would take 600 bytes a row.
_ISO = re.compile(r"(?:\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?\n)*+")
_NUMBER = re.compile(r"[+-]?\d{1,19}(?:\.(\d*))?")
_SECONDS, _DECIMALS = (1e8, 1e11), 9  # what an epoch in seconds may be: 1973 .. 5138


@dataclass(frozen=True)
class Written:
    """The way in which the cells of a column write their times.

    Attributes
    ----------
    form : in words; "number" for numbers that are no date.
    pattern : what the cells match, or None for numbers.
    unit : microseconds in one of a number's last decimal (epochs), 0 for plain numbers.
    decimals : of the numbers.
    day_first : of ``a`` and ``b``.
    padded : 7 is written 07.
    full : months are written out.
    last : the last cell, whose separators and widths later times take over.
    """

    form: str
    last: str
    pattern: re.Pattern[str] | None = None
    unit: int = 0
    decimals: int = 0
    day_first: bool = False
    padded: bool = True
    full: bool = False

    @property
    def calendar(self) -> bool:
        """Whether these are dates, not plain numbers."""
        return self.pattern is not None or self.unit > 0

    def write(self, at: int) -> str | None:
        """Write the wall-clock time `at` (microseconds, or units of the last decimal) as the cells do.

        It is None outside the years 1 to 9999.
        """
        if self.pattern is None:
            ticks = at // self.unit if self.unit else at
            return format(Decimal(int(ticks)).scaleb(-self.decimals), "f")
        try:
            when = EPOCH + timedelta(microseconds=int(at))
        except OverflowError:
            return None
        found = self.pattern.fullmatch(self.last)
        assert found is not None  # the last cell was read with it
        pieces, end = [], 0
        for name, text in sorted(found.groupdict().items(), key=lambda item: found.start(item[0])):
            if text is not None and name not in ("sep", "z"):
                pieces += [
                    self.last[end : found.start(name)],
                    self._piece(name, text, when, bool(found.groupdict().get("p"))),
                ]
                end = found.end(name)
        return "".join(pieces) + self.last[end:]

    def _piece(self, name: str, text: str, when: datetime, halves: bool) -> str:
        """One field of `when` in the manner of `text`; `halves`: the hours are those of a.m. and p.m."""
        if name == "mon":
            month = (FULL_MONTHS if self.full else SHORT_MONTHS)[when.month - 1]
            return month.upper() if text.isupper() else month.capitalize() if text[0].isupper() else month
        if name == "p":
            half = "PM" if when.hour >= 12 else "AM"
            return half if text.isupper() else half.lower()
        if name == "f":
            return f"{when.microsecond:06d}".ljust(9, "0")[: len(text)]
        iso = when.isocalendar()
        week = self.pattern is not None and "w" in self.pattern.groupindex
        first, second = (when.day, when.month) if self.day_first else (when.month, when.day)
        number = {
            "Y": iso.year if week else when.year,
            "m": when.month,
            "d": when.day,
            "a": first,
            "b": second,
            "H": (when.hour - 1) % 12 + 1 if halves else when.hour,
            "M": when.minute,
            "S": when.second,
            "q": (when.month - 1) // 3 + 1,
            "w": iso.week,
            "u": iso.weekday,
        }[name]
        if name == "Y" and len(text) == 2:
            return f"{number % 100:02d}"
        wide = name in "YMSw" or (self.padded and name not in "qu")
        return f"{number:0{4 if name == 'Y' else 2}d}" if wide else str(number)


@dataclass(frozen=True)
class Read:
    """A column of cells as times.

    Attributes
    ----------
    local : int64 (N,): microseconds of the wall clock since 1970; of plain numbers, units of their last decimal.
    ahead : int64 (N,): how far the wall clock is ahead of UTC, in microseconds; None where no cell says so.
    written : how.
    other : the same column with day and month exchanged, where the cells do not tell them apart.
    """

    local: NDArray[np.int64]
    ahead: NDArray[np.int64] | None
    written: Written
    other: Read | None = None


@dataclass(frozen=True)
class Unread:
    """Why a column is not read as times: the row of the first cell that does not go with the cells before it.

    Attributes
    ----------
    row : of that cell.
    form : the way of writing of the cells before it; "" where already the first cell is no time.
    """

    row: int
    form: str = ""


def read_times(cells: Sequence[str], numeric: bool = False) -> Read | Unread:
    """Read cells as times, all of them written in one way.

    Parameters
    ----------
    cells : the texts, stripped.
    numeric : also take bare numbers: years, 202001, 20200131, seconds (milli-, micro-) since 1970, plain numbers.
    """
    if not cells:
        return Unread(0)
    if _ISO.fullmatch("\n".join(cells) + "\n"):
        try:
            local = np.array([cell.replace(" ", "T") for cell in cells], "datetime64[us]").astype(np.int64)
            return Read(local, None, Written("year-month-day", cells[-1], _PATTERNS["year-month-day"]))
        except ValueError:
            pass  # a day that no month has: found again, with its row, below
    patterns = {**_PATTERNS, **(_NUMERIC_PATTERNS if numeric else {})}
    best = Unread(0)
    for form, pattern in patterns.items():
        if pattern.fullmatch(cells[0]):
            got = _read_form(cells, form, pattern)
            if isinstance(got, Read):
                return got
            best = max(best, got, key=lambda unread: unread.row)
    numbers = _read_numbers(cells) if numeric else None
    return numbers or best


def is_time(cell: str) -> bool:
    """Whether a cell has a form that only times have."""
    return any(pattern.fullmatch(cell) for pattern in _PATTERNS.values())


def _read_form(cells: Sequence[str], form: str, pattern: re.Pattern[str]) -> Read | Unread:
    names = [name for name in pattern.groupindex if name != "sep"]
    rows: list[tuple[Any, ...]] = []
    for row, cell in enumerate(cells):
        found = pattern.fullmatch(cell)
        if found is None:
            return Unread(row, form)
        rows.append(tuple(found[name] for name in names))
    texts = dict(zip(names, zip(*rows, strict=True), strict=True))
    padded = any(text and text[0] == "0" for name in "mdabH" for text in texts.get(name, ())) or not any(
        text and len(text) == 1 for name in "mdabH" for text in texts.get(name, ())
    )
    full = any(text.lower() in FULL_MONTHS and len(text) > 3 for text in texts.get("mon", ()))
    zones = texts.get("z", (None,))
    zoned = next((row for row, zone in enumerate(zones) if (zone is None) != (zones[0] is None)), None)
    if zoned is not None:
        return Unread(zoned, form + (" with" if zones[0] else " without") + " a time zone")
    ahead = None if zones[0] is None else np.fromiter(map(zone_ahead, zones), np.int64, len(cells))

    def read(day_first: bool) -> Read | Unread:
        months, days = month_numbers(texts, day_first), field_numbers(texts, "d", 1)
        if "a" in texts:
            days = field_numbers(texts, "a" if day_first else "b", 1)
        years = full_years(texts["Y"])
        if "w" in texts:
            local, good = week_days(years, field_numbers(texts, "w", 1), field_numbers(texts, "u", 1))
        else:
            local, good = calendar_days(years, months, days)
        clock, right = times_of_day(texts, len(cells))
        good &= right
        if not good.all():
            return Unread(int(np.argmin(good)), form)
        return Read(local * DAY + clock, ahead, Written(form, cells[-1], pattern, 0, 0, day_first, padded, full))

    if "a" not in texts:
        return read(day_first=False)
    month_first, day_first = read(day_first=False), read(day_first=True)
    if isinstance(month_first, Read) and isinstance(day_first, Read):
        same = bool((month_first.local == day_first.local).all())
        return month_first if same else Read(month_first.local, ahead, month_first.written, day_first)
    if isinstance(month_first, Read) or isinstance(day_first, Read):
        return month_first if isinstance(month_first, Read) else day_first
    return max(month_first, day_first, key=lambda unread: unread.row)


def _read_numbers(cells: Sequence[str]) -> Read | Unread | None:
    """Plain numbers, or an epoch by their size; None where the first cell is neither."""
    decimals = 0
    for row, cell in enumerate(cells):
        found = _NUMBER.fullmatch(cell)
        if found is None or len(found[1] or "") > _DECIMALS:
            return Unread(row, "number") if row else None
        decimals = max(decimals, len(found[1] or ""))
    scale = 10**decimals
    numbers = [round(float(cell) * scale) if "." in cell else int(cell) * scale for cell in cells]
    if max(map(abs, numbers)) >= 2**62:
        return None
    ticks = np.array(numbers, np.int64)
    low, high = int(ticks.min()) / scale, int(ticks.max()) / scale
    for power, unit in ((0, 1_000_000), (3, 1000), (6, 1)):
        if _SECONDS[0] * 10**power <= low and high < _SECONDS[1] * 10**power and unit % scale == 0:
            epoch = Written("epoch", cells[-1], None, unit // scale, decimals)
            return Read(ticks * (unit // scale), None, epoch)
    return Read(ticks, None, Written("number", cells[-1], None, 0, decimals))
