"""The picture of the series task: every column with its band, and how often the band holds the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.tasks.series_spans import Spans
from engine.training.plots import MOST_ROWS, VALIDATION, picture

#: Columns that are drawn; the scores have all of them.
MOST_COLUMNS = 6
TRUTH = "#222222"


def draw_bands(
    path: Path, test: Spans, found: np.ndarray, names: Sequence[str], levels: Sequence[float], label: str
) -> None:
    """Draw truth, median and band over the held-out part, a row of the picture for each column.

    Parameters
    ----------
    found : (N, horizon, K, Q), the quantiles of each span in the columns' own units.
    """
    horizon, middle, drawn = test.horizon, list(levels).index(0.5), names[:MOST_COLUMNS]
    chosen = np.arange(0, len(test), horizon)  # forecasts that follow one another without a gap
    chosen = chosen[-max(1, MOST_ROWS // horizon) :]
    steps = np.arange(1, horizon + 1)
    with picture(path, (11.0, 1.2 + 2.4 * len(drawn))) as fig:
        grid = fig.add_gridspec(len(drawn), 2, width_ratios=[3, 1])
        for k, name in enumerate(drawn):
            left, right = fig.add_subplot(grid[k, 0]), fig.add_subplot(grid[k, 1])
            one = test.each[k]
            first = int(one.origins[chosen[0]])
            rows = np.arange(first, len(one.history))
            left.plot(rows, one.history[first:], color=TRUTH, linewidth=1.0, label="truth")
            for place, n in enumerate(chosen):
                ahead = int(one.origins[n]) + np.arange(horizon)
                low, high = found[n, :, k, 0], found[n, :, k, -1]
                band = f"{levels[0]:g} to {levels[-1]:g}" if place == 0 else None
                style: dict[str, Any] = {"marker": "_"} if horizon == 1 else {}
                left.fill_between(ahead, low, high, color=VALIDATION, alpha=0.25, linewidth=0, label=band)
                left.plot(ahead, found[n, :, k, middle], color=VALIDATION, linewidth=1.4,
                          label=f"{label}, median" if place == 0 else None, **style)  # fmt: skip
            left.set_ylabel(name)
            bottom, top = left.get_ylim()
            left.set_ylim(bottom, top + 0.25 * (top - bottom))  # room for the legend
            wanted = np.where(one.known, one.targets, np.nan)
            inside = (found[:, :, k, 0] <= wanted) & (wanted <= found[:, :, k, -1])
            measured = np.maximum(one.known.sum(axis=0), 1)
            share = 100.0 * (inside & one.known).sum(axis=0) / measured
            right.plot(steps, share, color=VALIDATION, marker="." if horizon < 40 else None)
            right.axhline(100.0 * (levels[-1] - levels[0]), color=TRUTH, linewidth=0.8, linestyle="--")
            right.set_ylim(0, 105)
            if k == 0:
                left.set_title(f"Forecasts of {horizon} rows, one after another" if horizon > 1 else "Next row")
                left.legend(loc="upper left", ncols=3)
                right.set_title("In the band, %")
        left.set_xlabel("row of the series")
        right.set_xlabel("steps ahead")
