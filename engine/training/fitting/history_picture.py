"""The picture of a history: losses above, metrics below.

Matplotlib takes a good part of a second to import, so this is imported when the first picture is drawn.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from engine.atomic import write_atomic
from engine.checks import describe, file_name
from engine.drawing import load_matplotlib, new_figure
from engine.errors import bad_input
from engine.training.plots import STYLE, TRAIN, VALIDATION

if TYPE_CHECKING:
    from engine.training.fitting.history import History

#: Beside the two colours of losses.
_COLOURS = ("#4f7cac", "#e0a458", "#5b8c5a", "#7d5ba6", "#9a9a9a")


def draw_history(history: History, path: Any = None) -> Any:
    """Draw the losses and each metric over the epochs; see `History.plot`."""
    kinds = ("png", "svg", "pdf")
    place = None if path is None else file_name("path", path)
    if place is not None and place.suffix[1:].lower() not in kinds:
        raise bad_input("path", f"a file name that ends in {', '.join(kinds)}", describe(os.fspath(place)))
    panels = [name for name, values in history.metrics.items() if values and name != "loss"]
    with load_matplotlib().rc_context(STYLE):
        figure = new_figure(figsize=(7.0, 3.2 + 1.7 * len(panels)), layout="constrained")
        axes = figure.subplots(1 + len(panels), 1, sharex=True, squeeze=False, height_ratios=[2, *[1] * len(panels)])
        epochs = range(1, history.epochs + 1)
        dots = {"marker": "o", "markersize": 3} if history.epochs <= 60 else {}
        top = axes[0, 0]
        top.plot(epochs, history.loss, color=TRAIN, label="training", **dots)
        if history.validation_loss:
            top.plot(epochs, history.validation_loss, color=VALIDATION, label="validation", **dots)
        if history.best_epoch is not None:
            best = history.validation_loss[history.best_epoch - 1]
            words = f"best, epoch {history.best_epoch}: {best:.4g}"
            top.plot([history.best_epoch], [best], "o", color=VALIDATION, markersize=8, fillstyle="none", label=words)
        top.set_ylabel("loss")
        top.legend(loc="best")
        for axis, name, colour in zip(axes[1:, 0], panels, _COLOURS * len(panels), strict=False):
            axis.plot(epochs, history.metrics[name], color=colour, **dots)
            axis.set_ylabel(name)
        axes[-1, 0].set_xlabel("epoch")
        axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
        if place is not None:
            data = io.BytesIO()
            figure.savefig(data, format=place.suffix[1:].lower(), dpi=120)
            write_atomic(place, data.getvalue(), "path")
    return figure
