# mypy: allow-untyped-defs, allow-untyped-calls
"""One row of one time step of each cell, for the compiled loops of `kernels.numba_cpu`.

A row function applies the gate equations of `kernels.gates`, the very same source, to each hidden unit of row b at
step t, and knows where in the buffers a value lies; nothing else.  They carry no type hints: Numba infers them.

Shapes: pre (T, B, G, H) hoisted projection; rec (B, G, H) recurrent product U h_prev of this step; bias (G, H); h, c
(T+1, B, H); gate, da, da_hidden (T, B, G, H); hidden_n (T, B, H); dh, dc (B, H), what the state of this step receives
from later steps on entry, what the state before it receives on leaving (less the part through the product).  A buffer
that a cell does not have is empty.
"""

from __future__ import annotations

from typing import Any

from kernels import gates
from kernels.compiling import inlined
from kernels.numba_math import relu, sigmoid, tanh

_tanh_slope = inlined(gates.tanh_slope)
_rnn_forward, _rnn_backward = inlined(gates.rnn_forward), inlined(gates.rnn_backward)
_lstm_forward, _lstm_backward = inlined(gates.lstm_forward), inlined(gates.lstm_backward)
_gru_after_forward, _gru_after_backward = inlined(gates.gru_after_forward), inlined(gates.gru_after_backward)
gru_before_gates_forward = inlined(gates.gru_before_gates_forward)
gru_before_output_forward = inlined(gates.gru_before_output_forward)
gru_before_output_backward = inlined(gates.gru_before_output_backward)
gru_before_gates_backward = inlined(gates.gru_before_gates_backward)


@inlined
def _relu_slope(h: Any, one: Any) -> Any:
    """`gates.relu_slope` for one number: a bool times float32 would widen in compiled code."""
    return one if h > 0 else one - one


@inlined
def rnn_tanh_row(t, b, pre, rec, bias, h, c, gate, hidden_n, one):
    """h[t+1] = tanh(a)."""
    for j in range(h.shape[2]):
        value = _rnn_forward(pre[t, b, 0, j] + rec[b, 0, j] + bias[0, j], tanh)
        gate[t, b, 0, j] = value
        h[t + 1, b, j] = value


@inlined
def rnn_relu_row(t, b, pre, rec, bias, h, c, gate, hidden_n, one):
    """h[t+1] = relu(a)."""
    for j in range(h.shape[2]):
        value = _rnn_forward(pre[t, b, 0, j] + rec[b, 0, j] + bias[0, j], relu)
        gate[t, b, 0, j] = value
        h[t + 1, b, j] = value


