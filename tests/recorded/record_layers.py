"""Record PyTorch's values for the layers: outputs, states and every gradient, in float64.

Run where PyTorch is installed::

    python tests/recorded/record_layers.py

It writes ``layers.npz`` beside itself.  ``tests/test_recorded_layers.py`` compares with it where PyTorch is absent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
T, B, D, H = 5, 4, 3, 2
LENGTHS = np.array([5, 2, 4, 1])
CASES = [
    (kind, layers, bidirectional, lengths)
    for kind in ("rnn_tanh", "rnn_relu", "lstm", "gru_after")
    for layers in (1, 2)
    for bidirectional in (False, True)
    for lengths in (False, True)
]


def record(kind: str, layers: int, bidirectional: bool, with_lengths: bool, seed: int) -> dict[str, np.ndarray]:
    """All inputs and results of one case by name."""
    torch.manual_seed(seed)
    options = {"num_layers": layers, "bidirectional": bidirectional, "dtype": torch.float64}
    if kind == "lstm":
        layer: torch.nn.Module = torch.nn.LSTM(D, H, **options)
    elif kind == "gru_after":
        layer = torch.nn.GRU(D, H, **options)
    else:
        layer = torch.nn.RNN(D, H, nonlinearity=kind.removeprefix("rnn_"), **options)
    slots = layers * (2 if bidirectional else 1)
    x = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(slots, B, H, dtype=torch.float64, requires_grad=True) for _ in range(1 + (kind == "lstm"))]
    source: object = x
    if with_lengths:
        source = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)
    y, last = layer(source, tuple(state) if kind == "lstm" else state[0])
    if with_lengths:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    last = list(last) if kind == "lstm" else [last]
    dy, dlast = torch.randn_like(y), [torch.randn_like(part) for part in last]
    value = (y * dy).sum() + sum((part * cotangent).sum() for part, cotangent in zip(last, dlast, strict=True))
    value.backward()
    found = {"x": x, "y": y, "dy": dy, "dx": x.grad}
    for k in range(len(state)):
        found |= {f"state{k}": state[k], f"last{k}": last[k], f"dlast{k}": dlast[k], f"dfirst{k}": state[k].grad}
    for name, parameter in layer.named_parameters():
        found |= {f"param.{name}": parameter, f"grad.{name}": parameter.grad}
    return {name: value.detach().numpy() for name, value in found.items()}


def main() -> None:
    """Write the file."""
    arrays: dict[str, np.ndarray] = {}
    for seed, case in enumerate(CASES):
        label = "-".join(map(str, case))
        arrays |= {f"{label}/{name}": value for name, value in record(*case, seed).items()}
    np.savez_compressed(HERE / "layers.npz", allow_pickle=False, **arrays)
    print(f"{HERE / 'layers.npz'}: {len(CASES)} cases, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
