"""Estimators by scikit-learn's conventions: its own checks, ragged rows, pipelines, grid search, cloning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'bptt-engine[sklearn]'")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import engine
from engine.estimators import Forecaster, SequenceClassifier, SequenceRegressor

QUICK: dict[str, Any] = {"hidden": 6, "epochs": 12, "backend": "numpy:reference"}


def rows_and_labels(count: int = 40, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Ragged rows (t, 3) and the sign of each one's last value, as words."""
    draw = np.random.default_rng(seed)
    rows = [draw.normal(size=(int(draw.integers(2, 7)), 3)) for _ in range(count)]
    return rows, np.array(["up" if row[-1, 1] > 0 else "down" for row in rows])


#: Checks that ask for what these estimators are not meant to be, each with its reason.
EXPECTED: dict[str, str] = {}


@parametrize_with_checks(
    [SequenceClassifier(**QUICK), SequenceRegressor(**QUICK)], expected_failed_checks=lambda _: EXPECTED
)
@pytest.mark.proof
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_ragged_rows_are_told_apart_and_their_order_does_not_matter() -> None:
    rows, labels = rows_and_labels()
    classifier = SequenceClassifier(**QUICK, lr=0.05).fit(rows, labels)
    assert classifier.score(rows, labels) > 0.9
    shares = classifier.predict_proba(rows)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(classifier.predict_proba(rows[::-1])[::-1], shares, rtol=1e-5)
    assert set(classifier.predict(rows)) <= {"up", "down"}


def test_a_clone_with_the_same_seed_learns_the_same() -> None:
    rows, labels = rows_and_labels()
    one = SequenceClassifier(**QUICK, random_state=3)
    first, second = (clone(one).fit(rows, labels).predict_proba(rows) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = clone(one).set_params(random_state=4).fit(rows, labels).predict_proba(rows)
    assert not np.array_equal(first, other)


def test_grid_search_and_cross_validation_over_ragged_rows() -> None:
    rows, labels = rows_and_labels(30)
    search = GridSearchCV(SequenceClassifier(**QUICK), {"cell": ["gru", "rnn"], "pool": ["last", "mean"]}, cv=2)
    search.fit(rows, labels)
    assert set(search.best_params_) == {"cell", "pool"}
    sums = np.array([row[:, 0].sum() for row in rows])
    assert len(cross_val_score(SequenceRegressor(**QUICK), rows, sums, cv=2)) == 2


def test_a_pipeline_over_a_table_and_one_over_ragged_rows() -> None:
    draw = np.random.default_rng(1)
    table = draw.normal(size=(40, 7))
    target = table[:, -1] > 0
    assert (
        make_pipeline(StandardScaler(), SequenceClassifier(**QUICK, lr=0.05)).fit(table, target).score(table, target)
        > 0.9
    )
    rows, labels = rows_and_labels()
    halved = make_pipeline(FunctionTransformer(lambda x: [row / 2 for row in x]), SequenceClassifier(**QUICK, lr=0.05))
    assert halved.fit(rows, labels).score(rows, labels) > 0.9


def test_a_regressor_of_two_numbers_in_their_own_units() -> None:
    rows, _ = rows_and_labels(50, seed=2)
    targets = np.array([[1000 + 50 * row[-1, 0], row[:, 1].mean()] for row in rows])
    regressor = SequenceRegressor(**{**QUICK, "epochs": 60}, lr=0.03).fit(rows, targets)
    found = regressor.predict(rows)
    assert found.shape == targets.shape
    assert regressor.score(rows, targets) > 0.7


def test_a_forecaster_goes_on_with_its_series() -> None:
    t = np.arange(200)
    series = 3 * np.sin(t / 4) + 0.05 * t
    forecaster = Forecaster(window=16, horizon=4, **{**QUICK, "epochs": 20}).fit(series[:-4])
    assert np.abs(forecaster.predict() - series[-4:]).max() < 0.6
    np.testing.assert_allclose(forecaster.predict(series[:-4] + 100), forecaster.predict() + 100, atol=1e-3)
    assert forecaster.score(series) > 0.97
    assert clone(forecaster).get_params() == forecaster.get_params()


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([np.ones((3, 2)), np.ones((2, 2))], ["a", "a"], "y: expected at least two classes"),
        ([np.ones((3, 2)), np.ones((2, 2))], ["a", "b", "a"], "y: expected one target for each of the 2 rows, got 3"),
        ([np.ones((3, 2)), np.ones((2, 4))], ["a", "b"], "X"),
        ([np.full((3, 2), np.nan), np.ones((2, 2))], ["a", "b"], "X"),
    ],
)
def test_bad_rows_are_told(x: Any, y: Any, expected: str) -> None:
    with pytest.raises(engine.InputError, match=expected):
        SequenceClassifier(**QUICK).fit(x, y)


def test_a_short_series_is_told() -> None:
    with pytest.raises(engine.InputError, match="at least 33 values, for the window and the horizon, got 5"):
        Forecaster().fit(np.arange(5.0))


def test_text_is_no_number() -> None:
    with pytest.raises(engine.InputTypeError, match="y: expected an array of numbers"):
        SequenceRegressor(**QUICK).fit(np.ones((2, 3, 2)), ["a", "b"])
    with pytest.raises(engine.InputTypeError, match="X: expected an array of numbers"):
        Forecaster().fit(["a", "b"])
