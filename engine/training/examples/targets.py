"""Targets of the rows of a data set: one a row, one a step, or a sequence of labels for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.checks import describe
from engine.data import pad_sequences
from engine.errors import InputError, bad_input, bad_type
from engine.plain_arrays import dtype_in_words, numbers
from engine.training.examples.objectives import CLASSES, FREE, LABELS, NUMBERS
from engine.training.examples.rows import Rows, read_rows, require_finite

_ENCODE = "number the classes 0, 1, 2, ..., as np.unique(y, return_inverse=True)[1] does"


class Targets:
    """Targets that were checked against the rows and the model's output.

    Attributes
    ----------
    by_row : one target for each row, (N, ...); None where there is one for each step.
    by_step : targets for each step as rows of their own; None where there is one for each row.
    labels : a list of label arrays (u,), for CTC; else None.
    """

    def __init__(
        self, by_row: np.ndarray | None = None, by_step: Rows | None = None, labels: list[np.ndarray] | None = None
    ) -> None:
        self.by_row, self.by_step, self.labels = by_row, by_step, labels

    def gather(
        self, index: np.ndarray | slice, steps: int, dtype: np.dtype, batch_first: bool
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Those of a batch on the host; labels as ``(B, U)`` with pads and their counts (B,)."""
        if self.by_step is not None:
            return self.by_step.gather(index, steps, dtype, batch_first)
        if self.labels is not None:
            chosen = self.labels[index] if isinstance(index, slice) else [self.labels[i] for i in index]
            return pad_sequences(chosen, batch_first=True)
        assert self.by_row is not None
        found = self.by_row[index]
        return found.astype(dtype) if found.dtype.kind == "f" else found

    def parts(self) -> list[np.ndarray]:
        """The arrays that hold them, for a fingerprint."""
        if self.by_row is not None:
            return [self.by_row]
        return self.by_step.parts() if self.by_step is not None else self.labels or []

    def classes(self) -> np.ndarray:
        """All class numbers in one array (P,), pads left out; empty if the targets are none."""
        if self.by_row is not None:
            return self.by_row.reshape(-1) if self.by_row.dtype.kind in "iu" else np.empty(0, int)
        if self.by_step is None or not self.by_step.ids:
            return np.empty(0, int)
        parts = zip(self.by_step.data, self.by_step.lengths, strict=True)
        return np.concatenate([row[:length] for row, length in parts])


def read_targets(name: str, given: Any, rows: Rows, kind: str, output: tuple[int, ...] | None, dtype: Any) -> Targets:
    """Targets in the form that the loss takes, one a row or one a step.

    Parameters
    ----------
    name : of the argument, for messages.
    kind : of the loss, see `engine.training.examples.objectives`.
    output : shape of the model's output for one row, (T, 1, K) or (1, K); None if it is no array.
    dtype : of the model.

    Raises
    ------
    InputError, InputTypeError
        for another number of targets than rows, a shape that fits neither, labels that are no integers or no class of
        the model, numbers that are not finite.
    """
    if given is None:
        raise bad_input(name, "targets, one a row or one a step", "None", "give y, or a source of batches as x")
    count = len(given) if hasattr(given, "__len__") else None
    if count != len(rows):
        got = describe(given) if count is None else f"{count:,}"
        raise bad_input(name, f"as many targets as the {len(rows):,} rows of x", got)
    width = None if output is None else output[-1]
    if kind == LABELS:
        return Targets(labels=_labels(name, given, rows, width))
    if isinstance(given, list | tuple) and any(np.ndim(row) > 0 for row in given) and not _one_shape(given):
        return Targets(by_step=_ragged(name, given, rows, kind, width, dtype))
    data = numbers(name, given)
    _require_kind(name, data, kind)
    per_step = _is_per_step(name, data, rows, kind, output)
    data = _shaped(data, kind, per_step, width)
    if not per_step and data.dtype.kind == "f":
        _require_finite_rows(name, data, dtype)
    found = Targets(by_row=data)
    if per_step:
        lengths = np.minimum(rows.lengths, data.shape[1])
        by_step = Rows(data, lengths, ids=data.dtype.kind in "iu" and kind != NUMBERS)
        require_finite(name, by_step, dtype)
        found = Targets(by_step=by_step)
    if kind == CLASSES:
        require_classes(name, found.classes(), width)
    return found


def require_classes(name: str, labels: np.ndarray, width: int | None) -> None:
    """Raise unless all labels are classes of the model, 0..width-1."""
    wrong = np.flatnonzero((labels < 0) | (labels >= (np.inf if width is None else width)))
    if wrong.size:
        hint = "give the model's last layer as many outputs as there are classes, or number them from 0"
        got = f"{int(labels[wrong[0]])} at index {int(wrong[0])}"
        raise bad_input(name, f"classes in 0..{(width or 0) - 1}, the outputs of the model", got, hint)


def _one_shape(given: Sequence[Any]) -> bool:
    return len({np.shape(row) for row in given}) == 1


