"""The picture of a comparison: differences at every time step, a panel for each tensor; below, time and memory.

Matplotlib takes a good part of a second to import, so it is imported when the picture is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.drawing import load_matplotlib, new_figure
from engine.measuring.comparing import BackendRow
from engine.measuring.experiment import Experiment
from engine.measuring.side_by_side import TOLERANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#222222", "#8a8a8a", "#e6e6e6"
#: Told apart in grey by their marks as well.
COLOURS = ("#1f5f99", "#c2500a", "#4a7a2c", "#6b4a8a", "#a0395e", "#2b8a8a")
MARKS = ("o", "s", "^", "D", "v", "P")
COLUMNS = 3
STYLE: Any = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
#: What each panel is, beside its letter.
WORDS = {"h": "hidden state", "c": "cell state", "dh": "gradient of h", "dc": "gradient of c", "dx": "gradient of x"}


def draw(path: Path, experiment: Experiment, rows: Sequence[BackendRow]) -> None:
    """Draw the comparison.

    Parameters
    ----------
    path : the PNG file.
    rows : the result of `comparing.measure`; at least one backend was run.
    """
    matplotlib = load_matplotlib()
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ran = [row for row in rows if row.reason is None]
    others = [row for row in ran if row.differences is not None]
    names = list(others[0].differences.by_step) if others and others[0].differences else []
    lines = math.ceil(len(names) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, hspace=0.04)
        figure = new_figure(figsize=(10.5, 1.5 + 1.9 * lines + 0.9 + 0.34 * len(rows)), layout=layout)
        heights = [*[1.9 * lines] * bool(lines), 0.9 + 0.34 * len(rows)]
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        figure.suptitle(_title(experiment), x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
        colours = {row.spec: COLOURS[place % len(COLOURS)] for place, row in enumerate(rows)}
        if names:
            _draw_steps(parts[0], experiment, ran[0].spec, others, names, colours)
        _draw_costs(parts[-1], rows, colours)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    path.write_bytes(buffer.getvalue())


def _title(experiment: Experiment) -> str:
    sizes = ", ".join(f"{letter} = {getattr(experiment, letter)}" for letter in "TBDH")
    return f"{experiment.cell.upper()} in {experiment.dtype}, {sizes}" + ", rows of mixed length" * (
        experiment.lengths is not None
    )


def _draw_steps(
    part: Any,
    experiment: Experiment,
    first: str,
    others: Sequence[BackendRow],
    names: Sequence[str],
    colours: dict[str, str],
) -> None:
    """A panel for each tensor: the relative difference from the first backend, at every time step."""
    tolerance, rounding = TOLERANCE[experiment.dtype], float(np.finfo(experiment.dtype).eps)
    floor = rounding / 64  # where equal numbers are drawn: they have no place on a log axis
    grid = part.subplots(math.ceil(len(names) / COLUMNS), COLUMNS, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.reshape(-1))
    top = max([10 * tolerance, *(_capped(row.differences.worst) * 10 for row in others if row.differences)])
    for axes, name in zip(panels, names, strict=False):
        axes.axhspan(floor / 2, floor * 2, color="#f1f1f1", lw=0)
        axes.axhline(tolerance, color=MUTED, lw=0.9, ls=(0, (4, 3)), label=f"{tolerance:g}: they differ")
        axes.axhline(rounding, color=MUTED, lw=0.9, ls=(0, (1, 2)), label="one rounding")
        for place, row in enumerate(others):
            assert row.differences is not None
            values = np.clip(row.differences.by_step[name], floor, top)
            steps = np.arange(len(values))
            mark = MARKS[place % len(MARKS)]
            axes.plot(
                steps, values, color=colours[row.spec], lw=1.2, marker=mark, ms=3.2, label=row.spec, clip_on=False
            )
        axes.set_title(_panel(name))
        axes.grid(axis="y", color=GRID, lw=0.7)
        axes.set_yscale("log")
        axes.set_ylim(floor / 2, top)
        ticks = [10.0**power for power in range(-18, 3, 3) if floor * 4 < 10.0**power <= top]
        axes.set_yticks([floor, *ticks], ["equal", *(f"$10^{{{round(math.log10(tick))}}}$" for tick in ticks)])
        axes.minorticks_off()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for place, axes in enumerate(panels[: len(names)]):
        if place + COLUMNS >= len(names):  # the lowest panel of its column
            axes.set_xlabel("time step")
            axes.tick_params(labelbottom=True)
    part.supylabel(f"largest difference from {first},\nover the largest size in that step", fontsize=9.5)
    # a line of its own above the panels: empty, as high as the legend
    part.suptitle(" ", fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    part.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=9)


def _draw_costs(part: Any, rows: Sequence[BackendRow], colours: dict[str, str]) -> None:
    """Time and memory of one step: a bar for each backend, and the reason in words for one that is missing."""
    time, memory = part.subplots(1, 2, sharey=True, width_ratios=[1, 1])
    scale, unit = (1e3, "ms") if max([row.median for row in rows if row.seconds], default=1.0) < 1 else (1.0, "s")
    _bars(time, rows, [scale * row.median if row.seconds else None for row in rows], colours, unit)
    time.set_title(f"median time of a step, {unit}")
    _bars(memory, rows, [None if row.memory is None else row.memory / 2**20 for row in rows], colours, "MiB")
    memory.set_title("peak memory of a step, MiB")
    time.set_yticks(range(len(rows)), [row.spec for row in rows])
    time.set_ylim(len(rows) - 0.4, -0.6)
    memory.tick_params(labelleft=False)
    for place, row in enumerate(rows):
        if row.reason is not None:
            words = row.reason if len(row.reason) <= 110 else row.reason[:107] + "..."
            time.text(0.012, place, f"not run: {words}", transform=time.get_yaxis_transform(), va="center",
                      fontsize=8.5, color=MUTED, style="italic")  # fmt: skip


def _bars(
    axes: Axes, rows: Sequence[BackendRow], values: Sequence[float | None], colours: dict[str, str], unit: str
) -> None:
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is not None:
            axes.barh(place, value, height=0.62, color=colours[row.spec])
            axes.annotate(f"{value:.3g} {unit}", (value, place), (4, 0), textcoords="offset points", va="center",
                          fontsize=8.5, color=INK)  # fmt: skip
        elif row.reason is None:
            axes.annotate(f"unknown: {row.memory_unknown}", (0, place), (4, 0), textcoords="offset points",
                          va="center", fontsize=8.5, color=MUTED, style="italic")  # fmt: skip
    axes.set_xlim(0, 1.22 * max([value for value in values if value is not None], default=1.0))
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelbottom=False)


def _panel(name: str) -> str:
    if name.startswith("da_"):
        return f"{name}: gradient in gate {name[3:]}"
    return f"{name}: {WORDS[name]}"


def _capped(value: float) -> float:
    """A difference that can be drawn: an infinite one stands at the top."""
    return min(value, 1.0)
