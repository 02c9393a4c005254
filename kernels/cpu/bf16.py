# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""The products of `kernels.cpu.products` with operands rounded to bfloat16 (`precision="bf16"`, rule 30).

All arrays hold float32 numbers.  What is rounded exists only here, as packed weights and, for as long as a product
takes, as the other operand in a scratch memory that the caller lends.  Both are made of pairs
(`kernels.cpu.bf16_tiles`): `depth` numbers along k are `pairs(depth)` of them, the last one filled up with 0.

The loops call these functions by their addresses, which stand in one array (`addresses`, `known` in the functions
themselves).  So they are compiled for those who ask for them only, and another precision, or another instruction, is
another such array.
"""

from __future__ import annotations

import functools

import numpy as np

from kernels.cpu.bf16_tiles import LANE, join_vectors, pair, round_square, round_vector, tile
from kernels.cpu.compiling import JIT, Shared, by_address, inlined, ready
from kernels.cpu.pointers import after, at, room
from kernels.cpu.products import DEPTH, EDGE, OPERAND, PACKED, RESULT, START, padded_to_vectors, rows_of_tile
from kernels.cpu.tiles import ROWS, VECTORS

WIDTH = VECTORS * LANE  # columns of a panel
#: Columns of A' whose pairs are made at once for the gradient of a weight: with 256 rows they stay in the first cache.
BLOCK = 8 * ROWS
#: Added to the pairs of a row in the scratch memory, as rows of a power of two would share one part of the cache.
PADDING = 16
_FIRST_ROWS = np.arange(ROWS)

#: Which entry of `addresses` is which function.
PANEL, PRODUCT, GATES, PACK_GATES, PACK_ROWS, GRADIENT = range(6)


@inlined
def pairs(depth):
    """How many pairs hold so many numbers."""
    return (depth + 1) // 2


@inlined
def stored(rounded, depth):
    """How many rows a packed weight of that depth has: of pairs, if products are rounded."""
    return pairs(depth) if rounded[0] else depth


@inlined
def scratch_forward(chunk, sizes):
    """Numbers of scratch memory of a thread, forward."""
    _, B, D, _, _, H, P, _ = sizes
    return max(chunk * B * (pairs(D) + PADDING), B * (pairs(max(H, P)) + PADDING))


@inlined
def scratch_backward(chunk, sizes):
    """Numbers of scratch memory of a thread, backward."""
    _, B, _, G, _, H, P, _ = sizes
    return max(chunk * B * (pairs(G * H) + PADDING), B * (pairs(P) + PADDING), BLOCK * pairs(DEPTH))


# -- rounding and packing ---------------------------------------------------------------------------------------------


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


@inlined
def _pack_rows(b, depth, columns, packed, packed_at):
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


def bf16_pack_rows(b, depth, columns, packed, packed_at):
    """Pack the matrix (depth, columns) whose rows are b's: `kernels.cpu.products.pack`."""
    _pack_rows(b, depth, columns, packed, packed_at)


@inlined
def _pack_columns(b, b_at, b_step, depth, columns, packed, packed_at):
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


def bf16_pack_gates(weight, depth, units, gates, span, packed, packed_at):
    """Pack a part of the units of some gates of a weight (G*units, depth): `kernels.cpu.products.pack_gates`."""
    gate, last_gate = gates
    first, last = span
    joined = last - first == units
    while gate < last_gate:
        columns = (last_gate - gate) * units if joined else last - first
        _pack_columns(weight, (gate * units + first) * depth, depth, depth, columns, packed, packed_at)
        packed_at += pairs(depth) * padded_to_vectors(columns, weight)
        gate += last_gate if joined else 1


# -- products ---------------------------------------------------------------------------------------------------------

#: The other operand as pairs: numbers, where they begin, the way from row to row, the way from pair to pair.
ROWS_OF_PAIRS = ("numbers", "int", "int", "int")
_INTS = ("int", "int")
_KINDS = {
    PANEL: ("int", "int", ROWS_OF_PAIRS, PACKED, RESULT, START),
    PRODUCT: ("rows", "int", "int", ROWS_OF_PAIRS, PACKED, RESULT, START),
    GATES: ("rows", "int", "int", _INTS, _INTS, OPERAND, PACKED, RESULT, START, "numbers"),
    PACK_GATES: ("numbers", "int", "int", _INTS, _INTS, "numbers", "int"),
    PACK_ROWS: (RESULT, "int", "int", "numbers", "int"),
    GRADIENT: (
        "rows", ("numbers", "int", "int"), RESULT, "int", "int", "rows", "numbers", "int", "numbers", _INTS,
        ("numbers", "int"),
    ),
}  # fmt: skip
#: Calls by address; the address comes first.
panel, product, gates, pack_gates, pack_rows, gradient = (by_address(*kinds) for kinds in _KINDS.values())


