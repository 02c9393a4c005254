"""LSTM with recurrent projection (Sak, Senior and Beaufays 2014): a wide memory, a narrow hidden state.

i, f, g, o and c (B, H) are those of the LSTM, from a hidden state h_prev (B, P);  m = o * tanh(c),  h = W_hr m.

It is ``torch.nn.LSTM(D, H, proj_size=P)``: weight_hh is (4H, P), weight_hr is (P, H) and has no bias.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase, Projection
from kernels.gates.types import Array, Function


def forward(a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array, sigmoid: Function, tanh: Function) -> Array:
    """One step up to m, which the projection takes."""
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    c = f * c_prev + i * g
    m = o * tanh(c)
    return i, f, g, o, c, m


def backward(
    dm: Array, dc: Array, i: Array, f: Array, g: Array, o: Array, c_prev: Array, c: Array, tanh: Function, one: Array
) -> Array:
    """Reverse of `forward`, from dm = W_hr' dh."""
    tanh_c = tanh(c)
    do = dm * tanh_c  # m = o * tanh(c)
    dc = dc + dm * o * (one - tanh_c * tanh_c)  # m = o * tanh(c), on top of what c_next sent
    df = dc * c_prev  # c = f * c_prev + i * g
    di = dc * g  # c = f * c_prev + i * g
    dg = dc * i  # c = f * c_prev + i * g
    dc_prev = dc * f  # c = f * c_prev + i * g
    da_o = do * o * (one - o)  # o = sigmoid(a_o)
    da_g = dg * (one - g * g)  # g = tanh(a_g)
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    da_i = di * i * (one - i)  # i = sigmoid(a_i)
    return da_i, da_f, da_g, da_o, dc_prev, dc


PROJECTED_LSTM = Cell(
    "projected_lstm", Phase("ifgo", forward, backward), Projection("m"), title="LSTM with recurrent projection"
)
