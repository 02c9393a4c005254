"""The task ``speech``: tell what was said in a recording, one of several words or, by CTC, a text letter by letter.

A recording becomes log-mel frames, three of which are a step (`engine.data.speech`).  Recurrent layers read the steps
forwards and backwards.  For a word, pooling over time makes one vector of their outputs; for a text, each step gets a
letter or the blank.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.data.labelled import LabelledTexts
from engine.data.log_mel import HOP_S
from engine.data.parting import RowParts, three_parts
from engine.data.recordings import read_recordings
from engine.data.speech import RANGE_DB, TRIM_DB, speech_frames, stacked
from engine.errors import bad_input
from engine.layers.pooling import POOL_KINDS
from engine.tasks.answers import Answers, Letters
from engine.tasks.arrays import WORST_PICTURE, ArrayData, ArrayTask, pictures_of
from engine.tasks.class_answers import CONFUSION_PICTURE
from engine.tasks.galleries import MOST, draw_spectrogram
from engine.training.config import LAYERS, PACKING, TrainConfig
from engine.training.examples.figures import edit_distance
from engine.training.kinds import Option
from engine.training.plots import drawn
from engine.training.rules import choice, switch, text, whole

CLASS, CHARACTERS = "class", "characters"
#: Batches hold recordings of similar length: those that need equally many blocks of so many steps count as equal.
BUCKET = 6
SPECTROGRAM = "spectrogram.png"


class SpeechRecogniser(ArrayTask):
    """Tell what was said; see `engine.tasks.arrays.ArrayTask`."""

    name, words = "speech", "tell what was said in a recording: a word, or a text by CTC"
    shared = LAYERS | PACKING | {"data", "test"}
    reads = "a folder, a zip file or a table (.tsv) of WAV files"
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 12,
        "cell": "gru",
        "hidden": 48,
        "batch": 32,
        "buckets": BUCKET,
        "lr": 5e-3,
        "report_every": 25,
    }
    own = (
        Option("by", choice(CLASS, CHARACTERS), CLASS, "Answer with one of the labels (class), or spell (characters)."),
        Option("hold_out", text(), None, "The test part is all of this speaker. [a part of the recordings]"),
        Option("pool", choice(*POOL_KINDS), "max", f"How a recording becomes one vector: {', '.join(POOL_KINDS)}."),
        Option("stack", whole(1, 100), 3, "Frames of 10 ms that are one step."),
        Option("mels", whole(1, 1000), 20, "Features of a frame."),
        Option("sample_rate", whole(0), 0, "Samples a second of all recordings; 0: that of the first one."),
        Option("convert", switch(), False, "Mix several channels and change other rates, in place of refusing them."),
        Option("beam", whole(1), 8, "Beginnings that the search for a text keeps."),
        Option("one_way", switch(), False, "Read forwards alone."),
    )
    pictures = (CONFUSION_PICTURE, SPECTROGRAM, WORST_PICTURE)
    asks = frozenset({"beam"})
    noun, bucket, upward = "recordings", BUCKET, True

    @classmethod
    def read(cls, source: str, config: TrainConfig, said: Mapping[str, Any] | None, labelled: bool = True) -> ArrayData:
        """Stacked frames of each recording; a trained model takes recordings of its own rate."""
        own = config.own
        rate = said["rate"] if said is not None else own["sample_rate"]
        found = read_recordings(source, rate, convert=own["convert"], labelled=labelled)
        trim = TRIM_DB if own["by"] == CLASS else RANGE_DB  # a text may begin or end with a quiet word
        frames = (speech_frames(sound, found.rate, own["mels"], trim) for sound in found.sounds)
        arrays = [stacked(frame, own["stack"]) for frame in frames]
        return ArrayData(found.rows(), arrays, found.speakers, {"rate": found.rate}, found.notes)

    @classmethod
    def split(cls, config: TrainConfig, data: ArrayData) -> RowParts:
        """By a seed or by a speaker; texts are all different, so that only words have equal shares in each part."""
        rows, hold_out = data.rows, config.own["hold_out"] or ""
        if config.own["by"] == CHARACTERS:
            rows = LabelledTexts(rows.texts, ["a text"] * len(rows), rows.places, rows.source)
        groups = data.groups
        return three_parts(rows, config.validation, config.test, config.seed, groups=groups, hold_out=hold_out)

    @classmethod
    def make_answers(cls, config: TrainConfig, said: Mapping[str, Any] | None, train: LabelledTexts | None) -> Answers:
        """Classes or letters."""
        if config.own["by"] == CLASS:
            return super().make_answers(config, said, train)
        if said is not None:
            return Letters.of(said)
        assert train is not None
        return Letters.fit(train)

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """Beside what every such task needs, the rate."""
        rate = described.get("rate")
        if not isinstance(rate, int) or rate < 1:
            raise bad_input("rate", "samples a second", repr(rate))
        super().check_described(config, described, model)

    @classmethod
    def as_picture(cls, array: np.ndarray, config: TrainConfig) -> np.ndarray:
        """The frames of a recording, low frequencies first."""
        return array.reshape(-1, config.own["mels"]).T

    def draw(self, directory: Path, outputs: Any) -> dict[str, Any]:
        """Of words the confusion matrix, of texts a spectrogram with its letters; and where the model is worst."""
        answers, stack = self.answers, self.config.own["stack"]
        if not isinstance(answers, Letters):
            return super().draw(directory, outputs)
        labels = self.test.targets.labels
        assert labels is not None
        wanted = [answers.text(row.tolist()) for row in labels]
        spelled = [answers.spelled(output) for output in outputs]
        longest = max(range(len(wanted)), key=lambda k: len(wanted[k]))
        frames = self.as_picture(self.data.arrays[self.parts.test[longest]], self.config).T
        letters = [(letter, step * stack + stack // 2) for letter, step in spelled[longest]]
        title = f"said {wanted[longest]!r}, read {''.join(letter for letter, _ in letters)!r}"
        values = frames, HOP_S, letters, title
        made = drawn("spectrogram", draw_spectrogram, directory / SPECTROGRAM, *values)
        read = ["".join(letter for letter, _ in row) for row in spelled]
        edits = np.array([edit_distance(a, b) for a, b in zip(read, wanted, strict=True)])
        worst = [int(k) for k in np.argsort(-edits, kind="stable")[:MOST] if edits[k]]
        captions = [f"{wanted[k]} read as {read[k]}" for k in worst]
        return pictures_of(made | self.gallery(directory, worst, captions, f"{self.title}: most errors"))
