# mypy: allow-untyped-defs, allow-untyped-calls
"""The time loops of `kernels.reference`, compiled for the CPU: one layer and direction, one call a thread.

The gate equations are those of `kernels.gates`, the very same source (`kernels.cpu.rows`).  What is written here is
the walk around them, in `chunk`s of steps: forward projects the input of a chunk, then recurs over its steps; backward
recurs over a chunk from its end, then makes dx and the weight gradients of these steps, while they are in the cache.
It stands once forward and once backward for every cell.

The threads of a team (`rank` of `team`) share the work in one of two ways.  By rows: each takes its rows of the batch
through all steps, and nobody waits.  By units (`by_units`): each takes a part of the hidden units of all
rows, reads its part of the weights only, and waits for the others once a step.  Weight gradients are always shared by
rows of the weight.  No sum is ever split, so the bits are the same either way.

Rows of different lengths come in `order`, the longest first: at every step the rows that still run are the first so
many, and a row that has ended costs nothing but the copy of its state.

Shapes: T steps, B batch, D inputs, G gate blocks, H hidden units, R rows of a chunk, S slots of a state buffer (T+1 for
a tape; 2 where nothing is kept).  x, dy and dx are given as (array, offset, step in time, step in the batch), all in
numbers, with the features next to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cpu import rows
from kernels.cpu.barrier import ring, wait
from kernels.cpu.compiling import compiled, inlined
from kernels.cpu.products import (
    VECTORS,
    address_of,
    from_a_cache_line,
    only_whole_vectors,
    pack,
    pack_transposed,
    product,
    product_at,
    vector_lanes,
)
from kernels.cpu.tiles import ROWS

#: Rows of a chunk whose weight gradient is one product: enough to make up for reading and writing it.
DEPTH = 256


@inlined
def portion(total, rank, team, grain):
    """The part of 0..total that falls to `rank`, in whole grains."""
    grains = -(-total // grain)
    return min(total, grains * rank // team * grain), min(total, grains * (rank + 1) // team * grain)


@inlined
def _own_rows(rank, team, by_units, lengths, order):
    """First, end and step of the rows that fall to `rank`, counted in `order`."""
    B = len(order)
    if by_units:
        return 0, B, 1
    if lengths[order[0]] != lengths[order[B - 1]]:  # the longest come first: in turns, or one thread had all of these
        return rank, B, team
    first, end = portion(B, rank, team, 1)  # neighbours: a core fetches ahead, and would fetch what the other writes
    return first, end, 1


@inlined
def _padded(columns, array):
    lane = vector_lanes(array)
    return -(-columns // lane) * lane


@compiled("matrix products")
def _pack_gates(weight, depth, H, gate, last_gate, first, last, packed, at):
    """Pack the rows of units `first` to `last` of some gates of a weight (G*H, depth), to multiply by its transpose.

    Gates whose units are all wanted lie together and are packed as one matrix.
    """
    joined = last - first == H
    while gate < last_gate:
        columns = (last_gate - gate) * H if joined else last - first
        starts = (np.arange(columns) + gate * H + first) * depth
        pack_transposed(weight, starts, 0, depth, columns, packed, at)
        at += depth * _padded(columns, weight)
        gate += last_gate if joined else 1
    return at


@compiled("matrix products")
def _multiply_gates(count, H, gate, last_gate, first, last, a, packed, at, depth, c, start):
    """C = start + A W' for what `_pack_gates` has packed; column 0 of C is the first unit of gate 0."""
    joined = last - first == H
    while gate < last_gate:
        columns = (last_gate - gate) * H if joined else last - first
        begin = gate * H + first
        c_gate, start_gate = (c[0], c[1], c[2] + begin), (start[0], start[1], start[2] + begin, start[3])
        product(count, columns, a, (packed, at, depth), c_gate, start_gate)
        at += depth * _padded(columns, packed)
        gate += last_gate if joined else 1


