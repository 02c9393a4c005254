"""The compiled kernel set for NumPy arrays: one layer and direction a call, on a team of threads.

What runs is in `kernels.cpu.loops`; here the arrays are made ready for it, and memory is taken from the workspace.
A cell with row functions between its products and gate functions walks the array steps, with compiled products.
Held against `kernels.reference` in tests/test_kernels.py and tests/test_own_cells_compiled.py (1e-12 in float64).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kernels import Weights, events
from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.cpu import matmul as products
from kernels.cpu import workspace
from kernels.cpu.arrays import in_order, line, lines, nothing, rows, strided
from kernels.cpu.compiling import JIT
from kernels.cpu.loops import loops_of
from kernels.cpu.plan import Sizes, plan, room_for_packs, sizes
from kernels.cpu.products import checksum
from kernels.cpu.team import available, run, team_for
from kernels.cpu.weight_gradients import DEPTH
from kernels.reference import ReferenceKernels

Array = np.ndarray
_WEIGHTS = ("weight_ih", "weight_hh", "weight_hr")
_BIASES = ("bias_ih", "bias_hh")
_PADDING = 16  # numbers: rows whose length is a power of two would all fall into the same part of the cache


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a product underflow to 0 and a checksum wrap round without a warning; compiled code gives none anyway."""
    return function if JIT else np.errstate(under="ignore", over="ignore")(function)


class NumbaKernels:
    """The compiled kernel set for NumPy arrays.  See `kernels.Kernels` for what it offers."""

    name = "numba"

    def __init__(self) -> None:
        self._steps = _ArraySteps()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array from the workspace."""
        return workspace.empty(shape, dtype)

    @_quiet
    def forward_layer(self, given: Pass, x: Array, states: tuple[Array, ...], keep: bool = True) -> tuple[Run, Array]:
        """Run one layer and direction over all T steps; see `kernels.Kernels.forward_layer`."""
        cell, weights, lengths, _ = given
        loops, dtype = loops_of(cell), x.dtype
        if loops is None:
            return self._steps.forward_layer(given, x, states, keep)
        events.launched()
        size = sizes(cell, x, states[0], len(weights["weight_ih"]) // len(cell.gates))
        T, B, G, H = size.T, size.B, size.G, size.H
        slots = _slots(states, T + 1 if keep else 2, dtype)
        if loops.one_block and keep and lengths is None:
            gate = slots[0][1:].reshape(T, B, G, H)  # an RNN's one gate block is its new state: kept once
        else:
            gate = workspace.empty((T if keep else 1, B, G, H), dtype)
        kept = _units((len(gate), B), size, loops.kept, dtype)
        y = workspace.empty((T, B, size.P), dtype)
        weight_lines, numbers = lines(weights, _WEIGHTS + _BIASES, dtype), _numbers(given, dtype)
        ends, flat_x, arrays = in_order(lengths, T, B), strided(x), (slots, gate, kept)
        with team_for(size.multiply_adds) as team:
            division = plan(size, dtype.itemsize, available(team, loops, "forward", dtype))
            team.size = division.team
            packs = workspace.empty((division.team, room_for_packs(size, dtype, division, keep)), dtype)
            buffers = packs, workspace.empty((division.chunk * B, G, H), dtype)
            run(
                team, division.by_units, loops, "forward", dtype,
                lambda loop, share: loop(
                    share, division.chunk, keep, flat_x, weight_lines, ends, arrays, y, loops.forward_table, buffers,
                    numbers,
                ),
            )  # fmt: skip
        if not keep:
            last = slice(T & 1, (T & 1) + 1)
            return Run(tuple([slot[last] for slot in slots]), None, {}), y
        return Run(slots, gate, dict(zip(cell.kept, kept, strict=False))), y

    @_quiet
    def backward_layer(
        self,
        given: Pass,
        tape: Run,
        x: Array,
        dy: Array | None,
        dlast: tuple[Array | None, ...],
        grads: Weights,
        trace: bool = False,
    ) -> tuple[Adjoints, Array]:
        """Walk the slots of `tape` from the end to the start; see `kernels.Kernels.backward_layer`."""
        cell, weights, lengths, _ = given
        loops, dtype = loops_of(cell), x.dtype
        if loops is None:
            return self._steps.backward_layer(given, tape, x, dy, dlast, grads, trace)
        events.launched()
        size = sizes(cell, x, tape.h, tape.gates.shape[3])
        T, B, D, H = size.T, size.B, size.D, size.H
        dstates = _state_gradients(dlast, tape.states, dtype)
        scratch = _units((B,), size, loops.values, dtype), _units((B,), size, loops.spares, dtype)
        dx = (workspace.empty if lengths is None else workspace.zeros)((T, B, D), dtype)
        traces = _traces(cell, tape, trace)
        flat_dy = (nothing(1, dtype), 0, 0, 0, False) if dy is None else (*strided(dy), True)
        weight_lines, numbers = lines(weights, _WEIGHTS, dtype), _numbers(given, dtype)
        ends, flat_x = in_order(lengths, T, B), strided(x)
        kept = tuple([rows(tape.kept[name]) for name in cell.kept])
        arrays = tuple([rows(slots) for slots in tape.states]), rows(tape.gates), kept
        with team_for(size.multiply_adds) as team:
            division = plan(size, dtype.itemsize, available(team, loops, "backward", dtype))
            team.size = division.team
            packs = workspace.empty((division.team, room_for_packs(size, dtype, division, True)), dtype)
            chunks, count = _chunks(cell, size, division.chunk, dtype), division.chunk * B
            own = np.zeros(len(cell.own) * H, dtype) if cell.own else nothing(1, dtype)
            targets, totals = _gradients(grads, own, division.chunk < T or count > DEPTH, dtype)
            run(
                team, division.by_units, loops, "backward", dtype,
                lambda loop, share: loop(
                    share, division.chunk, flat_dy, flat_x, (dx.reshape(-1), B * D, D), weight_lines, ends, arrays,
                    (dstates, *scratch), loops.backward_table, targets, totals, (packs, chunks), traces, numbers,
                ),
            )  # fmt: skip
        for k, name in enumerate(cell.own):
            grad = grads.get(name)
            if grad is not None:
                grad += own[k * H : (k + 1) * H]
        return _adjoints(cell, dstates, traces if trace else None), dx

    @_quiet  # plain Python warns of what is meant to wrap round
    def checksum(self, arrays: Iterable[Array]) -> int:
        """A number that changes when a value in the arrays changes."""
        lanes = np.arange(64, dtype=np.uint32)
        for array in arrays:
            checksum(line(array, array.dtype).view(np.uint32), lanes)
        return zlib.crc32(lanes.data)

    @_quiet
    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""
        events.launched()
        return products.matmul(a, b)


class _ArraySteps(ReferenceKernels):
    """The array steps over NumPy, with the compiled product around them."""

    def __init__(self) -> None:
        super().__init__(np)

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""
        events.launched()
        return products.matmul(a, b)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array from the workspace."""
        return workspace.empty(shape, dtype)


