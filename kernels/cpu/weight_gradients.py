# mypy: allow-untyped-defs, allow-untyped-calls
"""The gradients of a chunk of steps that are products or sums over its rows: dx, and those of all weights.

They are shared among the threads by rows of the weight, and no sum is ever split: the bits are the same for every team.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cells import Cell
from kernels.cpu.compiling import compiled, spliced
from kernels.cpu.flow import is_narrow
from kernels.cpu.products import pack, product
from kernels.cpu.shares import portion
from kernels.cpu.tiles import ROWS
from kernels.phases import Place

#: Rows of a chunk whose weight gradient is one product: enough to make up for reading and writing it.
DEPTH = 256


@spliced
def chunk_gradients(count, team, widths, D, d_span, da, x, dx, packed, places, sums, summed):
    """dx, and the gradients of weight_ih and bias_ih, of a chunk: pre = x W_ih' + b_ih.

    Parameters
    ----------
    count : rows of the chunk; team : rank, size; widths : B, G, H, P.
    d_span : the columns of dx that are this thread's; all D where its share is rows.
    da : (R, G*H and some padding).
    x : line, where rows begin, offset; dx : line, where rows begin.
    sums : gradients as in the backward loop; summed : whether they hold something to add to.
    """
    rank, size = team
    M, S, da_line = widths[1] * widths[2], da.shape[1], da.reshape(-1)
    ih_at, block_at = places[len(places) - 2], places[len(places) - 1]
    columns = d_span[1] - d_span[0]
    first, last = (0, count) if columns < D else portion(count, rank, size, ROWS)
    da_rows, dx_rows = np.arange(first, last) * S, dx[1][first:last]
    a, c = (da_line, da_rows, 0, 1), (dx[0], dx_rows, d_span[0])
    product(last - first, columns, a, (packed, ih_at, M), c, (dx[0], dx_rows, d_span[0], 0))
    m_first, m_last = portion(M, rank, size, ROWS)
    gate_columns = np.arange(M)
    for r in range(0, count, DEPTH):
        depth = min(DEPTH, count - r)
        into = m_first, m_last, sums[0], summed
        multiply_transposed((da_line, gate_columns, r * S, S), (x[0], x[1][r:], x[2]), depth, D, packed, block_at, into)
        add_rows(da_line, r * S, S, depth, m_first, m_last, 0, sums[3], summed)
        summed = 1


@spliced
def stage_gradients(count, team, widths, stage, side, operand, packed, block_at, sums, summed):
    """The part of one stage in the gradients of weight_hh and bias_hh: a = x + U source + b.

    Parameters
    ----------
    stage : its first gate, the number of its gates, their row in weight_hh; all in gates.
    side : (R, G*H and some padding) as a line, and the length of a row.
    operand : what was multiplied: line, where rows begin, offset.
    """
    rank, size = team
    _, _, H, P = widths
    gate, gates, row = stage
    M = max(sums[1].size // P, sums[4].size)
    u_first, u_last = portion(M, rank, size, ROWS)
    first, last = max(u_first, row * H), min(u_last, (row + gates) * H)
    line, S = side
    shift = (gate - row) * H  # from a row of weight_hh to its column in da
    columns = np.arange(M) + shift
    for r in range(0, count, DEPTH):
        depth = min(DEPTH, count - r)
        a, b = (line, columns, r * S, S), (operand[0], operand[1][r:], operand[2])
        multiply_transposed(a, b, depth, P, packed, block_at, (first, last, sums[1], summed))
        add_rows(line, r * S, S, depth, first, last, shift, sums[4], summed)
        summed = 1


@spliced
def projection_gradients(count, team, widths, side, operand, packed, block_at, sums, summed):
    """The gradient of weight_hr: h = W_hr m; parameters as for `stage_gradients`."""
    rank, size = team
    _, _, H, P = widths
    first, last = portion(P, rank, size, ROWS)
    line, S = side
    columns = np.arange(P)
    for r in range(0, count, DEPTH):
        depth = min(DEPTH, count - r)
        a, b = (line, columns, r * S, S), (operand[0], operand[1][r:], operand[2])
        multiply_transposed(a, b, depth, H, packed, block_at, (first, last, sums[2], summed))
        summed = 1


@spliced
def own_gradients(count, team, down, sums):
    """The gradients of the weights of a unit: sums over the rows."""
    rank, size = team
    first, last = portion(down.shape[1], rank, size, ROWS)
    line, S = down.reshape(-1), down.shape[1]
    for r in range(0, count, DEPTH):
        add_rows(line, r * S, S, min(DEPTH, count - r), first, last, 0, sums[5], 1)


def make_hidden_gradients(cell: Cell) -> Any:
    """The gradients of all weights but weight_ih and bias_ih, of a chunk, for one cell."""
    step: Any = _of_own_weights if cell.own else _nothing
    if cell.projected is not None:
        step = _of_projection(_operand(cell, cell.projected), step)
    for stage in cell.stages:
        if stage.source is not None:
            blocks = stage.first, stage.last - stage.first, cell.recurrent.index(cell.gates[stage.first])
            step = _of_stage(blocks, _operand(cell, stage.source), step)
    return step


def _of_stage(blocks: tuple[int, int, int], operand: Any, after: Any) -> Any:
    @spliced
    def gradients(count, team, widths, chunks, lines, slots, packs, sums, summed):
        side, block_at = (chunks[4], chunks[0].shape[1]), packs[1][len(packs[1]) - 1]
        source = operand(lines, slots, widths)
        stage_gradients(count, team, widths, blocks, side, source, packs[0], block_at, sums, summed)
        after(count, team, widths, chunks, lines, slots, packs, sums, summed)

    return gradients


def _of_projection(operand: Any, after: Any) -> Any:
    @spliced
    def gradients(count, team, widths, chunks, lines, slots, packs, sums, summed):
        side, block_at = (chunks[5], chunks[3].shape[1]), packs[1][len(packs[1]) - 1]
        source = operand(lines, slots, widths)
        projection_gradients(count, team, widths, side, source, packs[0], block_at, sums, summed)
        after(count, team, widths, chunks, lines, slots, packs, sums, summed)

    return gradients


@spliced
def _of_own_weights(count, team, widths, chunks, lines, slots, packs, sums, summed):
    own_gradients(count, team, chunks[2], sums)


@spliced
def _nothing(count, team, widths, chunks, lines, slots, packs, sums, summed):
    pass


def _operand(cell: Cell, place: Place) -> Any:
    """What a product multiplied, on the tape: line, where the rows of the chunk begin, offset."""
    if place.kind in ("prev", "new"):
        k, slot = cell.states.index(place.name), int(place.kind == "new")
        column = 3 if is_narrow(cell, place.name) else 2

        @spliced
        def of_state(lines, slots, widths):
            return lines[0][k], slots * widths[column], slot * widths[0] * widths[column]

        return of_state
    if place.kind == "gate":
        gate = cell.gates.index(place.name)

        @spliced
        def of_gate(lines, slots, widths):
            return lines[1], slots * (widths[1] * widths[2]), gate * widths[2]

        return of_gate
    number, width = cell.kept.index(place.name), (3 if is_narrow(cell, place.name) else 2)

    @spliced
    def of_kept(lines, slots, widths):
        return lines[2][number], slots * widths[width], 0

    return of_kept


@compiled("matrix products", overlapping=True)
def multiply_transposed(a, b, depth, width, packed, packed_at, into):
    """Rows first to last of total (M, width) (+)= A' B, for `depth` rows of A and B; added if `summed`."""
    first, last, total, summed = into
    if last > first and total.size > 0:
        b_line, b_rows, b_at = b
        pack(b_line, b_rows, b_at, depth, width, packed, packed_at)
        columns, rows = a[1][first:last], np.arange(first, last) * width
        product(
            last - first, width, (a[0], columns, a[2], a[3]), (packed, packed_at, depth), (total, rows, 0),
            (total, rows, 0, summed),
        )  # fmt: skip


