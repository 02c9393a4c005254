"""The compiled kernel set for NumPy arrays: one layer and direction a call, on a team of threads.

What runs is in `kernels.cpu.loops`; here the arrays are made ready for it, the threads are planned, and memory is
taken from the workspace.  Held against `kernels.reference` in tests/test_kernels.py (1e-12 in float64).
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from kernels import events
from kernels.cells import Adjoints, Cell, Run
from kernels.cpu import barrier as barriers
from kernels.cpu import threads, workspace
from kernels.cpu.compiling import JIT, compiled
from kernels.cpu.loops import DEPTH, LOOPS, portion
from kernels.cpu.products import checksum, pack, pack_transposed, padded, product, vector_lanes
from kernels.cpu.tiles import ROWS, VECTOR_BYTES

CHUNK_ROWS = 256  # rows (time steps times batch) that are projected at once: what stays in a core's own cache
WORTH_A_TEAM = 4e6  # multiply-adds of a pass below which handing a part to another thread costs more than it brings
WORTH_A_WAIT = 1.5e5  # multiply-adds of a step's recurrent product below which waiting for another costs more
SHARED_WEIGHTS = 1 << 20  # bytes of recurrent weights above which two threads had better read half of them each


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


def plan(cell: Cell, T: int, B: int, D: int, H: int, itemsize: int, available: int) -> Plan:
    """Divide a pass; a pure function of the sizes and the number of threads that may be used."""
    G = len(cell.gates)
    chunk = min(T, max(1, CHUNK_ROWS // B))
    if available < 2 or not _worth_a_team(T * B * G * H * (D + H)):
        return Plan(1, False, chunk)
    lanes = VECTOR_BYTES // itemsize
    few_rows, large = B < 4 * available, G * H * H * itemsize > SHARED_WEIGHTS
    by_units = H >= 2 * lanes and B * G * H * H >= WORTH_A_WAIT and (few_rows or large)
    return Plan(min(available, -(-H // lanes) if by_units else B), by_units, chunk)


def _worth_a_team(multiply_adds: int) -> bool:
    return multiply_adds >= WORTH_A_TEAM


def _team(multiply_adds: int) -> threads.Team:
    """The threads for that much work."""
    return threads.Team(threads.get_num_threads() if _worth_a_team(multiply_adds) else threads.just_one())


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """A vanishing product is 0 and a checksum wraps round, without a warning; compiled code gives none anyway."""
    return function if JIT else np.errstate(under="ignore", over="ignore")(function)


_NO_BARRIER = barriers.new()  # nobody waits at it: the team is one

if JIT:
    threads.watch_with(barriers.watch)

#: Loops that have run, by cell, direction and dtype: their compiled code is there.
_compiled: set[tuple[str, int, Any]] = set()


def _run(
    team: threads.Team, by_units: bool, cell: Cell, way: int, dtype: Any, work: Callable[[Any, tuple[Any, ...]], Any]
) -> None:
    """Call ``work(loop, share)`` on every thread of the team; a loop's first run is its compilation.

    Should one thread fail, out of memory, say, the others must not wait for it at the barrier.
    """
    loop, size = LOOPS[cell.name][way], team.size
    barrier = barriers.new() if size > 1 else _NO_BARRIER
    team.run(
        lambda rank: work(loop, (rank, size, by_units, barrier, team.bell, team.number)),
        lambda: barriers.open_for_good(barrier),
    )
    _compiled.add((cell.name, way, dtype))


def _available(team: threads.Team, cell: Cell, way: int, dtype: Any) -> int:
    """How many threads a pass may be divided among: one, while there is still something to compile."""
    return team.size if (cell.name, way, dtype) in _compiled and JIT else 1


class NumbaKernels:
    """The compiled kernel set for NumPy arrays.  See `kernels.WholeLayerKernels` for what it offers."""

    name = "numba"
    whole_layers = True

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array from the workspace."""
        return workspace.empty(shape, dtype)

    @_quiet
    def forward_layer(
        self, cell: Cell, x: Any, weights: Any, h0: Any, c0: Any, lengths: Any = None, keep: bool = True
    ) -> tuple[Run, Any]:
        """Run one layer and direction over all T steps; see `kernels.WholeLayerKernels.forward_layer`."""
        events.launched()
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        (T, B, D), H, G, dtype = x.shape, h0.shape[1], len(cell.gates), x.dtype
        slots = T + 1 if keep else 2
        h = workspace.empty((slots, B, H), dtype)
        h[0] = h0
        c = workspace.empty((slots if cell.has_c else 0, B, H), dtype)
        if cell.has_c:
            c[0] = c0
        if G == 1 and keep and lengths is None:
            gate = h[1:].reshape(T, B, G, H)  # an RNN's one gate block is its new state: kept once
        else:
            gate = workspace.empty((T if keep else 1, B, G, H), dtype)
        hidden_n = workspace.empty((len(gate) if cell.splits_n else 0, B, H), dtype)
        y = workspace.empty((T, B, H), dtype)
        none = np.empty(0, dtype)
        ends, flat_x = _in_order(lengths, T, B), _strided(x)
        biases = (none, none, 0) if bias_ih is None else (_line(bias_ih), _line(bias_hh), 1)
        lines = (_line(weight_ih), _line(weight_hh), *biases)
        with _team(T * B * G * H * (D + H)) as team:
            size, by_units, chunk = plan(cell, T, B, D, H, dtype.itemsize, _available(team, cell, 0, dtype))
            team.size = size
            packs = _room_for_packs(G, D, H, dtype, size, by_units, keep)
            pre = workspace.empty((chunk * B, G, H), dtype)
            reset_h = np.empty((B if cell.resets_before else 0, H), dtype)
            one = dtype.type(1)
            _run(
                team, by_units, cell, 0, dtype,
                lambda loop, share: loop(
                    share, chunk, keep, flat_x, lines, ends, h, c, gate, hidden_n, y, packs,
                    pre, reset_h, one,
                ),
            )  # fmt: skip
        if not keep:
            last = slice(T & 1, (T & 1) + 1)
            return Run(h[last], c[last] if cell.has_c else None, None, None), y
        return Run(h, c if cell.has_c else None, gate, hidden_n if cell.splits_n else None), y

    @_quiet
    def backward_layer(
        self,
        cell: Cell,
        run: Run,
        x: Any,
        weights: Any,
        dy: Any,
        dh_last: Any,
        dc_last: Any,
        grads: Any,
        lengths: Any = None,
        trace: bool = False,
    ) -> tuple[Adjoints, Any]:
        """Walk the slots of `run` from the end to the start; see `kernels.WholeLayerKernels.backward_layer`."""
        events.launched()
        weight_ih, weight_hh, _, _ = weights
        (T, B, G, H), D, dtype = run.gates.shape, x.shape[2], run.gates.dtype

        def none_of(axes: int) -> Any:  # a new empty array each time: the loops are promised that none overlap
            return np.empty((0,) * axes, dtype)

        def traced(wanted: bool, *shape: int) -> Any:
            return np.zeros(shape, dtype) if wanted else none_of(len(shape))

        dh, dc = _state_gradient(dh_last, B, H, dtype), _state_gradient(dc_last, B, H, dtype)
        ends = _in_order(lengths, T, B)
        dx = (workspace.empty if lengths is None else workspace.zeros)((T, B, D), dtype)
        dh_all, dc_all = traced(trace, T + 1, B, H), traced(trace and cell.has_c, T + 1, B, H)
        da_all, da_hidden_all = traced(trace, T, B, G, H), traced(trace and cell.splits_n, T, B, G, H)
        c = none_of(3) if run.c is None else _rows(run.c)
        hidden_n = none_of(3) if run.hidden_n is None else _rows(run.hidden_n)
        gate, h = _rows(run.gates), _rows(run.h)
        flat_x = _strided(x)
        flat_dy = (none_of(1), 0, 0, 0, False) if dy is None else (*_strided(dy), True)
        lines = (_line(weight_ih), _line(weight_hh))
        targets = [none_of(1) if grad is None else grad.reshape(-1) for grad in grads]
        with _team(T * B * G * H * (D + H)) as team:
            size, by_units, chunk = plan(cell, T, B, D, H, dtype.itemsize, _available(team, cell, 1, dtype))
            team.size = size
            packs = _room_for_packs(G, D, H, dtype, size, by_units, True)
            stride = G * H + 16  # not a power of two: rows of one column would all fall into the same part of the cache
            da = workspace.empty((chunk * B, stride), dtype)
            da_hidden = workspace.empty((chunk * B if cell.splits_n else 0, stride), dtype)
            reset_h = workspace.empty((chunk * B if cell.resets_before else 0, H), dtype)
            dreset_h = np.empty((B if cell.resets_before else 0, H), dtype)
            several = chunk < T or chunk * B > DEPTH
            totals = [workspace.empty((target.size,), dtype) if several else none_of(1) for target in targets]
            flat_dx, one = (dx.reshape(-1), B * D, D), dtype.type(1)
            _run(
                team, by_units, cell, 1, dtype,
                lambda loop, share: loop(
                    share, chunk, flat_dy, flat_x, flat_dx, lines, ends, h, c, gate, hidden_n,
                    dh, dc, tuple(targets), tuple(totals), packs, da, da_hidden, reset_h, dreset_h, dh_all, dc_all,
                    da_all, da_hidden_all, one,
                ),
            )  # fmt: skip
        adjoints = Adjoints(
            da_all if trace else None,
            da_hidden_all if trace and cell.splits_n else da_all if trace else None,
            dh,
            dc if cell.has_c else None,
            dh_all if trace else None,
            dc_all if trace and cell.has_c else None,
        )
        return adjoints, dx

    @_quiet  # plain Python warns of what is meant to wrap round
    def checksum(self, arrays: Iterable[Any]) -> int:
        """A number that changes when anything in the arrays does."""
        lanes = np.arange(64, dtype=np.uint32)
        for array in arrays:
            checksum(_line(array).view(np.uint32), lanes)
        return zlib.crc32(lanes.data)

    @_quiet
    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix product of two 2-d arrays."""
        events.launched()
        (M, K), N, dtype = a.shape, b.shape[1], a.dtype
        if b.shape[0] != K or b.dtype != dtype:  # compiled code would read past the end
            raise ValueError(f"b: expected shape ({K}, any) and dtype {dtype}, got {b.shape} and {b.dtype}")
        if K == 0:  # an empty sum: the tiles make at least one step
            return workspace.zeros((M, N), dtype)
        c = workspace.empty((M, N), dtype)
        lines = (*_matrix(a), *_matrix(b))
        with _team(M * K * N) as team:
            packs = workspace.empty((team.size, K * (padded(N, dtype) + VECTOR_BYTES)), dtype)
            team.run(lambda rank: _multiply((rank, team.size, team.bell, team.number), lines, packs, c, K))
        return c


@compiled("matrix products")
def _multiply(share, lines, packs, c, K):  # type: ignore[no-untyped-def]
    rank, team, bell, number = share
    if rank == 0:
        barriers.ring(bell, number)
    a, a_row, a_step, b, b_row, b_step = lines
    M, N = c.shape
    c_flat, packed = c.reshape(-1), packs[rank]
    # shared by columns, so that each thread packs its own; by rows where there are few columns
    by_columns = N >= 2 * M
    first, last = portion(N, rank, team, vector_lanes(c)) if by_columns else (0, N)
    row, row_end = (0, M) if by_columns else portion(M, rank, team, ROWS)
    if b_step == 1:
        pack(b, np.arange(K) * b_row, first, K, last - first, packed, 0)
    else:
        pack_transposed(b, np.arange(first, last) * b_step, 0, K, last - first, packed, 0)
    a_rows, c_rows = np.arange(row, row_end) * a_row, np.arange(row, row_end) * N
    to = (c_flat, c_rows, first)
    product(row_end - row, last - first, (a, a_rows, 0, a_step), (packed, 0, K), to, (*to, 0))


def _part(units: int, team: int, by_units: bool, dtype: Any) -> int:
    """The most units that one thread packs, in whole vectors, with one to spare."""
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    return (-(-units // (lanes * team)) + 2) * lanes if by_units else padded(units, dtype) + lanes


def _room_for_packs(G: int, D: int, H: int, dtype: Any, team: int, by_units: bool, both_ways: bool) -> Any:
    """Where each thread packs its weights; of one size for forward and backward, which then take the same memory."""
    part = _part(H, team, by_units, dtype)
    room = (D + H) * G * (part + 8)
    if both_ways:
        room = max(room, G * H * (part + padded(D, dtype)) + DEPTH * max(padded(D, dtype), padded(H, dtype)))
    return workspace.empty((team, room + VECTOR_BYTES), dtype)


def _rows(a: Any) -> Any:
    """The array itself if it is writeable and its rows lie next to each other, else a copy.

    A read-only array is copied too: to Numba it is another type, for which it would compile once more.
    """
    return a if a.flags.writeable and a.flags.c_contiguous else np.array(a, order="C")


def _line(a: Any) -> Any:
    return _rows(a).reshape(-1)


def _strided(a: Any) -> tuple[Any, int, int, int]:
    """A (T, B, features) array as (line, offset, step in time, step in the batch), in numbers; copied where need be."""
    T, B, F = a.shape
    if a.flags.writeable and a.flags.c_contiguous:
        return a.reshape(-1), 0, B * F, F
    backwards = a[::-1]
    if a.flags.writeable and backwards.flags.c_contiguous:
        return backwards.reshape(-1), (T - 1) * B * F, -B * F, F
    return np.array(a, order="C").reshape(-1), 0, B * F, F


def _matrix(a: Any) -> tuple[Any, int, int]:
    """A matrix as (line, step from row to row, step from column to column); one of the steps is 1."""
    if a.flags.writeable and a.flags.f_contiguous:
        return a.T.reshape(-1), 1, a.shape[0]
    return _line(a), a.shape[1], 1


def _state_gradient(given: Any, B: int, H: int, dtype: Any) -> Any:
    return np.zeros((B, H), dtype) if given is None else np.array(given, order="C")


@functools.lru_cache(maxsize=64)
def _all_steps(steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """`_in_order` of rows that all run to the end; only read."""
    return np.full(batch, steps, np.int64), np.arange(batch)


def _in_order(lengths: Any, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """The lengths (B,), and the rows from the longest to the shortest."""
    if lengths is None:
        return _all_steps(steps, batch)
    ends = np.array(lengths, dtype=np.int64)
    return ends, np.argsort(-ends, kind="stable")
