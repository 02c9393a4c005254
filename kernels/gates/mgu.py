"""Minimal gated unit (Zhou et al. 2016): one gate f for the reset and for the update.

f = sigmoid(a_f),  n = tanh(x_n + U_n (f * h_prev) + b_hn),  h = (1 - f) * h_prev + f * n.

The product with U_n stands between the two halves, so a step has two phases, as in `kernels.gates.gru_before`.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def gate_forward(a_f: Array, h_prev: Array, sigmoid: Function) -> Array:
    """First half: the gate, and the part of the state that enters the product with U_n."""
    f = sigmoid(a_f)
    reset_h = f * h_prev
    return f, reset_h


def output_forward(a_n: Array, f: Array, h_prev: Array, tanh: Function, one: Array) -> Array:
    """Second half: the candidate from a_n = x_n + U_n reset_h + b_hn, and the new state."""
    n = tanh(a_n)
    h = (one - f) * h_prev + f * n
    return n, h


def output_backward(dh: Array, f: Array, n: Array, h_prev: Array, one: Array) -> Array:
    """Reverse of `output_forward`; `df` and `dh_prev` are this path's parts only."""
    df = dh * (n - h_prev)  # h = (one - f) * h_prev + f * n
    dn = dh * f  # h = (one - f) * h_prev + f * n
    dh_prev = dh * (one - f)  # h = (one - f) * h_prev + f * n
    da_n = dn * (one - n * n)  # n = tanh(a_n)
    return da_n, df, dh_prev


def gate_backward(df: Array, dreset_h: Array, f: Array, h_prev: Array, one: Array) -> Array:
    """Reverse of `gate_forward`, from dreset_h = U_n' da_n and what the second half sent to f."""
    df = df + dreset_h * h_prev  # reset_h = f * h_prev
    dh_prev = dreset_h * f  # reset_h = f * h_prev
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    return da_f, dh_prev


MGU = Cell(
    "mgu",
    Phase("f", gate_forward, gate_backward),
    Phase("n", output_forward, output_backward, source="reset_h"),
    title="Minimal gated unit",
)
