"""GRU, reset before the product (Cho et al. 2014):  n = tanh(x_n + U_n (r * h_prev) + b_hn).

The product with U_n stands between the two halves, so a step has two phases.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def gates_forward(a_r: Array, a_z: Array, h_prev: Array, sigmoid: Function) -> Array:
    """First half: the gates, and the reset state that enters the product with U_n."""
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    reset_h = r * h_prev
    return r, z, reset_h


def output_forward(a_n: Array, z: Array, h_prev: Array, tanh: Function, one: Array) -> Array:
    """Second half: the candidate from a_n = x_n + U_n reset_h + b_hn, and the new state."""
    n = tanh(a_n)
    h = (one - z) * n + z * h_prev
    return n, h


def output_backward(dh: Array, z: Array, n: Array, h_prev: Array, one: Array) -> Array:
    """Reverse of `output_forward`; `dh_prev` is the direct part only."""
    dn = dh * (one - z)  # h = (one - z) * n + z * h_prev
    dz = dh * (h_prev - n)  # h = (one - z) * n + z * h_prev
    dh_prev = dh * z  # h = (one - z) * n + z * h_prev
    da_n = dn * (one - n * n)  # n = tanh(a_n)
    da_z = dz * z * (one - z)  # z = sigmoid(a_z)
    return da_z, da_n, dh_prev


def gates_backward(dreset_h: Array, r: Array, h_prev: Array, one: Array) -> Array:
    """Reverse of `gates_forward`, from dreset_h = U_n' da_n; `dh_prev` is this path's part only."""
    dr = dreset_h * h_prev  # reset_h = r * h_prev
    dh_prev = dreset_h * r  # reset_h = r * h_prev
    da_r = dr * r * (one - r)  # r = sigmoid(a_r)
    return da_r, dh_prev


GRU_BEFORE = Cell(
    "gru_before",
    Phase("rz", gates_forward, gates_backward),
    Phase("n", output_forward, output_backward, source="reset_h"),
    title="GRU (reset before)",
)