def bf16_panel(count, vectors, a, b, c, start):
    """C = start + A B, of pairs, for one panel of B, so many vectors wide."""
    row = 0
    while row < count:
        rows = rows_of_tile(count - row)
        operand = a[0], at(_FIRST_ROWS), a[2], a[1] + row * a[2], a[3]
        to, begin = (c[0], after(c[1], row), c[2], c[3]), (start[0], after(start[1], row), start[2], start[3], start[4])
        tile(rows, vectors, 0, operand, b, to, begin)
        row += rows


def bf16_product(known, count, columns, a, b, c, start):
    """C = start + A B, of pairs: `kernels.cpu.products.product`."""
    packed, packed_at, depth = b
    for first in range(0, columns, WIDTH):
        width = min(WIDTH, columns - first)
        vectors = -(-width // LANE)
        part = packed, packed_at + first * depth, depth
        to, begin = (c[0], c[1], c[2], c[3] + first), (start[0], start[1], start[2], start[3] + first, start[4])
        if width == vectors * LANE:
            panel(known[PANEL], count, vectors, a, part, to, begin)
        else:
            _product_at_the_edge(known, count, width, a, part, to, begin)


@inlined
def _product_at_the_edge(known, count, width, a, b, c, start):
    """A panel whose last vector would reach past the end of C's rows: it goes through a buffer of its own."""
    c_line, c_rows, c_width, c_at = c
    start_line, start_rows, start_width, start_at, has_start = start
    buffer, plain = room(EDGE, c_line), at(_FIRST_ROWS)
    for row in range(0, count, ROWS):
        rows = min(ROWS, count - row)
        for i in range(rows if has_start else 0):
            source = start_rows[row + i] * start_width + start_at
            for n in range(width):
                buffer[i * WIDTH + n] = start_line[source + n]
        operand = a[0], a[1] + row * a[2], a[2], a[3]
        to, begin = (buffer, plain, WIDTH, 0), (buffer, plain, WIDTH, 0, has_start)
        panel(known[PANEL], rows, -(-width // LANE), operand, b, to, begin)
        for i in range(rows):
            target = c_rows[row + i] * c_width + c_at
            for n in range(width):
                c_line[target + n] = buffer[i * WIDTH + n]


def bf16_gates(known, count, units, gates, span, a, b, c, start, scratch):
    """C = start + A W' for what `bf16_pack_gates` has packed: `kernels.cpu.products.multiply_gates`.

    Parameters
    ----------
    a : its rows lie in one piece; they are rounded into the scratch memory.
    b : its depth counts numbers.
    """
    line, rows, width, a_at, _ = a
    packed, packed_at, depth = b
    step = pairs(depth) + PADDING
    for n in range(count):
        _round_row(line, rows[n] * width + a_at, depth, scratch, n * step)
    gate, last_gate = gates
    first, last = span
    joined = last - first == units
    while gate < last_gate:
        columns = (last_gate - gate) * units if joined else last - first
        begin = gate * units + first
        to, add = (c[0], c[1], c[2], c[3] + begin), (start[0], start[1], start[2], start[3] + begin, start[4])
        part = packed, packed_at, pairs(depth)
        product(known[PRODUCT], known, count, columns, (scratch, 0, step, 1), part, to, add)
        packed_at += pairs(depth) * padded_to_vectors(columns, packed)
        gate += last_gate if joined else 1


def bf16_gradient(known, a, b, depth, width, plain, packed, packed_at, scratch, span, into):
    """Rows first to last of total (M, width) (+)= A' B: `kernels.cpu.products.multiply_transposed`.

    Parameters
    ----------
    packed, packed_at, scratch : room for B and for a block of A'.
    """
    line, begin, step = a
    first, last = span
    total, summed = into
    if last > first:
        _pack_rows(b, depth, width, packed, packed_at)
    for m in range(first, last, BLOCK):
        count, at_pair = min(BLOCK, last - m), 0
        for k in range(0, depth, 2):
            other = begin + (k + 1) * step + m if k + 1 < depth else -1
            _join_rows(line, begin + k * step + m, other, count, scratch, at_pair)
            at_pair += BLOCK
        to, part = (total, after(plain, m), width, 0), (packed, packed_at, pairs(depth))
        add = to[0], to[1], to[2], to[3], summed
        product(known[PRODUCT], known, count, width, (scratch, 0, 1, BLOCK), part, to, add)


# -- their addresses --------------------------------------------------------------------------------------------------

FUNCTIONS = [
    Shared(function, kinds, title="bf16 products", overlapping=True)
    for function, kinds in zip(
        (bf16_panel, bf16_product, bf16_gates, bf16_pack_gates, bf16_pack_rows, bf16_gradient),
        _KINDS.values(),
        strict=True,
    )
]


#: In place of the addresses where no product is rounded.
NONE = np.zeros(1, np.int64)


@functools.cache
def addresses() -> np.ndarray:
    """The addresses of these functions, in the order of PANEL, PRODUCT, ...; compiles them, if nobody did before."""
    ready(np.dtype(np.float32))
    found = [function.address(np.dtype(np.float32)) for function in FUNCTIONS]
    return np.array(found, np.int64 if JIT else object)
