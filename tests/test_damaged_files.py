"""Damaged and crafted files of a run: one line each, at once, and nothing written over.

The few that every test run tries are the first of the thousand of `make test-proof`.
"""

from __future__ import annotations

import copy
import gc
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import bptt, write_series, write_text
from damaged_files import (
    copied,
    crafted_checkpoints,
    damaged_checkpoints,
    header_of,
    packed,
    snapshot,
    spoilt_metrics,
    spoilt_options,
    watched,
)

from engine.training.checkpoint import read_file

VERSION_1 = Path(__file__).parent / "data" / "version1" / "language"
pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = (
    "--backend numpy:reference --hidden 3 --batch 3 --report-every 1 --validate-every 4 --checkpoint-every 3 "
    "--steps 5 --quiet"
).split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each task, of five steps.

    What has been made in this process so far is left out of later garbage collections: each command is watched from
    one on, and among the objects of thousands of tests it would take longer than the command.
    """
    gc.collect()
    gc.freeze()
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
            # The budget is given: a file may well ask for a million steps more.
            command = ["train", "--resume", "--out", run, "--steps", 5, "--quiet"]
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


def resealed(path: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a checkpoint with changed metadata and a right checksum."""
    checkpoint = read_file(path)
    meta = copy.deepcopy(checkpoint.meta)
    change(meta)
    target.write_bytes(packed(header_of(checkpoint.arrays), meta, checkpoint.arrays))
    return target


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("config",), 0),
        (("config", "files"), 7),
        (("config", "hidden"), 10**9),
        (("config", "layers"), 10**4),
        (("task",), 0),
        (("task",), "x"),
        (("task", "vocabulary", "characters"), "ba"),
        (("model", "args", "layers", 1, "args", "num_layers"), 10**4),
        (("model", "args", "layers", 1, "args", "hidden_size"), 10**9),
        (("model", "args", "layers"), []),
        (("trainer", "best_step"), "x"),
        (("trainer", "best_step"), None),
        (("trainer", "positions"), []),
        (("trainer", "positions"), 1e308),
        (("trainer", "since"), [[]]),
        (("trainer", "since"), 3),
        (("trainer", "step"), [None]),
        (("trainer", "strikes"), [None]),
        (("trainer", "more"), 1),
        (("carried",), ["x"]),
        (("counters",), {"0": "x"}),
        (("optimizer",), {"lr": []}),
        (("metrics_lines",), -1),
    ],
)
def test_metadata_that_makes_no_sense(runs: dict[str, Path], tmp_path: Path, at: tuple[Any, ...], value: Any) -> None:
    run = copied(runs["language"], tmp_path / "run")

    def change(meta: dict[str, Any]) -> None:
        part: Any = meta
        for key in at[:-1]:
            part = part[key]
        part[at[-1]] = value

    resealed(runs["language"] / "last.safetensors", run / "last.safetensors", change)
    before = snapshot(run)
    for command in (["sample", run, "--checkpoint", "last"], ["train", "--resume", "--out", run, "--quiet"]):
        assert watched(*command).complaints() == []
    assert snapshot(run) == before


def test_dtypes_that_the_first_format_did_not_seal(tmp_path: Path) -> None:
    """Version 1 left dtype and shape out of its checksum: they are held against the model."""
    for old, new in [(b'"dtype":"F32"', b'"dtype":"I32"'), (b'"F32","shape":[29,2]', b'"F32","shape":[2,29]')]:
        data = (VERSION_1 / "best.safetensors").read_bytes()
        assert old in data
        path = tmp_path / "best.safetensors"
        path.write_bytes(data.replace(old, new))
        assert watched("sample", path).complaints() == []


def test_some_spoilt_files(runs: dict[str, Path], tmp_path: Path) -> None:
    assert "\n".join(complaints_of(runs, tmp_path, 36, seed=1)) == ""


@pytest.mark.proof
def test_a_thousand_spoilt_files(runs: dict[str, Path], tmp_path: Path) -> None:
    count, seed = (int(os.environ.get(f"BPTT_SPOILT{end}", value)) for end, value in (("", "1200"), ("_SEED", "2")))
    assert "\n".join(complaints_of(runs, tmp_path, count, seed)) == ""
