"""A forecaster of a series, as scikit-learn's estimators are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from engine.checks import integer
from engine.errors import bad_input
from engine.estimators.recurrent import as_numbers
from engine.estimators.sequences import SequenceRegressor


class Forecaster(BaseEstimator):
    """Foretells the next values of a series from a window of those before.

    The network sees the differences from the window's last value, and foretells such differences: a series with a trend
    leaves the range of its training, its differences stay in it.

    Parameters
    ----------
    window : int
        Values that a forecast starts from.
    horizon : int
        Values that are foretold at once.
    cell : str
        Name of a cell of `engine.cells`, or ``"rnn"``.
    hidden : int
        Units of the recurrent layer.
    epochs : int
        Passes over the windows.
    batch_size : int
        Windows of a batch.
    lr : float
        Learning rate of Adam.
    backend : str
        Name of the backend.
    random_state : int, RandomState or None
        Of first weights and order.

    Attributes
    ----------
    regressor_ : SequenceRegressor
        The network on windows.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.estimators import Forecaster
    >>> series = np.sin(np.arange(120) / 3) + 0.01 * np.arange(120)
    >>> forecaster = Forecaster(window=20, horizon=3, hidden=8, backend="numpy:reference").fit(series[:-3])
    >>> bool(np.abs(forecaster.predict() - series[-3:]).max() < 0.3)
    True
    """

    def __init__(
        self,
        window: int = 32,
        horizon: int = 1,
        cell: str = "gru",
        hidden: int = 32,
        epochs: int = 30,
        batch_size: int = 32,
        lr: float = 1e-2,
        backend: str = "numpy",
        random_state: Any = 0,
    ) -> None:
        self.window, self.horizon = window, horizon
        self.cell, self.hidden = cell, hidden
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.backend, self.random_state = backend, random_state

    def fit(self, X: Any, y: Any = None) -> Forecaster:
        """Train on all windows of a series.

        Parameters
        ----------
        X : array (T,) or (T, D)
            The series; the first column is foretold, all are inputs.
        y : None
            Not used: what is foretold is the series itself.

        Returns
        -------
        Forecaster
            Itself.
        """
        series = self._series(X, integer("window", self.window, 1) + integer("horizon", self.horizon, 1))
        windows, ahead = self._windows(series)
        self.series_ = series
        self.regressor_ = SequenceRegressor(
            cell=self.cell,
            hidden=self.hidden,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            backend=self.backend,
            random_state=self.random_state,
        ).fit(windows, ahead)
        return self

    def predict(self, X: Any = None) -> np.ndarray:
        """The `horizon` values (horizon,) after the end of a series; None is the one of `fit`."""
        check_is_fitted(self)
        series = self.series_ if X is None else self._series(X, self.window)
        if series.shape[1] != self.series_.shape[1]:
            raise bad_input("X", f"{self.series_.shape[1]} columns, as in fit", f"{series.shape[1]}")
        last = series[-1]
        found: np.ndarray = self.regressor_.predict((series[-self.window :] - last)[None])[0] + last[0]
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """R² of the forecasts from all windows of a series: 1 is exact, 0 is as good as the mean."""
        check_is_fitted(self)
        series = self._series(X, self.window + self.horizon)
        windows, ahead = self._windows(series)
        anchors = series[self.window - 1 : len(series) - self.horizon, 0, None]
        return float(r2_score(ahead + anchors, self.regressor_.predict(windows) + anchors))

    def _series(self, given: Any, need: int) -> np.ndarray:
        series = as_numbers("X", given)
        if series.ndim not in (1, 2) or not np.isfinite(series).all():
            got = f"shape {series.shape}" if series.ndim not in (1, 2) else "NaN or infinity"
            raise bad_input("X", "a series (T,) or (T, D) of finite numbers", got)
        if len(series) < need:
            raise bad_input("X", f"at least {need} values, for the window and the horizon", f"{len(series)}")
        return series.reshape(len(series), -1)

    def _windows(self, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows (N, window, D) and what follows each (N, horizon), as differences from its last step."""
        last = np.arange(self.window - 1, len(series) - self.horizon)
        steps = last[:, None] + np.arange(1 - self.window, 1)
        ahead = last[:, None] + np.arange(1, self.horizon + 1)
        return series[steps] - series[last][:, None], series[ahead, 0] - series[last, 0, None]
