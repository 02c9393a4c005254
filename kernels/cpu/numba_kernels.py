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
from kernels.cells import Adjoints, Pass, Run
from kernels.cpu import matmul as products
from kernels.cpu import workspace
from kernels.cpu.arrays import in_order, line, nothing, plain, present, rows, strided
from kernels.cpu.backward_loop import DEPTH, PADDING
from kernels.cpu.compiling import JIT
from kernels.cpu.loops import Loops, loops_of
from kernels.cpu.plan import Plan, Sizes, plan, room_for_packs, sizes
from kernels.cpu.products import checksum
from kernels.cpu.team import available, run, team_for
from kernels.cpu.threads import Team
from kernels.reference import ReferenceKernels

Array = np.ndarray
_WEIGHTS = ("weight_ih", "weight_hh", "weight_hr")
_BIASES = ("bias_ih", "bias_hh")


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a product underflow to 0 and a checksum wrap round without a warning; compiled code gives none anyway."""
    return function if JIT else np.errstate(under="ignore", over="ignore")(function)


class NumbaKernels(ReferenceKernels):
    """The compiled kernel set for NumPy arrays.  See `kernels.Kernels` for what it offers."""

    name = "numba"

    def __init__(self) -> None:
        super().__init__(np)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array from the workspace."""
        return workspace.empty(shape, dtype)

    @_quiet
    def forward_layer(self, given: Pass, x: Array, states: tuple[Array, ...], keep: bool = True) -> tuple[Run, Array]:
        """Run one layer and direction over all T steps; see `kernels.Kernels.forward_layer`."""
        cell, weights, lengths = given.cell, given.weights, given.lengths
        loops, dtype = loops_of(cell), x.dtype
        if loops is None or given.precision != "float32":
            return super().forward_layer(given, x, states, keep)
        events.launched()
        size = sizes(cell, x, states[0], len(weights["weight_ih"]) // len(cell.gates))
        T, B, _, G, _, H, P, _ = size
        slots = _slots(states, T + 1 if keep else 2, dtype)
        if loops.one_block and keep and lengths is None:
            gate = slots[0][1:].reshape(T, B, G, H)  # an RNN's one gate block is its new state: kept once
        else:
            gate = workspace.empty((T if keep else 1, B, G, H), dtype)
        kept = _units((len(gate), B), size, loops.kept, dtype)
        y = workspace.empty((T, B, P), dtype)
        (x, steps), ends = strided(x), in_order(lengths, T, B)
        matrices = present(weights, _WEIGHTS, 2, dtype), present(weights, _BIASES, 1, dtype)
        with team_for(size.multiply_adds) as team:
            division, packs, indices = _divide(team, loops, "forward", size, dtype, keep)
            pre = workspace.empty((division.chunk * B, G, H), dtype)
            options = (
                division.chunk, packs.shape[1], indices.shape[1], keep, "bias_ih" in weights, "bias_hh" in weights,
            )  # fmt: skip
            lines = (
                x, *matrices, y, pre, packs, *ends, indices, loops.programs["forward"], slots, gate, kept,
                *_numbers(given),
            )  # fmt: skip
            run(team, division, loops, "forward", dtype, (tuple(size), options, steps, lines))
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
        cell, weights, lengths = given.cell, given.weights, given.lengths
        loops, dtype = loops_of(cell), x.dtype
        if loops is None or given.precision != "float32":
            return super().backward_layer(given, tape, x, dy, dlast, grads, trace)
        events.launched()
        size = sizes(cell, x, tape.h, tape.gates.shape[3])
        T, B, D, G, R, H, P, _ = size
        dstates = _state_gradients(dlast, tape.states, dtype)
        scratch = _units((B,), size, loops.values, dtype), _units((B,), size, loops.spares, dtype)
        dx = (workspace.empty if lengths is None else workspace.zeros)((T, B, D), dtype)
        none, split, projected = nothing(4, dtype), bool(cell.splits), size.projected
        traces, da, da_hidden, dprojected = (nothing(3, dtype),) * len(dstates), none, none, none
        if trace:
            traces = tuple([np.zeros(slots.shape, dtype) for slots in tape.states])
            da, da_hidden = np.zeros((T, B, G, H), dtype), np.zeros((T * split, B, G, H), dtype)
            dprojected = np.zeros((T * projected, B, 1, P), dtype)
        (x, steps), (dy_array, dy_steps) = strided(x), strided(nothing(3, dtype) if dy is None else dy)
        kept = tuple([rows(tape.kept[name]) for name in cell.kept])
        tape_arrays = tuple([rows(slots) for slots in tape.states]), rows(tape.gates), kept
        own = np.zeros(len(cell.own) * H, dtype) if cell.own else nothing(1, dtype)
        matrices, ends = present(weights, _WEIGHTS, 2, dtype), in_order(lengths, T, B)
        with team_for(size.multiply_adds) as team:
            division, packs, indices = _divide(team, loops, "backward", size, dtype, True)
            count, width = division.chunk * B, G * H + PADDING
            shapes = (count, width), (count, width * split), (count, len(own)), (count, (P + PADDING) * projected)
            chunk = [workspace.empty(shape, dtype) if shape[1] else nothing(2, dtype) for shape in shapes]
            targets, totals, wanted = _gradients(grads, division.chunk < T or count > DEPTH, dtype)
            options = division.chunk, packs.shape[1], indices.shape[1], dy is not None, trace, *wanted
            lines = (
                x, *matrices, dx, dy_array, packs, *ends, indices, loops.programs["backward"],
                plain(max(count, G * H, R * H, P)), *chunk, da, da_hidden, dprojected, own, targets, totals, dstates,
                *scratch, traces, tape_arrays, *_numbers(given),
            )  # fmt: skip
            run(team, division, loops, "backward", dtype, (tuple(size), options, (*steps, *dy_steps), lines))
        for k, name in enumerate(cell.own):
            grad = grads.get(name)
            if grad is not None:
                grad += own[k * H : (k + 1) * H]
        if not trace:
            return Adjoints(None, None, dstates, None, {}, None), dx
        hidden = da_hidden if split else da
        return Adjoints(da, hidden, dstates, traces, {}, dprojected[:, :, 0] if projected else None), dx

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


def _divide(team: Team, loops: Loops, way: str, size: Sizes, dtype: Any, both_ways: bool) -> tuple[Plan, Array, Array]:
    """How a pass is divided, and each thread's room: for packed weights, and for the numbers of rows (`forward`)."""
    division = plan(size, dtype.itemsize, available(team, loops, way, dtype))
    team.size = division.team
    packs = workspace.empty((division.team, room_for_packs(size, dtype, division, both_ways)), dtype)
    room = (2 + 2 * division.chunk) * size.B + len(loops.programs[way])
    return division, packs, np.empty((division.team, room), np.int64)


def _slots(states: tuple[Array, ...], count: int, dtype: Any) -> tuple[Array, ...]:
    """Room for so many slots of every state, with the first ones filled in."""
    found = tuple([workspace.empty((count, *state.shape), dtype) for state in states])
    for slots, state in zip(found, states, strict=True):
        slots[0] = state
    return found


def _units(before: tuple[int, ...], size: Sizes, narrow: tuple[bool, ...], dtype: Any) -> tuple[Array, ...]:
    """Arrays (*before, H), or (*before, P) where narrow."""
    return tuple([workspace.empty((*before, size.P if one else size.H), dtype) for one in narrow])


def _numbers(given: Pass) -> tuple[Any, ...]:
    """Own weights (H,), and factors with their steps in time and in the batch; 0 where one holds for all."""
    cell, found = given.cell, []
    for factor in [rows(given.factors[name]) for name in cell.given]:
        steps, batch, units = factor.shape
        found.append((factor, batch * units if steps > 1 else 0, units if batch > 1 else 0))
    return tuple([rows(given.weights[name]) for name in cell.own]), tuple(found)


def _state_gradients(given: tuple[Array | None, ...], states: tuple[Array, ...], dtype: Any) -> tuple[Array, ...]:
    """The gradients of the last states, which the loop turns into those of the first."""
    return tuple(
        [
            np.zeros(slots.shape[1:], dtype) if part is None else np.array(part, order="C")
            for part, slots in zip(given, states, strict=True)
        ]
    )


def _gradients(grads: Weights, several: bool, dtype: Any) -> tuple[tuple[Array, ...], tuple[Array, ...], Any]:
    """The gradients to add to, room for their sums over several chunks, and which of them there are."""
    found = present(grads, _WEIGHTS, 2, dtype) + present(grads, _BIASES, 1, dtype)
    totals = tuple([workspace.empty(part.shape, dtype) for part in found]) if several else found
    return found, totals, [int(grads.get(name) is not None) for name in _WEIGHTS + _BIASES]
