"""The compiled kernel set for NumPy arrays: one layer and direction a call, on a team of threads.

What runs is in `kernels.cpu.loops`; here the arrays are made ready for it, and memory is taken from the workspace.
A cell with row functions between its products and gate functions walks the array steps, with compiled products.
Held against `kernels.reference` in tests/test_kernels.py and tests/test_own_cells_compiled.py (1e-12 in float64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kernels import Weights, events
from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.cpu import matmul as products
from kernels.cpu import threads, workspace
from kernels.cpu.arrays import line, rows
from kernels.cpu.checksum import checksum
from kernels.cpu.compiling import JIT
from kernels.cpu.forms import Form, backward_form, enter_gradients, enter_rest, forward_form, pack
from kernels.cpu.loops import Loops, loops_of
from kernels.cpu.packs import Packs
from kernels.cpu.plan import Plan, Sizes, chunk_of, plan, worth_a_team
from kernels.cpu.small import SmallBackward, SmallForward
from kernels.cpu.stream import stream
from kernels.cpu.table import (
    BACKWARD_DY,
    BACKWARD_X,
    FORWARD_X,
    Table,
    enter_rows,
    further,
    place,
    table_of,
)
from kernels.cpu.team import available, run, team_for
from kernels.reference import ReferenceKernels
from kernels.streams import Part

Array = np.ndarray


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a product underflow to 0 and a checksum wrap round without a warning; compiled code gives none anyway."""
    return function if JIT else np.errstate(under="ignore", over="ignore")(function)


