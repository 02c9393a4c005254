"""Backward with cotangents of other forms: many at once, along an axis in front, or None in place of zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.checking.subjects.functions import FunctionSubject
from engine.checking.subjects.trees import kind
from engine.checking.verdicts.closeness import near
from engine.checks import switch

#: Cotangents that are given together.
TOGETHER = 3


def check_forms(subject: FunctionSubject, batched: Any, undefined: Any) -> None:
    """Try the other forms that are asked for."""
    if switch("batched", batched):
        check_batched(subject)
    if switch("undefined", undefined):
        check_undefined(subject)


def check_batched(subject: FunctionSubject) -> None:
    """Whether backward turns a stack (K, ...) of cotangents into a stack of gradients; else a cause is noted."""
    generator = np.random.default_rng([subject.seed, 10])
    lists = [_drawn(subject, generator) for _ in range(TOGETHER)]
    singles = [subject.pull(one) for one in lists]
    stacked = [subject.backend.xp.stack(one) for one in zip(*lists, strict=True)]
    wanted = {part.name: np.stack([_host(subject, one[part.name]) for one in singles]) for part in subject.parts}
    _compare(subject, stacked, wanted, "for a stack of cotangents", "the gradients of each")


def check_undefined(subject: FunctionSubject) -> None:
    """Whether backward takes None for one of several cotangents as zeros; else a cause is noted."""
    if len(subject.outputs) < 2:
        return
    for place in range(len(subject.outputs)):
        cotangents = _drawn(subject, np.random.default_rng([subject.seed, 11]))
        cotangents[place] = cotangents[place] * 0.0
        wanted = {name: _host(subject, one) for name, one in subject.pull(cotangents).items()}
        handed: list[Any] = [None if k == place else one for k, one in enumerate(cotangents)]
        _compare(subject, handed, wanted, f"for None as the gradient of out[{place}]", "what it gives for zeros")


def _compare(subject: FunctionSubject, handed: list[Any], wanted: dict[str, np.ndarray], when: str, what: str) -> None:
    try:
        found = subject.pull_as_it_is(handed)
    except Exception as error:  # whatever a function makes of it
        said = f"{type(error).__name__}: {error}".splitlines()[0][:80]
        _note(subject, subject.parts[0].name, f"{when} backward fails ({said})")
        return
    for part in subject.parts:
        given = found.get(part.name)
        values = _host(subject, given) if kind(given) else np.zeros(wanted[part.name].shape)
        if values.shape != wanted[part.name].shape or not near(values, wanted[part.name]):
            _note(subject, part.name, f"{when} backward gives something else than {what}")


def _note(subject: FunctionSubject, name: str, cause: str) -> None:
    """The first cause makes the tensor wrong; later ones are notes."""
    if subject.causes.setdefault(name, cause) != cause:
        subject.notes.append(f"{name}: {cause}")


def _drawn(subject: FunctionSubject, generator: np.random.Generator) -> list[Any]:
    drawn = [generator.normal(size=tuple(out.shape)) for out in subject.outputs]
    pairs = zip(drawn, subject.cotangents(), strict=True)
    return [subject.backend.asarray(one, kept.dtype) for one, kept in pairs]


def _host(subject: FunctionSubject, array: Any) -> np.ndarray:
    return np.asarray(subject.backend.to_host(array), dtype=np.float64)
