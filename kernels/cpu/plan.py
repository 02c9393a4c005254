"""How a pass is divided among threads, and into chunks of steps."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from kernels.cells import Cell
from kernels.cpu.products import DEPTH, padded
from kernels.cpu.tiles import VECTOR_BYTES

CHUNK_ROWS = 256  # rows (time steps times batch) that are projected at once: they stay in a core's own cache
WORTH_A_TEAM = 4e6  # multiply-adds of a pass below which handing a part to another thread costs more than it brings
WORTH_A_WAIT = 1.5e5  # multiply-adds of a step's recurrent product below which waiting for another costs more
SHARED_WEIGHTS = 1 << 20  # bytes of recurrent weights above which two threads had better read half of them each


class Sizes(NamedTuple):
    """The sizes of a pass: T steps, B rows, D inputs, G gates, R gates with recurrent weights, H units, P width of h.

    `projected` : 1 if h is a product of its own.
    """

    T: int
    B: int
    D: int
    G: int
    R: int
    H: int
    P: int
    projected: int = 0

    @property
    def recurrent(self) -> int:
        """Numbers in the recurrent weights."""
        return self.R * self.H * self.P

    @property
    def multiply_adds(self) -> int:
        """Of a pass forward."""
        return self.T * self.B * (self.G * self.H * self.D + self.recurrent)


class Plan(NamedTuple):
    """How a pass is divided.

    Attributes
    ----------
    team : the number of threads.
    by_units : each takes a part of the hidden units, and waits for the others at every step; else a part of the rows.
    chunk : time steps that are projected at once.
    """

    team: int
    by_units: bool
    chunk: int


def sizes(cell: Cell, x: Any, h: Any, H: int) -> Sizes:
    """The sizes of a pass over x (T, B, D) with a hidden state (B, P)."""
    return _sizes(x.shape, len(cell.gates), len(cell.recurrent), H, h.shape[-1], int(cell.projected is not None))


@functools.lru_cache(maxsize=256)  # sizes come again at every pass
def _sizes(shape: tuple[int, int, int], G: int, R: int, H: int, P: int, projected: int) -> Sizes:
    return Sizes(*shape, G, R, H, P, projected)


def plan(size: Sizes, itemsize: int, available: int) -> Plan:
    """Divide a pass; a pure function of the sizes and the number of threads that may be used."""
    chunk = min(size.T, chunk_of(size.B))
    if available < 2 or not worth_a_team(size.multiply_adds):
        return Plan(1, False, chunk)
    lanes = VECTOR_BYTES // itemsize
    few_rows, large = size.B < 4 * available, size.recurrent * itemsize > SHARED_WEIGHTS
    by_units = size.H >= 2 * lanes and size.B * size.recurrent >= WORTH_A_WAIT and (few_rows or large)
    return Plan(min(available, -(-size.H // lanes) if by_units else size.B), by_units, chunk)


def chunk_of(batch: int) -> int:
    """The time steps of a chunk, where there are as many."""
    return max(1, CHUNK_ROWS // max(1, batch))


def worth_a_team(multiply_adds: int) -> bool:
    """Whether so much work is worth a second thread."""
    return multiply_adds >= WORTH_A_TEAM


@functools.lru_cache(maxsize=256)
def room_for_packs(size: Sizes, dtype: Any, division: Plan, both_ways: bool, in_pairs: tuple[bool, ...]) -> int:
    """How many numbers a thread's packed weights take; the same for forward and backward, which then share memory.

    `in_pairs` : whether two numbers along k of weight_ih, weight_hh and weight_hr are packed into the room of one
    (`kernels.cpu.half`).
    """
    ih, hh, hr = in_pairs

    def deep(depth: int, pairs: bool) -> int:
        return -(-depth // 2) if pairs else depth

    units, wide = (_part(n, division.team, division.by_units, dtype) for n in (size.H, size.P))
    D, G, R, H, P = size.D, size.G, size.R, size.H, size.P
    projection = max(deep(H, hr) * (wide + 8), deep(P, hr) * (units + 8)) if size.projected else 0
    room = (deep(D, ih) * G + deep(P, hh) * R) * (units + 8) + projection
    if both_ways:
        block = deep(DEPTH, all(in_pairs)) * max(padded(D, dtype), padded(H, dtype), padded(P, dtype))
        room = max(room, R * deep(H, hh) * wide + projection + deep(G * H, ih) * padded(D, dtype) + block)
    return room + G * H + 2 * VECTOR_BYTES  # and the joint bias


def _part(units: int, team: int, by_units: bool, dtype: Any) -> int:
    """The most units that one thread packs, in whole vectors, with one to spare."""
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    return (-(-units // (lanes * team)) + 2) * lanes if by_units else padded(units, dtype) + lanes