class NumbaKernels(ReferenceKernels):
    """The compiled kernel set for NumPy arrays.  See `kernels.Kernels` for what it offers."""

    name = "numba"
    silent = JIT

    def __init__(self) -> None:
        super().__init__(np)

    def block(self, cell: Cell, batch: int) -> int:
        """See `kernels.Kernels.block`."""
        return super().block(cell, batch) if loops_of(cell) is None else chunk_of(batch)

    def numbers(self, cell: Cell, units: int, width: int, full: bool) -> tuple[int, int]:
        """See `kernels.Kernels.numbers`."""
        (tape, working), loops = super().numbers(cell, units, width, full), loops_of(cell)
        return (tape, working) if loops is None else (tape - (units if loops.one_block and full else 0), 0)

    def release(self) -> None:
        """Give memory that waits for arrays of the same size back to the system."""
        workspace.release()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array from the workspace."""
        return workspace.empty(shape, dtype)

    def packs(self, cell: Cell, weights: Weights, grads: Weights, precision: str = "float32") -> Packs | None:
        """What passes with these arrays may share; see `kernels.Kernels.packs`."""
        arrays = (*weights.values(), *grads.values())
        if loops_of(cell) is None or not all(array.flags.carray for array in arrays):
            return None
        return Packs(cell, weights, grads, precision)

    def stream(self, parts: Sequence[Part], batch: int, dtype: Any) -> Any:
        """One compiled call a time step; see `kernels.Kernels.stream`."""
        return stream(parts, batch, dtype)

    @_quiet
    def forward_layer(self, given: Pass, x: Array, states: tuple[Array, ...], keep: bool = True) -> tuple[Run, Array]:
        """Run one layer and direction over all T steps; see `kernels.Kernels.forward_layer`."""
        small = None if given.packs is None else given.packs.small.get((x.shape, keep))
        if small is not None and _fits(small, given, x):
            return small(given, x, states)
        cell, loops, full = given.cell, loops_of(given.cell), given.lengths is None
        if loops is None:
            return super().forward_layer(given, x, states, keep)
        events.launched()
        packs = Packs(cell, given.weights, None, given.precision) if given.packs is None else given.packs
        dtype, size = packs.dtype, packs.sizes(x)
        with team_for(size.multiply_adds) as team:
            division = plan(size, dtype.itemsize, available(team, loops, "forward", dtype))
            team.size = division.team
            packed = packs.packed(division)
            if packed is None and given.packs is not None and not keep:
                packed = pack(packs, loops, size, division)
            key = size, division, keep, full, packed is None
            form = packs.form(key) or packs.keep_form(
                key, forward_form(packs, loops, size, division, keep, full, packed)
            )
            table, memory = form.begin()
            held = [enter_rows(table, form.at["x"], FORWARD_X, x), enter_rest(table, form, given, size)]
            for entry, state in zip(form.states, states, strict=True):
                array = rows(state)
                table[entry] = place(array)
                held.append(array)
            if "gate" not in form.found:  # an RNN's one gate block is its new state: kept once
                table[form.at["gate"]] = further(table[form.at["states0"]], size.B * size.H, dtype)
            run(team, loops, "forward", dtype, table)
            if given.packs is not None and full and _is_new(packs, (x.shape, keep), division):
                packs.keep_small((x.shape, keep), SmallForward(form, loops, packs, size, division, keep))
        del held  # until here: their addresses are in the table
        slots, y = tuple([form.result(name, memory) for name in loops.states]), form.result("y", memory)
        if not keep:
            last = slice(size.T & 1, (size.T & 1) + 1)
            return Run(tuple([slot[last] for slot in slots]), None, {}), y
        if "gate" in form.found:
            gate = form.result("gate", memory)
        else:
            gate = slots[0][1:].reshape(size.T, size.B, 1, size.H)
        kept = {name: form.result(line, memory) for name, line in zip(cell.kept, loops.kept_lines, strict=False)}
        return Run(slots, gate, kept), y

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
        going_on: bool = False,
    ) -> tuple[Adjoints, Array]:
        """Walk the slots of `tape` from the end to the start; see `kernels.Kernels.backward_layer`."""
        small = None if given.packs is None or trace or going_on else given.packs.small.get((x.shape, "backward"))
        if small is not None and grads is given.packs.grads and _fits(small, given, x, dy):
            return small(given, tape, x, dy, dlast)
        cell, loops = given.cell, loops_of(given.cell)
        if loops is None:
            return super().backward_layer(given, tape, x, dy, dlast, grads, trace, going_on)
        events.launched()
        packs = Packs(cell, given.weights, None, given.precision) if given.packs is None else given.packs
        dtype, size = packs.dtype, packs.sizes(x)
        with team_for(size.multiply_adds) as team:
            division = plan(size, dtype.itemsize, available(team, loops, "backward", dtype))
            team.size = division.team
            key = size, division, "backward", trace, going_on
            form = packs.form(key) or packs.keep_form(key, backward_form(packs, loops, size, division, trace, going_on))
            table, memory = form.begin()
            held = [enter_rows(table, form.at["x"], BACKWARD_X, x), enter_rest(table, form, given, size)]
            if dy is not None:
                table[BACKWARD_DY] = 1
                held.append(enter_rows(table, form.at["dy"], BACKWARD_X + 3, dy))
            held += _enter_tape(table, form, tape, dlast)
            enter_gradients(table, form, packs.places_of(grads))
            own = np.zeros((len(cell.own), size.H), dtype)
            if going_on:
                for target, name in zip(own, cell.own, strict=True):
                    target[...] = grads.get(name, 0)
            if cell.own:
                table[form.at["own"]] = place(own)
            traced = _enter_trace(table, form, loops, size, tape) if trace else (None,) * 4
            dx = form.result("dx", memory)
            if given.lengths is not None:
                dx.fill(0)
            run(team, loops, "backward", dtype, table)
            known = packs.grads is grads and given.lengths is None and not (trace or going_on or cell.own)
            if known and _is_new(packs, (x.shape, "backward"), division):
                packs.keep_small((x.shape, "backward"), SmallBackward(form, loops, packs, size, division))
        del held  # until here: their addresses are in the table
        for name, found in zip(cell.own, own, strict=True):
            grad = grads.get(name)
            if grad is not None:
                grad[...] = found + (0 if going_on else grad)
        dstates = tuple([form.result(name, memory) for name in loops.dstates])
        traces, da, da_hidden, dprojected = traced
        return Adjoints(da, da_hidden, dstates, traces, {}, dprojected), dx

    def checksum(self, arrays: Iterable[Array]) -> int:
        """A number that changes when a value in the arrays changes."""
        return _checksum_of([line(array, array.dtype) for array in arrays])()

    def watch(self, arrays: Iterable[Array]) -> Callable[[], int]:
        """See `kernels.Kernels.watch`; where the arrays lie is looked up once."""
        held = list(arrays)
        return _checksum_of(held) if all(a.flags.carray for a in held) else lambda: self.checksum(held)

    @_quiet
    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""
        events.launched()
        return products.matmul(a, b)


def _is_new(packs: Packs, key: Any, division: Plan) -> bool:
    """Whether a short way is still to be made for passes on one thread."""
    return key not in packs.small and division.team == 1


def _fits(small: SmallForward | SmallBackward, given: Pass, x: Array, dy: Array | None = None) -> bool:
    """Whether a pass may take the short way: it must be one that would run on one thread anyway."""
    plain = x.flags.carray and (dy is None or dy.flags.carray) and given.lengths is None
    if not plain or given.precision != "float32":
        return False
    if not worth_a_team(small.size.multiply_adds):
        return True
    return plan(small.size, x.itemsize, threads.get_num_threads()) == small.division


def _checksum_of(arrays: list[Array]) -> Callable[[], int]:
    """A function that returns the checksum of writeable arrays in one piece."""
    words = [*(a.reshape(-1).view(np.uint32) for a in arrays), np.empty(0, np.uint32)]  # there may be no arrays
    table = table_of([entry for line in words for entry in (place(line), line.size)])

    @_quiet  # plain Python warns of what is meant to wrap round
    def found(held: list[Array] = words) -> int:
        return int(checksum(table))

    return found


def _enter_tape(table: Table, form: Form, tape: Run, dlast: tuple[Array | None, ...]) -> list[Array]:
    """Enter what forward left, and the gradients of the last states that there are."""
    held = [rows(array) for array in (*tape.states, tape.gates, *tape.kept.values())]
    for entry, array in zip(form.tape, held, strict=True):
        table[entry] = place(array)
    for k, part in enumerate(dlast):
        if part is not None:
            array, entry = rows(part), form.at[f"last{k}"]
            table[entry], table[entry + 1] = place(array), 1
            held.append(array)
    return held


def _enter_trace(table: Table, form: Form, loops: Loops, size: Sizes, tape: Run) -> tuple[Any, ...]:
    """Room for a trace: of the states, of the pre-activations on both sides, and of the projection."""
    T, B, _, G, _, H, P, projected = size
    dtype = tape.h.dtype
    traces = tuple([workspace.zeros(slots.shape, dtype) for slots in tape.states])
    da = workspace.zeros((T, B, G, H), dtype)
    hidden = workspace.zeros((T, B, G, H), dtype) if loops.split else da
    dprojected = workspace.zeros((T, B, P), dtype) if projected else None
    found = {f"traces{k}": array for k, array in enumerate(traces)} | {"trace_da": da, "trace_da_hidden": hidden}
    found |= {"trace_dprojected": dprojected} if dprojected is not None else {}
    for name, array in found.items():
        table[form.at[name]] = place(array)
    return traces, da, hidden, dprojected
