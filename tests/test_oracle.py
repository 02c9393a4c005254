"""Against live PyTorch, in the same process and float64: every value and every gradient, over random shapes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import KERNELS, build, distance, leaves, random_arguments
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.oracle
TORCH_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
EXAMPLES = 60

cases = st.fixed_dictionaries(
    {
        "T": st.integers(1, 8),
        "B": st.integers(1, 5),
        "D": st.integers(1, 5),
        "H": st.integers(1, 7),
        "layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "batch_first": st.booleans(),
        "lengths": st.sampled_from(["none", "mixed"]),
        "bias": st.booleans(),
        "seed": st.integers(0, 2**20),
    }
)
BASE = {"T": 6, "B": 4, "D": 3, "H": 5, "bias": True, "seed": 7}
GRID = [
    {**BASE, "layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "lengths": lengths}
    for layers in (1, 2, 3)
    for bidirectional in (False, True)
    for batch_first in (False, True)
    for lengths in ("none", "mixed")
]


def torch_layer(torch: ModuleType, layer: Any) -> Any:
    """PyTorch's layer with the same weights; moved with load_state_dict, both ways."""
    options = {
        "num_layers": layer.num_layers,
        "bidirectional": layer.bidirectional,
        "batch_first": layer.batch_first,
        "bias": layer.bias,
        "dtype": torch.float64,
    }
    sizes = layer.input_size, layer.hidden_size
    if layer.cell.name == "lstm":
        other = torch.nn.LSTM(*sizes, **options)
    elif layer.cell.name == "gru":
        other = torch.nn.GRU(*sizes, **options)
    else:
        other = torch.nn.RNN(*sizes, nonlinearity=layer.nonlinearity, **options)
    layer.load_state_dict(other.state_dict())  # a PyTorch state dict as it is
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    layer.load_state_dict(other.state_dict())
    return other


def compare(torch: ModuleType, kind: str, kernel_set: str, case: dict[str, Any]) -> None:
    T, B = case["T"], case["B"]
    options = {k: case[k] for k in ("bidirectional", "batch_first", "bias")}
    layer = build(kind, case["D"], case["H"], case["layers"], backend=f"numpy:{kernel_set}", **options)
    other = torch_layer(torch, layer)
    x, state, dy, dstate = random_arguments(layer, T, B, case["seed"])
    lengths = None
    if case["lengths"] == "mixed":  # PyTorch knows no length 0: tests/test_layers.py has its own oracle for that
        lengths = np.random.default_rng(case["seed"]).integers(1, T + 1, B)

    tx = torch.tensor(x, requires_grad=True)
    tstates = [torch.tensor(part, requires_grad=True) for part in leaves(state)]
    tinput: Any = tx
    if lengths is not None:
        tinput = torch.nn.utils.rnn.pack_padded_sequence(
            tx, torch.tensor(lengths), batch_first=layer.batch_first, enforce_sorted=False
        )
    ty, tlast = other(tinput, tuple(tstates) if len(tstates) == 2 else tstates[0])
    if lengths is not None:
        ty, _ = torch.nn.utils.rnn.pad_packed_sequence(ty, batch_first=layer.batch_first, total_length=T)
    value = (ty * torch.tensor(dy)).sum()
    for part, cotangent in zip(leaves(tlast), leaves(dstate), strict=True):
        value = value + (part * torch.tensor(cotangent)).sum()
    value.backward()

    y, last, tape = layer.forward(x, state, lengths)
    dx, dfirst = layer.backward(tape, dy, dstate)
    predicted, predicted_last = layer.predict(x, state, lengths)
    pairs = {"y": (y, ty), "dx": (dx, tx.grad), "predict": (predicted, ty)}
    for k, (ours, theirs) in enumerate(zip(leaves(last), leaves(tlast), strict=True)):
        pairs[f"last state {k}"] = (ours, theirs)
        pairs[f"predicted state {k}"] = (leaves(predicted_last)[k], theirs)
    for k, (ours, theirs) in enumerate(zip(leaves(dfirst), tstates, strict=True)):
        pairs[f"gradient of initial state {k}"] = (ours, theirs.grad)
    for name, parameter in other.named_parameters():
        pairs[name] = (layer.grads[name], parameter.grad)
    for name, (ours, theirs) in pairs.items():
        assert distance(ours, theirs.detach().numpy()) <= 1e-10, name


@pytest.mark.parametrize("case", GRID, ids=lambda c: "-".join(str(c[k]) for k in list(c)[-4:]))
@pytest.mark.parametrize("kernel_set", KERNELS)
@pytest.mark.parametrize("kind", TORCH_CELLS)
def test_every_option_agrees_with_pytorch(torch: ModuleType, kind: str, kernel_set: str, case: dict[str, Any]) -> None:
    compare(torch, kind, kernel_set, case)


@pytest.mark.parametrize("kernel_set", KERNELS)
@pytest.mark.parametrize("kind", TORCH_CELLS)
@settings(max_examples=EXAMPLES)
@given(case=cases)
@example(case={**GRID[-1], "T": 1, "B": 1, "D": 1, "H": 1})
def test_random_shapes_agree_with_pytorch(torch: ModuleType, kind: str, kernel_set: str, case: dict[str, Any]) -> None:
    compare(torch, kind, kernel_set, case)
