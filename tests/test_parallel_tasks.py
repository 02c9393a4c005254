"""Every kind of task trains on several ranks as on one: each has targets and masks of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import refused, write_series, write_text

import engine
from engine.errors import BackendUnavailableError
from engine.parallel import run_ranks
from engine.training import run_training

WORDS = "the boat goes out and comes in with a red sail on sand".split()


def sentences(most: int) -> list[list[str]]:
    draw = np.random.default_rng(0)
    return [list(draw.choice(WORDS, draw.integers(2, most))) for _ in range(60)]


def a_text(path: Path) -> dict[str, Any]:
    return {"task": "language", "files": (str(write_text(path)),), "sequence": 9, "embed": 4}


def a_series_with_gaps(path: Path) -> dict[str, Any]:
    """Targets that were not measured do not count, and each part of a batch has another number of them."""
    levels = [f"{level:.4f}" for level in np.sin(np.arange(300) / 10)]
    path.write_text("level\n" + "\n".join("" if k in (40, 41, 150, 200) else level for k, level in enumerate(levels)))
    return {"task": "forecast", "data": str(path), "missing": "interpolate", "window": 12, "horizon": 3}


def many_series(path: Path) -> dict[str, Any]:
    return {"task": "series", "data": str(write_series(path)), "window": 12, "horizon": 3}


def tags(path: Path) -> dict[str, Any]:
    rows = ["\n".join(f"{word}\t{'long' if len(word) > 3 else 'short'}" for word in row) for row in sentences(9)]
    path.write_text("\n\n".join(rows) + "\n")
    return {"task": "tag", "data": str(path), "embed": 4, "crf": True}


def classes(path: Path) -> dict[str, Any]:
    rows = [f"{' '.join(row)}\t{'odd' if place % 3 else 'even'}" for place, row in enumerate(sentences(9))]
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return {"task": "classify", "data": str(path), "embed": 4, "balance": True}


def pairs(path: Path) -> dict[str, Any]:
    path.write_text("".join(f"{' '.join(row)}\t{' '.join(reversed(row))}\n" for row in sentences(7)))
    return {"task": "translate", "data": str(path), "embed": 4, "smoothing": 0.1, "sampling": 0.3}


@pytest.mark.proof
@pytest.mark.parametrize("data", [a_text, a_series_with_gaps, many_series, tags, classes, pairs])
def test_three_ranks_train_a_task_as_one(data: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "backend": "numpy:reference",
        "dtype": "float64",
        "hidden": 6,
        "dropout": 0.2,
        "batch": 5,
    }
    options |= {"steps": 8, "report_every": 1, "validate_every": 4, "quiet": True, **data(tmp_path / "data.csv")}
    run_training(tmp_path / "one", **options)
    run_ranks(3, lambda communicator: run_training(tmp_path / "three", parallel=communicator, **options))
    one, three = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "three")
    )
    assert [line["kind"] for line in one] == [line["kind"] for line in three]
    for wanted, found in zip(one, three, strict=True):
        for name, value in wanted.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, rel=1e-11), name


def test_without_mpi_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    x = np.zeros((2, 3, 1))
    with pytest.raises(
        BackendUnavailableError, match=r"parallel: expected mpi4py .*; pip install 'bptt-engine\[mpi\]'"
    ):
        engine.fit(engine.GRU(1, 1, backend="numpy:reference"), x, x, parallel=True, quiet=True)
    monkeypatch.setenv("PMI_SIZE", "2")
    said = refused(capsys, "train", "--out", tmp_path / "run")
    assert said.rstrip().endswith("pip install 'bptt-engine[mpi]'")
    assert not (tmp_path / "run").exists()
