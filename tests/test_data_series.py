"""Series: CSV and NPY files, gaps, scaling, and the baselines a forecast is judged by."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from refusals import refused

from engine.data import (
    Identity,
    LinearAutoregression,
    MinMaxScaler,
    Scaler,
    Series,
    ZScoreScaler,
    baseline_forecasts,
    chronological_split,
    load_series,
    persistence,
    scaler_from_json,
    score,
    seasonal_naive,
    split_windows,
    windows,
)
from engine.errors import DataError, InputError, InputTypeError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "series.csv"


# --- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_csv_columns_are_found_by_name_in_the_order_asked_for(file: Path, delimiter: str, line_end: str) -> None:
    rows = [["date", "a", "b c"], ["1 Jan", "1.5", "-2e3"], ["2 Jan", "+.5", " 7 "], ["3 Jan", "0", "1"]]
    write(file, "\ufeff" + line_end.join(delimiter.join(row) for row in rows) + line_end)
    series = load_series(file, ["b c", "a"])
    assert series.values.tolist() == [[-2000, 1.5], [7, 0.5], [1, 0]]
    assert (series.names, series.filled_count, series.source) == (("b c", "a"), 0, str(file))
    assert series.values.dtype == np.float64
    assert load_series(str(file), "a").values.tolist() == [[1.5], [0.5], [0]]


def test_csv_with_one_column_needs_no_name_and_quotes_are_understood(file: Path) -> None:
    assert load_series(write(file, "level\n1\n2\n\n\n")).values.ravel().tolist() == [1, 2]
    write(file, '\n\n"a, with; signs",t\n"1",x\n2,"y\nz"\n3,w')
    assert load_series(file, "a, with; signs").values.ravel().tolist() == [1, 2, 3]


def test_the_delimiter_is_the_one_the_rows_agree_with(file: Path) -> None:
    write(file, "height (m, cm, mm);t\n1.5;2\n2.5;3\n")
    assert load_series(file, "t").values.ravel().tolist() == [2, 3]
    write(file, " \n\ta, b, c\tt\n0\t1.5\t2\n1\t2.5\t3\n")  # a column without a name, and a blank line first
    assert load_series(file, "t").values.ravel().tolist() == [2, 3]


@given(arrays(np.float64, (7, 3), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_csv_and_npy_bring_back_every_float_exactly(tmp_path_factory: pytest.TempPathFactory, table: Any) -> None:
    folder = tmp_path_factory.mktemp("exact")
    text = "a,b,c\n" + "".join(",".join(repr(float(v)) for v in row) + "\n" for row in table)
    got = load_series(write(folder / "x.csv", text), ["a", "b", "c"]).values
    assert got.tobytes() == table.tobytes()
    np.save(folder / "x.npy", table)
    assert load_series(folder / "x.npy").values.tobytes() == table.tobytes()


CSV_REFUSALS = [
    ("a,b\n1,2\n3,x1\n", "b", "expected numbers, got 'x1' in line 3, column 'b'; write plain finite numbers"),
    ("a,b\n1,2\n3,1_000\n", "b", "expected numbers, got '1_000' in line 3, column 'b'; write"),
    (
        "a;b\n1;2.5\n3;1,5\n",
        "b",
        "got '1,5' in line 3, column 'b', which is not written like the numbers before it; wr",
    ),
    ("a,b\n1,2\n3,-inf\n", "b", "expected numbers, got '-inf' in line 3, column 'b'; write plain finite"),
    ("a,b\n1,2\n3,1e999\n", "b", "expected numbers, got '1e999' in line 3, column 'b'; write plain finite"),
    ('a,b\n"1\n",2\n3,z\n', "b", "expected numbers, got 'z' in line 4, column 'b'; write"),
    ("a,b\n1,2\n3\n", "a", "expected 2 cells a row as in the header line, got 1 in line 3; give"),
    ("a,b\n1,2\n3,4,5\n", "a", "expected 2 cells a row as in the header line, got 3 in line 3; give"),
    ("a\n1,5\n2,5\n", None, "expected 1 cells a row as in the header line, got 2 in line 2; give"),
    ("a,b\n1,2\n3,4\n", "c", "expected a column among 'a', 'b', got 'c'; choose"),
    ("a,b\n1,2\n3,4\n", None, "expected a column named among 'a', 'b', got none; say which"),
    ("a,a\n1,2\n3,4\n", "a", "expected a column among 'a', 'a', got 'a', which 2 columns are called; give them"),
    ("1,2\n3,4\n", None, "expected a header line with column names, got the numbers '1', '2'; put"),
    ("a,b\n", "a", "expected rows of numbers below the header line, got the first line alone; give"),
    ("a,b\n\n \n", "a", "expected rows of numbers below the header line, got the first line alone; give"),
    ("a\n1\n", None, "expected at least 2 rows of data, got 1; give a longer"),
    ("", None, "expected a CSV file with a header line, or an NPY file of numbers, got an empty file; check"),
    (
        "\n \n",
        None,
        "or an NPY file of numbers, got nothing but blank lines; ch",
    ),
    (
        'a,b\n1,2\n"3,4\n5,6\n',
        "a",
        "well-formed CSV, got an error from line 3 on (unexpected end of data); chec",
    ),
    ("a" * 200_000, None, "expected well-formed CSV, got an error from line 1 on (field larger"),
    (
        b"a,b\n1,\xff\x9d\xdb\xa5\x90\x81\xea\n",
        "a",
        "got the byte 0xff at offset 6 (line 2), which is not UTF-8; if it is text, name",
    ),
    (b"ab\x03\x04\x00", "a", "got a binary file (a zero byte at offset 4); unpack"),
    (b"PK\x03\x04\x00", "a", "got a binary file (a ZIP archive or an Excel workbook); unpack"),
]


@pytest.mark.parametrize(("content", "column", "message"), CSV_REFUSALS)
def test_csv_refusals(file: Path, content: str | bytes, column: str | None, message: str) -> None:
    with refused(DataError, f"{file}: ", message):
        load_series(write(file, content), column)


def test_a_long_list_of_columns_is_shortened(file: Path) -> None:
    write(file, ",".join(f"c{i}" for i in range(25)) + "\n" + (",".join("1" * 25) + "\n") * 2)
    with refused(DataError, "expected a column among 'c0', ", "'c19' and 5 more, got 'x'; choose"):
        load_series(file, "x")


def test_column_and_missing_refusals(file: Path) -> None:
    write(file, "a,b\n1,2\n3,4\n")
    with refused(InputError, 'missing: expected "error" or "interpolate", got \'drop\'; choose'):
        load_series(file, "a", missing="drop")
    with refused(InputTypeError, "column: expected a column name or a list of them, got 1; use the names"):
        load_series(file, 1)  # type: ignore[arg-type]
    with refused(InputError, "column: expected at least one column name, got an empty list; leave"):
        load_series(file, [])
    with refused(InputError, "column: expected each column once, got 'a' twice; name"):
        load_series(file, ["a", "b", "a"])
    with refused(DataError, f"{file.parent / 'no.csv'}: expected a CSV file", "got no such file; check"):
        load_series(file.parent / "no.csv")
    with refused(DataError, f"{file.parent}: expected a CSV file", "got a directory; name"):
        load_series(file.parent)


# --- gaps -----------------------------------------------------------------------------------------------------------

GAPPY = "t,a,b\n1,NA,0\n2,,1\n3,2,nan\n4,NaN,3\n5,5,.\n6,null,4\n7,n/a,5\n"


def test_missing_cells_are_an_error_that_counts_them_and_names_the_first_line(file: Path) -> None:
    write(file, GAPPY)
    with refused(
        DataError,
        f"{file}: expected a number in every cell, got 7 missing cells, the first in line 2, column 'a'; ",
        '--missing interpolate (missing="interpolate")',
    ):
        load_series(file, ["b", "a"])
    with refused(DataError, "got 2 missing cells, the first in line 4, column 'b'; fill"):
        load_series(file, "b")
    with refused(DataError, "got 1 missing cell, the first in line 3, column 'a'; fill"):
        load_series(write(file, "a\n1\n\n3\n"))
    assert load_series(write(file, GAPPY), "t").filled_count == 0


def test_interpolation_is_linear_inside_and_flat_at_the_edges(file: Path) -> None:
    series = load_series(write(file, GAPPY), ["a", "b"], missing="interpolate")
    assert series.values[:, 0].tolist() == [2, 2, 2, 3.5, 5, 5, 5]
    assert series.values[:, 1].tolist() == [0, 1, 2, 3, 3.5, 4, 5]
    assert series.filled_count == 7
    assert series.filled.tolist() == [[a, b] for a, b in zip([1, 1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 1, 0, 0], strict=True)]
    # In a file of one column a blank line inside is a missing cell; empty rows at the end are none.
    series = load_series(write(file, 'a\n1\n\n""\n4\n""\n \n'), missing="interpolate")
    assert series.values.ravel().tolist() == [1, 2, 3, 4]
    assert series.filled.ravel().tolist() == [False, True, True, False]


def test_a_column_of_gaps_alone_cannot_be_filled(file: Path) -> None:
    with refused(DataError, f"{file}: expected some numbers in column 'b', got missing cells alone; choose"):
        load_series(write(file, "a,b\n1,\n2,NA\n"), ["a", "b"], missing="interpolate")


@given(arrays(np.float64, (9, 2), elements=st.floats(-1e6, 1e6) | st.just(np.nan)))
def test_interpolation_fills_all_gaps_within_the_known_range_and_changes_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, table: Any
) -> None:
    table[3] = [4.0, -5.0]
    path = tmp_path_factory.mktemp("gaps") / "x.npy"
    np.save(path, table)
    series = load_series(path, missing="interpolate")
    known = ~np.isnan(table)
    assert (series.values[known] == table[known]).all()
    assert series.filled_count == (~known).sum()
    assert (series.values >= np.nanmin(table, axis=0)).all()
    assert (series.values <= np.nanmax(table, axis=0)).all()
    # A stretch of gaps between two known rows has no kink: its second differences vanish.
    for k in range(2):
        at = np.flatnonzero(known[:, k])
        expected = np.array([np.interp(row, at, table[at, k]) for row in range(9)])
        np.testing.assert_allclose(series.values[:, k], expected, rtol=1e-12)


# --- NPY ------------------------------------------------------------------------------------------------------------


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_npy_columns_are_numbered_and_the_content_decides_not_the_name(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    path = write(tmp_path / "x.dat", npy(np.asfortranarray(table)))
    assert load_series(path).names == ("0", "1", "2")
    series = load_series(path, ["2", "0"])
    assert series.values.dtype == np.float64
    assert (series.values == table[:, [2, 0]]).all()
    series = load_series(write(tmp_path / "y.npy", npy(table[:, 0])))
    assert series.values.shape == (5, 1)
    with refused(DataError, "expected a column among '0', '1', '2', got '3'; choose"):
        load_series(path, "3")


class Trap:
    """Unpickling this runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code from a data file was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            npy(np.array([True, False])),
            "expected numbers (N,) or (N, C) of at most 64 bits, got dtype bool; write it again",
        ),
        (npy(np.zeros(3, dtype=complex)), "got dtype complex128; write it again"),
        (npy(np.array(["1", "2"])), "got dtype <U1; write it again"),
        (npy(np.float64(3)), "expected numbers (N,) or (N, C), got shape (); give"),
        (npy(np.zeros((2, 2, 2))), "expected numbers (N,) or (N, C), got shape (2, 2, 2); give"),
        (npy(np.zeros((4, 0))), "expected numbers (N,) or (N, C), got shape (4, 0); give"),
        (npy(np.zeros(1)), "expected at least 2 rows of data, got 1; give"),
        (npy(np.zeros((0, 3))), "expected at least 2 rows of data, got 0; give"),
        (npy(np.array([1.0, np.inf])), "expected finite numbers, got inf in row 1, column '0'; correct"),
        (npy(np.array([1.0, 2.0, np.nan])), "got 1 missing cell, the first in row 2, column '0'; fill"),
        (npy(np.zeros(50))[:-8], "expected an NPY file of numbers (N,) or (N, C), got a damaged file ("),
        (npy(np.zeros(50))[:20], "expected an NPY file of numbers (N,) or (N, C), got a damaged file ("),
        (npy(np.array([Trap(), 1]), allow_pickle=True), "got an array of Python objects; write it again"),
        (pickle.dumps(Trap()), "got a file without the NPY signature; write one array"),
        (b"PK\x03\x04rest", "got a ZIP archive (NPZ); write one array"),
        (b"", "got an empty file; check"),
    ],
)
def test_npy_refusals(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "x.npy", content)
    with refused(DataError, f"{path}: ", message):
        load_series(path)


