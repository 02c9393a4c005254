# mypy: allow-untyped-defs, allow-untyped-calls
"""One row of one time step of each cell, for the compiled loops of `kernels.cpu`.

A row function applies the gate equations of `kernels.gates`, the very same source, to hidden units `first` to `last` of
one row, and knows where in the buffers a value lies; nothing else.  They carry no type hints: Numba infers them.

Forward (R rows of a chunk of steps, S slots: T+1 of a tape, or the two that `predict` swaps):
pre (R, G, H) pre-activations, the recurrent product U h_prev included; only of a GRU's candidate it is apart, in
hidden_n (S, B, H); h, c (S, B, H); gate (S, B, G, H).  ``r`` is the row in pre, ``b`` the row of the batch, ``s`` and
``s_next`` the slots of the state before and after, ``g`` the slot of the gates.

Backward: dh, dc (B, H), what the state of this step receives from later steps on entry, what the state before it
receives on leaving (less the part through the product); da, da_hidden (R, G*H and some padding).  ``r`` is the row in
da, ``t`` the step, ``b`` the row of the batch.  A buffer that a cell does not have is empty.

``first`` and ``last`` are unsigned: for an index that might be negative Numba would add the length of the axis, at
every access, and the loop would stay scalar (ten times slower).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import gates
from kernels.cpu.activations import relu, sigmoid, tanh
from kernels.cpu.compiling import inlined

_tanh_slope = inlined(gates.tanh_slope)
_rnn_forward, _rnn_backward = inlined(gates.rnn_forward), inlined(gates.rnn_backward)
_lstm_forward, _lstm_backward = inlined(gates.lstm_forward), inlined(gates.lstm_backward)
_gru_after_forward, _gru_after_backward = inlined(gates.gru_after_forward), inlined(gates.gru_after_backward)
_gru_before_gates_forward = inlined(gates.gru_before_gates_forward)
_gru_before_output_forward = inlined(gates.gru_before_output_forward)
_gru_before_output_backward = inlined(gates.gru_before_output_backward)
_gru_before_gates_backward = inlined(gates.gru_before_gates_backward)


@inlined
def _relu_slope(h: Any, one: Any) -> Any:
    """`gates.relu_slope` for one number: a bool times float32 would widen in compiled code."""
    return one if h > 0 else one - one


@inlined
def rnn_tanh_row(r, b, s, s_next, g, first, last, pre, h, c, gate, hidden_n, one):
    """h = tanh(a)."""
    for j in range(first, last):
        value = _rnn_forward(pre[r, 0, j], tanh)
        gate[g, b, 0, j] = value
        h[s_next, b, j] = value


@inlined
def rnn_relu_row(r, b, s, s_next, g, first, last, pre, h, c, gate, hidden_n, one):
    """h = relu(a)."""
    for j in range(first, last):
        value = _rnn_forward(pre[r, 0, j], relu)
        gate[g, b, 0, j] = value
        h[s_next, b, j] = value


@inlined
def rnn_tanh_row_backward(r, t, b, first, last, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `rnn_tanh_row`."""
    for j in range(first, last):
        da[r, j] = _rnn_backward(dh[b, j], gate[t, b, 0, j], _tanh_slope, one)
        dh[b, j] = one - one  # no direct path to h_prev: all of it goes through the product


