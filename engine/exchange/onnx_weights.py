"""Recurrent weights in ONNX's order and back: W, R, B and P of the operators LSTM, GRU and RNN.

ONNX stacks directions first, (N, G*H, D), and orders the gates i, o, f, c (our g) and z, r, h (our n).  Of the two
halves of B the first belongs to W and the second to R, as our two biases do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.exchange.parts import GATES, Host, reordered
from engine.exchange.recurrent_weights import of_direction

#: The cells that ONNX has, with its operator and the order of its gate blocks in our letters.
OPERATORS = {
    "rnn_tanh": ("RNN", "h"),
    "rnn_relu": ("RNN", "h"),
    "lstm": ("LSTM", "iofg"),
    "peephole_lstm": ("LSTM", "iofg"),
    "gru": ("GRU", "zrn"),
    "gru_before": ("GRU", "zrn"),
}
PEEPHOLES = "iof"


class Weights(NamedTuple):
    """The inputs of an operator that are weights.

    Attributes
    ----------
    W : array (N, G*H, D)
    R : array (N, G*H, H)
    B : array (N, 2*G*H) or None
    P : array (N, 3*H) or None, the peepholes.
    """

    W: Host
    R: Host
    B: Host | None
    P: Host | None


def to_onnx(layer: Any, ends: list[str]) -> Weights:
    """The weights of one layer of a stack, whose directions have these endings."""
    cell = layer.cell.name
    have, want = GATES[cell], OPERATORS[cell][1]
    found = [of_direction(layer, end) for end in ends]
    biases = [[reordered(one[name], have, want) for name in ("bias_ih", "bias_hh")] for one in found]
    peepholes = [[one[f"p_{gate}"] for gate in PEEPHOLES] for one in found] if cell == "peephole_lstm" else None
    return Weights(
        np.stack([reordered(one["weight_ih"], have, want) for one in found]),
        np.stack([reordered(one["weight_hh"], have, want) for one in found]),
        np.stack([np.concatenate(pair) for pair in biases]) if layer.bias else None,
        None if peepholes is None else np.stack([np.concatenate(three) for three in peepholes]),
    )


def from_onnx(cell: str, weights: Weights) -> dict[str, Host]:
    """Our parameters by name, of one layer, from the weights of its operator."""
    want, have = GATES[cell], OPERATORS[cell][1]
    found = {}
    for index, end in enumerate(("_l0", "_l0_reverse")[: len(weights.W)]):
        found[f"weight_ih{end}"] = reordered(weights.W[index], have, want)
        found[f"weight_hh{end}"] = reordered(weights.R[index], have, want)
        if weights.B is not None:
            for name, half in zip(("bias_ih", "bias_hh"), np.split(weights.B[index], 2), strict=True):
                found[f"{name}{end}"] = reordered(half, have, want)
        if weights.P is not None:
            thirds = np.split(weights.P[index], len(PEEPHOLES))
            found |= {f"p_{gate}{end}": third for gate, third in zip(PEEPHOLES, thirds, strict=True)}
    return found
