"""The forecast task: from a window of a series to its next values, beside the baselines that it must beat.

The network sees the differences from the window's last known value, scaled.  The values of a series with a trend leave
the range that the network was trained on, and a network does not extrapolate; the differences stay in that range.  The
forecast is the last known value plus the network's output.  All scaling is measured on the windows of the training part
alone.
"""

from __future__ import annotations

import math
from typing import Any

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
from engine.errors import bad_input
from engine.losses import mse
from engine.training.architecture import build_model
from engine.training.checkpoint import Checkpoint
from engine.training.config import TrainConfig
from engine.training.forecasting import Scaling, forecast, outputs, read_series
from engine.training.task import Batch, Validation, fingerprint


class Forecaster:
    """Recurrent layers and a linear layer over windows of a series; see `engine.training.task.Task`.

    All values of the horizon are read from the output at the window's last step (a direct forecast).  All columns of
    the series are inputs; the first one is forecast.
    """

    position = "windows"

    def __init__(self, config: TrainConfig, backend: Backend) -> None:
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
        self.scaling = Scaling.fit(config.scaling, train)
        self._all_known = bool(train.known.all())
        self._batches = WindowBatches(self.scaling.apply(train), config.batch, seed=config.seed, dtype=config.dtype)
        self.batches = len(self._batches)
        positions = config.window * min(config.batch, len(train))
        self.model = build_model(config, backend, len(series.names), config.horizon, positions)
        self.title = f"{config.cell.upper()} {config.hidden} on {series.names[0]!r}, {config.horizon} ahead"

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

    def restore_scaling(self, checkpoint: Checkpoint) -> None:
        """Scale as the checkpoint's network was trained to see it, even if the series is another one."""
        self.scaling = Scaling.of(checkpoint)

    # -- forecasts in the unit of the series ---------------------------------------------------------------------------

    def forecast(self, windows: Windows) -> np.ndarray:
        """Forecast (N, horizon) for windows in the unit of the series."""
        return forecast(self.model, self.scaling, windows)

    def forecasts(self) -> dict[str, np.ndarray]:
        """The forecasts (N, horizon) of the network and of every baseline for the held-out last part, by name.

        The linear autoregression sees exactly what the network sees: the same windows, as differences.  Seasonal-naive
        is left out if no season is given.
        """
        held_out, train = self.parts.test, self.parts.train
        found = {self.config.cell.upper(): self.forecast(held_out), "persistence": persistence(held_out)}
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
