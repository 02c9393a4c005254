"""Against values recorded from PyTorch (tests/recorded/record_layers.py), for machines that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import KERNELS, distance, leaves

import engine

RECORD = np.load(Path(__file__).parent / "recorded" / "layers.npz", allow_pickle=False)
CASES = sorted({name.partition("/")[0] for name in RECORD.files})
LENGTHS = [5, 2, 4, 1]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel_set", KERNELS)
def test_layers_agree_with_recorded_values(case: str, kernel_set: str) -> None:
    kind, layers, bidirectional, with_lengths = case.split("-")
    found = {name.partition("/")[2]: RECORD[name] for name in RECORD.files if name.startswith(f"{case}/")}
    options: dict[str, Any] = {"bidirectional": bidirectional == "True", "dtype": "float64"}
    if kind.startswith("rnn"):
        options["nonlinearity"] = kind.removeprefix("rnn_")
    build = {"lstm": engine.LSTM, "gru_after": engine.GRU}.get(kind, engine.RNN)
    layer: Any = build(3, 2, int(layers), backend=f"numpy:{kernel_set}", **options)
    layer.load_state_dict({name[6:]: value for name, value in found.items() if name.startswith("param.")})
    parts = 2 if kind == "lstm" else 1
    state, dlast = (tuple(found[f"{name}{k}"] for k in range(parts)) for name in ("state", "dlast"))
    y, last, tape = layer.forward(
        found["x"], state if parts == 2 else state[0], LENGTHS if with_lengths == "True" else None
    )
    dx, dfirst = layer.backward(tape, found["dy"], dlast if parts == 2 else dlast[0])
    pairs = {"y": y, "dx": dx} | {f"grad.{name}": grad for name, grad in layer.grads.items()}
    for k in range(parts):
        pairs |= {f"last{k}": leaves(last)[k], f"dfirst{k}": leaves(dfirst)[k]}
    for name, value in pairs.items():
        assert distance(value, found[name]) <= 1e-10, name
