"""Places inside an object: the steps that lead to a value, in the object itself or in any copy of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from engine.checking.subjects.shapes.insides import attributes
from engine.checking.subjects.trees import kind

#: ``(".", name)``, ``("[]", key)`` or ``("()", name)`` for what a method without arguments returns.
Step = tuple[str, Any]
Place = tuple[Step, ...]
DEEPEST = 6


def get(value: Any, place: Place) -> Any:
    """The value at a place; None if there is no such place."""
    for how, key in place:
        try:
            if how == "[]":
                value = value[key]
            else:
                value = getattr(value, key)() if how == "()" else getattr(value, key)
        except (AttributeError, KeyError, IndexError, TypeError):
            return None
    return value


def put(value: Any, places: list[Place], new: Any) -> None:
    """Put new numbers at a place, and at every other place that holds the same array."""
    old = get(value, places[0])
    has_places = old.flags.writeable if isinstance(old, np.ndarray) else not isinstance(old, np.generic)
    if kind(old) and kind(new) and old.dtype == new.dtype and has_places:
        old[...] = new
        return
    for place in places:
        holder, (how, key) = get(value, place[:-1]), place[-1]
        if how == "[]":
            holder[key] = new
        elif how == ".":
            setattr(holder, key, new)


def is_number(value: Any) -> bool:
    """Whether something can be a parameter or a gradient: a float array or a float, or a complex one."""
    return isinstance(value, (float, complex)) or kind(value) in ("f", "c")


def holders(value: Any) -> Iterator[tuple[Place, Any]]:
    """The object itself and all objects with attributes inside it, with their places."""
    yield from _holders(value, (), set())


def _holders(value: Any, place: Place, seen: set[int]) -> Iterator[tuple[Place, Any]]:
    if id(value) in seen or len(place) > DEEPEST or kind(value):
        return
    seen.add(id(value))
    own = attributes(value)
    if own:
        yield place, value
    for step, part in [*(((".", name), part) for name, part in own.items()), *_items(value)]:
        if isinstance(part, (Mapping, tuple, list)) or attributes(part):
            yield from _holders(part, (*place, step), seen)


def _items(value: Any) -> Iterator[tuple[Step, Any]]:
    if isinstance(value, Mapping):
        yield from ((("[]", key), part) for key, part in value.items())
    elif isinstance(value, (tuple, list)):
        yield from ((("[]", k), part) for k, part in enumerate(value))


def numbers(value: Any) -> Iterator[tuple[Place, Any]]:
    """All float arrays and floats in an object: as attributes, and in dicts and lists that are attributes."""
    for place, holder in holders(value):
        for name, part in attributes(holder).items():
            yield from _numbers(part, (*place, (".", name)))


def lists(value: Any) -> Iterator[tuple[Place, list[Any]]]:
    """All lists in an object, also in dicts and lists that are attributes."""
    for place, holder in holders(value):
        waiting = [((*place, (".", name)), part) for name, part in attributes(holder).items()]
        while waiting:
            where, part = waiting.pop()
            if isinstance(part, list):
                yield where, part
            if len(where) <= DEEPEST:
                waiting += [((*where, step), one) for step, one in _items(part)]


def _numbers(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    if is_number(value):
        yield place, value
    elif isinstance(value, (Mapping, tuple, list)) and len(place) <= DEEPEST:
        for step, part in _items(value):
            if is_number(part) or isinstance(part, (Mapping, tuple, list)):
                yield from _numbers(part, (*place, step))


def in_words(place: Place, without: frozenset[str] = frozenset()) -> str:
    """``layers[0].W``: the path to a value; some names are left out, such as that of a dict of all parameters."""
    text, left_out = "", ""
    for how, key in place:
        if how in (".", "()") and key in without:
            left_out = key
            continue
        if how == "[]" and not isinstance(key, str):
            text = f"{text or left_out}[{key}]"
        else:
            text += f".{key}" if text else str(key)
    return text or ".".join(str(key) for _, key in place)
