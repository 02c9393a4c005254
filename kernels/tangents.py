"""Forward-mode derivatives of the cells, written by hand: how a small change of everything moves every state.

Where backward walks time from the end and needs one pass for each output direction, forward mode walks with the time
and needs one pass for each input direction.  The two are written independently of each other, from the forward
equations of `kernels.gates`, so each can testify against the other: <J v, u> = <v, J' u> for every v and u (Griewank
and Walther 2008, section 3.3).

A trailing ``_dot`` marks the tangent of a value.  Shapes as in `kernels.cells`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels.cells import Cell, Run


class Tangents(NamedTuple):
    """Tangents that enter a time loop: of the hoisted projection, the recurrent parameters and the initial state.

    Attributes
    ----------
    pre : (T, B, G*H).
    weight_hh : (G*H, H).
    bias_hh : (G*H,) or None.
    h0, c0 : (B, H); c0 is None unless the cell has a cell state.
    """

    pre: Any
    weight_hh: Any
    bias_hh: Any
    h0: Any
    c0: Any


def run_tangent(
    xp: Any, cell: Cell, run: Run, weight_hh: Any, tangents: Tangents, lengths: Any = None
) -> tuple[Any, Any]:
    """Tangents of all states of a forward pass.

    Parameters
    ----------
    run : the forward pass to differentiate at.
    weight_hh : (G*H, H) the recurrent weights it was made with.
    tangents : what changes.
    lengths : (B,) integers or None, as in the forward pass.

    Returns
    -------
    h_dot (T+1, B, H), c_dot of the last step (B, H) or None.
    """
    T, B, G, H = run.gates.shape
    one = xp.dtype(run.gates.dtype).type(1)
    pre_dot = tangents.pre.reshape(T, B, G, H)
    h_dot = xp.empty_like(run.h)
    h_dot[0] = tangents.h0
    c_dot = tangents.c0
    step = _STEPS[cell.name]
    for t in range(T):
        h_new, c_new = step(xp, run, t, pre_dot[t], weight_hh, tangents, h_dot[t], c_dot, one)
        if lengths is None:
            h_dot[t + 1], c_dot = h_new, c_new
        else:
            valid = (lengths > t)[:, None]
            h_dot[t + 1] = xp.where(valid, h_new, h_dot[t])  # h[t+1] = where(valid, h_new, h[t])
            c_dot = None if c_new is None else xp.where(valid, c_new, c_dot)
    return h_dot, c_dot


def _recur_dot(tangents: Tangents, weight: Any, h: Any, h_dot: Any, rows: slice = slice(None)) -> Any:
    """Tangent of U h + b for some gate rows."""
    moved = h @ tangents.weight_hh[rows].T + h_dot @ weight[rows].T
    return moved if tangents.bias_hh is None else moved + tangents.bias_hh[rows]


def _rnn(slope: Any) -> Any:
    def step(
        xp: Any, run: Run, t: int, pre: Any, weight: Any, tangents: Tangents, h_dot: Any, c_dot: Any, one: Any
    ) -> Any:
        a_dot = pre[:, 0] + _recur_dot(tangents, weight, run.h[t], h_dot)
        return slope(run.gates[t, :, 0], one) * a_dot, None  # h = act(a)

    return step


def _lstm(
    xp: Any, run: Run, t: int, pre: Any, weight: Any, tangents: Tangents, h_dot: Any, c_dot: Any, one: Any
) -> Any:
    a_dot = pre + _recur_dot(tangents, weight, run.h[t], h_dot).reshape(pre.shape)
    i, f, g, o = (run.gates[t, :, block] for block in range(4))
    c_prev, tanh_c = run.c[t], xp.tanh(run.c[t + 1])
    i_dot = i * (one - i) * a_dot[:, 0]  # i = sigmoid(a_i)
    f_dot = f * (one - f) * a_dot[:, 1]  # f = sigmoid(a_f)
    g_dot = (one - g * g) * a_dot[:, 2]  # g = tanh(a_g)
    o_dot = o * (one - o) * a_dot[:, 3]  # o = sigmoid(a_o)
    c_new = f_dot * c_prev + f * c_dot + i_dot * g + i * g_dot  # c = f * c_prev + i * g
    h_new = o_dot * tanh_c + o * (one - tanh_c * tanh_c) * c_new  # h = o * tanh(c)
    return h_new, c_new


def _gru_after(
    xp: Any, run: Run, t: int, pre: Any, weight: Any, tangents: Tangents, h_dot: Any, c_dot: Any, one: Any
) -> Any:
    hidden_dot = _recur_dot(tangents, weight, run.h[t], h_dot).reshape(pre.shape)
    r, z, n = (run.gates[t, :, block] for block in range(3))
    r_dot = r * (one - r) * (pre[:, 0] + hidden_dot[:, 0])  # r = sigmoid(x_r + h_r)
    z_dot = z * (one - z) * (pre[:, 1] + hidden_dot[:, 1])  # z = sigmoid(x_z + h_z)
    inside = pre[:, 2] + r_dot * run.hidden_n[t] + r * hidden_dot[:, 2]
    n_dot = (one - n * n) * inside  # n = tanh(x_n + r * h_n)
    return _blend_dot(run.h[t], z, n, h_dot, z_dot, n_dot, one), None


def _gru_before(
    xp: Any, run: Run, t: int, pre: Any, weight: Any, tangents: Tangents, h_dot: Any, c_dot: Any, one: Any
) -> Any:
    H = h_dot.shape[1]
    r, z, n = (run.gates[t, :, block] for block in range(3))
    a_dot = _recur_dot(tangents, weight, run.h[t], h_dot, slice(0, 2 * H))
    r_dot = r * (one - r) * (pre[:, 0] + a_dot[:, :H])  # r = sigmoid(a_r)
    z_dot = z * (one - z) * (pre[:, 1] + a_dot[:, H:])  # z = sigmoid(a_z)
    reset_dot = r_dot * run.h[t] + r * h_dot  # reset_h = r * h_prev
    a_n_dot = pre[:, 2] + _recur_dot(tangents, weight, r * run.h[t], reset_dot, slice(2 * H, 3 * H))
    n_dot = (one - n * n) * a_n_dot  # n = tanh(a_n)
    return _blend_dot(run.h[t], z, n, h_dot, z_dot, n_dot, one), None


def _blend_dot(h: Any, z: Any, n: Any, h_dot: Any, z_dot: Any, n_dot: Any, one: Any) -> Any:
    """Tangent of h' = (1 - z) * n + z * h."""
    return (one - z) * n_dot - z_dot * n + z_dot * h + z * h_dot


_STEPS: dict[str, Any] = {
    "rnn_tanh": _rnn(lambda h, one: one - h * h),
    "rnn_relu": _rnn(lambda h, one: one * (h.real > 0)),
    "lstm": _lstm,
    "gru_after": _gru_after,
    "gru_before": _gru_before,
}
