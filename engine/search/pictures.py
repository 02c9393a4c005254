"""Optuna's pictures of a study as files, drawn with matplotlib.

Optuna draws with pyplot, in the style of ggplot, and leaves sizes and scales as they come.  What is set here: that no
window is opened and no setting of the user's changes, sizes that fit the number of values, and names in words.
"""

from __future__ import annotations

import importlib
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.atomic import storage_error, write_atomic
from engine.checks import file_name
from engine.drawing import load_matplotlib
from engine.search.studies import quiet_optuna

if TYPE_CHECKING:
    from engine.search.search import Search

#: The pictures, the function of Optuna for each, the complete trials that it needs, and the values that must vary.
_PICTURES = {
    "history": ("plot_optimization_history", 1, 0),
    "curves": ("plot_intermediate_values", 1, 0),
    "slices": ("plot_slice", 2, 1),
    "parallel": ("plot_parallel_coordinate", 2, 2),
    "contour": ("plot_contour", 3, 2),
    "importances": ("plot_param_importances", 2, 1),
    "timeline": ("plot_timeline", 1, 0),
}
_TITLES = {
    "history": "The figure of each trial",
    "curves": "The figure of each trial while it was trained",
    "slices": "The figure over each value",
    "parallel": "The values of each trial",
    "contour": "The figure over the two values that matter most",
    "importances": "How much each value matters",
    "timeline": "When each trial was trained",
}


def draw_study(search: Search, folder: Any) -> dict[str, str]:
    """Draw all pictures that the trials are enough for; see `Search.plots`."""
    place = file_name("folder", folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(place, "a directory to write to", error, "folder") from error
    done = sum(one.state == "complete" for one in search.trials)
    shares = search.importances()
    found: dict[str, str] = {}
    for name, (function, trials, values) in _PICTURES.items():
        if done >= trials and len(shares) >= values and (name != "curves" or _measured(search)):
            path = place / f"{name}.png"
            _draw(search, name, function, list(shares), path)
            found[name] = os.fspath(path)
    return found


def _measured(search: Search) -> bool:
    return any(one.evaluations for one in search.trials)


def _draw(search: Search, name: str, function: str, values: list[str], path: Path) -> None:
    """Draw one picture into its file."""
    matplotlib = load_matplotlib()
    pyplot = importlib.import_module("matplotlib.pyplot")
    given: dict[str, Any] = {}
    if name in ("history", "slices", "parallel", "contour"):
        given["target_name"] = search.figure
    if name in ("slices", "parallel", "contour"):
        given["params"] = values[:2] if name == "contour" else values[:8]
    before = matplotlib.get_backend(auto_select=False)
    with quiet_optuna(), matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, on what Optuna asks of it
        matplotlib.use("agg")
        try:
            module = importlib.import_module("optuna.visualization.matplotlib")
            drawn = getattr(module, function)(search.study, **given)
            axes = np.ravel(drawn)
            figure = axes[0].figure
            _arrange(search, name, figure, axes)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            pyplot.close(figure)
        finally:
            if before is not None:
                matplotlib.use(before)
    write_atomic(path, buffer.getvalue(), "folder")


def _arrange(search: Search, name: str, figure: Any, axes: Any) -> None:
    """Sizes and words."""
    widths = {"slices": 3.2 * len(axes) + 1.0, "parallel": 2.0 * len(search.trials[0].values) + 4.0}
    figure.set_size_inches(min(widths.get(name, 8.0), 16.0), 4.5)
    for one in axes:
        for place in ("center", "left"):
            one.set_title("", loc=place)
    if name == "history":
        axes[0].xaxis.get_major_locator().set_params(integer=True)
    if name == "slices":
        _tick(search, axes)
    if name == "curves":
        axes[0].set_xlabel("evaluation")
        axes[0].set_ylabel(search.figure)
    if name == "importances":
        axes[0].set_xlabel("share")
        axes[0].set_ylabel("")
    # A colour for each of many trials says nothing, and hides the curves; a single colour needs no name.
    if (name == "importances" or (name == "curves" and len(search.trials) > 10)) and axes[0].get_legend() is not None:
        axes[0].get_legend().remove()
    figure.suptitle(_TITLES[name], x=0.02, ha="left", fontsize=12, fontweight="bold")
    if name == "slices":  # a tight layout would put the bar of colours into the last panel
        figure.subplots_adjust(left=0.07, right=0.9, bottom=0.14, top=0.9)
        figure.axes[-1].set_position((0.92, 0.14, 0.012, 0.76))
    else:
        figure.tight_layout()


def _tick(search: Search, axes: Any) -> None:
    """Ticks that do not overlap, and none between whole numbers."""
    ticker = importlib.import_module("matplotlib.ticker")
    for one in axes:
        values = [trial.values[one.get_xlabel()] for trial in search.trials if one.get_xlabel() in trial.values]
        if one.get_xscale() == "log":
            one.xaxis.set_minor_formatter(ticker.NullFormatter())
        elif values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            one.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6))
