"""Simple forecasts that a network must beat. All work on `Windows`, so all are scored on the same held-out targets.

They have the unit of the windows; compare them with a network's in the unit of the series.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, integer
from engine.data.data_checks import bad_data
from engine.data.matrices import require_numbers
from engine.data.windowing import Windows, require_windows
from engine.errors import bad_input
from engine.plain_arrays import refuse_own_rules


class Score(NamedTuple):
    """Errors over all windows and all steps of the horizon, in the unit of the targets."""

    rmse: float
    mae: float
    points: int  # how many errors these are over


def score(forecast: NDArray[Any], targets: NDArray[Any], known: NDArray[np.bool_] | None = None) -> Score:
    """Return root mean square error and mean absolute error of `forecast` against `targets`, both (N, horizon).

    Parameters
    ----------
    known : bool (N, horizon), optional
        Which targets were measured, as `Windows.known`; the others are left out.
    """
    refuse_own_rules("known", known)
    found, wanted = require_numbers("forecast", forecast), require_numbers("targets", targets)
    if found.shape != wanted.shape:
        expected = f"shape {wanted.shape} as the targets"
        raise bad_input("forecast", expected, f"shape {found.shape}", "forecast the same windows")
    with np.errstate(over="ignore"):
        error = found - wanted
    if known is not None:
        if not isinstance(known, np.ndarray) or known.dtype != bool or known.shape != error.shape:
            got = describe(known) if not isinstance(known, np.ndarray) else f"{known.dtype} of shape {known.shape}"
            raise bad_input(
                "known", f"a bool array of shape {error.shape} as the targets", got, "take that of the windows"
            )
        error = error if known.all() else error[known]
    if error.size == 0:
        got = f"shape {error.shape}" if known is None else "none that was measured"
        raise bad_data("targets", "at least one value", got, "give windows that are not empty")
    with np.errstate(over="ignore"):  # of errors beyond 1e154 the score is infinite
        return Score(float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error))), error.size)


def persistence(source: Windows) -> NDArray[np.float64]:
    """Forecast (N, horizon): the last known value stays."""
    require_windows("source", source)
    return np.repeat(source.anchors[:, np.newaxis], source.horizon, axis=1)


def seasonal_naive(source: Windows, season: int) -> NDArray[np.float64]:
    """Forecast (N, horizon): each value repeats that of the last season known when the forecast is made.

    Parameters
    ----------
    source : Windows
    season : int
        The period in rows, such as 52 for weekly values with a yearly course. It may exceed the windows' `steps`;
        beyond one season ahead, the same known season is repeated.

    Raises
    ------
    DataError
        A window has less than one season before it.
    """
    require_windows("source", source)
    period = integer("season", season, 1)
    earliest = int(source.origins.min()) if len(source) else period
    if earliest < period:
        hint = "lower season, or score on a later part"
        raise bad_data("season", f"at most the {earliest} rows before the first window", describe(period), hint)
    ahead = np.arange(source.horizon)
    # ahead // season + 1 seasons back is the smallest whole number of them that lands before the origin.
    rows = source.origins[:, np.newaxis] + ahead - (ahead // period + 1) * period
    return source.history[np.minimum(rows, source.last[:, np.newaxis])]


class LinearAutoregression:
    """Least squares from the T*D values of a window, and a constant, to each of the values ahead (a direct forecast).

    It sees exactly what a network sees, and ignores targets that were not measured. If the training part has fewer
    windows than T*D + 1, it takes the solution of least norm.
    """

    def __init__(self) -> None:
        self._center: NDArray[Any] | None = None  # (T*D,)
        self._weights: NDArray[Any] = np.zeros((0, 0))  # (T*D, horizon)
        self._level: NDArray[Any] = np.zeros(0)  # (horizon,)
        self._shape: tuple[int, ...] = ()  # (T, D, horizon)

    def fit(self, train: Windows) -> Self:
        """Fit on the windows of the training part; return the model.

        Raises
        ------
        InputError
            It is already fitted.
        """
        require_windows("train", train)
        if self._center is not None:
            raise bad_input("fit", "a model that is not fitted yet", "one that is", "make a new LinearAutoregression")
        x = train.x.reshape(len(train), -1)
        # Centred, or the level of the series would be the one large singular value and hide the others.
        self._center = x.mean(axis=0)
        self._level = train.targets.mean(axis=0)
        centred = x - self._center
        if train.known.all():
            self._weights = np.linalg.lstsq(centred, train.targets - self._level, rcond=None)[0]
        else:
            leads = [
                _fit_lead(centred[k], t[k]) for k, t in zip(train.known.T, train.targets.T, strict=True) if k.any()
            ]
            self._level[train.known.any(axis=0)] = [level for level, _ in leads]
            self._weights = np.zeros((x.shape[1], train.horizon))
            self._weights[:, train.known.any(axis=0)] = np.stack([weights for _, weights in leads], axis=1)
        self._shape = (*train.x.shape[1:], train.horizon)
        return self

    def predict(self, source: Windows) -> NDArray[np.float64]:
        """Forecast (N, horizon).

        Raises
        ------
        InputError
            It is not fitted yet, or was fitted on windows of another shape.
        """
        require_windows("source", source)
        if self._center is None:
            hint = "call fit with the windows of the training part first"
            raise bad_input("LinearAutoregression", "a fitted model", "one that is not fitted", hint)
        shape = (*source.x.shape[1:], source.horizon)
        if shape != self._shape:
            expected = "steps, columns and horizon {}, {} and {} as fitted".format(*self._shape)
            raise bad_input("source", expected, "{}, {} and {}".format(*shape), "cut both parts alike")
        return (source.x.reshape(len(source), -1) - self._center) @ self._weights + self._level


def _fit_lead(x: NDArray[Any], y: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """The constant and the weights (M,) of least squares from x (N, M) to y (N,)."""
    center, level = x.mean(axis=0), y.mean()
    weights = np.linalg.lstsq(x - center, y - level, rcond=None)[0]
    return float(level - center @ weights), weights


def baseline_forecasts(train: Windows, held_out: Windows, season: int) -> dict[str, NDArray[np.float64]]:
    """Return the forecasts (N, horizon) of all baselines for the windows `held_out`, by name."""
    require_windows("train", train)
    require_windows("held_out", held_out)
    return {
        "persistence": persistence(held_out),
        "seasonal-naive": seasonal_naive(held_out, season),
        "linear autoregression": LinearAutoregression().fit(train).predict(held_out),
    }
