"""Nests of arrays: tuples, lists and dicts, to any depth, as functions take and return them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


def leaves(nest: Any) -> list[Any]:
    """The arrays of a nest, in order; None is no leaf."""
    return [leaf for _, leaf in named_leaves(nest)]


def named_leaves(nest: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of a nest with their places: ``name.key`` in a dict, ``name[k]`` in a tuple or list."""
    if isinstance(nest, Mapping):
        for key, part in nest.items():
            yield from named_leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(nest, (tuple, list)):
        for k, part in enumerate(nest):
            yield from named_leaves(part, f"{name}[{k}]")
    elif nest is not None:
        yield name, nest


def transform(function: Callable[[Any], Any], nest: Any) -> Any:
    """The nest with `function` applied to every array; lists become tuples, None stays None."""
    if isinstance(nest, Mapping):
        return {key: transform(function, part) for key, part in nest.items()}
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(transform(function, part) for part in nest))
    if isinstance(nest, (tuple, list)):
        return tuple(transform(function, part) for part in nest)
    return None if nest is None else function(nest)


def refill(nest: Any, values: Iterator[Any]) -> Any:
    """The nest with its arrays replaced, in order, by the next values."""
    return transform(lambda _: next(values), nest)


def float_arrays(nest: Any) -> Iterator[Any]:
    """Every writable float array inside a tape or cache: in tuples, lists, dicts and dataclasses."""
    if isinstance(nest, Mapping):
        nest = list(nest.values())
    elif dataclasses.is_dataclass(nest) and not isinstance(nest, type):
        nest = [getattr(nest, field.name) for field in dataclasses.fields(nest)]
    if isinstance(nest, (tuple, list)):
        for part in nest:
            yield from float_arrays(part)
    elif kind(nest) == "f" and (not isinstance(nest, np.ndarray) or nest.flags.writeable):
        yield nest


def kind(value: Any) -> str:
    """The kind of an array's dtype (``f i u c b``), or nothing for what is no array."""
    return getattr(getattr(value, "dtype", None), "kind", "") if getattr(value, "ndim", None) is not None else ""
