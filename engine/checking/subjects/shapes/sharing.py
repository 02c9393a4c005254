"""Copies of objects with parts that cannot be copied: a module, a lock, an open file."""

from __future__ import annotations

import copy
from typing import Any

from engine.checking.subjects.shapes.insides import members

#: Parts by their id, in the form in which `copy.deepcopy` takes what it is to leave as it is.
Shared = dict[int, Any]


def copy_with(value: Any, shared: Shared) -> Any:
    """A deep copy in which the shared parts are those of the original."""
    return copy.deepcopy(value, dict(shared))


def shared_parts(value: Any) -> Shared:
    """The smallest parts of an object that cannot be copied (most objects have none); never the object itself.

    Raises
    ------
    Exception
        whatever `copy.deepcopy` raises, if the object cannot be copied for another reason.
    """
    shared: Shared = {}
    if not _can_copy(value, shared):
        _collect(value, shared, {id(value)})
        copy_with(value, shared)
    return shared


def _collect(value: Any, shared: Shared, seen: set[int]) -> None:
    for part in members(value).values():
        if id(part) in seen or _can_copy(part, shared):
            continue
        seen.add(id(part))
        _collect(part, shared, seen)
        if not _can_copy(part, shared):
            shared[id(part)] = part


def _can_copy(value: Any, shared: Shared) -> bool:
    try:
        copy_with(value, shared)
    except Exception:  # TypeError for most, but a class may refuse in its own way
        return False
    return True
