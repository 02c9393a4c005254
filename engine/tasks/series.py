"""The series task: several columns at once, with covariates that are known into the future, and with bands.

The network reads the known rows and then the rows to come, in one pass: of the latter the known columns (a calendar, a
price that is fixed, a weather forecast) and a mark.  At each of them it says the quantiles of every column to forecast,
as scaled differences from the last known value.  The loss is the quantile loss (Koenker and Bassett 1978).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.data import chronological_split, persistence, score, seasonal_naive, shuffled_order
from engine.data.data_checks import bad_data
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.losses import quantile
from engine.tasks.forecasting import CHUNK
from engine.tasks.series_picture import draw_bands
from engine.tasks.series_spans import Columns, Spans, SpanScaling, next_span, read_columns, spans
from engine.tasks.trained import restored
from engine.training.architecture import build_model
from engine.training.checkpoint import Checkpoint
from engine.training.config import LAYERS, SERIES, TABLE, TrainConfig
from engine.training.kinds import Option, TaskKind
from engine.training.plots import drawn
from engine.training.rules import listed, text
from engine.training.task import Batch, Validation, fingerprint, load_model


class ManySeries(TaskKind):
    """Recurrent layers and a linear layer over spans of several columns; see `engine.training.task.Task`."""

    name, words = "series", "forecast several columns, with known covariates and bands"
    shared = LAYERS | SERIES | TABLE | {"data", "test"}
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 30,
        "validation": 0.15,
        "hidden": 32,
        "batch": 64,
        "lr": 1e-2,
        "validate_every": 25,
        "report_every": 25,
    }
    own = (
        Option("known", listed(text(), tuple), (), "A column that is known ahead; given again: one more.", tuple),
        Option("quantiles", text(), "0.1,0.5,0.9", "Quantiles to forecast; the outermost two are the band."),
    )
    reads = "a CSV or NPY file with the series"
    pictures, out = ("forecast.png",), "runs/series"
    position = "windows"
    unit = "quantile loss, scaled"

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        self.config, self.levels = config, levels_of(config)
        self.columns = columns = read_columns(config)
        values = columns.series.values
        self.fingerprint = fingerprint(values)
        parts = chronological_split(len(values), config.validation, config.test, str(config.data))
        self.train, self.validation, self.test = (_part(columns, config, part) for part in parts)
        self.scaling = SpanScaling.from_json(described) if described else SpanScaling.fit(config.scaling, self.train)
        self._targets = self.scaling.targets(self.train)
        self.batches = -(-len(self.train) // config.batch)
        K, steps = columns.targets, config.window + config.horizon
        inputs, outputs = values.shape[1] + 1, K * len(self.levels)
        self.model = build_model(config, backend, inputs, outputs, steps * min(config.batch, len(self.train)))
        self.title = f"{self.label} {config.hidden} on {', '.join(columns.names)}, {config.horizon} ahead"

    @property
    def label(self) -> str:
        """What the network is called beside the baselines."""
        return self.config.cell.upper()

    @classmethod
    def check(cls, config: TrainConfig, label: Callable[[str], str]) -> None:
        """Rows must be left to train on; known columns are not forecast."""
        if config.validation + config.test >= 1:
            expected, got = f"{label('validation')} + {label('test')} below 1", config.validation + config.test
            raise bad_input(label("test"), expected, f"{got:g}", "leave rows to train on")
        levels_of(config, label)
        both = sorted(set(config.own["known"]) & set(config.column or ()))
        if both:
            hint = f"name what is to be forecast with {label('column')} alone"
            raise bad_input(label("known"), "columns that are not forecast", repr(both[0]), hint)
        if config.own["known"] and not config.column:
            raise bad_input(label("column"), "the columns to forecast, beside the known ones", "none", "name them")

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """The scalings are there."""
        SpanScaling.from_json(described)

    def batch(self, step: int) -> Batch:
        """Spans (T + horizon, B, K + C + 1), what came (horizon, B, K), and which of it was measured."""
        epoch, index = divmod(step, self.batches)
        size = self.config.batch
        chosen = shuffled_order(len(self.train), self.config.seed, epoch)[index * size : (index + 1) * size]
        backend = self.model.backend
        x, targets = (
            np.ascontiguousarray(rows.swapaxes(0, 1), dtype=self.model.dtype)
            for rows in (self.scaling.inputs(self.train, chosen), self._targets[chosen])
        )
        return Batch(backend.asarray(x), backend.asarray(np.nan_to_num(targets)), mask=~np.isnan(targets))

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Quantile loss of the outputs at the rows to come; all others get the gradient zero."""
        mask = self.model.backend.asarray(np.asarray(batch.mask, self.model.dtype))
        loss, ahead = quantile(y[-self.config.horizon :], batch.targets, self.levels, mask)
        dy = self.model.backend.xp.zeros_like(y)
        dy[-self.config.horizon :] = ahead
        return loss, dy, batch.targets.shape[1]

    def carried(self, step: int, state: Any) -> Any:
        """Spans are shuffled: each starts from zeros."""
        return None

    def validate(self) -> Validation:
        """Quantile loss over the spans of the validation part, in scaled units, and the band's coverage there."""
        said, wanted = outputs(self.model, self.scaling, self.validation), self.scaling.targets(self.validation)
        return Validation(_pinball(said, wanted, self.levels), {"coverage": _coverage(np.sort(said, axis=3), wanted)})

    def figure(self, loss: float) -> tuple[str, float]:
        """The loss itself."""
        return "quantile_loss", loss

    def describe(self) -> dict[str, Any]:
        """The scalings and the columns."""
        return {"columns": list(self.columns.names), "known": list(self.config.own["known"]), **self.scaling.to_json()}

    # -- results -------------------------------------------------------------------------------------------------------

    def notes(self) -> Sequence[str]:
        """Notes on the series."""
        return self.columns.series.notes

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Scores of every column beside the baselines, the bands' coverage, and their picture."""
        return self.scores(directory / self.pictures[0]) if finished else {}

    def scores(self, picture: Path | None = None) -> dict[str, Any]:
        """What `results` says of the held-out part; the picture is drawn if a file is named."""
        found, test, middle = self.forecast(self.test), self.test, self.levels.index(0.5)
        scores: dict[str, dict[str, float]] = {}
        worse = []
        for k, (name, one) in enumerate(zip(self.columns.names, test.each, strict=True)):
            wanted = np.where(one.known, one.targets, np.nan)[:, :, np.newaxis]
            rivals = {self.label: found[:, :, k, middle], "persistence": persistence(one)}
            if self.config.season > 1:
                rivals["seasonal-naive"] = seasonal_naive(one, self.config.season)
            for rival, values in rivals.items():
                errors = score(values, one.targets, one.known)
                scores[f"{name}: {rival}"] = {"rmse": errors.rmse, "mae": errors.mae}
            band = _coverage(found[:, :, k : k + 1], wanted)
            scores[f"{name}: {self.label}"]["in the band, %"] = band
            if scores[f"{name}: {self.label}"]["mae"] > scores[f"{name}: persistence"]["mae"]:
                worse.append(name)
        wide = 100.0 * (self.levels[-1] - self.levels[0])
        held_out = (
            f"the last {len(test) + test.horizon - 1} rows, {test.horizon} ahead; the band is to hold {wide:.3g} %"
        )
        result: dict[str, Any] = {
            "columns": list(self.columns.names),
            "known": list(self.config.own["known"]),
            "levels": list(self.levels),
            "held_out": held_out,
            "scores": scores,
            "notes": list(self.columns.series.notes),
        }
        if worse:
            result["verdict"] = f"Worse than persistence, which repeats the last value: {', '.join(worse)}."
        if picture is not None:
            made = drawn("forecast", draw_bands, picture, test, found, self.columns.names, self.levels, self.label)
            result["pictures"] = {name: path for name, path in made.items() if path}
        return result

    def forecast(self, source: Spans) -> np.ndarray:
        """The quantiles (N, horizon, K, Q) in the unit of each column, rising."""
        return np.sort(self.scaling.values(outputs(self.model, self.scaling, source), source), axis=3)

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """Scores on the held-out last part of the run's own series, or of another one with the same columns."""
        config = _with_data(config, sources)
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
        """The quantiles of every column after the last measured row."""
        config = _with_data(config, sources)
        columns, levels = read_columns(config), levels_of(config)
        span = next_span(columns, config)
        scaling = SpanScaling.from_json(checkpoint.meta["task"])
        said = outputs(load_model(checkpoint, backend), scaling, span)
        found = np.sort(scaling.values(said, span), axis=3)[0]
        row = len(columns.series.values)
        rows = [
            {"row": str(row + ahead), "column": name}
            | dict(zip(map(str, levels), map(float, found[ahead, k]), strict=True))
            for ahead in range(config.horizon)
            for k, name in enumerate(columns.names)
        ]
        return {"data": str(config.data), "rows": rows, "notes": list(columns.series.notes)}


