# mypy: allow-untyped-defs, allow-untyped-calls
"""The backward time loop: in chunks of steps from the end, recur over the steps of a chunk, then make dx and the weight
gradients of these steps, while they are in the cache.

It is compiled once for every cell, as the forward loop is.  The gradients of weights are shared among the threads by
rows of the weight, and no sum is ever split: the bits are the same for every team.
"""

from __future__ import annotations

from kernels.cpu import half
from kernels.cpu.barrier import ring, wait
from kernels.cpu.compiling import by_address, compiled, inlined, shared
from kernels.cpu.pointers import after, at, from_a_cache_line, pointer
from kernels.cpu.products import (
    DEPTH,
    add_rows,
    multiply_transposed,
    pack,
    padded_to_vectors,
    portion,
    product_to_and_fro,
    vector_lanes,
)
from kernels.cpu.program import BACKWARD, COLUMNS, HH, HR, IH, MOVE, NEW, PRODUCT, PROJECTED, ROWS, WIDTH_P, fields
from kernels.cpu.rows import BACKWARD_KINDS
from kernels.cpu.shares import SHARE, SIZES, count_of, own_rows, share_of, sizes_of, spans_of, take_rows
from kernels.cpu.table import BACKWARD_LINES, BACKWARD_X
from kernels.cpu.table import OPTIONS as OPTIONS_AT
from kernels.cpu.table import ROWS as ROWS_AT
from kernels.cpu.tiles import ROWS as TILE_ROWS
from kernels.cpu.tiles import VECTORS

X, WEIGHT_IH, WEIGHT_HH, WEIGHT_HR, DX, DY, PACKS, LENGTHS, ORDER, INDICES, PROGRAM, PLAIN = range(12)
ROUNDED, SCRATCH = range(12, 14)  # both only where products are rounded (`kernels.cpu.half`)
DA, DA_HIDDEN, DOWN, DPROJECTED, TRACE_DA, TRACE_DA_HIDDEN, TRACE_DPROJECTED, OWN, TARGETS = range(14, 23)
TOTALS = TARGETS + 5
DH = len(BACKWARD)  # the gradient of the first state
PADDING = 16  # numbers in a row of da: rows whose length is a power of two would fall into the same part of the cache
#: Chunk, a thread's room in packs and in indices, whether there are dy and a trace; then which gradients are wanted, of
#: weight_ih, weight_hh, weight_hr, bias_ih, bias_hh; and whether the sums go on from what the targets hold.
OPTIONS = ("int",) * 11
row_function = by_address(*BACKWARD_KINDS)


@shared(SHARE, SIZES, OPTIONS, ("int",) * 6, "rows", "int", "number")
def backward(share, sizes, options, steps, lines, rows, one):
    """Walk the steps of one layer and direction from the end, this thread's share of it.

    Parameters
    ----------
    share, sizes, lines, rows, one : as in forward; options : see OPTIONS.
    steps : offset, step in time, step in the batch, of x and of dy.
    """
    rank, team, _, barrier, bell, number = share
    T, B, D, G, _, H, P, _ = sizes
    chunk, room, index_room, has_dy, traced = options[:5]
    if rank == 0:
        ring(bell, number)
    lengths, order = pointer(lines[LENGTHS], 1), pointer(lines[ORDER], 1)
    mine, spans = own_rows(share, B, lengths, order), spans_of(share, H, P, one)
    # dx is shared by columns where there are enough of them, else by rows
    d_span = portion(D, rank, team, vector_lanes(one)) if D >= team * VECTORS * vector_lanes(one) else (0, D)
    batch = after(pointer(lines[INDICES], 1), rank * index_room)
    places, x_rows, slots = after(batch, B), after(batch, 2 * B), after(batch, (2 + chunk) * B)
    starts = after(batch, (2 + 2 * chunk) * B)
    total, part = take_rows(mine, order, batch, places), (sizes, spans, batch, places, lines)
    program = pointer(lines[PROGRAM], 1)
    notes, operations = program[0], program[1]
    packed = from_a_cache_line(after(pointer(lines[PACKS], one), rank * room))
    pack_as_they_stand(part, d_span, packed, starts, one)
    rounded = pointer(lines[ROUNDED], 1)
    scratch = after(pointer(lines[SCRATCH], one), rank * half.scratch_backward(rounded[half.SLOTS], chunk, sizes))
    begin_gradients(total, part, one)
    # a chunk's weight gradients are added up apart, and to the targets at the end; where there is but one, at once
    apart = (T > chunk or chunk * B > DEPTH) and not options[10]
    summed, still, count = 0 if apart else 1, 0, 0  # `still`: rows that have begun, seen from the end; `count` of ours
    for end in range(T, 0, -chunk):
        at_row = 0
        for t in range(end - 1, max(0, end - chunk) - 1, -1):
            if still < B and lengths[order[still]] > t:
                while still < B and lengths[order[still]] > t:
                    still += 1
                count = count_of(mine, still)
            if has_dy:
                receive(count, steps[3] + t * steps[4], steps[5], part, one)
            for k in range(1 if traced else notes + 1, operations + 1):
                operation = after(program, k * COLUMNS)
                if operation[0] == ROWS:
                    units, when = (spans[2], spans[3]) if operation[2] else (spans[0], spans[1]), (t, at_row, traced)
                    row_function(
                        rows, operation[1], count, when, (B, H, P, G * H + PADDING), units, batch, places, lines, one
                    )
                elif operation[0] == MOVE:
                    move(operation, total if operation[4] else count, t, part, one)
                else:
                    multiply(operation, count, (t, at_row), share, part, (packed, starts[k], scratch), one)
            for i in range(still):
                slots[at_row + i] = t * B + order[i]
                x_rows[at_row + i] = steps[0] + t * steps[1] + order[i] * steps[2]
            at_row += still
        wait(barrier, team)
        sums = (TOTALS if apart else TARGETS), summed
        gradients((at_row, x_rows, slots), share, options, part, d_span, sums, (packed, starts[0], scratch), one)
        summed = max(summed, min(1, at_row))
        wait(barrier, team)
    if apart and summed:
        add_totals(share, options, part, one)
    for k in range(1, notes + 1 if traced else 0):
        move(after(program, k * COLUMNS), total, -1, part, one)


