"""The forecast task: what the network sees, what it is measured against, and how it does on the CO2 series."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, bptt, refused, write_series
from test_docs import blocks_of, shell_lines

import engine
from engine.data import load_series, windows
from engine.data.windowing import next_window
from engine.errors import DataError
from engine.tasks.forecast import Forecaster
from engine.training import read_checkpoint
from engine.training.config import make
from engine.training.task import forward, load_weights

OPTIONS = {"backend": "numpy:reference", "hidden": 5, "horizon": 3, "season": 12, "batch": 16, "epochs": 2}
COMMAND = "--task forecast --backend numpy:reference --hidden 5 --batch 16 --epochs 2 --horizon 3 --season 12 --quiet"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "level.csv")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, which take longer than all else."""
    for name in ("training.session.draw_loss", "tasks.forecast.draw_forecast"):
        monkeypatch.setattr(f"engine.{name}", lambda *_: None)


def forecaster(series: Path, **options: Any) -> Forecaster:
    config = make("forecast", {**OPTIONS, "data": str(series), **options})
    return Forecaster(config, engine.get_backend(config.backend))


# -- what the network sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["zscore", "minmax", "none"])
def test_forecasts_are_in_the_unit_of_the_series(series: Path, scaling: str) -> None:
    """Written out by hand for one window: differences from its last value, scaled, forecast, scaled back, added."""
    job = forecaster(series, scaling=scaling)
    values = load_series(series).values[:, 0]
    train = values[: 400 - 60 - 60]  # 15 % each for validation and test
    origins = range(24, len(train) - 3 + 1)
    x = np.array([train[o - 24 : o] - train[o - 1] for o in origins])
    y = np.array([train[o : o + 3] - train[o - 1] for o in origins])
    measure: dict[str, Any] = {
        "zscore": lambda a: (a.mean(), a.std()),
        "minmax": lambda a: (a.min(), a.max() - a.min()),
        "none": lambda a: (0.0, 1.0),
    }
    (x0, xs), (y0, ys) = measure[scaling](x), measure[scaling](y)
    for place, origin in ((0, 340), (5, 345), (57, 397)):  # windows of the held-out part
        window = (values[origin - 24 : origin] - values[origin - 1] - x0) / xs
        out, _ = job.model.predict(window.astype(np.float32)[:, None, None])
        expected = out[-1, 0] * ys + y0 + values[origin - 1]
        np.testing.assert_allclose(job.forecast(job.parts.test)[place], expected, rtol=1e-5)
        np.testing.assert_array_equal(job.parts.test.targets[place], values[origin : origin + 3])
    assert len(job.parts.test) == 58


