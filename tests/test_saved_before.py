"""Runs that earlier releases saved: they are measured, written with and resumed as when they were new.

``tests/data/version1`` holds what the first checkpoint format left of two runs of five steps, and their data.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import bptt, metrics

from engine.training import TrainConfig

pytestmark = pytest.mark.usefixtures("blank_pictures")

DATA = Path(__file__).parent / "data" / "version1"
SOURCES = {"language": "tides.txt", "forecast": "level.csv"}


@pytest.mark.parametrize("which", ["best", "last"])
@pytest.mark.parametrize("task", SOURCES)
def test_they_are_measured(task: str, which: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("evaluate", DATA / task, DATA / SOURCES[task], "--checkpoint", which, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    if task == "language":
        assert result["bpc"] == pytest.approx(4.9698, abs=0.2)  # of the whole text; the validation part had 4.9698
    else:
        assert result["scores"]["GRU"]["rmse"] == pytest.approx(1.6894, abs=1e-4)


def test_they_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("sample", DATA / "language", "--length", 12, "--seed", 3) == 0
    assert len(capsys.readouterr().out) == 13


@pytest.mark.parametrize("task", SOURCES)
def test_they_are_resumed(task: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(DATA / task, out)
    source = [DATA / SOURCES[task]] if task == "language" else ["--data", DATA / SOURCES[task]]
    assert bptt("train", *source, "--out", out, "--resume", "--steps", 8, "--quiet") == 0
    assert [r["step"] for r in metrics(out) if r["kind"] == "train"] == list(range(1, 9))
    assert [r["loss"] for r in metrics(out)[:7]] == [r["loss"] for r in metrics(DATA / task)]


def test_what_came_later_is_as_it_was() -> None:
    """No column of times was looked at, and a column was a string."""
    record = json.loads((DATA / "forecast" / "run.json").read_text())["config"]
    config = TrainConfig.from_json(record)
    assert (config.column, config.time, config.sort, config.regular) == (("level",), "none", False, False)
