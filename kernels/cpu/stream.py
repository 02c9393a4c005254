# mypy: allow-untyped-defs, allow-untyped-calls
"""One time step of a chain of layers in one compiled call: buffers, packed weights and tables are made once.

A step copies x into the first buffer and calls `start_step`; nothing is allocated.  The products and the passes are
those of `predict`, so each sum runs in the same order.  A layer that is work for several threads is called by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels import events
from kernels.cpu.arrays import line, plain, rows
from kernels.cpu.compiling import JIT, compiled, inlined, ready
from kernels.cpu.forward_loop import forward, options_of
from kernels.cpu.loops import loops_of
from kernels.cpu.pointers import after, at, from_a_cache_line, pointer
from kernels.cpu.prepared import PreparedPass
from kernels.cpu.products import pack_gates, padded, product
from kernels.cpu.shares import share_of, sizes_of
from kernels.cpu.table import FORWARD_LINES, FORWARD_X, place, table_of
from kernels.cpu.table import ROWS as ROWS_AT
from kernels.cpu.tiles import VECTOR_BYTES
from kernels.streams import Carried, Looked, Normed, Part

Array = np.ndarray
#: Kinds of operations, and how many entries each has in the table, behind HEAD: their number, B, numbers of rows.
#: LOOKED   ids, how many, weight, V, E, y
#: DENSE    x, D, packed weight, K, bias, whether there is one, y
#: NORMED   x, H, weight, bias, eps and room for two numbers, y
#: CARRIED  the table of a pass
LOOKED, DENSE, NORMED, CARRIED = range(4)
HEAD, COLUMNS = 3, 8


@inlined
def normalise(B, x, H, weight, bias, numbers, y):
    """Layer normalisation of each row; `numbers` holds eps, and takes mean and scale in the dtype of the rows."""
    for first in range(0, B * H, H):
        total = 0.0
        for j in range(first, first + H):
            total += x[j]
        numbers[1] = total / H
        total = 0.0
        for j in range(first, first + H):
            total += (x[j] - numbers[1]) * (x[j] - numbers[1])
        numbers[2] = 1.0 / math.sqrt(total / H + numbers[0])
        for j in range(H):
            y[first + j] = weight[j] * ((x[first + j] - numbers[1]) * numbers[2]) + bias[j]


@compiled(overlapping=True)
def start_step(table, one):
    """Run the operations of a table; returns 0, or 1 with nothing done where an id is out of range."""
    entries = at(table)
    B, numbers = entries[1], pointer(entries[2], 1)
    for n in range(entries[0]):
        o = after(entries, HEAD + n * COLUMNS)
        if o[0] == LOOKED:
            ids, weight, V, E, y = pointer(o[1], 1), pointer(o[3], one), o[4], o[5], pointer(o[6], one)
            for k in range(o[2]):
                if ids[k] < 0 or ids[k] >= V:
                    return 1
            for k in range(o[2]):
                for j in range(E):
                    y[k * E + j] = weight[ids[k] * E + j]
        elif o[0] == DENSE:
            x, D, packed, K = pointer(o[1], one), o[2], pointer(o[3], one), o[4]
            bias, y = pointer(o[5], one), pointer(o[7], one)
            product(
                B, K, (x, numbers, D, 0, 1), (from_a_cache_line(packed), 0, D), (y, numbers, K, 0),
                (bias, numbers, 0, 0, o[6]),
            )  # fmt: skip
        elif o[0] == NORMED:
            x, H, weight, bias = pointer(o[1], one), o[2], pointer(o[3], one), pointer(o[4], one)
            normalise(B, x, H, weight, bias, pointer(o[5], one), pointer(o[6], one))
        else:
            given = pointer(o[1], 1)
            steps = given[FORWARD_X], given[FORWARD_X + 1], given[FORWARD_X + 2]
            share, lines = share_of(given, 0, 0), after(given, FORWARD_LINES)
            forward(share, sizes_of(given), options_of(given), steps, lines, given[ROWS_AT], one)
    return 0


@compiled(overlapping=True)
def pack_dense(table, one):
    """Pack the weight (K, D) of a dense layer: a table of where it lies, D, K and where it goes."""
    entries = at(table)
    weight, packed = pointer(entries[0], one), from_a_cache_line(pointer(entries[3], one))
    pack_gates(weight, entries[1], entries[2], (0, 1), (0, entries[2]), packed, 0)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without NumPy's warnings where the loops run in plain Python; compiled code gives none."""
    return function if JIT else np.errstate(all="ignore")(function)


