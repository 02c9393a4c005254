"""Rows with their targets, as a model and its loss take them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from engine.checks import integer, number
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.plain_arrays import dtype_in_words, first_place, numbers
from engine.training.examples.objectives import FREE, LABELS, Objective
from engine.training.examples.rows import Rows, read_rows, require_finite
from engine.training.examples.targets import Targets, read_targets
from engine.training.task import Batch

#: At least so many rows are measured at a time: small batches are slow, and no figure depends on their size.
MEASURED = 64
#: The hint where a model with several heads is given targets or a loss for one.
BY_HEAD = 'such as y={"topic": ..., "tag": ...}, loss={"topic": "cross_entropy", "tag": ("cross_entropy", 0.3)}'


class ExampleSet:
    """Rows with something to compare a model's outputs with: what `Examples` and `HeadExamples` share.

    Attributes
    ----------
    model : what will be trained.
    rows : the inputs.
    by_row : whether there is one target for each row.
    index : the numbers of the rows that belong to this part of them; None: all.
    """

    model: Any
    rows: Rows
    by_row: Any
    index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) valid steps of each row."""
        return self.rows.lengths if self.index is None else self.rows.lengths[self.index]

    def part(self, index: np.ndarray) -> Self:
        """Some of the rows, by their numbers; nothing is copied."""
        found = copy.copy(self)
        found.index = index
        return found

    def in_batches(self, size: int, stateful: bool) -> Iterator[Batch]:
        """All rows once: in their order if they are stateful, else by length, in larger batches if they are small."""
        for index in in_order(self.lengths, size if stateful else max(size, MEASURED), stateful):
            yield self.batch(index)

    def parts(self) -> list[np.ndarray]:
        """All arrays of the data, for a fingerprint."""
        raise NotImplementedError

    def batch(self, index: np.ndarray | slice) -> Batch:
        """The batch of the rows with these numbers."""
        if self.index is not None:
            index = self.index[index]
        x, lengths = read_input(self.model, self.rows, index)
        targets, mask = self.answers(index, x.shape[1 if self.model.batch_first else 0], lengths)
        return Batch(x, targets, lengths, mask)

    def answers(self, index: np.ndarray | slice, steps: int, lengths: np.ndarray | None) -> tuple[Any, Any]:
        """Targets and mask of the rows with these numbers.

        Parameters
        ----------
        steps : those of the batch.
        lengths : valid steps of its rows, None if they are all valid.
        """
        raise NotImplementedError


class Examples(ExampleSet):
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
    output : shape of the model's output for one row, if it is known; else a row is tried.
    place : what messages put behind the name of another argument, such as ``"['tag']"``.

    Attributes
    ----------
    rows, targets : `Rows` and `Targets`.
    index : the numbers of the rows that belong to this part of them; None: all.
    by_row : whether there is one target for each row.
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
        output: tuple[int, ...] | None = None,
        place: str = "",
    ) -> None:
        self.model, self.objective = model, loss
        self.rows = x if isinstance(x, Rows) else read_rows(names[0], x, lengths)
        if not self.rows.ids:
            require_finite(names[0], self.rows, model.dtype)
        mask = None if mask is None else _read_mask(f"mask{place}", mask, self.rows)
        if mask is not None and loss.kind != LABELS:
            y = _without_masked(y, mask)
        self.output = output or _one_output(output_shape(model, self.rows, names[0]), loss)
        self.targets: Targets = read_targets(names[1], y, self.rows, loss.kind, self.output, model.dtype)
        self.by_row = self.targets.by_row is not None
        if mask is not None and (mask.ndim == 2) != (self.targets.by_step is not None):
            expected = "(N, T) for targets of steps" if self.targets.by_step is not None else "(N,) for targets of rows"
            raise bad_input(f"mask{place}", f"shape {expected}", f"shape {mask.shape}")
        if loss.kind == LABELS and not (mask is None and weights is None):
            raise bad_input(f"{'mask' if weights is None else 'weights'}{place}", "None with the loss 'ctc'", "some")
        self.class_weights = self.row_weights = None
        if isinstance(weights, Mapping):
            self.class_weights = _read_class_weights(f"weights{place}", weights, self.targets, self.output)
        elif weights is not None:
            self.row_weights = _read_weights(f"weights{place}", weights, len(self.rows))
        self.mask = mask

    @property
    def position(self) -> str:
        """What a target belongs to, in words."""
        return "rows" if self.targets.by_step is None else "steps"

    def answers(self, index: np.ndarray | slice, steps: int, lengths: np.ndarray | None) -> tuple[Any, Any]:
        """See `ExampleSet.answers`."""
        model = self.model
        targets: Any = self.targets.gather(index, steps, model.dtype, model.batch_first)
        if self.targets.labels is not None:
            return (*targets, self.rows.lengths[index]), None
        mask = self._mask(index, steps, lengths, targets)
        on_device = targets.dtype.kind == "f"  # classes are checked on the host
        return _on_device(model, targets) if on_device else targets, mask

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
        """See `ExampleSet.parts`."""
        extra = (self.rows.lengths, self.index, self.mask, self.row_weights, self.class_weights)
        return [*self.rows.parts(), *self.targets.parts(), *(a for a in extra if a is not None)]


