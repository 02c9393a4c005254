"""A cell for the mutation test: its products multiply what those of no cell of the package do, a gate and a new state.

It is made when it is asked for and stands in no registry.
"""

from __future__ import annotations

import functools
from typing import Any

from kernels.cells import Cell
from kernels.gates import LSTM
from kernels.gates.normalising import normalise, normalise_backward
from kernels.phases import Phase

Array = Any
Function = Any


def memory_forward(a_f: Array, c_prev: Array, sigmoid: Function) -> Array:
    """A memory that only fades, but for what the input adds."""
    f = sigmoid(a_f)
    c = f * c_prev + f
    return f, c


def memory_backward(df: Array, dc: Array, f: Array, c_prev: Array, one: Array) -> Array:
    """Reverse of `memory_forward`."""
    df = df + dc * (c_prev + one)  # c = f * c_prev + f
    dc_prev = dc * f  # c = f * c_prev + f
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    return da_f, dc_prev, dc


def candidate_forward(a_n: Array, tanh: Function) -> Array:
    """From the product with the gate f."""
    n = tanh(a_n)
    return n


def candidate_backward(dn: Array, n: Array, one: Array) -> Array:
    """Reverse of `candidate_forward`."""
    da_n = dn * (one - n * n)  # n = tanh(a_n)
    return da_n


def output_forward(a_o: Array, n: Array, sigmoid: Function) -> Array:
    """From the normalised sum of the input and the product with the new memory c."""
    o = sigmoid(a_o)
    h = o * n
    return o, h


def output_backward(dh: Array, o: Array, n: Array, one: Array) -> Array:
    """Reverse of `output_forward`."""
    dn = dh * o  # h = o * n
    da_o = dh * n * o * (one - o)  # h = o * n,  o = sigmoid(a_o)
    return da_o, dn


@functools.cache
def odd_cell() -> Cell:
    """The cell."""
    phases = (
        Phase("f", memory_forward, memory_backward),
        Phase("n", candidate_forward, candidate_backward, source="f"),
        Phase("o", output_forward, output_backward, source="c", between=(normalise, normalise_backward)),
    )
    return LSTM.changed("odd", phases, (odd_cell, ()))