def _make_forward(title: str, row: Callable[..., None], splits_n: bool = False, resets_before: bool = False) -> Any:
    @compiled(title)
    def forward(share, chunk, keep, x, weights, ends, h, c, gate, hidden_n, y, packs, pre, reset_h, one):
        rank, team, by_units, barrier, bell, number = share
        if rank == 0:
            ring(bell, number)
        weight_ih, weight_hh, bias_ih, bias_hh, has_bias = weights
        lengths, order = ends
        T, B, H = y.shape
        G = gate.shape[2]
        x_flat, x_at, x_t, x_b = x
        D = weight_ih.size // (G * H)
        first, last = portion(H, rank, team, vector_lanes(h)) if by_units else (0, H)
        row_first, row_end, row_step = _own_rows(rank, team, by_units, lengths, order)
        unit, unit_end = np.uint64(first), np.uint64(last)
        packed = from_a_cache_line(packs[rank])
        split = 2 if splits_n or resets_before else G  # the gates of the first product with h
        hh_at = _pack_gates(weight_ih, D, H, 0, G, first, last, packed, 0)
        n_at = _pack_gates(weight_hh, H, H, 0, split, first, last, packed, hh_at)
        if splits_n or resets_before:
            _pack_gates(weight_hh, H, H, split, G, first, last, packed, n_at)
        h_flat, pre_flat, hidden_flat, reset_flat = (
            h.reshape(-1),
            pre.reshape(-1),
            hidden_n.reshape(-1),
            reset_h.reshape(-1),
        )
        capacity = min(chunk, T) * B
        x_rows, pre_rows = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        h_rows, n_rows, a_rows = np.empty(B, np.int64), np.empty(B, np.int64), np.empty(B, np.int64)
        same_row = np.zeros(capacity, np.int64)  # one bias for all rows
        bias = bias_ih.copy()
        if has_bias:
            bias[: 2 * H if splits_n else G * H] += bias_hh[: 2 * H if splits_n else G * H]
        lane, joined = vector_lanes(h), last - first == H
        direct = joined and only_whole_vectors(split * H, h) and only_whole_vectors((G - split) * H, h)
        h_data, h_offsets, pre_data = address_of(h_flat), address_of(h_rows), address_of(pre_flat)
        pre_offsets, packed_data = address_of(a_rows), address_of(packed)
        running = B  # rows that have not ended
        for begin in range(0, T, chunk):
            end = min(begin + chunk, T)
            # input projection of the chunk: pre = x W_ih' + b_ih + b_hh (but for b_hn, where r multiplies it)
            count, still = 0, running
            for t in range(begin, end):
                while still > 0 and lengths[order[still - 1]] <= t:
                    still -= 1
                for i in range(row_first, min(still, row_end), row_step):
                    x_rows[count] = t * x_t + order[i] * x_b
                    pre_rows[count] = ((t - begin) * B + i) * G * H  # a place of its own: nobody waits in between
                    count += 1
            a, start = (x_flat, x_rows, x_at, 1), (bias, same_row, 0, has_bias)
            _multiply_gates(count, H, 0, G, first, last, a, packed, 0, D, (pre_flat, pre_rows, 0), start)
            for t in range(begin, end):
                at = (t - begin) * B
                while running > 0 and lengths[order[running - 1]] <= t:
                    running -= 1
                s, s_next, g = (t, t + 1, t) if keep else (t & 1, 1 - (t & 1), 0)
                count = 0
                for i in range(row_first, min(running, row_end), row_step):
                    h_rows[count] = (s * B + order[i]) * H
                    a_rows[count] = (at + i) * G * H
                    n_rows[count] = order[i] * H
                    count += 1
                # recurrent product: a = pre + U h_prev
                a, c_pre = (h_flat, h_rows, 0, 1), (pre_flat, a_rows, 0)
                if direct:
                    to = (pre_data, pre_offsets, 0)
                    a_at, b_at = (h_data, h_offsets, 0, 1), (packed_data, hh_at, H)
                    product_at(one, count, split * H, lane, a_at, b_at, to, (*to, 1))
                else:
                    _multiply_gates(count, H, 0, split, first, last, a, packed, hh_at, H, c_pre, (*c_pre, 1))
                if splits_n:
                    # hidden_n = U_n h_prev + b_hn
                    if direct:
                        to = (address_of(hidden_flat), address_of(n_rows), g * B * H)
                        start_n = (address_of(bias_hh), address_of(same_row), 2 * H, has_bias)
                        product_at(one, count, H, lane, a_at, (packed_data, n_at, H), to, start_n)
                    else:
                        c_n, start = (hidden_flat, n_rows, (g * B - 2) * H), (bias_hh, same_row, 0, has_bias)
                        _multiply_gates(count, H, split, G, first, last, a, packed, n_at, H, c_n, start)
                if resets_before:
                    for i in range(row_first, min(running, row_end), row_step):
                        rows.gru_before_gates_row(at + i, order[i], s, g, unit, unit_end, pre, h, gate, reset_h, one)
                    if by_units:
                        wait(barrier, team)
                    # a_n = pre_n + U_n (r * h_prev)
                    a = (reset_flat, n_rows, 0, 1)
                    _multiply_gates(count, H, split, G, first, last, a, packed, n_at, H, c_pre, (*c_pre, 1))
                for i in range(row_first, min(running, row_end), row_step):
                    row(at + i, order[i], s, s_next, g, unit, unit_end, pre, h, c, gate, hidden_n, one)
                    for j in range(unit, unit_end):
                        y[t, order[i], j] = h[s_next, order[i], j]
                for i in range(max(row_first, running + (row_first - running) % row_step), row_end, row_step):
                    rows.carry(order[i], s, s_next, g, unit, unit_end, h, c, gate, hidden_n)
                    for j in range(unit, unit_end):
                        y[t, order[i], j] = 0
                if by_units:
                    wait(barrier, team)

    return forward


