# mypy: allow-untyped-defs, allow-untyped-calls
"""The forward time loop: in chunks of steps, project the input of a chunk, then recur over its steps.

It is compiled once for every cell: what a cell does at a step stands in its program (`kernels.cpu.program`), and its
gate functions are called by their address (`kernels.cpu.rows`).  Names: T steps, B batch, D inputs, G gates, R of them
with recurrent weights, H units, P width of h, and

count       rows of this thread that still run
when        t the step, s and s_next the slots of the states before and after it, g the slot of gates and kept values,
            the first row of the step in pre
part        sizes (`kernels.cpu.plan.Sizes`); spans: first and last of this thread's units of H and of P; batch, places:
            where each of its rows stands in the batch, and in `order`; lines: all arrays
"""

from __future__ import annotations

from kernels.cpu import half
from kernels.cpu.barrier import ring, wait
from kernels.cpu.compiling import by_address, compiled, inlined, shared
from kernels.cpu.pointers import after, at, from_a_cache_line, pointer
from kernels.cpu.products import end_of_gates, multiply_gates, pack_gates, padded_to_vectors
from kernels.cpu.program import (
    COLUMNS,
    FORWARD,
    HH,
    HR,
    IH,
    PRE,
    PRODUCT,
    ROWS,
    START_BIAS,
    START_ITSELF,
    WIDTH_P,
    fields,
)
from kernels.cpu.rows import FORWARD_KINDS
from kernels.cpu.shares import SHARE, SIZES, count_of, own_rows, share_of, sizes_of, spans_of, take_rows
from kernels.cpu.table import FORWARD_LINES, FORWARD_X
from kernels.cpu.table import OPTIONS as OPTIONS_AT
from kernels.cpu.table import ROWS as ROWS_AT

X, WEIGHT_IH, WEIGHT_HH, WEIGHT_HR, BIAS_IH, BIAS_HH, Y, PRE_LINE, PACKS, LENGTHS, ORDER, INDICES, PROGRAM = range(13)
ROUNDED, SCRATCH = range(13, 15)  # both only where products are rounded (`kernels.cpu.half`)
H_LINE = len(FORWARD)  # the first state
#: Chunk, a thread's room in packs and in indices, keep, whether there are bias_ih and bias_hh, whether the weights are
#: packed already.
OPTIONS = ("int",) * 7
row_function = by_address(*FORWARD_KINDS)


@shared(SHARE, SIZES, OPTIONS, ("int", "int", "int"), "rows", "int", "number")
def forward(share, sizes, options, x, lines, rows, one):
    """Run one layer and direction, this thread's share of it.

    Parameters
    ----------
    share : rank, size, by_units, barrier, bell, number of the pass (`kernels.cpu.threads`).
    sizes : T, B, D, G, R, H, P, projected (`kernels.cpu.plan.Sizes`); options : see OPTIONS.
    x : offset, step in time, step in the batch.
    lines : the arrays, see `kernels.cpu.program`; y, the states, gates and kept values are written.
    rows : address of the cell's row function; one : the number 1.
    """
    rank, team, by_units, barrier, bell, number = share
    T, B, D, G, _, H, P, _ = sizes
    chunk, room, index_room, keep, has_ih, has_hh, there = options
    if rank == 0:
        ring(bell, number)
    lengths, order = pointer(lines[LENGTHS], 1), pointer(lines[ORDER], 1)
    mine, spans = own_rows(share, B, lengths, order), spans_of(share, H, P, one)
    batch = after(pointer(lines[INDICES], 1), rank * index_room)
    places, x_rows, pre_rows = after(batch, B), after(batch, 2 * B), after(batch, (2 + chunk) * B)
    starts = after(batch, (2 + 2 * chunk) * B)
    total, part = take_rows(mine, order, batch, places), (sizes, spans, batch, places, lines)
    packs = from_a_cache_line(after(pointer(lines[PACKS], one), rank * room))
    packed = after(packs, padded_to_vectors(G * H, one))  # the joint bias comes first
    program, rounded = pointer(lines[PROGRAM], 1), pointer(lines[ROUNDED], 1)
    operations = program[0]
    scratch = after(pointer(lines[SCRATCH], one), rank * half.scratch_forward(rounded[half.SLOTS], chunk, sizes))
    pack_weights(part, packed, starts, there, one)
    if not there:
        join_biases(part, has_ih, has_hh, packs, one)
    begin_states(total, part, one)
    if by_units:
        wait(barrier, team)
    running, own = B, total  # rows that have not ended; ours among them
    for begin in range(0, T, chunk):
        end, still, left, count = min(begin + chunk, T), running, own, 0
        for t in range(begin, end):
            if still > 0 and lengths[order[still - 1]] <= t:
                still, left = still_running(still, t, mine, lengths, order)
            for n in range(left):
                x_rows[count] = x[0] + t * x[1] + batch[n] * x[2]
                pre_rows[count] = (t - begin) * B + places[n]  # a place of its own: nobody waits in between
                count += 1
        pre = pointer(lines[PRE_LINE], one), pre_rows, G * H, 0
        values, bias = (pointer(lines[X], one), x_rows, 1, 0, 1), (packs, x_rows, 0, 0, has_ih)
        gates, units = (0, G), (spans[0], spans[1])
        if rounded[half.IN + IH]:
            at_gates = rounded[half.GATES]
            half.gates(at_gates, rounded, count, H, gates, units, values, (packed, 0, D), pre, bias, scratch)
        else:
            multiply_gates(0, count, H, gates, units, values, (packed, 0, D), pre, bias)
        for t in range(begin, end):
            if running > 0 and lengths[order[running - 1]] <= t:
                running, own = still_running(running, t, mine, lengths, order)
            s, s_next, g = (t, t + 1, t) if keep else (t & 1, 1 - (t & 1), 0)
            when = t, s, s_next, g, (t - begin) * B
            for k in range(1, operations + 1):
                operation = after(program, k * COLUMNS)
                if operation[0] == ROWS:
                    units = (spans[2], spans[3]) if operation[2] else (spans[0], spans[1])
                    row_function(rows, operation[1], own, when, (B, H, P), units, batch, places, lines, one)
                else:
                    if by_units and operation[1]:
                        wait(barrier, team)
                    multiply(operation, own, when, part, (packed, starts[k], scratch), has_hh, one)
            finish(own, total, when, part, one)
            if by_units:
                wait(barrier, team)