@given(st.integers(6, 127), st.integers(0, 255))
def test_a_damaged_npy_header_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    content = bytearray(npy(np.arange(6.0)))
    content[place] = byte
    path = write(tmp_path_factory.mktemp("hurt") / "x.npy", bytes(content))
    try:
        series = load_series(path, missing="interpolate")
    except DataError as error:
        message = str(error)
    else:
        assert np.isfinite(series.values).all()
        return
    assert message.startswith(f"{path}: expected ")
    assert "\n" not in message


# --- scaling --------------------------------------------------------------------------------------------------------

SCALERS: list[type[Scaler]] = [MinMaxScaler, ZScoreScaler, Identity]
TABLES = arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.floats(-1e9, 1e9))


@pytest.mark.parametrize("kind", SCALERS)
@given(table=TABLES, seed=st.integers(0, 99))
def test_inverse_undoes_transform_also_outside_the_fitted_range(kind: type[Scaler], table: Any, seed: int) -> None:
    scaler = kind().fit(table)
    assert scaler.scale is not None
    assert scaler.offset is not None
    other = np.random.default_rng(seed).uniform(-3, 3, (4, 2, table.shape[1])) * scaler.scale + scaler.offset
    atol = 1e-14 * (np.abs(scaler.offset) + scaler.scale)
    assert (np.abs(scaler.inverse(scaler.transform(other)) - other) <= 8 * atol).all()
    for column in range(table.shape[1]):
        back = scaler.inverse_column(scaler.transform(other)[..., column], column)
        assert (back == scaler.inverse(scaler.transform(other))[..., column]).all()


