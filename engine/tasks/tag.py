"""The task ``tag``: give each word of a sentence its tag, such as its part of speech.

A word is several ids (`engine.data.word_features`), whose vectors stand side by side.  Recurrent layers read the
sentence forwards and backwards, and a linear layer makes a number for each tag of each word.  With ``--crf`` a
conditional random field on top of it knows which tags follow each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.checks import describe
from engine.data.batching import shuffled_order
from engine.data.data_checks import bad_data
from engine.data.tagged import FrequentTags, TaggedSentences, encode_tags, read_tagged, tag_names
from engine.data.word_features import FEATURES, WordEncoder
from engine.errors import bad_input
from engine.losses import crf_loss, viterbi
from engine.tasks.class_answers import CONFUSION_PICTURE, WORST_PAGE
from engine.tasks.pictures import confusion, draw_confusion, write_worst
from engine.tasks.tag_scores import scores_of, title_of, wrong_words
from engine.tasks.trained import one_source, restored, typed_or_named
from engine.training.architecture import build_described, recurrent_part, sequential
from engine.training.checkpoint import Checkpoint
from engine.training.config import LAYERS, PACKING, TrainConfig
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.evaluation import in_order, loss_of, outputs
from engine.training.examples.objectives import CLASSES, Objective, make_objective
from engine.training.examples.rows import Rows
from engine.training.fine_tuning import described_before
from engine.training.kinds import Option, Square, TaskKind
from engine.training.packing import buckets_of
from engine.training.plots import drawn
from engine.training.rules import switch, text, whole
from engine.training.task import Validation, load_model

#: First vectors of words are normal numbers of this size.
SMALL = 0.3
#: The width of the buckets in runs of before, which say nothing of it.
BUCKET = 4
CRF = Objective("crf", crf_loss, CLASSES)


class Tagger(ExamplesTask, TaskKind):
    """Give each word of a sentence its tag; see `engine.training.task.Task`.

    Attributes
    ----------
    encoder : how words become ids.
    labels : the names of the tags.
    held_out : the sentences that are validated on.
    """

    name, words = "tag", "give each word of a sentence its tag"
    shared = LAYERS | PACKING | {"data", "embed", "delimiter", "encoding"}
    reads = "a file with a word, a tab and its tag in each line, and an empty line after each sentence"
    defaults: ClassVar[Mapping[str, Any]] = {
        "steps": 1000,
        "patience": 10,
        "validate_every": 50,
        "hidden": 64,
        "embed": 32,
        "dropout": 0.3,
        "batch": 16,
        "buckets": 1,
        "lr": 5e-3,
        "report_every": 50,
    }
    own = (
        Option("validation_data", text(), None, "Sentences to validate on. [a part of the data]", source=True),
        Option("crf", switch(), False, "A conditional random field: tags that depend on their neighbours."),
        Option("minimum_count", whole(1), 2, "Words that are rarer in training are unknown words."),
        Option("vocabulary", whole(2), 20_000, "The most words that are known."),
        Option("one_way", switch(), False, "Read forwards alone."),
    )
    pictures = (CONFUSION_PICTURE, WORST_PAGE)
    asks = frozenset({"text"})

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        sentences = read(str(config.data), config)
        self.labels = list(described["labels"]) if described else tag_names(sentences)
        train, self.held_out = parts_of(config, sentences)
        self.read_notes = [sentences.note] if sentences.note else []
        self.encoder = WordEncoder.from_json(described["words"]) if described else encoder_of(config, train)
        self.baseline = FrequentTags(train)
        x, x_held = (rows_of(self.encoder, part) for part in (train, self.held_out))
        targets, self.targets = (encode_tags(part, self.labels) for part in (train, self.held_out))
        description = describe_tagger(config, len(self.encoder), len(self.labels))
        model = build_described(config, backend, description, len(self.labels), config.batch * x.steps)
        model.params["0.weight"] = model.params["0.weight"] * SMALL
        loss = CRF if config.own["crf"] else make_objective("cross_entropy")
        super().__init__(
            model,
            Examples(model, loss, x, targets),
            Examples(model, loss, x_held, self.targets),
            loss=loss,
            batch_size=config.batch,
            buckets=buckets_of(config, BUCKET),
            seed=config.seed,
            unit="nats a word",
            position="words",
            title=f"{title_of(config)} {config.hidden} on {len(train):,} sentences, {len(self.labels)} tags",
        )
        self.config = config

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """Words and tags are as many as the model's."""
        layers = model["args"].get("layers") or [{}]
        last = layers[-2 if config.own["crf"] else -1].get("args", {})
        sizes = layers[0].get("args", {}).get("num_embeddings"), last.get("out_features")
        encoder, labels = WordEncoder.from_json(described.get("words", {})), described.get("labels")
        if not isinstance(labels, list) or sizes != (len(encoder), len(labels)):
            raise bad_input("labels", "as many words and tags as the model has", f"others than {sizes}")
        usual = described.get("usual")
        if not isinstance(usual, dict) or not set(usual.values()) <= set(labels) or "" not in usual:
            raise bad_input("usual", "a tag for each word", describe(usual))

    @classmethod
    def tables(cls, described: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Sequence[str]]:
        """The table has a row for each word and feature, the output layer and the field one for each tag."""
        kinds = [layer["type"] for layer in model["args"]["layers"]]
        last = len(kinds) - 1 - kinds[::-1].index("Linear")
        labels = described["labels"]
        found: dict[str, Sequence[str]] = {"0.weight": WordEncoder.from_json(described["words"]).entries()}
        found |= dict.fromkeys((f"{last}.weight", f"{last}.bias"), labels)
        if "CRF" in kinds:
            field = kinds.index("CRF")
            found |= {f"{field}.transitions": Square(labels), f"{field}.start": labels, f"{field}.end": labels}
        return found

    def describe(self) -> dict[str, Any]:
        """The words, the tags, and the most frequent tag of each word; that of unknown words stands at ``""``."""
        usual = {"": self.baseline.usual, **self.baseline.tags}
        return {"words": self.encoder.to_json(), "labels": self.labels, "usual": usual}

    def notes(self) -> list[str]:
        """What was read."""
        known = [self.encoder.known(word) for row in self.held_out.words for word in row]
        new = f"{100 * (1 - sum(known) / len(known)):.1f} % of their words are unknown"
        counts = f"{len(self.train):,} sentences to train on, {len(self.held_out):,} to validate on"
        return [f"{counts} ({new}), {len(self.labels)} tags", *self.read_notes]

    def validate(self) -> Validation:
        """Mean loss of a word, and the share of words with the right tag."""
        assert self.validation is not None
        backend, total, right, count = self.model.backend, 0.0, 0, 0
        for batch, y in outputs(self.model, self.validation, self.batch_size, False):
            loss, _, positions = loss_of(self.objective, self.model, y, batch, False)
            answers = tags_of(self.model, y, batch.lengths, self.config.own["crf"])
            valid = np.ones(answers.shape, bool) if batch.mask is None else np.asarray(batch.mask)
            total += float(backend.to_host(loss)) * positions
            right += int((answers == batch.targets)[valid].sum())
            count += positions
        return Validation(total / count, {"accuracy": right / count})

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Scores beside the most frequent tag of each word, the confusion matrix, the wrong words."""
        if not finished:
            return {}
        found, answers = self.scored_held_out()
        flat = np.concatenate(answers), np.concatenate(self.targets)
        counts = confusion(flat[1], flat[0], len(self.labels))
        wrong = wrong_words(self.held_out, self.labels, answers, self.encoder)
        made = drawn("confusion", draw_confusion, directory / CONFUSION_PICTURE, counts, self.labels, self.title)
        made |= drawn("worst", write_worst, directory / WORST_PAGE, wrong, f"{self.title}: wrong words")
        files = {name: path for name, path in made.items() if name != "not_drawn" and path}
        found |= {"pictures": files, "confusion": counts.tolist(), "labels": self.labels, "worst": wrong}
        return found | ({"not_drawn": made["not_drawn"]} if "not_drawn" in made else {})

    def scored_held_out(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The scores on the held-out sentences, and the tags (n,) that the model gives to each."""
        assert self.validation is not None
        answers = answer(self.model, self.validation.rows, self.config.own["crf"])
        return scores_of(self.config, self.describe(), self.held_out, answers, "that were held out"), answers

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """The scores on the held-out sentences, or on others with tags."""
        said = checkpoint.meta["task"]
        if not sources:
            return restored(cls, checkpoint, config, backend, "sentences").scored_held_out()[0]
        sentences = read(one_source(sources), config)
        encode_tags(sentences, said["labels"])
        answers = answers_of(checkpoint, config, backend, sentences)
        found = scores_of(config, said, sentences, answers, f"of {sentences.source}")
        return found | {"notes": [sentences.note] if sentences.note else []}

    @classmethod
    def predict(
        cls,
        checkpoint: Checkpoint,
        config: TrainConfig,
        sources: Sequence[str],
        backend: Backend,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The tag of each word of new sentences: a word a line as in training, or a sentence a line, or typed."""
        encoder, labels = WordEncoder.from_json(checkpoint.meta["task"]["words"]), checkpoint.meta["task"]["labels"]
        hint = "name a file with a word or a sentence a line, or write --text 'some words'"
        typed = [text.split() for text in typed_or_named(asked, sources, "words", hint)]
        if typed:
            sentences = TaggedSentences(typed, [[] for _ in typed], [1] * len(typed), "--text")
        else:
            sentences = read(one_source(sources), config, tagged=False, names=labels)
        answers = answers_of(checkpoint, config, backend, sentences)
        rows = [
            {"sentence": number, "word": word, "tag": labels[k], "known": encoder.known(word)}
            for number, (words, tags) in enumerate(zip(sentences.words, answers, strict=True), 1)
            for word, k in zip(words, tags, strict=True)
        ]
        return {"rows": rows, "notes": [sentences.note] if sentences.note else []}


# -- data and model ----------------------------------------------------------------------------------------------------


def read(source: str, config: TrainConfig, tagged: bool = True, names: Sequence[str] = ()) -> TaggedSentences:
    """The sentences of a file."""
    return read_tagged(source, encoding=config.encoding, delimiter=config.delimiter, tagged=tagged, names=names)


def parts_of(config: TrainConfig, sentences: TaggedSentences) -> tuple[TaggedSentences, TaggedSentences]:
    """The sentences to train on, and those to validate on."""
    other = config.own["validation_data"]
    if other:
        return sentences, read(other, config)
    held_out = round(config.validation * len(sentences))
    if not 0 < held_out < len(sentences):
        hint = "give more sentences, another --validation, or --validation-data"
        expected = f"enough sentences that --validation {config.validation:g} of them are one"
        raise bad_data(sentences.source, expected, len(sentences), hint)
    order = shuffled_order(len(sentences), config.seed, 0, purpose=7)
    return sentences.take(np.sort(order[held_out:])), sentences.take(np.sort(order[:held_out]))


def encoder_of(config: TrainConfig, train: TaggedSentences) -> WordEncoder:
    """The encoder that knows the words to train on, and those that the model of ``--from`` knew."""
    minimum, size, before = config.own["minimum_count"], config.own["vocabulary"], described_before(config)
    found = WordEncoder.fit(train.words, minimum=minimum, size=size)
    return found if before is None else WordEncoder.from_json(before["words"]).grown(found)


def rows_of(encoder: WordEncoder, sentences: TaggedSentences) -> Rows:
    """The ids (n, F) of each sentence."""
    data = [encoder.encode(words) for words in sentences.words]
    return Rows(data, np.array([len(row) for row in data]), ids=True)


def describe_tagger(config: TrainConfig, ids: int, tags: int) -> dict[str, Any]:
    """The model in the form of `Layer.config`: tables, recurrent layers, linear layer, and the CRF if there is one."""
    both = not config.own["one_way"]
    dropout = [("Dropout", {"p": config.dropout})] if config.dropout else []
    table = {"num_embeddings": ids, "embedding_dim": config.embed, "features": len(FEATURES)}
    return sequential(
        [
            ("Embedding", table),
            *dropout,
            recurrent_part(config, config.embed * len(FEATURES), bidirectional=both),
            *dropout,
            ("Linear", {"in_features": config.hidden * (1 + both), "out_features": tags}),
            *([("CRF", {"num_tags": tags})] if config.own["crf"] else []),
        ]
    )


# -- a trained model ---------------------------------------------------------------------------------------------------


def tags_of(model: Any, y: Any, lengths: Any, crf: bool) -> np.ndarray:
    """The tags (T, B) that the model's output for a batch says; at pads any number.

    Parameters
    ----------
    y : logits (T, B, K), or scores of pairs of tags (T, B, K, K) with a CRF.
    lengths : (B,) or None.
    """
    if not crf:
        return model.backend.to_host(y).argmax(axis=-1)
    valid = None if lengths is None else np.arange(len(y))[:, None] < np.asarray(lengths)
    return model.backend.to_host(viterbi(y, valid)[0])


def answer(model: Any, rows: Rows, crf: bool) -> list[np.ndarray]:
    """The tags (n,) of each sentence, in order."""
    found: list[Any] = [None] * len(rows)
    for index in in_order(rows.lengths, 64):
        lengths = rows.lengths[index]
        x = rows.gather(index, int(lengths.max()), model.dtype, False)
        y, _ = model.predict(x, None, lengths)
        tags = tags_of(model, y, lengths, crf)
        for column, place in enumerate(np.arange(len(rows))[index]):
            found[place] = tags[: lengths[column], column]
    return found


def answers_of(
    checkpoint: Checkpoint, config: TrainConfig, backend: Backend, sentences: TaggedSentences
) -> list[np.ndarray]:
    """The tags of new sentences by a trained model."""
    encoder = WordEncoder.from_json(checkpoint.meta["task"]["words"])
    return answer(load_model(checkpoint, backend), rows_of(encoder, sentences), config.own["crf"])
