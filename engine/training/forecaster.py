"""The forecast task: from a window of a series to its next values, beside the baselines that have to be beaten.

A window enters as differences from its last known value, scaled.  A series with a trend leaves the range of values that
a network was trained on, and a network does not extrapolate; the differences stay in that range.  The forecast is the
last known value plus what the network says.  All scaling is measured on the windows of the training part alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.data import (
    Identity,
    LinearAutoregression,
    MinMaxScaler,
    Parts,
    Scaler,
    WindowBatches,
    Windows,
    ZScoreScaler,
    chronological_split,
    load_series,
    persistence,
    scaler_from_json,
    score,
    seasonal_naive,
    split_windows,
)
from engine.data.checks import bad_data
from engine.errors import bad_input
from engine.layers import Sequential
from engine.losses import mse
from engine.training.checkpoint import Checkpoint, field
from engine.training.config import TrainConfig
from engine.training.task import fingerprint, head, recurrent

_SCALERS: dict[str, type[Scaler]] = {"zscore": ZScoreScaler, "minmax": MinMaxScaler, "none": Identity}

#: Windows that are forecast at a time.
CHUNK = 256


class Forecaster:
    """Recurrent layers and a linear layer over windows of a series; see `engine.training.task.Task`.

    All values of the horizon are read from the output at the window's last step (a direct forecast).
    """

    position = "windows"

    def __init__(self, config: TrainConfig, backend: Backend) -> None:
        assert config.data is not None  # TrainConfig.check
        self.config = config
        series = load_series(config.data, config.column, config.missing)
        first = slice(0, 1)
        self.series = replace(
            series, values=series.values[:, first], names=series.names[first], filled=series.filled[:, first]
        )
        self.fingerprint = fingerprint(self.series.values)
        parts = chronological_split(len(self.series.values), config.validation, config.test)
        _require_rows(config, parts)
        self.parts = split_windows(self.series.values, parts, config.window, config.horizon)
        largest = float(np.abs(self.series.values).max())
        if largest > 1e150:  # errors and variances square the values
            mend = "give the series in larger units"
            raise bad_input("data", "numbers whose squares are finite, up to 1e150", f"{largest:g}", mend)
        earliest = int(self.parts.test.origins[0])
        if config.season > earliest:
            mend = "leave it out, or give a longer series"
            raise bad_input("season", f"at most the {earliest} rows before the held-out part", config.season, mend)
        self.unit = f"RMSE in units of {self.series.names[0]!r}"
        self.x_scaler, self.y_scaler = _SCALERS[config.scaling](), _SCALERS[config.scaling]()
        train = self.parts.train.anchored()
        self.x_scaler.fit(train.x.reshape(-1, 1))
        self.y_scaler.fit(train.targets.reshape(-1, 1))
        self._batches = WindowBatches(
            self._scaled(self.parts.train), config.batch, seed=config.seed, dtype=config.dtype
        )
        self.batches = len(self._batches)
        self.model = Sequential(recurrent(config, 1, backend), *head(config, config.horizon, backend), seed=config.seed)
        self.title = f"{config.cell.upper()} {config.hidden} on {self.series.names[0]!r}, {config.horizon} ahead"

    def batch(self, step: int) -> tuple[Any, Any]:
        """Scaled windows (T, B, 1), and what follows them (B, horizon)."""
        epoch, index = divmod(step, self.batches)
        x, targets, _ = self._batches.batch(index, epoch)
        backend = self.model.backend
        return backend.asarray(x), backend.asarray(targets)

    def loss(self, y: Any, targets: Any) -> tuple[Any, Any, int]:
        """Mean squared error of the output (T, B, horizon) at the last time step, in scaled units."""
        loss, dlast = mse(y[-1], targets)
        dy = self.model.backend.xp.zeros_like(y)
        dy[-1] = dlast
        return loss, dy, len(targets)

    def carried(self, step: int, state: Any) -> Any:
        """Windows are shuffled: each starts from zeros."""
        return None

    def validate(self) -> float:
        """Mean squared error over the windows of the validation part, in scaled units."""
        windows = self._scaled(self.parts.validation)
        return score(self._predict(windows), windows.targets).rmse ** 2

    def figure(self, loss: float) -> tuple[str, float]:
        """Root mean square error in the unit of the series."""
        assert self.y_scaler.scale is not None
        return "rmse", math.sqrt(loss) * float(self.y_scaler.scale[0])

    def describe(self) -> dict[str, Any]:
        """Both scalings and the column."""
        return {"column": self.series.names[0], "x": self.x_scaler.to_json(), "y": self.y_scaler.to_json()}

    def restore_scaling(self, checkpoint: Checkpoint) -> None:
        """Scale as the checkpoint's network was trained to see it, also where the series is another."""
        self.x_scaler = scaler_from_json(field(checkpoint.path, checkpoint.meta, "task", "x"))
        self.y_scaler = scaler_from_json(field(checkpoint.path, checkpoint.meta, "task", "y"))

    # -- forecasts in the unit of the series ---------------------------------------------------------------------------

    def forecast(self, windows: Windows) -> np.ndarray:
        """Forecast (N, horizon) for windows in the unit of the series."""
        scaled = self._predict(self._scaled(windows))
        return self.y_scaler.inverse_column(scaled, 0) + windows.anchors[:, None]

    def forecasts(self) -> dict[str, np.ndarray]:
        """The forecasts (N, horizon) of the network and of every baseline for the held-out last part, by name.

        The linear autoregression sees exactly what the network sees: the same windows, as differences.  Seasonal-naive
        is left out where no season is given.
        """
        held_out, train = self.parts.test, self.parts.train
        found = {self.config.cell.upper(): self.forecast(held_out), "persistence": persistence(held_out)}
        if self.config.season > 1:
            found["seasonal-naive"] = seasonal_naive(held_out, self.config.season)
        linear = LinearAutoregression().fit(train.anchored())
        found["linear autoregression"] = linear.predict(held_out.anchored()) + held_out.anchors[:, None]
        return found

    def _scaled(self, windows: Windows) -> Windows:
        anchored = windows.anchored()
        targets = self.y_scaler.transform(anchored.targets.reshape(-1, 1)).reshape(anchored.targets.shape)
        return replace(anchored, x=self.x_scaler.transform(anchored.x), targets=targets)

    def _predict(self, scaled: Windows) -> np.ndarray:
        """The network's output (N, horizon) at the last step of scaled windows, on the host."""
        backend = self.model.backend
        parts = []
        for start in range(0, len(scaled), CHUNK):
            x = np.ascontiguousarray(scaled.x[start : start + CHUNK].swapaxes(0, 1), dtype=self.model.dtype)
            y, _ = self.model.predict(backend.asarray(x))
            parts.append(y[-1])
        return backend.to_host(backend.xp.concatenate(parts)).astype(np.float64)


def _require_rows(config: TrainConfig, parts: Parts) -> None:
    """Raise unless each part of the series holds at least one window, in the words of the options."""
    needs = {"train": config.window + config.horizon, "validation": config.horizon, "test": config.horizon}
    for name, need in needs.items():
        rows = len(getattr(parts, name))
        if rows < need:
            sizes = f"--window + --horizon = {need}" if name == "train" else f"--horizon = {need}"
            mend = "give a longer series, or lower --window or --horizon"
            raise bad_data(str(config.data), f"at least {sizes} rows in the {name} part", rows, mend)
