"""Answers that are classes: probabilities, scores beside the majority, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.tasks.pictures import confusion, draw_confusion, worst_places, write_worst
from engine.training.examples.figures import F1, Accuracy
from engine.training.plots import drawn

CONFUSION_PICTURE, WORST_PAGE = "confusion.png", "worst.html"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (..., K) of logits, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy in nats of classes (N,) under logits (N, K)."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sum - shifted[np.arange(len(targets)), targets]).mean())


def temperature(logits: np.ndarray, targets: np.ndarray, most: float = 20.0) -> float:
    """The number T in 1..most by which logits are divided so that their cross-entropy is lowest (Guo et al. 2017).

    A model that has seen its training part often is too sure of itself: its answers stay, its probabilities are
    softened.  The cross-entropy is convex in 1/T, so a search that shrinks an interval by thirds finds it.

    Parameters
    ----------
    logits : (N, K) for examples that were held out.
    targets : (N,) their classes.
    """
    low, high = 1.0 / most, 1.0
    while high - low > 1e-3:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if log_loss(logits * left, targets) < log_loss(logits * right, targets):
            high = right
        else:
            low = left
    return 1.0 if high > 1.0 - 1e-3 else 2.0 / (low + high)


def class_scores(answers: np.ndarray, targets: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy, and the mean F1 of the classes.

    Parameters
    ----------
    answers, targets : classes (N,).
    """
    found = {}
    for figure in (Accuracy(), F1()):
        figure.add(np.eye(classes)[answers], targets)
        found[figure.name] = figure.value()
    return found


def majority(targets: np.ndarray, classes: int) -> int:
    """The most frequent class, of equals the first."""
    return int(np.bincount(targets, minlength=classes).argmax())


def beats(scores: Mapping[str, Mapping[str, float]], figure: str = "accuracy") -> str:
    """Whether the first of the scores is better than the second, in a sentence."""
    (model, own), (baseline, its) = list(scores.items())[:2]
    words = f"{100 * own[figure]:.1f} % {figure}, {baseline} {100 * its[figure]:.1f} %"
    if own[figure] > its[figure]:
        return f"{model} is better than the baseline: {words}."
    return f"{model} is no better than the baseline: {words}; train longer, or give more data."


def draw_answers(
    directory: Path,
    probabilities: np.ndarray,
    targets: np.ndarray,
    names: Sequence[str],
    texts: Sequence[str],
    title: str,
) -> dict[str, Any]:
    """Draw the confusion matrix and write the worst examples; the result holds both, JSON-able.

    Parameters
    ----------
    probabilities : (N, K).
    targets : classes (N,).
    names : of the K classes.
    texts : N examples in words.
    """
    counts = confusion(targets, probabilities.argmax(axis=1), len(names))
    worst = [
        {
            "text": texts[k],
            "true": names[targets[k]],
            "answer": names[int(probabilities[k].argmax())],
            "probability of the answer": float(probabilities[k].max()),
            "of the true one": float(probabilities[k, targets[k]]),
        }
        for k in worst_places(probabilities, targets)
    ]
    made = drawn("confusion", draw_confusion, directory / CONFUSION_PICTURE, counts, names, title)
    made |= drawn("worst", write_worst, directory / WORST_PAGE, worst, f"{title}: where the model is surest and wrong")
    files = {name: path for name, path in made.items() if name != "not_drawn" and path}
    found: dict[str, Any] = {"pictures": files, "confusion": counts.tolist(), "labels": list(names), "worst": worst}
    return found | ({"not_drawn": made["not_drawn"]} if "not_drawn" in made else {})