def levels_of(config: TrainConfig, label: Callable[[str], str] = str) -> tuple[float, ...]:
    """The quantiles that ``--quantiles`` names: rising, each between 0 and 1, 0.5 among them."""
    said = config.own["quantiles"]
    try:
        levels = tuple(float(word) for word in said.split(","))
    except ValueError:
        levels = ()
    rising = len(levels) > 0 and all(a < b for a, b in zip((0.0, *levels), (*levels, 1.0), strict=True))
    if not rising or 0.5 not in levels:
        raise bad_input(
            label("quantiles"), "rising numbers between 0 and 1 with 0.5 among them", repr(said), "0.1,0.5,0.9"
        )
    return levels


def outputs(model: Layer, scaling: SpanScaling, source: Spans) -> np.ndarray:
    """What the network says at the rows to come, (N, horizon, K, Q), scaled."""
    backend, parts = model.backend, []
    for start in range(0, len(source), CHUNK):
        x = scaling.inputs(source, slice(start, start + CHUNK)).swapaxes(0, 1)
        y, _ = model.predict(backend.asarray(np.ascontiguousarray(x, dtype=model.dtype)))
        parts.append(backend.to_host(y[-source.horizon :]).swapaxes(0, 1))
    found = np.concatenate(parts).astype(np.float64)
    return found.reshape(*found.shape[:2], source.past.shape[-1], -1)


