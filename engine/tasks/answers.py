"""What a model answers for a row of numbers: one of several classes, or a text that CTC spells.

Both kinds know how the end of the model looks, what its loss and figures are, and what is said and drawn of its
answers.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from engine.data.classes import class_names, encode_labels
from engine.data.data_checks import bad_data
from engine.data.labelled import LabelledTexts
from engine.errors import bad_input
from engine.losses.ctc_decoding import best_path_steps, prefix_beam
from engine.tasks.class_answers import class_scores, majority, softmax
from engine.training.architecture import recurrent_part, sequential
from engine.training.config import TrainConfig
from engine.training.examples.figures import edit_distance

Described = Mapping[str, Any]


class Answers(ABC):
    """One of the two kinds of answers.

    Attributes
    ----------
    loss, metrics, figure : names of the loss and the figures of validation, and the name of the loss in the metrics.
    unit : of that figure, in words.
    better : the figure by which a model and a baseline are compared.
    """

    loss: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    figure: ClassVar[str]
    unit: ClassVar[str]
    better: ClassVar[str]

    @property
    @abstractmethod
    def outputs(self) -> int:
        """K, the numbers that the model gives for a row, or for a step of it."""

    @abstractmethod
    def targets(self, rows: LabelledTexts, arrays: Sequence[np.ndarray]) -> Any:
        """What the loss takes for these rows; raises for what the model does not know."""

    @abstractmethod
    def model(self, config: TrainConfig, width: int) -> dict[str, Any]:
        """The model for `width` features a step, in the form of `Layer.config`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a checkpoint keeps."""

    @abstractmethod
    def rows(self, outputs: Any, beam: int) -> list[dict[str, Any]]:
        """A flat record for each row with its answer, JSON-able."""

    @abstractmethod
    def scores(self, name: str, outputs: Any, targets: Any, beam: int) -> dict[str, dict[str, float]]:
        """Figures of the model of that `name`, and of the most frequent answer."""


@dataclass(frozen=True)
class Classes(Answers):
    """A class for each row: recurrent layers, pooling over time, a linear layer.

    Attributes
    ----------
    labels : the names of the classes.
    usual : the most frequent class of training.
    """

    labels: tuple[str, ...]
    usual: int = 0

    loss, metrics, figure, unit, better = "cross_entropy", ("accuracy",), "cross_entropy", "nats of a row", "accuracy"

    @classmethod
    def fit(cls, rows: LabelledTexts) -> Classes:
        """The classes of the training rows."""
        names = class_names(rows)
        return cls(tuple(names), majority(encode_labels(rows, names), len(names)))

    @classmethod
    def of(cls, described: Described) -> Classes:
        """Those that a checkpoint has kept."""
        labels, usual = described.get("labels"), described.get("usual")
        if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(name, str) for name in labels):
            raise bad_input("labels", "the names of the classes", repr(labels))
        if not isinstance(usual, int) or not 0 <= usual < len(labels):
            raise bad_input("usual", "the number of a class", repr(usual))
        return cls(tuple(labels), usual)

    @property
    def outputs(self) -> int:
        """See `Answers.outputs`."""
        return len(self.labels)

    def targets(self, rows: LabelledTexts, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The class (N,) of each row."""
        return encode_labels(rows, self.labels)

    def model(self, config: TrainConfig, width: int) -> dict[str, Any]:
        """See `Answers.model`."""
        directions = 1 if config.own["one_way"] else 2
        units = config.hidden * directions
        dropout = [("Dropout", {"p": config.dropout})] if config.dropout else []
        return sequential(
            [
                recurrent_part(config, width, bidirectional=directions == 2),
                ("Pool", {"kind": config.own["pool"], "input_size": units, "directions": directions}),
                *dropout,
                ("Linear", {"in_features": units, "out_features": self.outputs}),
            ]
        )

    def describe(self) -> dict[str, Any]:
        """See `Answers.describe`."""
        return {"labels": list(self.labels), "usual": self.usual}

    def rows(self, outputs: Any, beam: int) -> list[dict[str, Any]]:
        """The label and its probability."""
        probabilities = softmax(np.asarray(outputs))
        best = probabilities.argmax(axis=1)
        pairs = zip(best, probabilities, strict=True)
        return [{"label": self.labels[k], "probability": round(float(p[k]), 6)} for k, p in pairs]

    def scores(self, name: str, outputs: Any, targets: Any, beam: int) -> dict[str, dict[str, float]]:
        """Accuracy and F1."""
        answers = np.asarray(outputs).argmax(axis=1)
        usual = np.full(len(targets), self.usual)
        return {
            name: class_scores(answers, targets, self.outputs),
            f"majority ({self.labels[self.usual]})": class_scores(usual, targets, self.outputs),
        }


