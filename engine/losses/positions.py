"""Losses with their gradients: means over the valid positions of the whole batch, of which this may be a shard.

A *position* is one (time step, row) pair.  Each has a weight w (1, or the mask's value) and the losses are

    L = sum over valid positions of scale * loss(position),   scale = w / n,   n = sum of w, or the `normalizer`

so shards and accumulation steps with the same `normalizer` add up to the loss of the whole batch.  The values at masked
positions (NaN, infinity, an id out of range) are replaced by selection before any arithmetic, so they cannot leak.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from engine.backend import FLOATS, Backend
from engine.backend.device_errors import explained
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, first_place, host_view


@explained()
def positions(backend: Backend, mask: Any, normalizer: Any, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Which of the P positions are valid (bool (P,), None for all of them) and the factor of each (P,), 0 if masked."""
    xp = backend.xp
    n = None if normalizer is None else _number(backend, normalizer, dtype)
    if mask is None:
        return None, xp.ones(math.prod(shape), dtype=dtype) / (math.prod(shape) if n is None else n)
    home = getattr(xp, "home", None)  # torch has several devices
    here = backend.is_array(mask) and (home is None or mask.device == home)
    weight = (mask if here else backend.asarray(host_view("mask", mask))).reshape(-1)
    valid = weight != 0
    if n is None:
        n = xp.asarray(xp.sum(weight, dtype=np.float64), dtype=dtype)
    return valid, xp.where(valid, xp.asarray(weight, dtype=dtype) / n, 0)  # all masked: 0/0 is never selected


def _number(backend: Backend, normalizer: Any, dtype: Any) -> Any:
    """The normalizer as a Python float or a 0-d array of this dtype: neither changes the dtype of what it divides."""
    expected = "a number >= 0 or a 0-d array of the backend"
    given = normalizer
    host = normalizer if isinstance(normalizer, np.generic) else host_view("normalizer", normalizer)
    if host is not None and host.ndim == 0:
        normalizer = host.item()  # nothing to wait for
    if isinstance(normalizer, int | float) and not isinstance(normalizer, bool):
        if not 0 <= normalizer <= sys.float_info.max:
            raise bad_input("normalizer", expected, describe(normalizer))
        return float(normalizer)
    if backend.is_array(normalizer) and normalizer.ndim == 0 and backend.dtype_of(normalizer).kind in "iuf":
        return backend.xp.asarray(normalizer, dtype=dtype)
    shape = f" of shape {tuple(given.shape)}" if host is not None or backend.is_array(given) else ""
    raise bad_type("normalizer", expected, f"a {type(given).__name__}{shape}", "sum the weights first")


def summed(losses: Any, xp: Any, dtype: Any) -> Any:
    """The sum as a 0-d array, added up in float64."""
    return xp.asarray(xp.sum(losses, dtype=np.float64), dtype=dtype)


def float_dtype(backend: Backend, argument: str, array: Any) -> np.dtype:
    """The array's dtype, which must be float32 or float64."""
    dtype = backend.dtype_of(array)
    if dtype not in FLOATS:
        got = dtype_in_words(array.dtype)
        raise bad_type(
            argument, "dtype float32 or float64", got, "convert it to float32, which holds every half exactly"
        )
    return dtype


def require_mask(backend: Backend, mask: Any, dtype: Any, shape: tuple[int, ...], exact: bool) -> None:
    """Raise unless the mask has the `shape` (`exact` off: a leading part of it) and a suitable dtype."""
    if mask is None:
        return
    host = host_view("mask", mask)
    if host is None:
        if not backend.is_array(mask):
            raise bad_type("mask", f"None or a {backend.name} or NumPy array", describe(mask))
        backend.require("mask", mask)
    found = backend.dtype_of(mask) if host is None else host.dtype
    if found not in (np.dtype(bool), dtype):
        hint = "use mask.astype(bool) for valid or not"
        raise bad_type("mask", f"dtype bool or {dtype}", dtype_in_words(mask.dtype), hint)
    got = tuple(mask.shape)
    if exact and got != shape:
        raise bad_input("mask", f"the targets' shape {shape}", f"shape {got}")
    if not exact and (not got or got != shape[: len(got)]):
        raise bad_input("mask", f"a leading part of the target's shape {shape}", f"shape {got}")
    if host is not None and host.dtype != bool:
        wrong = ~((host >= 0) & (host < math.inf))
        if wrong.any():
            index = first_place(wrong)
            raise bad_input("mask", "finite weights >= 0", f"{host[index]} at index {index}")


def require_same_shape(
    backend: Backend, first: tuple[str, Any], second: tuple[str, Any], dtype: Any
) -> tuple[int, ...]:
    """The shape of two arrays, each given with its name, after a check that it is one, and that the second is alike."""
    (name, array), (other_name, other) = first, second
    shape = tuple(array.shape)
    if not shape:
        raise bad_input(name, "at least one axis", "shape ()")
    backend.require(other_name, other, dtype=dtype)
    if tuple(other.shape) != shape:
        # Nothing is broadcast: (T, B, 1) against (T, B) would silently compare every row with every other.
        expected = f"the {name}'{'' if name.endswith('s') else 's'} shape {shape}"
        raise bad_input(other_name, expected, f"shape {tuple(other.shape)}", "nothing is broadcast")
    return shape


def on_host(backend: Backend, mask: Any) -> np.ndarray:
    """The mask in host memory, without a copy if it is there already."""
    host = host_view("mask", mask)
    return backend.to_host(mask) if host is None else host


@explained()
def class_indices(
    backend: Backend,
    targets: Any,
    mask: Any,
    shape: tuple[int, ...],
    V: int,
    of: str = "logits without their last axis",
) -> tuple[Any, Any]:
    """The targets as indices (P,) that are safe to use, and, if unchecked, a bool (P,): which were out of range."""
    host = host_view("targets", targets)
    if host is None:
        if not backend.is_array(targets):
            expected = f"an integer array on the host or on {backend.name}"
            raise bad_type("targets", expected, describe(targets), "pass a NumPy array")
        backend.require("targets", targets)
    found = backend.dtype_of(targets) if host is None else host.dtype
    if found.kind not in "iu":
        raise bad_type("targets", "an integer dtype", dtype_in_words(targets.dtype), "targets are class indices")
    if tuple(targets.shape) != shape:
        expected = f"shape {shape}, that of the {of}"
        raise bad_input("targets", expected, f"shape {tuple(targets.shape)}")
    if host is None:
        xp = backend.xp
        stray = (targets < 0) | (targets >= V)
        return xp.asarray(xp.where(stray, 0, targets), dtype=np.int64).reshape(-1), stray.reshape(-1)
    stray = (host < 0) | (host >= V)
    if stray.any():
        wrong = stray if mask is None else stray & (on_host(backend, mask) != 0)
        if wrong.any():
            index = first_place(wrong)
            hint = "mask it if it is padding" if mask is None else "padding has mask 0"
            raise bad_input("targets", f"class indices in 0..{V - 1}", f"{host[index]} at index {index}", hint)
        host = np.where(stray, 0, host)
    return backend.asarray(host.reshape(-1), dtype=np.int64), None
