"""RNN (Elman 1990):  h = act(W_ih x + b_ih + W_hh h_prev + b_hh),  act = tanh or relu."""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(a_h: Array, act: Function) -> Array:
    """New hidden state of an Elman cell."""
    h = act(a_h)
    return h


def backward(dh: Array, h: Array, act_slope: Function, one: Array) -> Array:
    """Gradient of the pre-activation.  `act_slope` gives act'(a_h) from the output h."""
    da_h = dh * act_slope(h, one)  # h = act(a_h)
    return da_h


RNN_TANH = Cell("rnn_tanh", Phase(["h"], forward, backward), act="tanh", title="RNN (tanh)")
RNN_RELU = Cell("rnn_relu", Phase(["h"], forward, backward), act="relu", title="RNN (relu)")