def _make_backward(title: str, row_backward: Callable[..., None], splits_n: bool, resets_before: bool = False) -> Any:
    @compiled(title)
    def backward(
        share, chunk, dy, x, dx, weights, ends, h, c, gate, hidden_n, dh, dc, grads, totals, packs, da, da_hidden,
        reset_h, dreset_h, dh_all, dc_all, da_all, da_hidden_all, one,
    ):  # fmt: skip
        rank, team, by_units, barrier, bell, number = share
        if rank == 0:
            ring(bell, number)
        weight_ih, weight_hh = weights
        lengths, order = ends
        T, B, G, H = gate.shape
        capacity = min(chunk, T) * B
        dy_flat, dy_at, dy_t, dy_b, has_dy = dy
        x_flat, x_at, x_t, x_b = x
        dx_flat, dx_t, dx_b = dx
        # a chunk's weight gradients are added up apart, and to `grads` at the end; where there is but one, at once
        apart = 1 if T > chunk or capacity > DEPTH else 0
        dweight_ih, dweight_hh, dbias_ih, dbias_hh = totals if apart else grads
        summed = 1 - apart
        D, S = weight_ih.size // (G * H), da.shape[1]
        first, last = portion(H, rank, team, vector_lanes(h)) if by_units else (0, H)
        row_first, row_end, row_step = _own_rows(rank, team, by_units, lengths, order)
        unit, unit_end = np.uint64(first), np.uint64(last)
        packed = from_a_cache_line(packs[rank])
        # a = x W_ih' + U h_prev: backward multiplies by the weights as they stand
        split = 2 * H if resets_before else G * H  # rows of the gates that h_prev enters directly
        units = last - first
        ih_starts, hh_starts = np.arange(G * H) * D, np.arange(G * H) * H
        pack(weight_hh, hh_starts, first, split, units, packed, 0)
        n_at = split * _padded(units, h)
        ih_at = n_at
        if resets_before:
            pack(weight_hh, hh_starts[split:], first, H, units, packed, n_at)
            ih_at += H * _padded(units, h)
        # dx is shared by columns where there are enough of them, else by rows
        by_columns = D >= team * VECTORS * vector_lanes(h)
        d_first, d_last = portion(D, rank, team, vector_lanes(h)) if by_columns else (0, D)
        pack(weight_ih, ih_starts, d_first, G * H, d_last - d_first, packed, ih_at)
        block_at = ih_at + G * H * _padded(d_last - d_first, h)
        m_first, m_last = portion(G * H, rank, team, ROWS)
        da_flat, dh_flat, h_flat = da.reshape(-1), dh.reshape(-1), h.reshape(-1)
        hidden_side = da_hidden.reshape(-1) if splits_n else da_flat
        reset_flat, dreset_flat = reset_h.reshape(-1), dreset_h.reshape(-1)
        a_rows, dh_rows, columns = np.empty(B, np.int64), np.empty(B, np.int64), np.arange(G * H)
        da_rows = np.arange(capacity) * S
        x_rows, h_rows, dx_rows = (
            np.empty(capacity, np.int64),
            np.empty(capacity, np.int64),
            np.empty(capacity, np.int64),
        )
        lane, direct = vector_lanes(h), only_whole_vectors(units, h)
        dh_data, dh_offsets, da_data = address_of(dh_flat), address_of(dh_rows), address_of(hidden_side)
        a_offsets, packed_data = address_of(a_rows), address_of(packed)
        still = 0  # rows that have begun, seen from the end
        for end in range(T, 0, -chunk):
            begin = max(0, end - chunk)
            at = 0
            for t in range(end - 1, begin - 1, -1):
                while still < B and lengths[order[still]] > t:
                    still += 1
                count = 0
                for i in range(row_first, row_end, row_step):
                    b = order[i]
                    if has_dy and i < still:
                        source = np.uint64(dy_at + t * dy_t + b * dy_b)
                        for j in range(unit, unit_end):
                            dh[b, j] += dy_flat[source + j]  # y[t] = h[t+1]
                    if dh_all.shape[0] > 0:
                        for j in range(unit, unit_end):
                            dh_all[t + 1, b, j] = dh[b, j]
                    if dc_all.shape[0] > 0:
                        rows.trace_c(t, b, unit, unit_end, i < still, dh, dc, gate, c, dc_all, one)
                    if i < still:
                        row_backward(at + i, t, b, unit, unit_end, dh, dc, gate, hidden_n, h, c, da, da_hidden, one)
                        a_rows[count] = (at + i) * S
                        dh_rows[count] = b * H
                        count += 1
                if resets_before:
                    if by_units:
                        wait(barrier, team)
                    # a_n = x_n + U_n reset_h + b_hn
                    product(
                        count, units, (da_flat, a_rows, split, 1), (packed, n_at, H), (dreset_flat, dh_rows, first),
                        (dreset_flat, dh_rows, first, 0),
                    )  # fmt: skip
                    for i in range(row_first, min(still, row_end), row_step):
                        rows.gru_before_gates_row_backward(
                            at + i, t, order[i], unit, unit_end, dreset_h, dh, gate, h, da, reset_h, one
                        )
                if by_units:
                    wait(barrier, team)
                # a = pre + U h_prev: what comes through the product joins what came directly
                if direct:
                    to = (dh_data, dh_offsets, first)
                    product_at(
                        one, count, units, lane, (da_data, a_offsets, 0, 1), (packed_data, 0, split), to, (*to, 1)
                    )
                else:
                    c_dh = (dh_flat, dh_rows, first)
                    product(count, units, (hidden_side, a_rows, 0, 1), (packed, 0, split), c_dh, (*c_dh, 1))
                for i in range(still):
                    x_rows[at + i] = t * x_t + order[i] * x_b
                    dx_rows[at + i] = t * dx_t + order[i] * dx_b
                    h_rows[at + i] = (t * B + order[i]) * H
                at += still
            wait(barrier, team)
            # dx of these steps: pre = x W_ih' + b_ih
            r_first, r_last = (0, at) if by_columns else portion(at, rank, team, ROWS)
            product(
                r_last - r_first, d_last - d_first, (da_flat, da_rows[r_first:], 0, 1), (packed, ih_at, G * H),
                (dx_flat, dx_rows[r_first:], d_first), (dx_flat, dx_rows[r_first:], d_first, 0),
            )  # fmt: skip
            # weight gradients: a = x W_ih' + b_ih + U h_prev + b_hh, summed over the rows of the chunk
            for r in range(0, at, DEPTH):
                depth = min(DEPTH, at - r)
                a = (da_flat, columns, r * S, S)
                a_hidden = (hidden_side, columns, r * S, S)
                into, into_hidden = (
                    (m_first, m_last, dweight_ih, summed),
                    (m_first, min(m_last, split), dweight_hh, summed),
                )
                _multiply_transposed(a, (x_flat, x_rows[r:], x_at), depth, D, packed, block_at, into)
                _multiply_transposed(a_hidden, (h_flat, h_rows[r:], 0), depth, H, packed, block_at, into_hidden)
                if resets_before:  # a_n = x_n + U_n (r * h_prev) + b_hn
                    reset_rows = np.arange(r, r + depth) * H
                    into_hidden = (max(m_first, split), m_last, dweight_hh, summed)
                    _multiply_transposed(a, (reset_flat, reset_rows, 0), depth, H, packed, block_at, into_hidden)
                if dbias_ih.size > 0:
                    _add_rows(da_flat, r * S, S, depth, m_first, m_last, dbias_ih, summed)
                    _add_rows(hidden_side, r * S, S, depth, m_first, m_last, dbias_hh, summed)
                summed = 1
            if rank == 0 and da_all.shape[0] > 0:
                for r in range(at):
                    slot = h_rows[r] // H
                    for m in range(G * H):
                        da_all[slot // B, slot % B, m // H, m % H] = da[r, m]
                    if splits_n:
                        for m in range(G * H):
                            da_hidden_all[slot // B, slot % B, m // H, m % H] = da_hidden[r, m]
            wait(barrier, team)
        if apart:
            for gradient, total, width in zip(grads, totals, (D, H, 1, 1)):  # noqa: B905
                for n in range(np.uint64(m_first * width), np.uint64(m_last * width if total.size > 0 else 0)):
                    gradient[n] += total[n] if summed else 0
        for i in range(row_first, row_end, row_step):
            for j in range(unit, unit_end):
                if dh_all.shape[0] > 0:
                    dh_all[0, order[i], j] = dh[order[i], j]
                if dc_all.shape[0] > 0:
                    dc_all[0, order[i], j] = dc[order[i], j]

    return backward


@compiled("matrix products", overlapping=True)
def _multiply_transposed(a, b, depth, width, packed, packed_at, into):
    """Rows m_first to m_last of total (M, width) (+)= A' B, for `depth` rows of A and B; added if `summed`."""
    m_first, m_last, total, summed = into
    if m_last > m_first:
        b_flat, b_rows, b_at = b
        pack(b_flat, b_rows, b_at, depth, width, packed, packed_at)
        columns = a[1][m_first:m_last]
        rows = columns * width
        product(
            m_last - m_first, width, (a[0], columns, a[2], a[3]), (packed, packed_at, depth), (total, rows, 0),
            (total, rows, 0, summed),
        )  # fmt: skip


@compiled("matrix products", overlapping=True)
def _add_rows(a, a_at, a_step, depth, first, last, total, summed):
    """total[first:last] (+)= the sum of `depth` rows of A."""
    column, column_end = np.uint64(first), np.uint64(last)
    part = np.zeros(last, a.dtype)
    for r in range(depth):
        source = np.uint64(a_at + r * a_step)
        for m in range(column, column_end):
            part[m] += a[source + m]
    for m in range(column, column_end):
        total[m] = total[m] + part[m] if summed else part[m]


LOOPS: dict[str, tuple[Any, Any]] = {
    "rnn_tanh": (
        _make_forward("RNN (tanh) forward", rows.rnn_tanh_row),
        _make_backward("RNN (tanh) backward", rows.rnn_tanh_row_backward, splits_n=False),
    ),
    "rnn_relu": (
        _make_forward("RNN (relu) forward", rows.rnn_relu_row),
        _make_backward("RNN (relu) backward", rows.rnn_relu_row_backward, splits_n=False),
    ),
    "lstm": (
        _make_forward("LSTM forward", rows.lstm_row),
        _make_backward("LSTM backward", rows.lstm_row_backward, splits_n=False),
    ),
    "gru_after": (
        _make_forward("GRU forward", rows.gru_after_row, splits_n=True),
        _make_backward("GRU backward", rows.gru_after_row_backward, splits_n=True),
    ),
    "gru_before": (
        _make_forward("GRU (reset before) forward", rows.gru_before_row, resets_before=True),
        _make_backward("GRU (reset before) backward", rows.gru_before_row_backward, splits_n=False, resets_before=True),
    ),
}
