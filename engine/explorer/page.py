"""The page: one file with its program, its style and its numbers, which asks the network for nothing."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from engine.cell import cells as known_cells
from engine.cell import known_cell
from engine.checks import describe, integer, switch
from engine.errors import bad_input, bad_type
from engine.explorer.bugs import CHOSEN, bug_data
from engine.explorer.cells import cell_data
from engine.explorer.pool import Pool
from engine.explorer.runs import StepRun, small_run
from engine.explorer.sweeps import sweep_data
from kernels.cells import Cell

#: A page stays below this size (bytes), so that it can be sent by mail and opens at once.
LIMIT = 500 * 1024
#: The cells whose curves are compared if none are named.
COMPARED = ("rnn_tanh", "gru", "lstm")
#: The most cells that are compared: the curves of one take 30 KiB.
MOST_COMPARED = 4


def explorer_page(
    cells: Sequence[Cell | str] | None = None, runs: Sequence[StepRun] = (), seed: int = 0, mysteries: bool = True
) -> str:
    """The explorer as the text of one HTML file.

    Parameters
    ----------
    cells : sequence of Cell or str, or None
        The cells that can be chosen, by name or as they are (a single one needs no list); None for those that come
        with the package.
    runs : sequence of StepRun
        Runs of trained models, shown before the cells.
    seed : int
        Of the weights and inputs of the small runs.
    mysteries : bool
        Whether the page has the mystery bugs.

    Returns
    -------
    str
        HTML with everything in it.

    Raises
    ------
    InputError, InputTypeError
        for an unknown cell, or more cells than fit below 500 KiB.

    Examples
    --------
    >>> page = explorer_page(["gru"], mysteries=False)
    >>> len(page) < LIMIT
    True
    """
    if isinstance(cells, str | Cell):
        cells = [cells]
    if cells is not None and not isinstance(cells, list | tuple):
        raise bad_type("cells", "a list of cells or of their names, or None", describe(cells))
    seed, mysteries = integer("seed", seed, 0), switch("mysteries", mysteries)
    chosen = [known_cell(cell) for cell in (built_in() if cells is None else cells)]
    if not [*chosen, *runs]:
        raise bad_input("cells", "at least one cell", "none")
    compared = [known_cell(name) for name in COMPARED] if cells is None else chosen[:MOST_COMPARED]
    pool = Pool()
    shown = [*runs, *(small_run(cell, seed) for cell in chosen)]
    data = {
        "schema": 1,
        "cells": [cell_data(run, pool) for run in shown],
        "sweeps": sweep_data(compared, pool, seed),
        "bugs": [bug_data(name, pool) for name in CHOSEN] if mysteries else [],
    }
    page = _assembled(data, pool)
    if len(page.encode()) > LIMIT:
        got = f"{len(shown)} cells, {len(page.encode()) // 1024} KiB"
        raise bad_input("cell", f"cells for a page of at most {LIMIT // 1024} KiB", got, "name fewer cells")
    return page


def built_in() -> list[str]:
    """The cells that come with the package, the usual ones first."""
    ours = [name for name, cell in known_cells().items() if _module(cell).startswith("kernels.gates")]
    first = ["lstm", "gru", "rnn_tanh", "rnn_relu"]
    return [*first, *(name for name in ours if name not in first)]


def _module(cell: Cell) -> str:
    return str(cell.works[0].forward.function.__module__)


def _assembled(data: dict[str, Any], pool: Pool) -> str:
    """The template with style, program and numbers in their places."""
    folder = files("engine.explorer") / "web"
    page, style, program = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "dist/explorer.css", "dist/explorer.js")
    )
    # "<" of a cell's title or code could end the element that the data stands in
    values = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "/*STYLE*/": style,
        "/*DATA*/": values,
        "/*NUMBERS*/": pool.text(),
        "/*PROGRAM*/": program,
        "<!--OPTIONS-->": _options(data["cells"]),
    }
    for mark, value in parts.items():
        before, found, after = page.partition(mark)
        assert found, mark
        page = before + value + after
    return page


def _options(cells: list[dict[str, Any]]) -> str:
    """The list of cells to choose from, so that it stands there before the program runs."""
    return "".join(f'<option value="{k}">{html.escape(cell["title"])}</option>' for k, cell in enumerate(cells))
