"""How times are written in a file: read a column of cells into numbers, and write later times in the same way.

Times are kept as whole microseconds of the wall clock; how far that clock is ahead of UTC is kept apart from them.
Numbers that are not dates (seconds since a start, row numbers) are kept as whole units of their last decimal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

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
#: Forms that only times have.  ``a`` and ``b`` are day and month, in an order that only the whole column can show.
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
#: Forms that other numbers have too: they count only if the column's name is that of a time.
_NUMERIC_FORMS = {
    "yearmonthday": r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])",
    "yearmonth": r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])",
    "year": r"(?P<Y>[12]\d{3})",
}
_PATTERNS = {name: re.compile(form) for name, form in _FORMS.items()}
_NUMERIC_PATTERNS = {name: re.compile(form) for name, form in _NUMERIC_FORMS.items()}
# Possessive (*+): backtracking over a million rows would take 600 bytes a row.
_ISO = re.compile(r"(?:\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?\n)*+")
_NUMBER = re.compile(r"[+-]?\d{1,19}(?:\.(\d*))?")
_CHUNK = 20_000
_SECONDS, _DECIMALS = (1e8, 1e11), 9  # what an epoch in seconds may be: 1973 .. 5138


@dataclass(frozen=True)
class Written:
    """The way in which the cells of a column write their times.

    Attributes
    ----------
    form : in words; "number" for numbers that are not dates.
    pattern : what the cells match, or None for numbers.
    unit : microseconds in one of a number's last decimal (epochs), 0 for plain numbers.
    decimals : of the numbers.
    day_first : of ``a`` and ``b``.
    padded : 7 is written 07.
    full : months are written out.
    last : the last cell; later times are written with its separators and widths.
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
    ahead : int64 (N,): how far the wall clock is ahead of UTC, in microseconds; None if no cell says so.
    written : how.
    other : the same column with day and month exchanged, if the cells allow both orders.
    """

    local: NDArray[np.int64]
    ahead: NDArray[np.int64] | None
    written: Written
    other: Read | None = None


@dataclass(frozen=True)
class Unread:
    """Why a column is not read as times: the row of the first cell that does not match the cells before it.

    Attributes
    ----------
    row : of that cell.
    form : how the cells before it are written; "" if the first cell is already not a time.
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
            local = np.array(cells, "datetime64[us]").astype(np.int64)
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
    first = pattern.fullmatch(cells[0])
    assert first is not None  # read_times
    zoned = bool(first.groupdict().get("z"))
    pieces = []
    for start in range(0, len(cells), _CHUNK):  # the fields of a cell take a hundred times its room
        piece = _read_piece(cells[start : start + _CHUNK], pattern, zoned)
        if isinstance(piece, int):
            mixed = pattern.fullmatch(cells[start + piece]) and (
                " with a time zone" if zoned else " without a time zone"
            )
            return Unread(start + piece, form + (mixed or ""))
        pieces.append(piece)
    padded = any(piece.padded for piece in pieces) or not any(piece.single for piece in pieces)
    full = any(piece.full for piece in pieces)
    ahead = np.concatenate([piece.ahead for piece in pieces]) if zoned else None
    read: list[Read | Unread] = []
    for order in range(len(pieces[0].local)):
        good = np.concatenate([piece.good[order] for piece in pieces])
        local = np.concatenate([piece.local[order] for piece in pieces])
        written = Written(form, cells[-1], pattern, 0, 0, order == 1, padded, full)
        read.append(Read(local, ahead, written) if good.all() else Unread(int(np.argmin(good)), form))
    sound = [got for got in read if isinstance(got, Read)]
    if not sound:
        return max((got for got in read if isinstance(got, Unread)), key=lambda unread: unread.row)
    if len(sound) == 1 or (sound[0].local == sound[1].local).all():
        return sound[0]
    return Read(sound[0].local, ahead, sound[0].written, sound[1])


class _Piece(NamedTuple):
    """Some cells of a column.

    Attributes
    ----------
    local, good : times (M,) and which of them exist, with the month first; with two orders, also with the day first.
    ahead : (M,), how far their clocks are ahead of UTC.
    padded, single, full : whether a field is written 07, or 7, and whether a month is written out.
    """

    local: list[NDArray[np.int64]]
    good: list[NDArray[np.bool_]]
    ahead: NDArray[np.int64]
    padded: bool
    single: bool
    full: bool


def _read_piece(cells: Sequence[str], pattern: re.Pattern[str], zoned: bool) -> _Piece | int:
    """Some cells, or the row of the first one that the pattern does not fit, or that has or lacks a time zone."""
    names = [name for name in pattern.groupindex if name != "sep"]
    rows: list[Sequence[Any]] = []
    for row, cell in enumerate(cells):
        found = pattern.fullmatch(cell)
        if found is None:
            return row
        rows.append(found.group(*names) if len(names) > 1 else [found[names[0]]])
    texts = dict(zip(names, zip(*rows, strict=True), strict=True))
    other = [bool(zone) != zoned for zone in texts.get("z", ())]
    if any(other):
        return other.index(True)
    fields = [text for name in "mdabH" for text in texts.get(name, ()) if text]
    years, (clock, right) = full_years(texts["Y"]), times_of_day(texts, len(cells))
    local, good = [], []
    for day_first in (False, True) if "a" in texts else (False,):
        if "w" in texts:
            days, real = week_days(years, field_numbers(texts, "w", 1), field_numbers(texts, "u", 1))
        else:
            day = ("a" if day_first else "b") if "a" in texts else "d"
            days, real = calendar_days(years, month_numbers(texts, day_first), field_numbers(texts, day, 1))
        local.append(days * DAY + clock)
        good.append(real & right)
    ahead = np.fromiter(map(zone_ahead, texts["z"]) if zoned else (), np.int64)
    padded, single = any(text[0] == "0" for text in fields), any(len(text) == 1 for text in fields)
    full = any(text.lower() in FULL_MONTHS and len(text) > 3 for text in texts.get("mon", ()))
    return _Piece(local, good, ahead, padded, single, full)


def _read_numbers(cells: Sequence[str]) -> Read | Unread | None:
    """Plain numbers, or an epoch by their size; None if the first cell is neither."""
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
