"""Cells of one's own: `Cell` and `Phase` of the kernels, with the engine's errors, and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kernels.cells
import kernels.gates
from engine.checks import describe
from engine.errors import InputError, bad_input, bad_type
from kernels.phases import Phase, Projection

__all__ = ["Cell", "Phase", "Projection", "cells", "known_cell"]


class Cell(kernels.cells.Cell):
    """A cell declared by the functions of one step; see `kernels.cells.Cell` for parameters and attributes.

    Raises
    ------
    InputError
        where the functions disagree: one sentence with the cell, the function and the line.
    """

    def __init__(self, name: str, *phases: Phase | Projection, **options: Any) -> None:
        try:
            super().__init__(name, *phases, **options)
        except kernels.cells.CellError as error:
            raise InputError(str(error)) from None


def cells() -> Mapping[str, kernels.cells.Cell]:
    """Every known cell by name: those of the package, then those declared."""
    return kernels.gates.cells()


def known_cell(cell: Any) -> kernels.cells.Cell:
    """The cell itself, or the one of that name.

    Raises
    ------
    InputError, InputTypeError
        for a name that nobody has declared, or what is neither a cell nor a name.
    """
    if isinstance(cell, kernels.cells.Cell):
        return cell
    if not isinstance(cell, str):
        raise bad_type("cell", "an engine.Cell or the name of one", describe(cell))
    known = cells()
    if cell not in known:
        hint = "declare it with engine.Cell(...) first: a file never brings its own functions"
        raise bad_input("cell", f"one of {', '.join(known)}", describe(cell), hint)
    return known[cell]
