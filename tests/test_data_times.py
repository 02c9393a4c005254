"""The times of a series' rows: reading, order, step, gaps, and what comes after the last row."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from engine.data import load_series
from engine.data.delimited import read_delimited
from engine.data.time_column import find_times, named_as_time
from engine.data.time_text import Read, read_times
from engine.data.times import Times, gap_note, order
from engine.errors import DataError

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1)


def times_of(cells: Sequence[str], name: str = "date") -> Times:
    read = read_times(cells, numeric=True)
    assert isinstance(read, Read), (read, cells[:3])
    return Times(name, cells, read)


def found(header: str, *rows: str, wanted: str | None = None) -> tuple[Times | None, str]:
    """The times of a table whose last column is the series."""
    text = "\n".join([header, *rows]) + "\n"
    table = read_delimited(text, "f.csv", decimal=None, delimiter=",", skip=0)
    return find_times(table, table.names[-1:], wanted)


def line(row: int) -> str:
    return f"line {row + 2}"


def days(
    count: int, form: str = "%Y-%m-%d", start: datetime = datetime(2024, 1, 20), step: timedelta = DAY
) -> list[str]:
    return [(start + k * step).strftime(form) for k in range(count)]


# -- reading and writing ---------------------------------------------------------------------------------------------

FORMS = [
    ("%Y-%m-%d", DAY),
    ("%Y/%m/%d", DAY),
    ("%d.%m.%Y", DAY),
    ("%d %b %Y", DAY),
    ("%d-%b-%y", DAY),
    ("%B %d, %Y", DAY),
    ("%Y%m%d", DAY),
    ("%Y-%m-%d %H:%M", timedelta(minutes=20)),
    ("%Y-%m-%dT%H:%M:%S", timedelta(seconds=7)),
    ("%Y-%m-%d %H:%M:%S.%f", timedelta(milliseconds=40)),
    ("%Y-%m-%dT%H:%MZ", timedelta(hours=6)),
    ("%Y-%m-%d %H:%M:%S+05:30", timedelta(hours=1)),
    ("%d.%m.%Y %H:%M", timedelta(hours=5)),
    ("%Y-%m-%d %I:%M %p", timedelta(hours=1)),
    ("%G-W%V-%u", DAY),
    ("%G-W%V", 7 * DAY),
]


@pytest.mark.parametrize(("form", "step"), FORMS)
@settings(max_examples=10)
@given(start=st.datetimes(datetime(1971, 1, 1), datetime(2060, 1, 1)), count=st.integers(12, 40))
def test_what_is_written_is_read_and_goes_on_in_the_same_way(
    form: str, step: timedelta, start: datetime, count: int
) -> None:
    start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    if "W" in form:
        start -= start.weekday() * DAY
    moments = [start + k * step for k in range(count + 4)]
    times = times_of([moment.strftime(form) for moment in moments[:count]])
    exact = [(moment - EPOCH) // timedelta(microseconds=1) for moment in moments]
    assert times.read.local.tolist() == exact[:count]
    if "%B" in form and {moment.month for moment in moments[:count]} == {5}:
        return  # May does not tell whether months are written out
    assert times.in_order
    assert not times.missing_before().any()
    assert times.after(4) == [moment.strftime(form) for moment in moments[count:]]


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m/%d/%y"])
@settings(max_examples=10)
@given(start=st.dates(date(1971, 1, 1), date(2060, 1, 1)))
def test_day_and_month_are_told_apart_by_the_column(form: str, start: date) -> None:
    cells = [(start + k * DAY).strftime(form) for k in range(44)]
    times, note = found("date,v", *[f"{cell},1" for cell in cells[:40]])
    assert times is not None
    assert (times.after(4), note) == (cells[40:], "")


def test_what_leaves_day_and_month_open_is_said() -> None:
    times, note = found("date,v", "03/04/2021,1", "05/06/2021,2")
    assert times is not None
    assert "column 'date' does not tell day from month ('05/06/2021'): it is read as month/day; write the year" in note
    # The first of each month is a step, the first seven days of January would be one as well.
    times, note = found("date,v", "1/2/2021,1", "1/3/2021,1", "1/4/2021,2", "1/6/2021,2")
    assert times is not None
    assert "does not tell" in note


def test_numbers_are_dates_where_their_size_says_so() -> None:
    start = 1_700_000_000
    for factor, form in ((1, "{}"), (1000, "{}"), (1_000_000, "{}")):
        times = times_of([form.format((start + 60 * k) * factor) for k in range(5)], "timestamp")
        assert times.read.written.form == "epoch"
        assert times.read.local.tolist() == [(start + 60 * k) * 1_000_000 for k in range(5)]
        assert times.after(2) == [form.format((start + 60 * k) * factor) for k in (5, 6)]
    assert times_of([f"{start + 0.5 * k:.2f}" for k in range(5)]).after(1) == [f"{start + 2.5:.2f}"]
    assert times_of(["0.1", "0.2", "0.3"]).after(2) == ["0.4", "0.5"]
    assert times_of(["1990", "1991", "1992"]).after(2) == ["1993", "1994"]
    assert times_of(["202011", "202012"]).after(2) == ["202101", "202102"]


@pytest.mark.parametrize(
    "cells",
    [
        ["2020-02-30", "2020-03-01"],
        ["2020-13-01"],
        ["31.04.2021"],
        ["2020-01-01 25:00"],
        ["2020-01-01 10:60"],
        ["2020-01-01 10:00:00.123456789"],
        ["2021-W53-1"],
        ["13/13/2020"],
        ["Foo 3, 2020"],
        ["2020-01-01 13:00 PM"],
        ["Jan 20"],
        ["1-2"],
        ["3.5.7"],
        ["+1"],
        [""],
        ["NaT"],
        ["now"],
    ],
)
def test_what_is_no_time_is_not_read_as_one(cells: list[str]) -> None:
    assert not isinstance(read_times(cells), Read)


STAMPS = ["0001-01-01", "9999-12-31", "9999Q4", "1700000000.000001", "2020-02-29 23:59:59.999999", "12/31/99 12:00 am"]


@given(
    st.sampled_from(STAMPS), st.lists(st.tuples(st.integers(0, 30), st.sampled_from("0123456789-:. TZQ")), max_size=9)
)
def test_no_column_is_too_odd(stamp: str, changes: list[tuple[int, str]]) -> None:
    """Steps of microseconds, years without end: what is read as times has a step, gaps and an order, or is refused."""
    cells = [stamp] + [stamp[:place] + letter + stamp[place + 1 :] for place, letter in changes]
    read = read_times(cells, numeric=True)
    for found in (read, read.other) if isinstance(read, Read) else ():
        if found is not None:
            times = Times("date", cells, found)
            if times.distinct:
                rows = order(times, line, "f", sort=True)
                times = times if rows is None else times.take(rows)
                assert (times.missing_before() >= 0).all()
                assert gap_note(times, line) is not None
                assert times.after(3) is None or len(times.after(3) or []) == 3


# -- steps of the calendar -------------------------------------------------------------------------------------------


@given(st.integers(1800, 2200), st.integers(1, 12), st.integers(1, 31), st.sampled_from([1, 2, 3, 6, 12]))
def test_months_end_on_their_last_day_where_the_day_is_not_there(year: int, month: int, day: int, step: int) -> None:
    def moment(k: int) -> str:
        y, m = divmod(12 * year + month - 1 + k * step, 12)
        return date(y, m + 1, min(day, calendar.monthrange(y, m + 1)[1])).isoformat()

    cells = [moment(k) for k in range(30)]
    times = times_of(cells[:26])
    if max(int(cell[-2:]) for cell in cells) != max(int(cell[-2:]) for cell in cells[:26]):
        return  # no row shows the day: every 30 of 31, say
    assert times.after(4) == cells[26:]
    assert not times.missing_before().any()
    lacking = [*cells[:7], *cells[9:26]]
    assert times_of(lacking).missing_before().tolist() == [0] * 7 + [2] + [0] * 16


def test_quarters_months_and_business_days() -> None:
    assert times_of(["2019Q3", "2019Q4", "2020Q1"]).after(2) == ["2020Q2", "2020Q3"]
    assert times_of(["Q4 2019", "Q1 2020"]).after(2) == ["Q2 2020", "Q3 2020"]
    assert times_of(["1949-11", "1949-12", "1950-01"]).after(1) == ["1950-02"]
    assert times_of(["Nov 1949", "Dec 1949", "Jan 1950"]).after(1) == ["Feb 1950"]
    friday = datetime(2024, 3, 1)
    weekdays = [friday + k * DAY for k in range(60) if (friday + k * DAY).weekday() < 5]
    cells = [f"{day:%Y-%m-%d}" for day in weekdays]
    assert times_of(cells[:30]).after(12) == cells[30:42]
    assert not times_of(cells).missing_before().any()
    holiday = times_of([*cells[:9], *cells[10:]])
    assert holiday.missing_before().sum() == 1
    sunday_to_thursday = [
        f"{friday + k * DAY:%Y-%m-%d}" for k in range(60) if (friday + k * DAY).weekday() not in (4, 5)
    ]
    assert times_of(sunday_to_thursday[:30]).after(10) == sunday_to_thursday[30:40]
    last_business_days = (
        "2023-01-31 2023-02-28 2023-03-31 2023-04-28 2023-05-31 2023-06-30 2023-07-31 2023-08-31 2023-09-29"
    )
    cells = last_business_days.split()
    assert times_of(cells[:7]).after(2) == cells[7:]


@pytest.mark.parametrize(("minutes", "weeks"), [(60, 5), (30, 3), (60, 1)])
def test_hours_that_are_always_closed_are_no_gaps(minutes: int, weeks: int) -> None:
    monday, step = datetime(2024, 1, 1), timedelta(minutes=minutes)
    moments = [monday + k * step for k in range((weeks + 1) * 7 * 24 * 60 // minutes)]
    opened = [f"{m:%Y-%m-%d %H:%M}" for m in moments if m.weekday() < 5 and 9 <= m.hour < 16]
    count = weeks * 5 * 7 * 60 // minutes
    times = times_of(opened[:count])
    assert not times.missing_before().any()
    if weeks > 1:  # one week does not tell that Saturday is always closed
        assert times.after(20) == opened[count : count + 20]
    lacking = times_of(opened[:17] + opened[20:count])
    assert (int(lacking.missing_before()[17]), int(lacking.missing_before().sum())) == (3, 3)


@given(st.integers(0, 99), st.floats(0.1, 0.4))
def test_rows_that_are_missing_at_random_are_no_closed_hours(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    hours = np.flatnonzero(rng.random(24 * 21) >= share)
    times = times_of([f"{datetime(2024, 1, 1) + timedelta(hours=int(h)):%Y-%m-%d %H:%M}" for h in hours])
    assert times.missing_before().sum() == hours[-1] - hours[0] + 1 - len(hours)


@pytest.mark.parametrize("minutes", [15, 60])
@pytest.mark.parametrize("start", [datetime(2023, 10, 28, tzinfo=UTC), datetime(2024, 3, 30, tzinfo=UTC)])
@pytest.mark.parametrize("back", [False, True])
def test_changes_of_the_clocks_are_neither_gaps_nor_repetitions(minutes: int, start: datetime, back: bool) -> None:
    zone = ZoneInfo("Europe/Berlin")
    moments = [(start + k * timedelta(minutes=minutes)).astimezone(zone) for k in range(48 * 60 // minutes)]
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%z"):
        cells = [moment.strftime(form) for moment in moments][:: -1 if back else 1]
        times = times_of(cells)
        if back:
            rows = order(times, str, "f", sort=True)
            assert rows is not None
            assert rows.tolist() == list(range(len(cells)))[::-1]
            times = times.take(rows)
        assert times.in_order
        assert not times.missing_before().any()
        expected = moments[-1] + timedelta(minutes=minutes)
        assert times.after(1) == [expected.strftime(form)]


# -- order and gaps --------------------------------------------------------------------------------------------------


@given(st.permutations(range(9)))
def test_rows_out_of_order_are_refused_and_can_be_sorted(places: list[int]) -> None:
    cells = days(9)
    times = times_of([cells[place] for place in places])
    if places == sorted(places):
        assert order(times, line, "f", sort=False) is None
        return

    def where(row: int) -> str:
        return f"line {2 * row + 5}"

    back = next(k for k in range(8) if places[k] > places[k + 1])
    with refused(DataError, "f: expected rows from the oldest to the newest by column 'date', got ", "--sort"):
        order(times, where, "f", sort=False)
    with refused(DataError, f"'{cells[places[back]]}' in line {2 * back + 5} to ", f" in line {2 * back + 7}"):
        order(times, where, "f", sort=False)
    rows = order(times, where, "f", sort=True)
    assert rows is not None
    assert list(times.take(rows).cells) == cells


@pytest.mark.parametrize("sort", [False, True])
def test_a_time_that_stands_twice_is_refused_with_its_lines(sort: bool) -> None:
    cells = days(6)
    times = times_of([*cells[:4], cells[1], *cells[4:], cells[5]])
    with refused(DataError, f"each time once in column 'date', got '{cells[1]}' in line 3 and line 6, and 1 more row"):
        order(times, line, "f", sort=sort)
    with refused(DataError, "got the newest first ('2024-01-25' in line 2 to '2024-01-24' in line 3); sort the rows"):
        order(times_of(cells[::-1]), line, "f", sort=False)


def test_gaps_are_counted_and_named() -> None:
    cells = days(12)
    assert gap_note(times_of(cells), line) == ""
    note = gap_note(times_of([*cells[:3], cells[4], *cells[7:]]), line)
    for words in (
        "a step of 1 day, 3 rows are missing in 2 gaps, the first between '2024-01-22' in line 4 and '2024-01-24'",
        "--regular",
        "--missing interpolate",
    ):
        assert words in note
    odd = ["2020-01-01", "2020-01-02", "2020-02-11", "2020-02-13", "2020-07-01", "2020-07-04"]
    times = times_of(odd)
    assert "not evenly spaced (1 day to " in gap_note(times, line)
    assert times.after(3) is None
    rng = np.random.default_rng(3)  # a clock that jitters by a few seconds is even
    seconds = 60 * np.arange(50) + rng.integers(-3, 4, 50)
    jitter = [(datetime(2024, 1, 1) + timedelta(seconds=int(s))).isoformat(" ") for s in seconds]
    assert gap_note(times_of(jitter), line) == ""


# -- which column ----------------------------------------------------------------------------------------------------


def test_the_column_of_times_is_found() -> None:
    assert named_as_time("Date")
    assert named_as_time("measuredAt_time")
    assert named_as_time("")
    assert named_as_time("obsdate")
    assert not named_as_time("update")
    assert not named_as_time("runtime")
    assert not named_as_time("valued")
    for header, rows, name in [
        ("v0,when,v", [f"{3 - k},{day},1" for k, day in enumerate(days(3))], "when"),
        ("a,b,v", [f"{day},x,1" for day in days(3)], "a"),
        ("date,created,v", [f"{day},2020-01-0{9 - k},1" for k, day in enumerate(days(3))], "date"),
        ("t,v", ["0,1", "2,3", "4,5"], "t"),
        ("t,v", ["0,1", "4,5", "2,3"], "t"),  # evenly spaced but for the order
        ("year,month,v", ["2019,11,1", "2019,12,2", "2020,1,3"], "year, month"),
        ("Year,Quarter,v", ["2019,3,1", "2019,4,2", "2020,1,3"], "Year, Quarter"),
        ("year,month,day,hour,v", ["2019,1,31,22,1", "2019,1,31,23,2", "2019,2,1,0,3"], "year, month, day, hour"),
        (",date,v", [f"{k},{day},1" for k, day in enumerate(days(3)[::-1])], "date"),  # beside the numbers of the rows
        ("update_date,date,v", [f"{day},{2024 - k}-01-01,1" for k, day in enumerate(days(3))], "date"),
        ("unixtime,v", [f"{1_700_000_000 + 60 * k},1" for k in (2, 1, 0)], "unixtime"),
        ("date,time,v", ["2019-01-31,23:00,1", "2019-02-01,00:00,2", "2019-02-01,01:00,2"], "date, time"),
        ("date,hour,v", ["31.01.2019,22,1", "31.01.2019,23,1", "01.02.2019,0,2"], "date, hour"),
    ]:
        times, note = found(header, *rows)
        assert times is not None, header
        assert (times.name, note) == (name, "")
    for header, rows in [
        ("v,w", ["2020,1", "2019,1", "2018,4"]),  # numbers, and no name that says more
        ("hour,v", [f"{k % 24},1" for k in range(30)]),
        ("time,v", ["3.5,1", "2.25,2", "9,3"]),  # seconds that something took
        ("fetched,v", ["2020-01-01,1"] * 4),
        ("name,v", ["2020-01-01,1", "x,2"]),
        ("v", ["1", "2"]),
    ]:
        assert found(header, *rows) == (None, ""), header
    assert found("date,v", *[f"{day},1" for day in days(3)][::-1], wanted="none") == (None, "")
    times, _ = found("x,date,v", "3,2020-01-02,1", "4,2020-01-01,1", wanted="x")
    assert times is not None
    assert times.after(1) == ["5"]


def test_what_is_not_understood_is_said_or_refused() -> None:
    times, note = found("date,v", "1 Jan,1", "2 Jan,1")
    assert times is None
    assert "column 'date' is not understood as the times of the rows ('1 Jan' in line 2), so their order" in note
    assert "'year'" in found("year,v", "2020,1", "2020,2", "2021,3")[1]
    with refused(DataError, "f.csv: expected a time in every cell of column 'date', written as year-month-day",
                 "got '03.01.2020' in line 4", "--time none"):  # fmt: skip
        found("date,v", "2020-01-01,1", "2020-01-02,1", "03.01.2020,2")
    with refused(DataError, "got '' in line 3"):
        found("date,v", "2020-01-01,1", ",1", "2020-01-03,2")
    with refused(DataError, "year-month-day with a time zone", "got '2020-01-01 02:00' in line 3"):
        found("date,v", "2020-01-01 01:00Z,1", "2020-01-01 02:00,1")
    with refused(DataError, "got '2021-02-29' in line 3"):
        found("date,v", "2021-02-28,1", "2021-02-29,1")
    with refused(DataError, "expected a column among 'date', 'v', got 'x'"):
        found("date,v", "2020-01-01,1", wanted="x")
    with refused(DataError, "expected a time in every cell of column 'w', got 'a' in line 2"):
        found("w,v", "a,1", "b,2", wanted="w")


def test_the_index_of_a_data_frame_holds_times_as_a_column_does() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"v": np.arange(9.0)}, index=pandas.date_range("2024-01-31", periods=9, freq="ME"))
    for table in (frame, frame["v"], frame.to_period("M"), frame.set_index(frame.index.strftime("%Y-%m-%d"))):
        series = load_series(table)
        assert series.times is not None
        assert (series.times.after(2) or [])[1].startswith("2024-11")
        with refused(DataError, "expected rows from the oldest to the newest", "got the newest first"):
            load_series(table[::-1])
        assert (load_series(table[::-1], sort=True).values[:, 0] == np.arange(9)).all()
        with refused(DataError, "expected each time once", " in row 0 and row 9, and 8 more rows"):
            load_series(pandas.concat([table, table]))
    rows = frame.reset_index(drop=True).sample(frac=1, random_state=0)  # numbers of rows are no times
    for table in (rows, frame.set_index(pandas.Index([f"r{k}" for k in range(9)]))):
        series = load_series(table)
        assert (series.times, series.notes) == (None, ())
