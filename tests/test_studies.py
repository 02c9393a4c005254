"""`bptt study`: the frame with a study of the test's own, and the first study."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from commands import bptt, finish, refused, start

from engine.data import Vocabulary, builtin_text
from engine.errors import bad_input
from engine.studies import STUDIES, Column, StudyResult, run_study, study
from engine.studies.batch_vs_steps import QUICK, _gradient_in_windows, _model

FILES = ("speed-of-sound.json", "speed-of-sound.md", "speed-of-sound.png")


def draw(figure: Any) -> None:
    figure.add_subplot()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudyResult]:
    """A study that takes no time, under a name of its own."""

    def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
        if seed == 13:
            raise bad_input("seed", "another number", seed)
        say("listening")
        rows = [("water | sea", 1497.25, 3), ("air", math.nan, seed), ("iron", None, 5)]
        columns = (Column("where"), Column("m/s", ".1f"), Column("n"))
        return StudyResult("Speed of sound", columns, rows, ["It is quick."], draw)

    module = ModuleType("engine.studies.speed_of_sound")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.studies.speed_of_sound", module)
    monkeypatch.setattr(study, "STUDIES", {**STUDIES, "speed-of-sound": "How fast it is."})
    return run


def test_table_record_and_picture(toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("study", "speed-of-sound", "--seed", 7, "--out", tmp_path / "deep" / "er") == 0
    out, err = capsys.readouterr()
    for words in ("Speed of sound", "1497.2", "It is quick."):
        assert words in out
    assert err == "listening\n"
    record, table, picture = ((tmp_path / "deep" / "er" / name).read_bytes() for name in FILES)
    found = json.loads(record)
    assert found["rows"][0] == {"where": "water | sea", "m/s": 1497.25, "n": 3}
    assert [row["m/s"] for row in found["rows"][1:]] == [None, None]  # JSON has no NaN
    assert (found["command"], found["seed"]) == ("bptt study speed-of-sound --seed 7", 7)
    assert found["machine"]["cores"] >= 1
    assert b"| water \\| sea | 1497.2 | 3 |\n| air | nan | 7 |\n| iron | - | 5 |" in table
    assert b"bptt study speed-of-sound --seed 7" in table
    assert picture.startswith(b"\x89PNG")


def test_files_of_an_earlier_run_stay(toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where only one of the three is there."""
    (tmp_path / "speed-of-sound-2.md").write_text("my notes")
    written = []
    for seed in (1, 2):
        assert bptt("study", "speed-of-sound", "--seed", seed, "--out", tmp_path, "--json") == 0
        written.append(json.loads(capsys.readouterr().out)["files"]["record"])
    assert [Path(path).name for path in written] == ["speed-of-sound.json", "speed-of-sound-3.json"]
    assert [json.loads(Path(path).read_text())["seed"] for path in written] == [1, 2]
    assert (tmp_path / "speed-of-sound-2.md").read_text() == "my notes"
    assert len(list(tmp_path.iterdir())) == 7


