"""GRU, reset after the product (cuDNN, PyTorch):  n = tanh(x_n + r * (U_n h_prev + b_hn))."""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(
    a_r: Array, a_z: Array, x_n: Array, h_n: Array, h_prev: Array, sigmoid: Function, tanh: Function, one: Array
) -> Array:
    """One GRU step; h_n keeps its bias b_hn inside the product with r, so the two biases of n are not one."""
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    n = tanh(x_n + r * h_n)
    h = (one - z) * n + z * h_prev
    return r, z, n, h


def backward(dh: Array, r: Array, z: Array, n: Array, h_n: Array, h_prev: Array, one: Array) -> Array:
    """Reverse of `forward`.

    The candidate has two pre-activation gradients: dx_n for the input side, dh_n = dx_n * r for the hidden side.
    `dh_prev` is the direct part only; the time loop adds the part that comes through the recurrent product.
    """
    dn = dh * (one - z)  # h = (one - z) * n + z * h_prev
    dz = dh * (h_prev - n)  # h = (one - z) * n + z * h_prev
    dh_prev = dh * z  # h = (one - z) * n + z * h_prev
    dx_n = dn * (one - n * n)  # n = tanh(x_n + r * h_n)
    dr = dx_n * h_n  # n = tanh(x_n + r * h_n)
    dh_n = dx_n * r  # n = tanh(x_n + r * h_n)
    da_z = dz * z * (one - z)  # z = sigmoid(a_z)
    da_r = dr * r * (one - r)  # r = sigmoid(a_r)
    return da_r, da_z, dx_n, dh_n, dh_prev


GRU = Cell("gru", Phase("rzn", forward, backward), title="GRU")
