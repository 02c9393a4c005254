"""Damaged and crafted files of a run: one line each, at once, and nothing written over.

The few that every test run tries are the first of the thousand of `make test-proof`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from commands import bptt, write_series, write_text
from damaged_files import (
    copied,
    crafted_checkpoints,
    damaged_checkpoints,
    snapshot,
    spoilt_metrics,
    spoilt_options,
    watched,
)

pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = (
    "--backend numpy:reference --hidden 3 --batch 3 --report-every 1 --validate-every 4 --checkpoint-every 3 "
    "--steps 5 --quiet"
).split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each task, of five steps."""
    folder = tmp_path_factory.mktemp("runs")
    text, series = write_text(folder / "tides.txt", 900), write_series(folder / "level.csv", 90)
    language = ["--embed", 2, "--sequence", 7, "--layers", 2, "--dropout", 0.2]
    forecast = ["--task", "forecast", "--data", series, "--window", 6, "--horizon", 2, "--cell", "gru"]
    assert bptt("train", text, "--out", folder / "language", *language, *SMALL) == 0
    assert bptt("train", "--out", folder / "forecast", *forecast, *SMALL) == 0
    return {name: folder / name for name in ("language", "forecast")}


def complaints_of(runs: dict[str, Path], tmp_path: Path, count: int, seed: int) -> list[str]:
    """Try so many spoilt files; returns what was wrong with the answers."""
    draw = random.Random(seed)
    changes = {}
    for task, run in runs.items():
        for name in ("best.safetensors", "last.safetensors"):
            changes[task, name, True] = damaged_checkpoints(run / name)
            changes[task, name, False] = crafted_checkpoints(run / name)
        changes[task, "run.json", False] = spoilt_options(run / "run.json")
        changes[task, "metrics.jsonl", False] = spoilt_metrics(run / "metrics.jsonl")
    keys = list(changes)
    found = []
    for number in range(count):
        task, name, damage = keys[number % len(keys)]
        title, change = draw.choice(changes[task, name, damage])
        spoilt = change(draw)
        original = (runs[task] / name).read_bytes()
        if spoilt == original:
            continue
        run = copied(runs[task], tmp_path / "run")
        (run / name).write_bytes(spoilt)
        before = snapshot(run)
        if name == "best.safetensors":
            command = [draw.choice(["evaluate", "sample", "predict"]), run]
        elif name == "last.safetensors" and draw.random() < 0.3:
            command = ["evaluate", run / name, "--json"]
        else:
            command = ["train", "--resume", "--out", run, "--quiet"]
        outcome = watched(*command)
        # Some other values are possible ones: then they are simply taken.
        may_pass = title in ("metadata", "metadata of the type", "options", "metrics", "metrics cut")
        wrong = outcome.complaints(codes=(0, 1, 2) if may_pass else (2,))
        if outcome.code == 1 and "finite" not in outcome.err:
            wrong.append("exit 1")
        if outcome.code == 2 and snapshot(run) != before:
            wrong.append("files were changed")
        if wrong:
            kept = tmp_path / f"{number}-{name}"
            kept.write_bytes(spoilt)
            found.append(f"{number} {task} {title}: {command[0]}: {'; '.join(wrong)} ({kept})")
    return found


def test_some_spoilt_files(runs: dict[str, Path], tmp_path: Path) -> None:
    assert "\n".join(complaints_of(runs, tmp_path, 60, seed=1)) == ""


@pytest.mark.proof
def test_a_thousand_spoilt_files(runs: dict[str, Path], tmp_path: Path) -> None:
    count, seed = (int(os.environ.get(f"BPTT_SPOILT{end}", value)) for end, value in (("", "1200"), ("_SEED", "2")))
    assert "\n".join(complaints_of(runs, tmp_path, count, seed)) == ""