def read_input(model: Layer, rows: Rows, index: np.ndarray | slice) -> tuple[Any, np.ndarray | None]:
    """The model's input for some rows, and their lengths if they differ."""
    lengths, steps = None, rows.width
    if rows.ragged:
        lengths = rows.lengths[index]
        steps = int(lengths.max())
    x = rows.gather(index, steps, model.dtype, model.batch_first)
    if lengths is not None and (lengths == steps).all():
        lengths = None
    return (x if rows.ids else _on_device(model, x)), lengths


def _on_device(model: Layer, host: np.ndarray) -> Any:
    """The array on the model's backend: on the host as it is, for nobody else has it."""
    return host if model.backend.is_array(host) else model.backend.asarray(host)


def output_shape(model: Layer, rows: Rows, name: str) -> Any:
    """The shape of the model's output for the first row; a dict of shapes of several heads, None of what is no array.

    Parameters
    ----------
    name : of the rows, for messages.
    """
    x, lengths = read_input(model, rows, slice(0, 1))
    try:
        y, _ = model.predict(x, None, lengths)
    except Exception as error:
        if str(error).startswith("x: "):
            error.args = (f"{name}{str(error)[1:]}",)
        raise
    return {name: _shape(part) for name, part in y.items()} if isinstance(y, Mapping) else _shape(y)


def _shape(y: Any) -> tuple[int, ...] | None:
    shape = getattr(y, "shape", None)
    return None if shape is None or len(shape) < 2 else (*shape[:-1], int(shape[-1]))


def _one_output(found: Any, loss: Objective) -> tuple[int, ...] | None:
    """The shape of the one output; of several heads only a function of the user's makes one loss."""
    if isinstance(found, Mapping) and loss.kind != FREE:
        raise bad_type("loss", f"a dict with the loss of each head {list(found)}", repr(loss.name), BY_HEAD)
    if found is None and loss.kind != FREE:
        raise bad_input("loss", "a function of your own for a model whose output is no array", repr(loss.name))
    return None if isinstance(found, Mapping) else found


def in_order(lengths: np.ndarray, size: int, stateful: bool = False) -> Iterator[np.ndarray | slice]:
    """Row numbers of batches that cover all rows: by length, so that there are few pads, or as they stand."""
    count = len(lengths)
    if stateful or (lengths == lengths[0]).all():
        yield from (slice(start, start + size) for start in range(0, count, size))
        return
    order = np.argsort(lengths, kind="stable")
    yield from (order[start : start + size] for start in range(0, count, size))


def _read_mask(name: str, given: Any, rows: Rows) -> np.ndarray:
    """A mask (N,) of rows or (N, T) of steps: bool, or weights >= 0."""
    mask = numbers(name, given)
    if mask.dtype.kind not in "biuf":
        raise bad_type(name, "True and False, or weights >= 0", dtype_in_words(mask.dtype))
    if mask.shape not in ((len(rows),), (len(rows), rows.width)):
        expected = f"shape ({len(rows)},) or ({len(rows)}, {rows.width}), as the rows and steps of x"
        raise bad_input(name, expected, f"shape {mask.shape}")
    _require_weights(name, mask)
    return mask.astype(bool) if mask.dtype.kind in "iu" and mask.max(initial=0) <= 1 else mask


def _read_weights(name: str, given: Any, rows: int) -> np.ndarray:
    weights = numbers(name, given)
    if weights.dtype.kind not in "biuf":
        raise bad_type(name, "numbers >= 0, or a dict from classes to them", dtype_in_words(weights.dtype))
    if weights.shape != (rows,):
        raise bad_input(name, f"one for each of the {rows} rows, or a dict of classes", f"shape {weights.shape}")
    _require_weights(name, weights)
    return weights.astype(np.float64)


def _read_class_weights(
    name: str, given: Mapping[Any, Any], targets: Targets, output: tuple[int, ...] | None
) -> np.ndarray:
    """The weight of each class; 1 of a class that is not named."""
    labels = targets.classes()
    if not labels.size:
        raise bad_input(name, "one number for each row, for targets that are no classes", "a dict")
    found = np.ones(int(labels.max()) + 1)
    for label, weight in given.items():
        place = integer(name, label, 0, "its names are classes, its values their weights")
        value = number(f"{name}[{place}]", weight)
        if output is not None and place >= output[-1]:
            raise bad_input(name, f"classes in 0..{output[-1] - 1}, the outputs of the model", str(place))
        if place < len(found):
            found[place] = value
    if not found[labels].any():
        raise bad_input(name, "some class with a weight above 0", "zeros alone")
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
