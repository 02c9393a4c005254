# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""What IEEE half numbers have of their own among the products of `kernels.cpu.half` (`precision="fp16"`).

B is packed as 16-bit numbers.  The two numbers of a pair do not lie side by side here: a panel holds all columns of one
k, then all of the next (`kernels.cpu.fp16_tiles`).  A is rounded, and stays in float32.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.compiling import inlined
from kernels.cpu.fp16_tiles import pack_square, pack_vector, round_vector, tile
from kernels.cpu.half import BLOCK, LANE, PANEL, WIDTH, functions_of, pairs
from kernels.cpu.pointers import after, at, room
from kernels.cpu.products import rows_of_tile
from kernels.cpu.tiles import ROWS

#: Float32 numbers that a pair takes in the scratch memory.
SLOTS = 2
_FIRST_ROWS = np.arange(ROWS)


def fp16_panel(count, vectors, a, b, c, start):
    """C = start + A B for one panel of B, so many vectors wide; the depth of B counts pairs."""
    row, part = 0, (b[0], b[1], 2 * b[2])
    while row < count:
        rows = rows_of_tile(count - row)
        operand = a[0], at(_FIRST_ROWS), a[2], a[1] + row * a[2], a[3]
        to, begin = (c[0], after(c[1], row), c[2], c[3]), (start[0], after(start[1], row), start[2], start[3], start[4])
        tile(rows, vectors, 0, operand, part, to, begin)
        row += rows


def fp16_round_rows(count, a, depth, scratch, step):
    """Rows of A, rounded, `step` numbers apart; a 0 fills up the last pair."""
    line, rows, width, a_at, _ = a
    for n in range(count):
        begin, to = rows[n] * width + a_at, n * step
        _round(line, begin, depth, scratch, to)
        if depth % 2:
            scratch[to + depth] = 0


@inlined
def _round(source, begin, count, target, to):
    """`count` numbers, rounded."""
    whole = count // LANE * LANE
    for n in range(0, whole, LANE):
        round_vector(after(source, begin + n), after(target, to + n))
    if whole < count:
        buffer = room(LANE, target)
        for n in range(whole, count):
            buffer[n - whole] = source[begin + n]
        for n in range(count - whole, LANE):
            buffer[n] = 0
        round_vector(buffer, buffer)
        for n in range(whole, count):
            target[to + n] = buffer[n - whole]


def fp16_round_columns(a, depth, count, scratch):
    """`count` columns of A, given by its numbers, where they begin and its row's length; zeros for an odd row."""
    line, begin, step = a
    for k in range(depth):
        _round(line, begin + k * step, count, scratch, k * BLOCK)
    if depth % 2:
        for n in range(count):
            scratch[depth * BLOCK + n] = 0


@inlined
def _pack_ends(source, begin, step, count, target, to):
    """A vector of `count` numbers that are `step` apart, filled up with 0."""
    buffer = room(LANE, target)
    for n in range(count):
        buffer[n] = source[begin + n * step]
    for n in range(count, LANE):
        buffer[n] = 0
    pack_vector(buffer, after(target, to))


def fp16_pack_rows(b, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose rows are b's: `kernels.cpu.products.pack`."""
    source, rows, row_width, b_at = b
    for first in range(0, columns, WIDTH):
        count = min(WIDTH, columns - first)
        half = -(-count // LANE) * LANE // 2
        for k in range(2 * pairs(depth)):
            for n in range(0, 2 * half, LANE):
                begin, left = (rows[k] * row_width + b_at + first + n, count - n) if k < depth else (0, 0)
                if left >= LANE:
                    pack_vector(after(source, begin), after(packed, packed_at + n // 2))
                else:
                    _pack_ends(source, begin, 1, left, packed, packed_at + n // 2)
            packed_at += half


def fp16_pack_columns(b, b_at, b_step, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose *column* n begins at b[b_at + n * b_step]."""
    deep = 2 * pairs(depth)
    for first in range(0, columns, WIDTH):
        count = min(WIDTH, columns - first)
        half = -(-count // LANE) * LANE // 2
        for n in range(0, 2 * half, LANE):
            column, left = b_at + (first + n) * b_step, min(LANE, count - n)
            for k in range(0, deep, LANE):
                target = packed_at + k * half + n // 2
                if left == LANE and k + LANE <= depth:
                    pack_square(b, column + k, b_step, packed, target, half)
                else:
                    for j in range(min(LANE, deep - k)):
                        there = left if k + j < depth else 0
                        _pack_ends(b, column + k + j, b_step, there, packed, target + j * half)
        packed_at += deep * half


FUNCTIONS = functions_of(PANEL, [fp16_panel, fp16_round_rows, fp16_round_columns, fp16_pack_columns, fp16_pack_rows])
