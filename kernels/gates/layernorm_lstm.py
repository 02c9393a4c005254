"""Layer-normalised LSTM (Ba, Kiros and Hinton 2016, equations 20 to 22).

a = p_xgain * N(W_ih x) + p_hgain * N(W_hh h_prev) + p_bias,  N (`kernels.gates.normalising`) over all 4H numbers,
i = sigmoid(a_i),  f = sigmoid(a_f),  g = tanh(a_g),  o = sigmoid(a_o),  c = f * c_prev + i * g,
h = o * tanh(p_cgain * N(c) + p_cbias),  N over the H numbers of c.

Each gate has its own blocks of gain and bias, such as p_xgain_i (H,).  The paper's three bias vectors of a
pre-activation (one in each normalisation, and b) are only ever added up, so they are one weight here.
The cell state itself is carried as it is, not normalised.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.normalising import LAYER_NORM, normalise, normalise_backward
from kernels.gates.types import Array, Function


def gates_forward(
    a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array, sigmoid: Function, tanh: Function
) -> Array:
    """The gates and the cell state; the a_X come normalised and scaled."""
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    c = f * c_prev + i * g
    return i, f, g, o, c


def output_forward(between_c: Array, o: Array, p_cgain: Array, p_cbias: Array, tanh: Function) -> Array:
    """The hidden state from the normalised cell state."""
    h = o * tanh(p_cgain * between_c + p_cbias)
    return h


def output_backward(
    dh: Array, between_c: Array, o: Array, p_cgain: Array, p_cbias: Array, tanh: Function, one: Array
) -> Array:
    """Reverse of `output_forward`."""
    tanh_c = tanh(p_cgain * between_c + p_cbias)
    do = dh * tanh_c  # h = o * tanh(p_cgain * between_c + p_cbias)
    dp_cbias = dh * o * (one - tanh_c * tanh_c)  # h = o * tanh(p_cgain * between_c + p_cbias)
    dp_cgain = dp_cbias * between_c  # h = o * tanh(p_cgain * between_c + p_cbias)
    dbetween_c = dp_cbias * p_cgain  # h = o * tanh(p_cgain * between_c + p_cbias)
    return do, dbetween_c, dp_cgain, dp_cbias


def gates_backward(do: Array, dc: Array, i: Array, f: Array, g: Array, o: Array, c_prev: Array, one: Array) -> Array:
    """Reverse of `gates_forward`; `dc` holds what came through the normalised cell state too."""
    df = dc * c_prev  # c = f * c_prev + i * g
    di = dc * g  # c = f * c_prev + i * g
    dg = dc * i  # c = f * c_prev + i * g
    dc_prev = dc * f  # c = f * c_prev + i * g
    da_o = do * o * (one - o)  # o = sigmoid(a_o)
    da_g = dg * (one - g * g)  # g = tanh(a_g)
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    da_i = di * i * (one - i)  # i = sigmoid(a_i)
    return da_i, da_f, da_g, da_o, dc_prev, dc


LAYERNORM_LSTM = Cell(
    "layernorm_lstm",
    Phase("ifgo", gates_forward, gates_backward, between=LAYER_NORM),
    Phase("", output_forward, output_backward, source="c", between=(normalise, normalise_backward)),
    initial={"p_cgain": 1.0, "p_cbias": 0.0},
    title="Layer-normalised LSTM",
)
