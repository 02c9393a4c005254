"""Speech and image rows beside PyTorch: from the same first weights both sides reach the same figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wav_files import PITCHES, spelled, tone, tones, wav

from benchmarks.tasks.arrays import MOST, nearest, usual, write_strings
from benchmarks.tasks.case import VARIABLE, Case
from benchmarks.tasks.job import run
from engine.data.recordings import read_recordings

WORDS = Case(
    name="tones",
    title="three tones",
    task="speech",
    options={"hidden": 6, "batch": 8, "epochs": 4.0, "lr": 0.02, "backend": "numpy:reference", "hold_out": "cleo"},
    data=lambda _, scratch: {"data": str(tones(scratch / "tones.zip", takes=5))},
    figure="accuracy",
    baseline=nearest,
    torch="benchmarks.tasks.arrays_torch",
    measure="validate_test",
)
TEXTS = replace(
    WORDS,
    options={"hidden": 6, "batch": 8, "epochs": 4.0, "by": "characters", "backend": "numpy:reference"},
    data=lambda _, scratch: {"data": str(spelled(scratch / "spelled", rows=40))},
    figure="ctc",
    baseline=usual,
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))


@pytest.mark.oracle
@pytest.mark.parametrize("case", [WORDS, replace(WORDS, options={**WORDS.options, "pool": "mean"}), TEXTS])
def test_pytorch_reaches_the_same_figure(case: Case) -> None:
    case = replace(case, figure="ctc" if case.task == "speech" and "by" in case.options else "cross_entropy")
    ours, theirs = run(case, "ours", 1), run(case, "torch", 1)
    assert ours["steps"] == theirs["steps"] > 10
    assert ours["baseline"] == theirs["baseline"]
    assert theirs["figure"] == pytest.approx(ours["figure"], rel=2e-3)


def test_strings_are_recordings_of_one_speaker(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    for speaker in ("anna", "ben"):
        for digit, pitch in enumerate(PITCHES.values()):
            (folder / f"{digit}_{speaker}_0.wav").write_bytes(wav(0.1 * tone(pitch, 0.05)))
    write_strings(folder, tmp_path / "strings.zip", count=4)
    found = read_recordings(tmp_path / "strings.zip")
    assert sorted(set(found.speakers)) == ["anna", "ben"]
    for text, sound in zip(found.labels, found.sounds, strict=True):
        assert len(sound) == 400 * len(text)
        assert len(text) <= MOST
        assert np.abs(sound).max() > 0.9
