"""The benchmark of one time step: every library carries the same state to the same outputs."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks.speed import character_peers, step_peers, steps
from engine.measuring.timed_step import TIMED_CELLS, TimedStep

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"torch": ["torch"], "onnxruntime": ["onnxruntime", "onnx"]}
CASES = [(step_peers, cell) for cell in TIMED_CELLS] + [(character_peers, "LSTM")]


def outputs(module: ModuleType, library: str, cell: str) -> Any:
    case = TimedStep(cell, 5, 2, 8, 16, training=False)
    step = module.LIBRARIES[library].build(case, 1)
    step.run()
    return step.values()["y"].reshape(5, 2, -1)


@pytest.mark.parametrize("library", [name for name in step_peers.LIBRARIES if name != "engine"])
@pytest.mark.parametrize(("module", "cell"), CASES)
def test_every_library_computes_the_same(module: ModuleType, cell: str, library: str) -> None:
    for needed in NEEDS.get(library, []):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    ours, theirs = outputs(module, "engine", cell), outputs(module, library, cell)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=2e-2 if library == "bf16" else 1e-5)
    assert not np.allclose(ours[0], ours[1], atol=0.1)  # a state is carried, and inputs differ


def test_the_figures_of_the_page_are_those_of_the_kept_results() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "steps.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
    assert document["command"] in page
    shown = 0
    for row in document["rows"]:
        times = (f"{steps.microseconds(row, library):.1f}" for library in ("engine", "bf16", "torch", "onnxruntime"))
        name = "character model" if row["model"] == "characters" else row["model"]
        shown += f"| {name}, H = {row['H']} | {' | '.join(times)} |" in page
    assert shown == 7
    assert f"an {document['machine']['cpu']}" in page


def test_a_wrong_option_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        steps.main(["--cells", "LSTM,MGU"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("error: --cells: expected some of LSTM, GRU, RNN, got 'MGU'\n")
