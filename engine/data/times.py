"""The times of a series' rows: their order, their step, what is missing between them, and what comes after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.checks import bad_data
from engine.data.time_fields import DAY, HOUR
from engine.data.time_text import Read

Where = Callable[[int], str]
_Ints = NDArray[np.int64]
_MONDAY_TO_FRIDAY = (1, 1, 1, 1, 1, 0, 0)
_CHANGE_MONTHS = (3, 4, 9, 10, 11)  # in which the clocks go forward or back, north and south


class Step(NamedTuple):
    """The usual distance between two rows.

    Attributes
    ----------
    kind : "months", "weekdays" (of `week`), or "fixed": microseconds, of plain numbers units of their last decimal.
    size : how many of them.
    even : whether the rows keep to it.
    week : which days of the week there are, from Monday on.
    """

    kind: str
    size: int
    even: bool = True
    week: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The step in words."""
        if self.kind == "weekdays":
            return "1 weekday" if self.week == _MONDAY_TO_FRIDAY else f"1 of {sum(self.week)} days a week"
        if self.kind == "months":
            years, months = divmod(self.size, 12)
            return _count(years, "year") if not months else _count(self.size, "month")
        for name, unit in (("week", 7 * DAY), ("day", DAY), ("hour", HOUR), ("minute", HOUR // 60)):
            if self.size % unit == 0:
                return _count(self.size // unit, name)
        return f"{self.size / 1e6:g} seconds"


@dataclass(frozen=True)
class Times:
    """The times of the rows of a series, as a column of its file gives them.

    Attributes
    ----------
    name : of the column.
    cells : its texts, one a row.
    read : the same as numbers.
    """

    name: str
    cells: Sequence[str]
    read: Read

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.cells)

    @cached_property
    def axis(self) -> _Ints:
        """The rows (N,) on a clock that never goes back: UTC, or the wall clock with its yearly changes taken out."""
        local = self.read.local
        if self.read.ahead is not None:
            return local - self.read.ahead
        return _without_changes(local) if self.read.written.calendar else local

    @cached_property
    def step(self) -> Step | None:
        """The usual step of rows that are in order; None for fewer than two."""
        if len(self) < 2:
            return None
        if not self.read.written.calendar:
            return _usual(self.axis)
        return _months(self.read.local) or _weekdays(self.read.local) or _usual(self.axis)

    @property
    def in_order(self) -> bool:
        """Whether each row is later than the one before it."""
        return bool((np.diff(self.axis) > 0).all())

    @property
    def distinct(self) -> bool:
        """Whether no two rows have the same time."""
        return len(np.unique(self.axis)) == len(self)

    def take(self, rows: _Ints) -> Times:
        """Return the times of these rows, in this order."""
        cells = [self.cells[row] for row in rows]
        ahead = None if self.read.ahead is None else self.read.ahead[rows]
        return Times(self.name, cells, Read(self.read.local[rows], ahead, replace(self.read.written, last=cells[-1])))

    def missing_before(self) -> _Ints:
        """How many rows (N,) are missing before each, by the usual step; 0 where there is none to keep to."""
        step, lacking = self.step, np.zeros(len(self), np.int64)
        if step is None or not step.even:
            return lacking
        if step.kind == "weekdays":
            days = (self.read.local // DAY).astype("datetime64[D]")
            lacking[1:] = np.busday_count(days[:-1], days[1:], weekmask=list(step.week)) - 1
        elif step.kind == "months":
            lacking[1:] = np.diff(_month_numbers(self.read.local)) // step.size - 1
        else:
            lacking[1:] = (np.diff(self.axis) + step.size // 2) // step.size - 1
        return np.maximum(lacking, 0)

    def after(self, count: int) -> list[str] | None:
        """Return the times of the `count` rows that follow, written as in the file; None where no step is kept to."""
        step, written = self.step, self.read.written
        if step is None or not step.even:
            return None
        ahead = np.arange(1, count + 1)
        last = int(self.read.local[-1])
        if step.kind == "weekdays":
            days = np.busday_offset(np.datetime64(last // DAY, "D"), ahead, roll="forward", weekmask=list(step.week))
            found = days.astype(np.int64) * DAY + last % DAY
        elif step.kind == "months":
            found = _later_months(self.read.local, step.size * ahead)
        else:
            found = last + step.size * ahead
        texts = [written.write(int(at)) for at in found]
        return None if None in texts else [text for text in texts if text is not None]


def order(times: Times, where: Where, source: str, *, sort: bool) -> _Ints | None:
    """Return the rows from the oldest to the newest, None where they stand so already.

    Parameters
    ----------
    where : what a row is called in messages, such as "line 3".
    sort : whether rows in another order are welcome.

    Raises
    ------
    DataError
        Two rows have the same time, or the rows are not in order and are not to be sorted.
    """
    steps = np.diff(times.axis)
    if (steps > 0).all():
        return None
    _require_distinct(times, where, source)
    if sort:
        return np.arange(len(times))[::-1] if (steps < 0).all() else np.argsort(times.axis, kind="stable")
    back = np.flatnonzero(steps < 0)
    first = int(back[0])
    place = _places(times, where, first, first + 1)
    newest = len(back) == len(steps)
    got = f"the newest first ({place})" if newest else f"{_count(len(back), 'step')} back, the first from {place}"
    mend = f"sort the rows with --sort (sort=True), or --time none if {times.name!r} is not the time of the rows"
    raise bad_data(source, f"rows from the oldest to the newest by column {times.name!r}", got, mend)


def gap_note(times: Times, where: Where) -> str:
    """One sentence on what is missing between the rows, "" where nothing is."""
    step = times.step
    if step is None:
        return ""
    if not step.even:
        shortest, longest = int(np.diff(times.axis).min()), int(np.diff(times.axis).max())
        span = f"{_span(times, shortest)} to {_span(times, longest)}"
        return (
            f"the rows by column {times.name!r} are not evenly spaced ({span} apart); every row counts as one step, "
            "so give the series at a regular step if time matters"
        )
    lacking = times.missing_before()
    gaps = np.flatnonzero(lacking)
    if not len(gaps):
        return ""
    row = int(gaps[0])
    words = f"a step of {step.words}" if times.read.written.calendar else "its usual step"
    return (
        f"by column {times.name!r} and {words}, {_count(int(lacking.sum()), 'row')} "
        f"{'is' if lacking.sum() == 1 else 'are'} missing in {_count(len(gaps), 'gap')}, the first between "
        f"{_places(times, where, row - 1, row, ' and ')}; every row counts as one step: insert what is missing with "
        "--regular (regular=True) and fill it with --missing interpolate, or leave it so"
    )


def _require_distinct(times: Times, where: Where, source: str) -> None:
    by_time = np.argsort(times.axis, kind="stable")
    same = np.flatnonzero(np.diff(times.axis[by_time]) == 0)
    if not len(same):
        return
    rows = by_time[same]
    place = int(np.argmin(rows))
    first, second = int(rows[place]), int(by_time[same[place] + 1])
    more = f", and {_count(len(same) - 1, 'more row')} with the time of another" if len(same) > 1 else ""
    got = f"{times.cells[first]!r} in {where(first)} and {where(second)}{more}"
    mend = (
        "keep one row of each time, split the file if it holds several series, or --time none if "
        f"{times.name!r} is not the time of the rows"
    )
    raise bad_data(source, f"each time once in column {times.name!r}", got, mend)


def _places(times: Times, where: Where, one: int, other: int, between: str = " to ") -> str:
    first, second = (f"{times.cells[row]!r} in {where(row)}" for row in (one, other))
    return first + between + second


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' if number != 1 else ''}"


def _span(times: Times, size: int) -> str:
    written = times.read.written
    return Step("fixed", size).words if written.calendar else f"{size / 10**written.decimals:g}"


# --- steps --------------------------------------------------------------------------------------------------------


def _mode(numbers: _Ints) -> tuple[int, float]:
    """The most frequent of the numbers, and its share."""
    found, counts = np.unique(numbers, return_counts=True)
    place = int(np.argmax(counts))
    return int(found[place]), float(counts[place] / len(numbers))


def _usual(axis: _Ints) -> Step:
    """The most frequent distance, or the middle one where clocks jitter; even if most are whole multiples of it.

    A tenth of it is tolerated: a day by the wall clock has 23 or 25 hours twice a year.
    """
    steps = np.diff(axis)
    size, share = _mode(steps)
    if share < 0.5:
        size = int(np.median(steps))
    size = max(size, 1)
    multiples = np.maximum(np.rint(steps / size), 1) * size
    return Step("fixed", size, even=float(np.mean(np.abs(steps - multiples) <= 0.1 * size)) >= 0.9)


def _month_numbers(local: _Ints) -> _Ints:
    return (local // DAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _month_lengths(months: _Ints) -> tuple[_Ints, _Ints]:
    """The first day of each month, in days since 1970, and how many days it has."""
    first, after = ((months + k).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for k in (0, 1))
    return first, after - first


def _days_of_month(local: _Ints) -> tuple[_Ints, _Ints]:
    """The day of each row in its month, from 1, and how many days the month has."""
    first, length = _month_lengths(_month_numbers(local))
    return local // DAY - first + 1, length


def _months(local: _Ints) -> Step | None:
    """The step in months of rows on the same day of theirs, be it the last, or of one row in each of the months."""
    if (local % DAY != local[0] % DAY).any():
        return None
    months, days = np.diff(_month_numbers(local)), np.diff(local // DAY)
    if (months <= 0).any():
        return None
    size, share = _mode(months)
    day, length = _days_of_month(local)
    if (day == np.minimum(day.max(), length)).all():
        return Step("months", size, even=bool((months % size == 0).all()))
    one_each = len(local) > 3 and share >= 0.8 and np.median(days) >= 27 and (days != days[0]).any()
    return Step("months", size) if one_each and (months % size == 0).all() else None


def _later_months(local: _Ints, ahead: _Ints) -> _Ints:
    """The last row moved by so many months (K,), on the day of the month that all rows have, be it the last."""
    day, length = _days_of_month(local)
    first, later = _month_lengths(_month_numbers(local)[-1] + ahead)
    last_weekdays = (length - day <= 2) & ((local // DAY + 3) % 7 < 5)
    kept = np.minimum(day.max() if (day == np.minimum(day.max(), length)).all() else day[-1], later)
    if last_weekdays.all() and (day != length).any():  # the last business day of each month
        end = first + later - 1
        kept = later - np.maximum((end + 3) % 7 - 4, 0)
    return (first + kept - 1) * DAY + local[-1] % DAY


def _weekdays(local: _Ints) -> Step | None:
    """Daily rows that leave out the same days of every week, as a stock exchange does."""
    if (local % DAY != local[0] % DAY).any() or len(local) < 6:
        return None
    days = local // DAY
    steps = np.diff(days)
    present = np.isin(np.arange(7), (days + 3) % 7)  # 1970 began on a Thursday
    workdays = not present[5:].any() and bool(((steps == 3) & ((days[1:] + 3) % 7 == 0)).any())
    if _mode(steps)[0] != 1 or not (workdays or (len(local) >= 15 and 5 <= present.sum() <= 6)):
        return None
    return Step("weekdays", 1, week=_MONDAY_TO_FRIDAY if workdays else tuple(int(day) for day in present))


def _without_changes(local: _Ints) -> _Ints:
    """A wall clock without its yearly changes: one hour twice on a Sunday in autumn, one left out in spring."""
    if len(local) < 3 or not (local % DAY).any():
        return local
    steps = np.diff(local)
    if np.median(steps) < 0:
        return _without_changes(local[::-1])[::-1]
    size, share = _mode(steps)
    if share < 0.5 or size <= 0 or HOUR % size:
        return local
    after = local[1:]
    night = ((after // DAY + 3) % 7 == 6) & (after % DAY <= 3 * HOUR)
    night &= np.isin(_month_numbers(after) % 12 + 1, _CHANGE_MONTHS)
    change: Any = np.where(night & (steps == size - HOUR), HOUR, 0) - np.where(night & (steps == size + HOUR), HOUR, 0)
    return local + np.concatenate([[0], np.cumsum(change)])


__all__ = ["Step", "Times", "Where", "gap_note", "order"]
