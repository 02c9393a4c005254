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

from kernels.cells import cells as cells
from kernels.cells import find as find
from kernels.gates.coupled_lstm import COUPLED_LSTM as COUPLED_LSTM
from kernels.gates.gru import GRU as GRU
from kernels.gates.gru_before import GRU_BEFORE as GRU_BEFORE
from kernels.gates.indrnn import INDRNN as INDRNN
from kernels.gates.layernorm_gru import LAYERNORM_GRU as LAYERNORM_GRU
from kernels.gates.layernorm_lstm import LAYERNORM_LSTM as LAYERNORM_LSTM
from kernels.gates.leaky_rnn import LEAKY_RNN as LEAKY_RNN
from kernels.gates.lstm import LSTM as LSTM
from kernels.gates.mgu import MGU as MGU
from kernels.gates.peephole_lstm import PEEPHOLE_LSTM as PEEPHOLE_LSTM
from kernels.gates.projected_lstm import PROJECTED_LSTM as PROJECTED_LSTM
from kernels.gates.rnn import RNN_RELU as RNN_RELU
from kernels.gates.rnn import RNN_TANH as RNN_TANH
from kernels.gates.slstm import SLSTM as SLSTM
