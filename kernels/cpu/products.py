# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""Matrix products for the compiled kernels: C = A B, with B packed once and used many times.

A recurrent layer multiplies by the same weights at every time step.  A BLAS call would rearrange them at every step;
here they are packed once a sequence, into panels as wide as a tile (`kernels.cpu.tiles`), in which the columns of
one k lie next to each other.  A product then runs panel by panel: a panel stays in the cache while every row passes.

Offsets are counted in numbers, not bytes.  `a_rows[i]` is where row i of A begins, and `a_step` is the way from one k
to the next: 1 where a row lies in one piece, the length of a row where A is a transpose.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba.extending import overload

from kernels.cpu.compiling import INLINED, compiled, inlined, shared
from kernels.cpu.tiles import ROWS, TILES, VECTORS, address, lanes, transpose_square

_LANES = {4: lanes(np.float32), 8: lanes(np.float64)}


def vector_lanes(array):
    """How many of the array's numbers one vector holds."""
    return _LANES[array.itemsize]


@overload(vector_lanes, jit_options=INLINED)
def _vector_lanes(array):
    width = _LANES[array.dtype.bitwidth // 8]
    return lambda array: width


def padded(columns: int, dtype: Any) -> int:
    """How many columns the packed form of so many takes: whole vectors."""
    width = _LANES[np.dtype(dtype).itemsize]
    return -(-columns // width) * width


# -- one tile, whatever its size -----------------------------------------------------------------------------------


def _panel(count, vectors, a, b, c, start):
    """`count` rows of C over one panel of B, in plain Python: what runs where Numba is switched off.

    Parameters
    ----------
    count : the number of rows.
    vectors : the width of the panel.
    a : (array, offset of every row, offset, step from one k to the next).
    b : (packed array, offset, depth).
    c : (array, offset of every row, offset).
    start : what is added to the sums, as `c`, and whether there is such a start.
    """
    packed, packed_at, depth = b
    width = vectors * vector_lanes(packed)
    panel = packed[packed_at : packed_at + depth * width].reshape(depth, width)
    for i in range(count):
        total = np.zeros(width, packed.dtype)
        for k in range(depth):
            total += a[0][a[1][i] + a[2] + k * a[3]] * panel[k]
        if start[3]:
            at = start[1][i] + start[2]
            total += start[0][at : at + width]
        at = c[1][i] + c[2]
        c[0][at : at + width] = total


@inlined
def _rows_of_tile(left):
    """How many rows the next tile takes: 4 and 4 rather than 6 and 2."""
    if left <= ROWS:
        return left
    return (left + 1) // 2 if left < 2 * ROWS else ROWS


@functools.cache
def _write_panel(bits: int) -> Any:
    """The loop over the tiles of a panel, with the choice between them written out: they are 24 separate functions."""
    lines = [
        "def panel(one, count, vectors, a, b, c, start):",
        "    a_data, a_rows, a_at, a_step = a",
        "    packed, packed_at, depth = b",
        "    c_data, c_rows, c_at = c",
        "    start_data, start_rows, start_at, has_start = start",
        "    row = 0",
        "    while row < count:",
        "        rows = rows_of_tile(count - row)",
    ]
    for vectors in range(VECTORS, 0, -1):
        lines.append(f"        {'if' if vectors == VECTORS else 'elif'} vectors == {vectors}:")
        for rows in range(ROWS, 0, -1):
            lines.append(f"            {'if' if rows == ROWS else 'elif'} rows == {rows}:")
            lines.append(
                f"                tile_{rows}_{vectors}(a_data, a_rows, a_at, a_step, row, packed, packed_at, depth, "
                "c_data, c_rows, c_at, start_data, start_rows, start_at, has_start)"
            )
    lines.append("        row += rows")
    names: dict[str, Any] = {f"tile_{rows}_{vectors}": tile for (b, rows, vectors), tile in TILES.items() if b == bits}
    names["rows_of_tile"] = _rows_of_tile
    exec("\n".join(lines), names)
    return shared(names["panel"])


def _panel_at(one, count, vectors, a, b, c, start):
    """`_panel` with an address in place of every array; `one` tells the kind of number.  For compiled code alone."""
    raise NotImplementedError


@overload(_panel_at)
def _panel_at_compiled(one, count, vectors, a, b, c, start):
    panel = _write_panel(one.bitwidth)
    return lambda one, count, vectors, a, b, c, start: panel(one, count, vectors, a, b, c, start)


@overload(_panel)
def _panel_compiled(count, vectors, a, b, c, start):
    def call(count, vectors, a, b, c, start):
        _panel_at(
            b[0][0], count, vectors, (address(a[0]), address(a[1]), a[2], a[3]), (address(b[0]), b[1], b[2]),
            (address(c[0]), address(c[1]), c[2]), (address(start[0]), address(start[1]), start[2], start[3]),
        )  # fmt: skip

    return call


def address_of(array):
    """An array's address, in compiled code."""
    return 0


@inlined
def from_a_cache_line(line):
    """The array from the first number on that begins a cache line: a vector across two lines is loaded twice."""
    skip = -(address_of(line) // line.itemsize) % (64 // line.itemsize)
    return line[skip:]


def only_whole_vectors(columns, array):
    """Whether `product_at` can be used: in compiled code, if no vector reaches past the columns."""
    return False


@overload(address_of)
def _address_of_compiled(array):
    return lambda array: address(array)


@overload(only_whole_vectors)
def _only_whole_vectors_compiled(columns, array):
    return lambda columns, array: columns % vector_lanes(array) == 0


@compiled("matrix products")
def product_at(one, count, columns, lane, a, b, c, start):
    """`product` with an address for every array: counting references takes as long as a small product in a loop."""
    panel = VECTORS * lane
    for first in range(0, columns, panel):
        b_panel = (b[0], b[1] + first * b[2], b[2])
        c_panel, start_panel = (c[0], c[1], c[2] + first), (start[0], start[1], start[2] + first, start[3])
        _panel_at(one, count, min(panel, columns - first) // lane, a, b_panel, c_panel, start_panel)


# -- packing ---------------------------------------------------------------------------------------------------------


@compiled("matrix products", overlapping=True)
def pack(b, b_rows, b_at, depth, columns, packed, packed_at):
    """Pack the matrix whose row k begins at b[b_rows[k] + b_at]: (depth, columns)."""
    lane = vector_lanes(b)
    panel = VECTORS * lane
    at = np.uint64(packed_at)
    for first in range(0, columns, panel):
        count = min(panel, columns - first)
        width = np.uint64(-(-count // lane) * lane)
        for k in range(depth):
            source = np.uint64(b_rows[k] + b_at + first)
            for n in range(np.uint64(count)):
                packed[at + n] = b[source + n]
            for n in range(np.uint64(count), width):
                packed[at + n] = 0
            at += width


def _square(source, rows, first, source_at, target, target_at, step):
    """`transpose_square` in plain Python."""
    lane = vector_lanes(source)
    for n in range(lane):
        begin = rows[first + n] + source_at
        target[target_at + n : target_at + n + step * lane : step] = source[begin : begin + lane]


@overload(_square)
def _square_compiled(source, rows, first, source_at, target, target_at, step):
    def call(source, rows, first, source_at, target, target_at, step):
        transpose_square(source, rows, first, source_at, target, target_at, step)

    return call


@compiled("matrix products", overlapping=True)
def pack_transposed(b, b_rows, b_at, depth, columns, packed, packed_at):
    """Pack the matrix whose *column* n lies at b[b_rows[n] + b_at] and after: (depth, columns)."""
    lane = vector_lanes(b)
    panel = VECTORS * lane
    for first in range(0, columns, panel):
        count = min(panel, columns - first)
        width = -(-count // lane) * lane
        for n in range(0, width, lane):
            for k in range(0, depth, lane):
                target = packed_at + k * width + n
                if n + lane <= count and k + lane <= depth:
                    _square(b, b_rows, first + n, b_at + k, packed, target, width)
                else:
                    for i in range(n, n + lane):
                        for j in range(min(lane, depth - k)):
                            value = b[b_rows[first + i] + b_at + k + j] if i < count else b[0] - b[0]
                            packed[target + j * width + i - n] = value
        packed_at += depth * width


# -- the product -----------------------------------------------------------------------------------------------------


@compiled("matrix products", overlapping=True)
def product(count, columns, a, b, c, start):
    """C = start + A B for `count` rows of A and C.

    Parameters
    ----------
    count, columns : the rows of A and C, the columns of B and C.
    a : (array, offset of every row, offset, step from one k to the next).
    b : (packed array, offset, depth).
    c : (array, offset of every row, offset).
    start : what is added to the sums, as `c`, and whether there is such a start; it may be C itself, or one bias for
        all rows.
    """
    packed, packed_at, depth = b
    lane = vector_lanes(packed)
    panel = VECTORS * lane
    for first in range(0, columns, panel):
        width = min(panel, columns - first)
        vectors = -(-width // lane)
        b_panel = (packed, packed_at + first * depth, depth)
        if width == vectors * lane:
            c_panel = (c[0], c[1], c[2] + first)
            start_panel = (start[0], start[1], start[2] + first, start[3])
            _panel(count, vectors, a, b_panel, c_panel, start_panel)
        else:
            _product_at_the_edge(first, width, vectors, count, a, b_panel, c, start)


@compiled("matrix products", overlapping=True)
def _product_at_the_edge(first, width, vectors, count, a, b_panel, c, start):
    """The last panel, if its last vector would reach past the end of C's rows: it goes through a buffer of its own."""
    panel = vectors * vector_lanes(c[0])
    edge, edge_rows = np.zeros(ROWS * panel, c[0].dtype), np.arange(ROWS) * panel
    for row in range(0, count, ROWS):
        rows = min(ROWS, count - row)
        if start[3]:
            for i in range(rows):
                source = np.uint64(start[1][row + i] + start[2] + first)
                for n in range(np.uint64(width)):
                    edge[np.uint64(i * panel) + n] = start[0][source + n]
        a_tile = (a[0], a[1][row:], a[2], a[3])
        _panel(rows, vectors, a_tile, b_panel, (edge, edge_rows, 0), (edge, edge_rows, 0, start[3]))
        for i in range(rows):
            target = np.uint64(c[1][row + i] + c[2] + first)
            for n in range(np.uint64(width)):
                c[0][target + n] = edge[np.uint64(i * panel) + n]


# -- a checksum ------------------------------------------------------------------------------------------------------


@compiled("checksum")
def checksum(words, lanes):
    """Fold 32-bit words into 64 running values: exclusive or, then times an odd number.

    Both can be undone, so no single changed word leaves its running value as it was; the order of the words counts.
    A product carries a change to higher bits only, and the sign is the highest: it is first copied to the middle, or
    two changed signs would undo each other.
    """
    prime = np.uint32(0x01000193)
    whole = len(words) // 64 * 64
    for first in range(0, whole, 64):
        for lane in range(64):
            word = words[first + lane]
            lanes[lane] = np.uint32((lanes[lane] ^ word ^ (word >> np.uint32(16))) * prime)
    for n in range(whole, len(words)):
        word = words[n]
        lanes[n - whole] = np.uint32((lanes[n - whole] ^ word ^ (word >> np.uint32(16))) * prime)
