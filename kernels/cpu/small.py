"""The short way into a small pass, which takes as long as its way in.

A pass on one thread, whose rows all have all steps, differs from the one before it of the same layer and size in a few
addresses only.  So its table and its scratch memory are kept, and what it leaves lies in one block.
"""

from __future__ import annotations

from operator import is_
from typing import Any

import numpy as np

from kernels import events
from kernels.cells import Adjoints, Pass, Run
from kernels.cpu import workspace
from kernels.cpu.arrays import rows
from kernels.cpu.compiling import JIT
from kernels.cpu.forms import Form, enter_gradients, enter_rest
from kernels.cpu.loops import Loops
from kernels.cpu.packs import Packs
from kernels.cpu.plan import Plan, Sizes
from kernels.cpu.table import BACKWARD_DY, ROWS, Table, blocks, place

Array = np.ndarray

MOST_SCRATCH = 1 << 18  # bytes that are kept for passes of one size
TOGETHER = 1 << 13  # bytes of a tape that lie with y


class _Small:
    """What both ways have in common.

    Parameters
    ----------
    form : of these passes.
    loops : of the cell; one of them has run, so there is compiled code.
    way : ``"forward"`` or ``"backward"``.
    results : names of the arrays that a pass leaves, in the order in which they are wanted.

    Attributes
    ----------
    fits : whether the passes are small enough.
    """

    def __init__(self, form: Form, loops: Loops, way: str, dtype: np.dtype, results: tuple[str, ...]) -> None:
        parts = [form.found[name][1] for name in results]
        offsets = np.cumsum([0, *(part.size for part in parts)]).tolist()
        self._dtype, self._size = dtype, offsets[-1]
        self._views = [(part.shape, offset) for part, offset in zip(parts, offsets, strict=False)]
        self._entries = [(part.at, offset) for part, offset in zip(parts, offsets, strict=False)]
        self._form, self._at_x = form, form.at["x"]
        self._rows, self._one = loops.ran[way, dtype]
        self._start = getattr(loops, way)
        #: Tables that no pass uses now, each with its scratch memory and with what else its addresses point to.
        self._free: list[list[Any]] = []
        left = {part.at for part in parts}
        self._scratch = blocks([part for block in form.blocks for part in block.parts if part.at not in left])
        scratch = sum(block.size for block in self._scratch)
        self.fits = JIT and self._size < workspace.SMALL and scratch < MOST_SCRATCH

    def _taken(self) -> list[Any]:
        """A table that nobody else uses."""
        try:
            return self._free.pop()
        except IndexError:
            table = self._form.template.copy()
            memory = [block.enter(table) for block in self._scratch]
            table[ROWS] = self._rows
            return [table, memory, None]

    def _block(self, table: Table) -> tuple[Array, int]:
        """Memory for the results, entered in the table, and where it begins."""
        memory = np.empty(self._size, np.uint8)
        begin = place(memory)
        for at, offset in self._entries:
            table[at] = begin + offset
        return memory, begin


class _Kept(dict[str, Array]):
    """The kept values of a tape, which also knows where the tape's arrays lie: to ask each takes longer than a step.

    Attributes
    ----------
    known : x, states, gates and the kept values of the tape, then their places in that order.
    """

    known: tuple[tuple[Any, ...], list[int]]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # the arrays of a copy lie elsewhere


