"""The explorer: one offline page that shows backpropagation through time step by step, from runs of this engine.

    from engine import explorer

    explorer.write("explorer.html")                          # every cell of the package
    explorer.write("mine.html", cells=["lstm", my_cell])     # some cells, your own among them

`recording` runs the gate functions of a cell one line at a time, `runs` makes the small runs, `equations` and
`formulas` write the lines of a step, `sweeps` the curves that are compared, `bugs` the mystery bugs, `trained` takes a
trained model, `page` puts the file together.  The program of the page lies in ``web/src``; ``web/dist`` is what is
built from it (`make explorer`) and goes into the wheel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.checks import file_name
from engine.errors import StorageError
from engine.explorer.page import LIMIT, explorer_page
from engine.explorer.runs import StepRun, small_run

__all__ = ["LIMIT", "StepRun", "explorer_page", "small_run", "write"]


def write(path: str | os.PathLike[str], cells: Sequence[Any] | None = None, **options: Any) -> Path:
    """Write the explorer into a file.

    Parameters
    ----------
    path : str or path
        The file; one that is there is overwritten.
    cells : sequence of Cell or str, or None
        As in `explorer_page`.
    **options : object
        The other arguments of `explorer_page`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StorageError
        if it cannot be written.
    """
    file, page = file_name("path", path), explorer_page(cells, **options)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: expected to write the page, got '{error.strerror or error}'") from error
    return file
