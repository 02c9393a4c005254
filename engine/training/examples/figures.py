"""Figures that people read, each defined once: accuracy, F1, perplexity, errors, edit distance.

A figure is built up over batches.  It sees the outputs that have a target, at valid positions alone, on the host; so
neither pads nor the division into batches change it.  Weights of rows count in the loss and in no figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from engine.checks import describe
from engine.errors import bad_input, bad_type


class Figure(Protocol):
    """A figure over a data set.

    Attributes
    ----------
    name : in tables and in the lines of the metrics.
    sequences : whether `add` takes whole rows (lists of sequences) instead of valid positions (P, ...).
    argument : what errors call the metrics; of a head it has the head's name in it.
    """

    name: str
    sequences: bool
    argument: str

    def add(self, prediction: Any, target: Any) -> None:
        """Take in the positions of a batch: outputs (P, K), and targets (P,) or (P, K)."""

    def value(self) -> float:
        """The figure over all that was added."""


class Accuracy:
    """The share of positions whose largest output is that of their class; of equal outputs the first counts."""

    name, sequences, argument = "accuracy", False, "metrics"

    def __init__(self) -> None:
        self.right = self.count = 0

    def add(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """See `Figure.add`."""
        _require_classes(self, target)
        self.right += int((prediction.argmax(axis=-1) == target).sum())
        self.count += len(target)

    def value(self) -> float:
        """See `Figure.value`."""
        return self.right / self.count if self.count else math.nan


class F1:
    """The mean of the classes' F1, 2TP / (2TP + FP + FN), over all classes that occur as target or as answer.

    Every class counts alike, however rare (macro average).
    """

    name, sequences, argument = "f1", False, "metrics"

    def __init__(self) -> None:
        self.table = np.zeros((0, 0), np.int64)  # [target, answer]

    def add(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """See `Figure.add`."""
        _require_classes(self, target)
        size = prediction.shape[-1]
        if not len(self.table):
            self.table = np.zeros((size, size), np.int64)
        np.add.at(self.table, (target, prediction.argmax(axis=-1)), 1)

    def value(self) -> float:
        """See `Figure.value`."""
        right = np.diagonal(self.table)
        # row sum = TP + FN, column sum = TP + FP
        both = self.table.sum(axis=1) + self.table.sum(axis=0)
        occur = both > 0
        return float((2.0 * right[occur] / both[occur]).mean()) if occur.any() else math.nan


class Perplexity:
    """exp of the mean cross-entropy: between how many equally likely classes the model wavers."""

    name, sequences, argument = "perplexity", False, "metrics"

    def __init__(self) -> None:
        self.nats, self.count = 0.0, 0

    def add(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """See `Figure.add`."""
        _require_classes(self, target)
        logits = prediction.astype(np.float64)
        top = logits.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
        self.nats += float((log_sum - np.take_along_axis(logits, target[:, None], axis=-1)[:, 0]).sum())
        self.count += len(target)

    def value(self) -> float:
        """See `Figure.value`."""
        return math.exp(min(self.nats / self.count, 700.0)) if self.count else math.nan


class _Deviation:
    """Sum of a function of prediction - target, over all elements."""

    name, sequences, argument = "", False, "metrics"

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """See `Figure.add`."""
        if target.shape != prediction.shape:
            raise bad_input(self.argument, "errors of targets in the output's shape", f"{self.name!r} of classes")
        self.total += float(self._of(prediction.astype(np.float64) - target).sum())
        self.count += target.size

    def _of(self, error: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class MeanAbsolute(_Deviation):
    """Mean absolute error over all elements."""

    name = "mae"

    def _of(self, error: np.ndarray) -> np.ndarray:
        return np.abs(error)

    def value(self) -> float:
        """See `Figure.value`."""
        return self.total / self.count if self.count else math.nan


class RootMeanSquare(_Deviation):
    """Root of the mean squared error over all elements."""

    name = "rmse"

    def _of(self, error: np.ndarray) -> np.ndarray:
        return np.square(error)

    def value(self) -> float:
        """See `Figure.value`."""
        return math.sqrt(self.total / self.count) if self.count else math.nan


class EditDistance:
    """Insertions, deletions and replacements that turn the answers into the targets, for each label of a target.

    With CTC the answer of a row is its best path: the largest output of each step, repeats joined, blanks (class 0)
    left out.  With targets for each step it is the largest output of each valid step.
    """

    name, sequences, argument = "edit_distance", True, "metrics"

    def __init__(self) -> None:
        self.edits = self.labels = 0

    def add(self, prediction: Sequence[Sequence[int]], target: Sequence[Sequence[int]]) -> None:
        """Take in the answers and the targets of a batch, a sequence of labels for each row."""
        for answer, wanted in zip(prediction, target, strict=True):
            self.edits += edit_distance(answer, wanted)
            self.labels += len(wanted)

    def value(self) -> float:
        """See `Figure.value`."""
        return self.edits / self.labels if self.labels else math.nan


class Own:
    """A function of the user's: ``function(outputs, targets) -> float`` over all valid positions of the data set."""

    sequences, argument = False, "metrics"

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], float]) -> None:
        self.function = function
        self.name = name_of(function)
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """See `Figure.add`."""
        self.parts.append((prediction, target))

    def value(self) -> float:
        """See `Figure.value`."""
        outputs, targets = (np.concatenate(side) for side in zip(*self.parts, strict=True))
        found = self.function(outputs, targets)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            got = describe(found)
            raise bad_type(
                self.argument, f"a number from the function {self.name!r}", got, "return one float"
            ) from error


FIGURES: dict[str, Callable[[], Figure]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "perplexity": Perplexity,
    "mae": MeanAbsolute,
    "rmse": RootMeanSquare,
    "edit_distance": EditDistance,
}


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Levenshtein's distance (1966): the fewest insertions, deletions and replacements from one sequence to the other.

    Examples
    --------
    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(other) + 1))  # row[j]: from the part of `one` so far to other[:j]
    for count, item in enumerate(one, start=1):
        corner, row[0] = row[0], count
        for j, wanted in enumerate(other, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (item != wanted))
    return row[-1]


def best_path(outputs: np.ndarray, steps: np.ndarray, blank: int = 0) -> list[list[int]]:
    """The labels that CTC's best path reads from outputs (T, B, K): repeats joined, then blanks left out.

    Parameters
    ----------
    steps : (B,) valid steps of each row.
    """
    classes = outputs.argmax(axis=-1)  # (T, B)
    found = []
    for row, count in zip(classes.T, steps, strict=True):
        row = row[:count]
        changes = np.r_[True, row[1:] != row[:-1]] if len(row) else np.zeros(0, bool)
        found.append([int(label) for label in row[changes] if label != blank])
    return found


def check_metrics(metrics: Any, argument: str = "metrics") -> tuple[Any, ...]:
    """The metrics asked for: names of `FIGURES`, ``"loss"``, or functions, each once."""
    given = (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics
    if not isinstance(given, tuple | list):
        raise bad_type(argument, "a tuple of names or functions", describe(metrics))
    names = [metric if isinstance(metric, str) else name_of(metric) for metric in given]
    for metric, name in zip(given, names, strict=True):
        if not callable(metric) and name not in (*FIGURES, "loss"):
            expected = f"some of 'loss', {', '.join(map(repr, FIGURES))}, or functions"
            raise bad_input(argument, expected, describe(metric))
        if names.count(name) > 1:
            raise bad_input(argument, "each once", f"{name!r} twice")
    return tuple(given)


def name_of(function: Any) -> str:
    """What a function is called in tables."""
    return str(getattr(function, "__name__", type(function).__name__))


def make_figures(metrics: Sequence[Any], argument: str = "metrics") -> list[Figure]:
    """New figures, with nothing added; ``"loss"`` is none of them, for it is always measured.

    Parameters
    ----------
    argument : what their errors call the metrics, such as ``"metrics['tag']"`` of a head.
    """
    found = [FIGURES[metric]() if isinstance(metric, str) else Own(metric) for metric in metrics if metric != "loss"]
    for figure in found:
        figure.argument = argument
    return found


def require_class_targets(figure: Figure, target: Any) -> None:
    """Raise unless the targets are class numbers, which the figure needs."""
    if not isinstance(target, np.ndarray) or target.dtype.kind not in "iu":
        hint = "of numbers take 'mae' or 'rmse'"
        raise bad_input(figure.argument, f"classes as targets for {figure.name!r}", "targets of another kind", hint)


def _require_classes(figure: Figure, target: Any) -> None:
    require_class_targets(figure, target if getattr(target, "ndim", 0) == 1 else None)
