"""The usual step of times: months by the calendar, weeks with days and hours left out, or a fixed distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.time_fields import DAY, HOUR, MINUTE

_Ints = NDArray[np.int64]
MONDAY_TO_FRIDAY = (1, 1, 1, 1, 1, 0, 0)
_CHANGE_MONTHS = (3, 4, 9, 10, 11)  # in which the clocks go forward or back, north and south


class UsualStep(NamedTuple):
    """The usual distance between two rows.

    Attributes
    ----------
    kind : "months", or "fixed" and "week": microseconds, of plain numbers units of their last decimal.
    size : how many of them.
    even : whether the rows follow it.
    week : which steps of a week the rows use, from Monday on: a 1 for each slot that is open.
    """

    kind: str
    size: int
    even: bool = True
    week: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The step in words."""
        if self.kind == "week" and self.size == DAY:
            return "1 weekday" if self.week == MONDAY_TO_FRIDAY else f"1 of {sum(self.week)} days a week"
        if self.kind == "months":
            years, months = divmod(self.size, 12)
            return counted(years, "year") if not months else counted(self.size, "month")
        for name, unit in (("week", 7 * DAY), ("day", DAY), ("hour", HOUR), ("minute", HOUR // 60)):
            if self.size % unit == 0:
                return counted(self.size // unit, name) + (" within its usual hours" if self.week else "")
        return f"{self.size / 1e6:g} seconds"


def counted(number: int, thing: str) -> str:
    """A number of things in words."""
    return f"{number:,} {thing}{'s' if number != 1 else ''}"


def _mode(numbers: _Ints) -> tuple[int, float]:
    """The most frequent of the numbers, and its share."""
    found, counts = np.unique(numbers, return_counts=True)
    place = int(np.argmax(counts))
    return int(found[place]), float(counts[place] / len(numbers))


def usual_step(axis: _Ints) -> UsualStep:
    """The most frequent distance, or the median if clocks jitter; even if most distances are whole multiples of it.

    A deviation of a tenth is allowed: a day by the wall clock has 23 or 25 hours twice a year.
    """
    steps = np.diff(axis)
    size, share = _mode(steps)
    if share < 0.5:
        size = int(np.median(steps))
    size = max(size, 1)
    multiples = np.maximum(np.rint(steps / size), 1) * size
    return UsualStep("fixed", size, even=float(np.mean(np.abs(steps - multiples) <= 0.1 * size)) >= 0.9)


def months_of(local: _Ints) -> _Ints:
    """The months (N,) of the rows, counted from January 1970."""
    return (local // DAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _month_lengths(months: _Ints) -> tuple[_Ints, _Ints]:
    """The first day of each month, in days since 1970, and how many days it has."""
    first, after = ((months + k).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for k in (0, 1))
    return first, after - first


def _days_of_month(local: _Ints) -> tuple[_Ints, _Ints]:
    """The day of each row in its month, from 1, and how many days the month has."""
    first, length = _month_lengths(months_of(local))
    return local // DAY - first + 1, length


def monthly_step(local: _Ints) -> UsualStep | None:
    """The step in months, if all rows are on the same day of a month (or its last), or each month has one row."""
    if (local % DAY != local[0] % DAY).any():
        return None
    months, days = np.diff(months_of(local)), np.diff(local // DAY)
    if (months <= 0).any():
        return None
    size, share = _mode(months)
    day, length = _days_of_month(local)
    if (day == np.minimum(day.max(), length)).all():
        return UsualStep("months", size, even=bool((months % size == 0).all()))
    one_each = len(local) > 3 and share >= 0.8 and np.median(days) >= 27 and (days != days[0]).any()
    return UsualStep("months", size) if one_each and (months % size == 0).all() else None


def later_months(local: _Ints, ahead: _Ints) -> _Ints:
    """The last row moved by so many months (K,), to the day of the month that all rows have (or its last day)."""
    day, length = _days_of_month(local)
    first, later = _month_lengths(months_of(local)[-1] + ahead)
    last_weekdays = (length - day <= 2) & ((local // DAY + 3) % 7 < 5)
    kept = np.minimum(day.max() if (day == np.minimum(day.max(), length)).all() else day[-1], later)
    if last_weekdays.all() and (day != length).any():  # the last business day of each month
        end = first + later - 1
        kept = later - np.maximum((end + 3) % 7 - 4, 0)
    return (first + kept - 1) * DAY + local[-1] % DAY


def weekly_step(local: _Ints) -> UsualStep | None:
    """The step of rows that leave out the same hours and days in every week, as those of an exchange or a shop do."""
    size, share = _mode(np.diff(local))
    if share < 0.5 or size < MINUTE or DAY % size or (local % size != local[0] % size).any():
        return None
    index = slots(local, size)
    gaps, span = int((np.diff(index) > 1).sum()), int(index[-1] - index[0] + 1)
    for period in (7 * DAY // size, DAY // size):
        found = np.isin(np.arange(period), index % period)
        week = np.tile(found, 7 * DAY // size // period)
        if size == DAY:
            friday_to_monday = (np.diff(index) == 3) & (index[1:] % 7 == 0)
            workdays = len(local) >= 6 and not found[5:].any() and bool(friday_to_monday.any())
            if workdays:
                return UsualStep("week", size, week=MONDAY_TO_FRIDAY)
            enough = len(local) >= 15 and 5 <= found.sum() <= 6
        else:
            enough = gaps >= 3 and span >= 2 * period
        # If rows are missing at random, some hours never occur either, but they explain few of the missing rows.
        opened = int(_opened(index, week)[-1])
        if enough and not found.all() and span - opened >= 2 * (opened - len(local)):
            return UsualStep("week", size, week=tuple(int(slot) for slot in week))
        if size == DAY:
            return None
    return None


def slots(local: _Ints, size: int) -> _Ints:
    """The rows (N,) as numbers of steps, from a Monday on: 1970 began on a Thursday."""
    return (local + 3 * DAY) // size


def open_before(index: _Ints, week: Sequence[int] | NDArray[Any]) -> _Ints:
    """How many open slots there are before each of these (N,), from some fixed time on; `week` says which are open."""
    counts = np.concatenate([[0], np.cumsum(np.asarray(week, np.int64))])
    return index // len(week) * counts[-1] + counts[index % len(week)]


def slots_after(last: int, week: Sequence[int], count: int) -> _Ints:
    """How many steps after slot number `last` the next `count` open ones (K,) are."""
    open_ = np.asarray(week, bool)
    ahead = np.arange(1, len(week) * (count // int(open_.sum()) + 2))
    return ahead[open_[(last + ahead) % len(week)]][:count]


def _opened(index: _Ints, week: NDArray[Any]) -> _Ints:
    """How many open slots there are from the first row up to each (N,)."""
    counts = open_before(index, week)
    return counts - counts[0] + 1


def without_changes(local: _Ints) -> _Ints:
    """A wall clock without its yearly changes: one hour twice on a Sunday in autumn, one left out in spring."""
    if len(local) < 3 or not (local % DAY).any():
        return local
    steps = np.diff(local)
    if np.median(steps) < 0:
        return without_changes(local[::-1])[::-1]
    size, share = _mode(steps)
    if share < 0.5 or size <= 0 or HOUR % size:
        return local
    after = local[1:]
    night = ((after // DAY + 3) % 7 == 6) & (after % DAY <= 3 * HOUR)
    night &= np.isin(months_of(after) % 12 + 1, _CHANGE_MONTHS)
    change: Any = np.where(night & (steps == size - HOUR), HOUR, 0) - np.where(night & (steps == size + HOUR), HOUR, 0)
    return local + np.concatenate([[0], np.cumsum(change)])
