"""LSTM with recurrent projection (Sak, Senior and Beaufays 2014): a wide memory, a narrow hidden state.

The step is that of the LSTM from a hidden state h_prev (B, P); what it calls h is m (B, H) here:

m = o * tanh(c),  h = W_hr m.

It is ``torch.nn.LSTM(D, H, proj_size=P)``: weight_hh is (4H, P), weight_hr is (P, H) and has no bias.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase, Projection
from kernels.gates import lstm

PROJECTED_LSTM = Cell(
    "projected_lstm",
    Phase("ifgo", lstm.forward, lstm.backward, names={"h": "m"}),
    Projection("m"),
    title="LSTM with recurrent projection",
)
