"""LSTM with coupled gates (Greff et al. 2017, "CIFG"): what is forgotten makes room for what is written, i = 1 - f.

f = sigmoid(a_f),  g = tanh(a_g),  o = sigmoid(a_o),  c = f * c_prev + (1 - f) * g,  h = o * tanh(c).
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(a_f: Array, a_g: Array, a_o: Array, c_prev: Array, sigmoid: Function, tanh: Function, one: Array) -> Array:
    """One step from the three pre-activations."""
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    c = f * c_prev + (one - f) * g
    h = o * tanh(c)
    return f, g, o, c, h


def backward(
    dh: Array, dc: Array, f: Array, g: Array, o: Array, c_prev: Array, c: Array, tanh: Function, one: Array
) -> Array:
    """Reverse of `forward`."""
    tanh_c = tanh(c)
    do = dh * tanh_c  # h = o * tanh(c)
    dc = dc + dh * o * (one - tanh_c * tanh_c)  # h = o * tanh(c), on top of what c_next sent
    df = dc * (c_prev - g)  # c = f * c_prev + (one - f) * g
    dg = dc * (one - f)  # c = f * c_prev + (one - f) * g
    dc_prev = dc * f  # c = f * c_prev + (one - f) * g
    da_o = do * o * (one - o)  # o = sigmoid(a_o)
    da_g = dg * (one - g * g)  # g = tanh(a_g)
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    return da_f, da_g, da_o, dc_prev, dc


COUPLED_LSTM = Cell("coupled_lstm", Phase("fgo", forward, backward), title="LSTM with coupled gates")
