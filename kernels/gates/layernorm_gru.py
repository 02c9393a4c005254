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
from kernels.gates.normalising import normalise, normalise_backward
from kernels.gates.types import Array, Function


def gates_forward(
    x_r: Array,
    x_z: Array,
    h_r: Array,
    h_z: Array,
    p_xgain_r: Array,
    p_xgain_z: Array,
    p_hgain_r: Array,
    p_hgain_z: Array,
    p_bias_r: Array,
    p_bias_z: Array,
    sigmoid: Function,
) -> Array:
    """The two gates; x_X and h_X come normalised."""
    r = sigmoid(p_xgain_r * x_r + p_hgain_r * h_r + p_bias_r)
    z = sigmoid(p_xgain_z * x_z + p_hgain_z * h_z + p_bias_z)
    return r, z


def output_forward(
    x_n: Array,
    h_n: Array,
    r: Array,
    z: Array,
    h_prev: Array,
    p_xgain_n: Array,
    p_hgain_n: Array,
    p_bias_n: Array,
    p_hbias_n: Array,
    tanh: Function,
    one: Array,
) -> Array:
    """The candidate and the new state; `hidden` is the part of the candidate that r gates."""
    hidden = p_hgain_n * h_n + p_hbias_n
    n = tanh(p_xgain_n * x_n + p_bias_n + r * hidden)
    h = (one - z) * n + z * h_prev
    return n, h, hidden


def output_backward(
    dh: Array,
    r: Array,
    z: Array,
    n: Array,
    hidden: Array,
    h_prev: Array,
    x_n: Array,
    h_n: Array,
    p_xgain_n: Array,
    p_hgain_n: Array,
    one: Array,
) -> Array:
    """Reverse of `output_forward`; `dh_prev` is the direct part only."""
    dn = dh * (one - z)  # h = (one - z) * n + z * h_prev
    dz = dh * (h_prev - n)  # h = (one - z) * n + z * h_prev
    dh_prev = dh * z  # h = (one - z) * n + z * h_prev
    dp_bias_n = dn * (one - n * n)  # n = tanh(p_xgain_n * x_n + p_bias_n + r * hidden)
    dr = dp_bias_n * hidden  # n = tanh(p_xgain_n * x_n + p_bias_n + r * hidden)
    dp_xgain_n = dp_bias_n * x_n  # n = tanh(p_xgain_n * x_n + p_bias_n + r * hidden)
    dx_n = dp_bias_n * p_xgain_n  # n = tanh(p_xgain_n * x_n + p_bias_n + r * hidden)
    dp_hbias_n = dp_bias_n * r  # n = tanh(p_xgain_n * x_n + p_bias_n + r * hidden),  hidden = ... + p_hbias_n
    dp_hgain_n = dp_hbias_n * h_n  # hidden = p_hgain_n * h_n + p_hbias_n
    dh_n = dp_hbias_n * p_hgain_n  # hidden = p_hgain_n * h_n + p_hbias_n
    return dr, dz, dx_n, dh_n, dh_prev, dp_xgain_n, dp_hgain_n, dp_bias_n, dp_hbias_n


def gates_backward(
    dr: Array,
    dz: Array,
    r: Array,
    z: Array,
    x_r: Array,
    x_z: Array,
    h_r: Array,
    h_z: Array,
    p_xgain_r: Array,
    p_xgain_z: Array,
    p_hgain_r: Array,
    p_hgain_z: Array,
    one: Array,
) -> Array:
    """Reverse of `gates_forward`."""
    dp_bias_r = dr * r * (one - r)  # r = sigmoid(p_xgain_r * x_r + p_hgain_r * h_r + p_bias_r)
    dp_xgain_r = dp_bias_r * x_r  # r = sigmoid(p_xgain_r * x_r + p_hgain_r * h_r + p_bias_r)
    dp_hgain_r = dp_bias_r * h_r  # r = sigmoid(p_xgain_r * x_r + p_hgain_r * h_r + p_bias_r)
    dx_r = dp_bias_r * p_xgain_r  # r = sigmoid(p_xgain_r * x_r + p_hgain_r * h_r + p_bias_r)
    dh_r = dp_bias_r * p_hgain_r  # r = sigmoid(p_xgain_r * x_r + p_hgain_r * h_r + p_bias_r)
    dp_bias_z = dz * z * (one - z)  # z = sigmoid(p_xgain_z * x_z + p_hgain_z * h_z + p_bias_z)
    dp_xgain_z = dp_bias_z * x_z  # z = sigmoid(p_xgain_z * x_z + p_hgain_z * h_z + p_bias_z)
    dp_hgain_z = dp_bias_z * h_z  # z = sigmoid(p_xgain_z * x_z + p_hgain_z * h_z + p_bias_z)
    dx_z = dp_bias_z * p_xgain_z  # z = sigmoid(p_xgain_z * x_z + p_hgain_z * h_z + p_bias_z)
    dh_z = dp_bias_z * p_hgain_z  # z = sigmoid(p_xgain_z * x_z + p_hgain_z * h_z + p_bias_z)
    return dx_r, dx_z, dh_r, dh_z, dp_xgain_r, dp_xgain_z, dp_hgain_r, dp_hgain_z, dp_bias_r, dp_bias_z


LAYERNORM_GRU = Cell(
    "layernorm_gru",
    Phase("rz", gates_forward, gates_backward, between=(normalise, normalise_backward)),
    Phase("n", output_forward, output_backward, between=(normalise, normalise_backward)),
    initial={f"p_{part}gain_{gate}": 1.0 for part in "xh" for gate in "rzn"}
    | {f"p_bias_{gate}": 0.0 for gate in "rzn"}
    | {"p_hbias_n": 0.0},
    title="Layer-normalised GRU",
)
