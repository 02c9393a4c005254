"""The CUDA modules: which texts make one, and how it is compiled.

A module serves one cell and dtype.  Its source is one text: what every kernel file begins with, the cell's gate
functions and what stands around them (`kernels.cuda.elements`), the files it needs of ``kernels/cuda/src``, and the
kernels by name.  So there are no include paths to find, at run time or in a wheel, and CuPy's cache of compiled kernels
sees every edit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kernels.cells import Cell
from kernels.cuda import elements
from kernels.cuda.parts import parts, spread_of
from kernels.cuda.translate import symbol

_FOLDER = Path(__file__).parent / "src"
#: Module -> the files of ``kernels/cuda/src`` that follow prelude and cell.
MODULES = {
    "stepwise": ("stepwise.cu",),
    "forward": ("barrier.cuh", "product.cuh", "forward.cu"),
    "backward": ("barrier.cuh", "product.cuh", "backward.cu"),
}
#: Rows that a thread of a persistent product may work on.
_ROW_TILES = {4: (1, 4, 8), 8: (1, 4)}
_SUM_BYTES = 128  # the sums of more rows and columns overfill the registers of a thread


def row_tiles(columns: int, size: int) -> tuple[int, ...]:
    """Rows that a thread may work on beside so many columns, of numbers of `size` bytes: the kernels that there are."""
    return tuple(rows for rows in _ROW_TILES[size] if rows * columns * size <= _SUM_BYTES)


def columns(module: str, cell: Cell) -> int:
    """Columns of a thread of a persistent product."""
    if module == "backward":
        return 4  # COLUMNS_OF_A_THREAD of backward.cu
    return max(stage.last - stage.first for stage in cell.stages) * spread_of(cell)


def source(module: str, cell: Cell, dtype: Any) -> str:
    """The whole source of a module."""
    parts = [text("prelude.cuh"), text("elements.cuh"), _cell(cell), *map(text, MODULES[module])]
    return "\n".join(
        [*parts, *(f"{macro}({symbol(cell.name)}{more})" for macro, more, _ in _kernels(module, cell, dtype))]
    )


def names(module: str, cell: Cell, dtype: Any) -> list[str]:
    """Every kernel of a module."""
    return [f"{symbol(cell.name)}_{name}" for _, _, found in _kernels(module, cell, dtype) for name in found]


def _kernels(module: str, cell: Cell, dtype: Any) -> list[tuple[str, str, Sequence[str]]]:
    """Each macro that defines kernels, the rest of its arguments, and the kernels' names without the cell's."""
    if module != "stepwise":
        tiles = row_tiles(columns(module, cell), np.dtype(dtype).itemsize)
        return [("ROWS_OF_A_THREAD", f", {rows}", [f"{module}_{rows}"]) for rows in tiles]
    ways = [(f"step_forward_{part.name}", f"step_backward_{part.name}") for part in parts(cell)]
    return [("PART", f", {part.name}, {part.width}", names) for part, names in zip(parts(cell), ways, strict=True)]


@functools.cache
def text(file: str) -> str:
    """One of the files of ``kernels/cuda/src``."""
    return (_FOLDER / file).read_text()


@functools.cache
def _cell(cell: Cell) -> str:
    return elements.text(cell)


def options(dtype: Any) -> tuple[str, ...]:
    """Compiler options for kernels of that dtype."""
    return ("-DREAL=float" if np.dtype(dtype).itemsize == 4 else "-DREAL=double", "--std=c++17")


def load(xp: Any, module: str, cell: Cell, dtype: Any) -> Any:
    """The module as a `cupy.RawModule`, compiled when its first kernel is asked for.

    The persistent kernels wait for each other across blocks, so their launch is cooperative: the driver starts all
    blocks together or none.
    """
    persistent = module != "stepwise"
    return xp.RawModule(code=source(module, cell, dtype), options=options(dtype), enable_cooperative_groups=persistent)
