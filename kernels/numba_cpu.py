# mypy: allow-untyped-defs, allow-untyped-calls
"""The time loops of `kernels.reference`, compiled with Numba for the CPU.

The gate equations are those of `kernels.gates`: the very same source, compiled (`kernels.numba_rows`).  What is
written here is the loop over steps and rows around them.  It stands once forward and once backward for every cell whose
step is one product followed by gates; the reset-before GRU, with a second product in the middle of its step, has a pair
of its own.

Held against `kernels.reference` in tests/test_kernels.py (1e-12 in float64).  The per-step product is BLAS (Numba's
``np.dot`` calls the one that SciPy carries).

Shapes: T steps, B batch, H hidden units, G gate blocks; pre (T, B, G, H); weight (G*H, H); bias (G, H); h, c
(T+1, B, H); gate (T, B, G, H).

The compiled functions carry no type hints: Numba infers their types, and every argument is named above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import numba_rows as rows
from kernels.cells import Adjoints, Cell, Run
from kernels.compiling import compiled
from kernels.numba_math import sigmoid, tanh

# -- the time loops --------------------------------------------------------------------------------------------------


def _make_forward(title: str, row: Callable[..., None]) -> Any:
    @compiled(title)
    def loop(pre, weight, bias, h, c, gate, hidden_n, lengths, one):
        T, B, G, H = pre.shape
        product = np.empty((B, G * H), dtype=pre.dtype)
        rec = product.reshape(B, G, H)
        weight_t = weight.T
        for t in range(T):
            np.dot(h[t], weight_t, product)  # U h_prev
            for b in range(B):
                if t < lengths[b]:
                    row(t, b, pre, rec, bias, h, c, gate, hidden_n, one)
                else:
                    rows.carry(t, b, h, c, gate, hidden_n)

    return loop


def _make_backward(title: str, row_backward: Callable[..., None], splits_n: bool = False) -> Any:
    @compiled(title)
    def loop(dy, dh, dc, weight, gate, hidden_n, h, c, da, da_hidden, lengths, dh_all, dc_all, one):
        T, B, G, H = gate.shape
        from_product = np.empty((B, H), dtype=gate.dtype)
        if splits_n:
            da_rows = da_hidden.reshape(T, B, G * H)
        else:
            da_rows = da.reshape(T, B, G * H)
        for t in range(T - 1, -1, -1):
            for b in range(B):
                rows.add_output_gradient(t, b, dy, dh, dh_all)
                if t < lengths[b]:
                    rows.trace_c(t, b, dh, dc, gate, c, dc_all, one)
                    row_backward(t, b, dh, dc, gate, hidden_n, h, c, da, da_hidden, one)
                else:
                    rows.carry_backward(t, b, dc, da, da_hidden, dc_all)
            np.dot(da_rows[t], weight, from_product)  # a = pre + U h_prev
            for b in range(B):
                if t < lengths[b]:
                    for j in range(H):
                        dh[b, j] += from_product[b, j]
        rows.trace_initial(dh, dc, dh_all, dc_all)

    return loop


@compiled("GRU (reset before) forward")
def _gru_before_loop(pre, weight, bias, h, c, gate, hidden_n, lengths, one):
    T, B, _, H = pre.shape
    product = np.empty((B, 2 * H), dtype=pre.dtype)
    rec = product.reshape(B, 2, H)
    candidate = np.empty((B, H), dtype=pre.dtype)
    reset_h = np.empty((B, H), dtype=pre.dtype)
    gates_weight_t, n_weight_t = weight[: 2 * H].T, weight[2 * H :].T
    for t in range(T):
        np.dot(h[t], gates_weight_t, product)  # U_r h_prev, U_z h_prev
        for b in range(B):
            for j in range(H):
                r, z, rh = rows.gru_before_gates_forward(
                    pre[t, b, 0, j] + rec[b, 0, j] + bias[0, j],
                    pre[t, b, 1, j] + rec[b, 1, j] + bias[1, j],
                    h[t, b, j],
                    sigmoid,
                )
                gate[t, b, 0, j] = r
                gate[t, b, 1, j] = z
                reset_h[b, j] = rh
        np.dot(reset_h, n_weight_t, candidate)  # U_n (r * h_prev)
        for b in range(B):
            if t < lengths[b]:
                for j in range(H):
                    n, h_new = rows.gru_before_output_forward(
                        pre[t, b, 2, j] + candidate[b, j] + bias[2, j], gate[t, b, 1, j], h[t, b, j], tanh, one
                    )
                    gate[t, b, 2, j] = n
                    h[t + 1, b, j] = h_new
            else:
                rows.carry(t, b, h, c, gate, hidden_n)


@compiled("GRU (reset before) backward")
def _gru_before_loop_backward(dy, dh, dc, weight, gate, hidden_n, h, c, da, da_hidden, lengths, dh_all, dc_all, one):
    T, B, _, H = gate.shape
    da_gates = np.empty((B, 2 * H), dtype=gate.dtype)
    da_rz = da_gates.reshape(B, 2, H)
    da_n = np.empty((B, H), dtype=gate.dtype)
    dreset_h = np.empty((B, H), dtype=gate.dtype)
    from_product = np.empty((B, H), dtype=gate.dtype)
    gates_weight, n_weight = weight[: 2 * H], weight[2 * H :]
    for t in range(T - 1, -1, -1):
        for b in range(B):
            rows.add_output_gradient(t, b, dy, dh, dh_all)
            if t < lengths[b]:
                for j in range(H):
                    da_z, da_n_j, dh_prev = rows.gru_before_output_backward(
                        dh[b, j], gate[t, b, 1, j], gate[t, b, 2, j], h[t, b, j], one
                    )
                    da[t, b, 1, j] = da_z
                    da[t, b, 2, j] = da_n_j
                    da_n[b, j] = da_n_j
                    da_rz[b, 1, j] = da_z
                    dh[b, j] = dh_prev
            else:
                rows.carry_backward(t, b, dc, da, da_hidden, dc_all)
                for j in range(H):
                    da_n[b, j] = 0
                    da_rz[b, 0, j] = 0
                    da_rz[b, 1, j] = 0
        np.dot(da_n, n_weight, dreset_h)  # a_n = x_n + U_n reset_h + b_hn
        for b in range(B):
            if t < lengths[b]:
                for j in range(H):
                    da_r, dh_prev = rows.gru_before_gates_backward(dreset_h[b, j], gate[t, b, 0, j], h[t, b, j], one)
                    da[t, b, 0, j] = da_r
                    da_rz[b, 0, j] = da_r
                    dh[b, j] += dh_prev
        np.dot(da_gates, gates_weight, from_product)  # a_r, a_z = x + U h_prev + b
        for b in range(B):
            if t < lengths[b]:
                for j in range(H):
                    dh[b, j] += from_product[b, j]
    rows.trace_initial(dh, dc, dh_all, dc_all)


_LOOPS: dict[str, tuple[Any, Any]] = {
    "rnn_tanh": (
        _make_forward("RNN (tanh) forward", rows.rnn_tanh_row),
        _make_backward("RNN (tanh) backward", rows.rnn_tanh_row_backward),
    ),
    "rnn_relu": (
        _make_forward("RNN (relu) forward", rows.rnn_relu_row),
        _make_backward("RNN (relu) backward", rows.rnn_relu_row_backward),
    ),
    "lstm": (_make_forward("LSTM forward", rows.lstm_row), _make_backward("LSTM backward", rows.lstm_row_backward)),
    "gru_after": (
        _make_forward("GRU forward", rows.gru_after_row),
        _make_backward("GRU backward", rows.gru_after_row_backward, splits_n=True),
    ),
    "gru_before": (_gru_before_loop, _gru_before_loop_backward),
}


@compiled("matrix product")
def _matmul(a, b):
    return np.dot(a, b)


def _packed(a: Any) -> Any:
    """The array itself if its rows or its columns lie next to each other, else a copy.

    A read-only array is copied too: to Numba it is another type, for which it would compile once more.
    """
    return a if a.flags.writeable and (a.flags.c_contiguous or a.flags.f_contiguous) else np.array(a, order="C")


def _rows(a: Any) -> Any:
    """The array itself if it is writeable and its rows lie next to each other, else a copy."""
    return a if a.flags.writeable and a.flags.c_contiguous else np.array(a, order="C")


class NumbaKernels:
    """The compiled kernel set for NumPy arrays.  See `kernels.KernelSet` for what a kernel set offers."""

    name = "numba"

    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix product of two 2-d arrays, by the same BLAS as inside the loops.

        NumPy's own product would wake a second pool of threads beside SciPy's, and the two would fight for the cores.
        """
        return _matmul(_packed(a), _packed(b))

    @np.errstate(under="ignore")  # a vanishing product is 0
    def forward(self, cell: Cell, pre: Any, weight_hh: Any, bias_hh: Any, h0: Any, c0: Any, lengths: Any = None) -> Run:
        """Run one layer and direction over all T steps; see `kernels.KernelSet.forward`."""
        dtype, (B, H) = pre.dtype, h0.shape
        T, G = pre.shape[0], len(cell.gates)
        h = np.empty((T + 1, B, H), dtype)
        h[0] = h0
        c = np.empty((T + 1 if cell.has_c else 0, B, H), dtype)
        if cell.has_c:
            c[0] = c0
        gate = np.empty((T, B, G, H), dtype)
        hidden_n = np.empty((T if cell.splits_n else 0, B, H), dtype)
        bias = np.zeros((G, H), dtype) if bias_hh is None else _rows(bias_hh).reshape(G, H)
        _LOOPS[cell.name][0](
            _rows(pre).reshape(T, B, G, H),
            _rows(weight_hh),
            bias,
            h,
            c,
            gate,
            hidden_n,
            _row_lengths(lengths, T, B),
            dtype.type(1),
        )
        return Run(h, c if cell.has_c else None, gate, hidden_n if cell.splits_n else None)

    @np.errstate(under="ignore")  # a vanishing product is 0
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
        """Walk the slots of `run` from the end to the start; see `kernels.KernelSet.backward`."""
        T, B, G, H = run.gates.shape
        dtype = run.gates.dtype

        def none_of(array: Any) -> Any:  # a new empty array each time: the loops are promised that none overlap
            return np.empty((0, *array.shape[1:]), dtype)

        dh = np.zeros((B, H), dtype) if dh_last is None else np.array(dh_last, order="C")
        dc = np.zeros((B, H), dtype) if dc_last is None else np.array(dc_last, order="C")
        da = np.empty((T, B, G, H), dtype)
        da_hidden = np.empty((T, B, G, H), dtype) if cell.splits_n else none_of(da)
        dh_all = np.empty((T + 1 if trace else 0, B, H), dtype)
        dc_all = np.empty((T + 1 if trace and cell.has_c else 0, B, H), dtype)
        _LOOPS[cell.name][1](
            none_of(run.h) if dy is None else _rows(dy),
            dh,
            dc,
            _rows(weight_hh),
            _rows(run.gates),
            none_of(run.h) if run.hidden_n is None else _rows(run.hidden_n),
            _rows(run.h),
            none_of(run.h) if run.c is None else _rows(run.c),
            da,
            da_hidden,
            _row_lengths(lengths, T, B),
            dh_all,
            dc_all,
            dtype.type(1),
        )
        return Adjoints(
            da,
            da_hidden if cell.splits_n else da,
            dh,
            dc if cell.has_c else None,
            dh_all if trace else None,
            dc_all if trace and cell.has_c else None,
        )


def _row_lengths(lengths: Any, steps: int, batch: int) -> np.ndarray:
    return np.full(batch, steps, np.int64) if lengths is None else np.array(lengths, dtype=np.int64)
