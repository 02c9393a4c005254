"""Layer-normalised GRU (Ba, Kiros and Hinton 2016, supplement, GRU equations).

a = p_xgain * N(W_ih x) + p_hgain * N(W_hh h_prev) + p_bias  of r and z,  N over the 2H numbers of both gates in a row,
n = tanh(p_xgain_n * N(W_n x) + p_bias_n + r * (p_hgain_n * N(U_n h_prev) + p_hbias_n)),  N over H numbers,
r = sigmoid(a_r),  z = sigmoid(a_z),  h = (1 - z) * n + z * h_prev.

The candidate has a normalisation of its own, so a step has two phases.  Its two biases are two, as in the GRU (rule 2);
the paper's two of a gate are only ever added up, so they are one weight.  z keeps the old state, as in all our GRUs; in
the paper it takes the new one.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.normalising import LAYER_NORM
from kernels.gates.types import Array, Function


def gates_forward(a_r: Array, a_z: Array, sigmoid: Function) -> Array:
    """The two gates; a_r and a_z come normalised and scaled."""
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    return r, z


def output_forward(x_n: Array, h_n: Array, r: Array, z: Array, h_prev: Array, tanh: Function, one: Array) -> Array:
    """The candidate and the new state; x_n and h_n come normalised and scaled."""
    n = tanh(x_n + r * h_n)
    h = (one - z) * n + z * h_prev
    return n, h


def output_backward(dh: Array, r: Array, z: Array, n: Array, h_n: Array, h_prev: Array, one: Array) -> Array:
    """Reverse of `output_forward`; `dh_prev` is the direct part only."""
    dn = dh * (one - z)  # h = (one - z) * n + z * h_prev
    dz = dh * (h_prev - n)  # h = (one - z) * n + z * h_prev
    dh_prev = dh * z  # h = (one - z) * n + z * h_prev
    dx_n = dn * (one - n * n)  # n = tanh(x_n + r * h_n)
    dr = dx_n * h_n  # n = tanh(x_n + r * h_n)
    dh_n = dx_n * r  # n = tanh(x_n + r * h_n)
    return dr, dz, dx_n, dh_n, dh_prev


def gates_backward(dr: Array, dz: Array, r: Array, z: Array, one: Array) -> Array:
    """Reverse of `gates_forward`."""
    da_r = dr * r * (one - r)  # r = sigmoid(a_r)
    da_z = dz * z * (one - z)  # z = sigmoid(a_z)
    return da_r, da_z


LAYERNORM_GRU = Cell(
    "layernorm_gru",
    Phase("rz", gates_forward, gates_backward, between=LAYER_NORM),
    Phase("n", output_forward, output_backward, between=LAYER_NORM),
    title="Layer-normalised GRU",
)
