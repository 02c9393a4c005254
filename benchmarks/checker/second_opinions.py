"""Second opinions on mutants, each computed once: they run forward code, and mutants are of backward code.

What a check costs is mostly its second opinion: dozens of forward passes, or of forward mode, which come out the same
under every mutant.  `once` remembers them by all that they depend on, the numbers on the tape included, as a mutant may
write there.  It also leaves out the words of a report: where and why a gradient is wrong changes no verdict.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from engine.checking import reporting
from engine.checking.subjects.layers import LayerSubject
from engine.checking.subjects.shapes.insides import float_arrays
from engine.checking.subjects.trees import leaves

Forward = Callable[..., tuple[Any, None]]

_KNOWN: dict[bytes, list[Any]] = {}
_OF = "digest for second opinions"


@contextmanager
def once() -> Iterator[None]:
    """Within it, no second opinion on a layer is computed twice, and no report is worded."""
    copies, tangent, backward = LayerSubject._run_copies, LayerSubject.tangent, LayerSubject.backward

    def run_copies(self: LayerSubject, params: dict[str, Any], x: Any, state: Any) -> list[Any]:
        key = _key("copies", _of(self), *params, *params.values(), x, *leaves(state))
        return _remembered(key, lambda: copies(self, params, x, state))

    def run_tangent(self: LayerSubject, directions: dict[str, Any]) -> list[Any]:
        key = _key("tangent", _of(self), *directions, *directions.values())
        return _remembered(key, lambda: tangent(self, directions))

    def run_backward(self: LayerSubject, *arguments: Any) -> dict[str, Any]:
        self.__dict__.pop(_OF, None)  # a mutant may write into the tape
        return backward(self, *arguments)

    with ExitStack() as changed:
        for owner, name, new in (
            (LayerSubject, "_run_copies", run_copies),
            (LayerSubject, "tangent", run_tangent),
            (LayerSubject, "backward", run_backward),
            (reporting, "diagnose", lambda *_: None),
            (reporting, "_closer", lambda subject, findings, *_: findings),
            (reporting.wording, "worded", lambda row, *_: row),
        ):
            changed.enter_context(mock.patch.object(owner, name, new))
        yield


def remembering(forward: Forward, *name: str) -> Forward:
    """A forward function that runs once at each place; `name` tells it from others."""

    @functools.wraps(forward)
    def run(*arrays: Any) -> tuple[Any, None]:
        return tuple(_remembered(_key(*name, *arrays), lambda: list(forward(*arrays)[0]))), None

    return run


def _of(subject: LayerSubject) -> bytes:
    """A digest of all that a second opinion on a layer depends on, but for what it is asked."""
    if _OF not in subject.__dict__:
        exact, lengths, state = subject.exact, subject.lengths, leaves(subject.state)
        tape = float_arrays(subject.exact_tape)
        subject.__dict__[_OF] = _key(repr(exact), repr(lengths), *exact.params.values(), subject.x, *state, *tape)
    return subject.__dict__[_OF]


def _key(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.shape} {part.dtype} ".encode())
            digest.update(np.ascontiguousarray(part))
        else:
            digest.update(f"{part!r} ".encode())
    return digest.digest()


def _remembered(key: bytes, compute: Callable[[], list[Any]]) -> list[Any]:
    """What is known, or is computed now; copies, as it may be written into."""
    if key not in _KNOWN:
        _KNOWN[key] = [np.array(value) for value in compute()]
    return [value.copy() for value in _KNOWN[key]]
