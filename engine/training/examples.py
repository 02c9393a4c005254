"""Training on rows in memory: the task of `engine.fit`, and the base of tasks whose data are rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.checks import describe, instance, integer, number, switch
from engine.data import bucket_by_length, shuffled_order
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.plain_arrays import dtype_in_words, first_place, numbers
from engine.training.evaluation import loss_of, measure
from engine.training.figures import check_metrics
from engine.training.objectives import LABELS, Objective, make_objective
from engine.training.rows import Rows, read_rows, require_finite
from engine.training.targets import Targets, read_targets
from engine.training.task import Batch, Validation, fingerprint


class Examples:
    """Rows with their targets, checked against a model and its loss.

    Parameters
    ----------
    model, loss : what will be trained, and on what.
    x : array (N, T, D) or ids (N, T), the rows first; or a list of arrays (t, D) or (t,).
    y : targets: (N,), (N, K) one for each row; (N, T), (N, T, K) or a list of arrays one for each step.
    lengths : (N,) valid steps of each row of an array.
    mask : (N,) or (N, T) for targets of rows or of steps: which count, or how much.
    weights : (N,) a weight for each row; or a dict from classes to weights.
    names : of x and y, for messages.

    Attributes
    ----------
    rows, targets : `Rows` and `Targets`.
    """

    def __init__(
        self,
        model: Layer,
        loss: Objective,
        x: Any,
        y: Any,
        *,
        lengths: Any = None,
        mask: Any = None,
        weights: Any = None,
        names: tuple[str, str] = ("x", "y"),
    ) -> None:
        self.model, self.objective = model, loss
        self.rows = x if isinstance(x, Rows) else read_rows(names[0], x, lengths)
        if not self.rows.ids:
            require_finite(names[0], self.rows, model.dtype)
        mask = None if mask is None else _read_mask(mask, self.rows)
        if mask is not None and loss.kind != LABELS:
            y = _without_masked(y, mask)
        self.targets: Targets = read_targets(names[1], y, self.rows, loss.kind, self._probe(names[0]), model.dtype)
        if mask is not None and (mask.ndim == 2) != (self.targets.by_step is not None):
            expected = "(N, T) for targets of steps" if self.targets.by_step is not None else "(N,) for targets of rows"
            raise bad_input("mask", f"shape {expected}", f"shape {mask.shape}")
        by_class = isinstance(weights, Mapping)
        self.class_weights = _read_class_weights(weights, self.targets) if by_class else None
        row_weights = None if weights is None or by_class else _read_weights(weights, len(self.rows))
        if loss.kind == LABELS and not (mask is None and weights is None):
            raise bad_input("mask" if weights is None else "weights", "None with the loss 'ctc'", "some")
        self.row_weights = row_weights
        self.mask = mask

    def __len__(self) -> int:
        return len(self.rows)

    def _probe(self, name: str) -> tuple[int, ...] | None:
        """The shape of the model's output for the first row; None if it is no array."""
        x, lengths = self._input(slice(0, 1))
        try:
            y, _ = self.model.predict(x, None, lengths)
        except Exception as error:
            if str(error).startswith("x: "):
                error.args = (f"{name}{str(error)[1:]}",)
            raise
        shape = getattr(y, "shape", None)
        if shape is None or len(shape) < 2:
            return None
        return (*shape[:-1], int(shape[-1]))

    def _input(self, index: np.ndarray | slice) -> tuple[Any, np.ndarray | None]:
        """The model's input for some rows, and their lengths if they differ."""
        lengths = self.rows.lengths[index]
        steps = int(lengths.max())
        x = self.rows.gather(index, steps, self.model.dtype, self.model.batch_first)
        return (x if self.rows.ids else self.model.backend.asarray(x)), None if (lengths == steps).all() else lengths

    def batch(self, index: np.ndarray | slice) -> Batch:
        """The batch of the rows with these numbers."""
        model = self.model
        x, lengths = self._input(index)
        steps = x.shape[1 if model.batch_first else 0]
        targets: Any = self.targets.gather(index, steps, model.dtype, model.batch_first)
        if self.targets.labels is not None:
            valid = self.rows.lengths[index]
            return Batch(x, (*targets, valid), lengths)
        mask = self._mask(index, steps, lengths, targets)
        on_device = targets.dtype.kind == "f"  # classes are checked on the host
        return Batch(x, model.backend.asarray(targets) if on_device else targets, lengths, mask)

    def _mask(self, index: Any, steps: int, lengths: np.ndarray | None, targets: np.ndarray) -> np.ndarray | None:
        """Which targets of a batch count, or how much, (B,) or in the layout of the steps; None: all alike."""
        first = self.model.batch_first
        found: np.ndarray | None = None
        if self.targets.by_step is not None and lengths is not None:
            found = np.arange(steps) < lengths[:, None]  # (B, T)
        if self.mask is not None:
            given = self.mask[index] if self.mask.ndim == 1 else self.mask[index, :steps]
            found = given if found is None else found * given
        if self.row_weights is not None:
            weights = self.row_weights[index]
            if self.targets.by_step is not None:
                weights = np.broadcast_to(weights[:, None], (len(weights), steps))
            found = weights if found is None else found * weights
        if found is not None and found.ndim == 2 and not first:
            found = found.T
        if self.class_weights is not None:
            of_class = self.class_weights[targets]
            found = of_class if found is None else found * of_class
        if found is None:
            return None
        return np.ascontiguousarray(found, bool if found.dtype.kind == "b" else self.model.dtype)

    def parts(self) -> list[np.ndarray]:
        """All arrays of the data, for a fingerprint."""
        extra = (self.rows.lengths, self.mask, self.row_weights, self.class_weights)
        return [*self.rows.parts(), *self.targets.parts(), *(a for a in extra if a is not None)]


