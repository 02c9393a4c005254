"""The input and output of a forecaster's network: windows as scaled differences from their last known row, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from engine.data import Identity, MinMaxScaler, Scaler, Series, Windows, ZScoreScaler, load_series, scaler_from_json
from engine.data.data_checks import bad_data
from engine.data.windowing import next_window
from engine.errors import NonFiniteError
from engine.layers.base import Layer
from engine.training.checkpoint import Checkpoint, field
from engine.training.config import FORMAT, TrainConfig

SCALERS: dict[str, type[Scaler]] = {"zscore": ZScoreScaler, "minmax": MinMaxScaler, "none": Identity}

#: Windows that are forecast at a time.
CHUNK = 256
#: Beyond this scaled value (of deviations or ranges) a series counts as different from the one that was learnt.
FAR = 100.0


def read_series(config: TrainConfig) -> Series:
    """The series of a run: the column to forecast first, then the other inputs."""
    assert config.data is not None  # TrainConfig.check
    series = load_series(
        config.data,
        config.column,
        config.missing,
        time=config.time,
        sort=config.sort,
        regular=config.regular,
        **{name: getattr(config, name) for name in FORMAT},
    )
    if config.column is not None or len(series.names) == 1:
        return series
    note = f"of the {len(series.names)} columns of {config.data} the first one alone is used: name others with --column"
    values, filled, notes = series.values[:, :1], series.filled[:, :1], (*series.notes, note)
    return replace(series, values=values, names=series.names[:1], filled=filled, notes=notes)


@dataclass(frozen=True)
class Scaling:
    """How windows are scaled for the network: measured on the training part, and stored with the weights.

    Attributes
    ----------
    x : of the differences from a window's last known row, a column each.
    y : of the differences of its targets from the last known value.
    """

    x: Scaler
    y: Scaler

    #: What the rows of a strange series do too much, for a note.
    strange: ClassVar[str] = "change"

    @classmethod
    def fit(cls, kind: str, train: Windows) -> Scaling:
        """The scaling of that kind, measured on the windows of the training part."""
        anchored = train.anchored()
        x = SCALERS[kind]().fit(anchored.x.reshape(-1, anchored.x.shape[-1]))
        measured = anchored.targets if anchored.known.all() else anchored.targets[anchored.known]
        return cls(x, SCALERS[kind]().fit(measured.reshape(-1, 1)))

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Scaling:
        """The scaling of the network in a checkpoint."""
        return cls.from_json({name: field(checkpoint.path, checkpoint.meta, "task", name) for name in "xy"})

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Scaling:
        """The scaling that `to_json` described."""
        return cls(scaler_from_json(said["x"]), scaler_from_json(said["y"]))

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"x": self.x.to_json(), "y": self.y.to_json()}

    def apply(self, windows: Windows) -> Windows:
        """The windows as the network sees them; targets that were not measured are NaN."""
        anchored = windows.anchored()
        targets = self.y.transform(anchored.targets.reshape(-1, 1)).reshape(anchored.targets.shape)
        if not anchored.known.all():
            targets[~anchored.known] = np.nan
        return replace(anchored, x=self.x.transform(anchored.x), targets=targets)

    def forecast(self, model: Layer, windows: Windows) -> np.ndarray:
        """Forecast (N, horizon) for windows in the unit of the series."""
        with np.errstate(all="ignore"):
            return self.y.inverse_column(outputs(model, self.apply(windows)), 0) + windows.anchors[:, None]


def outputs(model: Layer, scaled: Windows) -> np.ndarray:
    """The network's output (N, horizon) at the last step of scaled windows, on the host."""
    backend = model.backend
    parts = []
    with np.errstate(all="ignore"):  # what overflows is told by who uses it
        for start in range(0, len(scaled), CHUNK):
            x = np.ascontiguousarray(scaled.x[start : start + CHUNK].swapaxes(0, 1), dtype=model.dtype)
            y, _ = model.predict(backend.asarray(x))
            parts.append(y[-1])
    return backend.to_host(backend.xp.concatenate(parts)).astype(np.float64)


def upcoming(model: Layer, scaling: Scaling, series: Series, config: TrainConfig) -> list[dict[str, Any]]:
    """What comes after the last row: the row, its time (None if the series has none) and the value of each step.

    Raises
    ------
    DataError
        The series is shorter than a window.
    NonFiniteError
        The network's output overflows.
    """
    values = scaling.forecast(model, _last_window(series, config))[0]
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"{series.source}: expected a finite forecast, got {values[~np.isfinite(values)][0]}; give a series in the "
            "range of the one that the network was trained on"
        )
    times = series.times.after(config.horizon) if series.times else None
    return [
        {"row": len(series.values) + ahead, "time": times[ahead] if times else None, "value": float(value)}
        for ahead, value in enumerate(values)
    ]


def last_row(series: Series) -> dict[str, Any]:
    """The last row that is known: its number, its time, its value (None if it was filled)."""
    last = len(series.values) - 1
    return {
        "row": last,
        "time": series.times.cells[-1] if series.times else None,
        "value": None if series.filled[-1, 0] else float(series.values[-1, 0]),
    }


def far_note(scaling: Scaling, series: Series, config: TrainConfig) -> list[str]:
    """A note if the last window is far from all that the network has seen: then its forecast means nothing."""
    farthest = float(np.abs(scaling.apply(_last_window(series, config)).x).max())
    if config.scaling == "none" or farthest < FAR:
        return []
    return [
        f"the last rows {scaling.strange} {farthest:.3g} times as much as those that the model was trained on: its "
        "forecast is not to be trusted"
    ]


def _last_window(series: Series, config: TrainConfig) -> Windows:
    if len(series.values) < config.window:
        expected = f"at least the {config.window} rows of the run's --window"
        raise bad_data(series.source, expected, len(series.values), "give a longer series")
    return next_window(series.values, config.window, config.horizon, filled=series.filled)


def series_notes(series: Series) -> list[str]:
    """Notes for the user on the series: its times, and the cells filled at its end."""
    notes = list(series.notes)
    for name, filled in zip(series.names, series.filled.T, strict=True):
        open_ = len(filled) - 1 - int(np.flatnonzero(~filled)[-1])
        if open_:
            notes.append(
                f"the last {open_} cells of column {name!r} are missing and filled with the last known value: what "
                "comes next starts from there"
            )
    return notes
