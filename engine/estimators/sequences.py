"""A classifier and a regressor of sequences, as scikit-learn's estimators are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d

from engine.errors import bad_input
from engine.estimators.recurrent import RecurrentEstimator, as_numbers


class SequenceClassifier(ClassifierMixin, RecurrentEstimator):
    """Tells the class of a sequence with a recurrent network.

    Recurrent layers read the sequence, their outputs are pooled into one vector, a linear layer makes a number for each
    class of it.

    Parameters
    ----------
    cell : str
        Name of a cell of `engine.cells`, or ``"rnn"``.
    hidden : int
        Units of each recurrent layer.
    layers : int
        Recurrent layers.
    bidirectional : bool
        Whether sequences are also read backwards.
    pool : str
        ``"last"``, ``"mean"``, ``"max"`` or ``"attention"``: how the steps become one vector.
    dropout : float
        Share of units dropped between layers and before the output in training.
    scale : bool
        Whether inputs are brought to mean 0 and standard deviation 1, a column each, as measured on the training rows.
    epochs : int
        Passes over the rows.
    batch_size : int
        Rows of a batch.
    lr : float
        Learning rate of Adam.
    clip : float
        Largest norm of the gradient.
    validation : float
        Fraction of the rows that is held out for `patience`.
    patience : int
        Epochs without a lower validation loss before training ends; 0 is never.
    backend : str
        Name of the backend.
    random_state : int, RandomState or None
        Of first weights, dropout and order.

    Attributes
    ----------
    classes_ : array (K,)
        The classes, sorted.
    model_ : Sequential
        The trained model.
    history_ : History
        What `engine.fit` returned.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.estimators import SequenceClassifier
    >>> draw = np.random.default_rng(0)
    >>> rows = [draw.normal(size=(draw.integers(3, 9), 2)) for _ in range(60)]
    >>> labels = ["rising" if row[-1, 0] > 0 else "falling" for row in rows]
    >>> classifier = SequenceClassifier(hidden=8, backend="numpy:reference").fit(rows, labels)
    >>> classifier.score(rows, labels) > 0.9
    True
    """

    def fit(self, X: Any, y: Any) -> SequenceClassifier:
        """Train on rows and their classes.

        Parameters
        ----------
        X : list of arrays (t, D), or array (N, T, D) or (N, T)
            The rows; lists may hold rows of unequal length.
        y : array (N,)
            The class of each row, of any type that can be sorted.

        Returns
        -------
        SequenceClassifier
            Itself.
        """
        rows = self._scaled(self._read(X, fitted=False), fitted=False)
        labels = column_or_1d(_given(y), warn=True)
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        _require_rows(len(rows), len(targets))
        if len(self.classes_) < 2:
            raise bad_input("y", "at least two classes", f"one class: {self.classes_[0]}")
        self._train(rows, targets, len(self.classes_), "cross_entropy")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (N, K) in the order of `classes_`."""
        check_is_fitted(self)
        logits = self._outputs(X)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row, (N,)."""
        likely = self.predict_proba(X).argmax(axis=1)
        found: np.ndarray = self.classes_[likely]
        return found


class SequenceRegressor(RegressorMixin, RecurrentEstimator):
    """Foretells a number, or several, for a sequence with a recurrent network.

    Targets are learnt in units of their own mean and standard deviation.

    Parameters
    ----------
    cell : str
        Name of a cell of `engine.cells`, or ``"rnn"``.
    hidden : int
        Units of each recurrent layer.
    layers : int
        Recurrent layers.
    bidirectional : bool
        Whether sequences are also read backwards.
    pool : str
        ``"last"``, ``"mean"``, ``"max"`` or ``"attention"``: how the steps become one vector.
    dropout : float
        Share of units dropped between layers and before the output in training.
    scale : bool
        Whether inputs are brought to mean 0 and standard deviation 1, a column each, as measured on the training rows.
    epochs : int
        Passes over the rows.
    batch_size : int
        Rows of a batch.
    lr : float
        Learning rate of Adam.
    clip : float
        Largest norm of the gradient.
    validation : float
        Fraction of the rows that is held out for `patience`.
    patience : int
        Epochs without a lower validation loss before training ends; 0 is never.
    backend : str
        Name of the backend.
    random_state : int, RandomState or None
        Of first weights, dropout and order.

    Attributes
    ----------
    model_ : Sequential
        The trained model.
    history_ : History
        What `engine.fit` returned.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.estimators import SequenceRegressor
    >>> draw = np.random.default_rng(0)
    >>> rows = [draw.normal(size=(draw.integers(3, 9), 2)) for _ in range(60)]
    >>> sums = [10 + row[:, 0].sum() for row in rows]
    >>> regressor = SequenceRegressor(hidden=8, backend="numpy:reference").fit(rows, sums)
    >>> regressor.score(rows, sums) > 0.8
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        # A table of independent columns, with which scikit-learn tests, is no sequence.
        tags.regressor_tags.poor_score = True
        return tags

    def fit(self, X: Any, y: Any) -> SequenceRegressor:
        """Train on rows and their numbers.

        Parameters
        ----------
        X : list of arrays (t, D), or array (N, T, D) or (N, T)
            The rows; lists may hold rows of unequal length.
        y : array (N,) or (N, K)
            The numbers of each row.

        Returns
        -------
        SequenceRegressor
            Itself.
        """
        rows = self._scaled(self._read(X, fitted=False), fitted=False)
        targets = as_numbers("y", _given(y))
        if targets.ndim not in (1, 2) or not np.isfinite(targets).all():
            got = f"shape {targets.shape}" if targets.ndim not in (1, 2) else "NaN or infinity"
            raise bad_input("y", "finite numbers (N,) or (N, K)", got)
        _require_rows(len(rows), len(targets))
        self._single = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        spread = targets.std(axis=0)
        self.target_mean_, self.target_spread_ = targets.mean(axis=0), np.where(spread > 0, spread, 1.0)
        self._train(rows, (targets - self.target_mean_) / self.target_spread_, targets.shape[1], "mse")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of each row, in the shape of y."""
        check_is_fitted(self)
        found = self._outputs(X) * self.target_spread_ + self.target_mean_
        return found[:, 0] if self._single else found


def _given(y: Any) -> Any:
    """The targets, which may not be left out."""
    if y is None:
        # the words of scikit-learn, which its checks look for
        raise bad_input("y", "the target of each row", "None", "fit requires y to be passed, but the target y is None")
    return y


def _require_rows(rows: int, targets: int) -> None:
    if rows != targets:
        raise bad_input("y", f"one target for each of the {rows} rows", f"{targets}")
