"""Times of a few steps, kept by pytest-benchmark from change to change: see docs/performance.md."""

from __future__ import annotations

from typing import Any

import pytest

from engine.measuring.serve import pin
from engine.measuring.steps import engine_step
from engine.measuring.timed_step import TIMED_CELLS, TimedStep

#: (T, B, H): small layers, where a step is made of gates and calls, and one that is made of products.
SIZES = ((50, 1, 64), (50, 32, 64), (50, 32, 256))
CASES = [TimedStep(cell, T, B, H, H) for cell in TIMED_CELLS for T, B, H in SIZES]
CASES += [TimedStep(cell, 50, 32, 64, 64, training=False) for cell in TIMED_CELLS]
CASES += [TimedStep("LSTM", 50, 32, 64, 64, layers=2, bidirectional=True, mixed=True)]


@pytest.fixture(scope="module", autouse=True)
def one_core() -> None:
    """Stay on the core where the other measurements are made."""
    pin(1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case}{'' if case.training else ' inference'}")
def test_step(case: TimedStep, benchmark: Any) -> None:
    step = engine_step(case, 1)
    step.run()  # compiles, or loads what was compiled
    benchmark.group = "training" if case.training else "inference"
    benchmark.extra_info.update(case.as_dict())
    benchmark(step.run)