def _slots(states: tuple[Array, ...], count: int, dtype: Any) -> tuple[Array, ...]:
    """Room for so many slots of every state, with the first ones filled in."""
    found = tuple([workspace.empty((count, *state.shape), dtype) for state in states])
    for slots, state in zip(found, states, strict=True):
        slots[0] = state
    return found


def _units(before: tuple[int, ...], size: Sizes, narrow: tuple[bool, ...], dtype: Any) -> tuple[Array, ...]:
    """Arrays (*before, H), or (*before, P) where narrow."""
    return tuple([workspace.empty((*before, size.P if one else size.H), dtype) for one in narrow])


def _numbers(given: Pass, dtype: Any) -> tuple[Any, ...]:
    """The arguments of gate functions beside states and gates: own weights, factors, and the number 1."""
    cell = given.cell
    if not cell.own and not cell.given:
        return (), (), dtype.type(1)
    own = tuple(line(given.weights[name], dtype) for name in cell.own)
    return own, tuple(rows(given.factors[name]) for name in cell.given), dtype.type(1)


def _state_gradients(given: tuple[Array | None, ...], states: tuple[Array, ...], dtype: Any) -> tuple[Array, ...]:
    """The gradients of the last states, which the loop turns into those of the first."""
    return tuple(
        [
            np.zeros(slots.shape[1:], dtype) if part is None else np.array(part, order="C")
            for part, slots in zip(given, states, strict=True)
        ]
    )


def _traces(cell: Cell, tape: Run, wanted: bool) -> tuple[Any, ...]:
    """Room for the gradients of all states and pre-activations of all steps; empty arrays where none are wanted."""
    dtype = tape.gates.dtype
    none = nothing(4, dtype)
    if not wanted:
        return (nothing(3, dtype),) * len(tape.states), none, none, none
    (T, B, G, H), P = tape.gates.shape, tape.h.shape[2]
    return (
        tuple(np.zeros(slots.shape, dtype) for slots in tape.states),
        np.zeros((T, B, G, H), dtype),
        np.zeros((T, B, G, H), dtype) if cell.splits else none,
        np.zeros((T, B, 1, P), dtype) if cell.projected else none,
    )


def _chunks(cell: Cell, size: Sizes, chunk: int, dtype: Any) -> tuple[Array, ...]:
    """Where the rows of a chunk go: da, its hidden side, the gradients of own weights, and dprojected."""
    count, width, none = chunk * size.B, size.G * size.H + _PADDING, nothing(2, dtype)
    return (
        workspace.empty((count, width), dtype),
        workspace.empty((count, width), dtype) if cell.splits else none,
        workspace.empty((count, len(cell.own) * size.H), dtype) if cell.own else none,
        workspace.empty((count, size.P + _PADDING), dtype) if cell.projected else none,
    )


def _gradients(grads: Weights, own: Array, several: bool, dtype: Any) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The gradients to add to, and room for their sums over several chunks; `own` lies where the sums are made."""
    none, found = nothing(1, dtype), [grads.get(name) for name in _WEIGHTS + _BIASES]
    targets = [none if gradient is None else gradient.reshape(-1) for gradient in found]
    if not several:
        return (*targets, own), (none,) * 6
    return (*targets, none), (*[workspace.empty(target.shape, dtype) for target in targets], own)


def _adjoints(cell: Cell, dstates: tuple[Array, ...], traces: tuple[Any, ...] | None) -> Adjoints:
    """The gradients of the first states; those of single steps for a trace."""
    if traces is None:
        return Adjoints(None, None, dstates, None, {}, None)
    states, da, da_hidden, dprojected = traces
    return Adjoints(
        da, da_hidden if cell.splits else da, dstates, states, {}, dprojected[:, :, 0] if cell.projected else None
    )