def test_refusals(toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "deeper"
    for words, expected in (
        (("speed-of-light",), "bptt: NAME: expected one of 'batch-vs-steps'"),
        ((), "bptt study: Missing argument 'NAME'"),
        (("speed-of-sound", "--out", inside), f"bptt: --out: expected a folder, got {inside}, where"),
        (("speed-of-sound", "--seed", -1), "bptt: --seed: expected an integer >= 0"),
        (("speed-of-sound", "--seed", 13), "bptt: --seed: expected another number"),
    ):
        assert refused(capsys, "study", *words).splitlines()[-1].startswith(expected)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_picture_that_fails_leaves_nothing_half_written(
    toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".md":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("engine.studies.study_files.write_atomic", full)
    assert bptt("study", "speed-of-sound", "--out", tmp_path) == 1
    out, err = capsys.readouterr()
    assert "1497.2" in out  # what was measured is shown all the same
    assert err.splitlines()[1] == f"bptt: {tmp_path}: expected to write the picture, got 'No space left on device'"
    assert [path.name for path in tmp_path.iterdir()] == ["speed-of-sound.json"]  # that one is whole


def test_ctrl_c_writes_nothing(tmp_path: Path) -> None:
    process = start("study", "batch-vs-steps", "--out", tmp_path / "out")
    assert process.stderr is not None
    assert "training" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = finish(process, 130)
    assert err.splitlines()[-1] == "bptt: interrupted"
    assert not (tmp_path / "out").exists()


@pytest.mark.proof
def test_batch_vs_steps() -> None:
    said: list[str] = []
    _, record = run_study("batch-vs-steps", quick=True, seed=3, say=said.append)
    assert [(row["T"], row["B"]) for row in record["rows"]] == [(4, 32), (32, 4)]
    assert len(said) == 3
    for row in record["rows"]:
        assert 0 < row["bias"] < 1
        for name in ("noise", "µs a token", "MiB of a step", "loss, same tokens", "loss, same time"):
            assert row[name] > 0, name
    assert record["rows"][0]["bias"] > record["rows"][1]["bias"]  # a shorter way back leaves more out


@pytest.mark.proof
def test_precision() -> None:
    """Plain fp16 loses every gradient of the LSTM, and learns less; with a scale it does as float32."""
    _, record = run_study("precision", quick=True)
    rows = {(row["precision"], row["loss scale"]): row for row in record["rows"]}
    assert list(rows) == [("float32", "none"), ("bf16", "none"), ("fp16", "none"), ("fp16", "65536")]
    plain, scaled = rows["fp16", "none"], rows["fp16", "65536"]
    assert plain["to 0"] > 0.9 > scaled["to 0"]
    assert abs(scaled["against float32"]) < 1e-3 < plain["against float32"]
    assert rows["bf16", "none"]["to 0"] == 0
    assert all(row["ms a step"] > 0 for row in rows.values())


def test_windows_of_one_step_sum_to_the_gradient_without_a_way_back() -> None:
    """A window that covers all is full BPTT; windows of one step cut every way back, whose weight is weight_hh."""
    text = builtin_text()
    vocabulary = Vocabulary(text)
    model = _model(QUICK, len(vocabulary), 5).to(dtype="float64")
    train = vocabulary.encode(text)
    whole, halves, again = (_gradient_in_windows(model, train, QUICK, T) for T in (64, 32, 64))
    np.testing.assert_array_equal(whole, again)
    assert 1e-4 < np.linalg.norm(whole - halves) / np.linalg.norm(whole) < 0.3
    last = len(model.grads["2.bias"])  # the output layer's gradient needs no way back: the same for every T
    np.testing.assert_allclose(whole[-last:], halves[-last:], rtol=1e-12)


def test_scaling() -> None:
    said: list[str] = []
    _, record = run_study("scaling", quick=True, seed=3, say=said.append)
    assert len(said) == 4
    for row in record["rows"]:
        assert row["ms, sent meanwhile"] <= row["ms, sent after"] + 1e-9
        assert 0 < row["efficiency"] <= 1 + 1e-9
        assert (row["simulated"] is None) == (row["machines"] != 2)
    sizes = {row["machines"]: row["MB sent"] for row in record["rows"]}
    assert sizes[1] == 0
    assert sizes[4] == pytest.approx(1.5 * sizes[2], rel=1e-3)  # 2 (n-1)/n of the gradients


def test_regularisers() -> None:
    """An average changes the loss on other text and nothing of the training; noise changes both."""
    _, record = run_study("regularisers", quick=True, seed=2)
    rows = {row["regulariser"]: row for row in record["rows"]}
    assert list(rows) == ["none", "gradient noise 1e-6", "EMA 0.98"]
    assert rows["EMA 0.98"]["training loss"] == rows["none"]["training loss"]
    assert rows["EMA 0.98"]["best loss"] != rows["none"]["best loss"]
    assert rows["gradient noise 1e-6"]["training loss"] != rows["none"]["training loss"]
