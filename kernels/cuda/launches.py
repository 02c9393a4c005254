"""Which way a layer takes on a GPU, decided before anything is launched.

`plan` is a pure function of sizes and a `Device`, so it is tested on the CPU for GPUs that are not there.  Forward and
backward are planned apart, each as one of three paths:

- ``persistent``: the whole sequence in one launch (src/forward.cu, src/backward.cu).  The recurrent weights are
  spread over the shared memory of the GPU and stay there; a block owns `units` hidden units and `rows` batch rows.
- ``stepwise``: a product by cuBLAS and a gate kernel at each step.
- ``plain``: array code (`kernels.reference`).

A persistent grid has at most one block for each multiprocessor, and each block fits it by shared memory, threads and
registers: so all blocks are resident at once, which the barrier between them needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.cells import Cell
from kernels.cuda import modules
from kernels.cuda.parts import spread_of
from kernels.phases import Place

#: What `__launch_bounds__` of the persistent kernels allows: threads of a block, and so registers of a thread.
MAX_THREADS, MAX_REGISTERS = 512, 128
_MAX_PARTS = 32  # the sums of the parts are added up one after the other

# Clocks, for choosing between plans.  Estimates from the hardware's documents, not measurements: to be set right once
# a GPU has run the kernels.
_BARRIER = 2000  # a barrier of the group, and the first wait for what it released
_TILE_WAIT = 800  # staging a tile: one round trip to L2
_L2_BYTES = 64  # bytes a clock and multiprocessor from L2
_STEP_LAUNCHES = 25000  # a product and a gate kernel launched from Python
_CUBLAS_SHARE = 0.6  # of the peak


class Device(NamedTuple):
    """What the planner asks of a GPU.

    Attributes
    ----------
    name : in words.
    multiprocessors : how many.
    shared_bytes : shared memory that one block may have (the opt-in limit).
    max_threads : threads of a block.
    registers : of a multiprocessor.
    compute_capability : such as (9, 0).
    cooperative : whether it starts all blocks of a grid together when asked to.
    """

    name: str
    multiprocessors: int
    shared_bytes: int
    max_threads: int = 1024
    registers: int = 65536
    compute_capability: tuple[int, int] = (8, 0)
    cooperative: bool = True

    @classmethod
    def of(cls, xp: Any) -> Device:
        """The current device of a CuPy-like library `xp`."""
        device = xp.cuda.Device()
        limits = device.attributes
        capability = str(device.compute_capability)
        return cls(
            name=f"device {device.id}, compute capability {capability[:-1]}.{capability[-1]}",
            multiprocessors=int(limits["MultiProcessorCount"]),
            shared_bytes=int(limits["MaxSharedMemoryPerBlockOptin"]),
            max_threads=int(limits["MaxThreadsPerBlock"]),
            registers=int(limits["MaxRegistersPerMultiprocessor"]),
            compute_capability=(int(capability[:-1]), int(capability[-1])),
            cooperative=bool(limits["CooperativeLaunch"]),
        )


class Launch(NamedTuple):
    """One direction of a plan; the numbers are those of a persistent launch, 0 on the other paths.

    Attributes
    ----------
    path : "persistent", "stepwise" or "plain".
    reason : why, in words.
    units, slices : hidden units of a block; blocks that share the hidden units.
    rows, groups : batch rows of a block; groups of blocks that share the batch.
    row_tile, columns : rows and columns whose sums a thread keeps in registers.
    parts, teams, lanes : the block's threads as a box (kernels/cuda/src/product.cuh).
    tile : numbers of a row staged at once.
    shared_bytes : dynamic shared memory of a block.
    clocks : the estimate for one step that the choice was made by.
    """

    path: str
    reason: str
    units: int = 0
    slices: int = 0
    rows: int = 0
    groups: int = 0
    row_tile: int = 0
    columns: int = 0
    parts: int = 0
    teams: int = 0
    lanes: int = 0
    tile: int = 0
    shared_bytes: int = 0
    clocks: int = 0

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.parts * self.teams * self.lanes

    @property
    def blocks(self) -> int:
        """Blocks of the grid (1, groups, slices)."""
        return self.groups * self.slices


class LaunchPlan(NamedTuple):
    """The way forward and the way back."""

    forward: Launch
    backward: Launch


class Product(NamedTuple):
    """The shape of a persistent kernel's work: what differs between cells and directions."""

    weight_rows: int  # rows of weights of one unit
    weight_length: int  # numbers of such a row
    depth: int  # numbers of a row of the source, over all products of a step
    longest: int  # the same of the longest product
    columns: int  # columns of a thread
    spread: int  # units of a thread
    phases: int  # products, and barriers, of a step


