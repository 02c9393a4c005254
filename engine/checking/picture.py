"""A gradient check as a picture: how large the errors are, over time steps and over gates."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from engine.checks import describe
from engine.drawing import new_figure
from engine.errors import StorageError, bad_input, bad_type, sentence

#: Errors smaller than this are drawn as this: nothing is gained by telling 1e-17 from 0.
SMALLEST = 1e-17


def draw(report: Any, path: Any = None) -> Any:
    """Draw a report's errors.

    Above, the error of every time step of x, where x has time; below, every tensor, by gate blocks where it has any.
    Green lies within the tolerance, red does not; a dashed line is the tolerance.  A wrong gradient spoils nearly
    every tensor, so black dots show the errors for those outputs alone that the diagnosis looked at: what is red there
    is what is wrong by itself.

    Parameters
    ----------
    report : an `engine.checking.report.Report`.
    path : a file to write, its kind by its ending; None writes none.

    Returns
    -------
    matplotlib.figure.Figure
    """
    _require_a_picture(path)
    timed = [row for row in report.rows if row.by_step]
    figure = new_figure(figsize=(8.0, 3.0 + 2.4 * len(timed) + 0.18 * len(report.rows)), layout="constrained")
    panels = figure.subplots(len(timed) + 1, 1, squeeze=False)[:, 0]
    for panel, row in zip(panels, timed, strict=False):
        _over_time(panel, row, report)
    _over_tensors(panels[-1], report)
    title = f"gradient check: {report.verdict} ({report.method})"
    if report.diagnosis is not None and report.diagnosis.cause:
        title += f"\n{report.diagnosis.name}, likely cause: {report.diagnosis.cause}"
    figure.suptitle(title)
    if path is not None:
        try:
            figure.savefig(path, dpi=120)
        except (OSError, ValueError) as error:  # no such folder, no right to write, a name that no file can have
            reason = getattr(error, "strerror", None) or error
            raise StorageError(sentence(os.fspath(path), "a file that can be written", reason)) from error
    return figure


def _require_a_picture(path: Any) -> None:
    """Raise unless the path is None, or the name of a file of a kind that can be drawn."""
    if path is not None and not isinstance(path, str | os.PathLike):
        raise bad_type("path", "a file name, or None", describe(path))
    kinds = sorted(new_figure().canvas.get_supported_filetypes())
    if path is not None and pathlib.PurePath(path).suffix.lower().removeprefix(".") not in kinds:
        raise bad_input("path", f"a file name that ends in {', '.join(kinds)}", describe(os.fspath(path)))


def _over_time(panel: Any, row: Any, report: Any) -> None:
    errors = _drawable(row.by_step)
    steps = np.arange(len(errors))
    wrong = row.verdict not in ("ok", "cannot tell")
    colours = ["tab:red" if wrong and error > report.tol else "tab:green" for error in errors]
    panel.vlines(steps, SMALLEST, errors, colors=colours, linewidth=1)
    panel.scatter(steps, errors, c=colours, s=16, zorder=3)
    hidden = [t for t in row.hidden_steps if t < len(errors)]
    if hidden:
        panel.scatter(hidden, errors[hidden], facecolors="none", edgecolors="tab:gray", s=60, label="cannot tell")
        panel.legend(loc="lower right")
    panel.axhline(report.tol, color="black", linestyle="--", linewidth=0.8)
    panel.set(yscale="log", ylim=(SMALLEST, 10), xlabel="time step", ylabel=f"error of d{row.name}")


def _over_tensors(panel: Any, report: Any) -> None:
    labels, errors, seen, colours = [], [], [], []
    for row in report.rows:
        for gate, error in (row.by_gate or {"": row.worst.error}).items():
            labels.append(f"{row.name} {gate}".rstrip())
            errors.append(error)
            seen.append(row.by_gate_seen.get(gate, np.nan))
            bad = row.verdict not in ("ok", "cannot tell") and not error <= report.tol
            colours.append("#f4a6a0" if bad else "tab:gray" if row.verdict == "cannot tell" else "tab:green")
    places = np.arange(len(labels))
    panel.barh(places, _drawable(errors), left=0, color=colours)
    if report.diagnosis is not None and np.isfinite(seen).any():
        dots = ["tab:red" if error > report.tol else "black" for error in seen]
        panel.scatter(_drawable(seen), places, c=dots, s=18, zorder=3, label=f"from {report.diagnosis.seen_in}")
        panel.legend(loc="lower left", fontsize=7)
    panel.axvline(report.tol, color="black", linestyle="--", linewidth=0.8)
    panel.set(xscale="log", xlim=(SMALLEST, 10), xlabel="largest error, relative to its slice")
    panel.set_yticks(places, labels, fontsize=7)
    panel.invert_yaxis()


def _drawable(errors: Any) -> np.ndarray:
    values = np.asarray(errors, dtype=np.float64)
    return np.clip(np.where(np.isfinite(values), values, 10.0), SMALLEST, 10.0)
