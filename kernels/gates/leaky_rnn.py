"""Leaky RNN (Jaeger, Lukosevicius, Popovici and Siewert 2007): a unit goes only a part of the way to its new value.

n = act(W_ih x + b_ih + W_hh h_prev + b_hh),  h = (1 - p_leak) * h_prev + p_leak * n,  act = tanh.

With p_leak = 1 it is the RNN.  The smaller p_leak, the slower the unit: it forgets like (1 - p_leak)^t.  It is the cell
of the reservoir in `engine.reservoir`, where p_leak is given; as a layer of its own it learns p_leak with the rest.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(a_n: Array, h_prev: Array, p_leak: Array, act: Function, one: Array) -> Array:
    """New hidden state: a mean of the old one and the new value n, with the weights 1 - p_leak and p_leak."""
    n = act(a_n)
    h = (one - p_leak) * h_prev + p_leak * n
    return n, h


def backward(dh: Array, n: Array, h_prev: Array, p_leak: Array, act_slope: Function, one: Array) -> Array:
    """Reverse of `forward`; `act_slope` gives act'(a_n) from the output n."""
    da_n = dh * p_leak * act_slope(n, one)  # h = (1 - p_leak) * h_prev + p_leak * n, n = act(a_n)
    dp_leak = dh * (n - h_prev)  # h = (1 - p_leak) * h_prev + p_leak * n
    dh_prev = dh * (one - p_leak)  # h = (1 - p_leak) * h_prev + p_leak * n
    return da_n, dp_leak, dh_prev


LEAKY_RNN = Cell("leaky_rnn", Phase(["n"], forward, backward), initial={"p_leak": 0.5}, title="Leaky RNN")
