"""The times of a series' rows: their order, their step, what is missing between them, and what comes after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.data.steps import (
    UsualStep,
    counted,
    later_months,
    monthly_step,
    months_of,
    open_before,
    slots,
    slots_after,
    usual_step,
    weekly_step,
    without_changes,
)
from engine.data.time_text import Read

Where = Callable[[int], str]
_Ints = NDArray[np.int64]


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
        """The rows (N,) on a clock that never goes back: UTC, or the wall clock without its yearly changes."""
        local = self.read.local
        if self.read.ahead is not None:
            return local - self.read.ahead
        return without_changes(local) if self.read.written.calendar else local

    @cached_property
    def step(self) -> UsualStep | None:
        """The usual step of rows that are in order; None for fewer than two."""
        if len(self) < 2:
            return None
        if not self.read.written.calendar:
            return usual_step(self.axis)
        return monthly_step(self.read.local) or weekly_step(self.read.local) or usual_step(self.axis)

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
        """How many rows (N,) are missing before each, by the usual step; 0 if there is no even step."""
        step, lacking = self.step, np.zeros(len(self), np.int64)
        if step is None or not step.even:
            return lacking
        if step.kind == "week":
            lacking[1:] = np.diff(open_before(slots(self.read.local, step.size), step.week)) - 1
        elif step.kind == "months":
            lacking[1:] = np.diff(months_of(self.read.local)) // step.size - 1
        else:
            lacking[1:] = (np.diff(self.axis) + step.size // 2) // step.size - 1
        return np.maximum(lacking, 0)

    def after(self, count: int) -> list[str] | None:
        """Return the times of the `count` rows that follow, written as in the file; None if there is no even step."""
        step, written = self.step, self.read.written
        if step is None or not step.even:
            return None
        ahead = np.arange(1, count + 1)
        last = int(self.read.local[-1])
        if step.kind == "week":
            found = last + step.size * slots_after(int(slots(self.read.local[-1:], step.size)[0]), step.week, count)
        elif step.kind == "months":
            found = later_months(self.read.local, step.size * ahead)
        else:
            found = last + step.size * ahead
        texts = [written.write(int(at)) for at in found]
        return None if None in texts else [text for text in texts if text is not None]


def order(times: Times, where: Where, source: str, *, sort: bool) -> _Ints | None:
    """Return the rows from the oldest to the newest; None if they have this order already.

    Parameters
    ----------
    where : the name of a row in messages, such as "line 3".
    sort : whether rows may have another order.

    Raises
    ------
    DataError
        Two rows have the same time, or the rows are not in order and `sort` is off.
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
    got = f"the newest first ({place})" if newest else f"{counted(len(back), 'step')} back, the first from {place}"
    hint = f"sort the rows with --sort (sort=True), or --time none if {times.name!r} is not the time of the rows"
    raise bad_data(source, f"rows from the oldest to the newest by column {times.name!r}", got, hint)


def gap_note(times: Times, where: Where) -> str:
    """One sentence on the rows that are missing, "" if none are."""
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
        f"by column {times.name!r} and {words}, {counted(int(lacking.sum()), 'row')} "
        f"{'is' if lacking.sum() == 1 else 'are'} missing in {counted(len(gaps), 'gap')}, the first between "
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
    more = f", and {counted(len(same) - 1, 'more row')} with the time of another" if len(same) > 1 else ""
    got = f"{times.cells[first]!r} in {where(first)} and {where(second)}{more}"
    hint = (
        "keep one row of each time, split the file if it holds several series, or --time none if "
        f"{times.name!r} is not the time of the rows"
    )
    raise bad_data(source, f"each time once in column {times.name!r}", got, hint)


def _places(times: Times, where: Where, one: int, other: int, between: str = " to ") -> str:
    first, second = (f"{times.cells[row]!r} in {where(row)}" for row in (one, other))
    return first + between + second


def _span(times: Times, size: int) -> str:
    written = times.read.written
    return UsualStep("fixed", size).words if written.calendar else f"{size / 10**written.decimals:g}"


__all__ = ["UsualStep", "Times", "Where", "gap_note", "order"]