@inlined
def begin_states(total, part, one):
    """The states before the first step, as they were given."""
    sizes, spans, batch, _, lines = part
    H, P, program = sizes[5], sizes[6], pointer(lines[PROGRAM], 1)
    for k in range(program[3]):
        past = after(program, (program[0] + 1 + k) * COLUMNS)
        given, slots = pointer(lines[program[2] + k], one), pointer(lines[past[1]], one)
        width, first, last = (P, spans[2], spans[3]) if past[3] == WIDTH_P else (H, spans[0], spans[1])
        for n in range(total):
            for j in range(batch[n] * width + first, batch[n] * width + last):
                slots[j] = given[j]


@inlined
def still_running(running, t, mine, lengths, order):
    """How many rows have not ended before step t, and how many of these are ours."""
    while running > 0 and lengths[order[running - 1]] <= t:
        running -= 1
    return running, count_of(mine, running)


@inlined
def multiply(operation, count, when, part, memory, has_hh, one):
    """A product with recurrent weights: a = pre + U source, or apart from it h = U source + b, or h = W_hr m."""
    sizes, spans, batch, places, lines = part
    packed, packed_at, scratch = memory
    _, B, _, G, _, H, P, _ = sizes
    t, s, s_next, g, at_pre = when
    _, _, line, slot, width, offset, weight, row, gates, narrow, to, to_slot, to_width, to_offset, add = fields(
        operation
    )
    slots, widths = (s, s_next, g), (H, P, G * H)
    units, span = (P, (spans[2], spans[3])) if narrow else (H, (spans[0], spans[1]))
    a = pointer(lines[line], one), batch, widths[width], slots[slot] * B * widths[width] + offset * H, 1
    if to_slot == PRE:
        c = pointer(lines[to], one), places, G * H, at_pre * G * H + to_offset * H
    else:
        c = pointer(lines[to], one), batch, widths[to_width], slots[to_slot] * B * widths[to_width]
    start = c[0], c[1], c[2], c[3], add
    if add == START_BIAS:
        start = pointer(lines[BIAS_HH], one), batch, 0, row * H, has_hh
    b, rounded = (packed, packed_at, H if weight == HR else P), pointer(lines[ROUNDED], 1)
    if rounded[half.IN + weight]:
        half.gates(rounded[half.GATES], rounded, count, units, (0, gates), span, a, b, c, start, scratch)
    else:
        multiply_gates(t, count, units, (0, gates), span, a, b, c, start)


@inlined
def finish(count, total, when, part, one):
    """y[t] = h[t+1]; rows that have ended carry their states, and zeros stand in their gates and outputs."""
    sizes, spans, batch, _, lines = part
    _, B, _, _, _, H, P, _ = sizes
    t, s, s_next, g, _ = when
    h, y = pointer(lines[H_LINE], one), pointer(lines[Y], one)
    for n in range(count):
        source, target = (s_next * B + batch[n]) * P, (t * B + batch[n]) * P
        for j in range(spans[2], spans[3]):
            y[target + j] = h[source + j]
    if count < total:
        program = pointer(lines[PROGRAM], 1)
        for k in range(program[0] + 1, program[1] + 1):
            _, number, moves, kind, blocks, _, _, _, _, _, _, _, _, _, _ = fields(after(program, k * COLUMNS))
            line = pointer(lines[number], one)
            width, first, last = (P, spans[2], spans[3]) if kind == WIDTH_P else (H, spans[0], spans[1])
            for n in range(count, total):
                for block in range(blocks):
                    target = (((s_next if moves else g) * B + batch[n]) * blocks + block) * width
                    source = (s * B + batch[n]) * width
                    for j in range(first, last):
                        line[target + j] = line[source + j] if moves else one - one
        for n in range(count, total):
            for j in range(spans[2], spans[3]):
                y[(t * B + batch[n]) * P + j] = one - one


