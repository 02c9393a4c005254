"""The table from which a compiled pass starts: numbers and addresses, one 64-bit integer each.

Numba takes an array apart at every call, which for the thirty arrays of a pass costs as much as a small pass.  So a
pass gets one table.  Its head holds how the pass is divided, its sizes and its options; then come the lines, in the
order of `kernels.cpu.program.names_forward` and `names_backward`.  Who fills a table must keep the arrays alive until
the pass has ended, and hands over only arrays that are writeable and whose rows lie next to each other.

With ``NUMBA_DISABLE_JIT=1`` a table is a list, and an array stands in the place of its address.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from kernels.cpu import workspace
from kernels.cpu.compiling import JIT

Array = np.ndarray
Table = Any  # int64 array, or a list

TEAM, BY_UNITS, BARRIER, BELL, ROWS = range(5)
SIZES = 5  # the eight of `kernels.cpu.plan.Sizes`
OPTIONS = SIZES + 8  # of forward 7, of backward 11
FORWARD_X = OPTIONS + 7  # offset, step in time, step in the batch, of x
FORWARD_LINES = FORWARD_X + 3
BACKWARD_DY, BACKWARD_WANTED = OPTIONS + 3, OPTIONS + 5  # whether there is dy; which gradients of weights are wanted
BACKWARD_X = OPTIONS + 11  # as of forward, for x and then for dy
BACKWARD_LINES = BACKWARD_X + 6

_CACHE_LINE = 64  # bytes
_first_byte, _addressof = ctypes.c_char.from_buffer, ctypes.addressof


def _place(array: Any) -> Any:
    return _addressof(_first_byte(array)) if array.size else 0


def _itself(array: Array) -> Any:
    return array.reshape(-1)


#: place(array): its entry in a table.
place: Any = _place if JIT else _itself


def _further(entry: Any, count: int, dtype: np.dtype) -> Any:
    return entry + count * dtype.itemsize


#: further(entry, count, dtype): the entry so many numbers on.
further: Any = _further if JIT else lambda entry, count, dtype: entry[count:]


def table_of(entries: Iterable[Any]) -> Table:
    """A table with these entries."""
    return np.array(list(entries), np.int64) if JIT else list(entries)


def enter_rows(table: Table, entry: int, steps_at: int, a: Array) -> Array:
    """Enter a (T, B, features) array, and its steps if its rows come in another order; returns the array, or a copy."""
    array = a
    if not a.flags.carray:
        T, B, F = a.shape
        array = a[::-1]
        if array.flags.carray:
            for k, step in enumerate(((T - 1) * B * F, -B * F, F)):
                table[steps_at + k] = step
        else:
            array = np.array(a, order="C")
    table[entry] = place(array)
    return array


class Part(NamedTuple):
    """An array of a pass.

    Attributes
    ----------
    at : its place in the table.
    shape, dtype : of the array.
    offset : where it begins in its block, in bytes.
    """

    at: int
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes, in whole cache lines."""
        count = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        return -(-count // _CACHE_LINE) * _CACHE_LINE

    def view(self, memory: Array) -> Array:
        """The array in the memory of its block."""
        return np.ndarray(self.shape, self.dtype, memory, self.offset)


class Block(NamedTuple):
    """Arrays that are allocated together; they live as long as one of them does.

    Attributes
    ----------
    size : bytes.
    parts : the arrays.
    """

    size: int
    parts: tuple[Part, ...]

    def enter(self, table: Table) -> Array:
        """Allocate the block, and enter its arrays in the table."""
        memory = workspace.empty((self.size,), np.uint8)
        if JIT:
            begin = _place(memory)
            for part in self.parts:
                table[part.at] = begin + part.offset
        else:
            for part in self.parts:
                table[part.at] = part.view(memory).reshape(-1)
        return memory


def blocks(parts: Iterable[Part]) -> tuple[Block, ...]:
    """The small ones in one block; a large one by itself, so that passes of other sizes can use its memory again."""
    together, found, size = list[Part](), list[Block](), 0
    for part in parts:
        if part.size >= workspace.SMALL:
            found.append(Block(part.size, (part,)))
        elif part.size:
            together.append(part._replace(offset=size))
            size += part.size
    return (*([Block(size, tuple(together))] if together else []), *found)