def _pinball(said: np.ndarray, wanted: np.ndarray, levels: Sequence[float]) -> float:
    """The mean quantile loss of (N, horizon, K, Q) over all that was measured."""
    error = wanted[..., np.newaxis] - said
    return float(np.nanmean(np.maximum(np.array(levels) * error, (np.array(levels) - 1.0) * error)))


def _coverage(said: np.ndarray, wanted: np.ndarray) -> float:
    """How many of the measured values lie within the outermost quantiles, in percent."""
    measured = ~np.isnan(wanted)
    inside = (said[..., 0] <= wanted) & (wanted <= said[..., -1])
    return 100.0 * float(inside[measured].mean())


def _part(columns: Columns, config: TrainConfig, part: range) -> Spans:
    """The spans of a part, without those that have nothing measured to forecast."""
    found = spans(columns, config, part)
    if not found.known.any(axis=(0, 1)).all():
        expected = "a measured value of every column in training, validation and held-out part"
        raise bad_data(str(config.data), expected, "filled cells alone", "give a series with more measured values")
    return found


def _with_data(config: TrainConfig, sources: Sequence[str]) -> TrainConfig:
    if len(sources) > 1:
        raise bad_input("FILE", "one series", f"{len(sources)} files", "name one")
    return replace(config, data=sources[0] if sources else config.data)