# -- once a pass -----------------------------------------------------------------------------------------------------


@inlined
def pack_weights(part, packed, starts, there, one):
    """Pack weight_ih and the weights of each product, if not `there`; `starts` takes where each of them begins."""
    sizes, spans, _, _, lines = part
    program = pointer(lines[PROGRAM], 1)
    _, _, D, G, _, H, P, _ = sizes
    units, wide = (spans[0], spans[1]), (spans[2], spans[3])
    rounded = pointer(lines[ROUNDED], 1)
    if not there:
        pack_weight(rounded, IH, pointer(lines[WEIGHT_IH], one), D, H, (0, G), units, packed, 0)
    end = end_of_gates(half.stored(rounded, IH, D), H, (0, G), units, 0, one)
    for k in range(1, program[0] + 1):
        kind, _, _, _, _, _, weight, row, gates, _, _, _, _, _, _ = fields(after(program, k * COLUMNS))
        starts[k] = end
        if kind == PRODUCT and weight == HR:
            if not there:
                pack_weight(rounded, HR, pointer(lines[WEIGHT_HR], one), H, P, (0, 1), wide, packed, end)
            end = end_of_gates(half.stored(rounded, HR, H), P, (0, 1), wide, end, one)
        elif kind == PRODUCT:
            if not there:
                weight_hh = pointer(lines[WEIGHT_HH], one)
                pack_weight(rounded, HH, weight_hh, P, H, (row, row + gates), units, packed, end)
            end = end_of_gates(half.stored(rounded, HH, P), H, (row, row + gates), units, end, one)


@inlined
def pack_weight(rounded, which, weight, depth, units, gates, span, packed, packed_at):
    """Pack a part of a weight; as pairs of rounded numbers, if that is asked for."""
    if rounded[half.IN + which]:
        half.pack_gates(rounded[half.PACK_GATES], rounded, weight, depth, units, gates, span, packed, packed_at)
    else:
        pack_gates(weight, depth, units, gates, span, packed, packed_at)


@inlined
def join_biases(part, has_ih, has_hh, bias, one):
    """bias_ih, with bias_hh added for the gates whose two parts join; `bias` takes it."""
    sizes, _, _, _, lines = part
    G, H, program = sizes[3], sizes[5], pointer(lines[PROGRAM], 1)
    bias_ih, bias_hh = pointer(lines[BIAS_IH], one), pointer(lines[BIAS_HH], one)
    for j in range(G * H if has_ih else 0):
        bias[j] = bias_ih[j]
    for k in range(1, program[0] + 1 if has_hh else 0):
        kind, _, _, _, _, _, _, row, gates, _, _, _, _, gate, add = fields(after(program, k * COLUMNS))
        if kind == PRODUCT and add == START_ITSELF:
            for j in range(gates * H):
                bias[gate * H + j] += bias_hh[row * H + j]


@inlined
def options_of(table):
    """The options in a table."""
    o = after(table, OPTIONS_AT)
    return o[0], o[1], o[2], o[3], o[4], o[5], o[6]


@compiled(overlapping=True)
def start_forward(table, rank, number, one):
    """`forward` from a table (`kernels.cpu.table`), for this rank of pass `number`."""
    entries = at(table)
    x = entries[FORWARD_X], entries[FORWARD_X + 1], entries[FORWARD_X + 2]
    share, sizes, options = share_of(entries, rank, number), sizes_of(entries), options_of(entries)
    forward(share, sizes, options, x, after(entries, FORWARD_LINES), entries[ROWS_AT], one)


@compiled(overlapping=True)
def start_packing(table, rank, one):
    """Pack the weights of the units of this rank, and join its biases, where the table of `start_forward` says."""
    entries = at(table)
    sizes, options, lines = sizes_of(entries), options_of(entries), after(entries, FORWARD_LINES)
    share = share_of(entries, rank, 0)
    batch = after(pointer(lines[INDICES], 1), rank * options[2])
    starts = after(batch, (2 + 2 * options[0]) * sizes[1])
    packs = from_a_cache_line(after(pointer(lines[PACKS], one), rank * options[1]))
    part = sizes, spans_of(share, sizes[5], sizes[6], one), batch, batch, lines
    pack_weights(part, after(packs, padded_to_vectors(sizes[3] * sizes[5], one)), starts, 0, one)
    join_biases(part, options[4], options[5], packs, one)
