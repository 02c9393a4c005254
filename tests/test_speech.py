"""Speech and image rows as tasks: trained on made-up data from the command line, judged, used on new files, refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, refused
from wav_files import spelled, tone, tones, wav

from engine.data.labelled import LabelledTexts
from engine.data.nearest_mean import nearest_mean, resampled
from engine.errors import DataError
from engine.tasks.answers import Letters, text_scores
from engine.training.config import make
from engine.training.session import make_task, run_training

DATA = os.environ.get("BPTT_TEST_DATA")
PLAIN = "--backend numpy:reference --batch 8 --quiet --validate-every 9".split()
WORDS = [*"--task speech --epochs 6 --hidden 8 --lr 0.03 --hold-out cleo".split(), *PLAIN]
TEXTS = [*"--task speech --by characters --epochs 20 --hidden 12 --lr 0.03 --stack 3".split(), *PLAIN]
IMAGES = [*"--task rows --epochs 6 --hidden 8 --lr 0.03".split(), *PLAIN]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    assert bptt("train", *WORDS, "--data", tones(folder / "tones.zip"), "--out", folder / "run") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    assert bptt("train", *TEXTS, "--data", spelled(folder / "spelled"), "--out", folder / "run") == 0
    return folder / "run"


def stripes(path: Path, rows: int = 60) -> Path:
    """Images 6x5 with a bright row, a bright column, or neither."""
    rng = np.random.default_rng(4)
    pixels, labels = rng.uniform(0, 60, (rows, 6, 5)), np.arange(rows) % 3
    for k, label in enumerate(labels):
        if label == 0:
            pixels[k, rng.integers(6)] += 150
        elif label == 1:
            pixels[k, :, rng.integers(5)] += 150
    np.savez(path, images=pixels, labels=np.array(["row", "column", "neither"])[labels])
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    assert bptt("train", *IMAGES, "--data", stripes(folder / "stripes.npz"), "--out", folder / "run") == 0
    return folder / "run"


def printed(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    capsys.readouterr()
    assert bptt(*args, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# -- words ------------------------------------------------------------------------------------------------------------


def test_words_of_a_speaker_who_was_held_out(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "evaluate", words)
    assert list(found["scores"]) == ["GRU", "nearest mean", "majority (high)"]
    assert found["scores"]["GRU"]["accuracy"] > 0.9
    assert found["scores"]["majority (high)"]["accuracy"] == pytest.approx(1 / 3)
    assert found["held_out"] == "24 recordings that were held out"
    for name in ("loss.png", "confusion.png"):
        assert (words / name).stat().st_size > 1000


def test_the_same_words_in_other_data(words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tones(tmp_path / "other.zip", takes=3, speakers=("dora",))
    found = printed(capsys, "evaluate", words, other)
    assert found["scores"]["GRU"]["accuracy"] > 0.8
    assert found["held_out"] == f"9 recordings of {other}"
    (tmp_path / "loud_eve_0.wav").write_bytes(wav(tone(500)))
    assert "labels of the training data" in refused(capsys, "evaluate", words, tmp_path)


def test_new_recordings_are_answered(words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    high, low = tmp_path / "1.wav", tmp_path / "2.wav"
    high.write_bytes(wav(tone(1900, 0.15, seed=50)))
    low.write_bytes(wav(tone(250, 0.13, seed=51)))
    one = printed(capsys, "predict", words, high, low)["rows"]
    assert [(row["file"], row["label"]) for row in one] == [(str(high), "high"), (str(low), "low")]
    folder = printed(capsys, "predict", words, tmp_path)["rows"]
    assert [row["probability"] for row in folder] == [row["probability"] for row in one]


def test_other_forms_of_sound_are_refused_or_converted(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.wav"
    both = np.stack([tone(1900, 0.2, 16000)] * 2, axis=1)
    path.write_bytes(wav(both, 16000))
    message = refused(capsys, "predict", words, path)
    assert message.startswith(f"bptt: {path}: expected a WAV file with one channel")
    found = printed(capsys, "predict", words, path, "--convert")
    assert found["rows"][0]["label"] == "high"
    assert found["notes"] == [
        "1 of 1 recordings: 2 channels mixed to one",
        "1 of 1 recordings: resampled from 16000 to 8000 samples a second",
    ]


def test_a_resumed_run_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    data = tones(tmp_path / "tones.zip", takes=4)
    options: dict[str, Any] = {"data": str(data), "hidden": 5, "batch": 8, "backend": "numpy:reference", "quiet": True}
    whole = run_training(tmp_path / "whole", task="speech", epochs=3.0, schedule="constant", **options)
    run_training(tmp_path / "parts", task="speech", epochs=1.0, schedule="constant", **options)
    parts = run_training(tmp_path / "parts", resume=True, epochs=3.0, quiet=True)
    assert (parts["scores"], parts["validation"]) == (whole["scores"], whole["validation"])


def test_options_and_data_that_cannot_be_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tones(tmp_path / "tones.zip", takes=3)
    base = ["train", "--task", "speech", "--out", tmp_path / "run", "--quiet"]
    assert "got 'zoe' beside anna, ben, cleo" in refused(capsys, *base, "--data", data, "--hold-out", "zoe")
    assert "few enough triangles" in refused(capsys, *base, "--data", data, "--mels", 300)
    assert "expected a folder, a zip file or a table" in refused(capsys, *base)
    assert "--by: expected one of class, characters" in refused(capsys, *base, "--data", data, "--by", "word")
    alone = tmp_path / "alone"
    alone.mkdir()
    for take in range(4):
        (alone / f"yes_anna_{take}.wav").write_bytes(wav(tone(300, seed=take)))
    assert "at least two different labels" in refused(capsys, *base, "--data", alone)
    (alone / "no_anna_0.wav").write_bytes(wav(tone(300)))
    assert "at least 3 of each label" in refused(capsys, *base, "--data", alone)
    assert not (tmp_path / "run" / "best.safetensors").exists()


# -- texts ------------------------------------------------------------------------------------------------------------


def test_texts_are_spelled(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "evaluate", texts)
    names = list(found["scores"])
    assert (names[0], names[2]) == ("GRU, beam 8", "GRU, best path")
    assert names[1].startswith("most frequent text (")
    own, usual = (found["scores"][name]["character error rate"] for name in names[:2])
    assert own < 0.2 < usual
    assert (texts / "spectrogram.png").stat().st_size > 1000


def test_the_beam_is_an_option_of_predicting(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = texts.parent / "spelled"
    said = dict(line.split("\t")[:2] for line in (folder / "words.tsv").read_text().splitlines()[1:])
    wide = printed(capsys, "predict", texts, folder)["rows"]
    assert sum(row["text"] == said[row["file"]] for row in wide) > 0.8 * len(said)
    narrow = printed(capsys, "predict", texts, folder / "2.wav", "--beam", 1)["rows"]
    of_wide = next(row for row in wide if row["file"] == "2.wav")
    assert narrow[0]["probability"] <= of_wide["probability"] + 1e-6
    assert "--beam: expected an integer >= 1" in refused(capsys, "predict", texts, folder, "--beam", 0)


def test_a_text_longer_than_its_sound_names_the_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = spelled(tmp_path / "spelled", rows=8)
    table = folder / "words.tsv"
    table.write_text(table.read_text() + "0.wav\t" + "ab" * 40 + "\n")
    message = refused(capsys, "train", *TEXTS, "--data", folder, "--out", tmp_path / "run")
    assert "expected a text that fits into the" in message
    assert "steps of 0.wav" in message
    assert "which needs 80 steps; equal neighbours need a step between them" in message


def test_letters_that_training_has_not_shown_are_named() -> None:
    answers = Letters("ab", "ba")
    rows = LabelledTexts(["1.wav", "2.wav"], ["abba", "abc"], ["1.wav", "2.wav"], "spelled")
    frames = [np.zeros((9, 2))] * 2
    with pytest.raises(DataError, match=r"letters that training has shown \('ab'\), got 'c' in 'abc' of 2.wav"):
        answers.targets(rows, frames)
    assert [row.tolist() for row in answers.targets(rows.take([0]), frames[:1])] == [[1, 2, 2, 1]]
    with pytest.raises(DataError, match=r"fits into the 4 steps of 1.wav, got 'abba', which needs 5 steps"):
        answers.targets(rows.take([0]), [np.zeros((4, 2))])


def test_error_rates_are_over_all_characters() -> None:
    found = text_scores(["ab", "xbc", ""], ["ab", "abcd", "a"])
    assert found == {"character error rate": pytest.approx(3 / 7), "texts right": pytest.approx(1 / 3)}


# -- images -----------------------------------------------------------------------------------------------------------


def test_images_by_rows(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "evaluate", images)
    assert found["scores"]["GRU"]["accuracy"] > 0.8
    assert {"nearest mean", "majority (column)"} < set(found["scores"])
    bright = np.full((2, 6, 5), 30.0)
    bright[0, 3] = 190
    bright[1, :, 2] = 190
    np.save(tmp_path / "new.npy", bright)
    rows = printed(capsys, "predict", images, tmp_path / "new.npy")["rows"]
    assert [row["label"] for row in rows] == ["row", "column"]
    for height, width in ((9, 5), (6, 7)):
        np.savez(tmp_path / "other.npz", images=np.ones((2, height, width)), labels=["row", "column"])
        for command in ("predict", "evaluate"):
            said = "other.npz: expected images of 5x6 (width x height), as in training, got"
            assert f"{said} {width}x{height}; scale or" in refused(capsys, command, images, tmp_path / "other.npz")


def test_the_digits_of_scikit_learn_need_no_file() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn brings the digits")
    task: Any = make_task(make("rows", {"data": "digits", "hidden": 4, "backend": "numpy:reference"}))
    assert (sum(map(len, task.parts)), task.data.arrays[0].shape, task.answers.outputs) == (1797, (8, 8), 10)
    assert task.baseline()["nearest mean"]["accuracy"] > 0.85


# -- the baseline -----------------------------------------------------------------------------------------------------


def test_the_nearest_mean_is_the_least_distance() -> None:
    rng = np.random.default_rng(6)
    train = [rng.normal(size=(rng.integers(3, 9), 2)) for _ in range(14)]
    classes = np.arange(14) % 3 + 1
    asked = [rng.normal(size=(5, 2)) for _ in range(7)]
    means = {
        k: np.mean([resampled(row, 16) for row, c in zip(train, classes, strict=True) if c == k], axis=0)
        for k in (1, 2, 3)
    }
    slow = [min(means, key=lambda k: float(((resampled(row, 16) - means[k]) ** 2).sum())) for row in asked]
    assert nearest_mean(train, classes, asked).tolist() == slow


def test_resampling_keeps_straight_lines() -> None:
    line = np.linspace([1.0, -2.0], [5.0, 6.0], 7)
    np.testing.assert_allclose(resampled(line, 16), np.linspace([1.0, -2.0], [5.0, 6.0], 16))
    np.testing.assert_array_equal(resampled(line[:1], 3), np.repeat(line[:1], 3, axis=0))


# -- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.skipif(DATA is None, reason="real data: set BPTT_TEST_DATA to the folder that has it")
def test_spoken_digits_of_a_speaker_who_was_held_out(tmp_path: Path) -> None:
    path = str(Path(str(DATA)) / "spoken_digits.zip")
    found = run_training(tmp_path / "run", task="speech", data=path, hold_out="theo", quiet=True)
    scores = {name: score["accuracy"] for name, score in found["scores"].items()}
    assert scores["GRU"] > 0.88 > 0.82 > scores["nearest mean"] > 0.6  # 94 and 76 when this was written
    assert len(np.unique(found["labels"])) == 10
