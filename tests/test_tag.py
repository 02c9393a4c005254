"""The task tag: a tag for each word, beside each word's most frequent tag; spans of BIO tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classify_data import write_tags
from commands import bptt, refused

from engine.data.tagged import TaggedSentences
from engine.data.word_features import FEATURES, WordEncoder, shape_of
from engine.tasks.spans import are_bio, span_f1, spans
from engine.tasks.tag import Tagger
from engine.tasks.tag_scores import score_tags, wrong_words
from engine.training.checkpoint import checkpoint_in, read_checkpoint
from engine.training.config import make
from engine.training.session import make_task

QUICK = (
    "--task tag --backend numpy:reference --cell gru --hidden 8 --embed 4 --batch 8 --epochs 10 --lr 0.03 "
    "--dropout 0.1 --quiet"
).split()


def printed(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    capsys.readouterr()
    assert bptt(*args, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tag")
    assert bptt("train", *QUICK, "--data", write_tags(folder / "tags.tsv"), "--out", folder / "run") == 0
    return folder / "run"


def test_it_uses_the_words_around(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "evaluate", run)
    model, usual = found["scores"]["GRU"], found["scores"]["most frequent tag of the word"]
    assert model["accuracy"] > 0.98 > usual["accuracy"]
    assert model["accuracy of new words"] > 0.95 > usual["accuracy of new words"]
    assert "f1 of spans" not in model
    for name in ("confusion.png", "worst.html", "loss.png"):
        assert (run / name).stat().st_size > 100
    rows = printed(capsys, "predict", run, "--text", "the can kts .", "--text", "the bgd can kks")["rows"]
    assert [row["tag"] for row in rows if row["word"] == "can"] == ["NOUN", "AUX"]
    assert [row["sentence"] for row in rows] == [1] * 4 + [2] * 4
    assert [row["known"] for row in rows[:2]] == [True, True]


def test_new_sentences_from_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, tagged = tmp_path / "new.txt", write_tags(tmp_path / "other.tsv", sentences=20, seed=3)
    new.write_text("the\ncan\nkts\n\nthe\nbgd\ncan\nkks\n")
    assert [row["tag"] for row in printed(capsys, "predict", run, new)["rows"]][:3] == ["DET", "NOUN", "VERB"]
    assert len(printed(capsys, "predict", run, tagged)["rows"]) == len(tagged.read_text().split()) // 2
    found = printed(capsys, "evaluate", run, tagged)
    assert found["held_out"].endswith(f"words of sentences of {tagged}")
    assert found["scores"]["GRU"]["accuracy"] > 0.95
    tagged.write_text("the\tDET\ncan\tNAME\n")
    assert "got 'NAME' for 'can' in line 2" in refused(capsys, "evaluate", run, tagged)
    assert "got neither" in refused(capsys, "predict", run)
    said = "--text: expected a text with at least one word, got an empty text; write --text 'some words'"
    assert said in refused(capsys, "predict", run, "--text", "")
    new.write_text("word\ttag\nthe\tDET\ncan\tNOUN\n")
    for command in ("predict", "evaluate"):
        assert printed(capsys, command, run, new)["notes"] == ["line 1 is taken as a header line: 'word', 'tag'"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("the\tDET\ncan\n", "a tag for every word, got none for 'can' in line 2"),
        ("the\tDET\n\nthe\tDET\n", "at least two different tags, got 'DET' alone"),
        ("the\tDET\nox\tNOUN\n", "enough sentences"),
        ("sch\xf6n\tADJ\n".encode("cp1252"), "--encoding cp1252"),
    ],
)
def test_data_that_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, expected: str
) -> None:
    data = tmp_path / "bad.tsv"
    data.write_bytes(content.encode() if isinstance(content, str) else content)
    assert expected in refused(capsys, "train", *QUICK, "--data", data, "--out", tmp_path / "run")


def test_a_crf_knows_which_tags_follow_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tags(tmp_path / "tags.tsv", sentences=60)
    found = printed(capsys, "train", *QUICK, "--crf", "--data", data, "--out", tmp_path / "run")
    scores = printed(capsys, "evaluate", tmp_path / "run")["scores"]["GRU with CRF"]
    assert scores == found["scores"]["GRU with CRF"]
    assert scores["accuracy"] > 0.95
    rows = printed(capsys, "predict", tmp_path / "run", "--text", "the bgd can kks .")["rows"]
    assert [row["tag"] for row in rows] == ["DET", "NOUN", "AUX", "VERB", "PUNCT"]


def test_a_tagger_goes_on_from_another(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("the\tDET\nzebra\tNOUN\n\n" * 6)
    options = ("--from", run, "--data", other, "--steps", 1, "--lr", "1e-30", "--quiet", "--out", tmp_path / "run")
    printed(capsys, "train", *options)
    before, after = (read_checkpoint(checkpoint_in(path)) for path in (run, tmp_path / "run"))
    old, new = (WordEncoder.from_json(checkpoint.meta["task"]["words"]) for checkpoint in (before, after))
    assert new.known("zebra")
    assert not old.known("zebra")
    tables = [checkpoint.group("model")["0.weight"] for checkpoint in (before, after)]
    np.testing.assert_array_equal(tables[1][new.encode(["the"])], tables[0][old.encode(["the"])])


def test_the_loss_and_the_figures_do_not_see_pads(tmp_path: Path) -> None:
    options = {"data": str(write_tags(tmp_path / "a.tsv")), "backend": "numpy:reference", "hidden": 3, "embed": 2}
    task = make_task(make("tag", {**options, "dropout": 0.0}))
    assert isinstance(task, Tagger)
    found = task.validate()
    batch = task.batch(1)
    assert batch.x.shape[2] == len(FEATURES)
    assert batch.mask is None or batch.mask.shape == batch.targets.shape
    losses, right, count = 0.0, 0, 0
    for words, tags in zip(task.held_out.words, task.targets, strict=True):
        y, _ = task.model.predict(task.encoder.encode(words)[:, None, :])
        shifted = y[:, 0] - y[:, 0].max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        losses -= float(log_p[np.arange(len(tags)), tags].sum())
        right += int((log_p.argmax(axis=1) == tags).sum())
        count += len(tags)
    assert found.loss == pytest.approx(losses / count, rel=1e-5)
    assert found.figures["accuracy"] == right / count


# -- parts -------------------------------------------------------------------------------------------------------------


def test_shapes_and_features_of_words() -> None:
    assert [shape_of(w) for w in ("a", "I", "USA", "U.S.", "B2B", "3-4", "--")] == [
        "x",
        "X",
        "XA",
        "XA",
        "XA0",
        "x0-",
        "x-.",
    ]
    encoder = WordEncoder.fit([["Running", "runs"], ["running"]], minimum=2)
    assert encoder.known("RUNNING")
    assert not encoder.known("runs")
    ids = encoder.encode(["Swing", "swing"])
    assert (ids[0] != ids[1]).tolist() == [False, False, False, False, True]
    assert ids[0, 1] == encoder.encode(["running"])[0, 1]
    again = WordEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    np.testing.assert_array_equal(again.encode(["Swing"]), ids[:1])
    assert len(again) == len(encoder) > ids.max()


def test_spans_and_their_f1() -> None:
    assert are_bio(["O", "B-X", "I-X"])
    assert not are_bio(["O", "NOUN", "B-X"])
    assert not are_bio(["I-X", "B-X"])
    assert spans(["I-A", "I-A", "I-B", "B-B", "O"]) == {(0, 2, "A"), (2, 3, "B"), (3, 4, "B")}
    assert spans(["O", "O"]) == set()
    assert span_f1([["B-A", "O", "B-B"]], [["B-A", "I-A", "B-B"]]) == 0.5
    assert span_f1([["O"]], [["O"]]) == 0.0


def test_scores_and_wrong_words_counted_by_hand() -> None:
    sentences = TaggedSentences([["a", "b"], ["c", "d", "a"]], [["X", "Y"], ["X", "Y", "X"]], [1, 4], "data")
    answers = [np.array([0, 1]), np.array([1, 0, 0])]
    names = ["X", "Y"]
    found = score_tags([[names[k] for k in row] for row in answers], sentences, {"a": "X", "b": "Y", "c": "X"}, names)
    assert found == {"accuracy": 3 / 5, "accuracy of new words": 0.0}
    wrong = wrong_words(sentences, names, answers, WordEncoder.fit([["c"]]))
    assert wrong[0] == {"words": "[c] d a", "true": "X", "answer": "Y", "known": "yes"}
    assert wrong[1] == {"words": "c [d] a", "true": "Y", "answer": "X", "known": "no"}