@given(TABLES)
def test_min_max_maps_the_training_range_to_zero_and_one(table: Any) -> None:
    scaled = MinMaxScaler().fit(table).transform(table)
    tiny = np.finfo(np.float64).tiny
    moving = table.max(axis=0) - table.min(axis=0) >= tiny  # less is taken for constant
    assert (scaled.min(axis=0) == 0).all()
    assert (scaled.max(axis=0)[moving] == 1).all()
    assert (scaled[:, ~moving] < tiny).all()


def test_z_score_is_mean_and_population_deviation() -> None:
    rng = np.random.default_rng(7)
    table = rng.standard_normal((31, 3)) * [1e-200, 3.0, 1e150] + [1e-199, -5.0, 1e151]
    scaler = ZScoreScaler().fit(table)
    assert scaler.offset is not None
    assert scaler.scale is not None
    # With exact scale factors the squares of the plain formula neither vanish nor overflow.
    plain = (table * [1e200, 1.0, 1e-150]).std(axis=0) * [1e-200, 1.0, 1e150]
    np.testing.assert_allclose(scaler.offset, table.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, plain, rtol=1e-12)


@pytest.mark.parametrize("kind", [MinMaxScaler, ZScoreScaler])
@pytest.mark.parametrize("value", [0.1, 0.0, -370.3, 1e-310, 1e300])
def test_a_constant_column_becomes_zero_without_dividing_by_it(kind: type[Scaler], value: float) -> None:
    # 0.1 ten times has a mean that is not 0.1: the plain deviation is 1e-17, not 0.
    table = np.stack([np.full(10, value), np.arange(10.0)], axis=1)
    scaler = kind().fit(table)
    assert scaler.scale is not None
    assert scaler.scale[0] == 1
    assert (scaler.transform(table)[:, 0] == 0).all()
    assert (scaler.inverse(scaler.transform(table))[:, 0] == value).all()
    assert scaler.transform(table + [[2.0, 0.0]])[0, 0] == pytest.approx(2.0 if abs(value) < 1e3 else 0.0)


