"""The arrays inside caches, tapes and objects of users' classes."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any

from engine.checking.subjects.shapes.loss_methods import LossMethod
from engine.checking.subjects.trees import kind, writable

#: The attributes of objects of these packages are not searched: they are internal.
CLOSED = {"builtins", "engine", "kernels", "numpy", "torch", "cupy", "jax", "random", "threading", "logging", "io"}
_NO_STATE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def members(value: Any) -> dict[str, Any]:
    """The members of a container or an object, by their path: ``[0]``, ``.W``, ``['W']``."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f".{name}": getattr(value, name) for name in value._fields}
    if isinstance(value, (tuple, list)):
        return {f"[{k}]": part for k, part in enumerate(value)}
    if isinstance(value, Mapping):
        return {f"[{key!r}]": part for key, part in value.items()}
    if isinstance(value, _NO_STATE):
        return {}
    if dataclasses.is_dataclass(value):
        return {
            f".{one.name}": getattr(value, one.name) for one in dataclasses.fields(value) if hasattr(value, one.name)
        }
    return {f".{name}": part for name, part in attributes(value).items()}


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object of someone's own class, those in ``__slots__`` included."""
    closed = type(value).__module__.partition(".")[0] in CLOSED and not isinstance(value, LossMethod)
    if closed or isinstance(value, _NO_STATE):
        return {}
    slots = [slot for base in reversed(type(value).__mro__) for slot in _slots(base)]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return found | dict(getattr(value, "__dict__", {}))


def _slots(base: type) -> tuple[str, ...]:
    found = base.__dict__.get("__slots__", ())
    names = (found,) if isinstance(found, str) else tuple(found)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def named_arrays(value: Any, name: str = "", kinds: str = "f") -> Iterator[tuple[str, Any]]:
    """The arrays inside a cache or an object with the way to each, every array once."""
    yield from _walk(value, name, kinds, set())


def _walk(value: Any, name: str, kinds: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)) or id(value) in seen:
        return
    seen.add(id(value))
    found = kind(value)
    if found:
        if found in kinds:
            yield name, value
        return
    for step, part in members(value).items():
        yield from _walk(part, name + step, kinds, seen)


def float_arrays(value: Any) -> Iterator[Any]:
    """Every writable float array inside a tape, a cache or an object."""
    return (array for _, array in named_arrays(value) if writable(array))
