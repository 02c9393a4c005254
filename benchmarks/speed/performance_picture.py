"""docs/images/performance.svg: PyTorch's time over ours, drawn by docs/make_images.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.speed.gather import Document, by_machine, rows_of, training, values
from benchmarks.speed.tables import TimedRow, timed
from engine.measuring import figures
from engine.measuring.timed_step import TIMED_CELLS

PICTURE = "performance.svg"
ALT = (
    "For each cell and number of hidden units, the time of PyTorch's training step over ours, a dot for each batch "
    "size, number of time steps and threads; above the line at 1 ours is faster"
)


def pictured(documents: Sequence[Document]) -> list[TimedRow]:
    """The rows that the picture shows: the first machine's."""
    machines = by_machine(documents)
    return timed(training(rows_of(machines[0])), "torch") if machines else []


def has_picture(documents: Sequence[Document]) -> bool:
    """Whether there is something to draw."""
    return bool(pictured(documents))


def picture(documents: Sequence[Document]) -> Any:
    """PyTorch's time over ours against the hidden units: a panel for each cell, a dot for each case."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    rows = pictured(documents)
    cells = [cell for cell in TIMED_CELLS if any(row["cell"] == cell for row in rows)]
    sizes, threads = values(rows, "H"), values(rows, "threads")
    colours = ("#1f5f99", "#c2500a", "#4a7a2c", "#6b4a8a")  # told apart in grey by their marks as well
    marks = ("o", "s", "^", "D")
    figure, axes = plt.subplots(1, len(cells), figsize=(11, 4.1), sharey=True, squeeze=False, layout="constrained")
    for axis, cell in zip(axes[0], cells, strict=True):
        axis.axhline(1, color="#222222", lw=1)
        for place, count in enumerate(threads):
            shift = 0.24 * (place - (len(threads) - 1) / 2)
            colour, mark = colours[place % len(colours)], marks[place % len(marks)]
            means = []
            for column, H in enumerate(sizes):
                found = [
                    figures.ratio(row, "torch")
                    for row in rows
                    if (row["cell"], row["threads"], row["H"]) == (cell, count, H)
                ]
                if found:
                    axis.plot([column + shift] * len(found), found, mark, color=colour, ms=4, alpha=0.55, mew=0)
                    means.append((column + shift, figures.geometric_mean(found)))
            label = f"{count} thread{'s' * (count > 1)}, line: geometric mean"
            axis.plot(*zip(*means, strict=True), color=colour, lw=1.6, marker=mark, ms=0, label=label)
        axis.set_yscale("log")
        ticks = [tick for tick in (0.25, 0.5, 1, 2, 3, 5, 10, 20, 50) if _near(tick, rows)]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(axis="y", color="#dddddd", lw=0.7)
        axis.set_axisbelow(True)
        axis.set_xticks(range(len(sizes)), [str(H) for H in sizes])
        axis.set_title(cell)
        axis.set_xlabel("hidden units H (= input features)")
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0][0].set_ylabel("PyTorch's time / ours")
    axes[0][0].legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def _near(tick: float, rows: Sequence[TimedRow]) -> bool:
    found = [figures.ratio(row, "torch") for row in rows]
    return 0.7 * min(found) <= tick <= 1.4 * max(found) or tick == 1