def _require_kind(name: str, data: np.ndarray, kind: str) -> None:
    if kind == CLASSES and data.dtype.kind not in "iu":
        expected = "classes as integers 0, 1, 2, ..."
        hint = _ENCODE
        if data.dtype.kind == "f" and data.ndim > 1 and ((data == 0) | (data == 1)).all():
            hint = f"of one-hot rows take {name}.argmax(axis=-1)"
        raise bad_type(name, expected, dtype_in_words(data.dtype), hint)
    if data.dtype.kind not in "fiub":
        raise bad_type(name, "numbers", dtype_in_words(data.dtype), _ENCODE)


def _is_per_step(name: str, data: np.ndarray, rows: Rows, kind: str, output: tuple[int, ...] | None) -> bool:
    """Whether there is one target for each step; raises for a shape that fits neither rows nor steps."""
    steps = rows.width
    has_steps = output is None or len(output) > 2
    width = None if output is None else output[-1]
    axes = data.ndim - 1
    if kind == CLASSES:
        row_fits = axes == 0 or data.shape[1:] == (1,)
        step_fits = axes >= 1 and data.shape[1:] in ((steps,), (steps, 1))
        words = f"(N,) for one class a row, or (N, {steps}) for one a step"
    elif kind == NUMBERS:
        row_fits = (axes == 0 and width == 1) or data.shape[1:] == (width,)
        step_fits = data.shape[1:] == (steps, width) or (data.shape[1:] == (steps,) and width == 1)
        words = f"(N, {width}) for one target a row, or (N, {steps}, {width}) for one a step"
    else:
        step_fits = axes >= 1 and data.shape[1] == steps and not (axes == 1 and data.shape[1] == width)
        row_fits, words = True, ""
    if step_fits and has_steps and not (row_fits and kind != FREE):
        return True
    if row_fits:
        return False
    hint = "the model gives one output a row" if step_fits else ""
    raise bad_input(name, f"shape {words} of the model's {width} outputs", f"shape {data.shape}", hint)


def _shaped(data: np.ndarray, kind: str, per_step: bool, width: int | None) -> np.ndarray:
    """The targets with the axes that the loss wants: none of features for classes, one for numbers."""
    leading = 2 if per_step else 1
    if kind == CLASSES and data.ndim > leading:
        return data[..., 0]
    if kind == NUMBERS:
        data = data[..., None] if data.ndim == leading else data
        return data if data.dtype.kind == "f" else data.astype(np.float64)
    return data


def _require_finite_rows(name: str, data: np.ndarray, dtype: Any) -> None:
    require_finite(name, Rows(data.reshape(len(data), 1, -1), np.ones(len(data), int), ids=False), dtype)


def _ragged(name: str, given: Sequence[Any], rows: Rows, kind: str, width: int | None, dtype: Any) -> Rows:
    """A list of targets for each step, as long as the rows."""
    try:
        found = [numbers(f"{name}[{index}]", row) for index, row in enumerate(given)]
    except InputError as error:
        raise bad_input(name, "one target a row, or as many a row as it has steps", f"'{error}'") from error
    shaped = []
    for index, (row, steps) in enumerate(zip(found, rows.lengths, strict=True)):
        place = f"{name}[{index}]"
        _require_kind(place, row, kind)
        if row.ndim == 0 or len(row) != steps:
            got = "a single one" if row.ndim == 0 else f"{len(row)}"
            raise bad_input(place, f"{steps} targets, one for each step of its row", got)
        shaped.append(_shaped(row[None], kind, True, width)[0])
    ids = kind != NUMBERS and all(row.dtype.kind in "iu" for row in shaped)
    by_step = Rows(shaped, np.asarray(rows.lengths), ids=ids)
    require_finite(name, by_step, dtype)
    if kind == CLASSES:
        require_classes(name, np.concatenate(shaped), width)
    return by_step


def _labels(name: str, given: Any, rows: Rows, width: int | None) -> list[np.ndarray]:
    """A sequence of labels for each row, each short enough for CTC."""
    found = []
    for index, (row, steps) in enumerate(zip(given, rows.lengths, strict=True)):
        place, labels = f"{name}[{index}]", numbers(f"{name}[{index}]", row)
        labels = labels.astype(np.int64) if labels.size == 0 else labels
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise bad_type(place, "labels (u,) as integers", f"{dtype_in_words(labels.dtype)} of shape {labels.shape}")
        if labels.size and not 1 <= int(labels.min()) <= int(labels.max()) < (width or np.inf):
            hint = "number them from 1, for 0 is the blank of CTC, and give the model an output for the blank too"
            raise bad_input(place, f"labels in 1..{(width or 0) - 1}", f"{labels.min()} to {labels.max()}", hint)
        need = len(labels) + int((labels[1:] == labels[:-1]).sum())
        if need > steps:
            hint = "give it more steps, or leave the row out"
            expected = f"labels that fit into the {steps} steps of the row (equal neighbours need a blank between them)"
            raise bad_input(place, expected, f"a target that needs {need} steps", hint)
        found.append(labels.astype(np.int64))
    return found


__all__ = ["Targets", "read_rows", "read_targets", "require_classes"]
