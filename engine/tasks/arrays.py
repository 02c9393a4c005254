"""What the tasks over rows of numbers share: speech, and images by rows.

The rows are split into three parts; features are scaled as measured on the training part; the test part is scored once,
beside a baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.data.data_checks import bad_data
from engine.data.labelled import LabelledTexts
from engine.data.nearest_mean import nearest_mean
from engine.data.parting import RowParts
from engine.data.scaling import Scaler, ZScoreScaler, scaler_from_json
from engine.errors import bad_input
from engine.tasks.answers import Answers, Classes
from engine.tasks.class_answers import CONFUSION_PICTURE, class_scores, softmax
from engine.tasks.galleries import MOST, draw_gallery
from engine.tasks.pictures import confusion, draw_confusion, worst_places
from engine.tasks.trained import one_source, restored
from engine.training.architecture import build_described
from engine.training.checkpoint import Checkpoint
from engine.training.config import TrainConfig
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.evaluation import predict_rows
from engine.training.examples.objectives import make_objective
from engine.training.examples.rows import read_rows
from engine.training.kinds import TaskKind
from engine.training.packing import buckets_of
from engine.training.plots import drawn
from engine.training.task import Validation, load_model

WORST_PICTURE = "worst.png"


@dataclass(frozen=True)
class ArrayData:
    """N rows of numbers.

    Attributes
    ----------
    rows : their names and labels.
    arrays : features (t, D) of each, not scaled.
    groups : who each comes from; empty where that is not known.
    said : what a checkpoint keeps, to read other data alike.
    notes : on the reading.
    """

    rows: LabelledTexts
    arrays: list[np.ndarray]
    groups: list[str] = field(default_factory=list)
    said: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ArrayTask(ExamplesTask, TaskKind):
    """Recurrent layers over rows of numbers; see `engine.training.task.Task`.

    A task of this kind says how it reads data, what it answers, how it splits, and how a row looks as a picture.

    Attributes
    ----------
    data : all rows, before they are scaled.
    parts : the numbers of the rows in each part.
    scaler : measured on the training part.
    answers : what the model answers.
    test : the rows that are scored at last.
    """

    noun = "rows"
    bucket = 0
    upward = False

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.data = data = self.read(str(config.data), config, described)
        self.parts = self.split(config, data)
        train = data.rows.take(self.parts.train)
        self.answers = self.make_answers(config, described, train)
        self.scaler = scaler_of(described, [data.arrays[k] for k in self.parts.train])
        arrays = scaled(self.scaler, data.arrays)
        longest, width = max(map(len, arrays)), arrays[0].shape[1]
        outputs = self.answers.outputs
        description = self.answers.model(config, width)
        model = build_described(config, backend, description, outputs, config.batch * longest)
        loss = make_objective(self.answers.loss)
        examples = []
        for part in self.parts:
            chosen = [arrays[k] for k in part]
            targets = self.answers.targets(data.rows.take(part), chosen)
            examples.append(Examples(model, loss, joined(chosen), targets))
        super().__init__(
            model,
            *examples[:2],
            loss=loss,
            metrics=self.answers.metrics,
            batch_size=config.batch,
            buckets=buckets_of(config, self.bucket),
            seed=config.seed,
            unit=self.answers.unit,
            position=self.noun,
            title=f"{config.cell.upper()} {config.hidden} on {len(train):,} {self.noun}",
        )
        self.test = examples[2]

    # -- what a task says ----------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, source: str, config: TrainConfig, said: Mapping[str, Any] | None, labelled: bool = True) -> ArrayData:
        """The rows of a source; `said` is what `describe` returned, where the model is trained."""
        raise NotImplementedError

    @classmethod
    def split(cls, config: TrainConfig, data: ArrayData) -> RowParts:
        """The three parts."""
        raise NotImplementedError

    @classmethod
    def make_answers(cls, config: TrainConfig, said: Mapping[str, Any] | None, train: LabelledTexts | None) -> Answers:
        """What the model answers: from the training rows, or as a checkpoint says."""
        if said is not None:
            return Classes.of(said)
        assert train is not None
        return Classes.fit(train)

    @classmethod
    def as_picture(cls, array: np.ndarray, config: TrainConfig) -> np.ndarray:
        """A row of features as (height, width)."""
        return array

    # -- the members of a task -----------------------------------------------------------------------------------------

    def figure(self, loss: float) -> tuple[str, float]:
        """The loss under its name."""
        return self.answers.figure, loss

    def describe(self) -> dict[str, Any]:
        """The scaling, the answers, and what was read."""
        return {"scaler": self.scaler.to_json(), **self.answers.describe(), **self.data.said}

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """The answers are as many as the model's outputs, and the scaling has its features."""
        answers, scaler = cls.make_answers(config, described, None), scaler_from_json(described.get("scaler", {}))
        assert scaler.offset is not None
        layers = model["args"].get("layers") or [{}]
        sizes = layers[0].get("args", {}).get("input_size"), layers[-1].get("args", {}).get("out_features")
        if sizes != (len(scaler.offset), answers.outputs):
            raise bad_input("labels", "as many features and answers as the model has", f"others than {sizes}")

    def validate_test(self) -> Validation:
        """Loss and figures over the rows that are scored at last."""
        return self.measure(self.test)

    def notes(self) -> list[str]:
        """How many rows are in each part, and what was said when they were read."""
        train, validation, test = map(len, self.parts)
        counts = f"{train:,} {self.noun} to train on, {validation:,} to validate on, {test:,} to score at last"
        return [counts, *self.data.notes]

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Scores on the test part beside a baseline, and pictures."""
        if not finished:
            return {}
        outputs = predict_rows(self.model, self.test.rows)
        return self.scored(outputs) | self.draw(directory, outputs)

    def scored(self, outputs: Any) -> dict[str, Any]:
        """The scores of the model's outputs for the test part."""
        words = f"{len(self.parts.test):,} {self.noun} that were held out"
        targets = self.test.targets.by_row if self.test.targets.labels is None else self.test.targets.labels
        found = scores_of(self.config, self.answers, outputs, targets, words, self.baseline())
        return found | {"notes": list(self.data.notes)}

    def baseline(self) -> dict[str, dict[str, float]]:
        """The score of the nearest mean on the test part; nothing where the answers are no classes."""
        if not isinstance(self.answers, Classes):
            return {}
        arrays = scaled(self.scaler, self.data.arrays)
        train, test = ([arrays[k] for k in part] for part in (self.parts.train, self.parts.test))
        of_train, of_test = self.train.targets.by_row, self.test.targets.by_row
        assert of_train is not None
        assert of_test is not None
        answers = nearest_mean(train, of_train, test)
        return {"nearest mean": class_scores(answers, of_test, self.answers.outputs)}

    def draw(self, directory: Path, outputs: Any) -> dict[str, Any]:
        """The confusion matrix, and the wrong answers of which the model was surest."""
        answers, targets = self.answers, self.test.targets.by_row
        assert isinstance(answers, Classes)
        assert targets is not None
        probabilities = softmax(np.asarray(outputs))
        counts = confusion(targets, probabilities.argmax(axis=1), answers.outputs)
        made = drawn("confusion", draw_confusion, directory / CONFUSION_PICTURE, counts, answers.labels, self.title)
        worst = worst_places(probabilities, targets, MOST)
        captions = [
            f"{answers.labels[targets[k]]} taken for {answers.labels[int(p.argmax())]} ({p.max():.2f})"
            for k, p in ((k, probabilities[k]) for k in worst)
        ]
        made |= self.gallery(directory, worst, captions, f"{self.title}: surest and wrong")
        return {**pictures_of(made), "confusion": counts.tolist(), "labels": list(answers.labels)}

    def gallery(
        self, directory: Path, places: Sequence[int] | np.ndarray, captions: Sequence[str], title: str
    ) -> dict[str, str | None]:
        """The picture of these rows of the test part; none where there are none."""
        if not len(places):
            return {}
        shown = [self.as_picture(self.data.arrays[self.parts.test[k]], self.config) for k in places]
        values = shown, captions, title, self.upward
        return drawn("worst", draw_gallery, directory / WORST_PICTURE, *values)

    # -- a trained model -----------------------------------------------------------------------------------------------

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """Scores on the test part of the run's own data, or on all of another source."""
        said = checkpoint.meta["task"]
        if not sources:
            job = restored(cls, checkpoint, config, backend, cls.noun)
            return job.scored(predict_rows(job.model, job.test.rows))
        data = cls.read(one_source(sources), config, said)
        answers = cls.make_answers(config, said, None)
        arrays = scaled(scaler_from_json(said["scaler"]), data.arrays, data.rows.source)
        targets = answers.targets(data.rows, arrays)
        outputs = predict_rows(load_model(checkpoint, backend), read_rows("data", arrays))
        found = scores_of(config, answers, outputs, targets, f"{len(arrays):,} {cls.noun} of {data.rows.source}", {})
        return found | {"notes": list(data.notes)}

    @classmethod
    def predict(
        cls,
        checkpoint: Checkpoint,
        config: TrainConfig,
        sources: Sequence[str],
        backend: Backend,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The answer for each row of new data."""
        said = checkpoint.meta["task"]
        answers = cls.make_answers(config, said, None)
        data = [cls.read(source, config, said, labelled=False) for source in sources]
        if not data:
            raise bad_input("FILE", f"a file or folder with {cls.noun}", "none", "name one")
        names, arrays = [], []
        for part in data:
            names += part.rows.texts
            arrays += scaled(scaler_from_json(said["scaler"]), part.arrays, part.rows.source)
        outputs = predict_rows(load_model(checkpoint, backend), read_rows("data", arrays))
        found = answers.rows(outputs, beam_of(config, asked))
        rows = [{"file": name, **row} for name, row in zip(names, found, strict=True)]
        return {"rows": rows, "notes": [note for part in data for note in part.notes]}


def scaler_of(described: Mapping[str, Any] | None, train: Sequence[np.ndarray]) -> Scaler:
    """The scaling that a checkpoint has kept, or one measured on the training rows."""
    if described is not None:
        return scaler_from_json(described["scaler"])
    return ZScoreScaler().fit(np.concatenate(train).astype(np.float64))


def scaled(scaler: Scaler, arrays: Sequence[np.ndarray], source: str = "data") -> list[np.ndarray]:
    """The arrays (t, D) as the model takes them, float32."""
    assert scaler.offset is not None
    width = arrays[0].shape[1]
    if width != len(scaler.offset):
        got = f"{width} numbers in a step"
        raise bad_data(source, f"{len(scaler.offset)} numbers in a step, as in training", got, "give data of that size")
    return [scaler.transform(array.astype(np.float64)).astype(np.float32) for array in arrays]


def joined(arrays: list[np.ndarray]) -> Any:
    """One array (N, T, D) of rows of one length; else the list."""
    return np.stack(arrays) if len({len(array) for array in arrays}) == 1 else arrays


def scores_of(
    config: TrainConfig, answers: Answers, outputs: Any, targets: Any, words: str, baseline: Mapping[str, Any]
) -> dict[str, Any]:
    """The scores of outputs beside a baseline, in the form of `TaskKind.results`."""
    beam = config.own.get("beam", 1)
    scores = answers.scores(config.cell.upper(), outputs, targets, beam)
    (model, own), *others = scores.items()
    scores = {model: own, **baseline, **dict(others)}
    return {"scores": scores, "held_out": words, "verdict": verdict(scores, answers.better)}


def verdict(scores: Mapping[str, Mapping[str, float]], figure: str) -> str:
    """Whether the first of the scores beats the second, in a sentence."""
    (model, own), (baseline, its) = list(scores.items())[:2]
    higher = figure == "accuracy"
    words = f"{100 * own[figure]:.1f} % {figure}, {baseline} {100 * its[figure]:.1f} %"
    if own[figure] != its[figure] and (own[figure] > its[figure]) == higher:
        return f"{model} is better than the baseline: {words}."
    return f"{model} is no better than the baseline: {words}; train longer, or give more data."


def pictures_of(made: Mapping[str, str | None]) -> dict[str, Any]:
    """The files that were drawn, and why one was not."""
    files = {name: path for name, path in made.items() if name != "not_drawn" and path}
    return {"pictures": files} | ({"not_drawn": made["not_drawn"]} if "not_drawn" in made else {})


def beam_of(config: TrainConfig, asked: Mapping[str, Any]) -> int:
    """How many beginnings the search keeps."""
    beam: int = asked.get("beam", config.own.get("beam", 1))
    if beam < 1:
        raise bad_input("--beam", "an integer >= 1", str(beam))
    return beam
