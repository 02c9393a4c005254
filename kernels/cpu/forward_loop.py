# mypy: allow-untyped-defs, allow-untyped-calls
"""The forward time loop: in chunks of steps, project the input of a chunk, then recur over its steps.

It stands once for every cell.  `make_forward` puts it together from the cell's stages: each `spliced` part calls the
part after it, and all of them become one function before anything is compiled.

The parts share these names (T steps, B batch, D inputs, G gates, H units, P width of h, R rows of a chunk):

count       rows of this thread that still run
when        t the step, s and s_next the slots of the states before and after it, g the slot of gates and kept values,
            at the first row of the step in pre
part        mine: first, end and step of this thread's rows, counted in `order`; order; spans: first and last of its
            units of H and of P; team: rank, size, by_units, barrier (`kernels.cpu.barrier`)
widths      B, G, H, P
arrays      tape: states (S, B, H) each, gate (S, B, G, H), kept (S, B, H) each; lines: the same as lines;
            pre (R, G, H) pre-activations of the chunk; the same as a line; y (T, B, P)
weights     packed: all of them; places: where the weights of each block begin; biases: bias_ih + bias_hh where they
            join, bias_hh, and whether there is the first, the second
starts      where each row of this thread begins in an array (B, H), (B, P), (B, G, H), in pre (R, G, H); zeros
numbers     own weights (H,) each, factors (T or 1, B or 1, H) each, the number 1
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cells import Cell
from kernels.cpu.barrier import ring, wait
from kernels.cpu.borrowed import borrowed
from kernels.cpu.compiling import spliced
from kernels.cpu.flow import is_narrow, projected_before
from kernels.cpu.products import address_of, from_a_cache_line, only_whole_vectors, product_at, vector_lanes
from kernels.cpu.row_texts import kept_names
from kernels.cpu.rows import Row, Rows
from kernels.cpu.shares import Block, blocks, count_of, multiply_gates, own_rows, pack_gates, portion, row_starts
from kernels.phases import Place


def make_forward(cell: Cell, rows: Rows) -> Any:
    """The forward loop of a cell, to be compiled."""
    step = _step(cell, rows)
    flatten_states, flatten_kept = rows.flatten(len(cell.states)), rows.flatten(len(kept_names(cell)))

    def forward(share, chunk, keep, x, weights, ends, tape, y, table, buffers, numbers):
        """Run one layer and direction, this thread's share of it.

        Parameters
        ----------
        share : rank, size, by_units, barrier, bell, number of the pass (`kernels.cpu.threads`).
        chunk : time steps that are projected at once; keep : whether every step has slots of its own, else two.
        x : line, offset, step in time, step in the batch.
        weights : weight_ih, weight_hh, weight_hr, bias_ih, bias_hh as lines; empty where there is none.
        ends : lengths (B,), and the rows in order, the longest first.
        tape : states, gate, kept; y : (T, B, P).  Both are written.
        table : (blocks, 4) gate, count, row of every `shares.Block`, and whether it joins pre.
        buffers : packs, a line a thread; pre.
        numbers : own weights, factors, the number 1.
        """
        share, x, weights, ends, tape = borrowed((share, x, weights, ends, tape))
        y, buffers, numbers = borrowed((y, buffers, numbers))
        rank, size, by_units, barrier, bell, number = share
        if rank == 0:
            ring(bell, number)
        lengths, order = ends
        states, gate, kept = tape
        packs, pre = buffers
        T, B, P = y.shape
        G, H = pre.shape[1], pre.shape[2]
        D, widths, lane = weights[0].size // (G * H), (B, G, H, P), vector_lanes(pre)
        spans = (*portion(H, rank, size, lane), *portion(P, rank, size, lane)) if by_units else (0, H, 0, P)
        mine = own_rows(rank, size, by_units, lengths, order)
        part = mine, order, spans, (rank, size, by_units, barrier)
        packed = from_a_cache_line(packs[rank])
        places = pack_weights(weights, table, widths, spans, packed)
        has_ih, has_hh = min(1, weights[3].size), min(1, weights[4].size)
        biases = joint_bias(weights[3], weights[4], table, H), weights[4], has_ih, has_hh
        starts = (
            row_starts(mine, order, H, True), row_starts(mine, order, P, True), row_starts(mine, order, G * H, True),
            row_starts(mine, order, G * H, False), np.zeros(min(chunk, T) * B, np.int64),
        )  # fmt: skip
        lines = flatten_states(states), gate.reshape(-1), flatten_kept(kept)
        arrays = tape, lines, pre, pre.reshape(-1), y
        running = B  # rows that have not ended
        for begin in range(0, T, chunk):
            end = min(begin + chunk, T)
            start = biases[0], starts[4], 0, has_ih
            project_input((begin, end, running), mine, ends, spans, x, D, pre, start, packed)
            for t in range(begin, end):
                while running > 0 and lengths[order[running - 1]] <= t:
                    running -= 1
                s, s_next, g = (t, t + 1, t) if keep else (t & 1, 1 - (t & 1), 0)
                when = t, s, s_next, g, (t - begin) * B
                step(count_of(mine, running), when, part, widths, arrays, (packed, places, biases), starts, numbers)

    return forward


def _step(cell: Cell, rows: Rows) -> Any:
    """All stages of a step, put together from the last to the first."""
    step: Any = _end_of_step(rows)
    for number in reversed(range(len(cell.stages) + 1)):
        if number < len(cell.stages):
            step = _stage(cell, number, rows.forward[number], step)
        if number == projected_before(cell) and cell.projected is not None:
            step = _projection(cell, cell.projected, step)
    return step


# -- the parts of a step --------------------------------------------------------------------------------------------


def _stage(cell: Cell, number: int, row: Row, after: Any) -> Any:
    """A stage: its products, then its row function on every row."""
    source, span = cell.stages[number].source, (2 if cell.stages[number].narrow else 0)
    multiply: Any = _nothing
    if source is not None:
        for k, block in reversed(list(enumerate(blocks(cell)))):
            if block.stage == number:
                multiply = _product(k, block, _operand(cell, source), multiply)
    meet = _meet if number > 0 and source is not None and source.kind != "prev" else _pass_by

    @spliced
    def stage(count, when, part, widths, arrays, weights, starts, numbers):
        mine, order, spans, team = part
        meet(team)
        multiply(count, when, spans, widths, arrays, weights, starts, numbers[2])
        t, s, s_next, g, at = when
        first, last = np.uint64(spans[span]), np.uint64(spans[span + 1])
        states, gate, kept = arrays[0]
        own, given, one = numbers
        for n in range(count):
            i = mine[0] + n * mine[2]
            row(at + i, order[i], s, s_next, g, t, first, last, arrays[2], states, gate, kept, own, given, one)
        after(count, when, part, widths, arrays, weights, starts, numbers)

    return stage


def _product(k: int, block: Block, operand: Any, after: Any) -> Any:
    """The recurrent product of a block: a = pre + U source, or apart from it h = U source + b."""
    _, gate, gates, weight_row, to = block

    @spliced
    def joined(count, when, spans, widths, arrays, weights, starts, one):
        _, G, H, P = widths
        packed, places, _ = weights
        a_line, a_rows, a_at = operand(when, widths, arrays[1], starts)
        c_line, c_rows, c_at = arrays[3], starts[3], when[4] * G * H
        if spans[1] - spans[0] == H and only_whole_vectors(gates * H, c_line):
            c = address_of(c_line), address_of(c_rows), c_at + gate * H
            a, b = (address_of(a_line), address_of(a_rows), a_at, 1), (address_of(packed), places[k], P)
            product_at(one, count, gates * H, vector_lanes(c_line), a, b, c, (c[0], c[1], c[2], 1))
        else:
            c_full = c_line, c_rows, c_at
            multiply_gates(
                count, H, gate, gate + gates, spans[0], spans[1], (a_line, a_rows, a_at, 1), packed, places[k], P,
                c_full, (c_line, c_rows, c_at, 1),
            )  # fmt: skip
        after(count, when, spans, widths, arrays, weights, starts, one)

    @spliced
    def alone(count, when, spans, widths, arrays, weights, starts, one):
        B, _, H, P = widths
        packed, places, biases = weights
        a_line, a_rows, a_at = operand(when, widths, arrays[1], starts)
        c_line, c_rows, c_at = arrays[1][2][to], starts[0], when[3] * B * H
        bias, zeros, has_bias = biases[1], starts[4], biases[3]
        if spans[1] - spans[0] == H and only_whole_vectors(H, c_line):
            a, b = (address_of(a_line), address_of(a_rows), a_at, 1), (address_of(packed), places[k], P)
            start = address_of(bias), address_of(zeros), weight_row * H, has_bias
            product_at(one, count, H, vector_lanes(c_line), a, b, (address_of(c_line), address_of(c_rows), c_at), start)
        else:
            multiply_gates(
                count, H, 0, 1, spans[0], spans[1], (a_line, a_rows, a_at, 1), packed, places[k], P,
                (c_line, c_rows, c_at), (bias, zeros, weight_row * H, has_bias),
            )  # fmt: skip
        after(count, when, spans, widths, arrays, weights, starts, one)

    return joined if to < 0 else alone


def _operand(cell: Cell, place: Place) -> Any:
    """Where the rows of what a product multiplies lie in this step: line, where rows begin, offset."""
    if place.kind in ("prev", "new"):
        k, slot = cell.states.index(place.name), (1 if place.kind == "prev" else 2)
        column, starts_of = (3, 1) if is_narrow(cell, place.name) else (2, 0)

        @spliced
        def of_state(when, widths, lines, starts):
            return lines[0][k], starts[starts_of], when[slot] * widths[0] * widths[column]

        return of_state
    if place.kind == "gate":
        gate = cell.gates.index(place.name)

        @spliced
        def of_gate(when, widths, lines, starts):
            B, G, H, _ = widths
            return lines[1], starts[2], (when[3] * B * G + gate) * H

        return of_gate
    number = kept_names(cell).index(place.name)
    width, starts_at = (3, 1) if is_narrow(cell, place.name) else (2, 0)

    @spliced
    def of_kept(when, widths, lines, starts):
        return lines[2][number], starts[starts_at], when[3] * widths[0] * widths[width]

    return of_kept


def _projection(cell: Cell, source: Place, after: Any) -> Any:
    """h = W_hr m."""
    operand, k = _operand(cell, source), len(blocks(cell))

    @spliced
    def project(count, when, part, widths, arrays, weights, starts, numbers):
        _, _, spans, team = part
        if team[2]:
            wait(team[3], team[1])
        B, _, H, P = widths
        a_line, a_rows, a_at = operand(when, widths, arrays[1], starts)
        c = arrays[1][0][0], starts[1], when[2] * B * P
        a, start = (a_line, a_rows, a_at, 1), (c[0], c[1], c[2], 0)
        multiply_gates(count, P, 0, 1, spans[2], spans[3], a, weights[0], weights[1][k], H, c, start)
        after(count, when, part, widths, arrays, weights, starts, numbers)

    return project


def _end_of_step(rows: Rows) -> Any:
    """y[t] = h[t+1]; rows that have ended carry their state; threads that share the units wait for each other."""
    carry = rows.carry

    @spliced
    def finish(count, when, part, widths, arrays, weights, starts, numbers):
        mine, order, spans, team = part
        t, s, s_next, g, _ = when
        states, gate, kept = arrays[0]
        h, y = states[0], arrays[4]
        first, last, begin, end = np.uint64(spans[0]), np.uint64(spans[1]), np.uint64(spans[2]), np.uint64(spans[3])
        for n in range(count):
            b = order[mine[0] + n * mine[2]]
            for j in range(begin, end):
                y[t, b, j] = h[s_next, b, j]
        for i in range(mine[0] + count * mine[2], mine[1], mine[2]):
            b = order[i]
            carry(b, s, s_next, g, first, last, begin, end, states, gate, kept)
            for j in range(begin, end):
                y[t, b, j] = 0
        if team[2]:
            wait(team[3], team[1])

    return finish


@spliced
def _meet(team):
    """Wait for what the other threads write of a value that is multiplied next."""
    if team[2]:
        wait(team[3], team[1])


@spliced
def _pass_by(team):
    pass


@spliced
def _nothing(count, when, spans, widths, arrays, weights, starts, one):
    pass


# -- once a pass, or once a chunk: the same for every cell ----------------------------------------------------------


@spliced
def pack_weights(weights, table, widths, spans, packed):
    """Pack the weights of a layer: weight_ih, each block of weight_hh, weight_hr; returns where each block begins."""
    weight_ih, weight_hh, weight_hr, _, _ = weights
    _, G, H, P = widths
    places = np.empty(len(table) + 1, np.int64)
    D = weight_ih.size // (G * H)
    at = pack_gates(weight_ih, D, H, 0, G, spans[0], spans[1], packed, 0)
    for k in range(len(table)):
        places[k], row = at, table[k, 2]
        at = pack_gates(weight_hh, P, H, row, row + table[k, 1], spans[0], spans[1], packed, at)
    places[len(table)] = at
    if weight_hr.size > 0:
        pack_gates(weight_hr, H, P, 0, 1, spans[2], spans[3], packed, at)
    return places


@spliced
def joint_bias(bias_ih, bias_hh, table, H):
    """bias_ih, with bias_hh added for the gates whose two parts join."""
    bias = bias_ih.copy()
    for k in range(len(table) if bias_hh.size > 0 else 0):
        gate, count, row = table[k, 0] * H, table[k, 1] * H, table[k, 2] * H
        for j in range(count if table[k, 3] else 0):  # a loop: slices bring an error message, seconds to compile
            bias[gate + j] += bias_hh[row + j]
    return bias


@spliced
def project_input(steps, mine, ends, spans, x, D, pre, start, packed):
    """Input projection of the steps begin..end: pre = x W_ih' + b for this thread's rows and units."""
    begin, end, still = steps
    lengths, order = ends
    x_line, x_at, x_t, x_b = x
    G, H = pre.shape[1], pre.shape[2]
    B, pre_line = len(order), pre.reshape(-1)
    x_rows, pre_rows = np.empty(len(pre), np.int64), np.empty(len(pre), np.int64)
    count = 0
    for t in range(begin, end):
        while still > 0 and lengths[order[still - 1]] <= t:
            still -= 1
        for i in range(mine[0], min(still, mine[1]), mine[2]):
            x_rows[count] = t * x_t + order[i] * x_b
            pre_rows[count] = ((t - begin) * B + i) * G * H  # a place of its own: nobody waits in between
            count += 1
    multiply_gates(
        count, H, 0, G, spans[0], spans[1], (x_line, x_rows, x_at, 1), packed, 0, D, (pre_line, pre_rows, 0), start
    )
