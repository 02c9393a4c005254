"""From the fields of written times (years, months, hours, ...) to numbers of days and microseconds."""

from __future__ import annotations

from datetime import date, datetime
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
EPOCH = datetime(1970, 1, 1)
SHORT_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
FULL_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


def field_numbers(texts: dict[str, tuple[Any, ...]], name: str, default: int) -> NDArray[np.int64]:
    """The field `name` of every cell, `default` where it is left out."""
    found = texts.get(name)
    count = len(texts["Y"])
    if found is None:
        return np.full(count, default, np.int64)
    return np.fromiter((default if text is None else int(text) for text in found), np.int64, count)


def full_years(texts: tuple[str, ...]) -> NDArray[np.int64]:
    """Years; with two digits, 69..99 mean 1969..1999, as in POSIX."""
    years = np.fromiter(map(int, texts), np.int64, len(texts))
    short = np.fromiter((len(text) == 2 for text in texts), bool, len(texts))
    return np.where(short, years + np.where(years >= 69, 1900, 2000), years)


def month_numbers(texts: dict[str, tuple[Any, ...]], day_first: bool) -> NDArray[np.int64]:
    """Months from 1; 0 where a name is not that of a month."""
    if "mon" in texts:
        names = {name: place % 12 + 1 for place, name in enumerate((*SHORT_MONTHS, *FULL_MONTHS))} | {"sept": 9}
        return np.fromiter((names.get(text.lower(), 0) for text in texts["mon"]), np.int64, len(texts["mon"]))
    if "q" in texts:
        return 3 * field_numbers(texts, "q", 1) - 2
    if "a" in texts:
        return field_numbers(texts, "b" if day_first else "a", 1)
    return field_numbers(texts, "m", 1)


def calendar_days(
    years: NDArray[np.int64], months: NDArray[np.int64], days: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Days (N,) since 1970, and which of the dates exist."""
    index = 12 * (years - 1970) + months - 1
    first, after = ((index + k).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for k in (0, 1))
    good = (years >= 1) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= after - first)
    return first + days - 1, good


def week_days(
    years: NDArray[np.int64], weeks: NDArray[np.int64], days: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Days (N,) since 1970 of ISO weeks, and which of them exist."""

    def day(year: int, week: int, weekday: int) -> int | None:
        try:
            return (date.fromisocalendar(year, week, weekday) - EPOCH.date()).days
        except ValueError:
            return None

    found = list(starmap(day, zip(years.tolist(), weeks.tolist(), days.tolist(), strict=True)))
    return np.array([k or 0 for k in found], np.int64), np.array([k is not None for k in found])


def times_of_day(texts: dict[str, tuple[Any, ...]], count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The time of the day (N,) in microseconds, and which of these times exist."""
    if "H" not in texts:
        return np.zeros(count, np.int64), np.ones(count, bool)
    hours, minutes, seconds = (field_numbers(texts, name, 0) for name in "HMS")
    halves = np.array([text is not None for text in texts["p"]])
    late = np.array([text is not None and text[0] in "pP" for text in texts["p"]])
    good = np.where(halves, (hours >= 1) & (hours <= 12), hours <= 24) & (minutes < 60) & (seconds < 60)
    good &= np.array([not (text or "")[6:].strip("0") for text in texts["f"]])  # no finer than microseconds
    good &= (hours < 24) | ((minutes == 0) & (seconds == 0))
    hours = np.where(halves, hours % 12 + 12 * late, hours)
    parts = np.fromiter((int((text or "0").ljust(6, "0")[:6]) for text in texts["f"]), np.int64, count)
    return hours * HOUR + minutes * MINUTE + seconds * (MINUTE // 60) + parts, good


def zone_ahead(zone: str) -> int:
    """Microseconds that a clock of this zone is ahead of UTC."""
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * HOUR + int(digits[2:]) * MINUTE)