@pytest.mark.parametrize("kind", SCALERS)
def test_scalers_take_float32_compute_in_float64_and_touch_no_argument(kind: type[Scaler]) -> None:
    table = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    before = table.copy()
    scaled = kind().fit(table).transform(table)
    assert scaled.dtype == np.float64
    scaled[:] = 0
    assert (table == before).all()
    assert kind().fit(table[:, 0].copy()).transform(table[:, :1]).shape == (6, 1)


@pytest.mark.parametrize("kind", SCALERS)
@given(table=TABLES)
def test_scalers_survive_json(kind: type[Scaler], table: Any) -> None:
    scaler = kind().fit(table)
    back = scaler_from_json(json.loads(json.dumps(scaler.to_json())))
    assert type(back) is kind
    assert back == scaler
    assert (back.transform(table) == scaler.transform(table)).all()
    assert back != kind()
    assert kind() == kind()
    assert scaler != kind().fit(table[:, :1] + 1.5 * np.arange(1, len(table) + 1)[:, None]) or kind is Identity
    assert scaler != 3


@pytest.mark.parametrize("kind", SCALERS)
def test_scaler_refusals(kind: type[Scaler]) -> None:
    table = np.arange(6.0).reshape(3, 2)
    scaler = kind()
    assert repr(scaler) == f"{kind.__name__}(not fitted)"
    calls = [lambda s: s.transform(table), lambda s: s.inverse(table), lambda s: s.inverse_column(table, 0)]
    for call in [*calls, lambda s: s.to_json()]:
        with refused(InputError, f"{kind.__name__}: expected a fitted scaler, got one that is not fitted; call fit"):
            call(scaler)
    with refused(DataError, "values: expected finite numbers, got nan at row 1, column 1; fill"):
        scaler.fit(np.array([[0.0, 1.0], [2.0, np.nan]]))
    with refused(DataError, "values: expected at least one row and one column, got shape (0, 2); give"):
        scaler.fit(np.zeros((0, 2)))
    with refused(DataError, "values: expected a range that float64 can hold, got one that overflows; use"):
        scaler.fit(np.array([-1e308, 1e308]))
    with refused(InputTypeError, "values: expected a float array", "got dtype int64; convert"):
        scaler.fit(np.arange(3))
    assert scaler == kind()  # what was refused left no trace
    scaler.fit(table)
    assert repr(scaler) == f"{kind.__name__}(2 columns)"
    with refused(InputError, "fit: expected a scaler that is not fitted yet, got one that is; make a new"):
        scaler.fit(table)
    with refused(InputError, "values: expected shape (..., 2), a column for each one fitted, got shape (3,); use"):
        scaler.transform(table[:, 0])
    with refused(InputTypeError, "values: expected a float array on the host, got dtype int64; convert"):
        scaler.inverse(np.arange(2))
    with refused(InputTypeError, "values: expected a float array on the host, got list; convert"):
        scaler.transform([[1.0, 2.0]])  # type: ignore[arg-type]
    with refused(InputError, "column: expected an integer in 0..1, got 2; count"):
        scaler.inverse_column(table, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "Sequential"},
        {"type": ["MinMaxScaler"]},
        {"offset": [1.0]},
        {"offset": []},
        {"scale": [1.0, 0.0]},
        {"scale": [1.0, float("nan")]},
        {"scale": [1.0, -1.0]},
        {"scale": "12"},
        {"offset": None},
    ],
)
def test_a_record_that_is_no_scaler_is_refused(change: dict[str, Any]) -> None:
    record = {"type": "ZScoreScaler", "offset": [1.0, 2.0], "scale": [1.0, 2.0]}
    scaler_from_json(record)
    with refused(DataError, "scaler: expected a record ", "got {", "; use what Scaler.to_json returned"):
        scaler_from_json(record | change)
    others: list[Any] = [None, 3, "x", []]
    for wrong in others:
        with refused(DataError, "scaler: expected a record ", f"got {wrong!r}; use"):
            scaler_from_json(wrong)


