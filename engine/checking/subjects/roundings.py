"""Every number of many arrays moved by a rounding."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.checking.subjects.trees import dtype_of, kind

#: Numbers for which signs are drawn together: a cache holds a hundred small arrays, or a few large ones.
TOGETHER = 1 << 16


def jitter(
    backend: Backend,
    arrays: Iterable[Any],
    generator: np.random.Generator,
    eps: float | None = None,
    roundings: float = 1.0,
) -> None:
    """Move every number of the float arrays up or down by one rounding, in place; zeros stay.

    Parameters
    ----------
    eps : the rounding, relative to a number; None takes that of each array's own dtype.
    roundings : by how many of them.
    """
    waiting: list[Any] = []
    numbers = 0
    for array in arrays:
        if kind(array) != "f":
            continue
        waiting.append(array)
        numbers += math.prod(array.shape)
        if numbers >= TOGETHER:
            _move(backend, waiting, generator, eps, roundings)
            waiting, numbers = [], 0
    _move(backend, waiting, generator, eps, roundings)


def _move(
    backend: Backend, arrays: list[Any], generator: np.random.Generator, eps: float | None, roundings: float
) -> None:
    numbers = sum(math.prod(array.shape) for array in arrays)
    signs = 2.0 * generator.integers(0, 2, size=numbers) - 1.0
    factors: dict[Any, Any] = {}
    start = 0
    for array in arrays:
        dtype = array.dtype
        if dtype not in factors:
            rounding = float(np.finfo(dtype_of(array) or np.float64).eps) if eps is None else eps
            factors[dtype] = backend.asarray(1.0 + roundings * rounding * signs, dtype)
        stop = start + math.prod(array.shape)
        array *= factors[dtype][start:stop].reshape(tuple(array.shape))
        start = stop