@dataclass(frozen=True)
class Letters(Answers):
    """A text for each row, by CTC: recurrent layers, and a linear layer that gives each step a letter or the blank.

    Attributes
    ----------
    letters : the characters of the training texts in order; letter k is class k + 1, and class 0 is the blank.
    usual : the most frequent text of training.
    """

    letters: str
    usual: str = ""

    loss, metrics, figure, unit = "ctc", ("edit_distance",), "ctc", "nats of a letter"
    better = "character error rate"

    @classmethod
    def fit(cls, rows: LabelledTexts) -> Letters:
        """The letters of the training rows."""
        counts = Counter(rows.labels)
        return cls("".join(sorted(set("".join(rows.labels)))), min(counts, key=lambda text: (-counts[text], text)))

    @classmethod
    def of(cls, described: Described) -> Letters:
        """Those that a checkpoint has kept."""
        letters, usual = described.get("letters"), described.get("usual")
        if not isinstance(letters, str) or not letters or len(set(letters)) < len(letters):
            raise bad_input("letters", "different characters", repr(letters))
        if not isinstance(usual, str):
            raise bad_input("usual", "a text", repr(usual))
        return cls(letters, usual)

    @property
    def outputs(self) -> int:
        """See `Answers.outputs`."""
        return len(self.letters) + 1

    def targets(self, rows: LabelledTexts, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The classes (u,) of the letters of each row."""
        known = {letter: k for k, letter in enumerate(self.letters, 1)}
        found = []
        for text, place, array in zip(rows.labels, rows.places, arrays, strict=True):
            strange = [letter for letter in text if letter not in known]
            if strange:
                expected = f"letters that training has shown ({self.letters!r})"
                hint = "correct it, or train on data that has it"
                raise bad_data(rows.source, expected, f"{strange[0]!r} in {text!r} of {place}", hint)
            need = len(text) + sum(a == b for a, b in itertools.pairwise(text))
            if need > len(array):
                expected = f"a text that fits into the {len(array)} steps of {place}"
                hint = "equal neighbours need a step between them; lower --stack, or leave the recording out"
                raise bad_data(rows.source, expected, f"{text!r}, which needs {need} steps", hint)
            found.append(np.array([known[letter] for letter in text], dtype=np.int64))
        return found

    def model(self, config: TrainConfig, width: int) -> dict[str, Any]:
        """See `Answers.model`."""
        directions = 1 if config.own["one_way"] else 2
        dropout = [("Dropout", {"p": config.dropout})] if config.dropout else []
        return sequential(
            [
                recurrent_part(config, width, bidirectional=directions == 2),
                *dropout,
                ("Linear", {"in_features": config.hidden * directions, "out_features": self.outputs}),
            ]
        )

    def describe(self) -> dict[str, Any]:
        """See `Answers.describe`."""
        return {"letters": self.letters, "usual": self.usual}

    def text(self, labels: Sequence[int]) -> str:
        """The text of classes without the blank."""
        return "".join(self.letters[label - 1] for label in labels)

    def spelled(self, output: np.ndarray) -> list[tuple[str, int]]:
        """The letters of the best path through outputs (T, K), each with its step."""
        return [(self.text([label]), step) for label, step in best_path_steps(output)]

    def rows(self, outputs: Any, beam: int) -> list[dict[str, Any]]:
        """The text of the search, and its probability."""
        found = []
        for output in outputs:
            best = prefix_beam(np.log(np.maximum(softmax(output), 1e-300)), beam)[0]
            found.append({"text": self.text(best.labels), "probability": round(float(np.exp(best.log_prob)), 6)})
        return found

    def scores(self, name: str, outputs: Any, targets: Any, beam: int) -> dict[str, dict[str, float]]:
        """Character error rate, and the share of texts without an error; by the search and by the best path."""
        wanted = [self.text(row.tolist()) for row in targets]
        searched = [row["text"] for row in self.rows(outputs, beam)]
        best_path = [self.text([label for label, _ in best_path_steps(output)]) for output in outputs]
        return {
            f"{name}, beam {beam}": text_scores(searched, wanted),
            f"most frequent text ({self.usual})": text_scores([self.usual] * len(wanted), wanted),
            f"{name}, best path": text_scores(best_path, wanted),
        }


def text_scores(answers: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Character error rate (edits for each character) and the share of texts that are right."""
    edits = sum(edit_distance(answer, text) for answer, text in zip(answers, wanted, strict=True))
    right = sum(answer == text for answer, text in zip(answers, wanted, strict=True))
    return {"character error rate": edits / sum(map(len, wanted)), "texts right": right / len(wanted)}
