"""What an argument may be.  A domain turns a legal value into its plain form and raises `Illegal` for any other.

A call with a legal value has to give what the call with its plain form gives; a call with any other must be refused.
Domains look at types before they touch a value: some values are made to explode.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

Domain = Callable[[Any], Any]


class Illegal(Exception):  # noqa: N818
    """The value is none of this domain."""


def anything(value: Any) -> Any:
    """Every value is legal, as it is."""
    return value


def nothing(value: Any) -> Any:
    """No value is legal: what cannot be set at all."""
    raise Illegal


def absent(value: Any) -> None:
    """None alone."""
    if value is not None:
        raise Illegal


def exactly(*objects: Any) -> Domain:
    """These very objects alone."""

    def plain(value: Any) -> Any:
        if any(value is known for known in objects):
            return value
        raise Illegal

    return plain


def instance(*kinds: type) -> Domain:
    """Objects of these classes, as they are."""

    def plain(value: Any) -> Any:
        if type(value) in kinds:
            return value
        raise Illegal

    return plain


def either(*domains: Domain) -> Domain:
    """What one of the domains takes."""

    def plain(value: Any) -> Any:
        for domain in domains:
            try:
                return domain(value)
            except Illegal:
                continue
        raise Illegal

    return plain


def optional(domain: Domain) -> Domain:
    """None, or what the domain takes."""
    return either(absent, domain)


def whole(low: float = -math.inf, high: float = math.inf) -> Domain:
    """An integer in low..high, of Python or of NumPy; no bool."""

    def plain(value: Any) -> int:
        is_index = isinstance(value, int | np.integer) or (
            type(value) is np.ndarray and value.ndim == 0 and value.dtype.kind in "iu"
        )
        if isinstance(value, bool) or not is_index or not low <= int(value) <= high:
            raise Illegal
        return int(value)

    return plain


def real(low: float = -math.inf, below: float = math.inf, *, closed: bool = False, over: float = -math.inf) -> Domain:
    """A finite number with low <= value < below (closed: <= below) and value > over; no bool."""

    def plain(value: Any) -> float:
        if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
            raise Illegal
        try:
            number = float(value)
        except OverflowError:
            raise Illegal from None
        if not (math.isfinite(number) and low <= number and over < number):
            raise Illegal
        if not (number <= below if closed else number < below):
            raise Illegal
        return number

    return plain


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise Illegal
    return bool(value)


def choice(*names: str) -> Domain:
    """One of these strings."""

    def plain(value: Any) -> str:
        if not isinstance(value, str) or str(value) not in names:
            raise Illegal
        return str(value)

    return plain


def text(value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise Illegal
    return str(value)


def function(value: Any) -> Any:
    """Anything that can be called; what it returns is not looked at."""
    if not callable(value):
        raise Illegal
    return value


def dtype(value: Any) -> str:
    """float32 or float64, however it is written."""
    if value is None or isinstance(value, np.ndarray):
        raise Illegal
    try:
        found = np.dtype(value)
    except Exception:
        raise Illegal from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise Illegal
    return str(found.name)


def path(value: Any) -> str:
    """A file name without a zero character."""
    if not isinstance(value, str | os.PathLike):
        raise Illegal
    name = os.fspath(value)
    if not isinstance(name, str) or not name or "\0" in name:
        raise Illegal
    return str(name)


# -- arrays ------------------------------------------------------------------------------------------------------------


def is_plain_array(value: Any) -> bool:
    """Whether it is a NumPy array without rules of its own."""
    return isinstance(value, np.ndarray) and not isinstance(value, np.matrix | np.ma.MaskedArray)


def _require_shape(value: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise unless the array has the shape, None for any length; no shape is any shape."""
    fits = len(shape) == value.ndim and all(s in (None, n) for s, n in zip(shape, value.shape, strict=True))
    if shape and not fits:
        raise Illegal


def array(kind: str, *shape: int | None, dtype: Any = None, finite: bool = False) -> Domain:
    """A NumPy array of these dtype kinds (or of this dtype) and this shape, None for any length; any layout."""

    def plain(value: Any) -> np.ndarray:
        if not is_plain_array(value) or value.dtype.kind not in kind:
            raise Illegal
        if dtype is not None and value.dtype != np.dtype(dtype):
            raise Illegal
        if shape and (
            value.ndim != len(shape) or any(s not in (None, n) for s, n in zip(shape, value.shape, strict=True))
        ):
            raise Illegal
        copy = np.array(value, order="C", subok=False)
        if finite and not np.isfinite(copy).all():
            raise Illegal
        return copy.astype(copy.dtype.newbyteorder("="))

    return plain


def floats(dtype: Any, *shape: int | None) -> Domain:
    """A float array of exactly this dtype."""
    return array("f", *shape, dtype=dtype)


def integers(low: int, high: int, *shape: int | None, lists: bool = True) -> Domain:
    """Integers in low..high: an array, or a list, tuple or range of them."""

    def plain(value: Any) -> np.ndarray:
        if type(value) is memoryview:
            value = np.asarray(value)
        if type(value) in (list, tuple, range):
            if not lists or (shape and len(shape) != 1) or (type(value) is range and abs(value.stop) > 10_000):
                raise Illegal
            found = np.array([whole(low, high)(item) for item in value], dtype=np.int64)
        else:
            found = array("iu")(value).astype(np.int64)
        if shape and (
            found.ndim != len(shape) or any(s not in (None, n) for s, n in zip(shape, found.shape, strict=True))
        ):
            raise Illegal
        if found.size and not (low <= found.min() and found.max() <= high):
            raise Illegal
        return found

    return plain


def sequence(*domains: Domain, kinds: tuple[type[Any], ...] = (tuple, list)) -> Domain:
    """A tuple or a list with one entry for each domain."""

    def plain(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, kinds) or len(value) != len(domains):
            raise Illegal
        return tuple(domain(item) for domain, item in zip(domains, value, strict=True))

    return plain


def many(domain: Domain, *, least: int = 0, kinds: tuple[type[Any], ...] = (tuple, list)) -> Domain:
    """A tuple or a list of values of the domain."""

    def plain(value: Any) -> list[Any]:
        if not isinstance(value, kinds) or len(value) < least:
            raise Illegal
        return [domain(item) for item in value]

    return plain


def mapping(domains: Mapping[str, Domain]) -> Domain:
    """A mapping with exactly these keys."""

    def plain(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict | MappingProxyType) or set(value) != set(domains):
            raise Illegal
        return {key: domain(value[key]) for key, domain in domains.items()}

    return plain
