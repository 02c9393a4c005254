"""Gradients with shorter names than their parameters: ``weights`` and ``dW``, ``biases`` and ``nabla_b``."""

from __future__ import annotations

from collections.abc import Iterable

from engine.checking.subjects.shapes.returned import BEFORE, BEHIND, letters

_BEFORE = frozenset((*map(letters, BEFORE), "ded", "dcostd", "derrord", "gradl"))
_BEHIND = frozenset((*map(letters, BEHIND), "d"))
#: Names that say no more than that it is a gradient.
BARE = ("grad", "gradient", "_grad", "_gradient")
#: Words that are written out for a parameter of one letter.
LONG = {"w": ("weight", "weights"), "b": ("bias", "biases")}


def abbreviated(name: str, keys: Iterable[str]) -> list[str]:
    """The keys that may be short, or bare, names for the gradient of a parameter."""
    own = letters(name)
    return [key for key in keys if key in BARE or any(_stands_for(rest, own) for rest in _rests(letters(key)))]


def _rests(key: str) -> set[str]:
    """What is left of a name without the part that says that it is a gradient."""
    before = {key[len(one) :] for one in _BEFORE if key.startswith(one)}
    return (before | {key[: -len(one)] for one in _BEHIND if key.endswith(one)}) - {""}


def _stands_for(rest: str, name: str) -> bool:
    return name.startswith(rest) or rest in LONG.get(name, ())
