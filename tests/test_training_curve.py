"""Two hundred steps beside PyTorch: loss, clipping and update rule together, from equal weights and data."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import KERNELS, distance

import engine

pytestmark = pytest.mark.oracle
STEPS = 200


@pytest.mark.parametrize("kernel_set", KERNELS)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_two_hundred_adam_steps_follow_pytorch(torch: ModuleType, cell: str, kernel_set: str) -> None:
    T, B, D, H, V = 12, 5, 6, 16, 9
    options: dict[str, Any] = {"dtype": "float64", "backend": f"numpy:{kernel_set}"}
    model = engine.Sequential(getattr(engine, cell)(D, H, 2, **options), engine.Linear(H, V, **options))
    torch.manual_seed(0)
    recurrent = getattr(torch.nn, cell)(D, H, 2, dtype=torch.float64)
    head = torch.nn.Linear(H, V, dtype=torch.float64)
    theirs = [*recurrent.parameters(), *head.parameters()]
    model.layers[0].load_state_dict(recurrent.state_dict())
    model.layers[1].load_state_dict(head.state_dict())
    optimiser, other = engine.Adam(model, lr=5e-3), torch.optim.Adam(theirs, lr=5e-3)

    rng = np.random.default_rng(3)
    curves: tuple[list[float], list[float]] = ([], [])
    clipped = 0
    for _ in range(STEPS):
        x = rng.normal(size=(T, B, D))
        targets = (np.cumsum(x[:, :, :2].sum(axis=2), axis=0) > 0) * 3 + (x[:, :, 2] > 0)  # needs memory
        logits, _, tape = model.forward(x)
        loss, dlogits = engine.cross_entropy(logits, targets)
        model.zero_grad()
        model.backward(tape, dlogits)
        norm = engine.clip_grad_norm(model, 0.25)
        optimiser.step()

        other.zero_grad()
        out = head(recurrent(torch.tensor(x))[0])
        value = torch.nn.functional.cross_entropy(out.reshape(-1, V), torch.tensor(targets).reshape(-1))
        value.backward()
        other_norm = torch.nn.utils.clip_grad_norm_(theirs, 0.25)
        other.step()
        assert float(norm) == pytest.approx(float(other_norm), rel=1e-6)
        clipped += float(norm) > 0.25
        curves[0].append(float(loss))
        curves[1].append(float(value.detach()))
    assert clipped > 20  # so that clipping was tried
    assert distance(curves[0], curves[1]) <= 1e-6
    assert curves[0][-1] < 0.8 * curves[0][0]
