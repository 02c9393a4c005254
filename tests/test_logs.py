"""CSV and TensorBoard: the same numbers as the lines of the metrics, after a resumed run too."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
from test_fit import FIT, data, fit, network

from engine.errors import StorageError
from engine.training.logs import CSVLog, TensorBoardLog
from engine.training.metrics import read_metrics


def two_sessions(folder: Path, make: Any) -> list[dict[str, Any]]:
    """A run of four epochs with a break after the second one; returns its lines."""
    for epochs in (2, 4):
        fit(network(), *data(), epochs=epochs, out=folder / "run", resume=True, callbacks=[make()], **FIT)
    return read_metrics(folder / "run" / "metrics.jsonl", "loss")


def test_csv(tmp_path: Path) -> None:
    lines = two_sessions(tmp_path, lambda: CSVLog(tmp_path / "log.csv"))
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines) == 8
    heads = ["kind", "step", "epoch", "loss", "rmse", "lr", "grad_norm", "best", "elapsed_s", "positions_per_s"]
    assert list(rows[0]) == heads
    for row, line in zip(rows, lines, strict=True):
        flat = {**line, **line["timing"]}
        del flat["timing"]
        assert {name: value for name, value in row.items() if value} == {
            name: str(value) for name, value in flat.items()
        }
    with pytest.raises(StorageError, match="choose another path"):
        fit(network(), *data(), epochs=1, callbacks=[CSVLog(tmp_path / "none" / "log.csv")], **FIT)


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    seen: list[tuple[str, float, int]] = []
    real = library.SummaryWriter.add_scalar

    def add(self: Any, name: str, value: float, step: int) -> None:
        seen.append((name, value, step))
        real(self, name, value, step)

    monkeypatch.setattr(library.SummaryWriter, "add_scalar", add)
    lines = two_sessions(tmp_path, lambda: TensorBoardLog(tmp_path / "board"))
    assert len(list((tmp_path / "board").iterdir())) == 1  # the file of the first session is replaced
    for line in lines:
        told = 2 if line["epoch"] <= 2 else 1  # the second session tells the first one again
        assert seen.count((f"{line['kind']}/loss", line["loss"], line["step"])) == told
    assert {name for name, _, _ in seen} >= {"validation/rmse", "train/lr", "train/positions_per_s"}
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'bptt-engine\[tensorboard\]'"):
        TensorBoardLog(tmp_path)