def test_nothing_of_the_later_parts_is_seen(series: Path, tmp_path: Path) -> None:
    """With other values from the validation part on, training and scaling are the same to the bit."""
    lines = series.read_text().splitlines()
    border = 1 + 400 - 60 - 60
    other = tmp_path / "other.csv"
    other.write_text("\n".join(lines[:border] + [str(float(line) * 3 + 7) for line in lines[border:]]) + "\n")
    one, two = forecaster(series), forecaster(other)
    assert one.describe() == two.describe()
    assert one.batches == two.batches
    for step in range(one.batches):
        for mine, theirs in zip(one.batch(step)[:2], two.batch(step)[:2], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert one.fingerprint != two.fingerprint


def test_the_loss_is_that_of_the_last_step(series: Path) -> None:
    job = forecaster(series)
    out = forward(job, 0, None)
    x, targets = job.batch(0)[:2]
    y, _ = job.model.predict(x)
    assert float(out.loss) == pytest.approx(float(np.mean((y[-1] - targets) ** 2)), rel=1e-6)
    assert not out.dy[:-1].any()
    np.testing.assert_allclose(out.dy[-1], 2 * (y[-1] - targets) / targets.size, rtol=1e-5)
    name, value = job.figure(0.25)
    assert name == "rmse"
    assert value == pytest.approx(0.5 * job.parts.train.anchored().targets.std(), rel=1e-9)


def test_epochs_are_shuffled_and_depend_on_the_seed(series: Path) -> None:
    job = forecaster(series)
    first, second = job.batch(0)[1], job.batch(job.batches)[1]
    assert not np.array_equal(first, second)
    assert np.array_equal(first, job.batch(0)[1])
    assert not np.array_equal(first, forecaster(series, seed=1).batch(0)[1])
    whole = np.concatenate([job.batch(step)[1] for step in range(job.batches)])
    again = np.concatenate([job.batch(job.batches + step)[1] for step in range(job.batches)])
    np.testing.assert_array_equal(np.sort(whole, axis=0), np.sort(again, axis=0))


# -- what it is measured against --------------------------------------------------------------------------------------


def test_baselines_and_scores(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--lr", 0.5, "--validate-every", 1]  # so high that the best step is not the last
    assert bptt("train", *COMMAND.split(), *options, "--data", series, "--out", tmp_path / "run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["validation"]["step"] < result["step"]
    values = load_series(series).values[:, 0]
    origins = np.arange(340, 400 - 3 + 1)
    truth = np.array([values[o : o + 3] for o in origins])
    flat = np.array([[values[o - 1]] * 3 for o in origins])
    season = np.array([values[o - 12 : o - 9] for o in origins])
    for name, forecast in (("persistence", flat), ("seasonal-naive", season)):
        error = forecast - truth
        assert result["scores"][name]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
        assert result["scores"][name]["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-12)
    assert set(result["scores"]) == {"LSTM", "persistence", "seasonal-naive", "linear autoregression"}
    assert {score["points"] for score in result["scores"].values()} == {truth.size}
    # The network that is scored is the best one, not the last.
    job = forecaster(series)
    load_weights(job.model, read_checkpoint(tmp_path / "run" / "best.safetensors"))
    error = job.forecast(job.parts.test) - truth
    assert result["scores"]["LSTM"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    for name in ("loss.png", "forecast.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("blank_pictures")
def test_evaluate_says_what_train_said(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert bptt("train", *COMMAND.split(), "--data", series, "--out", out, "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert bptt("evaluate", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["scores"] == trained["scores"]
    assert bptt("evaluate", out) == 0
    table = capsys.readouterr().out
    assert "level, 3 ahead, season 12: errors on the last 60 rows, in units of the series" in table
    assert f"{trained['scores']['LSTM']['rmse']:.4f}" in table


@pytest.mark.usefixtures("blank_pictures")
def test_evaluate_on_another_series(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The network goes on seeing what it was trained to see: the scaling comes from the checkpoint."""
    out = tmp_path / "run"
    assert bptt("train", *COMMAND.split(), "--data", series, "--out", out) == 0
    other = tmp_path / "other.csv"
    other.write_text("level\n" + "\n".join(str(float(v) * 10) for v in series.read_text().split()[1:]) + "\n")
    capsys.readouterr()
    assert bptt("evaluate", out, other, "--json") == 0
    got = json.loads(capsys.readouterr().out)["scores"]
    job, trained = forecaster(other), forecaster(series)
    job.scaling = trained.scaling
    load_weights(job.model, read_checkpoint(out / "best.safetensors"))
    error = job.forecast(job.parts.test) - job.parts.test.targets
    assert got["LSTM"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    series.write_text(other.read_text())  # the run's own file has changed
    assert "expected the series that" in refused(capsys, "evaluate", out)


@pytest.mark.usefixtures("blank_pictures")
def test_without_a_season_there_is_no_seasonal_baseline(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--task",
        "forecast",
        "--epochs",
        1,
        "--data",
        series,
        "--backend",
        "numpy:reference",
        "--quiet",
        "--json",
    ]
    assert bptt("train", *options, "--window", 8, "--out", tmp_path / "run") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["scores"]) == {"LSTM", "persistence", "linear autoregression"}
    assert (result["horizon"], result["window"]) == (1, 8)


# -- the CO2 series ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.proof
def test_the_lstm_beats_persistence_and_seasonal_naive_on_co2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weekly CO2 of Mauna Loa: 13 weeks ahead, season 52, all else the defaults of the command."""
    pytest.importorskip("statsmodels", reason="the CO2 series comes with statsmodels")
    script = runpy.run_path(str(ROOT / "benchmarks" / "tasks" / "forecast_co2.py"))
    assert script["main"](tmp_path) == 0
    assert "$ bptt train --task forecast --column co2" in capsys.readouterr().out
    assert bptt("evaluate", tmp_path / "run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["horizon"], result["season"], result["filled_cells"]) == (13, 52, 59)
    rmse = {name: score["rmse"] for name, score in result["scores"].items()}
    assert rmse["LSTM"] < rmse["persistence"]
    assert rmse["LSTM"] < rmse["seasonal-naive"]
    assert rmse["LSTM"] < 0.8  # ppm; the baselines are at 2.1 and 1.9, and the linear autoregression at 0.51
    err = refused(
        capsys, *"train --task forecast --column co2 --data".split(), tmp_path / "co2.csv", "--out", tmp_path / "x"
    )
    assert "expected a number in every cell, got 59 missing cells, the first in line 8" in err
    assert "--missing interpolate" in err


# -- cells that were filled are no measurements -----------------------------------------------------------------------


def gappy(path: Path, rows: int = 90, share: float = 0.5, seed: int = 0, dates: bool = True) -> tuple[Path, np.ndarray]:
    """A series with gaps, and its values with NaN in them; the first and the last row are measured."""
    rng = np.random.default_rng(seed)
    values = np.sin(np.arange(rows) / 5) + 0.1 * rng.normal(size=rows) + 0.02 * np.arange(rows)
    values[1:-1][rng.random(rows - 2) < share] = np.nan
    days = np.arange(rows).astype("datetime64[D]")
    lines = [f"{day},{'' if np.isnan(v) else repr(float(v))}" for day, v in zip(days, values, strict=True)]
    text = "\n".join(["day,level", *lines] if dates else ["level", *[line.split(",")[1] or '""' for line in lines]])
    path.write_text(text + "\n")
    return path, values


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("horizon", "season", "seed"), [(1, 7, 3), (4, 0, 4)])
def test_filled_cells_are_no_targets_and_a_window_knows_nothing_of_what_follows(
    horizon: int, season: int, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, values = gappy(tmp_path / "x.csv", seed=seed)
    options = (
        f"--missing interpolate --horizon {horizon} --season {season} --window 6 --epochs 1 --hidden 3 --quiet --json"
    )
    command = f"train --task forecast --backend numpy:reference --column level {options}"
    assert bptt(*command.split(), "--data", path, "--out", tmp_path / "run") == 0
    result = json.loads(capsys.readouterr().out)
    first = 90 - round(90 * 0.15)
    origins = np.arange(first, 90 - horizon + 1)
    truth = np.array([values[o : o + horizon] for o in origins])
    known = ~np.isnan(truth)
    assert 0 < known.sum() < known.size
    assert {s["points"] for s in result["scores"].values()} == {known.sum()}
    held_out = result["held_out"]
    assert (held_out["points"], held_out["points_left_out"]) == (known.sum(), (~known).sum())
    assert held_out["points_by_step"] == known.sum(axis=0).tolist()
    assert (held_out["filled"], result["filled_cells"]) == (np.isnan(values[first:]).sum(), np.isnan(values).sum())
    last = np.array([values[:o][~np.isnan(values[:o])][-1] for o in origins])
    error = (last[:, None] - truth)[known]
    assert result["scores"]["persistence"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
    assert result["scores"]["persistence"]["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-12)
    assert bptt("evaluate", tmp_path / "run") == 0
    table = " ".join(capsys.readouterr().out.split())
    assert f"Filled: {np.isnan(values).sum()} missing cells, {np.isnan(values[first:]).sum()} of them" in table
    assert f"over {known.sum()} measured points; {(~known).sum()} that were filled are left out" in table


def test_what_is_invented_reaches_neither_loss_nor_scaling(tmp_path: Path) -> None:
    """With other values in the filled cells everything but the inputs inside of gaps is the same."""
    path, values = gappy(tmp_path / "x.csv", seed=5)
    config = make("forecast", {**OPTIONS, "season": 0, "window": 4, "missing": "interpolate", "data": str(path),
                               "column": "level"})  # fmt: skip
    job = Forecaster(config, engine.get_backend(config.backend))
    seen = 0
    for step in range(job.batches):
        batch = job.batch(step)
        targets = batch.targets
        y = np.random.default_rng(step).normal(size=(4, len(targets), 3)).astype(np.float32)
        loss, dy, _ = job.loss(y, batch)
        known = ~np.isnan(targets)
        assert known.any(axis=1).all()
        assert float(loss) == pytest.approx(np.mean((y[-1] - targets)[known] ** 2), rel=1e-5)
        assert (dy[-1][~known] == 0).all()
        seen += known.sum()
    train = values[: 90 - 14 - 14]
    windows = np.array([train[o : o + 3] for o in range(4, len(train) - 2)])
    assert seen == (~np.isnan(windows)).sum()
    anchors = np.array([train[:o][~np.isnan(train[:o])][-1] for o in range(4, len(train) - 2)])
    steps = (windows - anchors[:, None])[~np.isnan(windows)]
    assert job.scaling.y.offset is not None
    assert job.scaling.y.offset[0] == pytest.approx(steps.mean())
    last = job.scaling.apply(job.parts.validation)
    assert np.isnan(last.targets).sum() == np.isnan(job.parts.validation.targets[~job.parts.validation.known]).size
    assert np.isfinite(job.validate().loss)


def test_a_window_that_ends_in_a_gap_holds_the_last_measured_value() -> None:
    values = np.array([[1.0, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, 60], [7, 70]])
    filled = np.zeros((7, 2), bool)
    filled[[3, 4], 0] = filled[4, 1] = True
    made = windows(values, 3, 2, target=0, filled=filled)
    assert made.origins.tolist() == [3, 4, 5]
    assert made.x[:, :, 0].tolist() == [[1, 2, 3], [2, 3, 3], [3, 3, 3]]
    assert made.x[:, :, 1].tolist() == [[10, 20, 30], [20, 30, 40], [30, 40, 40]]
    assert made.known.tolist() == [[False, False], [False, True], [True, True]]
    assert made.anchors.tolist() == [3, 3, 3]
    assert [len(part) for part in (made, made.measured())] == [3, 2]
    after = next_window(values, 3, 2, filled=filled)
    assert after.x[0].tolist() == [[5, 50], [6, 60], [7, 70]]
    filled[6] = True
    assert next_window(values, 3, 2, filled=filled).x[0].tolist() == [[5, 50], [6, 60], [6, 60]]


def test_with_nothing_left_to_score_there_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for border, name in ((76, "test"), (62, "validation")):
        values = [str(k % 7) if k < border or (name == "validation" and k > 80) else "NA" for k in range(90)]
        (tmp_path / "x.csv").write_text("level\n" + "\n".join(values) + "\n")
        command = "train --task forecast --backend numpy:reference --missing interpolate --window 4".split()
        err = refused(capsys, *command, "--data", tmp_path / "x.csv", "--out", tmp_path / "run")
        assert f"expected at least one measured value to forecast in the {name} part, got filled cells alone" in err


# -- the order of time ------------------------------------------------------------------------------------------------

ORDER = ROOT / "tests" / "data" / "wild"
SHORTER = "train --task forecast --backend numpy:reference --hidden 3 --window 3 --quiet".split()
SHORT = [*SHORTER, "--epochs", "1"]


@pytest.mark.usefixtures("undrawn")
def test_rows_out_of_order_are_refused_and_repaired_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", ORDER / "order_newest_first.csv", "--column", "value"]
    err = refused(capsys, *SHORT, *data, "--out", tmp_path / "a")
    assert "got the newest first ('2021-02-03' in line 2 to '2021-02-02' in line 3); sort the rows with --sort" in err
    assert not (tmp_path / "a").exists()
    assert bptt(*SHORT, *data, "--sort", "--out", tmp_path / "a", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["notes"] == ["the rows were not in the order of column 'date' and are sorted"]
    assert result["next"][0]["time"] == "2021-02-04"
    lines = (ORDER / "order_newest_first.csv").read_text().splitlines()
    (tmp_path / "right.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert bptt(*SHORT, "--data", tmp_path / "right.csv", "--column", "value", "--out", tmp_path / "b", "--json") == 0
    right = json.loads(capsys.readouterr().out)
    assert (right["scores"], right["next"], right["notes"]) == (result["scores"], result["next"], [])
    err = refused(capsys, *SHORT, "--data", ORDER / "order_every.csv", "--column", "value", "--out", tmp_path / "c")
    assert "each time once in column 'date', got '2020-01-01' in line 2 and line 3, and 399 more rows" in err
    err = refused(capsys, *SHORT, "--data", ORDER / "two.csv", "--column", "a", "--sort", "--out", tmp_path / "c")
    assert "expected a column of times for --sort (sort=True), got none" in err
    assert bptt(*SHORT, *data, "--time", "none", "--out", tmp_path / "d", "--json") == 0
    assert json.loads(capsys.readouterr().out)["next"] == [{"row": 400, "time": None, "value": pytest.approx(0, abs=3)}]


@pytest.mark.usefixtures("undrawn")
def test_evaluate_and_predict_read_another_file_as_they_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = tmp_path / "right.csv", ORDER / "order_newest_first.csv"
    lines = wrong.read_text().splitlines()
    right.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    run = tmp_path / "run"
    assert bptt(*SHORT, "--data", right, "--column", "value", "--time", "none", "--out", run) == 0
    capsys.readouterr()
    assert bptt("evaluate", run, right, "--json") == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    for command in (["evaluate", run, wrong], ["predict", run, "--data", wrong]):
        assert "got the newest first" in refused(capsys, *command)
        assert bptt(*command, "--sort", "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert result["next"][0]["time"] == "2021-02-04"
        assert result.get("scores", scores) == scores
    assert "expected an integer >= 0, got -1" in refused(capsys, "predict", run, "--skip", -1)


@pytest.mark.usefixtures("undrawn")
def test_a_month_that_is_missing_is_said_and_can_be_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    months = [f"{2000 + k // 12}-{k % 12 + 1:02d},{k % 12}.{k % 7}" for k in range(60)]
    path = tmp_path / "x.csv"
    path.write_text("month,level\n" + "\n".join(months[:29] + months[31:]) + "\n")
    command = [*SHORT, "--data", path, "--column", "level", "--horizon", 2]
    assert bptt(*command, "--out", tmp_path / "a") == 0
    out, err = capsys.readouterr()
    assert "2 rows are missing in 1 gap, the first between '2002-05' in line 30 and '2002-08' in line 31" in out
    assert err == ""
    err = refused(capsys, *command, "--regular", "--out", tmp_path / "b")
    assert "got 2 rows that are missing; add --missing interpolate" in err
    assert bptt(*command, "--regular", "--missing", "interpolate", "--out", tmp_path / "b", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["filled_cells"], [point["row"] for point in result["next"]]) == (2, [60, 61])
    assert [point["time"] for point in result["next"]] == ["2005-01", "2005-02"]
    series = load_series(path, "level", "interpolate", regular=True)
    assert np.flatnonzero(series.filled[:, 0]).tolist() == [29, 30]
    assert series.values[[28, 31], 0].tolist() == [4.0, 7.3]


def test_blank_rows_between_the_others_are_no_time_steps(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("day,a,b\n2020-01-01,1,2\n,,\n2020-01-02,3,4\n , ,\n2020-01-03,,6\n")
    series = load_series(path, ["a", "b"], "interpolate")
    assert series.values.tolist() == [[1, 2], [3, 4], [3, 6]]
    assert series.filled.tolist() == [[False, False], [False, False], [True, False]]
    assert series.notes == ("2 blank rows between the others are left out",)
    path.write_text("day,a,b\n2020-01-01,1,2\n,,\n2020-01-01,3,4\n")
    with pytest.raises(DataError, match="'2020-01-01' in line 2 and line 4"):
        load_series(path, "a")


# -- several columns --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_all_columns_that_are_named_are_inputs_and_the_first_is_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = ORDER / "two.csv"
    command = [*SHORT, "--data", two, "--horizon", 2, "--json"]
    assert bptt(*command, "--column", "b", "--column", "a", "--out", tmp_path / "run") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["column"], result["inputs"]) == ("b", ["b", "a"])
    values = load_series(two, ["b", "a"]).values
    origins = np.arange(len(values) - round(0.15 * len(values)), len(values) - 1)
    error = values[origins - 1, :1] - np.array([values[o : o + 2, 0] for o in origins])
    assert result["scores"]["persistence"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
    checkpoint = read_checkpoint(tmp_path / "run" / "best.safetensors")
    assert checkpoint.meta["config"]["column"] == ["b", "a"]
    assert checkpoint.arrays["model/0.weight_ih_l0"].shape == (12, 2)
    assert len(checkpoint.meta["task"]["x"]["scale"]) == 2
    # By hand: each column as differences from its own last row, scaled by itself.
    options = {"column": ["b", "a"], "window": 3, "horizon": 2, "hidden": 3, "backend": "numpy:reference"}
    job = Forecaster(make("forecast", {**options, "data": str(two)}), engine.get_backend("numpy:reference"))
    load_weights(job.model, checkpoint)
    x, y = job.scaling.x, job.scaling.y
    window = (values[-3:] - values[-1] - x.offset) / x.scale
    out, _ = job.model.predict(window.astype(np.float32)[:, None])
    expected = out[-1, 0] * y.scale + y.offset + values[-1, 0]
    np.testing.assert_allclose([point["value"] for point in result["next"]], expected, rtol=1e-6)
    assert bptt(*SHORTER, "--data", two, "--resume", "--column", "b", "--column", "a", "--horizon", 2, "--epochs", 2,
                "--out", tmp_path / "run") == 0  # fmt: skip
    capsys.readouterr()
    err = refused(capsys, *SHORT, "--data", two, "--resume", "--column", "a", "--out", tmp_path / "run")
    assert "--column ('a',) (was ('b', 'a'))" in err
    assert "expected each column once" in refused(
        capsys, *command, "--column", "a", "--column", "a", "--out", tmp_path / "c"
    )


# -- what comes next --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_what_comes_next_is_forecast_from_the_last_rows(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert bptt("train", *COMMAND.split(), "--data", series, "--out", run) == 0
    capsys.readouterr()
    assert bptt("predict", run, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    job = forecaster(series)
    load_weights(job.model, read_checkpoint(run / "best.safetensors"))
    values = load_series(series).values[:, 0]
    longer = np.append(values, [0.0, 0.0, 0.0])  # what stands behind the last row changes nothing
    expected = job.forecast(windows(longer, 24, 3, part=range(400, 403)))[0]
    np.testing.assert_allclose([point["value"] for point in result["next"]], expected, rtol=1e-6)
    assert [point["row"] for point in result["next"]] == [400, 401, 402]
    assert result["last"] == {"row": 399, "time": None, "value": values[-1]}
    assert result["notes"] == []
    assert bptt("evaluate", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["next"] == result["next"]
    # Ten times the series, with dates: the scaling stays that of the run, the times go on.
    other = tmp_path / "other.csv"
    days = np.datetime64("2021-11-28") + np.arange(30)
    rows = [f"{day},{10 * v!r}" for day, v in zip(days, values[:30].tolist(), strict=True)]
    other.write_text("day,level\n" + "\n".join(rows) + "\n")
    assert "expected a column named among" in refused(capsys, "predict", run, "--data", other)
    other.write_text("level,day\n" + "\n".join(",".join(row.split(",")[::-1]) for row in rows) + "\n")
    assert bptt(*SHORT, "--data", other, "--column", "level", "--horizon", 3, "--out", tmp_path / "dated") == 0
    capsys.readouterr()
    assert bptt("predict", tmp_path / "dated") == 0
    table = capsys.readouterr().out
    assert "level: what comes after row 29 (2021-12-27), in units of the series" in table
    assert [word for word in table.split() if word.startswith("2021-12-")] == ["2021-12-28", "2021-12-29", "2021-12-30"]
    assert "was trained on" not in table
    other.write_text(other.read_text() + "9.5,2021-12-28\n")  # a day later
    assert bptt("predict", tmp_path / "dated", "--json") == 0
    later = json.loads(capsys.readouterr().out)
    assert [point["time"] for point in later["next"]] == ["2021-12-29", "2021-12-30", "2021-12-31"]
    assert "is not, or no longer, what the model was trained on" in later["notes"][0]


@pytest.mark.usefixtures("undrawn")
def test_predict_refuses_in_one_line(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert bptt("train", *COMMAND.split(), "--data", series, "--out", run) == 0
    short = tmp_path / "short.csv"
    short.write_text("level\n1\n2\n3\n")
    err = refused(capsys, "predict", run, "--data", short)
    assert f"{short}: expected at least the 24 rows of the run's --window, got 3; give a longer series" in err
    short.write_text("level\n" + "1\n2\n" * 20 + "NA\n")
    assert "got 1 missing cell, the first in line 42" in refused(capsys, "predict", run, "--data", short)
    assert bptt("predict", run, "--data", short, "--missing", "interpolate") == 0
    assert "the last 1 cells of column 'level' are missing and filled" in capsys.readouterr().out
    short.write_text("level\n" + "".join(f"{k % 3}e9\n" for k in range(40)))
    assert bptt("predict", run, "--data", short) == 0
    assert "times as much as those that the model was trained on: its forecast is not to be" in capsys.readouterr().out
    assert "expected a checkpoint file" in refused(capsys, "predict", tmp_path / "none")
    language = ROOT / "tests" / "data" / "version1" / "language"
    assert "expected the model of a task that predicts, got one of the task 'language'" in refused(
        capsys, "predict", language
    )


def test_a_run_of_the_first_release_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    version1 = ROOT / "tests" / "data" / "version1"
    assert bptt("predict", version1 / "forecast", "--data", version1 / "level.csv", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["next"]) == 2
    assert result["notes"] == []


@pytest.mark.usefixtures("undrawn")
def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "forecasting.md"
    for block in blocks_of(page):
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), {})
    for words in shell_lines(page):
        quick = ["--backend", "numpy:reference", "--hidden", "3", "--epochs", "1"] if words[1] == "train" else []
        assert bptt(*words[1:], *quick) == 0
    out = capsys.readouterr().out
    assert "sales, 7 ahead, season 7: errors on the last 75 rows, in units of the series" in out
    assert "Filled: 12 missing cells, 2 of them" in out
    assert '"time": "2024-05-16"' in out
