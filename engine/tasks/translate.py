"""The task ``translate``: from a sentence to its translation, by an encoder, attention and a decoder.

The sentences of both sides are cut into words in lower case, punctuation marks as words of their own; signs of Chinese
and Japanese are words of their own (`engine.data.tokens.cut_words`).  The model is `engine.Translator`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.checks import describe
from engine.data.batching import bucket_by_length
from engine.data.buckets import BatchSampler, Packing
from engine.data.pairs import SentencePairs, read_pairs, read_sources
from engine.data.tokens import CUTTERS, TokenVocabulary
from engine.errors import bad_input
from engine.layers.attention import ATTENTION_KINDS
from engine.layers.searching import Translation
from engine.layers.translator import Translator
from engine.losses import cross_entropy
from engine.tasks.sentence_pairs import (
    MARKS,
    SEARCHED,
    START,
    Encoded,
    describe_translator,
    parts_of,
    translate_texts,
    vocabularies_of,
)
from engine.tasks.trained import one_source, restored, typed_or_named
from engine.tasks.translation_scores import MISSING, TranslationMemory, can_score, draw_attention, text_scores
from engine.training.architecture import build_described
from engine.training.checkpoint import Checkpoint
from engine.training.config import LAYERS, PACKING, TrainConfig
from engine.training.kinds import Option, TaskKind
from engine.training.packing import buckets_of
from engine.training.plots import drawn
from engine.training.rules import choice, real, switch, text, whole
from engine.training.task import Batch, Validation, fingerprint, load_model

#: First vectors of words are normal numbers of this size.
SMALL = 0.1
#: Batches hold translations of similar length: those that need equally many blocks of so many words count as equal.
BUCKET = 2
ATTENTION_PICTURE = "attention.png"


class TranslationTask(TaskKind):
    """From a sentence to its translation; see `engine.training.task.Task`.

    Attributes
    ----------
    translator : the model.
    train, held_out : the pairs to train on, and those to validate on.
    """

    name, words = "translate", "translate sentences"
    shared = LAYERS - {"precision"} | PACKING | {"data", "embed", "encoding"}
    higher: ClassVar[frozenset[str]] = frozenset({"BLEU"})
    reads = "a file with a sentence, a tab and its translation in each line"
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 6,
        "cell": "gru",
        "hidden": 192,
        "embed": 96,
        "dropout": 0.2,
        "batch": 32,
        "buckets": BUCKET,
        "lr": 3e-3,
        "warmup": 100,
        "report_every": 100,
        "validate_every": 500,
        "checkpoint_every": 1000,
    }
    own = (
        Option("validation_data", text(), None, "Pairs to validate on. [a part of the data]", source=True),
        Option("attention", choice(*ATTENTION_KINDS), "general", "How a word scores the words of the source."),
        Option("by", choice(*CUTTERS), "words", "What both sides are cut into."),
        Option("minimum_count", whole(1), 3, "Words that are rarer in training are unknown words."),
        Option("vocabulary", whole(4), 20_000, "The most words of each side that are known."),
        Option("longest", whole(1), 20, "Pairs with more words on a side are left out."),
        Option("smoothing", real(0, below=1), 0.0, "Label smoothing of the loss in training."),
        Option(
            "sampling",
            real(0, below=1),
            0.0,
            "Scheduled sampling: share of the model's own words, from epoch 2 on.",
        ),
        Option("beam", whole(1), 4, "Beams of the search."),
        Option("penalty", real(0, below=10), 1.0, "By how much long translations are preferred."),
        Option("bleu", switch(), False, "Translate at every validation too, and write the BLEU beside the loss."),
    )
    pictures, asks = (ATTENTION_PICTURE,), frozenset({"text", "beam"})
    unit, position = "perplexity of a word", "words"

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        self.config, self.cut = config, CUTTERS[config.own["by"]]
        pairs = read_pairs(str(config.data), encoding=config.encoding)
        self.train, self.held_out, self._left_out = parts_of(config, pairs)
        if described:
            self.source, self.target = vocabularies_of(described)
        else:
            limits = {"minimum": config.own["minimum_count"], "size": config.own["vocabulary"]}
            self.source = TokenVocabulary.of(map(self.cut, self.train.sources), **limits)
            target = TokenVocabulary.of(map(self.cut, self.train.targets), **limits)
            self.target = TokenVocabulary([*MARKS, *target.tokens])
        self._train, self._held = (
            Encoded(part, self.cut, self.source, self.target) for part in (self.train, self.held_out)
        )
        lengths, buckets = self._train.target_lengths, buckets_of(config, BUCKET)
        self.sampler = BatchSampler(lengths, config.batch, buckets, seed=config.seed)
        self.batches = len(self.sampler)
        self.fingerprint = fingerprint(*("\n".join(column) for column in (pairs.sources, pairs.targets)))
        longest = int(max(self._train.target_lengths.max(), self._held.target_lengths.max()))
        description = describe_translator(config, len(self.source), len(self.target))
        made = build_described(config, backend, description, len(self.target), config.batch * longest)
        assert isinstance(made, Translator)
        for name in ("source_embedding.weight", "target_embedding.weight"):
            made.params[name] = made.params[name] * SMALL
        self.model = self.translator = made
        self.title = f"{config.cell.upper()} {config.hidden} with attention on {len(self.train):,} pairs"

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """Both vocabularies are as large as the model's."""
        sizes = tuple(model["args"].get(name) for name in ("source_size", "target_size"))
        if tuple(map(len, vocabularies_of(described))) != sizes or model["type"] != "Translator":
            raise bad_input("vocabularies", "as many words as the Translator has", describe(described))

    def describe(self) -> dict[str, Any]:
        """Both vocabularies."""
        return {"source": self.source.to_json(), "target": self.target.to_json()}

    def notes(self) -> list[str]:
        """What was read."""
        sizes = f"{len(self.source):,} and {len(self.target):,} known words"
        sources = len(self.held_out.references())
        found = [f"{len(self.train):,} pairs to train on, {sources:,} other sentences to validate on, {sizes}"]
        if self._left_out:
            found.append(f"{self._left_out:,} pairs with more than {self.config.own['longest']} words are left out")
        return found if can_score() else [*found, MISSING]

    # -- training ------------------------------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The pairs of `step`: the source, the words that the decoder is fed, and those that follow them."""
        self.translator.sampling = self.config.own["sampling"] if step >= self.batches else 0.0
        return self._train.batch(self.sampler.rows(step))

    def packing(self, start: int, stop: int) -> Packing:
        """How full the batches of steps ``start .. stop - 1`` are, sources and translations together."""
        sizes = [self._train.target_lengths, np.array([len(row) for row in self._train.sources])]
        batches = [self.sampler.rows(step) for step in range(start, stop)]
        valid = sum(int(own[rows].sum()) for own in sizes for rows in batches)
        return Packing(valid, sum(int(own[rows].max()) * len(rows) for own in sizes for rows in batches), len(batches))

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Cross-entropy of the logits (T, B, V) in nats, over the words that are there."""
        loss, dy = cross_entropy(y, batch.targets, batch.mask, label_smoothing=self.config.own["smoothing"])
        return loss, dy, int(batch.mask.sum())

    def carried(self, step: int, state: Any) -> None:
        """Every sentence starts anew."""

    def validate(self) -> Validation:
        """Mean cross-entropy of a word of the right translations in nats; the BLEU of greedy search if asked for."""
        total, count = 0.0, 0
        for index in bucket_by_length(self._held.target_lengths, SEARCHED):
            batch = self._held.batch(index)
            y, _ = self.model.predict(batch.x, None, batch.lengths)
            words = int(batch.mask.sum())
            total += float(self.translator.backend.to_host(cross_entropy(y, batch.targets, batch.mask)[0])) * words
            count += words
        if not self.config.own["bleu"]:
            return Validation(total / count)
        references = self.held_out.references()
        found = self.translations(list(references), beam=1)
        return Validation(
            total / count, {"BLEU": text_scores([answer for answer, _ in found], [*references.values()])["BLEU"]}
        )

    def figure(self, loss: float) -> tuple[str, float]:
        """Perplexity."""
        return "perplexity", math.exp(min(loss, 700.0))

    def translations(self, sources: Sequence[str], beam: int | None = None) -> list[tuple[str, Translation]]:
        """The translation of each sentence, as text and as ids."""
        own = self.config.own
        beam = own["beam"] if beam is None else beam
        return translate_texts(self.translator, self.source, self.target, sources, own["by"], beam, own["penalty"])

    # -- results -------------------------------------------------------------------------------------------------------

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Scores beside those of a translation memory, examples, and a picture of the attention."""
        if not finished:
            return {}
        found = self.scored_held_out()
        made = drawn("attention", draw_attention, directory / ATTENTION_PICTURE, self.attention_maps(), self.title)
        files = {name: path for name, path in made.items() if name != "not_drawn" and path}
        return found | {"pictures": files} | ({"not_drawn": made["not_drawn"]} if "not_drawn" in made else {})

    def scored_held_out(self) -> dict[str, Any]:
        """BLEU and chrF on the held-out sentences, beside those of the translation memory."""
        memory = TranslationMemory([self.cut(source) for source in self.train.sources], self.train.targets)

        def copied(sources: Sequence[str]) -> list[str]:
            return [memory.translate(self.cut(source)) for source in sources]

        return scored(self.config, self.translations, self.held_out, "that were held out", copied)

    def attention_maps(self, count: int = 4) -> list[tuple[list[str], list[str], np.ndarray]]:
        """The words of some held-out sentences of middle length, of their translations, and the weights (T, S)."""
        sources = [source for source in self.held_out.references() if 5 <= len(self.cut(source)) <= 12][:count]
        maps = []
        for source in sources or list(self.held_out.references())[:count]:
            _, found = self.translations([source])[0]
            words = self.cut(source)
            fed = np.array([START, *found.ids])[:, None]
            tape = self.translator.forward((self.source.encode(words)[:, None], fed), training=False)[2]
            weights = self.translator.backend.to_host(tape.tapes["attention"].weights)[:, 0]
            target = [*self._words(found.ids), MARKS[1]]
            maps.append((words, target, weights))
        return maps

    def _words(self, ids: Sequence[int]) -> list[str]:
        return [self.target.tokens[k - 1] for k in ids]

    # -- a trained model -----------------------------------------------------------------------------------------------

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """The scores on the held-out sentences, or on other pairs."""
        said = checkpoint.meta["task"]
        if not sources:
            return restored(cls, checkpoint, config, backend, "pairs").scored_held_out()
        pairs = read_pairs(one_source(sources), encoding=config.encoding)
        vocabularies, model, own = vocabularies_of(said), load_model(checkpoint, backend), config.own

        def translations(texts: Sequence[str], beam: int) -> list[tuple[str, Translation]]:
            return translate_texts(model, *vocabularies, texts, own["by"], beam, own["penalty"])

        return scored(config, translations, pairs, f"of {pairs.source}")

    @classmethod
    def predict(
        cls,
        checkpoint: Checkpoint,
        config: TrainConfig,
        sources: Sequence[str],
        backend: Backend,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The translation of each line of a file, or of typed sentences, with its probability."""
        hint = "name a file with a sentence in each line, or write --text 'a sentence'"
        typed = [" ".join(text.split()) for text in typed_or_named(asked, sources, "sentences", hint)]
        own = config.own
        beam = asked.get("beam", own["beam"])
        if not 1 <= beam <= 100:
            raise bad_input("--beam", "an integer in 1..100", describe(beam))
        sentences = typed or read_sources(one_source(sources), encoding=config.encoding)
        vocabularies, model = vocabularies_of(checkpoint.meta["task"]), load_model(checkpoint, backend)
        found = translate_texts(model, *vocabularies, sentences, own["by"], beam, own["penalty"])
        rows = [
            {"sentence": sentence, "translation": answer, "probability": round(math.exp(one.log_probability), 6)}
            for sentence, (answer, one) in zip(sentences, found, strict=True)
        ]
        cut, known = CUTTERS[own["by"]], vocabularies[0]
        strange = sorted({word for sentence in sentences for word in cut(sentence) if word not in known})
        listed = ", ".join(strange[:10]) + (" ..." if len(strange) > 10 else "")
        return {"rows": rows, "notes": [f"training did not show, or too rarely: {listed}"] if strange else []}


def scored(
    config: TrainConfig,
    translations: Callable[[Sequence[str], int], list[tuple[str, Translation]]],
    pairs: SentencePairs,
    which: str,
    memory: Callable[[Sequence[str]], list[str]] | None = None,
) -> dict[str, Any]:
    """BLEU and chrF of beam search, of greedy search, and of the translation memory if there is one; some translations.

    Parameters
    ----------
    translations : from sentences and the number of beams, as `translate_texts` has them.
    which : sentences, in words.
    memory : from sentences to translations.
    """
    references, beam = pairs.references(), config.own["beam"]
    sources, right = list(references), list(references.values())
    found = [answer for answer, _ in translations(sources, beam)]
    rows = zip(sources, found, right, strict=True)
    result: dict[str, Any] = {
        "held_out": f"{len(sources):,} sentences {which}",
        "examples": [{"source": s, "translation": t, "right": " | ".join(r)} for s, t, r in rows][:20],
    }
    if not can_score():
        return result | {"scores": {}, "notes": [MISSING]}
    greedy = [answer for answer, _ in translations(sources, 1)]
    scores = {
        f"{config.cell.upper()} with attention, beam {beam}": text_scores(found, right),
        "the same, greedy": text_scores(greedy, right),
    }
    if memory is None:
        return result | {"scores": scores}
    scores["most similar sentence of training"] = text_scores(memory(sources), right)
    return result | {"scores": scores, "verdict": _verdict(*(s["BLEU"] for s in scores.values()))}


def _verdict(beam: float, greedy: float, memory: float) -> str:
    best = max(beam, greedy)
    if best > memory:
        return f"BLEU {best:.1f}, where the most similar sentence of training has {memory:.1f}."
    hint = "train longer, or on more pairs"
    return (
        f"No better than the most similar sentence of training: BLEU {best:.1f}, where that has {memory:.1f}; {hint}."
    )
