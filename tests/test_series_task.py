"""The series task: several columns, covariates that are known ahead, quantiles, and what is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt

import engine
from engine.losses import quantile
from engine.tasks.series import ManySeries, outputs
from engine.tasks.series_spans import next_span, read_columns
from engine.training.checkpoint import read_checkpoint
from engine.training.config import make
from engine.training.task import load_model

ROWS, AHEAD = 260, 5
OPTIONS: dict[str, Any] = {
    "column": ("sales", "level"), "known": ("holiday",), "window": 12, "horizon": 4, "hidden": 6, "batch": 16,
    "backend": "numpy:reference", "quantiles": "0.2,0.5,0.9", "season": 7,
}  # fmt: skip


def written(path: Path, empty: str = "", holiday: str = "") -> Path:
    """Sales that a holiday lifts by 20, a level, and the holidays of five more rows; the words change a cell."""
    rng = np.random.default_rng(4)
    holidays = (rng.random(ROWS + AHEAD) < 0.2).astype(int)
    sales = 50 + 20 * holidays[:ROWS] + rng.normal(0, 1.5, ROWS)
    level = 7 + 0.3 * rng.normal(size=ROWS).cumsum()
    lines = ["holiday,level,sales"]
    lines += [f"{h},{a:.4f},{b:.4f}" for h, a, b in zip(holidays, level, sales, strict=False)]
    if empty:
        lines[100] = lines[100].rpartition(",")[0] + ","
    if holiday:
        lines[90] = holiday + lines[90][1:]
    lines += [f"{h},," for h in holidays[ROWS:]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def job_on(path: Path, **options: Any) -> ManySeries:
    config = make("series", {**OPTIONS, "data": str(path), **options})
    return ManySeries(config, engine.get_backend(config.backend))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("series") / "shop.csv")


def test_what_the_network_reads_is_written_out_by_hand(shop: Path) -> None:
    """One span: differences from its last row, the holidays of the rows to come, and the mark."""
    job = job_on(shop, scaling="none")
    table = np.genfromtxt(shop, delimiter=",", skip_header=1)[:ROWS]
    x = job.scaling.inputs(job.train)[9]
    assert x.shape == (16, 4)
    known = table[9:21, [2, 1]]
    np.testing.assert_allclose(x[:12, :2], known - known[-1])
    assert not x[12:, :2].any()
    np.testing.assert_array_equal(x[:, 2], table[9:25, 0])
    assert x[:, 3].tolist() == [0.0] * 12 + [1.0] * 4
    np.testing.assert_allclose(job.scaling.targets(job.train)[9], table[21:25, [2, 1]] - known[-1])


def test_scaling_is_measured_on_the_training_part_alone(shop: Path, tmp_path: Path) -> None:
    lines = shop.read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join(lines[:200] + ["1,900.5,800.5"] * 61) + "\n", encoding="utf-8")
    said = [job_on(path).scaling.to_json() for path in (shop, other)]
    assert said[0] == said[1]


def test_loss_is_the_quantile_loss_at_the_rows_to_come(shop: Path) -> None:
    job = job_on(shop, dtype="float64")
    batch = job.batch(0)
    y, _, _ = job.model.forward(batch.x)
    assert (batch.x.shape, batch.targets.shape, y.shape) == ((16, 16, 4), (4, 16, 2), (16, 16, 6))
    loss, dy, positions = job.loss(y, batch)
    error = batch.targets[..., None] - y[12:].reshape(4, 16, 2, 3)
    levels = np.array([0.2, 0.5, 0.9])
    assert float(loss) == pytest.approx(np.where(error > 0, levels * error, (levels - 1) * error).mean())
    assert not dy[:12].any()
    np.testing.assert_allclose(dy[12:], quantile(y[12:], batch.targets, (0.2, 0.5, 0.9))[1])
    assert positions == 16
    assert not np.array_equal(job.batch(1).x, batch.x)
    assert np.array_equal(job.batch(0).x, batch.x)


def test_cells_that_were_filled_do_not_count(tmp_path: Path) -> None:
    path = written(tmp_path / "gap.csv", empty="sales")
    job = job_on(path, missing="interpolate", dtype="float64")
    assert int((~job.train.known).sum()) == 4  # one row of one column, in four spans
    spans = np.flatnonzero(~job.train.known.all(axis=(1, 2)))
    step = next(s for s in range(job.batches) if not job.batch(s).mask.all())
    batch = job.batch(step)
    y, _, _ = job.model.forward(batch.x)
    _, dy, _ = job.loss(y, batch)
    gradient = dy[12:].reshape(*batch.mask.shape, 3)
    assert not gradient[~batch.mask].any()
    assert gradient[batch.mask].any(axis=-1).all()
    assert len(spans) == 4


def test_a_run_is_better_where_the_covariate_helps(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line: train, evaluate, predict."""
    words = (
        "--window 8 --horizon 4 --hidden 8 --epochs 8 --batch 16 --season 7 --backend numpy:reference --quiet".split()
    )
    named = ["--column", "sales", "--column", "level", "--known", "holiday", "--data", shop, "--out", tmp_path / "run"]
    assert bptt("train", "--task", "series", *words, *named) == 0
    capsys.readouterr()
    assert bptt("evaluate", tmp_path / "run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    scores = found["scores"]
    assert scores["sales: LSTM"]["rmse"] < 0.75 * scores["sales: persistence"]["rmse"]
    assert scores["sales: LSTM"]["rmse"] < 0.75 * scores["sales: seasonal-naive"]["rmse"]
    assert 40 < scores["sales: LSTM"]["in the band, %"] <= 100
    assert set(scores) == {f"{c}: {m}" for c in ("sales", "level") for m in ("LSTM", "persistence", "seasonal-naive")}
    assert (tmp_path / "run" / "forecast.png").stat().st_size > 10_000
    assert bptt("predict", tmp_path / "run", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["row"], row["column"]) for row in rows[:3]] == [("260", "sales"), ("260", "level"), ("261", "sales")]
    assert len(rows) == 8
    assert all(row["0.1"] <= row["0.5"] <= row["0.9"] for row in rows)
    config = make("series", {**OPTIONS, "data": str(shop), "window": 8, "quantiles": "0.1,0.5,0.9"})
    columns = read_columns(config)
    holidays = columns.ahead[:4, 0]
    middles = np.array([row["0.5"] for row in rows if row["column"] == "sales"])
    assert 0 < holidays.sum() < 4
    assert middles[holidays == 1].min() > middles[holidays == 0].max() + 5  # the future was read

    job = ManySeries(
        config,
        engine.get_backend("numpy:reference"),
        read_checkpoint(tmp_path / "run" / "best.safetensors").meta["task"],
    )
    model = load_model(read_checkpoint(tmp_path / "run" / "best.safetensors"), engine.get_backend("numpy:reference"))
    span = next_span(columns, config)
    said = np.sort(job.scaling.values(outputs(model, job.scaling, span), span), axis=3)
    np.testing.assert_allclose(middles, said[0, :, 0, 1], rtol=1e-6)


