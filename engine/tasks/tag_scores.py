"""Scores of tags beside each word's most frequent tag, and the words that a model tags wrongly."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.data.tagged import TaggedSentences
from engine.data.word_features import WordEncoder
from engine.tasks.class_answers import beats
from engine.tasks.spans import are_bio, span_f1
from engine.training.config import TrainConfig

#: So many wrong words are listed.
MOST_WRONG = 40


def title_of(config: TrainConfig) -> str:
    """The model in a word or two."""
    return config.cell.upper() + (" with CRF" if config.own["crf"] else "")


def scores_of(
    config: TrainConfig,
    said: Mapping[str, Any],
    sentences: TaggedSentences,
    answers: Sequence[np.ndarray],
    which: str,
) -> dict[str, Any]:
    """The scores of answers beside those of each word's most frequent tag in training.

    Parameters
    ----------
    said : what `Tagger.describe` returns.
    which : sentences, in words.
    """
    labels, usual = said["labels"], said["usual"]
    own = [[labels[k] for k in row] for row in answers]
    plain = [[usual.get(word, usual[""]) for word in row] for row in sentences.words]
    score = functools.partial(score_tags, sentences=sentences, known=usual, names=labels)
    scores = {title_of(config): score(own), "most frequent tag of the word": score(plain)}
    words = sum(map(len, sentences.words))
    return {"scores": scores, "held_out": f"{words:,} words of sentences {which}", "verdict": beats(scores)}


def score_tags(
    answers: Sequence[Sequence[str]], sentences: TaggedSentences, known: Mapping[str, str], names: Sequence[str]
) -> dict[str, float]:
    """The share of words with the right tag, that of words that training did not show, and F1 of spans of BIO tags."""
    right = [
        (a == b, word in known)
        for row, tags, words in zip(answers, sentences.tags, sentences.words, strict=True)
        for a, b, word in zip(row, tags, words, strict=True)
    ]
    new = [good for good, seen in right if not seen]
    found = {"accuracy": sum(good for good, _ in right) / len(right)}
    if new:
        found["accuracy of new words"] = sum(new) / len(new)
    if are_bio(names):
        found["f1 of spans"] = span_f1(answers, sentences.tags)
    return found


def wrong_words(
    sentences: TaggedSentences, labels: Sequence[str], answers: Sequence[np.ndarray], encoder: WordEncoder
) -> list[dict[str, Any]]:
    """The wrong words of the sentences that have most of them, each with what stands around it."""
    found = []
    for words, tags, row in zip(sentences.words, sentences.tags, answers, strict=True):
        wrong = [k for k, tag in enumerate(tags) if labels[row[k]] != tag]
        found.append([_wrong(words, tags[k], labels[row[k]], k, encoder.known(words[k])) for k in wrong])
    found.sort(key=len, reverse=True)
    return [record for records in found for record in records][:MOST_WRONG]


def _wrong(words: Sequence[str], true: str, given: str, place: int, known: bool) -> dict[str, Any]:
    around = [*words[max(0, place - 4) : place], f"[{words[place]}]", *words[place + 1 : place + 5]]
    return {"words": " ".join(around), "true": true, "answer": given, "known": "yes" if known else "no"}
