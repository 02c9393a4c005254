"""A puzzle as a picture: where backward and central differences differ, over time and gates, and over the tensors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from engine.checking.report.picture import require_a_picture
from engine.classroom.puzzle.puzzle import ROUNDING, Puzzle
from engine.drawing import new_figure
from engine.errors import StorageError, sentence

#: The darkest cell is an error of this size or more; errors below `ROUNDING` are left white.
LARGEST = 10.0


def draw(puzzle: Puzzle, path: Any = None) -> Any:
    """Draw what a puzzle shows; neither the bug's name nor the checker's diagnosis is in the picture.

    Parameters
    ----------
    puzzle : as `make` returns it.
    path : a file to write, its kind by its ending; None writes none.

    Returns
    -------
    matplotlib.figure.Figure
    """
    require_a_picture(path)
    rows = puzzle.report.rows
    figure = new_figure(figsize=(8.0, 2.2 + 0.45 * len(puzzle.gates) + 0.3 * len(rows)), layout="constrained")
    heights = (0.8 + 0.45 * len(puzzle.gates), 0.8 + 0.3 * len(rows))
    over_time, tensors = figure.subplots(2, 1, height_ratios=heights)
    _map(over_time, puzzle)
    _bars(tensors, puzzle)
    figure.suptitle(f"Puzzle {puzzle.seed}: {puzzle.title}. Which gate, which step, which line?")
    if path is not None:
        try:
            figure.savefig(path, dpi=120)
        except (OSError, ValueError) as error:  # no such folder, no right to write, a name that no file can have
            reason = getattr(error, "strerror", None) or error
            raise StorageError(sentence(os.fspath(path), "a file that can be written", reason)) from error
    return figure


def _map(panel: Any, puzzle: Puzzle) -> None:
    """Gates downward, time to the right, the size of the error as darkness and as a number."""
    from matplotlib.colors import LogNorm

    errors = np.clip(np.nan_to_num(puzzle.errors, nan=LARGEST, posinf=LARGEST), ROUNDING, LARGEST)
    image = panel.imshow(errors, norm=LogNorm(ROUNDING, LARGEST), cmap="Blues", aspect="auto", interpolation="nearest")
    panel.figure.colorbar(image, ax=panel, label="error / largest right value")
    for (gate, step), error in np.ndenumerate(errors):
        words = "right" if error <= ROUNDING else f"{error:.0e}"
        panel.text(step, gate, words, ha="center", va="center", fontsize=9, color="white" if error > 1e-2 else "black")
    panel.set_yticks(range(len(puzzle.gates)), puzzle.gates)
    panel.set_xticks(range(errors.shape[1]))
    panel.set(xlabel="time step t (backward walks from right to left)", ylabel="gate")
    panel.set_title("gradient of each gate: backward beside central differences", fontsize=10)


def _bars(panel: Any, puzzle: Puzzle) -> None:
    """The largest error of every tensor."""
    rows, tol = puzzle.report.rows, puzzle.report.tol
    errors = np.clip([row.worst.error for row in rows], 1e-15, LARGEST)
    colours = ["tab:blue" if error > tol else "lightgray" for error in errors]
    panel.barh(range(len(rows)), errors, 0.7, left=0, color=colours)
    panel.axvline(tol, color="black", linestyle="--", linewidth=0.8)
    panel.text(tol, -0.62, f" tolerance {tol:.0e}", fontsize=8, va="bottom")
    panel.set(xscale="log", xlim=(1e-16, LARGEST * 10), xlabel="largest error / largest value of its slice")
    panel.set_yticks(range(len(rows)), [row.name for row in rows])
    panel.invert_yaxis()
    panel.set_title("gradient of each tensor (gray: within the tolerance)", fontsize=10, pad=12)
