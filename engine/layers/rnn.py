"""The three recurrent layers that users build: RNN, GRU and LSTM, each a `Recurrent` with its cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.checks import describe, number, switch
from engine.errors import bad_input
from engine.layers.recurrent import Recurrent
from kernels import gates

#: The cells of these three; `layer_of` finds the layer.
FIVE_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before")


class RNN(Recurrent):
    """Elman network (Elman 1990): h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Parameters
    ----------
    input_size, hidden_size, num_layers : D, H and L.
    nonlinearity : ``"tanh"`` or ``"relu"``.
    options : as for `engine.Recurrent`.
    """

    fixed = Recurrent.fixed | {"nonlinearity"}

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, nonlinearity: str = "tanh", **options: Any
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise bad_input("nonlinearity", "'tanh' or 'relu'", describe(nonlinearity))
        self.nonlinearity = nonlinearity
        cell = gates.RNN_TANH if nonlinearity == "tanh" else gates.RNN_RELU
        super().__init__(cell, input_size, hidden_size, num_layers, **options)

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "nonlinearity": self.nonlinearity}


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), h' = (1-z)*n + z*h, gates in the order r, z, n.

    Parameters
    ----------
    reset_after : where the reset gate acts.  True (cuDNN, PyTorch): n = tanh(W_n x + b_in + r*(U_n h + b_hn)).
        False (as first published): n = tanh(W_n x + b_in + U_n(r*h) + b_hn).
    options : as for `engine.Recurrent`.
    """

    fixed = Recurrent.fixed | {"reset_after"}

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, reset_after: bool = True, **options: Any
    ) -> None:
        self.reset_after = switch("reset_after", reset_after)
        super().__init__(
            gates.GRU if self.reset_after else gates.GRU_BEFORE, input_size, hidden_size, num_layers, **options
        )

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "reset_after": self.reset_after}


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate, gates in the order i, f, g, o.

    Parameters
    ----------
    input_size, hidden_size, num_layers : D, H and L.
    forget_bias : first value of the forget gate's bias_ih, whose bias_hh starts at 0 (Gers et al. 2000: remember at
        first).
    options : as for `engine.Recurrent`.  ``proj_size=P`` projects the hidden state: h = W_hr (o * tanh(c)), of width P
        (Sak et al. 2014); 0 for no projection.
    """

    fixed = Recurrent.fixed | {"forget_bias"}

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, forget_bias: float = 1.0, **options: Any
    ) -> None:
        self.forget_bias = number("forget_bias", forget_bias, low=-math.inf)
        cell = gates.PROJECTED_LSTM if options.get("proj_size") else gates.LSTM
        super().__init__(cell, input_size, hidden_size, num_layers, **options)

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = super()._draw(name, shape)
        if name.startswith("bias"):
            forget_block = slice(self.hidden_size, 2 * self.hidden_size)
            values[forget_block] = self.forget_bias if name.startswith("bias_ih") else 0.0
        return values

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "forget_bias": self.forget_bias}


def layer_of(cell: str, *sizes: int, **options: Any) -> Recurrent:
    """The layer that runs the cell of that name: an RNN, GRU or LSTM if one of them has that cell, else a `Recurrent`.

    Parameters
    ----------
    cell : one of `engine.cells()`.
    sizes, options : of the layer.
    """
    if cell in ("rnn_tanh", "rnn_relu"):
        return RNN(*sizes, nonlinearity=cell.removeprefix("rnn_"), **options)
    if cell in ("gru", "gru_before"):
        return GRU(*sizes, reset_after=cell == "gru", **options)
    if cell in ("lstm", "projected_lstm"):
        return LSTM(*sizes, **options)
    return Recurrent(cell, *sizes, **options)
