# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""The products of `kernels.cpu.products` with operands rounded to 16 bits (`precision="bf16"` and `"fp16"`).

All arrays hold float32 numbers.  What is rounded exists only here: as packed weights of 16 bits a number and, for as
long as a product takes, as the other operand in a scratch memory that the caller lends.  Along k, two numbers are a
**pair**: `depth` numbers are `pairs(depth)` of them, the last one filled up with 0.  A pair of a packed weight takes
the room of one float32 number, so a packed weight has the layout of a float32 weight of half its depth.

What a precision has of its own is in `kernels.cpu.bf16` and `kernels.cpu.fp16`: how numbers are rounded and packed,
and how a panel is multiplied.  The loops call all of these functions by their addresses, which stand in one array
(`kernels.cpu.precisions`; `known` in the functions themselves).  So they are compiled for those who ask for them only.
"""

from __future__ import annotations

import numpy as np

from kernels.cpu.compiling import Shared, by_address, inlined
from kernels.cpu.pointers import after, at, room
from kernels.cpu.products import DEPTH, EDGE, OPERAND, PACKED, RESULT, START, padded_to_vectors
from kernels.cpu.tiles import ROWS, VECTORS, lanes

LANE = lanes(np.float32)
WIDTH = VECTORS * LANE  # columns of a panel
#: Columns of A' that are rounded at once for the gradient of a weight: with 256 rows they stay in a core's own cache.
BLOCK = 8 * ROWS
#: Added to the numbers of a row in the scratch memory, as rows of a power of two would share one part of the cache.
PADDING = 16
_FIRST_ROWS = np.arange(ROWS)

#: Which entry of a precision's array is which: first the functions that it has of its own, then those below, how many
#: float32 numbers a pair takes in the scratch memory, and from the last one on whether the products with weight_ih,
#: weight_hh and weight_hr are rounded.
PANEL, ROUND_ROWS, ROUND_COLUMNS, PACK_COLUMNS, PACK_ROWS, PRODUCT, GATES, PACK_GATES, GRADIENT, SLOTS, IN = range(11)
#: In place of that array where no product is rounded.
NONE = np.zeros(13, np.int64)


@inlined
def pairs(depth):
    """How many pairs hold so many numbers."""
    return (depth + 1) // 2


@inlined
def stored(rounded, weight, depth):
    """How many rows a packed weight of that depth has: of pairs, if products with it are rounded."""
    return pairs(depth) if rounded[IN + weight] else depth


@inlined
def scratch_forward(slots, chunk, sizes):
    """Numbers of scratch memory of a thread, forward; `slots` : that of the precision."""
    _, B, D, _, _, H, P, _ = sizes
    return max(chunk * B * (slots * pairs(D) + PADDING), B * (slots * pairs(max(H, P)) + PADDING))


@inlined
def scratch_backward(slots, chunk, sizes):
    """Numbers of scratch memory of a thread, backward; `slots` : that of the precision."""
    _, B, _, G, _, H, P, _ = sizes
    rows = max(chunk * B * (slots * pairs(G * H) + PADDING), B * (slots * pairs(P) + PADDING))
    return max(rows, BLOCK * slots * pairs(DEPTH))


#: The other operand, rounded: numbers, where they begin, the way from row to row, the way along k.
ROUNDED_ROWS = ("numbers", "int", "int", "int")
_INTS = ("int", "int")
_COLUMNS = ("numbers", "int", "int")
_KINDS = {
    PANEL: ("int", "int", ROUNDED_ROWS, PACKED, RESULT, START),
    ROUND_ROWS: ("int", OPERAND, "int", "numbers", "int"),
    ROUND_COLUMNS: (_COLUMNS, "int", "int", "numbers"),
    PACK_COLUMNS: (*_COLUMNS, "int", "int", "numbers", "int"),
    PACK_ROWS: (RESULT, "int", "int", "numbers", "int"),
    PRODUCT: ("rows", "int", "int", ROUNDED_ROWS, PACKED, RESULT, START),
    GATES: ("rows", "int", "int", _INTS, _INTS, OPERAND, PACKED, RESULT, START, "numbers"),
    PACK_GATES: ("rows", "numbers", "int", "int", _INTS, _INTS, "numbers", "int"),
    GRADIENT: (
        "rows", _COLUMNS, RESULT, "int", "int", "rows", "numbers", "int", "numbers", _INTS, ("numbers", "int"),
    ),
}  # fmt: skip
#: Calls by address; the address comes first.
panel, round_rows, round_columns, pack_columns, pack_rows, product, gates, pack_gates, gradient = (
    by_address(*kinds) for kinds in _KINDS.values()
)


# -- what all of them share -------------------------------------------------------------------------------------------


def half_product(known, count, columns, a, b, c, start):
    """C = start + A B, of rounded numbers; the depth of B counts pairs: `kernels.cpu.products.product`."""
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


def half_gates(known, count, units, gates, span, a, b, c, start, scratch):
    """C = start + A W' for what `half_pack_gates` has packed: `kernels.cpu.products.multiply_gates`.

    Parameters
    ----------
    a : its rows lie in one piece; they are rounded into the scratch memory.
    b : its depth counts numbers.
    """
    packed, packed_at, depth = b
    step = known[SLOTS] * pairs(depth) + PADDING
    round_rows(known[ROUND_ROWS], count, a, depth, scratch, step)
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


def half_pack_gates(known, weight, depth, units, gates, span, packed, packed_at):
    """Pack a part of the units of some gates of a weight (G*units, depth): `kernels.cpu.products.pack_gates`."""
    gate, last_gate = gates
    first, last = span
    joined = last - first == units
    while gate < last_gate:
        columns, begin = (last_gate - gate) * units if joined else last - first, (gate * units + first) * depth
        pack_columns(known[PACK_COLUMNS], weight, begin, depth, depth, columns, packed, packed_at)
        packed_at += pairs(depth) * padded_to_vectors(columns, weight)
        gate += last_gate if joined else 1


def half_gradient(known, a, b, depth, width, plain, packed, packed_at, scratch, span, into):
    """Rows first to last of total (M, width) (+)= A' B: `kernels.cpu.products.multiply_transposed`.

    Parameters
    ----------
    packed, packed_at, scratch : room for B and for a block of A'.
    """
    first, last = span
    total, summed = into
    if last > first:
        pack_rows(known[PACK_ROWS], b, depth, width, packed, packed_at)
    for m in range(first, last, BLOCK):
        count = min(BLOCK, last - m)
        round_columns(known[ROUND_COLUMNS], (a[0], a[1] + m, a[2]), depth, count, scratch)
        to, part = (total, after(plain, m), width, 0), (packed, packed_at, pairs(depth))
        add = to[0], to[1], to[2], to[3], summed
        product(known[PRODUCT], known, count, width, (scratch, 0, 1, BLOCK), part, to, add)


def functions_of(first, functions):
    """Functions as the entries of a precision's array from the entry `first` on."""
    kinds = list(_KINDS.values())[first : first + len(functions)]
    return [
        Shared(function, kind, title="half precision products", overlapping=True)
        for function, kind in zip(functions, kinds, strict=True)
    ]


#: Those that all precisions share, in order.
FUNCTIONS = functions_of(PRODUCT, [half_product, half_gates, half_pack_gates, half_gradient])