# --- baselines ------------------------------------------------------------------------------------------------------


@given(st.integers(12, 40), st.integers(1, 9), st.integers(1, 12), st.integers(1, 11))
def test_naive_forecasts_match_a_plain_loop_that_sees_only_the_past(
    rows: int, steps: int, horizon: int, s: int
) -> None:
    values = np.random.default_rng(rows).standard_normal((rows + horizon, 2))
    made = windows(values, steps, horizon, 2, target=1, part=range(11, rows + horizon))
    last, seasonal = persistence(made), seasonal_naive(made, s)
    assert last.shape == seasonal.shape == made.targets.shape
    for n, origin in enumerate(made.origins):
        past = values[:origin, 1].tolist()
        for _ in range(horizon):
            past.append(past[-s])  # a season on, its own forecasts repeat
        assert seasonal[n].tolist() == past[origin:]
        assert (last[n] == values[origin - 1, 1]).all()


def test_baselines_cannot_see_the_targets() -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal(60)
    parts = chronological_split(60, 0.2, 0.2)
    cut = split_windows(values, parts, 6, 4)
    for n in (0, 3):
        changed = values.copy()
        changed[cut.test.origins[n] :] = 1e6
        other = split_windows(changed, parts, 6, 4)
        was, now = (baseline_forecasts(c.train, c.test, 7) for c in (cut, other))
        assert list(was) == ["persistence", "seasonal-naive", "linear autoregression"]
        for name in was:
            assert (was[name][n] == now[name][n]).all(), name


