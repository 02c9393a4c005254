"""Compiling ahead: every loop run once on a few numbers, so that the first training step does not wait for it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from kernels.cells import Cell, Pass
from kernels.cpu import barrier
from kernels.cpu.announcing import compilations
from kernels.cpu.compiling import JIT
from kernels.cpu.numba_kernels import NumbaKernels
from kernels.gates import find
from kernels.streams import Carried, Dense

T, B, D, H, P = 3, 2, 5, 4, 3


class Warmed(NamedTuple):
    """What was done for one cell and dtype.

    Attributes
    ----------
    cell, dtype : names.
    compiled : how many functions were compiled; 0 if all were on disk, or in memory, already.
    seconds : how long it took.
    """

    cell: str
    dtype: str
    compiled: int
    seconds: float


def warm(cell: Cell | str, dtype: Any) -> Warmed:
    """Compile forward and backward of a cell and the products, or load them from disk.

    Parameters
    ----------
    cell : a cell, or the name of one of `kernels.gates.cells`.
    dtype : float32 or float64.
    """
    begun, compiled = time.perf_counter(), compilations()
    kernels, dtype = NumbaKernels(), np.dtype(dtype)
    cell = find(cell) if isinstance(cell, str) else cell
    G, R, width = len(cell.gates), len(cell.recurrent), P if cell.projected else H

    def fill(*shape: int) -> Any:
        return np.full(shape, 0.1, dtype)

    # what varies from layer to layer (lengths, directions, no bias) has the same types: it is not compiled again
    weights = {"weight_ih": fill(G * H, D), **{name: fill(H) for name in cell.own}}
    weights |= {"weight_hh": fill(R * H, width)} if R else {}
    weights |= {"weight_hr": fill(P, H)} if cell.projected else {}
    if cell.biased:
        weights |= {"bias_ih": fill(G * H), **({"bias_hh": fill(R * H)} if R else {})}
    factors = {name: fill(T, B, width if name.endswith("_h") else H) for name in cell.given}
    given = Pass(cell, weights, factors=factors)
    x, states = fill(T, B, D), tuple(fill(B, width if name == "h" else H) for name in cell.states)
    run, y = kernels.forward_layer(given, x, states)
    grads = {name: np.zeros_like(weight) for name, weight in weights.items()}
    kernels.backward_layer(given, run, x, y, (None,) * len(states), grads)
    kernels.forward_layer(given._replace(packs=kernels.packs(cell, weights, grads)), x, states, False)
    kernels.matmul(x[0], weights["weight_ih"].T)
    kernels.checksum(weights.values())
    one_step = given._replace(factors={name: factor[:1] for name, factor in factors.items()})
    stream = kernels.stream([Carried(one_step, states), Dense(fill(D, width), fill(D))], B, dtype)
    if stream is not None:
        stream.run()
    barrier.warm()
    return Warmed(cell.name, dtype.name, compilations() - compiled if JIT else 0, time.perf_counter() - begun)
