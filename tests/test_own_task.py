"""Tasks by name: options of their own, tasks of a user's own, their results on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, refused

import engine
from engine.tasks import Option, TaskKind, kind_names, kind_of, register
from engine.training import kinds, read_checkpoint, run_training
from engine.training.rules import whole

PAGE = Path(__file__).resolve().parent.parent / "docs" / "your_own_task.md"
QUICK: dict[str, Any] = {"backend": "numpy:reference", "epochs": 1, "hidden": 5, "quiet": True}


@pytest.fixture
def tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the task of the page as a file, which is the working directory."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "page_tones.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def forgotten() -> Iterator[None]:
    known = kind_names()
    yield
    for name in set(kind_names()) - set(known):
        kinds.remove(name)


def task(**members: Any) -> type[TaskKind]:
    return type("Odd", (TaskKind,), {"name": "odd", **members})


def test_a_task_in_a_file_is_trained_resumed_and_used(tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = "--task page_tones:Tones --backend numpy:reference --hidden 5 --out run"
    assert bptt(*f"train {common} --noise 0.2 --epochs 1 --quiet".split()) == 0
    first = json.loads(Path("run/run.json").read_text())["config"]
    assert first["own"] == {"noise": 0.2}
    assert bptt(*"train --resume --out run --epochs 2 --noise 0.2 --quiet --json".split()) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["step"] == 16
    assert set(result["scores"]) == {"model", "guessing"}
    assert bptt(*"predict run --output said.csv".split()) == 0
    assert Path("said.csv").read_text().splitlines()[0] == "tone,pitch,said"
    assert "a file that is not there yet" in refused(capsys, *"predict run --output said.csv".split())
    assert "--noise 0.4 (was 0.2)" in refused(capsys, *"train --resume --out run --noise 0.4".split())
    assert "--beam: expected no such option" in refused(capsys, *"predict run --beam 3".split())
    assert "a task that can be evaluated" in refused(capsys, *"evaluate run".split())


def test_the_resumed_run_of_a_task_ends_as_the_uninterrupted_one(tones: Path, forgotten: None) -> None:
    for folder, pieces in (("whole", [2]), ("parts", [1, 2])):
        for epochs in pieces:
            options = {**QUICK, "epochs": epochs, "schedule": "constant"}
            run_training(folder, task="page_tones:Tones", resume=epochs > pieces[0], **options)
    whole_run, parts = (
        read_checkpoint(Path(folder, "last.safetensors")).group("model") for folder in ("whole", "parts")
    )
    assert whole_run.keys() == parts.keys()
    assert all(np.array_equal(whole_run[name], parts[name]) for name in parts)


def test_the_help_has_the_options_of_the_task(tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt(*"train --task page_tones:Tones --help".split()) == 0
    said = capsys.readouterr().out
    assert "--noise FLOAT" in said
    assert "[0.02]" in said  # its own default of --lr
    assert "--window" not in said
    assert bptt("train", "--help") == 0
    assert "--window" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--noise x", "'x' is not a valid float"),
        ("--noise -1", "--noise: expected a finite number >= 0, got -1.0"),
        ("--season 3", "--season: expected no such option for the task 'page_tones:Tones'"),
    ],
)
def test_options_of_a_task_are_checked(
    tones: Path, capsys: pytest.CaptureFixture[str], given: str, expected: str
) -> None:
    assert expected in refused(capsys, *f"train --task page_tones:Tones {given} --out run".split())
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tune", "expected one of 'language', 'forecast'"),
        ("nowhere:Task", "a module 'nowhere' that can be imported"),
        ("page_tones:tones", "a class based on engine.tasks.TaskKind"),
    ],
)
def test_a_task_that_is_not_there(tones: Path, capsys: pytest.CaptureFixture[str], name: str, expected: str) -> None:
    assert expected in refused(capsys, "train", "--task", name)


def test_what_may_be_registered(forgotten: None) -> None:
    odd = register(task())
    assert kind_of("odd") is odd
    assert register(task()).name == "odd"  # the same class, defined again in a notebook
    for kind, expected in (
        (task(name="language"), "a name that no other task has"),
        (task(name="two words"), "an identifier"),
        (task(own=(Option("hidden", whole(1), 3, ""),)), "names that are no fields of TrainConfig, got hidden"),
        (int, "a class based on engine.tasks.TaskKind"),
    ):
        with pytest.raises(engine.InputError, match=expected):
            register(kind)  # type: ignore[arg-type]