def test_linear_autoregression_finds_the_law_of_a_noiseless_series() -> None:
    t = np.arange(200.0)
    values = np.stack([3 + 0.1 * t + np.sin(0.7 * t), np.cos(0.3 * t)], axis=1)
    cut = split_windows(values, chronological_split(200, 0.2, 0.2), 8, 5, target=0)
    forecast = LinearAutoregression().fit(cut.train).predict(cut.test)
    assert score(forecast, cut.test.targets).rmse < 1e-8
    assert score(persistence(cut.test), cut.test.targets).rmse > 0.5


def test_linear_autoregression_is_least_squares_with_a_constant() -> None:
    values = np.random.default_rng(8).standard_normal((90, 2)) + [5.0, -300.0]
    cut = split_windows(values, chronological_split(90, 0.2, 0.2), 3, 2, target=1)
    design = np.concatenate([np.ones((len(cut.train), 1)), cut.train.x.reshape(len(cut.train), -1)], axis=1)
    weights = np.linalg.lstsq(design, cut.train.targets, rcond=None)[0]
    expected = np.concatenate([np.ones((len(cut.test), 1)), cut.test.x.reshape(len(cut.test), -1)], axis=1) @ weights
    np.testing.assert_allclose(LinearAutoregression().fit(cut.train).predict(cut.test), expected, rtol=1e-9)


def test_with_more_unknowns_than_windows_the_training_part_is_still_met() -> None:
    values = np.random.default_rng(8).standard_normal(30)
    train = windows(values, 20, 2)
    np.testing.assert_allclose(LinearAutoregression().fit(train).predict(train), train.targets, atol=1e-9)


def test_scores_are_plain_formulas() -> None:
    got = score(np.array([[1.0, 5.0, 2.0]]), np.array([[1.0, 2.0, 6.0]]))
    assert tuple(got) == pytest.approx(((25 / 3) ** 0.5, 7 / 3, 3))
    assert np.isnan(score(np.array([[np.nan]]), np.array([[1.0]])).rmse)


def test_baseline_refusals() -> None:
    cut = windows(np.arange(30.0), 4, 2)
    with refused(InputError, "forecast: expected shape (25, 2) as the targets, got shape (25,); forecast"):
        score(np.zeros(25), cut.targets)
    with refused(DataError, "targets: expected at least one value, got shape (0, 2); give"):
        score(np.zeros((0, 2)), np.zeros((0, 2)))
    with refused(DataError, "season: expected at most the 4 rows before the first window, got 5; lower"):
        seasonal_naive(cut, 5)
    with refused(InputError, "season: expected an integer >= 1, got 0"):
        seasonal_naive(cut, 0)
    model = LinearAutoregression()
    with refused(InputError, "LinearAutoregression: expected a fitted model, got one that is not fitted; call fit"):
        model.predict(cut)
    model.fit(cut)
    with refused(InputError, "fit: expected a model that is not fitted yet, got one that is; make a new"):
        model.fit(cut)
    with refused(InputError, "source: expected steps, columns and horizon 4, 1 and 2 as fitted, got 5, 1 and 2; cut"):
        model.predict(windows(np.arange(30.0), 5, 2))


# --- a real series --------------------------------------------------------------------------------------------------


def test_the_weekly_co2_series_has_59_gaps_and_can_be_forecast() -> None:
    datasets = pytest.importorskip("statsmodels.datasets", reason="statsmodels carries the CO2 series")
    path = Path(datasets.__file__).parent / "co2" / "co2.csv"
    with refused(DataError, "got 59 missing cells, the first in line 8, column 'co2'; fill"):
        load_series(path, "co2")
    series = load_series(path, "co2", missing="interpolate")
    assert isinstance(series, Series)
    assert (series.values.shape, series.filled_count) == ((2284, 1), 59)
    cut = split_windows(series.values, chronological_split(2284, 0.1, 0.2), 104, 13)
    rmse = {name: score(f, cut.test.targets).rmse for name, f in baseline_forecasts(cut.train, cut.test, 52).items()}
    assert rmse["linear autoregression"] < rmse["seasonal-naive"] < rmse["persistence"]
