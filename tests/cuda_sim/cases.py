"""One layer with random everything, its plain kernels' answer, and how far the CUDA kernels are from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuda_sim.little_cupy import LittleCupy
from kernels.cells import CELLS, Adjoints, Cell, Run
from kernels.cuda.cuda_kernels import CudaKernels
from kernels.cuda.plan import Device, Pass, Plan, backward_product, forward_product, persistent, shared_bytes
from kernels.reference import ReferenceKernels

REFERENCE = ReferenceKernels(np)
#: Room for every launch of the tests; the little device itself says what the planner may use.
ROOMY = Device("roomy", 64, 1 << 17, max_threads=128)


class Case(NamedTuple):
    """The arguments of a layer's forward and backward."""

    cell: Cell
    pre: Any
    weight_hh: Any
    bias_hh: Any
    h0: Any
    c0: Any
    lengths: Any
    dy: Any
    dh_last: Any
    dc_last: Any


def make_case(name: str, T: int, B: int, H: int, dtype: str = "float64", lengths: Any = None, seed: int = 0) -> Case:
    """A case with every argument given."""
    rng = np.random.default_rng(seed)
    cell = CELLS[name]
    G = len(cell.gates)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    lengths = None if lengths is None else np.asarray(lengths)
    dy = draw(T, B, H)
    if lengths is not None:
        dy *= (np.arange(T)[:, None] < lengths)[..., None]
    c0, dc_last = (draw(B, H), draw(B, H)) if cell.has_c else (None, None)
    weight = (draw(G * H, H) / np.sqrt(H)).astype(dtype)
    return Case(cell, draw(T, B, G * H), weight, draw(G * H), draw(B, H), c0, lengths, dy, draw(B, H), dc_last)


def run(kernels: Any, case: Case, trace: bool = True) -> tuple[Run, Adjoints]:
    """Forward, and backward on what forward left."""
    cell, pre, weight, bias, h0, c0, lengths, dy, dh_last, dc_last = case
    forward = kernels.forward(cell, pre, weight, bias, h0, c0, lengths)
    return forward, kernels.backward(cell, forward, weight, dy, dh_last, dc_last, lengths, trace)


def distance(case: Case, kernels: Any, trace: bool = True) -> float:
    """Largest difference to the plain kernels over all buffers, relative to 1 or the largest number in the buffer."""
    ours, theirs = run(kernels, case, trace), run(REFERENCE, case, trace)
    worst = 0.0
    for mine, true in zip((*ours[0], *ours[1]), (*theirs[0], *theirs[1]), strict=True):
        assert (mine is None) == (true is None)
        if true is None or true.size == 0:
            continue
        assert mine.shape == true.shape
        assert mine.dtype == true.dtype
        error = float(np.max(np.abs(mine - true)) / max(1.0, float(np.max(np.abs(true)))))
        worst = error if np.isnan(error) else max(worst, error)
    return worst


def by_plan(xp: LittleCupy, forward: Pass, backward: Pass) -> CudaKernels:
    """The kernel set with a plan of the test's own."""
    kernels = CudaKernels(xp)
    kernels.plan = lambda *sizes: Plan(forward, backward)
    return kernels


def tight(case: Case, slices: int, groups: int, row_tile: int = 1) -> tuple[Pass, Pass]:
    """Launches that share out everything: several blocks, groups, passes over the rows, tiles and parts.

    With teams, parts and tile this small, each barrier has something to keep apart.
    """
    B, H = case.h0.shape
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


STEPWISE = Pass("stepwise", "asked for by a test")
