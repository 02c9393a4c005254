"""What a layer's backward is to keep to: it leaves its arguments alone, gives the same again, and adds to grads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checking.subjects.layer_copies import zero_grads
from engine.checking.subjects.shapes.insides import float_arrays
from engine.checking.subjects.trees import copied
from engine.checking.verdicts.closeness import close, same

if TYPE_CHECKING:
    from engine.checking.subjects.layers import LayerSubject


def watch(subject: LayerSubject) -> dict[str, Any]:
    """The gradients of all outputs together; notes whether backward writes into what it is given."""
    subject.params_before = {name: copied(param) for name, param in subject.checked.params.items()}
    host = subject.backend.to_host
    before = [host(array).copy() for array in float_arrays(subject.tape)]
    cotangents = subject.cast(subject.cotangents(), subject.dtype)
    handed = [host(array).copy() for array in cotangents]
    zero_grads(subject.checked)
    first = subject.backward(subject.checked, subject.tape, cotangents)
    subject.mutated = _written(subject, before, handed, cotangents) or subject.mutated
    if subject.mutated:
        subject.restore_params()
    return first


def _written(subject: LayerSubject, before: list[np.ndarray], handed: list[np.ndarray], cotangents: list[Any]) -> str:
    """What backward has written into, in words; nothing where it has left all that it was given alone."""
    host, params = subject.backend.to_host, subject.checked.params
    if not all(same(old, host(new)) for old, new in zip(handed, cotangents, strict=True)):
        return "backward writes into the gradients it is given"
    if not all(same(old, host(new)) for old, new in zip(before, float_arrays(subject.tape), strict=True)):
        return "backward writes into its tape"
    if not all(same(host(old), host(params[name])) for name, old in subject.params_before.items()):
        return "backward writes into the parameters"
    return ""


def look_again(subject: LayerSubject, first: dict[str, Any]) -> None:
    """Backward gives the same on the same tape, and adds to grads: so a call on top of another doubles."""
    host = subject.backend.to_host
    again = subject.pull(subject.cotangents())
    if not all(close(host(again[name]), host(first[name]), subject.dtype) for name in first):
        subject.trouble = "non-deterministic"
        subject.causes[""] = "a second backward on the same tape gives something else"
        return
    twice = subject.pull_more(subject.cotangents())
    for name in subject.exact.params:
        once, now = host(first[name]), host(twice[name])
        if not close(now, 2 * once, subject.dtype):
            kept = close(now, once, subject.dtype)
            subject.causes[name] = "overwritten, not added" if kept else "not simply added to the gradients there"
