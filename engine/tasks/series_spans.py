"""Forecasting windows over several columns at once, with covariates that are known into the future.

A span is what a network reads for one forecast: T known rows, and then the rows to be forecast, of which the covariates
alone are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.data import Scaler, Series, Windows, load_series, scaler_from_json, windows
from engine.data.data_checks import bad_data
from engine.data.windowing import next_window
from engine.errors import DataError
from engine.tasks.forecasting import SCALERS
from engine.training.config import FORMAT, TrainConfig


@dataclass(frozen=True)
class Columns:
    """The columns of a run.

    Attributes
    ----------
    series : Series
        The rows in which targets were measured: the K columns to forecast, then the C known ones.
    ahead : array (rows, C)
        The known columns in the rows after these.
    targets : int
        K.
    """

    series: Series
    ahead: np.ndarray
    targets: int

    @property
    def names(self) -> tuple[str, ...]:
        """The columns to forecast."""
        return self.series.names[: self.targets]


def read_columns(config: TrainConfig) -> Columns:
    """The columns that ``--column`` names, and those that ``--known`` names.

    Without known columns the file is read as by the task forecast.  With some, rows at the end may have no target: they
    are the future.  A known column must have a number in every row.

    Raises
    ------
    DataError
        for a file that cannot be read so, in one sentence.
    """
    assert config.data is not None  # TrainConfig.check
    reading: dict[str, Any] = {"time": config.time, "sort": config.sort, "regular": config.regular}
    reading |= {name: getattr(config, name) for name in FORMAT}
    known = config.own["known"]
    if not known:
        series = load_series(config.data, config.column, config.missing, **reading)
        return Columns(series, np.zeros((0, 0)), len(series.names))
    wanted = config.column or ()
    try:
        series = load_series(config.data, wanted, config.missing, **reading)
    except DataError:
        if config.missing != "error":
            raise
        series = load_series(config.data, wanted, "interpolate", **reading)
        if series.filled[: _measured(series)].any():
            raise
    try:
        rest = load_series(config.data, known, "error", **reading)
    except DataError as error:
        told, missing, _ = str(error).partition("; fill them linearly")
        raise (DataError(f"{told}; a known column is not filled: write its values") if missing else error) from None
    rows = _measured(series)
    both = np.concatenate([series.values, rest.values], axis=1)
    filled = np.concatenate([series.filled, rest.filled], axis=1)
    names = (*series.names, *rest.names)
    kept = replace(series, values=both[:rows], filled=filled[:rows], names=names)
    return Columns(kept, rest.values[rows:], len(series.names))


def _measured(series: Series) -> int:
    """The rows up to the last one in which a column was measured."""
    return int(np.flatnonzero(~series.filled.all(axis=1))[-1]) + 1


@dataclass(frozen=True)
class Spans:
    """N forecasting tasks.

    Attributes
    ----------
    past : array (N, T, K)
        The known rows of the columns to forecast.
    covariates : array (N, T + horizon, C)
        The known columns, also in the rows to be forecast.
    each : tuple of K Windows
        Every column to forecast, with its history, for targets and baselines.
    """

    past: np.ndarray
    covariates: np.ndarray
    each: tuple[Windows, ...]

    def __len__(self) -> int:
        return len(self.past)

    @property
    def horizon(self) -> int:
        """The rows to be forecast."""
        return self.each[0].horizon

    @property
    def anchors(self) -> np.ndarray:
        """The last known value (N, 1, K) of each column."""
        return np.stack([one.anchors for one in self.each], axis=1)[:, np.newaxis]

    @property
    def targets(self) -> np.ndarray:
        """What came (N, horizon, K)."""
        return np.stack([one.targets for one in self.each], axis=2)

    @property
    def known(self) -> np.ndarray:
        """Which targets were measured, bool (N, horizon, K)."""
        return np.stack([one.known for one in self.each], axis=2)


def spans(columns: Columns, config: TrainConfig, part: range) -> Spans:
    """The spans whose targets lie in a part of the rows."""
    values, filled, K = columns.series.values, columns.series.filled, columns.targets
    sizes = config.window, config.horizon
    if part.stop < sum(sizes):
        expected = f"at least --window + --horizon = {sum(sizes)} rows up to the end of the training part"
        raise bad_data(
            columns.series.source, expected, part.stop, "give a longer series, or lower --window or --horizon"
        )
    each = tuple(windows(values, *sizes, target=k, part=part, filled=filled) for k in range(K))
    rows = each[0].origins[:, np.newaxis] + np.arange(-config.window, config.horizon)
    return Spans(each[0].x[:, :, :K], values[rows][:, :, K:], each)


def next_span(columns: Columns, config: TrainConfig) -> Spans:
    """The span after the last measured row.

    Raises
    ------
    DataError
        There are fewer rows than a window, or fewer known rows of the future than the horizon.
    """
    values, filled, K = columns.series.values, columns.series.filled, columns.targets
    known, need = columns.series.names[K:], config.horizon
    if known and len(columns.ahead) < need:
        expected = f"{need} rows after the last measured one, with {', '.join(map(repr, known))}"
        hint = f"append rows with the known columns, and nothing in {columns.names[0]!r}"
        raise bad_data(columns.series.source, expected, len(columns.ahead), hint)
    each = tuple(next_window(values, config.window, need, target=k, filled=filled) for k in range(K))
    ahead = columns.ahead[:need] if known else np.zeros((need, 0))
    covariates = np.concatenate([values[-config.window :, K:], ahead])[np.newaxis]
    return Spans(each[0].x[:, :, :K], covariates, each)


@dataclass(frozen=True)
class SpanScaling:
    """How spans are scaled for the network: measured on the training part, and stored with the weights.

    Attributes
    ----------
    x, y : Scaler
        Of the differences from the last known row, of known rows and of targets: a column each.
    z : Scaler or None
        Of the known columns themselves; None if there are none.
    """

    x: Scaler
    y: Scaler
    z: Scaler | None

    @classmethod
    def fit(cls, kind: str, train: Spans) -> SpanScaling:
        """The scaling of that kind, measured on the spans of the training part."""
        K, C = train.past.shape[-1], train.covariates.shape[-1]
        ahead = (train.targets - train.anchors).reshape(-1, K)[train.known.reshape(-1, K).all(axis=1)]
        past = (train.past - train.past[:, -1:]).reshape(-1, K)
        z = SCALERS[kind]().fit(train.covariates.reshape(-1, C)) if C else None
        return cls(SCALERS[kind]().fit(past), SCALERS[kind]().fit(ahead), z)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> SpanScaling:
        """The scaling that `to_json` described."""
        x, y = (scaler_from_json(said.get(name, {})) for name in "xy")
        return cls(x, y, scaler_from_json(said["z"]) if "z" in said else None)

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        z = {} if self.z is None else {"z": self.z.to_json()}
        return {"x": self.x.to_json(), "y": self.y.to_json(), **z}

    def inputs(self, source: Spans, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """What the network reads (N, T + horizon, K + C + 1): in the last column whether the row is yet to come."""
        past, covariates = source.past[chosen], source.covariates[chosen]
        N, T, K = past.shape
        x = np.zeros((N, T + source.horizon, K + covariates.shape[-1] + 1))
        x[:, :T, :K] = self.x.transform(past - past[:, -1:])
        if self.z is not None:
            x[:, :, K:-1] = self.z.transform(covariates)
        x[:, T:, -1] = 1.0
        return x

    def targets(self, source: Spans) -> np.ndarray:
        """What the network is to say (N, horizon, K); NaN where nothing was measured."""
        return np.where(source.known, self.y.transform(source.targets - source.anchors), np.nan)

    def values(self, said: np.ndarray, source: Spans) -> np.ndarray:
        """Outputs (N, horizon, K, Q) in the unit of each column."""
        columns = [self.y.inverse_column(said[:, :, k], k) for k in range(said.shape[2])]
        return np.stack(columns, axis=2) + source.anchors[:, :, :, np.newaxis]
