"""One layer with random everything, its plain kernels' answer, and how far the CUDA kernels are from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cuda_sim.little_cupy import LittleCupy
from cuda_sim.own_cells import EVERY
from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.cuda.cuda_kernels import CudaKernels
from kernels.cuda.launches import (
    Device,
    Launch,
    LaunchPlan,
    backward_product,
    forward_product,
    persistent,
    shared_bytes,
)
from kernels.reference import ReferenceKernels

REFERENCE = ReferenceKernels(np)
#: Room for every launch of the tests; the little device itself says what the planner may use.
ROOMY = Device("roomy", 64, 1 << 17, max_threads=128)


class LayerCase(NamedTuple):
    """The arguments of a layer's forward and backward."""

    cell: Cell
    pre: Any
    weights: dict[str, Any]
    states: tuple[Any, ...]
    lengths: Any
    factors: dict[str, Any]
    dy: Any
    dlast: tuple[Any, ...]

    @property
    def H(self) -> int:
        """Hidden units."""
        return self.pre.shape[-1] // len(self.cell.gates)

    @property
    def given(self) -> Pass:
        """What both passes take."""
        return Pass(self.cell, self.weights, self.lengths, self.factors)


def make_case(
    name: str | Cell, T: int, B: int, H: int, dtype: str = "float64", lengths: Any = None, seed: int = 0
) -> LayerCase:
    """A case with every argument given; a projected hidden state has H // 2 + 1 numbers."""
    rng = np.random.default_rng(seed)
    cell = EVERY[name] if isinstance(name, str) else name
    G, R, P = len(cell.gates), len(cell.recurrent), H // 2 + 1 if cell.projected else H

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    lengths = None if lengths is None else np.asarray(lengths)
    dy = draw(T, B, P)
    if lengths is not None:
        dy *= (np.arange(T)[:, None] < lengths)[..., None]
    weights = {"weight_hh": (draw(R * H, P) / np.sqrt(P)).astype(dtype), "bias_hh": draw(R * H)} if R else {}
    if cell.projected:
        weights["weight_hr"] = (draw(P, H) / np.sqrt(H)).astype(dtype)
    weights |= {name: draw(H) for name in cell.own}
    narrow = {place.name for work in cell.works if work.narrow for place in work.inputs}
    sizes = [(T, B), (1, B), (T, 1)]  # of the factors, in turn
    factors = {k: draw(*sizes[number % 3], P if k in narrow else H) for number, k in enumerate(cell.given)}
    states, dlast = (tuple(draw(B, P if state == "h" else H) for state in cell.states) for _ in range(2))
    return LayerCase(cell, draw(T, B, G * H), weights, states, lengths, factors, dy, dlast)


def run(kernels: Any, case: LayerCase, trace: bool = True) -> tuple[Run, Adjoints]:
    """Forward, and backward on what forward left."""
    forward = kernels.forward(case.given, case.pre, case.states)
    return forward, kernels.backward(case.given, forward, case.dy, case.dlast, trace)


def arrays(done: tuple[Run, Adjoints]) -> Iterator[tuple[str, Any]]:
    """Every array of a run and its adjoints by name; None where there is none."""
    for part in done:
        for name, value in part._asdict().items():
            members = (
                value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, tuple) else [value])
            )
            yield from ((f"{name} {member}", array) for member, array in members)


def distance(case: LayerCase, kernels: Any, trace: bool = True) -> float:
    """Largest difference to the plain kernels over all buffers, relative to 1 or the largest number in the buffer."""
    ours, theirs = dict(arrays(run(kernels, case, trace))), dict(arrays(run(REFERENCE, case, trace)))
    assert sorted(ours) == sorted(theirs)
    worst = 0.0
    for name, true in theirs.items():
        mine = ours[name]
        assert (mine is None) == (true is None), name
        if true is None or true.size == 0:
            continue
        assert mine.shape == true.shape, name
        assert mine.dtype == true.dtype, name
        error = float(np.max(np.abs(mine - true)) / max(1.0, float(np.max(np.abs(true)))))
        worst = error if np.isnan(error) else max(worst, error)
    return worst


def by_plan(xp: LittleCupy, forward: Launch, backward: Launch) -> CudaKernels:
    """The kernel set with a plan of the test's own."""
    kernels = CudaKernels(xp)
    kernels.plan = lambda *sizes: LaunchPlan(forward, backward)
    return kernels


def tight(case: LayerCase, slices: int, groups: int, row_tile: int = 1) -> tuple[Launch, Launch]:
    """Launches that share out everything: several blocks, groups, passes over the rows, tiles and parts.

    With teams, parts and tile this small, each barrier has something to keep apart.
    """
    B, H = case.states[0].shape
    size = case.pre.dtype.itemsize
    passes = []
    for product in (forward_product, backward_product):
        work = product(case.cell, H, size)
        lanes = -(-H // (slices * work.spread))
        way = persistent(work, lanes, row_tile, B, H, size, ROOMY)
        assert way is not None
        rows = -(-B // groups)
        teams = max(1, -(-rows // row_tile) // 2)
        tile = (-(-H // 3) // 4 + 1) * 4
        way = way._replace(rows=rows, groups=-(-B // rows), teams=teams, parts=2, tile=tile)
        shared = shared_bytes(work, way.units, row_tile, teams, way.threads, tile, size)
        way = way._replace(shared_bytes=shared)
        assert way.slices >= slices
        passes.append(way)
    return passes[0], passes[1]


def one_kernel(source: str) -> str:
    """The source of a persistent module with the kernel of one row a thread only: it compiles faster."""
    return re.sub(r"\nROWS_OF_A_THREAD\(\w+, [48]\)", "", source)


STEPWISE = Launch("stepwise", "asked for by a test")
