"""Training on rows in memory: the task of `engine.fit`, and the base of tasks whose data are rows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from engine.checks import describe, instance, integer, switch
from engine.data import BatchSampler, Packing
from engine.data.buckets import read_buckets
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.training.examples.evaluation import Measured, loss_of, measure
from engine.training.examples.example_set import Examples, ExampleSet
from engine.training.examples.head_losses import read_loss, read_metrics
from engine.training.task import Batch, Validation, fingerprint


class ExamplesTask:
    """Rows in memory as a task of the trainer; see `engine.training.task.Task`.

    A batch depends on the number of its step and on nothing else: a resumed run goes on with the batches that it would
    have seen.

    Parameters
    ----------
    model : what is trained.
    train, validation : `Examples` or `HeadExamples` of that model; without validation nothing can be validated.
    loss : a name (``"mse"``, ``"cross_entropy"``, ``"ctc"``), a function ``(outputs, targets) -> (loss, gradient)``
        that takes a mask as third where there is one, or an `Objective`; `HeadLosses` for `HeadExamples`.  Integer
        targets come to it on the host, others on the device.
    metrics : names (``"accuracy"``, ``"f1"``, ``"perplexity"``, ``"mae"``, ``"rmse"``, ``"edit_distance"``) or
        functions ``(outputs, targets) -> float`` of all valid positions; measured beside the loss in validations.
    batch_size : rows of a batch; the last one of an epoch may have fewer.
    shuffle : another order of the rows in each epoch.
    stateful : row i of a batch goes on from the state that row i of the batch before left; each epoch starts from
        zeros, the rows keep their order, and their number must be a multiple of `batch_size`.
    buckets : with a width > 0, batches hold rows of similar length: lengths that need equally many blocks of that many
        steps count as equal; or `engine.data.Buckets`.
    seed : of the orders.
    unit, position, title : for pictures and progress.

    Attributes
    ----------
    sampler : which rows each batch holds, a `BatchSampler`.
    """

    def __init__(
        self,
        model: Layer,
        train: Any,
        validation: Measured | None = None,
        *,
        loss: Any = "cross_entropy",
        metrics: Any = (),
        batch_size: int = 32,
        shuffle: bool = True,
        stateful: bool = False,
        buckets: Any = 0,
        seed: int = 0,
        unit: str = "loss",
        position: str = "",
        title: str = "",
    ) -> None:
        self.model: Any = instance("model", model, Layer, "a layer or Sequential of engine")
        self.objective: Any = read_loss(loss)
        self.metrics = read_metrics(self.objective, metrics)
        self.train = train
        self.validation: Any = validation
        self.batch_size = integer("batch_size", batch_size, 1)
        self.stateful, found = switch("stateful", stateful), read_buckets("buckets", buckets or 0)
        self.shuffle = switch("shuffle", shuffle) and not self.stateful
        self.seed = integer("seed", seed, 0)
        if self.stateful and found:
            raise bad_input("buckets", "0 for stateful rows, which keep their order", describe(buckets))
        self.sampler = BatchSampler(train.lengths, self.batch_size, found, seed=self.seed, shuffle=self.shuffle)
        self.batches = len(self.sampler)
        for name, part in (("x", train), ("validation", validation)):
            if self.stateful and isinstance(part, ExampleSet):
                require_whole_batches(name, len(part), self.batch_size)
        self.unit, self.position = unit, position or train.position
        self.title = title or f"{type(model).__name__} on {len(train):,} rows"

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all rows and targets."""
        return fingerprint(*(np.ascontiguousarray(part) for part in self.train.parts()))

    def batch(self, step: int) -> Batch:
        """The rows of `step`."""
        if self.sampler.in_order:  # a part of an array, which is not gathered row by row
            number = step % self.batches
            return self.train.batch(slice(number * self.batch_size, (number + 1) * self.batch_size))
        return self.train.batch(self.sampler.rows(step))

    def order(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch: a function of the seed and the epoch alone."""
        return self.sampler.epoch(epoch)

    def packing(self, start: int, stop: int) -> Packing | None:
        """How full the batches of steps ``start .. stop - 1`` are; None if there are no pads, as rows are alike."""
        return self.sampler.packing(start, stop) if self.sampler.uneven else None

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """The loss of the outputs that have a target, its gradient by the whole output, and the number of targets."""
        return loss_of(self.objective, self.model, y, batch, self.train.by_row)

    def carried(self, step: int, state: Any) -> Any:
        """The state of the batch before, if rows are stateful and an epoch does not just begin."""
        return state if self.stateful and step % self.batches else None

    def validate(self) -> Validation:
        """Loss and metrics over the validation rows."""
        if self.validation is None:
            raise bad_input("validation", "rows to validate on", "None")
        return self.measure(self.validation)

    def measure(self, examples: Measured) -> Validation:
        """Loss and metrics over all of `examples`, without dropout."""
        return measure(self.model, self.objective, examples, self.metrics, self.batch_size, self.stateful)

    def figure(self, loss: float) -> tuple[str, float]:
        """The loss itself."""
        return "loss", loss

    def describe(self) -> dict[str, Any]:
        """Nothing but the weights is needed to use the model."""
        return {}


def require_whole_batches(name: str, rows: int, batch_size: int) -> None:
    """Raise unless stateful rows fill all batches: each row of a batch goes on with the same row of the next."""
    if rows % batch_size:
        hint = f"leave {rows % batch_size} rows out, or take a batch_size that divides {rows}"
        raise bad_input(name, f"a multiple of batch_size {batch_size} as rows, for stateful=True", f"{rows} rows", hint)


__all__ = ["Examples", "ExamplesTask", "require_whole_batches"]
