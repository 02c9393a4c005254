"""The task ``classify``: tell the class of a text, such as the language of a name or the mood of a review.

The text is cut into words or characters.  A table gives each a vector, recurrent layers read these forwards and
backwards, their outputs are pooled into one vector, and a linear layer makes a number for each class of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.checks import describe, number
from engine.data.classes import class_names, encode_labels, stratified_split
from engine.data.labelled import LabelledTexts, TableForm, read_labelled, read_texts
from engine.data.tokens import CUTTERS, TextEncoder
from engine.errors import bad_input
from engine.layers.pooling import POOL_KINDS
from engine.tasks.class_answers import (
    CONFUSION_PICTURE,
    WORST_PAGE,
    beats,
    class_scores,
    draw_answers,
    log_loss,
    majority,
    softmax,
    temperature,
)
from engine.tasks.trained import one_source, restored, typed_or_named
from engine.training.architecture import build_described, recurrent_part, sequential
from engine.training.checkpoint import Checkpoint
from engine.training.config import LAYERS, PACKING, TrainConfig
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.evaluation import predict_rows
from engine.training.examples.objectives import make_objective
from engine.training.examples.rows import read_rows
from engine.training.fine_tuning import described_before
from engine.training.kinds import Option, TaskKind
from engine.training.packing import buckets_of
from engine.training.rules import choice, switch, text, whole
from engine.training.task import Validation, load_model

#: First vectors of words are normal numbers of this size: with larger ones rare words are noise for a long time.
SMALL = 0.1
#: Batches hold texts of similar length: lengths that need equally many blocks of so many tokens count as equal.
BUCKET = 8
#: More unknown tokens than this share are told.
MANY_UNKNOWN = 0.25


class SentenceClassifier(ExamplesTask, TaskKind):
    """Tell the class of a text; see `engine.training.task.Task`.

    Attributes
    ----------
    encoder : how texts become ids.
    labels : the names of the classes.
    held_out : the texts that are validated on.
    """

    name, words = "classify", "tell the class of a text"
    shared = LAYERS | PACKING | {"data", "embed", "delimiter", "encoding", "skip"}
    reads = "a CSV or TSV file with texts and labels, or a folder of classes"
    defaults: ClassVar[Mapping[str, Any]] = {
        "steps": 1500,
        "validation": 0.2,
        "patience": 10,
        "validate_every": 50,
        "hidden": 64,
        "dropout": 0.5,
        "batch": 32,
        "buckets": BUCKET,
        "lr": 3e-3,
        "report_every": 50,
    }
    own = (
        Option("by", choice(*CUTTERS), "words", "What a text is cut into: words or characters."),
        Option("text_column", text(), None, "Name or number of the column of texts. [told from the file]"),
        Option("label_column", text(), None, "Name or number of the column of labels. [told from the file]"),
        Option("validation_data", text(), None, "Texts to validate on. [a part of the data]", source=True),
        Option("pool", choice(*POOL_KINDS), "max", f"How a text becomes one vector: {', '.join(POOL_KINDS)}."),
        Option("minimum_count", whole(1), 2, "Words that are rarer in training are unknown words."),
        Option("vocabulary", whole(2), 20_000, "The most words or characters that are known."),
        Option("longest", whole(1), 400, "Words or characters of a text that are read."),
        Option("balance", switch(), False, "Rare classes weigh more, so that all classes count alike."),
        Option("one_way", switch(), False, "Read forwards alone."),
    )
    pictures = (CONFUSION_PICTURE, WORST_PAGE)
    asks = frozenset({"text"})

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        rows = read_labelled(str(config.data), form_of(config))
        self.labels = list(described["labels"]) if described else class_names(rows)
        train, self.held_out = parts_of(config, rows)
        self.columns, self.read_notes = rows.columns, notes_of(rows)
        self.encoder = TextEncoder.from_json(described["encoder"]) if described else encoder_of(config, train.texts)
        classes = len(self.labels)
        x, x_held = (self.encoder.encode(part.texts, part.source, part.places) for part in (train, self.held_out))
        targets, self.targets = (encode_labels(part, self.labels) for part in (train, self.held_out))
        self.usual = majority(targets, classes)
        description = describe_classifier(config, len(self.encoder.vocabulary), classes)
        model = build_described(config, backend, description, classes, config.batch * max(map(len, x)))
        if config.own["by"] == "words":
            model.params["0.weight"] = model.params["0.weight"] * SMALL
        loss = make_objective("cross_entropy")
        weights = balanced(targets, classes) if config.own["balance"] else None
        super().__init__(
            model,
            Examples(model, loss, x, targets, weights=weights),
            Examples(model, loss, x_held, self.targets),
            loss=loss,
            batch_size=config.batch,
            buckets=buckets_of(config, BUCKET),
            seed=config.seed,
            unit="cross-entropy",
            position="texts",
            title=f"{config.cell.upper()} {config.hidden} on {len(train):,} texts of {classes} classes",
        )
        self.config = config

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """Vocabulary and classes are as many as the model's."""
        layers = model["args"].get("layers") or [{}]
        sizes = layers[0].get("args", {}).get("num_embeddings"), layers[-1].get("args", {}).get("out_features")
        encoder, labels = TextEncoder.from_json(described.get("encoder", {})), described.get("labels")
        usual, columns = described.get("usual"), described.get("columns")
        if not isinstance(labels, list) or sizes != (len(encoder.vocabulary), len(labels)):
            raise bad_input("labels", "as many words and classes as the model has", f"others than {sizes}")
        number("temperature", described.get("temperature"), low=1.0)
        if not isinstance(usual, int) or not 0 <= usual < len(labels):
            raise bad_input("usual", "the number of a class", describe(usual))
        if not isinstance(columns, list) or [type(name) for name in columns] != [str, str]:
            raise bad_input("columns", "two names", describe(columns))

    @classmethod
    def tables(cls, described: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Sequence[str]]:
        """The table has a row for each word or character, the output layer one for each class."""
        last = len(model["args"]["layers"]) - 1
        entries = TextEncoder.from_json(described["encoder"]).vocabulary.entries()
        return {"0.weight": entries, **dict.fromkeys((f"{last}.weight", f"{last}.bias"), described["labels"])}

    def describe(self) -> dict[str, Any]:
        """Vocabulary, classes and the most frequent one, columns of the file, and how much answers are softened."""
        return {
            "temperature": temperature(self.held_out_logits(), self.targets),
            "encoder": self.encoder.to_json(),
            "labels": self.labels,
            "usual": self.usual,
            "columns": list(self.columns),
        }

    def notes(self) -> list[str]:
        """What was read from where."""
        text, label = self.columns
        read = f"; texts from column {text!r}, labels from column {label!r}" if text else ""
        counts = f"{len(self.train):,} texts to train on, {len(self.held_out):,} to validate on"
        return [f"{counts}, {len(self.labels)} classes{read}", *self.read_notes]

    def held_out_logits(self) -> np.ndarray:
        """The outputs (N, K) of the model as it is for the texts that are held out."""
        assert self.validation is not None
        return np.asarray(predict_rows(self.model, self.validation.rows))

    def validate(self) -> Validation:
        """Cross-entropy of the softened answers, accuracy and F1.

        Softened, because a model goes on getting better for long after it has become too sure of its wrong answers.
        """
        logits = self.held_out_logits()
        scores = class_scores(logits.argmax(axis=1), self.targets, len(self.labels))
        return Validation(log_loss(logits / temperature(logits, self.targets), self.targets), scores)

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Accuracy and F1 beside the majority, the confusion matrix, the worst examples."""
        if not finished:
            return {}
        found, probabilities = self.scored_held_out()
        return found | draw_answers(
            directory, probabilities, self.targets, self.labels, self.held_out.texts, self.title
        )

    def scored_held_out(self) -> tuple[dict[str, Any], np.ndarray]:
        """The scores on the held-out part, and the probabilities (N, K) of the classes for its texts."""
        logits = self.held_out_logits()
        probabilities = softmax(logits / temperature(logits, self.targets))
        words = f"{len(self.targets):,} texts that were held out"
        return scores_of(self.config, self.describe(), probabilities, self.targets, words), probabilities

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """Accuracy and F1 on the held-out part, or on other labelled texts."""
        said = checkpoint.meta["task"]
        if not sources:
            return restored(cls, checkpoint, config, backend, "texts").scored_held_out()[0]
        rows = read_labelled(one_source(sources), form_of(config, said))
        targets = encode_labels(rows, said["labels"])
        probabilities, unknown = probabilities_of(checkpoint, backend, rows)
        found = scores_of(config, said, probabilities, targets, f"{len(rows):,} texts of {rows.source}")
        return found | {"notes": [*notes_of(rows), *unknown]}

    @classmethod
    def predict(
        cls,
        checkpoint: Checkpoint,
        config: TrainConfig,
        sources: Sequence[str],
        backend: Backend,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The class of each text and its probability."""
        said = checkpoint.meta["task"]
        typed = typed_or_named(asked, sources, "texts", "name a file of texts, or write --text 'a text'")
        if typed:
            rows = LabelledTexts(typed, [], [f"text {k}" for k in range(1, len(typed) + 1)], "--text")
        else:
            rows = read_texts(one_source(sources), form_of(config, said))
        probabilities, unknown = probabilities_of(checkpoint, backend, rows)
        best = probabilities.argmax(axis=1)
        answers = [
            {"text": text, "label": said["labels"][k], "probability": round(float(p[k]), 6)}
            for text, k, p in zip(rows.texts, best, probabilities, strict=True)
        ]
        return {"rows": answers, "notes": [*notes_of(rows), *unknown]}


