"""`bptt train --k2` and `--memory`: windows that overlap, and recomputation, in whole trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, write_text

import engine
from engine.training import read_checkpoint, run_training
from engine.training.config import make
from engine.training.session import make_task
from engine.training.task import forward
from kernels.reference import ReferenceKernels

TINY: dict[str, Any] = {
    "backend": "numpy:reference", "hidden": 6, "embed": 5, "batch": 4, "sequence": 8, "layers": 2, "dropout": 0.3,
    "schedule": "constant", "validate_every": 100, "checkpoint_every": 3,
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "tides.txt")


def trained(out: Path, **options: Any) -> dict[str, np.ndarray]:
    run_training(out, quiet=True, **options)
    return read_checkpoint(out / "last.safetensors").group("model")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_run_over_windows_resumes_to_the_byte(text: Path, tmp_path: Path) -> None:
    given = {**TINY, "files": (str(text),), "k2": 21}
    whole = trained(tmp_path / "whole", steps=8, **given)
    trained(tmp_path / "parts", steps=5, **given)
    assert same(trained(tmp_path / "parts", steps=8, resume=True), whole)
    assert not same(trained(tmp_path / "chunks", steps=8, **given | {"k2": 0}), whole)


def test_recomputation_changes_no_byte_of_a_training(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReferenceKernels, "steps_at_once", 4)
    given = {**TINY, "files": (str(text),), "steps": 4, "k2": 16}
    plain = trained(tmp_path / "plain", **given)
    assert same(trained(tmp_path / "less", memory="18KiB", **given), plain)
    with pytest.raises(engine.InputError, match=r"memory: expected at least .* for 8 steps of 4 rows, got 64 B"):
        run_training(tmp_path / "none", quiet=True, memory="64 B", **given)
    assert not (tmp_path / "none").exists()  # it is told before anything is written


def test_a_window_begins_with_the_state_that_belongs_there(text: Path) -> None:
    config = make("language", TINY | {"files": (str(text),), "k2": 21, "steps": 3, "dropout": 0.0, "dtype": "float64"})
    task = make_task(config)
    ids = np.concatenate([task._batches.batch(n).inputs for n in range(6)])  # type: ignore[attr-defined]
    state: Any = None
    for step in range(5):
        begin = max(0, 8 * (step + 1) - 21)
        batch = task.batch(step)
        np.testing.assert_array_equal(batch.x, ids[begin : 8 * (step + 1)])
        expected = task.model.predict(ids[:begin])[1] if begin else None
        for one, other in zip(state[1] if state else (), expected[1] if expected else (), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        out = forward(task, step, state)
        assert out.positions == 8 * 4
        assert not out.dy[: len(batch.x) - 8].any()
        assert out.dy[len(batch.x) - 8 :].all()
        state = task.carried(step + 1, out.state)


def test_the_command_says_what_is_wrong(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, words in (
        ("--k2", "5", "--k2: expected 0, or at least the sequence of 8, got 5"),
        ("--memory", "5 apples", "--memory: expected an amount of memory such as 64MiB"),
    ):
        assert bptt("train", str(text), "--sequence", "8", "--out", str(tmp_path / "run"), option, value) == 2
        assert words in capsys.readouterr().err
