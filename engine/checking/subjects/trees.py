"""Nests of arrays: tuples, lists, dicts and records, to any depth, as functions take and return them."""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


def leaves(nest: Any) -> list[Any]:
    """The arrays of a nest, in order; None is no leaf."""
    return [leaf for _, leaf in named_leaves(nest)]


def named_leaves(nest: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of a nest with their places: ``name.key`` in a dict or named tuple, ``name[k]`` in a tuple or list."""
    if type(nest) is np.ndarray:  # asked first: nests are walked at every evaluation
        yield name, nest
    elif isinstance(nest, tuple) and hasattr(nest, "_fields"):
        for key, part in zip(nest._fields, nest, strict=True):
            yield from named_leaves(part, f"{name}.{key}")
    elif isinstance(nest, (tuple, list)):
        for k, part in enumerate(nest):
            yield from named_leaves(part, f"{name}[{k}]")
    elif isinstance(nest, Mapping):
        for key, part in nest.items():
            yield from named_leaves(part, f"{name}.{key}" if name else str(key))
    elif is_record(nest):
        for key, part in vars(nest).items():
            yield from named_leaves(part, f"{name}.{key}")
    elif nest is not None:
        yield name, nest


def transform(function: Callable[[Any], Any], nest: Any) -> Any:
    """The nest with `function` applied to every array; None stays None."""
    if type(nest) is np.ndarray:
        return function(nest)
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(transform(function, part) for part in nest))
    if isinstance(nest, (tuple, list)):
        return (list if isinstance(nest, list) else tuple)([transform(function, part) for part in nest])
    if isinstance(nest, Mapping):
        return {key: transform(function, part) for key, part in nest.items()}
    if is_record(nest):
        changed = copy.copy(nest)
        for key, part in vars(nest).items():
            object.__setattr__(changed, key, transform(function, part))  # it may be frozen
        return changed
    return None if nest is None else function(nest)


def is_record(value: Any) -> bool:
    """Whether it is an instance of a dataclass, or a namespace: an object that is its attributes."""
    plain = isinstance(value, types.SimpleNamespace) or (dataclasses.is_dataclass(value) and hasattr(value, "__dict__"))
    return plain and not isinstance(value, type)


def refill(nest: Any, values: Iterator[Any]) -> Any:
    """The nest with its arrays replaced, in order, by the next values."""
    return transform(lambda _: next(values), nest)


def writable(array: Any) -> bool:
    """Whether every number has a place of its own to be written to; a broadcast array has not."""
    if isinstance(array, np.ndarray):
        return array.flags.writeable
    strides = array.stride() if hasattr(array, "stride") else array.strides
    return all(stride or size < 2 for stride, size in zip(strides, array.shape, strict=True))


def attribute(holder: Any, name: str) -> Any:
    """An attribute, or None: a class's own ``__getattr__`` may raise what it should not, such as a KeyError."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def kind(value: Any) -> str:
    """The kind of an array's dtype (``f i u c b``), or nothing for what is no array."""
    if type(value) is np.ndarray:
        return value.dtype.kind
    found = dtype_of(value) if attribute(value, "ndim") is not None else None
    return "" if found is None else found.kind


def dtype_of(value: Any) -> np.dtype | None:
    """An array's dtype as NumPy names it, for any library; None if NumPy has no such dtype."""
    given = attribute(value, "dtype")
    if given is None or isinstance(given, np.dtype):
        return given
    try:
        return np.dtype(str(given).rpartition(".")[2])  # torch.float64
    except TypeError:
        return None


def copied(array: Any) -> Any:
    """A contiguous copy of an array, by the name that its library has for it."""
    return array.copy() if hasattr(array, "copy") else array.clone().contiguous()
