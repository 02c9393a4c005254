"""Figures for files and notebooks.  They belong to no window system, whatever MPLBACKEND says."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load_matplotlib() -> ModuleType:
    """Import matplotlib, which takes a good part of a second; a senseless MPLBACKEND does not stop it."""
    try:
        import matplotlib
    except ValueError:  # no such backend; what was imported before that is told is not to be used again
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]
        given = os.environ.pop("MPLBACKEND", None)
        try:
            import matplotlib
        finally:
            if given is not None:
                os.environ["MPLBACKEND"] = given
    return matplotlib


def new_figure(**options: Any) -> Figure:
    """A figure of matplotlib with a canvas that draws into memory; pyplot knows nothing of it."""
    load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure
