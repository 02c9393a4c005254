"""The pictures of a run: the loss curve, and for a series the forecasts beside the truth.

Matplotlib takes a good part of a second to import, so it is imported when the first picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.atomic import write_atomic
from engine.data import Windows
from engine.drawing import load_matplotlib, new_figure
from engine.errors import EngineError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, TRAIN, VALIDATION, MUTED = "#222222", "#8fb3d9", "#c44536", "#9a9a9a"
#: Only so many last rows of a held-out part are drawn: more would be a solid band, and take minutes.
MOST_ROWS = 2000
#: Points of a curve. Longer curves are drawn by the lowest and highest point of each stretch, which looks the same.
MOST_POINTS = 4000
STYLE: Any = {
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


def drawn(name: str, draw: Callable[..., None], path: Path, *values: Any) -> dict[str, str | None]:
    """Draw into the file `path`, and return its name as an entry of the result.

    If the picture cannot be drawn, nothing else fails: the entry is None then, and ``"not_drawn"`` says why.
    """
    try:
        draw(path, *values)
    except EngineError:  # the disk is full
        raise
    except Exception as error:  # whatever matplotlib raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return {name: None, "not_drawn": f"{path}: expected to draw the picture, got '{reason}'"}
    return {name: str(path)}


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
    with picture(path, (8.0, 5.4)) as fig:
        top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[5, 1])
        top.plot(*_curve(train, figure), color=TRAIN, linewidth=1.3, label="training")
        if validation:
            steps, values = _curve(validation, figure)
            best = int(np.argmin(values))
            label = f"validation, at best {values[best]:.3f}"
            dots = {"marker": "o", "markersize": 4} if len(steps) <= 200 else {}  # more would be a band
            top.plot(steps, values, color=VALIDATION, linewidth=1.8, label=label, **dots)
            top.axhline(values[best], color=VALIDATION, linewidth=0.8, linestyle=":")
        _clip_start(top, [r[figure] for r in train], [r[figure] for r in validation])
        top.set_ylabel(unit)
        top.set_title(title)
        top.legend(loc="best")
        bottom.plot(*_curve(train, "lr"), color=MUTED, linewidth=1.3)
        bottom.set_ylim(bottom=0)
        bottom.set_ylabel("learning\nrate")
        bottom.set_xlabel("step")


def _curve(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the entry `name` of the records, thinned to `MOST_POINTS`."""
    steps, values = np.array([r["step"] for r in records]), np.array([r[name] for r in records], dtype=float)
    stretches = MOST_POINTS // 2
    width = -(-len(values) // stretches)
    if width < 3:
        return steps, values
    padded = np.pad(values, (0, width * stretches - len(values)), constant_values=np.nan).reshape(stretches, width)
    padded = padded[: -(-len(values) // width)]
    first = np.arange(len(padded)) * width
    kept = np.sort(np.concatenate([first + np.nanargmin(padded, axis=1), first + np.nanargmax(padded, axis=1)]))
    return steps[kept], values[kept]


def draw_forecast(
    path: Path,
    filled: np.ndarray,
    windows: Windows,
    forecasts: Mapping[str, np.ndarray],
    rmse: Mapping[str, float],
    column: str,
    upcoming: Sequence[float],
) -> None:
    """Draw truth and forecasts over the held-out part, their residuals, and the error by steps ahead.

    Parameters
    ----------
    filled : bool (rows,): which values of the series were missing.
    windows : those of the held-out part.
    forecasts : (N, horizon) by name; the first one is the network's.
    rmse : of each, over all measured points of the held-out part.
    upcoming : the network's forecast for the rows after the last.
    """
    names = list(forecasts)
    network, horizon = names[0], windows.horizon
    colours = {network: VALIDATION, **dict(zip(names[1:], ("#b8b8b8", "#e0a458", "#4f7cac"), strict=False))}
    chosen = np.arange(0, len(windows), horizon)  # forecasts that follow one another without a gap
    chosen = chosen[-max(1, MOST_ROWS // horizon) :]
    with picture(path, (11.0, 6.2)) as fig:
        grid = fig.add_gridspec(2, 2, width_ratios=[3, 1.25], height_ratios=[2, 1])
        top, below, right = fig.add_subplot(grid[0, 0]), fig.add_subplot(grid[1, 0]), fig.add_subplot(grid[:, 1])
        _draw_truth(top, windows, filled, int(windows.origins[chosen[0]]), len(chosen) * horizon)
        style: dict[str, Any] = {"marker": "."} if horizon == 1 else {"linewidth": 1.8}
        rows, values = _strokes(windows.origins[chosen], forecasts[network][chosen])
        top.plot(rows, values, color=VALIDATION, label=f"{network} forecast", **style)
        after = len(windows.history) + np.arange(horizon)
        style = {"marker": "."} if horizon == 1 else {"linewidth": 1.8, "linestyle": (0, (2, 1))}
        top.plot(after, upcoming, color="#7a3b8f", label="what comes next", **style)
        top.set_title(
            f"{column}: forecasts of {horizon} rows, one after another" if horizon > 1 else f"{column}: next row"
        )
        top.set_ylabel(column)
        top.legend(loc="upper left", ncols=2)
        low, high = top.get_ylim()
        top.set_ylim(low, high + 0.2 * (high - low))  # room for the legend
        top.tick_params(labelbottom=False)
        # The baselines first, so that the network is drawn over them.
        for name in [n for n in names if n in ("seasonal-naive", network)][::-1]:
            residual = np.where(windows.known, forecasts[name] - windows.targets, np.nan)[chosen]
            rows, values = _strokes(windows.origins[chosen], residual, apart=False)
            dots: dict[str, Any] = {"marker": ".", "markersize": 3} if filled.any() else {}
            width = 1.4 if name == network else 1.0
            below.plot(rows, values, color=colours[name], linewidth=width, label=name, **dots)
        below.axhline(0.0, color=INK, linewidth=0.8)
        below.set_xlim(top.get_xlim())
        below.set_ylabel("forecast − truth")
        whole = chosen[0] == 0
        below.set_xlabel(
            "row of the series" + (" (the dotted line starts the held-out part)" if whole else ", its end")
        )
        low, high = below.get_ylim()
        below.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
        below.legend(loc="upper left", ncols=2)
        _draw_errors(right, windows, forecasts, rmse, colours)


def _draw_truth(axes: Axes, windows: Windows, filled: np.ndarray, first: int, shown: int) -> None:
    """The series around the forecasts that are shown, with filled values marked."""
    truth = windows.history
    rows = np.arange(max(0, first - shown // 5), len(truth))
    gaps = filled[rows]
    style: dict[str, Any] = {"marker": ".", "markersize": 4} if gaps.any() else {}
    if gaps.any():
        label = "filled where missing, not scored"
        axes.plot(rows, truth[rows], color=MUTED, linewidth=1.0, linestyle=":", label=label)
    measured = np.where(gaps, np.nan, truth[rows])
    axes.plot(rows, measured, color=INK, linewidth=1.2, label="truth", **style)
    if rows[0] <= windows.origins[0]:
        axes.axvline(int(windows.origins[0]), color=MUTED, linewidth=0.8, linestyle=":")


def _strokes(origins: np.ndarray, values: np.ndarray, apart: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Rows and values (N, horizon) as one line; `apart`: which is interrupted between two windows."""
    rows = (origins[:, None] + np.arange(values.shape[1])).astype(float)
    if apart and values.shape[1] > 1:
        rows, values = (np.pad(a, ((0, 0), (0, 1)), constant_values=np.nan) for a in (rows, values))
    return rows.reshape(-1), values.reshape(-1)


def _draw_errors(
    axes: Axes,
    windows: Windows,
    forecasts: Mapping[str, np.ndarray],
    rmse: Mapping[str, float],
    colours: Mapping[str, str],
) -> None:
    """RMSE by steps ahead; as bars if there is only one step."""
    axes.set_title("RMSE on the held-out part")
    if windows.horizon == 1:
        axes.bar(list(rmse), list(rmse.values()), color=[colours[name] for name in rmse])
        axes.tick_params(axis="x", rotation=30)
        return
    points = windows.known.sum(axis=0)
    for name, values in forecasts.items():
        squares = np.where(windows.known, values - windows.targets, 0.0) ** 2
        by_lead = np.sqrt(squares.sum(axis=0) / np.where(points, points, np.nan))
        axes.plot(
            np.arange(1, windows.horizon + 1),
            by_lead,
            color=colours[name],
            linewidth=2,
            label=f"{name}  {rmse[name]:.4g}",
        )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("steps ahead")
    axes.legend(loc="upper left", title="over all steps ahead")


def _clip_start(axes: Axes, train: Sequence[float], validation: Sequence[float]) -> None:
    """Let the first few reports leave the picture if they would flatten the rest of the curve."""
    if len(train) < 20:
        return
    values = [*train[len(train) // 50 + 1 :], *validation]
    low, high = min(values), max(values)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


@contextmanager
def picture(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure that belongs to no window system, in the style of all pictures here; saved on leaving."""
    with load_matplotlib().rc_context(STYLE):
        fig = new_figure(figsize=size, layout="constrained")
        yield fig
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())
