"""The task ``rows``: tell the class of an image that is read row by row, as a sequence.

Each step is a row of pixels.  Recurrent layers read the image from its first row to its last and back, pooling makes
one vector of their outputs, and a linear layer makes a number for each class of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from engine.data.images import DIGITS, EXPECTED, read_images
from engine.data.parting import RowParts, three_parts
from engine.layers.pooling import KINDS
from engine.tasks.arrays import WORST_PICTURE, ArrayData, ArrayTask
from engine.tasks.class_answers import CONFUSION_PICTURE
from engine.training.config import LAYERS, TrainConfig
from engine.training.kinds import Option
from engine.training.rules import choice, switch


class RowReader(ArrayTask):
    """Tell the class of an image by its rows; see `engine.tasks.arrays.ArrayTask`."""

    name, words = "rows", "tell the class of an image that is read row by row"
    shared = LAYERS | {"data", "test"}
    reads = f"{EXPECTED}, or 'digits'"
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 20,
        "cell": "gru",
        "hidden": 48,
        "batch": 32,
        "lr": 5e-3,
        "report_every": 25,
    }
    own = (
        Option("pool", choice(*KINDS), "last", f"How an image becomes one vector: {', '.join(KINDS)}."),
        Option("one_way", switch(), False, "Read from the first row to the last alone."),
    )
    pictures = (CONFUSION_PICTURE, WORST_PICTURE)
    noun, bundled = "images", frozenset({DIGITS})

    @classmethod
    def read(cls, source: str, config: TrainConfig, said: Mapping[str, Any] | None, labelled: bool = True) -> ArrayData:
        """Each image (H, W) as a sequence of H rows."""
        found = read_images(source, labelled=labelled)
        return ArrayData(found.rows(), list(found.pixels))

    @classmethod
    def split(cls, config: TrainConfig, data: ArrayData) -> RowParts:
        """By a seed."""
        return three_parts(data.rows, config.validation, config.test, config.seed)
