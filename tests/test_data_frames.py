"""Data frames where a file or an array is taken: pandas here, the others through the same small interface."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from refusals import refused

from engine.data import ZScoreScaler, load_series, read_table, windows
from engine.errors import DataError, InputTypeError

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("narwhals", reason="narwhals is not installed")


@pytest.fixture
def frame() -> Any:
    return pd.DataFrame(
        {
            "level": [1.5, None, 3.0, 7.0],
            "count": pd.array([1, 2, pd.NA, 5], dtype="Int64"),
            "object": pd.Series([2, None, 2.5, 4], dtype=object).to_numpy(),
            "when": pd.to_datetime(["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"]),
            "hour": pd.date_range("2020-01-01", periods=4, freq="h"),
            "zoned": pd.date_range("2020-01-01", periods=4, tz="Europe/Berlin"),
            "name": ["x", None, "z", "1"],
            "good": [True, False, True, True],
        },
        index=[9, 3, 3, 1],
    )


def test_columns_are_read_by_name_and_missing_values_are_missing_cells(frame: Any) -> None:
    series = load_series(frame, ["count", "level", "object"], "interpolate", time="when")
    assert series.values.tolist() == [[1, 1.5, 2], [2, 2.25, 2.25], [3.5, 3, 2.5], [5, 7, 4]]
    assert series.filled.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert series.times is not None
    assert series.times.cells == ["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"]
    assert series.source == "a pandas.DataFrame"
    with refused(
        DataError, "a pandas.DataFrame: expected a number in every cell, got 1 missing cell, the first in row 1"
    ):
        load_series(frame, "level")
    assert load_series(frame["level"], missing="interpolate").names == ("level",)


def test_times_become_cells_as_fine_as_they_are(frame: Any) -> None:
    table = read_table(frame)
    assert table.cells("hour")[1] == "2020-01-01T01:00:00"
    assert table.cells("when")[1] == "2020-02-29"
    assert table.cells("zoned")[0] == "2020-01-01T00:00:00+01:00"
    assert table.cells("name") == ["x", "", "z", "1"]
    assert table.cells("count") == ["1", "2", "", "5"]
    assert load_series(frame, "object", "interpolate", time="zoned").times is not None


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("name", "expected numbers in column 'name', got String; choose another column, or convert"),
        ("good", "expected numbers in column 'good', got Boolean"),
        ("hour", "expected numbers in column 'hour', got Datetime("),
        ("nothing", "expected a column among 'level', 'count'"),
        (None, "expected a column named among 'level', 'count'"),
    ],
)
def test_columns_that_hold_no_numbers_are_refused_by_name(frame: Any, column: str | None, message: str) -> None:
    with refused(DataError, "a pandas.DataFrame: ", message):
        load_series(frame, column)


def test_frames_that_cannot_be_read_are_refused() -> None:
    for wrong, message in (
        (
            pd.DataFrame([[1.0, 2.0]] * 2, columns=["a", "a"]),
            "columns have different names, got a pandas.DataFrame (Exp",
        ),
        ({"a": [1.0, 2.0]}, "path: expected a file name (str or Path) or a data frame, got a dict; give"),
        ([[1.0]], "path: expected a file name (str or Path) or a data frame, got a list; give"),
        (None, "path: expected a file name (str or Path) or a data frame, got None; give"),
    ):
        with refused(InputTypeError, message):
            load_series(wrong)
    with refused(DataError, "expected a data frame with columns, got one without"):
        load_series(pd.DataFrame())
    with refused(DataError, "expected finite numbers, got inf in row 1, column 'a'"):
        load_series(pd.DataFrame({"a": [1.0, np.inf, 2.0]}))
    with refused(DataError, "expected integers up to 2**53", "got 1152921504606846976 in row 0"):
        load_series(pd.DataFrame({"a": [2**60, 1]}))
    with refused(DataError, "expected numbers in column 'a', got a list in row 1"):
        load_series(pd.DataFrame({"a": [1.0, [2.0], 3.0]}))


def test_scalers_and_windows_take_frames_too() -> None:
    table = np.array([[1.0, 20], [4, 30], [2, 10], [8, 50]])
    frame = pd.DataFrame({"a": table[:, 0], "b": table[:, 1].astype(int)})
    scaled = ZScoreScaler().fit(frame).transform(frame)
    assert (scaled == ZScoreScaler().fit(table).transform(table)).all()
    cut = windows(frame, 2, target=1)
    assert cut.x.shape == (2, 2, 2)
    assert cut.targets.tolist() == [[10], [50]]
    assert windows(frame["b"], 2).targets.tolist() == [[10], [50]]
    with refused(DataError, "values: expected finite numbers, got nan at row 1, column 0"):
        windows(pd.DataFrame({"a": [1.0, None, 2.0]}), 1)
    with refused(DataError, "expected numbers in column 'c'"):
        ZScoreScaler().fit(pd.DataFrame({"c": ["x", "y"]}))


def test_without_a_frame_nothing_of_them_is_imported() -> None:
    code = "import sys, engine.data; assert not {'narwhals', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