def test_errors_and_coverage_are_counted_by_hand(shop: Path) -> None:
    job = job_on(shop)
    found, scores = job.forecast(job.test), job.scores()["scores"]
    truth = job.test.targets
    for k, name in enumerate(("sales", "level")):
        miss = found[:, :, k, 1] - truth[:, :, k]
        inside = (found[:, :, k, 0] <= truth[:, :, k]) & (truth[:, :, k] <= found[:, :, k, 2])
        assert scores[f"{name}: LSTM"]["rmse"] == pytest.approx(np.sqrt((miss**2).mean()))
        assert scores[f"{name}: LSTM"]["in the band, %"] == pytest.approx(100 * inside.mean())
        last = np.repeat(job.test.past[:, -1:, k], 4, axis=1)
        assert scores[f"{name}: persistence"]["mae"] == pytest.approx(np.abs(last - truth[:, :, k]).mean())


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({"holiday": ""}, "--known holiday", "'holiday'; a known column is not filled: write its values"),
        ({"holiday": "nan"}, "--known holiday --missing interpolate", "'holiday'; a known column is not filled"),
        ({}, "--known holiday --window 5000", "expected at least --window + --horizon = 500"),
        ({"empty": "sales"}, "--known holiday", "'sales'"),
        ({}, "--known level", "--known: expected columns that are not forecast, got 'level'"),
        ({}, "--known holiday --quantiles 0.9,0.5", "--quantiles: expected rising numbers between 0 and 1 with 0.5"),
        ({}, "--known holiday --quantiles 0.1,0.9", "--quantiles: expected rising numbers between 0 and 1 with 0.5"),
        ({}, "--known sunshine", "sunshine"),
    ],
)
def test_bad_input_is_told_in_one_line(
    change: dict[str, str], options: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "bad.csv", **change)
    if change == {"holiday": ""}:
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[90] = lines[90][1:]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["--column", "sales", "--column", "level", *options.split(), "--data", path, "--out", tmp_path / "run"]
    assert bptt("train", "--task", "series", "--quiet", *command) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_rows_of_the_future_are_asked_for(shop: Path, tmp_path: Path) -> None:
    config = make("series", {**OPTIONS, "data": str(shop), "horizon": 6})
    with pytest.raises(engine.InputError, match=r"expected 6 rows after the last measured one, with 'holiday', got 5"):
        next_span(read_columns(config), config)
