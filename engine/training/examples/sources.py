"""Training on batches that someone else makes: a source of the user's own in place of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from engine.checks import describe
from engine.data import ContiguousBatches, shuffled_order
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.training.examples.evaluation import Measured
from engine.training.examples.example_set import Examples
from engine.training.examples.examples_task import ExamplesTask
from engine.training.examples.head_examples import HeadExamples
from engine.training.examples.head_losses import HeadLosses
from engine.training.examples.objectives import Objective
from engine.training.task import Batch, fingerprint

_EXPECTED = "batches (x, y), (x, y, lengths) or (x, y, lengths, mask), the rows first"


def is_source(x: Any) -> bool:
    """Whether something gives batches instead of being data: no array and no list of rows."""
    if isinstance(x, ContiguousBatches):
        return True
    if isinstance(x, list | tuple):
        return bool(x) and all(isinstance(item, tuple) and 2 <= len(item) <= 4 for item in x)
    if hasattr(x, "shape") or hasattr(x, "dtype") or isinstance(x, str | bytes | Mapping):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def make_examples(model: Layer, objective: Objective | HeadLosses, x: Any, y: Any, **options: Any) -> Any:
    """Rows with their targets: `Examples`, or `HeadExamples` where loss or targets are given by head."""
    if isinstance(objective, HeadLosses) or isinstance(y, Mapping):
        return HeadExamples(model, objective, x, y, **options)
    return Examples(model, objective, x, y, **options)


class Source:
    """Batches of a source, checked one by one as they come.

    Parameters
    ----------
    model, objective : what will be trained, and on what.
    given : an object with ``len(given)`` and ``given[k]``; or one with ``len(given)`` that can be iterated again and
        again, always in the same order.  Its items are what `_EXPECTED` says.
    name : of the argument, for messages.
    """

    def __init__(self, model: Layer, objective: Objective | HeadLosses, given: Any, name: str = "x") -> None:
        self.model, self.objective, self.given, self.name = model, objective, given, name
        if not hasattr(given, "__len__"):
            hint = "give a list of batches, or an object with len() and [k]"
            got = "one that can be read once" if iter(given) is given else "one without len()"
            raise bad_type(name, "a source of batches that has a length, so that training can be resumed", got, hint)
        self.count = len(given)
        if not self.count:
            raise bad_input(name, "a source of at least one batch", "an empty one")
        self._indexed = hasattr(given, "__getitem__") or isinstance(given, ContiguousBatches)
        self._reading: tuple[int, Iterator[Any]] = (self.count, iter(()))  # to begin anew
        self.output: Any = None
        first = self.examples(0)
        self.output, self.by_row = first.output, first.by_row

    def item(self, number: int) -> Any:
        """The batch of that number, as the source gives it."""
        if isinstance(self.given, ContiguousBatches):
            inputs, targets = self.given.batch(number)
            return inputs.T, targets.T
        if self._indexed:
            return self.given[number]
        place, reading = self._reading
        if number <= place:
            place, reading = -1, iter(self.given)
        for place in range(place + 1, number + 1):  # noqa: B020 - it goes on from where the reading stands
            try:
                found = next(reading)
            except StopIteration:
                expected = f"{self.count} batches in every pass, as its len() says"
                raise bad_input(self.name, expected, f"{place}") from None
        self._reading = number, reading
        return found

    def examples(self, number: int) -> Any:
        """The rows of that batch."""
        item = self.item(number)
        if not isinstance(item, tuple | list) or not 2 <= len(item) <= 4:
            got = f"{describe(item)} as batch {number}"
            raise bad_type(self.name, _EXPECTED, got, "return a tuple")
        x, y, lengths, mask = [*item, None, None][:4]
        names = (f"x of batch {number}", f"y of batch {number}")
        options: dict[str, Any] = {"lengths": lengths, "mask": mask, "names": names, "output": self.output}
        return make_examples(self.model, self.objective, x, y, **options)

    def batch(self, number: int) -> Batch:
        """The batch of that number, as model and loss take it."""
        return self.examples(number).batch(slice(None))

    def in_batches(self, size: int, stateful: bool) -> Iterator[Batch]:
        """All batches in their order."""
        return map(self.batch, range(self.count))


class SourceTask(ExamplesTask):
    """Batches of a source as a task of the trainer.

    Parameters
    ----------
    model, train, validation : a `Source`, and rows or another source to validate on.
    options : of `ExamplesTask`; with ``shuffle`` the batches come in another order in each epoch.
    """

    def __init__(self, model: Layer, train: Source, validation: Measured | None = None, **options: Any) -> None:
        first = train.examples(0)
        super().__init__(model, first, validation, **{**options, "batch_size": len(first)})
        self.source, self.batches = train, train.count
        self.title = f"{type(model).__name__} on {train.count:,} batches"

    @property
    def fingerprint(self) -> str:
        """A hash of the first batch and the number of batches: a source may be too large to read it all."""
        return fingerprint(str(self.batches), *map(np.ascontiguousarray, self.source.examples(0).parts()))

    def packing(self, start: int, stop: int) -> None:
        """Not known: batches of a source are looked at one by one."""

    def batch(self, step: int) -> Batch:
        """The batch of `step`."""
        epoch, number = divmod(step, self.batches)
        if self.shuffle:
            number = int(shuffled_order(self.batches, self.seed, epoch)[number])
        return self.source.batch(number)
