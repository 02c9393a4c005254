"""LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000)."""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array, sigmoid: Function, tanh: Function) -> Array:
    """One LSTM step from its four pre-activations."""
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
    return i, f, g, o, c, h


def backward(
    dh: Array, dc: Array, i: Array, f: Array, g: Array, o: Array, c_prev: Array, c: Array, tanh: Function, one: Array
) -> Array:
    """Reverse of `forward`.  `dh` and `dc` are what h and c receive from everything later than this step."""
    tanh_c = tanh(c)
    do = dh * tanh_c  # h = o * tanh(c)
    dc = dc + dh * o * (one - tanh_c * tanh_c)  # h = o * tanh(c), on top of what c_next sent
    df = dc * c_prev  # c = f * c_prev + i * g
    di = dc * g  # c = f * c_prev + i * g
    dg = dc * i  # c = f * c_prev + i * g
    dc_prev = dc * f  # c = f * c_prev + i * g
    da_o = do * o * (one - o)  # o = sigmoid(a_o)
    da_g = dg * (one - g * g)  # g = tanh(a_g)
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    da_i = di * i * (one - i)  # i = sigmoid(a_i)
    return da_i, da_f, da_g, da_o, dc_prev, dc


LSTM = Cell("lstm", Phase("ifgo", forward, backward), title="LSTM")
