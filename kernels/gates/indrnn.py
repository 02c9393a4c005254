"""Independent RNN (Li et al. 2018): each unit sees its own past only, so the recurrent weight is a vector.

h = act(W_ih x + b_ih + p_u * h_prev),  act = relu.

There is no recurrent product: no weight_hh, no bias_hh.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(a_h: Array, p_u: Array, h_prev: Array, act: Function) -> Array:
    """New hidden state; a_h is the input's part alone."""
    h = act(a_h + p_u * h_prev)
    return h


def backward(dh: Array, h: Array, h_prev: Array, p_u: Array, act_slope: Function, one: Array) -> Array:
    """Reverse of `forward`; nothing comes through a product, so `dh_prev` is all that h_prev receives."""
    da_h = dh * act_slope(h, one)  # h = act(a_h + p_u * h_prev)
    dp_u = da_h * h_prev  # h = act(a_h + p_u * h_prev)
    dh_prev = da_h * p_u  # h = act(a_h + p_u * h_prev)
    return da_h, dp_u, dh_prev


INDRNN = Cell("indrnn", Phase(["h"], forward, backward, source=None), act="relu", title="Independent RNN")
