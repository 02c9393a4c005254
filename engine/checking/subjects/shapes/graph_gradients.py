"""Gradients in the nodes of a graph: they add up from one backward to the next, unless they are set back."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from typing import Any

from engine.checking.subjects.shapes.insides import attributes, members
from engine.checking.subjects.trees import kind

#: What the nodes of a graph call their gradient.
NAMES = ("grad", "_grad", "gradient", "g", "grad_data", "adjoint")
#: Larger graphs are not searched.
MOST = 200_000


class GraphGradients:
    """The gradients of all nodes that can be reached from a cache, as they are now."""

    def __init__(self, cache: Any) -> None:
        self._kept = [
            (node, name, copy.deepcopy(own[name]))
            for node in _reached(cache)
            for own in [attributes(node)]
            for name in NAMES
            if name in own and (own[name] is None or isinstance(own[name], (int, float)) or kind(own[name]))
        ]

    def put_back(self) -> None:
        """Set them to what they were."""
        for node, name, value in self._kept:
            setattr(node, name, copy.deepcopy(value))


def has_closures(cache: Any) -> bool:
    """Whether functions in a cache hold parts of it; a copy of the cache would share these with it."""
    return any(isinstance(one, types.FunctionType) and one.__closure__ for one in _reached(cache))


def _reached(cache: Any) -> Iterator[Any]:
    """All objects that a cache leads to; closures hold the nodes of a graph too."""
    seen: dict[int, Any] = {}
    waiting = [cache]
    while waiting and len(seen) < MOST:
        value = waiting.pop()
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)) or kind(value):
            continue
        if id(value) in seen:
            continue
        seen[id(value)] = value  # which keeps it alive, and so its id its own
        waiting += _inside(value)
        yield value


def _inside(value: Any) -> list[Any]:
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, types.FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
    return list(members(value).values())


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  an empty cell raises
    except ValueError:
        return False
    return True