class ExamplesTask:
    """Rows in memory as a task of the trainer; see `engine.training.task.Task`.

    A batch depends on the number of its step and on nothing else: a resumed run goes on with the batches that it would
    have seen.

    Parameters
    ----------
    model : what is trained.
    train, validation : `Examples` of that model; validation may be None, then nothing can be validated.
    loss : a name (``"mse"``, ``"cross_entropy"``, ``"ctc"``), a function ``(outputs, targets) -> (loss, gradient)``
        that takes a mask as third where there is one, or an `Objective`.  Integer targets come to it on the host,
        others on the device.
    metrics : names (``"accuracy"``, ``"f1"``, ``"perplexity"``, ``"mae"``, ``"rmse"``, ``"edit_distance"``) or
        functions ``(outputs, targets) -> float`` of all valid positions; measured beside the loss in validations.
    batch_size : rows of a batch; the last one of an epoch may have fewer.
    shuffle : another order of the rows in each epoch.
    stateful : row i of a batch goes on from the state that row i of the batch before left; each epoch starts from
        zeros, the rows keep their order, and their number must be a multiple of `batch_size`.
    buckets : with a width > 0, batches hold rows of similar length: lengths that need equally many blocks of that many
        steps count as equal.
    seed : of the orders.
    unit, position, title : for pictures and progress.
    """

    def __init__(
        self,
        model: Layer,
        train: Examples,
        validation: Examples | None = None,
        *,
        loss: Any = "cross_entropy",
        metrics: Any = (),
        batch_size: int = 32,
        shuffle: bool = True,
        stateful: bool = False,
        buckets: int = 0,
        seed: int = 0,
        unit: str = "loss",
        position: str = "",
        title: str = "",
    ) -> None:
        self.model: Any = instance("model", model, Layer, "a layer or Sequential of engine")
        self.objective = make_objective(loss)
        self.metrics = check_metrics(metrics)
        self.train, self.validation = train, validation
        self.batch_size = integer("batch_size", batch_size, 1)
        self.stateful, self.buckets = switch("stateful", stateful), integer("buckets", buckets, 0)
        self.shuffle = switch("shuffle", shuffle) and not self.stateful
        self.seed = integer("seed", seed, 0)
        if self.stateful and self.buckets:
            raise bad_input("buckets", "0 for stateful rows, which keep their order", describe(buckets))
        self.batches = -(-len(train) // self.batch_size)
        for name, part in (("x", train), ("validation", validation)):
            if self.stateful and part is not None:
                require_whole_batches(name, len(part), self.batch_size)
        steps = train.targets.by_step is not None
        self.unit, self.position = unit, position or ("steps" if steps else "rows")
        self.title = title or f"{type(model).__name__} on {len(train):,} rows"
        self._epoch: tuple[int, list[np.ndarray]] = (-1, [])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all rows and targets."""
        return fingerprint(*(np.ascontiguousarray(part) for part in self.train.parts()))

    def batch(self, step: int) -> Batch:
        """The rows of `step`."""
        epoch, number = divmod(step, self.batches)
        if not self.shuffle and not self.buckets:
            return self.train.batch(slice(number * self.batch_size, (number + 1) * self.batch_size))
        return self.train.batch(self.order(epoch)[number])

    def order(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch: a function of the seed and the epoch alone."""
        if self._epoch[0] != epoch:
            size = self.batch_size
            if self.buckets:
                seed = self.seed if self.shuffle else None
                options: dict[str, Any] = {"bucket_width": self.buckets, "seed": seed, "epoch": epoch}
                batches = bucket_by_length(self.train.rows.lengths, size, **options)
            else:
                order = shuffled_order(len(self.train), self.seed, epoch)
                batches = [order[start : start + size] for start in range(0, len(order), size)]
            self._epoch = epoch, batches
        return self._epoch[1]

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """The loss of the outputs that have a target, its gradient by the whole output, and the number of targets."""
        return loss_of(self.objective, self.model, y, batch, self.train.targets.by_row is not None)

    def carried(self, step: int, state: Any) -> Any:
        """The state of the batch before, if rows are stateful and an epoch does not just begin."""
        return state if self.stateful and step % self.batches else None

    def validate(self) -> Validation:
        """Loss and metrics over the validation rows."""
        if self.validation is None:
            raise bad_input("validation", "rows to validate on", "None")
        return self.measure(self.validation)

    def measure(self, examples: Examples) -> Validation:
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


def _read_mask(given: Any, rows: Rows) -> np.ndarray:
    """A mask (N,) of rows or (N, T) of steps: bool, or weights >= 0."""
    mask = numbers("mask", given)
    if mask.dtype.kind not in "biuf":
        raise bad_type("mask", "True and False, or weights >= 0", dtype_in_words(mask.dtype))
    if mask.shape not in ((len(rows),), (len(rows), rows.width)):
        expected = f"shape ({len(rows)},) or ({len(rows)}, {rows.width}), as the rows and steps of x"
        raise bad_input("mask", expected, f"shape {mask.shape}")
    _require_weights("mask", mask)
    return mask.astype(bool) if mask.dtype.kind in "iu" and mask.max(initial=0) <= 1 else mask


def _read_weights(given: Any, rows: int) -> np.ndarray:
    weights = numbers("weights", given)
    if weights.dtype.kind not in "biuf":
        raise bad_type("weights", "numbers >= 0, or a dict from classes to them", dtype_in_words(weights.dtype))
    if weights.shape != (rows,):
        raise bad_input("weights", f"one for each of the {rows} rows, or a dict of classes", f"shape {weights.shape}")
    _require_weights("weights", weights)
    return weights.astype(np.float64)


def _read_class_weights(given: Mapping[Any, Any], targets: Targets) -> np.ndarray:
    """The weight of each class; 1 of a class that is not named."""
    labels = targets.classes()
    if not labels.size:
        raise bad_input("weights", "one number for each row, for targets that are no classes", "a dict")
    found = np.ones(int(labels.max()) + 1)
    for label, weight in given.items():
        place = integer("weights", label, 0, "its names are classes, its values their weights")
        value = number(f"weights[{place}]", weight)
        if place < len(found):
            found[place] = value
    if not found[labels].any():
        raise bad_input("weights", "some class with a weight above 0", "zeros alone")
    return found


def _require_weights(name: str, values: np.ndarray) -> None:
    wrong = ~((values >= 0) & np.isfinite(values))
    if wrong.any():
        at = first_place(wrong)
        raise bad_input(name, "finite weights >= 0", f"{values[at]} at index {list(at)}")
    if not values.any():
        raise bad_input(name, "some value above 0", "zeros alone")


def _without_masked(y: Any, mask: np.ndarray) -> Any:
    """Targets with 0 in place of those that do not count: nobody looks at them, whatever they hold."""
    if isinstance(y, list | tuple) or mask.all():
        return y
    data = numbers("y", y)
    if data.dtype.kind not in "fiub" or data.shape[: mask.ndim] != mask.shape:
        return y
    counts = (mask != 0).reshape(mask.shape + (1,) * (data.ndim - mask.ndim))
    return np.where(counts, data, np.zeros((), data.dtype))
