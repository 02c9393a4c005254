"""The forecast task: from a window of a series to its next values, beside the baselines that it must beat.

The network sees the differences from the window's last known value, scaled.  The values of a series with a trend leave
the range that the network was trained on, and a network does not extrapolate; the differences stay in that range.  The
forecast is the last known value plus the network's output.  All scaling is measured on the windows of the training part
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.data import (
    LinearAutoregression,
    Parts,
    PartWindows,
    WindowBatches,
    Windows,
    chronological_split,
    persistence,
    score,
    seasonal_naive,
    split_windows,
)
from engine.data.data_checks import bad_data
from engine.data.scaling import scaler_from_json
from engine.errors import bad_input
from engine.layers import Sequential
from engine.losses import mse
from engine.tasks.forecasting import (
    Scaling,
    far_note,
    last_row,
    outputs,
    read_series,
    series_notes,
    upcoming,
)
from engine.tasks.trained import restored
from engine.tasks.verdict import HINT, forecast_verdict
from engine.training.architecture import build_model
from engine.training.checkpoint import Checkpoint
from engine.training.config import FORECAST, LAYERS, SERIES, TABLE, TrainConfig
from engine.training.kinds import TaskKind
from engine.training.plots import draw_forecast, drawn
from engine.training.task import Batch, Validation, fingerprint, load_model


class Forecaster(TaskKind):
    """Recurrent layers and a linear layer over windows of a series; see `engine.training.task.Task`.

    All values of the horizon are read from the output at the window's last step (a direct forecast).  All columns of
    the series are inputs; the first one is forecast.
    """

    name, words = FORECAST, "forecast a column of a series"
    shared = LAYERS | SERIES | TABLE | {"data", "test"}
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 40,
        "validation": 0.15,
        "hidden": 32,
        "batch": 64,
        "lr": 1e-2,
        "validate_every": 25,
        "report_every": 25,
    }
    reads = "a CSV or NPY file with the series"
    pictures, out, standard = ("forecast.png",), "runs/forecast", True
    position = "windows"
    #: Whether a batch has its targets by row, (B, ...), and not by step.
    by_row: ClassVar[bool] = True
    scaling_type: ClassVar[type[Scaling]] = Scaling
    #: What to do where persistence is better, in the options of the task.
    hint: ClassVar[str] = HINT

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.series = series = read_series(config)
        self.fingerprint = fingerprint(series.values)
        parts = chronological_split(len(series.values), config.validation, config.test, str(config.data))
        _require_rows(config, parts)
        largest = float(np.abs(series.values).max())
        if largest > 1e150:  # errors and variances square the values
            hint = "give the series in larger units"
            raise bad_data(str(config.data), "numbers whose squares are finite, up to 1e150", f"{largest:g}", hint)
        self.parts = split_windows(series.values, parts, config.window, config.horizon, filled=series.filled)
        _require_measured(config, self.parts)
        earliest = int(self.parts.test.origins[0])
        if config.season > earliest:
            hint = "leave it out, or give a longer series"
            raise bad_input("--season", f"at most the {earliest} rows before the held-out part", config.season, hint)
        self.unit = f"RMSE in units of {series.names[0]!r}"
        train = self.parts.train.measured()
        self.scaling = (
            self.scaling_type.from_json(described) if described else self.scaling_type.fit(config.scaling, train)
        )
        self._all_known = bool(train.known.all())
        self._batches = WindowBatches(self.scaling.apply(train), config.batch, seed=config.seed, dtype=config.dtype)
        self.batches = len(self._batches)
        self.model = self.network(backend, config.window * min(config.batch, len(train)))
        self.title = f"{self.label} {config.hidden} on {series.names[0]!r}, {config.horizon} ahead"

    def network(self, backend: Backend, positions: int) -> Sequential:
        """The network with first weights; `positions` are those of a batch."""
        return build_model(self.config, backend, len(self.series.names), self.config.horizon, positions)

    @property
    def label(self) -> str:
        """What the network is called beside the baselines."""
        return self.config.cell.upper()

    @classmethod
    def complete(cls, given: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
        """With a season the window holds two whole periods: the network sees what recurs."""
        season = given.get("season")
        return {"window": 2 * season} if isinstance(season, int) and season > 1 and "window" not in given else {}

    @classmethod
    def check(cls, config: TrainConfig, label: Callable[[str], str]) -> None:
        """Rows must be left to train on."""
        if config.validation + config.test >= 1:
            expected = f"{label('validation')} + {label('test')} below 1"
            raise bad_input(
                label("test"), expected, f"{config.validation:g} + {config.test:g}", "leave rows to train on"
            )

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """Both scalings are there."""
        for name in ("x", "y"):
            scaler_from_json(described.get(name, {}))

    def batch(self, step: int) -> Batch:
        """Scaled windows (T, B, C), and what follows them (B, horizon), NaN where that was not measured."""
        epoch, index = divmod(step, self.batches)
        x, targets, _ = self._batches.batch(index, epoch)
        backend = self.model.backend
        return Batch(backend.asarray(x), backend.asarray(targets))

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Mean squared error of the output (T, B, horizon) at the last time step, in scaled units.

        Targets that were not measured do not count.
        """
        targets = batch.targets
        loss, dlast = mse(y[-1], targets, None if self._all_known else targets == targets)
        dy = self.model.backend.xp.zeros_like(y)
        dy[-1] = dlast
        return loss, dy, len(targets)

    def weight(self, batch: Batch) -> float:
        """How many targets of a batch were measured."""
        return float((batch.targets == batch.targets).sum())

    def carried(self, step: int, state: Any) -> Any:
        """Windows are shuffled: each starts from zeros."""
        return None

    def validate(self) -> Validation:
        """Mean squared error over the windows of the validation part, in scaled units."""
        windows = self.scaling.apply(self.parts.validation)
        return Validation(score(outputs(self.model, windows), windows.targets, windows.known).rmse ** 2)

    def figure(self, loss: float) -> tuple[str, float]:
        """Root mean square error in the unit of the series."""
        assert self.scaling.y.scale is not None
        return "rmse", math.sqrt(loss) * float(self.scaling.y.scale[0])

    def describe(self) -> dict[str, Any]:
        """Both scalings and the column."""
        return {"column": self.series.names[0], **self.scaling.to_json()}

    # -- results -------------------------------------------------------------------------------------------------------

    def notes(self) -> list[str]:
        """Notes on the series."""
        return series_notes(self.series)

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Scores of the network and the baselines on the held-out part, and their picture."""
        return self.scores(directory / self.pictures[0]) if finished else {}

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """Scores on the held-out last part of the run's own series, or of another one with the same columns."""
        if len(sources) > 1:
            raise bad_input("FILE", "one series", f"{len(sources)} files", "name one")
        config = replace(config, data=sources[0] if sources else config.data)
        return restored(cls, checkpoint, config, backend, "series", own=not sources).scores()

    @classmethod
    def predict(
        cls,
        checkpoint: Checkpoint,
        config: TrainConfig,
        sources: Sequence[str],
        backend: Backend,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The forecast after the last row of a series, with the scaling of the model's training."""
        if len(sources) > 1:
            raise bad_input("FILE", "one series", f"{len(sources)} files", "name one")
        config = replace(config, data=sources[0] if sources else config.data)
        series = read_series(config)
        model = load_model(checkpoint, backend)
        scaling = cls.scaling_type.of(checkpoint)
        notes = [*series_notes(series), *far_note(scaling, series, config)]
        if fingerprint(series.values) != checkpoint.meta["data"]:
            notes.append(f"{config.data} is not, or no longer, what the model was trained on")
        return {
            "data": str(config.data),
            "column": series.names[0],
            "inputs": list(series.names),
            "last": last_row(series),
            "next": upcoming(model, scaling, series, config),
            "notes": notes,
        }

    def scores(self, picture: Path | None = None) -> dict[str, Any]:
        """Scores of the network and the baselines on the held-out part, and the picture if a file is named."""
        test, series, config = self.parts.test, self.series, self.config
        forecasts = self.forecasts()
        with np.errstate(over="ignore"):  # told by `forecast_verdict`
            scores = {name: score(values, test.targets, test.known) for name, values in forecasts.items()}
        first = int(test.origins[0])
        result: dict[str, Any] = {
            "column": series.names[0],
            "inputs": list(series.names),
            "horizon": config.horizon,
            "season": config.season,
            "window": config.window,
            "filled_cells": series.filled_count,
            "held_out": {
                "first_row": first,
                "rows": len(test.history) - first,
                "filled": int(series.filled[first:, 0].sum()),
                "points": int(test.known.sum()),
                "points_left_out": int((~test.known).sum()),
                "points_by_step": test.known.sum(axis=0).tolist(),
            },
            "scores": {name: {"rmse": s.rmse, "mae": s.mae, "points": s.points} for name, s in scores.items()},
            "next": upcoming(self.model, self.scaling, series, config),
            "notes": series_notes(series),
        }
        result |= forecast_verdict(result["scores"], self.label, self.hint)
        if picture is not None:
            rmse = {name: s.rmse for name, s in scores.items()}
            after = [point["value"] for point in result["next"]]
            values = series.filled[:, 0], test, forecasts, rmse, series.names[0], after
            result |= drawn("forecast_picture", draw_forecast, picture, *values)
        return result

    # -- forecasts in the unit of the series ---------------------------------------------------------------------------

    def forecast(self, windows: Windows) -> np.ndarray:
        """Forecast (N, horizon) for windows in the unit of the series."""
        return self.scaling.forecast(self.model, windows)

    def forecasts(self) -> dict[str, np.ndarray]:
        """The forecasts (N, horizon) of the network and of every baseline for the held-out last part, by name.

        The linear autoregression sees exactly what the network sees: the same windows, as differences.  Seasonal-naive
        is left out if no season is given.
        """
        held_out, train = self.parts.test, self.parts.train
        found = {self.label: self.forecast(held_out), "persistence": persistence(held_out)}
        if self.config.season > 1:
            found["seasonal-naive"] = seasonal_naive(held_out, self.config.season)
        linear = LinearAutoregression().fit(train.anchored())
        found["linear autoregression"] = linear.predict(held_out.anchored()) + held_out.anchors[:, None]
        return found


_PARTS = {"train": "training", "validation": "validation", "test": "test"}


def _require_rows(config: TrainConfig, parts: Parts) -> None:
    """Raise unless each part of the series holds at least one window, in the words of the options."""
    needs = {"train": config.window + config.horizon, "validation": config.horizon, "test": config.horizon}
    for name, need in needs.items():
        rows = len(getattr(parts, name))
        if rows < need:
            sizes = f"--window + --horizon = {need}" if name == "train" else f"--horizon = {need}"
            hint = "give a longer series, or lower --window or --horizon"
            raise bad_data(str(config.data), f"at least {sizes} rows in the {_PARTS[name]} part", rows, hint)


def _require_measured(config: TrainConfig, parts: PartWindows) -> None:
    """Raise unless each part has a target that was measured and not filled."""
    for name, windows in parts._asdict().items():
        if not windows.known.any():
            expected = f"at least one measured value to forecast in the {_PARTS[name]} part"
            hint = "give a series with more measured values, or another --test or --validation"
            raise bad_data(str(config.data), expected, "filled cells alone", hint)