# -- the parts of a step ---------------------------------------------------------------------------------------------


@inlined
def begin_gradients(total, part, one):
    """The gradients of the states after the last step, as they were given, or zeros."""
    sizes, spans, batch, _, lines = part
    H, P, program = sizes[5], sizes[6], pointer(lines[PROGRAM], 1)
    for k in range(program[0]):
        note = after(program, (1 + k) * COLUMNS)
        given, there = pointer(lines[program[5] + 2 * k], one), lines[program[5] + 2 * k + 1]
        dstate = pointer(lines[note[1]], one)
        width, first, last = (P, spans[2], spans[3]) if note[3] == WIDTH_P else (H, spans[0], spans[1])
        for n in range(total):
            for j in range(batch[n] * width + first, batch[n] * width + last):
                dstate[j] = given[j] if there else one - one


@inlined
def receive(count, begin, step, part, one):
    """dy joins what the states after a step receive: y[t] = h[t+1]."""
    sizes, spans, batch, _, lines = part
    P = sizes[6]
    dh, dy = pointer(lines[DH], one), pointer(lines[DY], one)
    for n in range(count):
        source, target = begin + batch[n] * step, batch[n] * P
        for j in range(spans[2], spans[3]):
            dh[target + j] += dy[source + j]


@inlined
def move(operation, count, t, part, one):
    """Copy the gradients of a state to those of a trace, or from a spare array to their place."""
    sizes, spans, batch, _, lines = part
    _, B, _, _, _, H, P, _ = sizes
    source, target, slot = pointer(lines[operation[1]], one), pointer(lines[operation[2]], one), operation[4] * (t + 1)
    width, first, last = (P, spans[2], spans[3]) if operation[3] == WIDTH_P else (H, spans[0], spans[1])
    for n in range(count):
        begin, to = batch[n] * width, (slot * B + batch[n]) * width
        for j in range(first, last):
            target[to + j] = source[begin + j]


@inlined
def multiply(operation, count, when, share, part, memory, one):
    """What comes through a product joins what came directly: of a = x + U source + b, or of h = W_hr m.

    In the second case dh first becomes the chunk's dprojected, and nothing of it has reached h_prev yet.
    """
    (t, at_row), (_, team, by_units, barrier, _, _) = when, share
    sizes, spans, batch, places, lines = part
    _, _, _, G, _, H, P, _ = sizes
    S, width = G * H + PADDING, P + PADDING
    if operation[0] == PROJECTED:
        _, to, added, in_place, _, _, _, _, _, _, _, _, _, _, _ = fields(operation)
        dh, dprojected = pointer(lines[DH], one), pointer(lines[DPROJECTED], one)
        for n in range(count):
            source, target = batch[n] * P, (at_row + places[n]) * width
            for j in range(spans[2], spans[3]):
                dprojected[target + j] = dh[source + j]
                if in_place:
                    dh[source + j] = one - one
        columns, depth, which = spans[1] - spans[0], P, HR
        a = dprojected, places, width, at_row * width, 1
        c = pointer(lines[to], one), batch, H, spans[0]
    else:
        _, side, gate, gates, _, to, added, _, _, _, _, _, _, _, _ = fields(operation)
        columns, depth, which = spans[3] - spans[2], gates * H, HH
        a = pointer(lines[side], one), places, S, at_row * S + gate * H, 1
        c = pointer(lines[to], one), batch, P, spans[2]
    if by_units:
        wait(barrier, team)
    packed, packed_at, scratch = memory
    rounded = pointer(lines[ROUNDED], 1)
    multiply_rows(rounded, which, t, count, columns, a, (packed, packed_at, depth), c, added, scratch)


