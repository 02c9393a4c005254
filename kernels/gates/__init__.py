"""The cells, one page each: the equations of a step, forward and backward side by side, and their source.

A gate function is plain arithmetic on whatever it is given.  `kernels.steps` calls it with whole arrays (B, H) of any
array library, `kernels.cpu.rows` compiles the same source for one number of one hidden unit, `kernels.cuda.translate`
translates it into CUDA.

Letters
-------
a_*       pre-activation of a gate: everything inside its sigmoid or tanh
x_*, h_*  the two parts of a pre-activation: from the input (with bias_ih) and from the hidden state (with bias_hh)
i f g o   LSTM: input gate, forget gate, candidate, output gate
r z n     GRU: reset gate, update gate, candidate
c, h      cell state, hidden state; ``_prev`` marks the step before
dv        gradient of the loss with respect to v

``sigmoid``, ``tanh`` and ``act`` are arguments, as each library has its own.  ``one`` is the number 1 in the arrays'
own dtype.  A backward line quotes the forward line that it reverses.
"""

from __future__ import annotations

from kernels.cells import cells, find
from kernels.gates.coupled_lstm import COUPLED_LSTM
from kernels.gates.gru import GRU
from kernels.gates.gru_before import GRU_BEFORE
from kernels.gates.indrnn import INDRNN
from kernels.gates.layernorm_gru import LAYERNORM_GRU
from kernels.gates.layernorm_lstm import LAYERNORM_LSTM
from kernels.gates.lstm import LSTM
from kernels.gates.mgu import MGU
from kernels.gates.peephole_lstm import PEEPHOLE_LSTM
from kernels.gates.projected_lstm import PROJECTED_LSTM
from kernels.gates.rnn import RNN_RELU, RNN_TANH
from kernels.gates.slstm import SLSTM

__all__ = [
    "COUPLED_LSTM",
    "GRU",
    "GRU_BEFORE",
    "INDRNN",
    "LAYERNORM_GRU",
    "LAYERNORM_LSTM",
    "LSTM",
    "MGU",
    "PEEPHOLE_LSTM",
    "PROJECTED_LSTM",
    "RNN_RELU",
    "RNN_TANH",
    "SLSTM",
    "cells",
    "find",
]
