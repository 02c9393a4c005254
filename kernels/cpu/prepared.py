"""A pass that is made ready once and started many times: for streams, where a pass is a single time step.

Everything is done beforehand: the weights are packed, the buffers are there, their addresses stand in the table.  What
is left of a pass is one compiled call for each thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from kernels import events
from kernels.cells import Cell, Pass
from kernels.cpu import threads
from kernels.cpu.compiling import ready
from kernels.cpu.forms import enter_rest, forward_form, pack
from kernels.cpu.loops import loops_of
from kernels.cpu.packs import NAMES, Packs
from kernels.cpu.plan import Plan, plan
from kernels.cpu.table import FORWARD_X, ROWS, Table, enter_rows, place
from kernels.cpu.team import run, team_for

Array = np.ndarray


class PreparedPass:
    """One layer and direction, forward over T steps without a tape; the states are carried from call to call.

    It does not see later changes of the weights.  A call allocates nothing on one thread.  Its numbers are those of
    `kernels.Kernels.forward_layer`, to the last bit.  One thread at a time may call it.

    Parameters
    ----------
    cell : a cell that has loops (`kernels.cpu.loops.loops_of`), else ValueError.
    weights : the arrays by name, without the ending of layer and direction.
    steps, batch : T and B.
    x : (T, B, D) array to read the input from, such as `y` of the layer below; None makes one.
    factors : k_X by name, see `kernels.cells.Pass`.
    packs : of these weights, which then never change: what is packed is shared; None packs them for this pass alone.
    precision : of the products, see `kernels.cells.Pass`.

    Attributes
    ----------
    x : (T, B, D) array, to be filled before a call.
    y : (T, B, P) array, the output of the last call.
    states : for each state of the cell an array (B, H), that after the last step; zeros at first.  Writing into it sets
        the state before the next call.

    Examples
    --------
    >>> import numpy as np
    >>> from kernels.gates import find
    >>> weights = {"weight_ih": np.ones((4, 3)), "weight_hh": np.ones((4, 4))}
    >>> step = PreparedPass(find("rnn_tanh"), weights, 1, 2)
    >>> step.x[...] = 0.1
    >>> step()
    >>> before = step.y.copy()
    >>> step()
    >>> bool((step.y > before).all()), step.states[0].shape
    (True, (2, 4))
    """

    def __init__(
        self,
        cell: Cell,
        weights: Mapping[str, Array],
        steps: int,
        batch: int,
        x: Array | None = None,
        factors: Mapping[str, Array] = MappingProxyType({}),
        packs: Packs | None = None,
        precision: str = "float32",
    ) -> None:
        loops = loops_of(cell)
        if loops is None:
            raise ValueError(f"cell: expected one with compiled loops, got {cell.name}, which has row functions")
        own = {
            name: array if name in NAMES[:3] else array.copy() for name, array in weights.items()
        }  # the rest is read
        self._packs = Packs(cell, own, precision=precision) if packs is None else packs
        self._dtype = weights["weight_ih"].dtype
        width, itemsize = weights["weight_ih"].shape[1], self._dtype.itemsize
        self.x = np.zeros((steps, batch, width), self._dtype) if x is None else x
        self._loops, self._size, self._given = loops, self._packs.sizes(self.x), Pass(cell, own, factors=factors)
        self._held: list[Any] = []
        self._alone, self._at = self._prepared(plan(self._size, itemsize, 1))
        division = plan(self._size, itemsize, threads.get_num_threads())
        self._team_size, self._together = division.team, self._alone
        if division.team > 1:
            self._together, at = self._prepared(division)
            for name in ("y", *loops.states, *(f"first{k}" for k in range(len(cell.states)))):  # both carry the same
                self._together[at[name]] = self._alone[self._at[name]]
        ready(self._dtype)
        self._start, self._one = loops.forward, self._dtype.type(1)
        self._alone[ROWS] = self._together[ROWS] = loops.rows["forward"].address(self._dtype)

    def _prepared(self, division: Plan) -> tuple[Table, dict[str, int]]:
        """The table for a division of the work, and the places in it by name."""
        packed = self._packs.packed(division)
        packed = pack(self._packs, self._loops, self._size, division) if packed is None else packed
        form = forward_form(self._packs, self._loops, self._size, division, False, True, packed)
        table, memory = form.begin()
        states = [form.result(name, memory) for name in self._loops.states]
        states = [slots[self._size.T & 1] for slots in states]  # where the loop leaves the last one, of its two
        for entry, state in zip(form.states, states, strict=True):
            state[...] = 0
            table[entry] = place(state)
        if not self._held:
            self.states, self.y = tuple(states), form.result("y", memory)
        held = enter_rows(table, form.at["x"], FORWARD_X, self.x), *enter_rest(table, form, self._given, self._size)
        if held[0] is not self.x:
            raise ValueError("x: expected a writeable array whose rows lie next to each other, got another one")
        self._held += [form, memory, held]
        return table, form.at

    @property
    def table(self) -> Table | None:
        """What `kernels.cpu.forward_loop.start_forward` takes, if one thread does it all; None if several share it."""
        return self._alone if self._team_size == 1 else None

    def __call__(self) -> None:
        """Run the T steps."""
        events.launched()
        if self._team_size == 1:
            self._start(self._alone, 0, 0, self._one)
            return
        with team_for(self._size.multiply_adds) as team:
            enough = team.size >= self._team_size  # else other passes have the threads
            team.size = self._team_size if enough else 1
            run(team, self._loops, "forward", self._dtype, self._together if enough else self._alone)
