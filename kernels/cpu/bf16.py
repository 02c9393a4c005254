# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""What bfloat16 has of its own among the products of `kernels.cpu.half` (`precision="bf16"`, rule 30).

Both operands are made of pairs (`kernels.cpu.bf16_tiles`): two numbers that follow each other along k, in the 32 bits
of one float32.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.bf16_tiles import join_vectors, pair, round_square, round_vector, tile
from kernels.cpu.compiling import inlined
from kernels.cpu.half import BLOCK, LANE, PANEL, WIDTH, functions_of, pairs
from kernels.cpu.pointers import after, at
from kernels.cpu.products import rows_of_tile
from kernels.cpu.tiles import ROWS

#: Float32 numbers that a pair takes in the scratch memory.
SLOTS = 1
_FIRST_ROWS = np.arange(ROWS)


def bf16_panel(count, vectors, a, b, c, start):
    """C = start + A B, of pairs, for one panel of B, so many vectors wide."""
    row = 0
    while row < count:
        rows = rows_of_tile(count - row)
        operand = a[0], at(_FIRST_ROWS), a[2], a[1] + row * a[2], a[3]
        to, begin = (c[0], after(c[1], row), c[2], c[3]), (start[0], after(start[1], row), start[2], start[3], start[4])
        tile(rows, vectors, 0, operand, b, to, begin)
        row += rows


def bf16_round_rows(count, a, depth, scratch, step):
    """Rows of A as pairs along them, `step` numbers apart."""
    line, rows, width, a_at, _ = a
    for n in range(count):
        _round_row(line, rows[n] * width + a_at, depth, scratch, n * step)


@inlined
def _round_row(source, begin, depth, target, to):
    """A row of `depth` numbers as pairs along it."""
    whole = depth // (2 * LANE) * LANE
    for k in range(0, whole, LANE):
        round_vector(after(source, begin + 2 * k), after(target, to + k))
    for k in range(whole, depth // 2):
        target[to + k] = pair(source[begin + 2 * k], source[begin + 2 * k + 1])
    if depth % 2:
        target[to + depth // 2] = pair(source[begin + depth - 1], 0)


def bf16_round_columns(a, depth, count, scratch):
    """`count` columns of A, given by its numbers, where they begin and its row's length: pairs of its rows."""
    line, begin, step = a
    for k in range(0, depth, 2):
        other = begin + (k + 1) * step if k + 1 < depth else -1
        _join_rows(line, begin + k * step, other, count, scratch, k // 2 * BLOCK)


@inlined
def _join_rows(source, one, other, count, target, to):
    """`count` pairs of the numbers of two rows, which begin at `one` and at `other`; zeros if `other` is negative."""
    whole = count // LANE * LANE if other >= 0 else 0
    for n in range(0, whole, LANE):
        join_vectors(after(source, one + n), after(source, other + n), after(target, to + n))
    for n in range(whole, count):
        if other >= 0:
            target[to + n] = pair(source[one + n], source[other + n])
        else:
            target[to + n] = pair(source[one + n], 0)


def bf16_pack_rows(b, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose rows are b's: `kernels.cpu.products.pack`."""
    source, rows, row_width, b_at = b
    for first in range(0, columns, WIDTH):
        count = min(WIDTH, columns - first)
        width = -(-count // LANE) * LANE
        for k in range(0, depth, 2):
            one, other = rows[k] * row_width + b_at + first, -1
            if k + 1 < depth:
                other = rows[k + 1] * row_width + b_at + first
            _join_rows(source, one, other, count, packed, packed_at)
            for n in range(count, width):
                packed[packed_at + n] = 0
            packed_at += width


def bf16_pack_columns(b, b_at, b_step, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose *column* n begins at b[b_at + n * b_step]."""
    half = pairs(depth)
    for first in range(0, columns, WIDTH):
        count = min(WIDTH, columns - first)
        width = -(-count // LANE) * LANE
        for n in range(0, width, LANE):
            column = b_at + (first + n) * b_step
            for k in range(0, half, LANE):
                target = packed_at + k * width + n
                if n + LANE <= count and 2 * (k + LANE) <= depth:
                    round_square(b, column + 2 * k, b_step, packed, target, width)
                else:
                    for i in range(LANE):
                        for j in range(min(LANE, half - k)):
                            begin, to = column + i * b_step + 2 * (k + j), target + j * width + i
                            if n + i >= count:
                                packed[to] = 0
                            elif 2 * (k + j) + 1 < depth:
                                packed[to] = pair(b[begin], b[begin + 1])
                            else:
                                packed[to] = pair(b[begin], 0)
        packed_at += half * width


FUNCTIONS = functions_of(PANEL, [bf16_panel, bf16_round_rows, bf16_round_columns, bf16_pack_columns, bf16_pack_rows])
