"""Which rows of a batch a rank trains on, and what its part of the loss weighs in the whole.

Rank r of n takes the rows from B*r//n up to B*(r+1)//n, so that neighbours differ by one row at most.  The loss is a
mean over valid positions.  With w_r the weight of those in the rank's rows, and W that of the whole batch,

    L = sum over r of (w_r / W) L_r     ->     dL/dy of the rank's rows = (w_r / W) dL_r/dy

so that the sum of all ranks' gradients is the gradient of the whole batch, whatever the rows' lengths and masks are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.training.examples.evaluation import count_of, loss_of
from engine.training.examples.head_losses import HeadLosses, of_head
from engine.training.task import Batch, Task, Validation


class Part(NamedTuple):
    """The rows of one rank.

    Attributes
    ----------
    start, stop : from which row of the batch up to which one.
    empty : whether there are fewer rows than ranks and this rank has none: then it computes one row of another rank,
        with the weight 0, so that its masks and states go on as everybody's.
    """

    start: int
    stop: int
    empty: bool

    @property
    def rows(self) -> slice:
        """As an index."""
        return slice(self.start, self.stop)


def part_of(rows: int, rank: int, size: int) -> Part:
    """The rows of a rank."""
    start, stop = rows * rank // size, rows * (rank + 1) // size
    if start < stop:
        return Part(start, stop, False)
    start = min(start, rows - 1)
    return Part(start, start + 1, True)


def rows_of(batch: Batch, batch_first: bool) -> int:
    """How many rows a batch has."""
    shapes = [one.shape for one in batch.x] if isinstance(batch.x, tuple) else [batch.x.shape]
    return int(shapes[0][0 if batch_first else 1])


def cut(batch: Batch, part: Part, batch_first: bool, by_row: Any) -> Batch:
    """The rows of one part of a batch, without the steps that none of them has.

    Parameters
    ----------
    by_row : whether targets are one a row; with several heads a dict.
    """
    axis = 0 if batch_first else 1

    def rows(array: Any, axis: int) -> Any:
        return array[part.rows] if axis == 0 else array[:, part.rows]

    def answers(values: Any, single: Any) -> Any:
        if values is None:
            return None
        if isinstance(values, Mapping):
            return {head: answers(value, single[head]) for head, value in values.items()}
        if isinstance(values, tuple):  # labels of CTC: the labels, their number, the steps of each row
            return tuple(value[part.rows] for value in values)
        return rows(values, 0 if single or values.ndim < 2 else axis)

    lengths = None if batch.lengths is None else np.asarray(batch.lengths)[part.rows]
    x: Any = tuple(rows(one, axis) for one in batch.x) if isinstance(batch.x, tuple) else rows(batch.x, axis)
    targets, mask = answers(batch.targets, by_row), answers(batch.mask, by_row)
    if lengths is None or isinstance(batch.x, tuple):
        return batch._replace(x=_whole(x), targets=_whole(targets), lengths=lengths, mask=_whole(mask))
    steps, all_steps = max(1, int(lengths.max())), x.shape[1 - axis]

    def short(values: Any, single: Any) -> Any:
        if isinstance(values, Mapping):
            return {head: short(value, single[head]) for head, value in values.items()}
        if values is None or isinstance(values, tuple) or single or values.ndim < 2 or values.shape[1 - axis] < steps:
            return values
        return values[:, :steps] if axis == 0 else values[:steps]

    if steps < all_steps:
        x, targets, mask = short(x, False), short(targets, by_row), short(mask, by_row)
    lengths = None if (lengths == steps).all() else lengths
    return batch._replace(x=_whole(x), targets=_whole(targets), lengths=lengths, mask=_whole(mask))


def _whole(values: Any) -> Any:
    """The arrays in memory of their own, as layers and losses take them."""
    if isinstance(values, Mapping):
        return {name: _whole(value) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(map(_whole, values))
    return values if values is None else values.copy()


def weight_of(batch: Batch) -> float:
    """What the loss of a batch is divided by: the number of its valid positions, or the sum of their weights."""
    if isinstance(batch.targets, tuple):
        return float(len(batch.targets[1]))
    return float(count_of(batch) if batch.mask is None else np.sum(batch.mask, dtype=np.float64))


class Shard:
    """A task with one rank's rows of each batch; everything else is the task's own.

    Parameters
    ----------
    task : of the whole batches.
    rank, size : whose rows.
    """

    def __init__(self, task: Any, rank: int, size: int) -> None:
        self.task, self.rank, self.size = task, rank, size
        self.first_row = task.model.row_offset
        #: Of the last batch: what each loss weighs in the whole; a dict by head of several.
        self.share: Any = 1.0
        self.empty = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    @property
    def _by_row(self) -> Any:
        train = getattr(self.task, "train", None)
        return getattr(train, "by_row", getattr(self.task, "by_row", False))

    def batch(self, step: int) -> Batch:
        """The rank's rows of the batch of `step`; the model draws the masks of these rows from now on."""
        whole: Batch = self.task.batch(step)
        model = self.task.model
        part = part_of(rows_of(whole, model.batch_first), self.rank, self.size)
        own = cut(whole, part, model.batch_first, self._by_row)
        model.row_offset, self.empty = self.first_row + part.start, part.empty
        self.share = self._shares(own, whole)
        return own

    def _shares(self, own: Batch, whole: Batch) -> Any:
        """What the losses of the rank's rows weigh in those of the batch."""
        if isinstance(whole.targets, Mapping):
            return {head: self._share(of_head(own, head), of_head(whole, head)) for head in whole.targets}
        return self._share(own, whole)

    def _share(self, own: Batch, whole: Batch) -> float:
        weigh = getattr(self.task, "weight", weight_of)
        total = weigh(whole)
        return 0.0 if self.empty or not total else weigh(own) / total

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """The rank's part of the loss, the gradient of the whole loss by its outputs, and its valid positions."""
        if isinstance(self.share, Mapping):
            return self._loss_of_heads(y, batch)
        if not self.share:  # no valid position: 0/0 for some losses
            xp = self.task.model.backend.xp
            return xp.zeros((), dtype=self.task.model.dtype), xp.zeros_like(y), 0
        loss, dy, positions = self.task.loss(y, batch)
        if self.share != 1.0:
            loss = self.task.model.backend.xp.asarray(loss * self.share)  # NumPy makes a scalar of a 0-d array
            dy = dy * self.share
        return loss, dy, positions

    def _loss_of_heads(self, y: Mapping[str, Any], batch: Batch) -> tuple[Any, Any, int]:
        """The same for several heads, each with its own share: L = sum over heads of weight * L_head."""
        model = self.task.model
        heads = self.task.objective.heads
        some = {head: (one, weight * self.share[head]) for head, (one, weight) in heads.items() if self.share[head]}
        rows = 0 if self.empty else rows_of(batch, model.batch_first)
        dy = {head: model.backend.xp.zeros_like(y[head]) for head in heads}
        if not some:
            return model.backend.xp.zeros((), dtype=model.dtype), dy, rows
        loss, found, _ = loss_of(HeadLosses(some), model, y, batch, self.task.train.by_row)
        return loss, {**dy, **found}, rows

    def carried(self, step: int, state: Any) -> Any:
        """The rank's rows of the state that the batch of `step` starts from."""
        return self.task.carried(step, state)

    def validate(self) -> Validation:
        """All validation rows."""
        found: Validation = self.task.validate()
        return found


__all__ = ["Part", "Shard", "Task", "cut", "part_of", "rows_of", "weight_of"]
