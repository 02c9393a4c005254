"""Recurrent weights in Keras's order and back.

Keras multiplies from the left, so kernels are (D, G*H) and (H, G*H); its gates are i, f, c (our g), o and z, r, h (our
n).  It has one bias but in a GRU with ``reset_after``, whose bias is (2, 3*H): that of the input, that of the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.exchange.parts import GATES, Host, reordered
from engine.exchange.recurrent_weights import of_direction

#: The cells that Keras has: the class of their layer, the order of its gate blocks in our letters, its own arguments.
CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rnn_tanh": ("SimpleRNN", "h", {"activation": "tanh"}),
    "rnn_relu": ("SimpleRNN", "h", {"activation": "relu"}),
    "lstm": ("LSTM", "ifgo", {"activation": "tanh", "recurrent_activation": "sigmoid"}),
    "gru": ("GRU", "zrn", {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}),
    "gru_before": ("GRU", "zrn", {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": False}),
}


def to_keras(layer: Any, end: str) -> list[Host]:
    """Kernel, recurrent kernel and bias of one direction of one layer."""
    cell = layer.cell.name
    have, want = GATES[cell], CLASSES[cell][1]
    found = {name: reordered(array, have, want) for name, array in of_direction(layer, end).items()}
    kernels = [found["weight_ih"].T, found["weight_hh"].T]
    if not layer.bias:
        return kernels
    biases = found["bias_ih"], found["bias_hh"]
    return [*kernels, np.stack(biases) if cell == "gru" else biases[0] + biases[1]]


def shapes_of(cell: str, features: int, units: int, bias: bool) -> list[tuple[int, ...]]:
    """The shapes that `from_keras` takes."""
    columns = len(CLASSES[cell][1]) * units
    shapes: list[tuple[int, ...]] = [(features, columns), (units, columns)]
    return [*shapes, (2, columns) if cell == "gru" else (columns,)] if bias else shapes


def from_keras(cell: str, arrays: list[Host], end: str) -> dict[str, Host]:
    """Our parameters by name, of one direction of one layer."""
    want, have = GATES[cell], CLASSES[cell][1]
    kernel, recurrent, *bias = arrays
    found = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
    if bias:
        pair = bias[0] if cell == "gru" else np.stack([bias[0], np.zeros_like(bias[0])])
        found |= {"bias_ih": pair[0], "bias_hh": pair[1]}
    return {f"{name}{end}": reordered(array, have, want) for name, array in found.items()}