class SmallForward(_Small):
    """Small passes forward over x of one shape, divided in one way, with a tape or without (`keep`)."""

    def __init__(self, form: Form, loops: Loops, packs: Packs, size: Sizes, division: Plan, keep: bool) -> None:
        dtype = packs.dtype
        gate = ("gate",) if keep and "gate" in form.found else ()
        kept = loops.kept_lines if keep else ()
        tape = (*loops.states, *gate, *kept)
        #: y lies apart if it would keep a larger tape alive.
        self._apart = form.found["y"][1] if keep and sum(form.found[n][1].size for n in tape) > TOGETHER else None
        super().__init__(form, loops, "forward", dtype, ("y", *tape) if self._apart is None else tape)
        first = 0 if self._apart else 1  # of the states
        self._keep, self.size, self._names, self.division = keep, size, packs.cell.kept, division
        self._states = len(loops.states)
        T, B, H = size.T, size.B, size.H
        if keep and not gate:  # an RNN's one gate block is its new state
            begin = self._entries[first][1] + B * H * dtype.itemsize
            self._entries.append((form.at["gate"], begin))
            self._views.append(((T, B, 1, H), begin))
        elif not keep:  # of the two slots of a state, the last one
            for k in range(self._states):
                (_, B, width), begin = self._views[first + k]
                self._views[first + k] = (1, B, width), begin + (T & 1) * B * width * dtype.itemsize
        self._offsets = [offset for _, offset in self._views[first:]]

    def __call__(self, given: Pass, x: Array, states: tuple[Array, ...]) -> tuple[Run, Array]:
        """See `kernels.Kernels.forward_layer`."""
        events.launched()
        taken = self._taken()
        table, _, known = taken
        memory, begin = self._block(table)
        table[self._at_x] = at_x = place(x)
        dtype, apart, held = self._dtype, self._apart, states
        if apart is not None:
            y = np.empty(apart.shape, dtype)
            table[apart.at] = place(y)
        if states is not known:
            held = tuple([rows(state) for state in states])
            for entry, state in zip(self._form.states, held, strict=True):
                table[entry] = place(state)
            taken[2] = states if all(map(is_, held, states)) else None
        factors = enter_rest(table, self._form, given, self.size) if given.factors else ()
        self._start(table, 0, 0, self._one)
        del held, factors  # until here: their addresses are in the table
        self._free.append(taken)
        found = [np.ndarray(shape, dtype, memory, offset) for shape, offset in self._views]
        S = self._states
        if apart is None:
            y = found.pop(0)
        if not self._keep:
            return Run(tuple(found), None, {}), y
        kept, states = _Kept(zip(self._names, found[S + 1 :], strict=True)), tuple(found[:S])
        kept.known = (x, states, *found[S:]), [at_x, *[begin + offset for offset in self._offsets]]
        return Run(states, found[S], kept), y


def _known_places(tape: Run, x: Array) -> list[int] | None:
    """Where the arrays of a tape lie, if they all are those that a small pass forward made."""
    kept = tape.kept
    if type(kept) is not _Kept or len(kept.known[0]) != 3 + len(kept):
        return None
    same = all(map(is_, (x, tape.states, tape.gates, *kept.values()), kept.known[0]))
    return kept.known[1] if same else None


class SmallBackward(_Small):
    """Small passes backward over x of one shape, without a trace, that add to the gradients which packs know."""

    def __init__(self, form: Form, loops: Loops, packs: Packs, size: Sizes, division: Plan) -> None:
        super().__init__(form, loops, "backward", packs.dtype, ("dx", *loops.dstates))
        self._packs, self.size, self.division = packs, size, division
        self._at_dy = form.at["dy"]
        self._tape = form.at["x"], *form.tape
        self._last = tuple([form.at[f"last{k}"] for k in range(len(loops.dstates))])

    def __call__(
        self, given: Pass, tape: Run, x: Array, dy: Array | None, dlast: tuple[Array | None, ...]
    ) -> tuple[Adjoints, Array]:
        """See `kernels.Kernels.backward_layer`."""
        events.launched()
        taken = self._taken()
        table = taken[0]
        if taken[2] is None:
            enter_gradients(table, self._form, self._packs.targets)
            taken[2] = True
        memory, _ = self._block(table)
        if dy is None:
            table[BACKWARD_DY] = 0
        else:
            table[BACKWARD_DY], table[self._at_dy] = 1, place(dy)
        held = [x, *tape.states, tape.gates, *tape.kept.values()]
        places = _known_places(tape, x)
        if places is None:
            held = [rows(array) for array in held]
            places = [place(array) for array in held]
        for entry, found in zip(self._tape, places, strict=True):
            table[entry] = found
        for entry, part in zip(self._last, dlast, strict=True):
            if part is None:
                table[entry + 1] = 0
            else:
                array = rows(part)
                table[entry], table[entry + 1] = place(array), 1
                held.append(array)
        factors = enter_rest(table, self._form, given, self.size) if given.factors else ()
        self._start(table, 0, 0, self._one)
        del held, factors  # until here: their addresses are in the table
        self._free.append(taken)
        dtype = self._dtype
        dx, *dstates = [np.ndarray(shape, dtype, memory, offset) for shape, offset in self._views]
        return Adjoints(None, None, tuple(dstates), None, {}, None), dx
