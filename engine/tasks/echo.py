"""The echo task: a series is foretold by an echo state network, which runs freely from the last rows on.

A reservoir of leaky units reads the scaled rows one by one, and a linear read-out says the next row: all its columns.
The read-out is the solution of ridge regression over the training part.  A forecast further ahead feeds each said row
back (`engine.free_run`).  No gradient is needed: the one step that the trainer makes finds the solution in place.
The reservoir sees levels, not differences: a series with a trend is for the task `forecast`, or should be differenced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.data import Windows, chronological_split, score
from engine.data.data_checks import bad_data
from engine.echo_state import fit_readout, free_run, reservoir
from engine.errors import bad_input
from engine.layers import Linear, Sequential
from engine.layers.base import Layer
from engine.losses import mse
from engine.tasks.forecast import Forecaster
from engine.tasks.forecasting import CHUNK, SCALERS, Scaling
from engine.training.config import SERIES, TABLE, TrainConfig
from engine.training.kinds import ECHO, Option
from engine.training.rules import real
from engine.training.task import Batch, Validation


class Levels(Scaling):
    """The scaling of an echo state network: of the rows themselves, not of their differences from the last one."""

    strange: ClassVar[str] = "differ from the mean"

    @classmethod
    def fit(cls, kind: str, train: Windows) -> Levels:
        """The scaling of that kind, measured on the windows of the training part."""
        rows = train.x.reshape(-1, train.x.shape[-1])
        return cls(SCALERS[kind]().fit(rows), SCALERS[kind]().fit(rows[:, :1]))

    def apply(self, windows: Windows) -> Windows:
        """The windows as the network sees them."""
        targets = self.y.transform(windows.targets.reshape(-1, 1)).reshape(windows.targets.shape)
        return replace(windows, x=self.x.transform(windows.x), targets=targets)

    def forecast(self, model: Layer, windows: Windows) -> np.ndarray:
        """Forecast (N, horizon) for windows in the unit of the series: a free run from each window's end."""
        return self.y.inverse_column(self.ahead(model, windows), 0)

    def ahead(self, model: Layer, windows: Windows) -> np.ndarray:
        """The first column of the free run (N, horizon), in scaled units."""
        backend, x, found = model.backend, self.x.transform(windows.x), []
        with np.errstate(all="ignore"):  # what overflows is told by who uses it
            for start in range(0, len(x), CHUNK):
                known = np.ascontiguousarray(x[start : start + CHUNK].swapaxes(0, 1), dtype=model.dtype)
                found.append(backend.to_host(free_run(model, backend.asarray(known), windows.horizon))[:, :, 0].T)
        return np.concatenate(found).astype(np.float64)


class EchoState(Forecaster):
    """A fixed reservoir and a read-out by least squares; see `engine.training.task.Task`.

    ``--window`` is how many known rows drive the reservoir before it goes on by itself, and the washout of the fit.
    """

    name, words = ECHO, "foretell a series by an echo state network"
    shared = SERIES | TABLE | {"data", "test", "hidden"}
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 1,
        "hidden": 400,
        "window": 100,
        "dtype": "float64",
        "validate_every": 1,
        "report_every": 1,
    }
    own = (
        Option("radius", real(0), 0.9, "Spectral radius of the recurrent weights."),
        Option(
            "leak", real(0, open_=True, most=1), 0.5, "How far a unit goes to its new value in a step; 1: a plain RNN."
        ),
        Option("density", real(0, open_=True, most=1), 0.1, "Share of the recurrent weights that are not 0."),
        Option("input_scale", real(0), 0.5, "Largest input weight."),
        Option("bias_scale", real(0), 0.2, "Largest bias."),
        Option("ridge", real(0), 1e-8, "Penalty of the read-out's weights."),
    )
    out, standard = "runs/echo", False
    varies = ("radius=0.3:1.3", "leak=0.1:1", "input_scale=0.05:2:log", "ridge=1e-10:1e-2:log")
    scaling_type = Levels
    hint = "try another --radius, --leak or --input-scale, a larger --ridge, or more --hidden units"

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, backend, described)
        self.batches = 1
        if described is None:
            self._solve()

    @property
    def label(self) -> str:
        """See `Forecaster.label`."""
        return "echo state network"

    @classmethod
    def complete(cls, given: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
        """Nothing follows from the season."""
        return {}

    @classmethod
    def check(cls, config: TrainConfig, label: Callable[[str], str]) -> None:
        """Rows must be left to train on, and two known rows to start from."""
        super().check(config, label)
        if config.window < 2:
            raise bad_input(
                label("window"), "at least 2", config.window, "the reservoir needs time to forget its start"
            )

    def network(self, backend: Backend, positions: int) -> Sequential:
        """See `Forecaster.network`."""
        columns, config, own = len(self.series.names), self.config, self.config.own
        options: dict[str, Any] = {"backend": backend, "dtype": config.dtype, "seed": config.seed}
        layer = reservoir(
            columns,
            config.hidden,
            spectral_radius=own["radius"],
            **{name: own[name] for name in ("leak", "density", "input_scale", "bias_scale")},
            **options,
        )
        return Sequential(layer, Linear(config.hidden, columns, **options))

    def _solve(self) -> None:
        """Fit the read-out to say the next row, over the rows of the training part past the washout."""
        config, values = self.config, self.series.values
        rows = self.scaling.x.transform(
            values[: len(chronological_split(len(values), config.validation, config.test).train)]
        )
        if len(rows) < config.window + 2:
            expected = f"at least --window + 2 = {config.window + 2} rows in the training part"
            raise bad_data(str(config.data), expected, len(rows), "give a longer series, or lower --window")
        series = np.ascontiguousarray(rows[:, np.newaxis], dtype=self.model.dtype)
        backend = self.model.backend
        x, y = backend.asarray(series[:-1]), backend.asarray(series[1:])
        fit_readout(self.model, x, y, ridge=config.own["ridge"], washout=config.window)

    def batch(self, step: int) -> Batch:
        """The first windows without their last row, (T - 1, B, C), and that row (B, C)."""
        rows = self.scaling.x.transform(self.parts.train.x[: self.config.batch])
        x = np.ascontiguousarray(rows.swapaxes(0, 1), dtype=self.model.dtype)
        backend = self.model.backend
        return Batch(backend.asarray(x[:-1]), backend.asarray(x[-1]))

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Mean squared error of the next row; the gradient is zero, as the weights are the solution."""
        loss, _ = mse(y[-1], batch.targets)
        return loss, self.model.backend.xp.zeros_like(y), len(batch.targets)

    def validate(self) -> Validation:
        """Mean squared error of the free runs over the windows of the validation part, in scaled units."""
        windows = self.parts.validation
        targets = self.scaling.apply(windows).targets
        ahead = self.scaling.ahead(self.model, windows)  # type: ignore[attr-defined]
        return Validation(score(ahead, targets, windows.known).rmse ** 2)