# -- data and model ----------------------------------------------------------------------------------------------------


def notes_of(rows: LabelledTexts) -> list[str]:
    """What was taken as the header line of a table."""
    return [rows.note] if rows.note else []


def form_of(config: TrainConfig, said: Mapping[str, Any] | None = None) -> TableForm:
    """How a table is written; of new data, columns that were named or found in training are looked for by name."""
    own, (text, label) = config.own, said["columns"] if said else ("", "")
    return TableForm(
        own["text_column"] or text or None,
        own["label_column"] or label or None,
        config.delimiter,
        config.encoding,
        config.skip,
        strict=said is None,
    )


def parts_of(config: TrainConfig, rows: LabelledTexts) -> tuple[LabelledTexts, LabelledTexts]:
    """The texts to train on, and those to validate on."""
    other = config.own["validation_data"]
    if other:
        return rows, read_labelled(other, form_of(config))
    train, held_out = stratified_split(rows, config.validation, config.seed)
    return rows.take(train), rows.take(held_out)


def encoder_of(config: TrainConfig, texts: Sequence[str]) -> TextEncoder:
    """The encoder that knows the words or characters of the texts to train on."""
    own, before = config.own, described_before(config)
    rare = own["minimum_count"] if own["by"] == "words" else 1
    found = TextEncoder.fit(texts, own["by"], own["longest"], minimum=rare, size=own["vocabulary"])
    if before is None:
        return found
    known = TextEncoder.from_json(before["encoder"])  # a vocabulary that grows keeps what it knew
    return TextEncoder(own["by"], known.vocabulary.grown(found.vocabulary), own["longest"])


