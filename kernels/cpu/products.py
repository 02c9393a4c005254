# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""Matrix products for the compiled kernels: C = A B, with B packed once and used many times.

A recurrent layer multiplies by the same weights at every time step.  A BLAS call would rearrange them at every step;
here they are packed once a sequence, into panels as wide as a tile (`kernels.cpu.tiles`), in which the columns of
one k lie next to each other.  A product then runs panel by panel: a panel stays in the cache while every row passes.

All arrays are pointers (`kernels.cpu.pointers`), and all offsets are counted in numbers, not bytes.  The operands are

OPERAND  (numbers, rows, width, at, step): row i of A begins at rows[i] * width + at; `step` is the way from one k to
         the next: 1 where a row lies in one piece, the length of a row where A is a transpose
PACKED   (numbers, at, depth)
RESULT   (numbers, rows, width, at), as the rows of A
START    (numbers, rows, width, at, there): what is added to the sums, and whether there is such a start; it may be C
         itself, or with width 0 one bias for all rows
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from kernels.cpu.compiling import INLINED, inlined, shared
from kernels.cpu.pointers import after, at, room
from kernels.cpu.tiles import ROWS, VECTORS, lanes, tile, transpose_square

OPERAND = START = ("numbers", "rows", "int", "int", "int")
PACKED = ("numbers", "int", "int")
RESULT = ("numbers", "rows", "int", "int")

#: Rows of a chunk whose weight gradient is one product: enough to make up for reading and writing it.
DEPTH = 256

_LANES = {4: lanes(np.float32), 8: lanes(np.float64)}
_FIRST_ROWS = np.arange(ROWS)
#: How many numbers the largest tile has, if they are small.
EDGE = ROWS * VECTORS * _LANES[4]
#: Columns that are summed at once.
BLOCK = 64


def vector_lanes(numbers):
    """How many numbers one vector holds, of the kind of a number, or of an array or a pointer."""
    return _LANES[numbers.itemsize]


