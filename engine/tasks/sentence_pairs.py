"""Pairs of sentences as ids and back: vocabularies, batches, the model for them, the search for many sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.checks import describe
from engine.data.batching import bucket_by_length
from engine.data.data_checks import bad_data
from engine.data.pairs import SentencePairs, join_words, read_pairs, split_by_source
from engine.data.tokens import CUTTERS, TokenVocabulary
from engine.errors import bad_input
from engine.layers.searching import Translation
from engine.layers.translator import Translator
from engine.training.config import TrainConfig
from engine.training.task import Batch

Cut = Callable[[str], list[str]]
#: The first tokens of the target's vocabulary, behind that of unknown words: no text holds them.
MARKS = ("<s>", "</s>")
START, END = 1, 2
#: So many sentences are translated at a time.
SEARCHED = 128


class Encoded:
    """Pairs as ids.

    Parameters
    ----------
    pairs : the sentences.
    cut : what makes words of a text.
    source, target : the vocabularies of both sides.

    Attributes
    ----------
    sources, targets : the ids of each sentence; of the targets without start and end.
    target_lengths : (N,) how many words of each target are predicted, the end included.
    """

    def __init__(self, pairs: SentencePairs, cut: Cut, source: TokenVocabulary, target: TokenVocabulary) -> None:
        self.sources = [source.encode(cut(text)) for text in pairs.sources]
        self.targets = [target.encode(cut(text)) for text in pairs.targets]
        self.target_lengths = np.array([len(row) + 1 for row in self.targets])

    def batch(self, index: np.ndarray) -> Batch:
        """The pairs with these numbers: ids (S, B) and (T, B), time-major, and which of the targets count."""
        source, lengths = padded([self.sources[k] for k in index])
        rows = [self.targets[k] for k in index]
        fed, _ = padded([np.concatenate([[START], row]) for row in rows])
        wanted, counts = padded([np.concatenate([row, [END]]) for row in rows])
        return Batch((source, fed), wanted, lengths, np.arange(len(wanted))[:, None] < counts)


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ids (T, B), 0 behind the end of a row, and the lengths (B,)."""
    lengths = np.array([len(row) for row in rows])
    ids = np.zeros((int(lengths.max()), len(rows)), dtype=np.int64)
    for column, row in enumerate(rows):
        ids[: len(row), column] = row
    return ids, lengths


def describe_translator(config: TrainConfig, source: int, target: int) -> dict[str, Any]:
    """The model for two vocabularies, in the form of `Layer.config`."""
    return {
        "type": "Translator",
        "args": {
            "source_size": source,
            "target_size": target,
            "embedding_dim": config.embed,
            "hidden_size": config.hidden,
            "num_layers": config.layers,
            "cell": "rnn_tanh" if config.cell == "rnn" else config.cell,
            "attention": config.own["attention"],
            "dropout": config.dropout,
        },
    }


def vocabularies_of(described: Mapping[str, Any]) -> tuple[TokenVocabulary, TokenVocabulary]:
    """Both vocabularies of a checkpoint."""
    source, target = (TokenVocabulary.from_json(described.get(name)) for name in ("source", "target"))
    if tuple(target.tokens[: len(MARKS)]) != MARKS:
        raise bad_input("target", f"a vocabulary that begins with {', '.join(MARKS)}", describe(target.tokens[:2]))
    return source, target


def translate_texts(
    model: Translator,
    source: TokenVocabulary,
    target: TokenVocabulary,
    sentences: Sequence[str],
    by: str,
    beam: int,
    penalty: float,
) -> list[tuple[str, Translation]]:
    """The translation of each sentence, as text and as ids; those of similar length are translated together."""
    rows = [source.encode(CUTTERS[by](sentence)) for sentence in sentences]
    found: list[Any] = [None] * len(rows)
    for index in bucket_by_length([len(row) for row in rows], SEARCHED):
        ids, lengths = padded([rows[k] for k in index])
        most = 10 + 3 * len(ids)
        for place, one in zip(index, model.translate(ids, lengths, beam=beam, most=most, penalty=penalty), strict=True):
            words = [target.tokens[k - 1] for k in one.ids]
            found[place] = (join_words(words) if by == "words" else "".join(words)), one
    return found


def parts_of(config: TrainConfig, pairs: SentencePairs) -> tuple[SentencePairs, SentencePairs, int]:
    """The pairs to train on, those to validate on, and how many are left out as too long or without words."""
    cut, longest = CUTTERS[config.own["by"]], config.own["longest"]
    other = config.own["validation_data"]
    if other:
        parts = pairs, read_pairs(other, encoding=config.encoding)
    else:
        first, second = split_by_source(pairs, config.validation, config.seed)
        parts = pairs.take(first), pairs.take(second)
    kept = []
    for part in parts:
        sizes = [[len(cut(side)) for side in pair] for pair in zip(part.sources, part.targets, strict=True)]
        fits = [k for k, pair in enumerate(sizes) if 1 <= min(pair) and max(pair) <= longest]
        if not fits:
            shortest = min((max(pair) for pair in sizes if min(pair)), default=0)
            got = f"none; the shortest has {shortest}" if shortest else "none with a word on both sides"
            raise bad_data(part.source, f"pairs of at most {longest} {config.own['by']}", got, "raise --longest")
        kept.append(part.take(fits))
    return kept[0], kept[1], sum(map(len, parts)) - sum(map(len, kept))
