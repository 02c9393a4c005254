"""The pictures of a run: the loss curve, and for a series the forecasts beside the truth.

Matplotlib takes a good part of a second to import, so it is imported when the first picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.drawing import load_matplotlib, new_figure
from engine.training.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, TRAIN, VALIDATION, MUTED = "#222222", "#8fb3d9", "#c44536", "#9a9a9a"
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw_loss(path: Path, records: Sequence[Mapping[str, Any]], figure: str, unit: str, title: str) -> None:
    """Draw training and validation curve over the steps, and the learning rate below.

    Parameters
    ----------
    path : the PNG file, replaced whole.
    records : lines of ``metrics.jsonl``.
    figure : the key of the figure that is drawn, such as ``"bpc"``.
    unit : its name on the axis, such as ``"bits per character"``.
    """
    train = [r for r in records if r["kind"] == "train"]
    validation = [r for r in records if r["kind"] == "validation"]
    with _picture(path, (8.0, 5.4)) as fig:
        top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[5, 1])
        top.plot([r["step"] for r in train], [r[figure] for r in train], color=TRAIN, linewidth=1.3, label="training")
        if validation:
            steps, values = [r["step"] for r in validation], [r[figure] for r in validation]
            best = int(np.argmin(values))
            label = f"validation, at best {values[best]:.3f}"
            top.plot(steps, values, color=VALIDATION, linewidth=1.8, marker="o", markersize=4, label=label)
            top.axhline(values[best], color=VALIDATION, linewidth=0.8, linestyle=":")
        _clip_start(top, [r[figure] for r in train], [r[figure] for r in validation])
        top.set_ylabel(unit)
        top.set_title(title)
        top.legend(loc="upper right")
        bottom.plot([r["step"] for r in train], [r["lr"] for r in train], color=MUTED, linewidth=1.3)
        bottom.set_ylim(bottom=0)
        bottom.set_ylabel("learning\nrate")
        bottom.set_xlabel("step")


def draw_forecast(
    path: Path,
    truth: np.ndarray,
    origins: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    rmse: Mapping[str, float],
    column: str,
) -> None:
    """Draw truth and forecasts over the held-out part, their residuals, and the error by steps ahead.

    Parameters
    ----------
    truth : (rows,) the series, up to the end of the held-out part.
    origins : (N,) the row of each forecast's first value.
    forecasts : (N, horizon) by name; the first one is the network's.
    rmse : of each, over the whole held-out part.
    """
    names = list(forecasts)
    network, horizon = names[0], forecasts[names[0]].shape[1]
    colours = {network: VALIDATION, **dict(zip(names[1:], ("#b8b8b8", "#e0a458", "#4f7cac"), strict=False))}
    with _picture(path, (11.0, 6.2)) as fig:
        grid = fig.add_gridspec(2, 2, width_ratios=[3, 1.25], height_ratios=[2, 1])
        top, below, right = fig.add_subplot(grid[0, 0]), fig.add_subplot(grid[1, 0]), fig.add_subplot(grid[:, 1])
        shown = np.arange(0, len(origins), horizon)  # forecasts that follow one another without a gap
        rows = (origins[shown, None] + np.arange(horizon)).reshape(-1)
        start = max(0, int(origins[0]) - 2 * len(rows) // 10)
        top.plot(np.arange(start, len(truth)), truth[start:], color=INK, linewidth=1.2, label="truth")
        for place, index in enumerate(shown):
            at, values = origins[index] + np.arange(horizon), forecasts[network][index]
            label = f"{network} forecast" if place == 0 else None
            style: dict[str, Any] = {"marker": "."} if horizon == 1 else {"linewidth": 1.8}
            top.plot(at, values, color=VALIDATION, label=label, **style)
        top.axvline(int(origins[0]), color=MUTED, linewidth=0.8, linestyle=":")
        top.set_title(
            f"{column}: forecasts of {horizon} rows, one after another" if horizon > 1 else f"{column}: next row"
        )
        top.set_ylabel(column)
        top.legend(loc="upper left")
        top.tick_params(labelbottom=False)
        # The baselines first, so that the network is drawn over them.
        for name in [n for n in names if n in ("seasonal-naive", network)][::-1]:
            residual = forecasts[name][shown].reshape(-1) - truth[rows]
            below.plot(rows, residual, color=colours[name], linewidth=1.4 if name == network else 1.0, label=name)
        below.axhline(0.0, color=INK, linewidth=0.8)
        below.set_xlim(top.get_xlim())
        below.set_ylabel("forecast − truth")
        below.set_xlabel("row of the series (the dotted line starts the held-out part)")
        low, high = below.get_ylim()
        below.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
        below.legend(loc="upper left", ncols=2)
        _draw_errors(right, truth, origins, forecasts, rmse, colours)


def _draw_errors(
    axes: Axes,
    truth: np.ndarray,
    origins: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    rmse: Mapping[str, float],
    colours: Mapping[str, str],
) -> None:
    """RMSE by steps ahead; as bars where there is but one step."""
    horizon = next(iter(forecasts.values())).shape[1]
    targets = truth[origins[:, None] + np.arange(horizon)]
    axes.set_title("RMSE on the held-out part")
    if horizon == 1:
        axes.bar(list(rmse), list(rmse.values()), color=[colours[name] for name in rmse])
        axes.tick_params(axis="x", rotation=30)
        return
    for name, values in forecasts.items():
        by_lead = np.sqrt(np.mean((values - targets) ** 2, axis=0))
        axes.plot(
            np.arange(1, horizon + 1), by_lead, color=colours[name], linewidth=2, label=f"{name}  {rmse[name]:.3f}"
        )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("steps ahead")
    axes.legend(loc="upper left", title="over all steps ahead")


def _clip_start(axes: Axes, train: Sequence[float], validation: Sequence[float]) -> None:
    """Let the first few reports run out of the picture, where they would flatten all that follows."""
    if len(train) < 20:
        return
    values = [*train[len(train) // 50 + 1 :], *validation]
    low, high = min(values), max(values)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


@contextmanager
def _picture(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure that belongs to no window system, in the style of all pictures here; saved on leaving."""
    with load_matplotlib().rc_context(_STYLE):
        fig = new_figure(figsize=size, layout="constrained")
        yield fig
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())