@inlined
def rnn_relu_row_backward(r, t, b, first, last, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `rnn_relu_row`."""
    for j in range(first, last):
        da[r, j] = _rnn_backward(dh[b, j], gate[t, b, 0, j], _relu_slope, one)
        dh[b, j] = one - one


@inlined
def lstm_row(r, b, s, s_next, g, first, last, pre, h, c, gate, hidden_n, one):
    """Gates, c and h of an LSTM."""
    for j in range(first, last):
        i_gate, f, g_gate, o, c_new, h_new = _lstm_forward(
            pre[r, 0, j],
            pre[r, 1, j],
            pre[r, 2, j],
            pre[r, 3, j],
            c[s, b, j],
            sigmoid,
            tanh,
        )
        gate[g, b, 0, j] = i_gate
        gate[g, b, 1, j] = f
        gate[g, b, 2, j] = g_gate
        gate[g, b, 3, j] = o
        c[s_next, b, j] = c_new
        h[s_next, b, j] = h_new


@inlined
def lstm_row_backward(r, t, b, first, last, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `lstm_row`."""
    H = np.uint64(dh.shape[1])
    for j in range(first, last):
        da_i, da_f, da_g, da_o, dc_prev, _ = _lstm_backward(
            dh[b, j],
            dc[b, j],
            gate[t, b, 0, j],
            gate[t, b, 1, j],
            gate[t, b, 2, j],
            gate[t, b, 3, j],
            c[t, b, j],
            c[t + 1, b, j],
            tanh,
            one,
        )
        da[r, j] = da_i
        da[r, H + j] = da_f
        da[r, H + H + j] = da_g
        da[r, H + H + H + j] = da_o
        dc[b, j] = dc_prev
        dh[b, j] = one - one


@inlined
def gru_after_row(r, b, s, s_next, g, first, last, pre, h, c, gate, hidden_n, one):
    """Gates and h of a GRU with reset after."""
    for j in range(first, last):
        r_gate, z, n, h_new = _gru_after_forward(
            pre[r, 0, j],
            pre[r, 1, j],
            pre[r, 2, j],
            one - one,  # U h_prev has been added to the first two
            one - one,
            hidden_n[g, b, j],
            h[s, b, j],
            sigmoid,
            tanh,
            one,
        )
        gate[g, b, 0, j] = r_gate
        gate[g, b, 1, j] = z
        gate[g, b, 2, j] = n
        h[s_next, b, j] = h_new


@inlined
def gru_after_row_backward(r, t, b, first, last, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `gru_after_row`."""
    H = np.uint64(dh.shape[1])
    for j in range(first, last):
        da_r, da_z, da_n, dh_n, dh_prev = _gru_after_backward(
            dh[b, j], gate[t, b, 0, j], gate[t, b, 1, j], gate[t, b, 2, j], hidden_n[t, b, j], h[t, b, j], one
        )
        da[r, j] = da_r
        da[r, H + j] = da_z
        da[r, H + H + j] = da_n
        da_hidden[r, j] = da_r
        da_hidden[r, H + j] = da_z
        da_hidden[r, H + H + j] = dh_n
        dh[b, j] = dh_prev


# -- GRU with reset before: the product with U_n stands in the middle of a step ------------------------------------


@inlined
def gru_before_gates_row(r, b, s, g, first, last, pre, h, gate, reset_h, one):
    """Gates of a GRU with reset before, and the state that enters the product with U_n: reset_h (B, H)."""
    for j in range(first, last):
        r_gate, z, rh = _gru_before_gates_forward(pre[r, 0, j], pre[r, 1, j], h[s, b, j], sigmoid)
        gate[g, b, 0, j] = r_gate
        gate[g, b, 1, j] = z
        reset_h[b, j] = rh


@inlined
def gru_before_row(r, b, s, s_next, g, first, last, pre, h, c, gate, hidden_n, one):
    """Candidate and h of a GRU with reset before, once pre holds U_n reset_h + b_hn."""
    for j in range(first, last):
        n, h_new = _gru_before_output_forward(pre[r, 2, j], gate[g, b, 1, j], h[s, b, j], tanh, one)
        gate[g, b, 2, j] = n
        h[s_next, b, j] = h_new


@inlined
def gru_before_row_backward(r, t, b, first, last, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `gru_before_row`."""
    H = np.uint64(dh.shape[1])
    for j in range(first, last):
        da_z, da_n, dh_prev = _gru_before_output_backward(dh[b, j], gate[t, b, 1, j], gate[t, b, 2, j], h[t, b, j], one)
        da[r, H + j] = da_z
        da[r, H + H + j] = da_n
        dh[b, j] = dh_prev


@inlined
def gru_before_gates_row_backward(r, t, b, first, last, dreset_h, dh, gate, h, da, reset_h, one):
    """Reverse of `gru_before_gates_row`; keeps reset_h (R, H) for the gradient of U_n."""
    for j in range(first, last):
        da_r, dh_prev = _gru_before_gates_backward(dreset_h[b, j], gate[t, b, 0, j], h[t, b, j], one)
        da[r, j] = da_r
        dh[b, j] += dh_prev
        reset_h[r, j] = gate[t, b, 0, j] * h[t, b, j]


# -- past a row's end, and what a step has beside the cell ----------------------------------------------------------


@inlined
def carry(b, s, s_next, g, first, last, h, c, gate, hidden_n):
    """Past a row's end: the state before is the state after."""
    for j in range(first, last):
        h[s_next, b, j] = h[s, b, j]
    for block in range(gate.shape[2]):
        for j in range(first, last):
            gate[g, b, block, j] = 0
    if c.shape[0] > 0:
        for j in range(first, last):
            c[s_next, b, j] = c[s, b, j]
    if hidden_n.shape[0] > 0:
        for j in range(first, last):
            hidden_n[g, b, j] = 0


@inlined
def trace_c(t, b, first, last, valid, dh, dc, gate, c, dc_all, one):
    """All that c[t+1] receives: from the next step, and (within the row) from h[t+1] = o * tanh(c[t+1])."""
    for j in range(first, last):
        if valid:
            dc_all[t + 1, b, j] = _lstm_backward(
                dh[b, j],
                dc[b, j],
                gate[t, b, 0, j],
                gate[t, b, 1, j],
                gate[t, b, 2, j],
                gate[t, b, 3, j],
                c[t, b, j],
                c[t + 1, b, j],
                tanh,
                one,
            )[5]
        else:
            dc_all[t + 1, b, j] = dc[b, j]
