"""What anyone's functions are to keep to: they leave their arguments alone, and backward reads its own cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checking.subjects.shapes.insides import float_arrays
from engine.checking.subjects.trees import kind, leaves
from engine.checking.verdicts.closeness import same

if TYPE_CHECKING:
    from engine.checking.subjects.functions import FunctionSubject

ONE_USE = "backward reads the latest forward pass, not the cache it is given: call it before the next forward"


def watch(subject: FunctionSubject) -> dict[str, Any]:
    """The gradients of all outputs together; notes whether forward or backward writes into what it is given."""
    host = subject.backend.to_host
    given = subject.inputs.given({})
    own = [array for array in leaves(given) if kind(array) and subject.backend.is_array(array)]
    before = [host(array).copy() for array in own]
    _, cache = subject.call(given)
    cotangents = subject.cotangents()
    untouched = [host(array).copy() for array in cotangents]
    gradients = subject.gradients(cotangents, cache)
    if not all(same(old, host(new)) for old, new in zip(before, own, strict=True)):
        subject.mutated = "a function writes into its inputs"
    elif not all(same(old, host(new)) for old, new in zip(untouched, cotangents, strict=True)):
        subject.mutated = "backward writes into the gradient it is given"
    return gradients


def look_again(subject: FunctionSubject) -> None:
    """A second look, after another forward pass; a backward without a cache cannot but read the latest one."""
    _, cache = subject.call(subject.inputs.given({}))
    if next(float_arrays(cache), None) is None:
        return
    try:
        subject.call(subject.inputs.given(subject.nearby()))
    except Exception:  # forward may not be defined there
        return
    later = subject.gradients(subject.cotangents(), cache)
    for part in subject.parts:
        found = np.asarray(subject.backend.to_host(later[part.name]), dtype=np.float64)
        size = float(np.max(np.abs(found), initial=0.0, where=np.isfinite(found)))
        if not np.allclose(found, subject.claimed[part.name][0], rtol=0.0, atol=1e-6 * size, equal_nan=True):
            _note_latest(subject, part.name)
            return


def _note_latest(subject: FunctionSubject, name: str) -> None:
    """Say that backward reads the latest pass, unless it gives something else whenever it is called."""
    again = np.asarray(subject.backend.to_host(subject.pull(subject.cotangents())[name]), dtype=np.float64)
    if same(again, subject.claimed[name][0]):
        subject.notes.append(ONE_USE)
