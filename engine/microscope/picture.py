"""A trace as a picture: a column for each layer and direction, time to the right."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checks import describe
from engine.drawing import load_matplotlib, new_figure
from engine.errors import StorageError, bad_input, bad_type, sentence
from engine.microscope.passes import ALL

if TYPE_CHECKING:
    from engine.microscope.result import DirectionFlow, Trace

#: Colours that are told apart in grey as well, with a mark and a line for each.
STYLES = (
    ("#1f5f99", "-", "o"),
    ("#c2500a", "--", "s"),
    ("#4a7a2c", "-.", "^"),
    ("#6b4a8a", ":", "D"),
    ("#222222", "-", "v"),
)
INK, MUTED = "#222222", "#9a9a9a"
SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
#: More layers and directions than this are left out of the picture.
COLUMNS = 4


def draw(trace: Trace, path: Any = None) -> Any:
    """Draw the gradients of the states, the Jacobians, the gates and each step's share over time.

    Parameters
    ----------
    trace : Trace
        What `engine.trace` returned; its first four layers and directions are drawn.
    path : str or os.PathLike, optional
        A file to write, its kind by its ending.

    Returns
    -------
    matplotlib.figure.Figure
    """
    require_a_picture(path)
    flows = list(trace.layers.values())[:COLUMNS]
    with load_matplotlib().rc_context(SETTINGS):
        figure = new_figure(figsize=(1.2 + 4.4 * len(flows), 9.6), layout="constrained")
        panels = figure.subplots(4, len(flows), squeeze=False, sharex="col")
        for column, flow in zip(panels.T, flows, strict=True):
            _gradients(column[0], flow)
            _jacobians(column[1], flow)
            _gates(column[2], flow)
            _shares(column[3], flow)
            column[0].set_title(f"{flow.name}: {flow.cell}, {flow.verdict}", pad=24)  # the legend stands below it
            column[3].set_xlabel("step or slot t")
            column[3].xaxis.get_major_locator().set_params(integer=True)
        figure.suptitle(f"gradients of {trace.objective}", color=INK)
        if path is not None:
            try:
                figure.savefig(path, dpi=120)
            except (OSError, ValueError) as error:  # no such folder, no right to write
                reason = getattr(error, "strerror", None) or error
                raise StorageError(sentence(os.fspath(path), "a file that can be written", reason)) from error
    return figure


def require_a_picture(path: Any, argument: str = "path") -> None:
    """Raise unless the path is None, or the name of a file of a kind that can be drawn."""
    if path is None:
        return
    if not isinstance(path, str | os.PathLike):
        raise bad_type(argument, "a file name, or None", describe(path))
    load_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if PurePath(path).suffix.lower().removeprefix(".") not in kinds:
        raise bad_input(argument, f"a file name that ends in {', '.join(kinds)}", describe(os.fspath(path)))


def _line(panel: Any, number: int, x: Any, values: Any, label: str) -> None:
    colour, line, mark = STYLES[number % len(STYLES)]
    every = max(1, len(x) // 8)
    panel.plot(
        x, values, color=colour, linestyle=line, marker=mark, markevery=(number, every), ms=4, lw=1.5, label=label
    )


def _positive(values: np.ndarray) -> np.ndarray:
    """The values on a logarithmic axis: a zero is left out."""
    return np.where(values > 0, values, np.nan)


def _gradients(panel: Any, flow: DirectionFlow) -> None:
    for number, (state, values) in enumerate(flow.states.items()):
        _line(panel, number, np.arange(len(values)), _positive(values), f"|d{state}[t]|")
    panel.set(ylabel="gradient of the state, norm")
    _logarithmic(panel, list(flow.states.values()))


def _jacobians(panel: Any, flow: DirectionFlow) -> None:
    found = flow.jacobians
    panel.axhline(1, color=MUTED, lw=1)
    if found is None:
        panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color=MUTED)
        return
    series = [("||dh[end]/dS[t]||", found.slots, found.to_h), ("||dS[t+1]/dS[t]||", None, found.step[ALL])]
    if found.to_end["h"] is not found.to_h:
        series.append(("||dh[end]/dh[t]||", found.slots, found.to_end["h"]))
    drawn = []
    for number, (label, slots, values) in enumerate(series):
        with np.errstate(divide="ignore"):
            log = np.log(values)
        known = ~np.isnan(log)
        count = known.sum(axis=1)
        mean = np.where(count > 0, np.where(known, log, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
        drawn.append(np.exp(mean))
        _line(panel, number, np.arange(len(mean)) if slots is None else slots, _positive(drawn[-1]), label)
    panel.set(ylabel="Jacobians, spectral norm")
    _logarithmic(panel, drawn)


def _gates(panel: Any, flow: DirectionFlow) -> None:
    for number, (name, gate) in enumerate(flow.gates.items()):
        steps = np.arange(len(gate.mean))
        _line(panel, number, steps, gate.mean, name)
        colour = STYLES[number % len(STYLES)][0]
        panel.fill_between(steps, gate.mean - gate.spread, gate.mean + gate.spread, color=colour, alpha=0.12, lw=0)
    panel.set(ylabel="gates: mean, band of the spread")
    panel.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5)


def _shares(panel: Any, flow: DirectionFlow) -> None:
    shown = [name for name in flow.weights if "weight" in name] or list(flow.weights)
    panel.axhline(0, color=MUTED, lw=1)
    for number, name in enumerate(shown[: len(STYLES)]):
        share = flow.weights[name].share
        _line(panel, number, np.arange(len(share)), share, name)
    panel.set(ylabel="share of a weight's gradient")
    panel.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)


def _logarithmic(panel: Any, series: list[np.ndarray]) -> None:
    """A logarithmic axis if there is anything positive to show, and a legend above the panel."""
    if any((values > 0).any() for values in series):
        panel.set_yscale("log")
    panel.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
