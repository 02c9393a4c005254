# mypy: allow-untyped-defs, allow-untyped-calls
"""The backward time loop: in chunks of steps from the end, recur over the steps of a chunk, then make dx and the weight
gradients of these steps (`kernels.cpu.weight_gradients`), while they are in the cache.

It stands once for every cell, as the forward loop does.  The parts share these names, and those of
`kernels.cpu.forward_loop`:

step            t, and the first row of the step in the chunk's arrays
grads           dstates, values, spares (B, H) each: gradients of this step, see `kernels.cpu.flow`; the same as lines
chunks          da, da_hidden (R, G*H and some padding), down (R, n*H) of the own weights, dprojected (R, P); the
                hidden side and dprojected as lines
packs           the packed weights, and where those of each stage begin
starts          where each row of this thread begins in an array (B, H), (B, P), in da, in dprojected
traces          (T+1, B, H) each: the gradients of every state, or empty
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cells import Cell
from kernels.cpu.barrier import ring, wait
from kernels.cpu.borrowed import borrowed
from kernels.cpu.compiling import spliced
from kernels.cpu.flow import Target, projected_before
from kernels.cpu.products import (
    address_of,
    from_a_cache_line,
    only_whole_vectors,
    product,
    product_at,
    vector_lanes,
)
from kernels.cpu.rows import Rows
from kernels.cpu.shares import count_of, own_rows, pack_as_they_stand, portion, row_starts
from kernels.cpu.tiles import VECTORS
from kernels.cpu.weight_gradients import DEPTH, add_totals, chunk_gradients, make_hidden_gradients, write_trace


def make_backward(cell: Cell, rows: Rows) -> Any:
    """The backward loop of a cell, to be compiled."""
    arrange, enter = _arrange(cell, rows), _enter(rows)
    walk, finish_chunk = _steps_of_chunk(cell, rows, enter), _end_of_chunk(cell)

    def backward(
        share, chunk, dy, x, dx, weights, ends, tape, state_grads, table, targets, totals, buffers, traces, numbers
    ):  # fmt: skip
        """Walk the steps of one layer and direction from the end, this thread's share of it.

        Parameters
        ----------
        share, chunk, x, ends, numbers : as in forward.
        dy : line, offset, step in time, step in the batch, whether there is one; dx : line, step in time, in the batch.
        weights : weight_ih, weight_hh, weight_hr as lines.
        tape : states, gate, kept; they are only read.
        state_grads : dstates, values, spares.  The first hold the gradients of the last states, then of the first.
        table : (stages, 4) first gate, number of gates, row in weight_hh, whether there is a product.
        targets, totals : gradients of weight_ih, weight_hh, weight_hr, bias_ih, bias_hh and the own weights as lines:
            those to add to, and room for their sums over the chunks.
        buffers : packs, a line a thread; da, da_hidden, down, dprojected of a chunk.
        traces : the states' (T+1, B, H), then da and da_hidden of all steps (T, B, G, H) and dprojected (T, B, 1, P);
            or empty.
        """
        share, dy, x, dx, weights, ends, tape = borrowed((share, dy, x, dx, weights, ends, tape))
        state_grads, targets, totals, buffers = borrowed((state_grads, targets, totals, buffers))
        traces, numbers = borrowed((traces, numbers))
        rank, size, by_units, barrier, bell, number = share
        if rank == 0:
            ring(bell, number)
        gate, h, (packs, chunk_arrays) = tape[1], tape[0][0], buffers
        (T, B, G, H), P = gate.shape, h.shape[2]
        widths, D, lane, team = (B, G, H, P), weights[0].size // (G * H), vector_lanes(gate), (rank, size)
        spans = (*portion(H, rank, size, lane), *portion(P, rank, size, lane)) if by_units else (0, H, 0, P)
        part = own_rows(rank, size, by_units, *ends), ends[1], spans, (rank, size, by_units, barrier)
        # dx is shared by columns where there are enough of them, else by rows
        d_span = portion(D, rank, size, lane) if D >= size * VECTORS * lane else (0, D)
        packed = from_a_cache_line(packs[rank])
        packs_of_rank = packed, pack_as_they_stand(weights, table, widths, spans, d_span, packed)
        chunks, grads, starts, lines = arrange(widths, part, tape, state_grads, chunk_arrays)
        capacity = min(chunk, T) * B
        places = np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        # a chunk's weight gradients are added up apart, and to the targets at the end; where there is but one, at once
        apart = 1 if T > chunk or capacity > DEPTH else 0
        sums, summed = totals if apart else targets, 1 - apart
        still = 0  # rows that have begun, seen from the end
        for end in range(T, 0, -chunk):
            at, still = walk(
                max(0, end - chunk), end, still, part, widths, ends, dy, x, dx, places,
                tape, grads, chunks, packs_of_rank, starts, traces[0], numbers,
            )  # fmt: skip
            wait(barrier, size)
            finish_chunk(at, team, widths, D, d_span, x, dx, places, lines, chunks, packs_of_rank, sums, summed, traces)
            summed = max(summed, min(1, at))
            wait(barrier, size)
        if apart:
            add_totals(team, targets, totals, widths, D, summed)
        if traces[1].shape[0] > 0:
            enter(0, -1, part, dy, grads, traces[0])

    return backward


def _arrange(cell: Cell, rows: Rows) -> Any:
    """The arrays of a pass as the parts want them."""
    lines_of_states, lines_of_kept = rows.flatten(len(cell.states)), rows.flatten(len(cell.kept))
    lines_of_values, lines_of_spares = rows.flatten(len(rows.flow.values)), rows.flatten(len(rows.flow.spares))
    splits = bool(cell.splits)

    @spliced
    def arrange(widths, part, tape, state_grads, chunk_arrays):
        (mine, order, _, _), (_, _, H, P) = part, widths
        da, da_hidden, down, dprojected = chunk_arrays
        chunks = da, da_hidden, down, dprojected, (da_hidden if splits else da).reshape(-1), dprojected.reshape(-1)
        dstates, values, spares = state_grads
        grads = dstates, values, spares, lines_of_states(dstates), lines_of_values(values), lines_of_spares(spares)
        starts = (
            row_starts(mine, order, H, True), row_starts(mine, order, P, True),
            row_starts(mine, order, da.shape[1], False), row_starts(mine, order, dprojected.shape[1], False),
        )  # fmt: skip
        return chunks, grads, starts, (lines_of_states(tape[0]), tape[1].reshape(-1), lines_of_kept(tape[2]))

    return arrange


def _steps_of_chunk(cell: Cell, rows: Rows, enter: Any) -> Any:
    """The walk over the steps of a chunk, from its end; returns its rows, and the rows of the batch that have begun."""
    step: Any = _leave(rows)
    for number in range(len(cell.stages) + 1):
        if rows.projected is not None and number == projected_before(cell):
            step = _projection(cell, rows, rows.projected, step)
        if number < len(cell.stages):
            step = _stage(cell, number, rows, step)

    @spliced
    def walk(
        begin, end, still, part, widths, ends, dy, x, dx, places, tape, grads, chunks, packs, starts, traces, numbers
    ):  # fmt: skip
        lengths, order = ends
        x_rows, dx_rows, slots = places
        B, at = len(order), 0
        for t in range(end - 1, begin - 1, -1):
            while still < B and lengths[order[still]] > t:
                still += 1
            count = count_of(part[0], still)
            enter(count, t, part, dy, grads, traces)
            step(count, (t, at), part, widths, tape, grads, chunks, packs, starts, traces, numbers)
            for i in range(still):
                x_rows[at + i] = t * x[2] + order[i] * x[3]
                dx_rows[at + i] = t * dx[1] + order[i] * dx[2]
                slots[at + i] = t * B + order[i]
            at += still
        return at, still

    return walk


def _end_of_chunk(cell: Cell) -> Any:
    """dx and all weight gradients of a chunk, and its rows for a trace."""
    hidden_gradients = make_hidden_gradients(cell)
    splits, projected = bool(cell.splits), cell.projected is not None

    @spliced
    def finish_chunk(count, team, widths, D, d_span, x, dx, places, lines, chunks, packs, sums, summed, traces):
        x_rows, dx_rows, slots = places
        da, da_hidden, dprojected = chunks[0], chunks[1], chunks[3]
        x_of_chunk, dx_of_chunk = (x[0], x_rows, x[1]), (dx[0], dx_rows)
        chunk_gradients(count, team, widths, D, d_span, da, x_of_chunk, dx_of_chunk, packs[0], packs[1], sums, summed)
        hidden_gradients(count, team, widths, chunks, lines, slots, packs, sums, summed)
        if team[0] == 0 and traces[1].shape[0] > 0:
            write_trace(count, slots, da, traces[1])
            if splits:
                write_trace(count, slots, da_hidden, traces[2])
            if projected:
                write_trace(count, slots, dprojected, traces[3])

    return finish_chunk


# -- the parts of a step --------------------------------------------------------------------------------------------


def _enter(rows: Rows) -> Any:
    """What the states after step t receive: dy joins, and a trace takes it down."""
    note = rows.note

    @spliced
    def enter(count, t, part, dy, grads, traces):
        mine, order, spans, _ = part
        dy_line, dy_at, dy_t, dy_b, has_dy = dy
        dstates = grads[0]
        dh = dstates[0]
        first, last, begin, end = np.uint64(spans[0]), np.uint64(spans[1]), np.uint64(spans[2]), np.uint64(spans[3])
        for n in range(count if has_dy else 0):
            b = order[mine[0] + n * mine[2]]
            source = np.uint64(dy_at + t * dy_t + b * dy_b)
            for j in range(begin, end):
                dh[b, j] += dy_line[source + j]  # y[t] = h[t+1]
        if traces[0].shape[0] > 0:
            for i in range(mine[0], mine[1], mine[2]):
                note(t + 1, order[i], first, last, begin, end, dstates, traces)

    return enter


def _stage(cell: Cell, number: int, rows: Rows, after: Any) -> Any:
    """A stage: its row function on every row, then what its product sends to what was multiplied."""
    row, target, span = rows.backward[number], rows.targets[number], (2 if cell.stages[number].narrow else 0)
    multiply: Any = _nothing
    if target is not None:
        multiply = _product(number, cell.stages[number].first, cell.stages[number].last, target)

    @spliced
    def stage(count, step, part, widths, tape, grads, chunks, packs, starts, traces, numbers):
        mine, order, spans, _ = part
        t, at = step
        first, last = np.uint64(spans[span]), np.uint64(spans[span + 1])
        states, gate, kept = tape
        dstates, values, spares = grads[0], grads[1], grads[2]
        own, given, one = numbers
        for n in range(count):
            i = mine[0] + n * mine[2]
            row(
                at + i, t, order[i], first, last, dstates, values, spares, states, gate, kept, own, given,
                chunks[0], chunks[1], chunks[2], traces, one,
            )  # fmt: skip
        multiply(count, at, part, widths, grads, chunks, packs, starts, one)
        after(count, step, part, widths, tape, grads, chunks, packs, starts, traces, numbers)

    return stage


def _product(number: int, gate: int, last_gate: int, target: Target) -> Any:
    """a = x + U source + b: what comes through the product joins what came directly."""
    line_of, added, gates = _line_of(target), int(target.added), last_gate - gate

    @spliced
    def multiply(count, at, part, widths, grads, chunks, packs, starts, one):
        _, _, spans, team = part
        if team[2]:
            wait(team[3], team[1])
        H, packed, place = widths[2], packs[0], packs[1][number]
        a_line, a_rows, a_at = chunks[4], starts[2], at * chunks[0].shape[1] + gate * H
        c_line, c_rows, c_at, columns = line_of(grads), starts[1], spans[2], spans[3] - spans[2]
        if only_whole_vectors(columns, c_line):
            a, b = (address_of(a_line), address_of(a_rows), a_at, 1), (address_of(packed), place, gates * H)
            c = address_of(c_line), address_of(c_rows), c_at
            product_at(one, count, columns, vector_lanes(c_line), a, b, c, (c[0], c[1], c[2], added))
        else:
            c_whole, start = (c_line, c_rows, c_at), (c_line, c_rows, c_at, added)
            product(count, columns, (a_line, a_rows, a_at, 1), (packed, place, gates * H), c_whole, start)

    return multiply


def _line_of(target: Target) -> Any:
    """The array that takes a product, as a line."""
    kind, index = {"state": 3, "value": 4, "spare": 5}[target.kind], target.number

    @spliced
    def line_of(grads):
        return grads[kind][index]

    return line_of


def _projection(cell: Cell, rows: Rows, target: Target, after: Any) -> Any:
    """h = W_hr m: dh becomes the chunk's dprojected, m receives its product, and h_prev nothing yet."""
    number, line_of, added = len(cell.stages), _line_of(target), int(target.added)
    in_place = "h" not in rows.flow.spares

    @spliced
    def project(count, step, part, widths, tape, grads, chunks, packs, starts, traces, numbers):
        mine, order, spans, team = part
        _, at = step
        begin, end = np.uint64(spans[2]), np.uint64(spans[3])
        one, dprojected = numbers[2], chunks[3]
        dstates = grads[0]
        dh = dstates[0]
        for n in range(count):
            i = mine[0] + n * mine[2]
            b, r = order[i], at + i
            for j in range(begin, end):
                dprojected[r, j] = dh[b, j]
                if in_place:
                    dh[b, j] = one - one
        if team[2]:
            wait(team[3], team[1])
        a = chunks[5], starts[3], at * dprojected.shape[1], 1
        c = line_of(grads), starts[0], spans[0]
        start = c[0], c[1], c[2], added
        product(count, spans[1] - spans[0], a, (packs[0], packs[1][number], widths[3]), c, start)
        after(count, step, part, widths, tape, grads, chunks, packs, starts, traces, numbers)

    return project


def _leave(rows: Rows) -> Any:
    """Spare arrays take their place among the states' gradients."""
    if not rows.flow.spares:
        return _end
    leave = rows.leave

    @spliced
    def leave_step(count, step, part, widths, tape, grads, chunks, packs, starts, traces, numbers):
        mine, order, spans, _ = part
        first, last, begin, end = np.uint64(spans[0]), np.uint64(spans[1]), np.uint64(spans[2]), np.uint64(spans[3])
        dstates, spares = grads[0], grads[2]
        for n in range(count):
            leave(order[mine[0] + n * mine[2]], first, last, begin, end, dstates, spares)

    return leave_step


@spliced
def _end(count, step, part, widths, tape, grads, chunks, packs, starts, traces, numbers):
    pass


@spliced
def _nothing(count, at, part, widths, grads, chunks, packs, starts, one):
    pass
