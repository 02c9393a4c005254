"""Compiling ahead: every loop run once on a few numbers, so that the first training step does not wait for it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from kernels.cells import CELLS
from kernels.cpu import barrier
from kernels.cpu.compiling import JIT, compilations
from kernels.cpu.numba_kernels import NumbaKernels

T, B, D, H = 3, 2, 5, 4


class Warmed(NamedTuple):
    """What was done for one cell and dtype.

    Attributes
    ----------
    cell, dtype : names.
    compiled : how many functions were compiled; 0 where all were on disk, or in memory, already.
    seconds : how long it took.
    """

    cell: str
    dtype: str
    compiled: int
    seconds: float


def warm(cell_name: str, dtype: Any) -> Warmed:
    """Compile forward and backward of a cell and the products, or load them from disk.

    Parameters
    ----------
    cell_name : one of `kernels.cells.CELLS`.
    dtype : float32 or float64.
    """
    begun, compiled = time.perf_counter(), compilations()
    kernels, cell, dtype = NumbaKernels(), CELLS[cell_name], np.dtype(dtype)
    rows = len(cell.gates) * H

    def fill(*shape: int) -> Any:
        return np.full(shape, 0.1, dtype)

    # what varies from layer to layer (lengths, directions, no bias) has the same types: it is not compiled again
    weights = fill(rows, D), fill(rows, H), fill(rows), fill(rows)
    x, state = fill(T, B, D), fill(B, H)
    run, y = kernels.forward_layer(cell, x, weights, state, state if cell.has_c else None)
    kernels.backward_layer(cell, run, x, weights, y, None, None, [np.zeros_like(weight) for weight in weights])
    kernels.matmul(x[0], weights[0].T)
    kernels.checksum(weights)
    barrier.warm()
    return Warmed(cell_name, dtype.name, compilations() - compiled if JIT else 0, time.perf_counter() - begun)
