"""A gradient check as a picture: how large the errors are, over time steps, over gates, and entry by entry."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from engine.checking.report import maps
from engine.checking.report.maps import COLOURS, MARKERS, NOUNS
from engine.checking.subjects.subject import ALL
from engine.checks import describe
from engine.drawing import new_figure
from engine.errors import StorageError, bad_input, bad_type, sentence

#: Errors smaller than this are drawn as this: nothing is gained by telling 1e-17 from 0.
SMALLEST = 1e-17
#: Inches of a panel over time, of a map, of a bar.
TIMED, MAP, BAR = 2.4, 2.6, 0.18
#: Where a legend stands: above its panel, where it hides nothing.
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 5, "fontsize": 7, "frameon": False}


def draw(report: Any, path: Any = None, title: str | None = None) -> Any:
    """Draw a report's errors.

    At the top, the error of every time step of x, if x has time steps; then every tensor, by its gate blocks if it has
    any; below, a map of each matrix that is not right, with the departing entries marked.  Green is within the
    tolerance, red is not, orange is at a kink, grey could not be decided; a dashed line is the tolerance.  A wrong
    gradient spoils nearly every tensor.  So black dots show the errors for only those outputs that the diagnosis looked
    at: a tensor whose dot is above the line is wrong by itself.

    Parameters
    ----------
    report : an `engine.checking.report.report.Report`.
    path : a file to write, its kind by its ending; None writes none.
    title : above the picture; None says the verdict, the method and the likely cause.

    Returns
    -------
    matplotlib.figure.Figure
    """
    require_a_picture(path)
    timed = [row for row in report.rows if row.by_step]
    drawn = maps.chosen(report)
    bars = 1.2 + BAR * sum(max(1, len(row.by_gate)) for row in report.rows)
    heights = [TIMED] * len(timed) + [bars] + [MAP] * len(drawn)
    figure = new_figure(figsize=(8.0, 0.8 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, row in zip(panels, timed, strict=False):
        _over_time(panel, row, report)
    _over_tensors(panels[len(timed)], report)
    for panel, row in zip(panels[len(timed) + 1 :], drawn, strict=True):
        maps.draw_map(panel, row, report.tol)
    figure.suptitle(_title(report) if title is None else title)
    if path is not None:
        try:
            figure.savefig(path, dpi=120)
        except (OSError, ValueError) as error:  # no such folder, no right to write, a name that no file can have
            reason = getattr(error, "strerror", None) or error
            raise StorageError(sentence(os.fspath(path), "a file that can be written", reason)) from error
    return figure


def _title(report: Any) -> str:
    title = f"gradient check: {report.verdict} ({report.method})"
    if report.diagnosis is not None and report.diagnosis.cause:
        title += f"\n{report.diagnosis.name}, likely cause: {report.diagnosis.cause}"
    return title


def require_a_picture(path: Any, argument: str = "path") -> None:
    """Raise unless the path is None, or the name of a file of a kind that can be drawn."""
    if path is not None and not isinstance(path, str | os.PathLike):
        raise bad_type(argument, "a file name, or None", describe(path))
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path is not None and pathlib.PurePath(path).suffix.lower().removeprefix(".") not in kinds:
        raise bad_input(argument, f"a file name that ends in {', '.join(kinds)}", describe(os.fspath(path)))


def _over_time(panel: Any, row: Any, report: Any) -> None:
    errors = _drawable(row.by_step)
    steps = np.arange(len(errors))
    verdicts = np.full(len(errors), "ok", dtype=object)
    if row.verdict not in ("ok", "cannot tell"):
        verdicts[errors > report.tol] = row.verdict
    verdicts[[t for t in row.hidden_steps if t < len(errors)]] = "cannot tell"
    panel.vlines(steps, SMALLEST, errors, colors=[COLOURS[verdict] for verdict in verdicts], linewidth=1)
    for verdict in dict.fromkeys(verdicts):
        here = verdicts == verdict
        style = {"c": COLOURS[verdict], "marker": MARKERS[verdict], "label": NOUNS[verdict]}
        panel.scatter(steps[here], errors[here], s=24, zorder=3, **style)
    panel.axhline(report.tol, color="black", linestyle="--", linewidth=0.8, label=f"tolerance {report.tol:.0e}")
    panel.legend(**ABOVE)
    label = f"largest error of d{row.name} /\nlargest value at that step"
    panel.set(yscale="log", ylim=(SMALLEST, 10), xlabel="time step t", ylabel=label)
    panel.xaxis.get_major_locator().set_params(integer=True)


def _over_tensors(panel: Any, report: Any) -> None:
    labels, errors, seen, verdicts = [], [], [], []
    for row in report.rows:
        for gate, error in (row.by_gate or {"": row.worst.error}).items():
            labels.append(f"{row.name} {gate}".rstrip())
            errors.append(error)
            seen.append(row.by_gate_seen.get(gate, np.nan))
            undecided = row.verdict in ("cannot tell", "not looked at")
            verdicts.append(row.verdict if undecided or not error <= report.tol else "ok")
    places = np.arange(len(labels))
    thickness = min(0.8, 0.2 + 0.1 * len(places))
    panel.barh(places, _drawable(errors), thickness, left=0, color=[maps.PALE[verdict] for verdict in verdicts])
    for verdict in dict.fromkeys(verdicts):
        panel.barh([np.nan], [1.0], color=maps.PALE[verdict], label=NOUNS[verdict])
    if report.diagnosis is not None and report.diagnosis.seen_in != ALL.name and np.isfinite(seen).any():
        dots = ["tab:red" if error > report.tol else "black" for error in seen]
        label = f"from {report.diagnosis.seen_in} alone (black: right)"
        panel.scatter(_drawable(seen), places, c=dots, s=18, zorder=3, label=label)
    panel.axvline(report.tol, color="black", linestyle="--", linewidth=0.8, label=f"tolerance {report.tol:.0e}")
    panel.legend(**ABOVE)
    slope = report.method == "taylor"
    label = "order missing to 2, as a part of 1" if slope else "largest error / largest value of its slice"
    panel.set(xscale="log", xlim=(SMALLEST / 10.0, 10), xlabel=label, ylabel="tensor, gate block")
    panel.set_yticks(places, labels, fontsize=7)
    panel.invert_yaxis()


def _drawable(errors: Any) -> np.ndarray:
    values = np.asarray(errors, dtype=np.float64)
    return np.clip(np.where(np.isfinite(values), values, 10.0), SMALLEST, 10.0)