@inlined
def multiply_rows(rounded, which, turn, count, columns, a, b, c, added, scratch):
    """C (+)= A B, with rounded operands if that is asked for; `turn` as in `product_to_and_fro`."""
    start = c[0], c[1], c[2], c[3], added
    if rounded[half.IN + which]:
        at_gates, span = rounded[half.GATES], (0, columns)
        half.gates(at_gates, rounded, count, columns, (0, 1), span, a, b, c, start, scratch)
    else:
        product_to_and_fro(turn, count, columns, a, b, c, start)


# -- once a chunk ----------------------------------------------------------------------------------------------------


@inlined
def gradients(chunk, share, options, part, d_span, sums, memory, one):
    """dx and all weight gradients of a chunk, and its rows for a trace.

    Parameters
    ----------
    chunk : how many rows it has; where each row begins in x, and its slot on the tape.
    d_span : the columns of dx that are this thread's; all D where its share is rows.
    sums : the first line of those to add to, and whether they hold something.
    memory : the packed weights, where there is room for a chunk's operands, and the scratch of rounded products.
    """
    rank, team, _, _, _, _ = share
    sizes, _, _, _, lines = part
    count, _, slots = chunk
    _, _, D, G, _, H, P, projected = sizes
    S, wide = G * H + PADDING, P + PADDING
    da, plain, dx = pointer(lines[DA], one), pointer(lines[PLAIN], 1), pointer(lines[DX], one)
    program, columns = pointer(lines[PROGRAM], 1), d_span[1] - d_span[0]
    first, last = (0, count) if columns < D else portion(count, rank, team, TILE_ROWS)
    a, c = (da, after(plain, first), S, 0, 1), (dx, after(slots, first), D, d_span[0])
    packed, room, scratch = memory
    rounded = pointer(lines[ROUNDED], 1)
    ih = packed, room - half.stored(rounded, IH, G * H) * padded_to_vectors(columns, one), G * H
    multiply_rows(rounded, IH, 0, last - first, columns, a, ih, c, 0, scratch)
    for k in range(program[1] + 1, program[2] + 1):
        operation = after(program, k * COLUMNS)
        weight_gradient(operation, chunk, share, options, part, sums, memory, one)
    own = program[4] * H
    first, last = portion(own, rank, team, TILE_ROWS)
    for r in range(0, count if own else 0, DEPTH):
        down = pointer(lines[DOWN], one), r * own, own
        add_rows(down, min(DEPTH, count - r), (first, last), (pointer(lines[OWN], one), 1))
    if rank == 0 and options[4]:
        write_trace(count, slots, da, S, pointer(lines[TRACE_DA], one), G * H)
        if program[3]:
            write_trace(count, slots, pointer(lines[DA_HIDDEN], one), S, pointer(lines[TRACE_DA_HIDDEN], one), G * H)
        if projected:
            trace = pointer(lines[TRACE_DPROJECTED], one)
            write_trace(count, slots, pointer(lines[DPROJECTED], one), wide, trace, P)


