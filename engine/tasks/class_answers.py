"""Answers that are classes: probabilities, scores beside the majority, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.tasks.pictures import confusion, draw_confusion, worst_places, write_worst
from engine.training.figures import F1, Accuracy
from engine.training.plots import drawn

CONFUSION_PICTURE, WORST_PAGE = "confusion.png", "worst.html"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (..., K) of logits, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


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
        return f"{model} is better than the {baseline} baseline: {words}."
    return f"{model} is no better than the {baseline} baseline: {words}; train longer, or give more data."


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