@compiled("matrix products", overlapping=True)
def add_rows(a, a_at, a_step, depth, first, last, shift, total, summed):
    """total[first:last] (+)= the sum of `depth` rows of A, whose column 0 stands `shift` further."""
    if total.size > 0 and last > first:
        column, column_end = np.uint64(first), np.uint64(last)
        part = np.zeros(last, a.dtype)
        for r in range(depth):
            source = np.uint64(a_at + r * a_step + shift)
            for m in range(column, column_end):
                part[m] += a[source + m]
        for m in range(column, column_end):
            total[m] = total[m] + part[m] if summed else part[m]


@spliced
def add_totals(team, targets, totals, widths, D, summed):
    """Add the sums over all chunks to the gradients: each thread the rows that it has summed."""
    rank, size = team
    _, G, H, P = widths
    recurrent = max(totals[1].size // P, totals[4].size)
    rows, columns = (G * H, recurrent, P, G * H, recurrent), (D, P, H, 1, 1)
    for k in range(5):
        target, total = targets[k], totals[k]
        first, last = portion(rows[k], rank, size, ROWS)
        for n in range(np.uint64(first * columns[k]), np.uint64(last * columns[k] if total.size > 0 and summed else 0)):
            target[n] += total[n]


@spliced
def write_trace(count, slots, values, trace):
    """The rows of a chunk, to their places among all steps (T, B, G, H)."""
    _, B, G, H = trace.shape
    for r in range(count):
        slot = slots[r]
        for m in range(G * H):
            trace[slot // B, slot % B, m // H, m % H] = values[r, m]
