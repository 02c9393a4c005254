"""Estimators that follow scikit-learn's conventions; they need the extra ``bptt-engine[sklearn]``.

`SequenceClassifier` and `SequenceRegressor` take rows of unequal length, `Forecaster` takes a series.
"""

from engine.estimators.forecaster import Forecaster
from engine.estimators.sequences import SequenceClassifier, SequenceRegressor

__all__ = ["Forecaster", "SequenceClassifier", "SequenceRegressor"]
