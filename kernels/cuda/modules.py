"""The CUDA modules: which files make one, and how it is compiled.

A module's source is one text: what every kernel file begins with, the gate equations as `kernels.cuda.translate`
translates them, the files it needs of ``kernels/cuda/src``, and its own.  So there are no include paths to find, at run
time or in a wheel, and CuPy's cache of compiled kernels sees every edit.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from kernels.cells import CELLS
from kernels.cuda import translate

_FOLDER = Path(__file__).parent / "src"
#: Module -> the files of ``kernels/cuda/src`` that follow prelude and gates.
MODULES = {
    "stepwise": ("elements.cuh", "stepwise.cu"),
    "forward": ("elements.cuh", "barrier.cuh", "product.cuh", "forward.cu"),
    "backward": ("elements.cuh", "barrier.cuh", "product.cuh", "backward.cu"),
}
#: Rows that a thread of a persistent product works on: the kernels exist for these.
ROW_TILES = {"float32": (1, 4, 8), "float64": (1, 4)}
_DEFINES = {"float32": ("-DREAL=float", "-DWIDE"), "float64": ("-DREAL=double",)}


@functools.cache
def source(module: str) -> str:
    """The whole source of a module."""
    prelude, *rest = ("prelude.cuh", *MODULES[module])
    parts = [(_FOLDER / prelude).read_text(), translate.header(), *((_FOLDER / name).read_text() for name in rest)]
    return "\n".join(parts)


def options(dtype: Any) -> tuple[str, ...]:
    """Compiler options for kernels of that dtype."""
    return (*_DEFINES[np.dtype(dtype).name], "--std=c++17")


def names(module: str, dtype: Any) -> list[str]:
    """Every kernel of a module."""
    if module == "stepwise":
        steps = [f"{cell}_step_{way}" for cell in CELLS for way in ("forward", "backward")]
        return [*steps, "gru_before_step_output", "gru_before_step_reset"]
    return [f"{cell}_{module}_{rows}" for cell in CELLS for rows in ROW_TILES[np.dtype(dtype).name]]


def load(xp: Any, module: str, dtype: Any) -> Any:
    """The module as a `cupy.RawModule`, compiled when its first kernel is asked for.

    The persistent kernels wait for each other across blocks, so their launch is cooperative: the driver starts all
    blocks together or none.
    """
    persistent = module != "stepwise"
    return xp.RawModule(code=source(module), options=options(dtype), enable_cooperative_groups=persistent)