@inlined
def weight_gradient(operation, chunk, share, options, part, sums, memory, one):
    """The gradients of a part of a weight and its bias: a = x W_ih' + b_ih, a = x + U source + b, or h = W_hr m."""
    rank, team, _, _, _, _ = share
    sizes, _, _, _, lines = part
    _, B, D, G, R, H, P, _ = sizes
    _, side, gate, weight_row, gates, line, slot, width, offset, weight, _, _, _, _, _ = fields(operation)
    S, values, source = G * H + PADDING, pointer(lines[side], one), pointer(lines[line], one)
    count, x_rows, slots = chunk
    packed, room, scratch = memory
    rounded, plain = pointer(lines[ROUNDED], 1), pointer(lines[PLAIN], 1)
    into, summed = sums
    first, end, shift = weight_row * H, (weight_row + gates) * H, (gate - weight_row) * H
    row = (H, P, G * H)[width]
    begin = (B * row if slot == NEW else 0) + offset * H
    if weight == IH:
        M, columns, rows, row, begin = G * H, D, x_rows, 1, 0
    elif weight == HH:
        M, columns, rows = R * H, P, slots
    else:
        M, columns, rows, end, S = P, H, slots, P, P + PADDING
    m_first, m_last = portion(M, rank, team, TILE_ROWS)
    span = max(m_first, first), min(m_last, end)
    for r in range(0, count, DEPTH):
        depth, a = min(DEPTH, count - r), (values, r * S + shift, S)
        if options[5 + weight]:
            b, total = (source, after(rows, r), row, begin), (pointer(lines[into + weight], one), summed)
            if rounded[half.IN + weight]:
                at_gradient = rounded[half.GRADIENT]
                half.gradient(at_gradient, rounded, a, b, depth, columns, plain, packed, room, scratch, span, total)
            else:
                multiply_transposed(a, b, depth, columns, plain, packed, room, span, total)
        if weight != HR and options[8 + weight]:
            add_rows(a, depth, span, (pointer(lines[into + 3 + weight], one), summed))
        summed = 1


@inlined
def write_trace(count, slots, values, step, trace, width):
    """The rows of a chunk, to their places among all steps."""
    for r in range(count):
        for m in range(width):
            trace[slots[r] * width + m] = values[r * step + m]


# -- once a pass -----------------------------------------------------------------------------------------------------


@inlined
def pack_as_they_stand(part, d_span, packed, starts, one):
    """Pack each stage's part of weight_hh, weight_hr and weight_ih; `starts` takes where each begins, and the end."""
    sizes, spans, _, _, lines = part
    program = pointer(lines[PROGRAM], 1)
    _, _, D, G, _, H, P, _ = sizes
    rounded, plain, end = pointer(lines[ROUNDED], 1), pointer(lines[PLAIN], 1), 0
    for k in range(1, program[1] + 1):
        kind, _, _, gates, row, _, _, _, _, _, _, _, _, _, _ = fields(after(program, k * COLUMNS))
        starts[k] = end
        if kind == PRODUCT:
            depth, columns = gates * H, spans[3] - spans[2]
            weight_hh = pointer(lines[WEIGHT_HH], one), plain, P, row * H * P + spans[2]
            end = pack_weight(rounded, HH, weight_hh, depth, columns, packed, end)
        elif kind == PROJECTED:
            weight_hr = pointer(lines[WEIGHT_HR], one), plain, H, spans[0]
            end = pack_weight(rounded, HR, weight_hr, P, spans[1] - spans[0], packed, end)
    columns = d_span[1] - d_span[0]
    weight_ih = pointer(lines[WEIGHT_IH], one), plain, D, d_span[0]
    starts[0] = pack_weight(rounded, IH, weight_ih, G * H, columns, packed, end)


@inlined
def pack_weight(rounded, which, weight, depth, columns, packed, packed_at):
    """Pack a part of a weight; as pairs of rounded numbers, if that is asked for.  Returns where it ends."""
    if rounded[half.IN + which]:
        half.pack_rows(rounded[half.PACK_ROWS], weight, depth, columns, packed, packed_at)
    else:
        pack(weight, depth, columns, packed, packed_at)
    return packed_at + half.stored(rounded, which, depth) * padded_to_vectors(columns, packed)


@inlined
def add_totals(share, options, part, one):
    """Add the sums over all chunks to the gradients: each thread the rows that it has summed."""
    rank, team, _, _, _, _ = share
    sizes, _, _, _, lines = part
    _, _, D, G, R, H, P, _ = sizes
    rows, columns = (G * H, R * H, P, G * H, R * H), (D, P, H, 1, 1)
    for k in range(5):
        target, total = pointer(lines[TARGETS + k], one), pointer(lines[TOTALS + k], one)
        first, last = portion(rows[k], rank, team, TILE_ROWS)
        for n in range(first * columns[k], last * columns[k] if options[5 + k] else 0):
            target[n] += total[n]


@compiled(overlapping=True)
def start_backward(table, rank, number, one):
    """`backward` from a table (`kernels.cpu.table`), for this rank of pass `number`."""
    entries = at(table)
    o, s = after(entries, OPTIONS_AT), after(entries, BACKWARD_X)
    options = o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8], o[9], o[10]
    steps = s[0], s[1], s[2], s[3], s[4], s[5]
    share, sizes = share_of(entries, rank, number), sizes_of(entries)
    backward(share, sizes, options, steps, after(entries, BACKWARD_LINES), entries[ROWS_AT], one)
