"""Pictures of long runs and long series: thinned, with their extremes kept, in the time of short ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.data import persistence, windows
from engine.training import plots


def test_a_thinned_curve_keeps_the_extremes_of_every_stretch_and_the_order() -> None:
    values = np.random.default_rng(1).normal(size=50_001)
    records: list[dict[str, Any]] = [{"step": 3 * k + 1, "bpc": value} for k, value in enumerate(values)]
    steps, kept = plots._curve(records, "bpc")
    assert len(kept) <= plots.MOST_POINTS
    assert (np.diff(steps) >= 0).all()
    assert {kept.min(), kept.max()} == {values.min(), values.max()}
    for start in range(0, 50_000, 1000):
        part = (steps >= 3 * start) & (steps < 3 * (start + 1000))
        assert kept[part].max() >= np.sort(values[start : start + 1000])[-3]
    short = plots._curve(records[:1000], "bpc")
    assert short[1].tolist() == values[:1000].tolist()


def test_pictures_of_long_runs_take_no_longer_than_short_ones(tmp_path: Path) -> None:
    horizon = 7

    def drawing(rows: int) -> float:
        cut = windows(np.sin(np.arange(rows) / 9.0), 5, horizon)
        forecasts = {name: persistence(cut) for name in ("LSTM", "persistence", "seasonal-naive")}
        records = [{"kind": "train", "step": k, "rmse": 1.0 + k % 7, "lr": 0.1} for k in range(rows)]
        records += [{"kind": "validation", "step": k, "rmse": 1.0 + k % 5} for k in range(0, rows, 10)]
        begin = time.process_time()
        plots.draw_loss(tmp_path / "loss.png", records, "rmse", "unit", "title")
        rmse = dict.fromkeys(forecasts, 1.0)
        none = np.zeros(rows, dtype=bool)
        plots.draw_forecast(tmp_path / "f.png", none, cut, forecasts, rmse, "level", [0.0] * horizon)
        return time.process_time() - begin

    drawing(50)
    assert drawing(60_000) < drawing(50) + 2.0  # it was half a minute
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
