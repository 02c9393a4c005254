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
from kernels.gates.normalising import normalise, normalise_backward
from kernels.gates.types import Array, Function


def gates_forward(
    x_i: Array,
    x_f: Array,
    x_g: Array,
    x_o: Array,
    h_i: Array,
    h_f: Array,
    h_g: Array,
    h_o: Array,
    c_prev: Array,
    p_xgain_i: Array,
    p_xgain_f: Array,
    p_xgain_g: Array,
    p_xgain_o: Array,
    p_hgain_i: Array,
    p_hgain_f: Array,
    p_hgain_g: Array,
    p_hgain_o: Array,
    p_bias_i: Array,
    p_bias_f: Array,
    p_bias_g: Array,
    p_bias_o: Array,
    sigmoid: Function,
    tanh: Function,
) -> Array:
    """The gates and the cell state; x_X and h_X come normalised."""
    i = sigmoid(p_xgain_i * x_i + p_hgain_i * h_i + p_bias_i)
    f = sigmoid(p_xgain_f * x_f + p_hgain_f * h_f + p_bias_f)
    g = tanh(p_xgain_g * x_g + p_hgain_g * h_g + p_bias_g)
    o = sigmoid(p_xgain_o * x_o + p_hgain_o * h_o + p_bias_o)
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


def gates_backward(
    do: Array,
    dc: Array,
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    c_prev: Array,
    x_i: Array,
    x_f: Array,
    x_g: Array,
    x_o: Array,
    h_i: Array,
    h_f: Array,
    h_g: Array,
    h_o: Array,
    p_xgain_i: Array,
    p_xgain_f: Array,
    p_xgain_g: Array,
    p_xgain_o: Array,
    p_hgain_i: Array,
    p_hgain_f: Array,
    p_hgain_g: Array,
    p_hgain_o: Array,
    one: Array,
) -> Array:
    """Reverse of `gates_forward`; `dc` holds what came through the normalised cell state too."""
    df = dc * c_prev  # c = f * c_prev + i * g
    di = dc * g  # c = f * c_prev + i * g
    dg = dc * i  # c = f * c_prev + i * g
    dc_prev = dc * f  # c = f * c_prev + i * g
    dp_bias_i = di * i * (one - i)  # i = sigmoid(p_xgain_i * x_i + p_hgain_i * h_i + p_bias_i)
    dp_bias_f = df * f * (one - f)  # f = sigmoid(p_xgain_f * x_f + p_hgain_f * h_f + p_bias_f)
    dp_bias_g = dg * (one - g * g)  # g = tanh(p_xgain_g * x_g + p_hgain_g * h_g + p_bias_g)
    dp_bias_o = do * o * (one - o)  # o = sigmoid(p_xgain_o * x_o + p_hgain_o * h_o + p_bias_o)
    dp_xgain_i = dp_bias_i * x_i  # from here on, each line reverses one factor of the four lines above
    dp_xgain_f = dp_bias_f * x_f
    dp_xgain_g = dp_bias_g * x_g
    dp_xgain_o = dp_bias_o * x_o
    dp_hgain_i = dp_bias_i * h_i
    dp_hgain_f = dp_bias_f * h_f
    dp_hgain_g = dp_bias_g * h_g
    dp_hgain_o = dp_bias_o * h_o
    dx_i = dp_bias_i * p_xgain_i
    dx_f = dp_bias_f * p_xgain_f
    dx_g = dp_bias_g * p_xgain_g
    dx_o = dp_bias_o * p_xgain_o
    dh_i = dp_bias_i * p_hgain_i
    dh_f = dp_bias_f * p_hgain_f
    dh_g = dp_bias_g * p_hgain_g
    dh_o = dp_bias_o * p_hgain_o
    return (
        dx_i, dx_f, dx_g, dx_o, dh_i, dh_f, dh_g, dh_o, dp_xgain_i, dp_xgain_f, dp_xgain_g, dp_xgain_o,
        dp_hgain_i, dp_hgain_f, dp_hgain_g, dp_hgain_o, dp_bias_i, dp_bias_f, dp_bias_g, dp_bias_o, dc_prev, dc,
    )  # fmt: skip


LAYERNORM_LSTM = Cell(
    "layernorm_lstm",
    Phase("ifgo", gates_forward, gates_backward, between=(normalise, normalise_backward)),
    Phase("", output_forward, output_backward, source="c", between=(normalise, normalise_backward)),
    initial={f"p_{part}gain_{gate}": 1.0 for part in "xh" for gate in "ifgo"}
    | {f"p_bias_{gate}": 0.0 for gate in "ifgo"}
    | {"p_cgain": 1.0, "p_cbias": 0.0},
    title="Layer-normalised LSTM",
)
