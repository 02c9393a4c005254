"""Pictures that tasks share: the confusion matrix, and the examples at which a model is worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.atomic import write_atomic
from engine.html_tables import table
from engine.training.plots import INK, picture

#: Up to so many classes have their counts written into the cells.
NUMBERED = 20
#: Characters of a text in a table of examples.
SHOWN = 160


def confusion(targets: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was answered by each: counts (K, K), rows are the true classes.

    Parameters
    ----------
    targets, answers : classes (N,).
    classes : K.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (targets, answers), 1)
    return counts


def draw_confusion(path: Path, counts: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draw a confusion matrix: a row for each true class, dark where its answers went.

    Parameters
    ----------
    path : the PNG file, replaced whole.
    counts : (K, K) of `confusion`.
    names : of the K classes.
    title : above the picture.
    """
    classes = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(14.0, 3.2 + 0.42 * classes)
    longest = max(map(len, names))
    font = 10 if classes <= 12 else max(4.0, 9 - 0.05 * classes)
    with picture(path, (side + 0.09 * longest, side)) as fig:
        axes = fig.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(classes), list(names), rotation=90 if classes > 4 or longest > 8 else 0, fontsize=font)
        axes.set_yticks(range(classes), list(names), fontsize=font)
        axes.set_xlabel("answer of the model")
        axes.set_ylabel("true class")
        axes.set_title(title)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        if classes <= NUMBERED:
            for row, column in np.argwhere(counts > 0):
                colour = "white" if shares[row, column] > 0.55 else INK
                text = f"{counts[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=font - 1)


def worst_places(probabilities: np.ndarray, targets: np.ndarray, count: int = 20) -> np.ndarray:
    """The places of the wrong answers of which the model was surest, the worst first.

    Parameters
    ----------
    probabilities : (N, K) of the classes.
    targets : (N,) the true classes.
    count : the most places.
    """
    of_target = probabilities[np.arange(len(targets)), targets]
    order = np.argsort(of_target, kind="stable")
    wrong = probabilities.argmax(axis=1)[order] != targets[order]
    return order[wrong][:count]


def write_worst(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write the worst examples as an HTML page that needs no other file.

    Parameters
    ----------
    path : the file, replaced whole.
    rows : a flat record for each, all with the same entries; the heads of the columns are their names.
    title : above the table.
    """
    heads = list(rows[0]) if rows else ["none"]
    cells = [[_cell(value) for value in row.values()] for row in rows]
    page = table(title, heads, cells, "" if rows else "No answer was wrong.")
    head = '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    write_atomic(path, f"{head}<title>{title}</title>{page}\n".encode())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."
