"""The time loop in plain array code, for any array library: this file defines what is true.

A cell is a pair of step functions built on the gate equations; the loop owns time.  Forward walks t = 0..T-1 and fills
state buffers of T+1 slots; backward walks the same slots from the end.  A step past a row's end carries the state by
selection (``where``), never by multiplication, so nothing that stands in a pad can reach a result (rule 8).

Shapes: T time steps, B batch, H hidden units, G gate blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels import events, gates
from kernels.activations import activations, matmul
from kernels.cells import Adjoints, Cell, Run


class _Step(NamedTuple):
    """What one step needs beside the state: activations, weights (G*H, H), bias (G*H,) or None, and the number 1."""

    act: Any
    weight: Any
    bias: Any
    one: Any
    xp: Any

    def recur(self, h: Any, rows: slice = slice(None)) -> Any:
        """U h + b for the gate rows asked for: (B, H) -> (B, number of rows).

        A gradient check runs K changed copies at once: h is (K, B, H) then, and what is changed has an axis K too.
        """
        product = matmul(self.xp, h, self.weight[..., rows, :].swapaxes(-1, -2))
        return product if self.bias is None else product + self.bias[..., rows]


# -- one step of each cell: forward (h, c) -> (h, c, gates, hidden_n), and its reverse ---------------------------------
# pre is (B, G, H), the hoisted input projection of this step.


def _rnn_forward(step: _Step, act: Any, pre: Any, h_prev: Any) -> tuple[Any, Any, tuple[Any, ...], Any]:
    h = gates.rnn_forward(pre[..., 0, :] + step.recur(h_prev), act)
    return h, None, (h,), None


def _rnn_backward(step: _Step, slope: Any, dh: Any, gate: Any) -> tuple[tuple[Any, ...], Any, Any]:
    da = gates.rnn_backward(dh, gate[..., 0, :], slope, step.one)
    return (da,), da @ step.weight, None  # a = pre + U h_prev


def _rnn_tanh_forward(step: _Step, pre: Any, h_prev: Any, c_prev: Any) -> Any:
    return _rnn_forward(step, step.act.tanh, pre, h_prev)


def _rnn_tanh_backward(step: _Step, dh: Any, dc: Any, gate: Any, hidden_n: Any, h_prev: Any, c_pair: Any) -> Any:
    return (*_rnn_backward(step, gates.tanh_slope, dh, gate), None, None)


def _rnn_relu_forward(step: _Step, pre: Any, h_prev: Any, c_prev: Any) -> Any:
    return _rnn_forward(step, step.act.relu, pre, h_prev)


def _rnn_relu_backward(step: _Step, dh: Any, dc: Any, gate: Any, hidden_n: Any, h_prev: Any, c_pair: Any) -> Any:
    return (*_rnn_backward(step, gates.relu_slope, dh, gate), None, None)


def _lstm_forward(step: _Step, pre: Any, h_prev: Any, c_prev: Any) -> Any:
    a = pre + step.recur(h_prev).reshape(pre.shape)
    i, f, g, o, c, h = gates.lstm_forward(
        a[..., 0, :], a[..., 1, :], a[..., 2, :], a[..., 3, :], c_prev, step.act.sigmoid, step.act.tanh
    )
    return h, c, (i, f, g, o), None


def _lstm_backward(step: _Step, dh: Any, dc: Any, gate: Any, hidden_n: Any, h_prev: Any, c_pair: Any) -> Any:
    c_prev, c_now = c_pair
    i, f, g, o = gate[..., 0, :], gate[..., 1, :], gate[..., 2, :], gate[..., 3, :]
    *da, dc_prev, dc = gates.lstm_backward(dh, dc, i, f, g, o, c_prev, c_now, step.act.tanh, step.one)
    dh_prev = step.xp.concatenate(da, axis=1) @ step.weight  # a = pre + U h_prev
    return tuple(da), dh_prev, dc_prev, None, dc


def _gru_after_forward(step: _Step, pre: Any, h_prev: Any, c_prev: Any) -> Any:
    hidden = step.recur(h_prev).reshape(pre.shape)
    h_r, h_z, h_n = hidden[..., 0, :], hidden[..., 1, :], hidden[..., 2, :]
    r, z, n, h = gates.gru_after_forward(
        pre[..., 0, :], pre[..., 1, :], pre[..., 2, :], h_r, h_z, h_n, h_prev, step.act.sigmoid, step.act.tanh, step.one
    )
    return h, None, (r, z, n), h_n


def _gru_after_backward(step: _Step, dh: Any, dc: Any, gate: Any, hidden_n: Any, h_prev: Any, c_pair: Any) -> Any:
    r, z, n = gate[..., 0, :], gate[..., 1, :], gate[..., 2, :]
    da_r, da_z, da_n, dh_n, dh_prev = gates.gru_after_backward(dh, r, z, n, hidden_n, h_prev, step.one)
    dh_prev = dh_prev + step.xp.concatenate((da_r, da_z, dh_n), axis=1) @ step.weight  # hidden = U h_prev + b
    return (da_r, da_z, da_n), dh_prev, None, dh_n, None


def _gru_before_forward(step: _Step, pre: Any, h_prev: Any, c_prev: Any) -> Any:
    H = h_prev.shape[-1]
    a = step.recur(h_prev, slice(0, 2 * H))
    r, z, reset_h = gates.gru_before_gates_forward(
        pre[..., 0, :] + a[..., :H], pre[..., 1, :] + a[..., H:], h_prev, step.act.sigmoid
    )
    a_n = pre[..., 2, :] + step.recur(reset_h, slice(2 * H, 3 * H))
    n, h = gates.gru_before_output_forward(a_n, z, h_prev, step.act.tanh, step.one)
    return h, None, (r, z, n), None


def _gru_before_backward(step: _Step, dh: Any, dc: Any, gate: Any, hidden_n: Any, h_prev: Any, c_pair: Any) -> Any:
    r, z, n = gate[..., 0, :], gate[..., 1, :], gate[..., 2, :]
    H = h_prev.shape[-1]
    da_z, da_n, dh_prev = gates.gru_before_output_backward(dh, z, n, h_prev, step.one)
    dreset_h = da_n @ step.weight[2 * H :]  # a_n = x_n + U_n reset_h + b_hn
    da_r, dh_reset = gates.gru_before_gates_backward(dreset_h, r, h_prev, step.one)
    dh_gates = step.xp.concatenate((da_r, da_z), axis=1) @ step.weight[: 2 * H]  # a = x + U h_prev + b
    return (da_r, da_z, da_n), dh_prev + dh_reset + dh_gates, None, None, None


_STEPS: dict[str, tuple[Any, Any]] = {
    "rnn_tanh": (_rnn_tanh_forward, _rnn_tanh_backward),
    "rnn_relu": (_rnn_relu_forward, _rnn_relu_backward),
    "lstm": (_lstm_forward, _lstm_backward),
    "gru_after": (_gru_after_forward, _gru_after_backward),
    "gru_before": (_gru_before_forward, _gru_before_backward),
}


#: A vanishing product is 0, as it should be; every other floating-point warning stays.
_quiet = np.errstate(under="ignore")


class ReferenceKernels:
    """The plain kernel set over the array library `xp`.  See `kernels.StepKernels` for what a kernel set offers."""

    name = "reference"
    whole_layers = False

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.act = activations(xp)

    @_quiet
    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix product of two 2-d arrays."""
        events.launched()
        return matmul(self.xp, a, b)

    @_quiet
    def forward(self, cell: Cell, pre: Any, weight_hh: Any, bias_hh: Any, h0: Any, c0: Any, lengths: Any = None) -> Run:
        """Run one layer and direction over all T steps; see `kernels.StepKernels.forward`."""
        events.launched()
        xp = self.xp
        T, H, G = pre.shape[0], h0.shape[-1], len(cell.gates)
        rows = pre.shape[1:-1]  # (B,); with a leading axis of copies (K, B)
        pre = pre.reshape(T, *rows, G, H)
        step = _Step(self.act, weight_hh, bias_hh, _one(xp, pre), xp)
        step_forward = _STEPS[cell.name][0]

        h = xp.empty((T + 1, *rows, H), dtype=pre.dtype)
        h[0] = h0
        c = None
        if cell.has_c:
            c = xp.empty((T + 1, *rows, H), dtype=pre.dtype)
            c[0] = c0
        gate = xp.empty((T, *rows, G, H), dtype=pre.dtype)
        hidden_n = xp.empty((T, *rows, H), dtype=pre.dtype) if cell.splits_n else None

        for t in range(T):
            c_prev = None if c is None else c[t]
            h_new, c_new, gate_new, hidden_new = step_forward(step, pre[t], h[t], c_prev)
            valid = None if lengths is None else (lengths > t)[:, None]  # (B, 1)
            h[t + 1] = _select(xp, valid, h_new, h[t])
            if c is not None:
                c[t + 1] = _select(xp, valid, c_new, c_prev)
            for block, value in enumerate(gate_new):
                gate[t, ..., block, :] = _select(xp, valid, value, 0)
            if hidden_n is not None:
                hidden_n[t] = _select(xp, valid, hidden_new, 0)
        return Run(h, c, gate, hidden_n)

    @_quiet
    def backward(
        self,
        cell: Cell,
        run: Run,
        weight_hh: Any,
        dy: Any,
        dh_last: Any,
        dc_last: Any,
        lengths: Any = None,
        trace: bool = False,
    ) -> Adjoints:
        """Walk the slots of `run` from the end to the start; see `kernels.StepKernels.backward`."""
        events.launched()
        xp = self.xp
        h, c, gate, hidden_n = run
        T, B, G, H = gate.shape
        step = _Step(self.act, weight_hh, None, _one(xp, gate), xp)
        step_backward = _STEPS[cell.name][1]

        da = xp.empty((T, B, G, H), dtype=gate.dtype)
        da_hidden = xp.empty((T, B, G, H), dtype=gate.dtype) if cell.splits_n else da
        dh = xp.zeros((B, H), dtype=gate.dtype) if dh_last is None else dh_last
        dc = None
        if cell.has_c:
            dc = xp.zeros((B, H), dtype=gate.dtype) if dc_last is None else dc_last
        dh_all = xp.empty((T + 1, B, H), dtype=gate.dtype) if trace else None
        dc_all = xp.empty((T + 1, B, H), dtype=gate.dtype) if trace and cell.has_c else None

        for t in range(T - 1, -1, -1):
            valid = None if lengths is None else (lengths > t)[:, None]
            if dy is not None:
                dh = dh + dy[t]  # y[t] = h[t+1]
            c_pair = None if c is None else (c[t], c[t + 1])
            hidden_t = None if hidden_n is None else hidden_n[t]
            da_t, dh_prev, dc_prev, dh_n, dc_total = step_backward(step, dh, dc, gate[t], hidden_t, h[t], c_pair)
            for block, value in enumerate(da_t):
                da[t, :, block] = _select(xp, valid, value, 0)
            if cell.splits_n:  # the hidden side differs from the input side in the n block alone
                da_hidden[t, :, :2] = da[t, :, :2]
                da_hidden[t, :, 2] = _select(xp, valid, dh_n, 0)
            if dh_all is not None:
                dh_all[t + 1] = dh
            if dc_all is not None:
                dc_all[t + 1] = _select(xp, valid, dc_total, dc)
            dh = _select(xp, valid, dh_prev, dh)  # h[t+1] = where(valid, h_new, h[t])
            if cell.has_c:
                dc = _select(xp, valid, dc_prev, dc)  # c[t+1] = where(valid, c_new, c[t])
        if dh_all is not None:
            dh_all[0] = dh
        if dc_all is not None:
            dc_all[0] = dc
        return Adjoints(da, da_hidden, dh, dc, dh_all, dc_all)


def _select(xp: Any, valid: Any, value: Any, otherwise: Any) -> Any:
    return value if valid is None else xp.where(valid, value, otherwise)


def _one(xp: Any, array: Any) -> Any:
    """The number 1 as a scalar of the array's own dtype: a Python or float64 scalar could widen a product."""
    return xp.dtype(array.dtype).type(1)