@overload(vector_lanes, jit_options=INLINED)
def _vector_lanes(numbers):
    width = _LANES[getattr(numbers, "dtype", numbers).bitwidth // 8]
    return lambda numbers: width


def padded(columns: int, dtype: Any) -> int:
    """How many columns the packed form of so many takes: whole vectors."""
    width = _LANES[np.dtype(dtype).itemsize]
    return -(-columns // width) * width


@inlined
def padded_to_vectors(columns, numbers):
    """`padded` in compiled code."""
    lane = vector_lanes(numbers)
    return -(-columns // lane) * lane


@inlined
def portion(total, rank, team, grain):
    """The part of 0..total that falls to `rank`, in whole grains."""
    grains = -(-total // grain)
    return min(total, grains * rank // team * grain), min(total, grains * (rank + 1) // team * grain)


# -- packing ---------------------------------------------------------------------------------------------------------


@shared(RESULT, "int", "int", "numbers", "int", overlapping=True)
def pack(b, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose rows are b's: (numbers, rows, width, at)."""
    source, rows, row_width, b_at = b
    lane = vector_lanes(source)
    panel = VECTORS * lane
    for first in range(0, columns, panel):
        count = min(panel, columns - first)
        width = -(-count // lane) * lane
        for k in range(depth):
            begin = rows[k] * row_width + b_at + first
            for n in range(count):
                packed[packed_at + n] = source[begin + n]
            for n in range(count, width):
                packed[packed_at + n] = 0
            packed_at += width


@shared("numbers", "int", "int", "int", "int", "numbers", "int", overlapping=True)
def pack_transposed(b, b_at, b_step, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose *column* n begins at b[b_at + n * b_step]."""
    lane = vector_lanes(b)
    panel = VECTORS * lane
    for first in range(0, columns, panel):
        count = min(panel, columns - first)
        width = -(-count // lane) * lane
        for n in range(0, width, lane):
            column = b_at + (first + n) * b_step
            for k in range(0, depth, lane):
                target = packed_at + k * width + n
                if n + lane <= count and k + lane <= depth:
                    transpose_square(b, column + k, b_step, packed, target, width)
                else:
                    for i in range(lane):
                        for j in range(min(lane, depth - k)):
                            value = b[column + i * b_step + k + j] if n + i < count else b[0] - b[0]
                            packed[target + j * width + i] = value
        packed_at += depth * width


@shared("numbers", "int", "int", ("int", "int"), ("int", "int"), "numbers", "int")
def pack_gates(weight, depth, units, gates, span, packed, packed_at):
    """Pack the rows of a part of the units of some gates of a weight (G*units, depth), to multiply by its transpose.

    A thread that owns all units packs the gates together, as one matrix; else gate by gate.
    """
    gate, last_gate = gates
    first, last = span
    joined = last - first == units
    while gate < last_gate:
        columns = (last_gate - gate) * units if joined else last - first
        pack_transposed(weight, (gate * units + first) * depth, depth, depth, columns, packed, packed_at)
        packed_at += depth * padded_to_vectors(columns, weight)
        gate += last_gate if joined else 1


@inlined
def end_of_gates(depth, units, gates, span, packed_at, numbers):
    """Where ends what `pack_gates` packs."""
    gate, last_gate = gates
    first, last = span
    joined = last - first == units
    columns = (last_gate - gate) * units if joined else last - first
    return packed_at + depth * padded_to_vectors(columns, numbers) * (1 if joined else last_gate - gate)


# -- the product -----------------------------------------------------------------------------------------------------


@inlined
def rows_of_tile(left):
    """How many rows the next tile takes: 4 and 4 rather than 6 and 2."""
    if left <= ROWS:
        return left
    return (left + 1) // 2 if left < 2 * ROWS else ROWS


@shared("int", "int", OPERAND, PACKED, RESULT, START, overlapping=True)
def _panel(count, vectors, a, b, c, start):
    """`count` rows of C over one panel of B, so many vectors wide."""
    row = 0
    while row < count:
        rows = rows_of_tile(count - row)
        tile(rows, vectors, row, a, b, c, start)
        row += rows


@shared("int", "int", OPERAND, PACKED, RESULT, START, overlapping=True)
def _product_at_the_edge(count, width, a, b, c, start):
    """The last panel, if its last vector would reach past the end of C's rows: it goes through a buffer of its own."""
    c_line, c_rows, c_width, c_at = c
    start_line, start_rows, start_width, start_at, has_start = start
    columns = padded_to_vectors(width, c_line)
    buffer = room(EDGE, c_line)
    edge = buffer, at(_FIRST_ROWS), columns, 0
    for row in range(0, count, ROWS):
        rows = min(ROWS, count - row)
        if has_start:
            for i in range(rows):
                source = start_rows[row + i] * start_width + start_at
                for n in range(width):
                    buffer[i * columns + n] = start_line[source + n]
        a_tile = a[0], after(a[1], row), a[2], a[3], a[4]
        _panel(rows, columns // vector_lanes(c_line), a_tile, b, edge, (edge[0], edge[1], edge[2], 0, has_start))
        for i in range(rows):
            target = c_rows[row + i] * c_width + c_at
            for n in range(width):
                c_line[target + n] = buffer[i * columns + n]


@shared("int", "int", OPERAND, PACKED, RESULT, START, overlapping=True)
def product(count, columns, a, b, c, start):
    """C = start + A B for `count` rows of A and C, and the columns of B and C."""
    packed, packed_at, depth = b
    lane = vector_lanes(packed)
    panel = VECTORS * lane
    for first in range(0, columns, panel):
        width = min(panel, columns - first)
        vectors = -(-width // lane)
        b_panel = packed, packed_at + first * depth, depth
        c_panel = c[0], c[1], c[2], c[3] + first
        start_panel = start[0], start[1], start[2], start[3] + first, start[4]
        if width == vectors * lane:
            _panel(count, vectors, a, b_panel, c_panel, start_panel)
        elif count > 0:  # of an empty C no entry tells the dtype
            _product_at_the_edge(count, width, a, b_panel, c_panel, start_panel)


@inlined
def product_to_and_fro(turn, count, columns, a, b, c, start):
    """`product`, at every other turn with the panels of B from the last to the first.

    Time steps read the same B again and again.  If it is larger than a cache, going on in one direction finds nothing
    of it there; going back finds what was read last.
    """
    packed, packed_at, depth = b
    panel = VECTORS * vector_lanes(packed)
    if turn & 1:
        for first in range((columns - 1) // panel * panel, -1, -panel):
            part, to = (packed, packed_at + first * depth, depth), (c[0], c[1], c[2], c[3] + first)
            add = start[0], start[1], start[2], start[3] + first, start[4]
            product(count, min(panel, columns - first), a, part, to, add)
    else:
        product(count, columns, a, b, c, start)


@inlined
def multiply_gates(turn, count, units, gates, span, a, b, c, start):
    """C = start + A W' for what `pack_gates` has packed; column 0 of C is the first unit of gate 0.

    `turn` : as in `product_to_and_fro`.
    """
    packed, packed_at, depth = b
    gate, last_gate = gates
    first, last = span
    joined = last - first == units
    while gate < last_gate:
        columns = (last_gate - gate) * units if joined else last - first
        begin = gate * units + first
        to, add = (c[0], c[1], c[2], c[3] + begin), (start[0], start[1], start[2], start[3] + begin, start[4])
        product_to_and_fro(turn, count, columns, a, (packed, packed_at, depth), to, add)
        packed_at += depth * padded_to_vectors(columns, packed)
        gate += last_gate if joined else 1


# -- sums over the rows of a chunk: the gradients of weights -----------------------------------------------------------


@shared(
    ("numbers", "int", "int"), RESULT, "int", "int", "rows", "numbers", "int", ("int", "int"), ("numbers", "int"),
    overlapping=True,
)  # fmt: skip
def multiply_transposed(a, b, depth, width, plain, packed, packed_at, span, into):
    """Rows first to last of total (M, width) (+)= A' B, for `depth` rows of A and B; added if `summed`.

    Parameters
    ----------
    a : numbers, where column 0 of A begins, the length of a row.
    plain : 0, 1, 2, ...
    into : total, summed.
    """
    first, last = span
    total, summed = into
    if last > first:
        pack(b, depth, width, packed, packed_at)
        rows = after(plain, first)
        operand = a[0], rows, 1, a[1], a[2]
        product(
            last - first, width, operand, (packed, packed_at, depth), (total, rows, width, 0),
            (total, rows, width, 0, summed),
        )  # fmt: skip


@shared(("numbers", "int", "int"), "int", ("int", "int"), ("numbers", "int"), overlapping=True)
def add_rows(a, depth, span, into):
    """total[first:last] (+)= the sum of `depth` rows of A; parameters as for `multiply_transposed`."""
    line, begin, step = a
    first, last = span
    total, summed = into
    part = room(BLOCK, line)
    for block in range(first, last, BLOCK):
        count = min(BLOCK, last - block)
        for m in range(count):
            part[m] = 0
        for r in range(depth):
            source = begin + r * step + block
            for m in range(count):
                part[m] += line[source + m]
        for m in range(count):
            total[block + m] = total[block + m] + part[m] if summed else part[m]
