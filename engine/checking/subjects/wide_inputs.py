"""Functions of float32 arrays: backward as it is, and forward in float64, whose differences are exact enough.

A difference of float32 numbers is known to three digits at best, and to none where a gradient is small.  If forward
takes float64 as well, and gives the same there up to float32's digits, its float64 values are differentiated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.subjects.shapes.arguments import Convention, convention_of
from engine.checking.subjects.shapes.function_options import Shape
from engine.checking.subjects.trees import dtype_of, kind, leaves, transform

#: How closely the outputs of both precisions must agree, relative to the largest.
AGREE = 1e-3


def widened(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any], convention: Convention | None
) -> tuple[Callable[..., Any], Callable[..., Any], list[Any]] | None:
    """The pair with its forward in float64, and the inputs for it; None where that cannot be had.

    Parameters
    ----------
    convention : how backward is called, if it is known.
    """
    floats = [leaf for leaf in leaves(list(inputs)) if kind(leaf) == "f"]
    if not floats or not all(isinstance(leaf, np.ndarray) and leaf.dtype == np.float32 for leaf in floats):
        return None
    wide = transform(_widen, list(inputs))
    try:
        found = forward(*_copies(inputs))
        called = convention or convention_of(backward, found)
        narrow, _ = called.split(found)
        out, _ = called.split(forward(*_copies(wide)))
    except Exception:  # the check itself says what is wrong
        return None
    if not _agree(narrow, out):
        return None

    def wide_forward(*given: Any) -> tuple[Any, Any]:
        narrowed = None if any(kind(leaf) == "c" for leaf in leaves(list(given))) else transform(_narrow, list(given))
        out, _ = called.split(forward(*given))
        return out, None if narrowed is None else called.split(forward(*narrowed))[1]

    def narrow_backward(dout: Any, cache: Any) -> Any:
        handed = transform(_narrow, dout)
        before = transform(_copy, handed)
        gradients = called.call(backward, handed, cache)
        for own, old, new in zip(leaves(dout), leaves(before), leaves(handed), strict=True):
            if isinstance(own, np.ndarray) and not np.array_equal(old, new):
                own[...] = new  # it was written into, and that is to be seen
        return gradients

    return wide_forward, narrow_backward, wide


def in_both_precisions(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any], shape: Shape
) -> tuple[Callable[..., Any], Callable[..., Any], Sequence[Any], Shape]:
    """The pair, its inputs and how it is read: `widened` where that can be had, else as they are."""
    found = widened(forward, backward, inputs, shape.convention)
    if found is None:
        return forward, backward, inputs, shape
    return *found, dataclasses.replace(shape, convention=None, narrow=True)


def _agree(narrow: Any, wide: Any) -> bool:
    pairs = list(zip(leaves(narrow), leaves(wide), strict=False))
    if len(leaves(narrow)) != len(leaves(wide)):
        return False
    for one, other in pairs:
        if kind(one) != "f":
            continue
        if dtype_of(one) != np.float32 or dtype_of(other) != np.float64 or np.shape(one) != np.shape(other):
            return False
        size = float(np.max(np.abs(other), initial=0.0))
        if not np.isfinite(size) or np.max(np.abs(one - other), initial=0.0) > AGREE * size:
            return False
    return any(kind(one) == "f" for one, _ in pairs)


def _widen(leaf: Any) -> Any:
    return leaf.astype(np.float64) if kind(leaf) == "f" else leaf


def _narrow(leaf: Any) -> Any:
    return leaf.astype(np.float32) if kind(leaf) == "f" else leaf


def _copy(leaf: Any) -> Any:
    return leaf.copy() if kind(leaf) else leaf


def _copies(inputs: Sequence[Any]) -> list[Any]:
    return list(transform(_copy, list(inputs)))
