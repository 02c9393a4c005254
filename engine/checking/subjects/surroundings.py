"""The facts that a subject knows around one of its tensors: lengths, rates, scales and indices, by name."""

from __future__ import annotations

import re

import numpy as np

from engine.checking.diagnosis.pairs import Around
from engine.checking.subjects.subject import Part, Subject

#: Larger matrices are not taken out of a product again.
LARGEST = 64


def around(subject: Subject, part: Part, group: int = 0) -> Around:
    """The facts for `engine.checking.diagnosis.patterns` to compare a gradient with, for a group of the outputs."""
    weights = subject.weights[group]
    integers = {name: values for name, values in subject.beside().items() if values.dtype.kind in "iu"}
    scalars = {name: float(v.item()) for name, v in subject.beside().items() if v.dtype.kind == "f" and v.size == 1}
    return Around(
        sizes=sizes(subject),
        scalars=scalars,
        values=subject.host(part),
        vectors={
            other.name: subject.host(other) for other in subject.parts if other is not part and len(other.shape) == 1
        },
        squares={other.name: subject.host(other) for other in subject.parts if _is_square(other)},
        repeated={name: _repeated(values, part.shape[0]) for name, values in integers.items() if part.shape},
        time_axis=part.time_axis,
        dout=float(weights[0]) if weights.size == 1 else 1.0,
    )


def sizes(subject: Subject) -> dict[str, int]:
    """Lengths of axes by name, each length once, the likeliest first: T and B where they are known."""
    found: dict[str, int] = {}
    first = subject.parts[0]
    timed = next((part for part in subject.parts if part.time_axis is not None), None)
    if timed is not None and timed.time_axis is not None:
        found["T"] = timed.shape[timed.time_axis]
    rows = batch_axis(subject, timed or first)
    if rows is not None:
        found["B"] = (timed or first).shape[rows]
    for axis, length in enumerate(first.shape):
        found[f"axis {axis} of {first.name}"] = length
    for axis, length in enumerate(subject.outputs[0].shape if subject.outputs else ()):
        found[f"axis {axis} of the output"] = length
    for name, values in subject.beside().items():  # labels, of which there are as many as rows
        for axis, length in enumerate(values.shape):
            found[f"axis {axis} of {name}"] = length
    found["the size of the output"] = sum(int(np.prod(out.shape)) for out in subject.outputs)
    first_of: dict[int, str] = {}
    for name, length in found.items():
        first_of.setdefault(length, name)
    return {name: length for length, name in first_of.items()}


def batch_axis(subject: Subject, part: Part) -> int | None:
    """The axis that counts the rows of a batch; None if it is not known."""
    if part.time_axis in (0, 1):
        return 1 - part.time_axis
    if re.fullmatch(r"(.*\.)?[hc]0", part.name) and len(part.shape) == 3:
        return 1
    shapes = [tuple(out.shape) for out in subject.outputs]
    if part.name == subject.parts[0].name and len(part.shape) > 1 and shapes and shapes[0][:1] == part.shape[:1]:
        return 0
    return None


def _is_square(part: Part) -> bool:
    return len(part.shape) == 2 and 1 < part.shape[0] == part.shape[1] <= LARGEST


def _repeated(indices: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) whether each index occurs twice or more; nothing where these are no indices of so many rows."""
    if indices.size == 0 or indices.min() < 0 or indices.max() >= rows:
        return np.zeros(0, dtype=bool)
    return np.asarray(np.bincount(indices.reshape(-1), minlength=rows) > 1)
