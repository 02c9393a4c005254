"""The task classify: a text's class from words or characters, on the command line and in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classify_data import write_names, write_reviews
from commands import bptt, refused

from engine.data.tokens import TextEncoder
from engine.tasks.class_answers import class_scores, draw_answers, log_loss, majority, softmax, temperature
from engine.tasks.classify import SentenceClassifier, balanced
from engine.tasks.pictures import confusion, worst_places
from engine.training.checkpoint import checkpoint_in, read_checkpoint
from engine.training.config import make
from engine.training.session import make_task

QUICK = (
    "--task classify --backend numpy:reference --cell gru --hidden 6 --embed 5 --batch 16 --epochs 8 --lr 0.03 "
    "--dropout 0.1 --quiet"
).split()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, beside the data that it was trained on."""
    folder = tmp_path_factory.mktemp("classify")
    data = write_reviews(folder / "reviews.csv")
    assert bptt("train", *QUICK, "--data", data, "--out", folder / "run") == 0
    return folder / "run"


def printed(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    capsys.readouterr()
    assert bptt(*args, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_learns_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "evaluate", run)
    model, usual = found["scores"]["GRU"], found["scores"]["majority (good)"]
    assert model["accuracy"] > 0.95 > usual["accuracy"]
    assert model["f1"] > 0.95
    assert usual["f1"] == pytest.approx(usual["accuracy"] / (1 + usual["accuracy"]))  # one of two classes is answered
    assert found["verdict"].startswith("GRU is better than the baseline: ")
    for name in ("confusion.png", "worst.html", "loss.png"):
        assert (run / name).stat().st_size > 100


def test_new_texts_from_files_and_from_the_command_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "new.txt"
    lines.write_text("what a lovely film\nA Dull, empty plot\n")
    table = tmp_path / "new.csv"
    table.write_text('id,text\n7,what a lovely film\n8,"A Dull, empty plot"\n')
    answers = [printed(capsys, "predict", run, source)["rows"] for source in (lines, table)]
    assert answers[0] == answers[1]
    assert [row["label"] for row in answers[0]] == ["good", "bad"]
    assert all(0.5 < row["probability"] <= 1 for row in answers[0])
    typed = printed(capsys, "predict", run, "--text", "A Dull, empty plot", "--text", "qwx zzz vvv")
    assert typed["rows"][0] == answers[0][1]
    assert typed["notes"] == ["50 % of the words did not occur in training, or too rarely"]
    out = tmp_path / "answers.csv"
    assert bptt("predict", run, table, "--output", out) == 0
    assert out.read_text().splitlines()[0] == "text,label,probability"
    assert out.read_text().splitlines()[2].startswith('"A Dull, empty plot",bad,0.')


def test_other_labelled_texts_are_measured_without_the_first_ones(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_reviews(tmp_path / "other.csv", rows=30, seed=5)
    data = run.parent / "reviews.csv"
    kept = data.read_text()
    data.unlink()
    found = printed(capsys, "evaluate", run, other)
    assert found["held_out"] == f"30 texts of {other}"
    assert found["scores"]["GRU"]["accuracy"] > 0.9
    data.write_text(kept.replace("lovely", "lively"))
    assert "the texts that" in refused(capsys, "evaluate", run)
    data.write_text(kept)
    other.write_text("text,label\nlovely film,good\nslow film,mixed\n")
    said = refused(capsys, "evaluate", run, other)
    assert "expected labels of the training data ('bad', 'good'), got 'mixed' in line 3" in said


def test_names_by_characters_in_a_file_for_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_names(tmp_path / "names")
    found = printed(
        capsys, "train", *QUICK, "--data", data, "--by", "characters", "--pool", "last", "--out", tmp_path / "run"
    )
    assert found["scores"]["GRU"]["accuracy"] > 0.9
    assert found["labels"] == ["East", "North", "South"]
    assert np.sum(found["confusion"]) == 36
    assert printed(capsys, "predict", tmp_path / "run", "--text", "Madison")["rows"][0]["label"] == "North"


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a\tx\nb\t\nc\ty\n", "", "a label in every row, got none in line 2"),
        (
            "a\tx\nb\tx\nc\ty\nd\tx\n",
            "",
            "at least 2 examples of each class, to train and to validate on, got 1 of 'y'",
        ),
        ("a\tx\nb\tx\n\u00ad\ty\nc\ty\n", "", "words in every text, got none in line 3"),
        ("text\tlabel\na\tx\nb\ty\n", "--label-column stars", "one of the columns 'text', 'label'"),
        ("a\tx\nb\tx\n", "", "at least two different labels, got 'x' alone"),
        ("", "", "a UTF-8 text file, got an empty file"),
        (b"sch\xf6n\tx\nb\ty\n", "", "--encoding cp1252"),
        ("a\tx\nb\ty\n", "--pool first", "--pool: expected one of"),
        ("a\tx\nb\ty\n", "--column a", "--column"),
    ],
)
def test_data_that_is_refused_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes, options: str, expected: str
) -> None:
    data = tmp_path / "bad.tsv"
    data.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert expected in refused(capsys, "train", *QUICK, "--data", data, *options.split(), "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_validation_data_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, other = write_reviews(tmp_path / "a.csv", rows=30), tmp_path / "b.csv"
    other.write_text("text,label\nlovely film,good\nslow film,odd\n")
    options = ("train", *QUICK, "--data", data, "--validation-data", other, "--out", tmp_path / "run")
    assert "got 'odd' in line 3" in refused(capsys, *options)
    other.write_text("text,label\nlovely film,good\nslow film,bad\n")
    assert printed(capsys, *options)["held_out"] == "2 texts that were held out"


def test_a_vocabulary_that_grows_keeps_what_it_knew(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    lines = [
        f"a {word} zebra number {k},{label}" for k in range(8) for word, label in (("lovely", "good"), ("dull", "odd"))
    ]
    other.write_text("text,label\n" + "\n".join(lines) + "\n")
    options = ("--from", run, "--data", other, "--steps", 1, "--lr", "1e-30", "--quiet", "--out", tmp_path / "run")
    printed(capsys, "train", *options)
    before, after = (read_checkpoint(checkpoint_in(path)) for path in (run, tmp_path / "run"))
    old, new = (TextEncoder.from_json(c.meta["task"]["encoder"]).vocabulary for c in (before, after))
    assert new.tokens[: len(old) - 1] == old.tokens
    assert "zebra" in new
    assert "zebra" not in old
    weights = [checkpoint.group("model") for checkpoint in (before, after)]
    np.testing.assert_array_equal(weights[1]["0.weight"][: len(old)], weights[0]["0.weight"])
    np.testing.assert_array_equal(weights[1]["5.weight"][0], weights[0]["5.weight"][1])  # good is the first class now
    np.testing.assert_array_equal(weights[1]["2.weight_hh_l0"], weights[0]["2.weight_hh_l0"])


def test_what_predict_needs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a file of texts or --text, got neither" in refused(capsys, "predict", run)
    assert "got both" in refused(capsys, "predict", run, run.parent / "reviews.csv", "--text", "a")
    empty = tmp_path / "new.csv"
    empty.write_text("text\ngood\n...\n\u200b\n")
    assert "words in every text, got none in line 4" in refused(capsys, "predict", run, empty)
    said = "--text: expected a text with at least one word, got an empty text; write --text 'some words'"
    assert said in refused(capsys, "predict", run, "--text", "")


def test_the_microscope_looks_at_a_model_with_one_output_a_row(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "trace", run, "--batch", 5)
    assert [flow["batch"] for flow in found["layers"].values()] == [5, 5]  # both directions
    assert all(max(flow["states"]["h"]) > 0 for flow in found["layers"].values())
    said = "--loss: expected no choice for the task 'classify', got 'last'; leave --loss out"
    assert said in refused(capsys, "trace", run, "--loss", "last")


# -- parts -------------------------------------------------------------------------------------------------------------


def test_batches_hold_texts_of_similar_length_and_the_model_is_as_described(tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "a.csv")
    options = {"data": str(data), "backend": "numpy:reference", "hidden": 3, "embed": 2, "batch": 8, "balance": True}
    task = make_task(make("classify", options))
    assert isinstance(task, SentenceClassifier)
    batch = task.batch(3)
    assert batch.x.dtype.kind == "i"
    assert set(np.unique(batch.mask).tolist()) <= {
        np.float32(v) for v in balanced(task.train.targets.classes(), 2).values()
    }
    kinds = [type(layer).__name__ for layer in task.model.layers]
    assert kinds == ["Embedding", "Dropout", "LSTM", "Pool", "Dropout", "Linear"]
    assert float(np.abs(task.model.params["0.weight"]).max()) < 0.6
    again = make_task(task.config, task.describe())
    assert again.model.config() == task.model.config()
    np.testing.assert_array_equal(again.batch(5).x, task.batch(5).x)


def test_balanced_weights_give_every_class_the_same_share() -> None:
    targets = np.array([0, 0, 0, 2, 0, 2, 0, 0])  # class 1 does not occur
    weights = balanced(targets, 3)
    assert weights == {0: 8 / 12, 2: 8 / 4}
    assert sum(weights[int(k)] for k in targets) == pytest.approx(8)


def test_scores_counted_by_hand() -> None:
    answers, targets = np.array([0, 1, 1, 2, 1]), np.array([0, 1, 2, 2, 0])
    assert confusion(targets, answers, 4).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    found = class_scores(answers, targets, 4)
    assert found["accuracy"] == 3 / 5
    assert found["f1"] == pytest.approx((2 / 3 + 2 / 4 + 2 / 3) / 3)
    assert majority(np.array([1, 2, 2, 1]), 3) == 1


def test_answers_that_are_too_sure_are_softened() -> None:
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(4000, 3)))
    targets = np.array([rng.choice(3, p=row) for row in p])
    logits = np.log(p)
    assert temperature(3.0 * logits, targets) == pytest.approx(3.0, rel=0.1)
    assert temperature(0.3 * logits, targets) == 1.0  # never made surer
    assert log_loss(logits, targets) == pytest.approx(float(-np.log(p[np.arange(4000), targets]).mean()))
    best = temperature(3.0 * logits, targets)
    assert all(
        log_loss(3 * logits / best, targets) <= log_loss(3 * logits / other, targets) for other in (2, 2.5, 4, 20)
    )


def test_the_worst_examples_are_the_surest_mistakes(tmp_path: Path) -> None:
    probabilities = softmax(np.log([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95]]))
    targets = np.array([1, 1, 0, 0])
    assert worst_places(probabilities, targets).tolist() == [3, 0, 2]
    assert worst_places(probabilities, targets, 1).tolist() == [3]
    found = draw_answers(tmp_path, probabilities, targets, ["<b>", "c"], ["one", "two", "three", "fo<ur"], "title")
    assert found["worst"][0] == {
        **{"text": "fo<ur", "true": "<b>", "answer": "c"},
        **{"probability of the answer": pytest.approx(0.95), "of the true one": pytest.approx(0.05)},
    }
    page = (tmp_path / "worst.html").read_text()
    assert "fo&lt;ur" in page
    assert "<b></td>" not in page