class Stream:
    """A chain of layers that takes one time step a call.

    Parameters
    ----------
    parts : what the layers do.
    batch : B.
    dtype : of all numbers.

    Attributes
    ----------
    x : where the input of a step goes: (B, D), or ids (B,) or (B, F) in int64.
    y : (B, K) the output of the last step.
    states : for each `Carried` part its states (B, width) after the last step, which may be written into.

    Examples
    --------
    >>> import numpy as np
    >>> from kernels.streams import Dense, Looked
    >>> table, weight = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 1.0]])
    >>> stream = Stream([Looked(table, 1), Dense(weight, np.array([0.5]))], batch=3, dtype=np.dtype(float))
    >>> stream.x[...] = [0, 1, 1]
    >>> stream.run(), stream.y[:, 0].tolist()
    (0, [3.5, 7.5, 7.5])
    """

    def __init__(self, parts: Sequence[Part], batch: int, dtype: Any) -> None:
        ready(dtype)
        self.batch, self.dtype, self._one = batch, dtype, dtype.type(1)
        self.states: list[tuple[Array, ...]] = []
        self._rows = plain(batch)
        self._held: list[Any] = []
        first = parts[0]
        if isinstance(first, Looked):
            self.x = np.zeros((batch, first.features)[: 1 + (first.features > 1)], np.int64)
        else:
            wide = (first.given.weights["weight_ih"] if isinstance(first, Carried) else first.weight).shape[-1]
            self.x = np.zeros((batch, wide), dtype)
        self.y = self.x
        self._calls: list[Any] = []  # tables of operations, and passes that several threads share
        operations: list[list[Any]] = []
        for part in parts:
            found = self._enter(part)
            if isinstance(found, PreparedPass):
                self._close(operations)
                self._calls.append(found)
            else:
                operations.append(found)
        self._close(operations)
        whole = len(self._calls) == 1 and not isinstance(self._calls[0], PreparedPass)
        self._only = self._calls[0] if whole else None

    @_quiet
    def run(self) -> int:
        """Take a step from `x` to `y`; 1, with nothing done, if an id in x is out of range, else 0."""
        if self._only is not None:
            events.launched()
            return start_step(self._only, self._one)
        for call in self._calls:
            if isinstance(call, PreparedPass):
                call()
            else:
                events.launched()
                if start_step(call, self._one):
                    return 1
        return 0

    def _close(self, operations: list[list[Any]]) -> None:
        """Make a table of these operations, and begin with others."""
        if operations:
            flat = [entry for one in operations for entry in (*one, *(0,) * (COLUMNS - len(one)))]
            self._calls.append(table_of([len(operations), self.batch, place(self._rows), *flat]))
            operations.clear()

    def _enter(self, part: Part) -> Any:
        """The operation of a part, or its pass if several threads share it; its output is the input of the next."""
        if isinstance(part, Carried):
            return self._carried(part)
        weight, x = rows(part.weight), place(self.y)
        if isinstance(part, Looked):
            (V, E), count = weight.shape, self.x.size
            y = self._next(np.zeros((self.batch, part.features * E), self.dtype), weight)
            return [LOOKED, x, count, place(line(weight, self.dtype)), V, E, y]
        if isinstance(part, Normed):
            bias, numbers = rows(part.bias), np.array([part.eps, 0, 0], self.dtype)
            y = self._next(np.zeros((self.batch, len(weight)), self.dtype), weight, bias, numbers)
            return [NORMED, x, len(weight), place(weight), place(bias), place(numbers), y]
        K, D = weight.shape
        packed = np.empty(D * padded(K, self.dtype) + VECTOR_BYTES, self.dtype)
        pack_dense(table_of([place(weight), D, K, place(packed)]), self._one)
        bias = np.zeros(K, self.dtype) if part.bias is None else part.bias.copy()
        y = self._next(np.zeros((self.batch, K), self.dtype), packed, bias)
        return [DENSE, x, D, place(packed), K, place(bias), int(part.bias is not None), y]

    def _carried(self, part: Carried) -> Any:
        given = part.given
        made = PreparedPass(
            given.cell, given.weights, 1, self.batch, self.y[None], given.factors, given.packs, given.precision
        )
        for state, start in zip(made.states, part.states, strict=True):
            state[...] = start
        self.states.append(made.states)
        self._next(made.y[0], made)
        return made if made.table is None else [CARRIED, made.table if not JIT else place(made.table)]

    def _next(self, y: Array, *held: Any) -> Any:
        """Take an output; where it lies.  `held` must live as long as the stream."""
        self.y = y
        self._held += [y, *held]
        return place(y)


def stream(parts: Sequence[Part], batch: int, dtype: Any) -> Stream | None:
    """The stream of these parts; None if a layer of a cell takes array code."""
    for part in parts:
        if isinstance(part, Carried):
            arrays = part.given.weights.values()
            if loops_of(part.given.cell) is None or not all(array.flags.carray for array in arrays):
                return None
    return Stream(parts, batch, dtype)