@inlined
def rnn_tanh_row_backward(t, b, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `rnn_tanh_row`."""
    for j in range(dh.shape[1]):
        da[t, b, 0, j] = _rnn_backward(dh[b, j], gate[t, b, 0, j], _tanh_slope, one)
        dh[b, j] = one - one  # no direct path to h_prev: all of it goes through the product


@inlined
def rnn_relu_row_backward(t, b, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `rnn_relu_row`."""
    for j in range(dh.shape[1]):
        da[t, b, 0, j] = _rnn_backward(dh[b, j], gate[t, b, 0, j], _relu_slope, one)
        dh[b, j] = one - one


@inlined
def lstm_row(t, b, pre, rec, bias, h, c, gate, hidden_n, one):
    """Gates, c[t+1] and h[t+1] of an LSTM."""
    for j in range(h.shape[2]):
        i, f, g, o, c_new, h_new = _lstm_forward(
            pre[t, b, 0, j] + rec[b, 0, j] + bias[0, j],
            pre[t, b, 1, j] + rec[b, 1, j] + bias[1, j],
            pre[t, b, 2, j] + rec[b, 2, j] + bias[2, j],
            pre[t, b, 3, j] + rec[b, 3, j] + bias[3, j],
            c[t, b, j],
            sigmoid,
            tanh,
        )
        gate[t, b, 0, j] = i
        gate[t, b, 1, j] = f
        gate[t, b, 2, j] = g
        gate[t, b, 3, j] = o
        c[t + 1, b, j] = c_new
        h[t + 1, b, j] = h_new


@inlined
def lstm_row_backward(t, b, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `lstm_row`."""
    for j in range(dh.shape[1]):
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
        da[t, b, 0, j] = da_i
        da[t, b, 1, j] = da_f
        da[t, b, 2, j] = da_g
        da[t, b, 3, j] = da_o
        dc[b, j] = dc_prev
        dh[b, j] = one - one


@inlined
def gru_after_row(t, b, pre, rec, bias, h, c, gate, hidden_n, one):
    """Gates and h[t+1] of a GRU with reset after."""
    for j in range(h.shape[2]):
        h_n = rec[b, 2, j] + bias[2, j]
        r, z, n, h_new = _gru_after_forward(
            pre[t, b, 0, j],
            pre[t, b, 1, j],
            pre[t, b, 2, j],
            rec[b, 0, j] + bias[0, j],
            rec[b, 1, j] + bias[1, j],
            h_n,
            h[t, b, j],
            sigmoid,
            tanh,
            one,
        )
        gate[t, b, 0, j] = r
        gate[t, b, 1, j] = z
        gate[t, b, 2, j] = n
        hidden_n[t, b, j] = h_n
        h[t + 1, b, j] = h_new


@inlined
def gru_after_row_backward(t, b, dh, dc, gate, hidden_n, h, c, da, da_hidden, one):
    """Reverse of `gru_after_row`."""
    for j in range(dh.shape[1]):
        da_r, da_z, da_n, dh_n, dh_prev = _gru_after_backward(
            dh[b, j], gate[t, b, 0, j], gate[t, b, 1, j], gate[t, b, 2, j], hidden_n[t, b, j], h[t, b, j], one
        )
        da[t, b, 0, j] = da_r
        da[t, b, 1, j] = da_z
        da[t, b, 2, j] = da_n
        da_hidden[t, b, 0, j] = da_r
        da_hidden[t, b, 1, j] = da_z
        da_hidden[t, b, 2, j] = dh_n
        dh[b, j] = dh_prev


# -- past a row's end, and what a step has beside the cell ----------------------------------------------------------


@inlined
def carry(t, b, h, c, gate, hidden_n):
    """Past a row's end: the state before is the state after."""
    for j in range(h.shape[2]):
        h[t + 1, b, j] = h[t, b, j]
        for block in range(gate.shape[2]):
            gate[t, b, block, j] = 0
    if c.shape[0] > 0:
        for j in range(h.shape[2]):
            c[t + 1, b, j] = c[t, b, j]
    if hidden_n.shape[0] > 0:
        for j in range(h.shape[2]):
            hidden_n[t, b, j] = 0


@inlined
def carry_backward(t, b, dc, da, da_hidden, dc_all):
    """Past a row's end: h[t+1] = h[t], so dh and dc stay as they are."""
    for block in range(da.shape[2]):
        for j in range(dc.shape[1]):
            da[t, b, block, j] = 0
    if da_hidden.shape[0] > 0:
        for block in range(da.shape[2]):
            for j in range(dc.shape[1]):
                da_hidden[t, b, block, j] = 0
    if dc_all.shape[0] > 0:
        for j in range(dc.shape[1]):
            dc_all[t + 1, b, j] = dc[b, j]


@inlined
def add_output_gradient(t, b, dy, dh, dh_all):
    """Add what the output sends: y[t] = h[t+1]."""
    if dy.shape[0] > 0:
        for j in range(dh.shape[1]):
            dh[b, j] += dy[t, b, j]
    if dh_all.shape[0] > 0:
        for j in range(dh.shape[1]):
            dh_all[t + 1, b, j] = dh[b, j]


@inlined
def trace_c(t, b, dh, dc, gate, c, dc_all, one):
    """All that c[t+1] receives: from the next step, and from h[t+1] = o * tanh(c[t+1])."""
    if dc_all.shape[0] > 0:
        for j in range(dh.shape[1]):
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


@inlined
def trace_initial(dh, dc, dh_all, dc_all):
    """Keep the gradients of the initial state, slot 0."""
    for b in range(dh.shape[0]):
        for j in range(dh.shape[1]):
            if dh_all.shape[0] > 0:
                dh_all[0, b, j] = dh[b, j]
            if dc_all.shape[0] > 0:
                dc_all[0, b, j] = dc[b, j]