@functools.lru_cache(maxsize=1024)
def plan(cell: Cell, B: int, H: int, T: int, dtype: Any, device: Device) -> LaunchPlan:
    """The path of each direction of one layer.

    Parameters
    ----------
    cell : of `kernels.cells`.
    B, H, T : batch, hidden units, steps.
    dtype : of all arrays.
    device : the GPU.
    """
    dtype = np.dtype(dtype)
    plain = None
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        plain = Launch("plain", f"there are no kernels for {dtype}")
    elif 0 in (B, H, T):
        plain = Launch("plain", "an empty array launches nothing")
    elif any(work.between for work in cell.works):
        plain = Launch("plain", f"{cell.name} has row functions between product and gates: they are array code")
    if plain is not None:
        return LaunchPlan(plain, plain)
    return LaunchPlan(
        _choose(forward_product, cell, B, H, dtype.itemsize, device),
        _choose(backward_product, cell, B, H, dtype.itemsize, device),
    )


def padded(length: int, size: int) -> int:
    """Numbers of `size` bytes that a row takes in shared memory: `padded` of prelude.cuh."""
    vector = 16 // size
    return (-(-length // vector) | 1) * vector


def weight_stride(length: int, lanes: int, size: int) -> int:
    """The same of a row of weights: `weight_stride` of prelude.cuh."""
    if lanes == 1 or lanes > 4:
        return padded(length, size)
    vector = 16 // size
    vectors = -(-length // vector)
    return (vectors + ({2: 4, 3: 3, 4: 2}[lanes] - vectors) % 8) * vector


def not_persistent(cell: Cell) -> str | None:
    """Why the kernels of a whole sequence do not know the products of a cell; None if they do."""
    if cell.projected is not None:
        return "its hidden state is a projection"
    if any(stage.source is None for stage in cell.stages):
        return "it has a phase without a recurrent product"
    if len(cell.stages) > 2:
        return f"it has {len(cell.stages)} recurrent products a step, the kernel of a whole sequence at most 2"
    if cell.stages[0].source != Place("prev", "h"):
        return "its first product is not with h_prev"
    return None


def forward_product(cell: Cell, H: int, size: int) -> Product:
    """A unit has a row of weight_hh for each gate; the source is h, then that of the second product."""
    phases = len(cell.stages)
    return Product(len(cell.gates), H, phases * H, H, modules.columns("forward", cell), spread_of(cell), phases)


def backward_product(cell: Cell, H: int, size: int) -> Product:
    """A unit has a column of weight_hh; the source is da_hidden."""
    first, *rest = (stage.last - stage.first for stage in cell.stages)
    vector, columns = 16 // size, modules.columns("backward", cell)
    offset = -(-sum(rest) * H // vector) * vector
    length, longest = offset + first * H, max(first, *rest, 0) * H
    return Product(1, length, len(cell.gates) * H, longest, columns, columns, len(cell.stages))


def shared_bytes(work: Product, units: int, row_tile: int, teams: int, threads: int, tile: int, size: int) -> int:
    """Shared memory of a block: its weights, and the room where first a tile and then the threads' sums lie."""
    sums = row_tile * work.columns * threads
    weights = units * work.weight_rows * weight_stride(work.weight_length, units // work.spread, size)
    return (weights + max(sums, teams * row_tile * padded(tile, size))) * size


def _choose(
    product: Callable[[Cell, int, int], Product], cell: Cell, B: int, H: int, size: int, device: Device
) -> Launch:
    """The persistent launch estimated fastest, or stepwise with the reason."""
    reason = not_persistent(cell)
    if reason is not None:
        return Launch("stepwise", f"{cell.name}: {reason}")
    if device.compute_capability < (7, 0):
        return Launch("stepwise", "the barrier between blocks needs compute capability 7.0 or later")
    if not device.cooperative:
        return Launch("stepwise", "the device has no cooperative launches")
    work, G = product(cell, H, size), len(cell.gates)
    if not modules.row_tiles(work.columns, size):
        return Launch("stepwise", f"{cell.name}: a product of {work.columns} gates overfills the registers of a thread")
    most_lanes = min(-(-H // work.spread), device.max_threads, MAX_THREADS)
    tried = (
        persistent(work, lanes, row_tile, B, H, size, device)
        for lanes in range(1, most_lanes + 1)
        for row_tile in modules.row_tiles(work.columns, size)
        if row_tile <= B
    )
    options = [option for option in tried if option is not None]
    if not options:
        whole = G * H * H * size / 2**20
        room = device.multiprocessors * device.shared_bytes / 2**20
        words = f"recurrent weights ({whole:.1f} MiB) and room to work do not fit"
        return Launch("stepwise", f"{words} the shared memory of {device.multiprocessors} blocks ({room:.1f} MiB)")
    best = min(options, key=lambda option: (option.clocks, option.blocks, option.threads))
    products = B * G * H * H * (2 if size == 8 else 1) / (device.multiprocessors * 128 * _CUBLAS_SHARE)
    stepwise = int(work.phases * _STEP_LAUNCHES + products)
    if stepwise < best.clocks:
        return Launch("stepwise", f"cuBLAS is estimated faster: {stepwise} clocks a step to {best.clocks}")
    return best


def persistent(work: Product, lanes: int, row_tile: int, B: int, H: int, size: int, device: Device) -> Launch | None:
    """The launch with that many lanes of a block and rows of a thread, or None if it does not fit."""
    units = lanes * work.spread
    slices = -(-H // units)
    if slices > device.multiprocessors:
        return None
    rows = -(-B // min(B, device.multiprocessors // slices))
    groups = -(-B // rows)

    vector = 16 // size
    threads = min(device.max_threads, MAX_THREADS, device.registers // MAX_REGISTERS)
    teams = min(-(-rows // row_tile), threads // lanes)
    if teams == 0:
        return None
    parts = max(1, min(threads // (lanes * teams), _MAX_PARTS, -(-work.longest // vector)))
    threads = parts * teams * lanes

    staged = teams * row_tile
    stride = weight_stride(work.weight_length, lanes, size)
    room = device.shared_bytes // size - units * work.weight_rows * stride
    tile = max(0, min(room // staged, padded(work.longest, size))) // vector * vector
    while tile > 0 and staged * padded(tile, size) > room:
        tile -= vector
    if tile < min(work.longest, 8 * vector):  # so narrow a tile is all waiting
        return None
    shared = shared_bytes(work, units, row_tile, teams, threads, tile, size)
    if shared > device.shared_bytes:
        return None

    passes = -(-rows // staged)
    vectors = passes * -(-work.depth // (vector * parts))  # that a thread multiplies in a step
    warps = -(-threads // 32)
    loads = vectors * warps * (row_tile + work.columns) * 4  # 512 bytes a warp, 128 a clock
    arithmetic = vectors * warps * row_tile * work.columns * vector // (4 if size == 4 else 2)
    waits = passes * (-(-work.depth // tile)) * _TILE_WAIT + passes * staged * work.depth * size // _L2_BYTES
    clocks = max(loads, arithmetic) + waits + work.phases * _BARRIER
    return Launch(
        path="persistent",
        reason=f"{slices} blocks keep the recurrent weights in shared memory, for each of {groups} groups of rows",
        units=units,
        slices=slices,
        rows=rows,
        groups=groups,
        row_tile=row_tile,
        columns=work.columns,
        parts=parts,
        teams=teams,
        lanes=lanes,
        tile=tile,
        shared_bytes=shared,
        clocks=clocks,
    )
