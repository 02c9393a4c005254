"""The task ``translate``: pairs and their split, training on a made language, scores, pictures, new sentences."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, metrics, refused

import engine
from engine.data.pairs import SentencePairs, join_words, read_pairs, read_sources, split_by_source
from engine.errors import DataError
from engine.tasks import translation_scores
from engine.tasks.translation_scores import TranslationMemory, draw_attention, font_for, text_scores, tokenizer_for
from engine.training.checkpoint import read_checkpoint
from engine.training.config import make
from engine.training.session import make_task

DATA = os.environ.get("BPTT_TEST_DATA")
NAMES = dict(zip("one two three four five six".split(), "一二三四五六", strict=True))


def answer(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    capsys.readouterr()
    assert bptt(*args, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def write_numbers(path: Path, pairs: int = 500) -> Path:
    """Numbers in English, and in Chinese from the last to the first."""
    rng = np.random.default_rng(1)
    rows = [rng.choice(list(NAMES), rng.integers(1, 5)) for _ in range(pairs)]
    path.write_text("".join(f"{' '.join(row)}.\t{''.join(NAMES[w] for w in row[::-1])}。\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translate")
    data, out = write_numbers(folder / "numbers.tsv"), folder / "run"
    options = "--epochs 8 --hidden 32 --embed 16 --lr 0.02 --dropout 0 --batch 16 --warmup 0 --validate-every 60"
    command = f"train --task translate --backend numpy:reference --quiet {options}".split()
    assert bptt(*command, "--data", str(data), "--out", str(out), "--json") == 0
    return out


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_made_language_is_learned(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "evaluate", str(run), "--backend", "numpy:reference")
    searched, greedy, memory = (score["BLEU"] for score in result["scores"].values())
    assert min(searched, greedy) > 60 > 30 > memory
    assert {"source", "translation", "right"} == set(result["examples"][0])
    assert (run / "attention.png").stat().st_size > 5_000
    assert min(line["perplexity"] for line in metrics(run) if line["kind"] == "validation") < 1.6


def test_new_sentences_are_translated(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.txt").write_text("One two.\n\nthree ZEBRA four.\tignored\n")
    result = answer(capsys, "predict", str(run), str(tmp_path / "new.txt"), "--backend", "numpy:reference")
    assert [row["sentence"] for row in result["rows"]] == ["One two.", "three ZEBRA four."]
    assert result["rows"][0]["translation"] == "二一。"
    assert 0.3 < result["rows"][0]["probability"] <= 1
    assert result["notes"] == ["training did not show, or too rarely: zebra"]
    typed = answer(capsys, "predict", str(run), "--text", "one two.", "--beam", "1", "--backend", "numpy:reference")
    assert typed["rows"][0]["translation"] == "二一。"


def test_a_text_of_blanks_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "--text: expected a text with at least one word, got blanks alone; write --text 'some words'"
    assert said in refused(capsys, "predict", run, "--text", "  ")


def test_what_the_microscope_does_not_take_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "RUN: expected a model of layers in a row, got a Translator, whose attention joins two rows; trace a part"
    assert said in refused(capsys, "trace", run)
    assert engine.load(run).parts["encoder"].bidirectional  # what the hint names is there


def test_other_pairs_are_measured(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.tsv").write_text("six one.\t一六。\nsix one.\t六一。\ntwo.\t二。\n")
    result = answer(capsys, "evaluate", str(run), str(tmp_path / "other.tsv"), "--backend", "numpy:reference")
    assert result["held_out"].startswith("2 sentences of ")
    assert result["examples"][0]["right"] == "一六。 | 六一。"
    assert len(result["scores"]) == 2  # the training's own sentences are not needed


@pytest.mark.proof
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    data = write_numbers(tmp_path / "numbers.tsv", 60)
    options = "--hidden 8 --embed 4 --batch 8 --dropout 0.2 --sampling 0.3 --backend numpy:reference --quiet".split()
    start = ["train", "--task", "translate", "--data", data, *options, "--schedule", "constant"]
    assert bptt(*start, "--steps", 9, "--out", tmp_path / "parts") == 0
    assert bptt("train", "--resume", "--steps", 15, "--out", tmp_path / "parts", "--quiet") == 0
    assert bptt(*start, "--steps", 15, "--out", tmp_path / "whole") == 0
    parts, whole = (read_checkpoint(tmp_path / name / "last.safetensors").group("model") for name in ("parts", "whole"))
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)


def test_batches_hold_what_the_decoder_needs(tmp_path: Path) -> None:
    data = write_numbers(tmp_path / "numbers.tsv", 80)
    options = {"data": str(data), "batch": 8, "hidden": 8, "embed": 4, "backend": "numpy:reference"}
    task: Any = make_task(make("translate", {**options, "minimum_count": 1}))
    pairs = set()
    for step in range(task.batches):
        (source, fed), wanted, lengths, mask = task.batch(step)[:4]
        assert (fed[0] == 1).all()
        for row, length in enumerate(lengths):
            count = int(mask[:, row].sum())
            assert mask[:count, row].all()
            assert wanted[count - 1, row] == 2
            np.testing.assert_array_equal(fed[1:count, row], wanted[: count - 1, row])
            words = [task.source.tokens[k - 1] for k in source[:length, row]]
            pairs.add((join_words(words), join_words([task.target.tokens[k - 1] for k in wanted[: count - 1, row]])))
    assert pairs == set(zip(task.train.sources, task.train.targets, strict=True))
    assert task.loss(task.model.predict(*_given(task.batch(0)))[0], task.batch(0))[2] == task.batch(0).mask.sum()


def _given(batch: Any) -> tuple[Any, None, Any]:
    return batch.x, None, batch.lengths


@pytest.mark.skipif(DATA is None, reason="real data: set BPTT_TEST_DATA to the folder that has it")
def test_real_pairs_are_read() -> None:
    path = Path(str(DATA)) / "english_chinese.tsv"
    pairs = read_pairs(path)
    train, held_out = (pairs.take(part) for part in split_by_source(pairs, 0.1))
    assert (len(pairs), len(train) + len(held_out)) == (18_119, 18_119)
    assert not {text.casefold() for text in train.sources} & {text.casefold() for text in held_out.sources}
    assert max(map(len, held_out.references().values())) > 1


# -- pairs -------------------------------------------------------------------------------------------------------------


def test_all_translations_of_a_sentence_stand_on_one_side() -> None:
    sources = [f"Sentence {k // 3}." if k % 2 else f"SENTENCE {k // 3}." for k in range(60)]
    pairs = SentencePairs(sources, [f"s{k}" for k in range(60)], list(range(1, 61)), "file")
    train, held_out = split_by_source(pairs, 0.25, seed=2)
    assert sorted([*train, *held_out]) == list(range(60))
    assert len(held_out) == 15
    assert not {k // 3 for k in train} & {k // 3 for k in held_out}
    assert (split_by_source(pairs, 0.25, seed=3)[1] != held_out).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Hi.\t你好。\nRun.\n",
            "expected a sentence, a tab and its translation in each line, got no tab in line 2",
        ),
        ("Hi.\t \n", "expected a translation in each line, got none in line 1; complete or remove the line"),
        ("\tx\n", "expected a sentence in each line, got none in line 1"),
        (" \n\n", "got no line with text; give the data"),
    ],
)
def test_broken_pairs_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_pairs(tmp_path / "pairs.tsv")
    assert words in str(caught.value)


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.tsv"
    cases = [
        ("a b\tc\n" * 3, [], "expected sentences to train on and others to validate on, got 1 different sentence"),
        (
            "a b c\td e\nf g h\ti\n" * 2,
            ["--longest", "1", "--validation", "0.5"],
            "got none; the shortest has 3",
        ),
    ]
    for text, options, words in cases:
        path.write_text(text)
        assert words in refused(
            capsys, "train", "--task", "translate", "--data", path, *options, "--out", tmp_path / "r"
        )
    (tmp_path / "empty.txt").write_text("\n\t\n")
    with pytest.raises(DataError, match="expected a sentence in each line, got no line with text"):
        read_sources(tmp_path / "empty.txt")


def test_words_are_joined_as_they_are_written() -> None:
    assert join_words("he said : ( yes ) , it's 5 % .".split()) == "he said: (yes), it's 5%."
    assert join_words([]) == ""


# -- scores and pictures -----------------------------------------------------------------------------------------------


def test_scores_are_those_of_sacrebleu_with_all_references() -> None:
    references = [["我很好。", "我不错。"], ["他跑了。"]]
    assert tokenizer_for(references) == "zh"
    assert text_scores(["我不错。", "他跑了。"], references) == {"BLEU": pytest.approx(100), "chrF": pytest.approx(100)}
    assert 0 < text_scores(["我不错。", "他走了。"], references)["BLEU"] < 100
    assert tokenizer_for([["It is late."]]) == "13a"
    assert tokenizer_for([["もう遅い。"]]) == "char"


def test_the_memory_answers_with_the_most_similar_sentence() -> None:
    memory = TranslationMemory([["the", "cat", "ran"], ["the", "dog"], ["the", "sun"]], ["A", "B", "C"])
    assert [memory.translate(words) for words in (["a", "cat"], ["the", "dog", "ran"], ["sun"])] == ["A", "B", "C"]


def test_without_sacrebleu_one_sentence_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    result = answer(capsys, "evaluate", str(run), "--backend", "numpy:reference")
    assert result["notes"] == [translation_scores.MISSING]
    assert "pip install 'bptt-engine[translate]'" in translation_scores.MISSING
    assert result["scores"] == {}
    assert result["examples"]


def test_signs_without_a_font_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.array([[0.7, 0.3], [0.2, 0.8]])
    draw_attention(tmp_path / "plain.png", [(["a", "b"], ["c", "d"], weights)], "Plain")
    monkeypatch.setattr(translation_scores, "font_for", lambda text: None)
    draw_attention(tmp_path / "numbered.png", [(["a", "b"], ["四", "七"], weights)] * 3, "Numbered")
    assert (tmp_path / "numbered.png").stat().st_size > (tmp_path / "plain.png").stat().st_size
    assert translation_scores._shown("四a", None) == "U+56DB a"
    assert font_for("abc") == translation_scores.PLAIN
    assert font_for("a\U000e0123") is None
