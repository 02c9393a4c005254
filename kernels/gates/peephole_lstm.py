"""LSTM with peepholes (Gers, Schraudolph and Schmidhuber 2002): the gates look at the cell state.

i = sigmoid(a_i + p_i * c_prev),  f = sigmoid(a_f + p_f * c_prev),  g = tanh(a_g),
c = f * c_prev + i * g,  o = sigmoid(a_o + p_o * c),  h = o * tanh(c),  with a = W_ih x + b_ih + W_hh h_prev + b_hh.

i and f see the cell state before the step, o sees the one after it (rule 5).  The weights p (H,) are a peephole a unit.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(
    a_i: Array,
    a_f: Array,
    a_g: Array,
    a_o: Array,
    c_prev: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
    sigmoid: Function,
    tanh: Function,
) -> Array:
    """One step from the four pre-activations and the peephole weights."""
    i = sigmoid(a_i + p_i * c_prev)
    f = sigmoid(a_f + p_f * c_prev)
    g = tanh(a_g)
    c = f * c_prev + i * g
    o = sigmoid(a_o + p_o * c)
    h = o * tanh(c)
    return i, f, g, o, c, h


def backward(
    dh: Array,
    dc: Array,
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    c_prev: Array,
    c: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
    tanh: Function,
    one: Array,
) -> Array:
    """Reverse of `forward`.  What o sends to c has to be in `dc` before c spreads it."""
    tanh_c = tanh(c)
    do = dh * tanh_c  # h = o * tanh(c)
    dc = dc + dh * o * (one - tanh_c * tanh_c)  # h = o * tanh(c), on top of what c_next sent
    da_o = do * o * (one - o)  # o = sigmoid(a_o + p_o * c)
    dp_o = da_o * c  # o = sigmoid(a_o + p_o * c)
    dc = dc + da_o * p_o  # o = sigmoid(a_o + p_o * c)
    df = dc * c_prev  # c = f * c_prev + i * g
    di = dc * g  # c = f * c_prev + i * g
    dg = dc * i  # c = f * c_prev + i * g
    da_g = dg * (one - g * g)  # g = tanh(a_g)
    da_f = df * f * (one - f)  # f = sigmoid(a_f + p_f * c_prev)
    da_i = di * i * (one - i)  # i = sigmoid(a_i + p_i * c_prev)
    dp_f = da_f * c_prev  # f = sigmoid(a_f + p_f * c_prev)
    dp_i = da_i * c_prev  # i = sigmoid(a_i + p_i * c_prev)
    dc_prev = dc * f + da_i * p_i + da_f * p_f  # c = f * c_prev + i * g, and the two peepholes at c_prev
    return da_i, da_f, da_g, da_o, dp_i, dp_f, dp_o, dc_prev, dc


PEEPHOLE_LSTM = Cell("peephole_lstm", Phase("ifgo", forward, backward), title="LSTM with peepholes")
