"""The forecast task: what the network sees, what it is measured against, and how it does on the CO2 series."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, bptt, refused, write_series

import engine
from engine.data import load_series
from engine.training import read_checkpoint
from engine.training.config import make
from engine.training.forecaster import Forecaster
from engine.training.task import forward, load_weights

OPTIONS = {"backend": "numpy:reference", "hidden": 5, "horizon": 3, "season": 12, "batch": 16, "epochs": 2}
COMMAND = "--task forecast --backend numpy:reference --hidden 5 --batch 16 --epochs 2 --horizon 3 --season 12 --quiet"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "level.csv")


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
        for mine, theirs in zip(one.batch(step), two.batch(step), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert one.fingerprint != two.fingerprint


def test_the_loss_is_that_of_the_last_step(series: Path) -> None:
    job = forecaster(series)
    out = forward(job, 0, None)
    x, targets = job.batch(0)
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
    job.x_scaler, job.y_scaler = trained.x_scaler, trained.y_scaler
    load_weights(job.model, read_checkpoint(out / "best.safetensors"))
    error = job.forecast(job.parts.test) - job.parts.test.targets
    assert got["LSTM"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    series.write_text(other.read_text())  # the run's own file has changed
    assert "expected the series that" in refused(capsys, "evaluate", out)


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
def test_the_lstm_beats_persistence_and_seasonal_naive_on_co2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weekly CO2 of Mauna Loa: 13 weeks ahead, season 52, all else the defaults of the command."""
    pytest.importorskip("statsmodels", reason="the CO2 series comes with statsmodels")
    script = runpy.run_path(str(ROOT / "benchmarks" / "forecast_co2.py"))
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
