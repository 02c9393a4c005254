"""What the estimators share: rows as scikit-learn hands them over, their scaling, the model, its training."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from engine.checks import one_of
from engine.errors import BackendUnavailableError, bad_input, bad_type
from engine.layers import Layer, from_config
from engine.optimizers import Adam
from engine.training import fit
from engine.training.architecture import recurrent_of, sequential
from engine.training.config import TRAINABLE_CELLS
from engine.training.examples.evaluation import predict_rows
from engine.training.examples.rows import Rows, read_rows, require_finite

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import check_array
except ImportError as error:  # pragma: no cover
    raise BackendUnavailableError(
        "engine.estimators: expected scikit-learn, got none; install it with pip install 'bptt-engine[sklearn]'"
    ) from error


class RecurrentEstimator(BaseEstimator):
    """Base of the estimators over rows; see `SequenceClassifier` for the parameters."""

    def __init__(
        self,
        cell: str = "gru",
        hidden: int = 32,
        layers: int = 1,
        bidirectional: bool = False,
        pool: str = "last",
        dropout: float = 0.0,
        scale: bool = True,
        epochs: int = 30,
        batch_size: int = 32,
        lr: float = 1e-2,
        clip: float = 1.0,
        validation: float = 0.0,
        patience: int = 0,
        backend: str = "numpy",
        random_state: Any = 0,
    ) -> None:
        self.cell, self.hidden, self.layers, self.bidirectional = cell, hidden, layers, bidirectional
        self.pool, self.dropout, self.scale = pool, dropout, scale
        self.epochs, self.batch_size, self.lr, self.clip = epochs, batch_size, lr, clip
        self.validation, self.patience = validation, patience
        self.backend, self.random_state = backend, random_state

    def _read(self, x: Any, fitted: bool) -> Rows:
        """The rows of X, each number finite; a table (N, F) is N rows of F steps with one number each."""
        if hasattr(x, "shape") or not _ragged(x):
            table = check_array(x, dtype="numeric", allow_nd=True, ensure_min_samples=1, input_name="X")
            if table.dtype.kind not in "fiu":
                table = table.astype(np.float64)
            if not fitted and table.ndim == 2:
                self.n_features_in_ = table.shape[1]
            elif table.ndim == 2 and getattr(self, "n_features_in_", table.shape[1]) != table.shape[1]:
                # the words of scikit-learn, which its checks look for
                name = type(self).__name__
                raise bad_input(
                    "X",
                    f"rows of {self.n_features_in_} steps",
                    f"{table.shape[1]}",
                    f"X has {table.shape[1]} features, but {name} is expecting {self.n_features_in_} features as input",
                )
            x = table[:, :, None] if table.ndim == 2 else table
        rows = read_rows("X", _as_floats(x), None)
        require_finite("X", rows, np.dtype(np.float32))
        if fitted and rows.shape != self.step_shape_:
            raise bad_input("X", f"steps of shape {self.step_shape_}, as in fit", f"shape {rows.shape}")
        return rows

    def _scaled(self, rows: Rows, fitted: bool) -> Rows:
        """The rows in units of the training rows' mean and standard deviation, a column each."""
        if not fitted:
            self.step_shape_ = rows.shape
            steps = np.concatenate(_valid(rows))
            self.mean_, spread = steps.mean(axis=0), steps.std(axis=0)
            self.spread_ = np.where(spread > 0, spread, 1.0)
            if not self.scale:
                self.mean_, self.spread_ = np.zeros_like(self.mean_), np.ones_like(self.spread_)
        return read_rows("X", [(row - self.mean_) / self.spread_ for row in _valid(rows)], None)

    def _train(self, rows: Rows, targets: np.ndarray, outputs: int, loss: str) -> None:
        """Build the model and train it."""
        seed = seed_of(self.random_state)
        self.model_ = self._model(int(rows.shape[0]), outputs, seed)
        self.history_ = fit(
            self.model_,
            rows.data,
            targets,
            loss=loss,
            optimizer=Adam(self.model_, lr=self.lr),
            epochs=self.epochs,
            batch_size=self.batch_size,
            clip=self.clip,
            validation=self.validation or None,
            patience=self.patience,
            seed=seed,
            quiet=True,
        )
        self.n_iter_ = len(self.history_.loss)

    def _model(self, inputs: int, outputs: int, seed: int) -> Layer:
        one_of("cell", self.cell, TRAINABLE_CELLS)
        directions = 2 if self.bidirectional else 1
        width = self.hidden * directions
        recurrent = recurrent_of(
            self.cell,
            input_size=inputs,
            hidden_size=self.hidden,
            num_layers=self.layers,
            dropout=self.dropout if self.layers > 1 else 0.0,
            bidirectional=self.bidirectional,
        )
        parts = [
            recurrent,
            ("Pool", {"kind": self.pool, "input_size": width, "directions": directions}),
            *([("Dropout", {"p": self.dropout})] if self.dropout else []),
            ("Linear", {"in_features": width, "out_features": outputs}),
        ]
        return from_config(sequential(parts), backend=self.backend, dtype="float32", seed=seed)

    def _outputs(self, x: Any) -> np.ndarray:
        """What the model gives for each row, (N, K) float64 on the host."""
        rows = self._scaled(self._read(x, fitted=True), fitted=True)
        return np.asarray(predict_rows(self.model_, rows), dtype=np.float64)


def seed_of(random_state: Any) -> int:
    """A seed of the engine from what scikit-learn calls a random state: None, a number or a generator."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(random_state.randint(2**31 - 1))


def as_numbers(name: str, given: Any) -> np.ndarray:
    """What was given, as an array of float64."""
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise bad_type(name, "an array of numbers", "something else", "text and ragged lists are none") from error


def _ragged(x: Any) -> bool:
    """Whether X is a list of rows of more than one axis, or of unequal length."""
    if not isinstance(x, list | tuple) or not x:
        return False
    shapes = {np.shape(row) for row in x if hasattr(row, "shape")}
    return len(shapes) > 1 or any(len(shape) == 2 for shape in shapes)


def _as_floats(x: Any) -> Any:
    """Numbers as float64: ids are no input of these models."""
    if isinstance(x, np.ndarray):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    rows = [np.asarray(row) for row in x]
    return [np.asarray(row if row.ndim > 1 else row[:, None], dtype=np.float64) for row in rows]


def _valid(rows: Rows) -> list[np.ndarray]:
    """The valid steps of each row (t, D)."""
    return [np.asarray(rows.data[place][:length], dtype=np.float64) for place, length in enumerate(rows.lengths)]
