"""The task ``rows``: tell the class of an image that is read row by row, as a sequence.

Each step is a row of pixels.  Recurrent layers read the image from its first row to its last and back, pooling makes
one vector of their outputs, and a linear layer makes a number for each class of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from engine.checks import describe
from engine.data.data_checks import bad_data
from engine.data.images import DIGITS, EXPECTED, read_images
from engine.data.parting import RowParts, three_parts
from engine.errors import bad_input
from engine.layers.pooling import POOL_KINDS
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
        Option("pool", choice(*POOL_KINDS), "last", f"How an image becomes one vector: {', '.join(POOL_KINDS)}."),
        Option("one_way", switch(), False, "Read from the first row to the last alone."),
    )
    pictures = (CONFUSION_PICTURE, WORST_PICTURE)
    noun, bundled = "images", frozenset({DIGITS})

    @classmethod
    def read(cls, source: str, config: TrainConfig, said: Mapping[str, Any] | None, labelled: bool = True) -> ArrayData:
        """Each image (H, W) as a sequence of H rows; of the size that the model was trained on."""
        found = read_images(source, labelled=labelled)
        height, width = found.pixels.shape[1:]
        size = said.get("size") if said else None  # a model of an earlier release does not say it
        if size is not None and size != [height, width]:
            expected = f"images of {size[1]}x{size[0]} (width x height), as in training"
            raise bad_data(found.source, expected, f"{width}x{height}", "scale or crop them to that size")
        return ArrayData(found.rows(), list(found.pixels), said={"size": [height, width]})

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """The size of the images is two numbers, where it is said."""
        super().check_described(config, described, model)
        size = described.get("size", [1, 1])
        if not isinstance(size, list) or [type(number) for number in size] != [int, int]:
            raise bad_input("size", "height and width of the images", describe(size))

    @classmethod
    def split(cls, config: TrainConfig, data: ArrayData) -> RowParts:
        """By a seed."""
        return three_parts(data.rows, config.validation, config.test, config.seed)