def describe_classifier(config: TrainConfig, tokens: int, classes: int) -> dict[str, Any]:
    """The model in the form of `Layer.config`: table, recurrent layers, pooling, linear layer."""
    directions = 1 if config.own["one_way"] else 2
    width = config.hidden * directions
    dropout = [("Dropout", {"p": config.dropout})] if config.dropout else []
    return sequential(
        [
            ("Embedding", {"num_embeddings": tokens, "embedding_dim": config.embed}),
            *dropout,
            recurrent_part(config, config.embed, bidirectional=directions == 2),
            ("Pool", {"kind": config.own["pool"], "input_size": width, "directions": directions}),
            *dropout,
            ("Linear", {"in_features": width, "out_features": classes}),
        ]
    )


def balanced(targets: np.ndarray, classes: int) -> dict[int, float]:
    """A weight for each class, so that all classes weigh alike; 1 in the mean of the texts."""
    counts = np.bincount(targets, minlength=classes)
    present = int((counts > 0).sum())
    return {k: len(targets) / (present * int(count)) for k, count in enumerate(counts) if count}


# -- a trained model ---------------------------------------------------------------------------------------------------


def probabilities_of(checkpoint: Checkpoint, backend: Backend, rows: LabelledTexts) -> tuple[np.ndarray, list[str]]:
    """The probabilities (N, K) of the classes for new texts, and a note if the model knows few of their words."""
    said = checkpoint.meta["task"]
    encoder = TextEncoder.from_json(said["encoder"])
    ids = encoder.encode(rows.texts, rows.source, rows.places)
    share = encoder.unknown(ids)
    note = f"{100 * share:.0f} % of the {encoder.by} did not occur in training, or too rarely"
    logits = np.asarray(predict_rows(load_model(checkpoint, backend), read_rows("data", ids)))
    return softmax(logits / said["temperature"]), [note] if share > MANY_UNKNOWN else []


def scores_of(
    config: TrainConfig, said: Mapping[str, Any], probabilities: np.ndarray, targets: np.ndarray, held_out: str
) -> dict[str, Any]:
    """The scores of answers beside those of the most frequent class of training.

    Parameters
    ----------
    said : what `SentenceClassifier.describe` returns.
    """
    labels, usual = said["labels"], said["usual"]
    scores = {
        config.cell.upper(): class_scores(probabilities.argmax(axis=1), targets, len(labels)),
        f"majority ({labels[usual]})": class_scores(np.full(len(targets), usual), targets, len(labels)),
    }
    return {"scores": scores, "held_out": held_out, "verdict": beats(scores)}
