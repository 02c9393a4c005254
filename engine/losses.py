"""Losses with their gradients: means over the valid positions of the whole batch, of which this may be a shard.

A *position* is one (time step, row) pair.  Each has a weight w (1, or the mask's value) and the losses are

    L = sum over valid positions of scale * loss(position),   scale = w / n,   n = sum of w, or the `normalizer`

so shards and accumulation steps that are given the same `normalizer` add up to the loss of the whole batch.  What
stands at a masked position (NaN, infinity, an id out of range) is selected away before any arithmetic: it cannot leak.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from engine.backend import FLOATS, Backend, backend_of
from engine.checks import describe
from engine.device_errors import mended
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, first_place, host_view


@mended()
def cross_entropy(logits: Any, targets: Any, mask: Any = None, normalizer: Any = None) -> tuple[Any, Any]:
    """Softmax cross-entropy in nats, the mean over valid positions, and its gradient with respect to the logits.

    Parameters
    ----------
    logits : float array (..., V), any real numbers; (T, B, V) in this engine.
    targets : integer array (...), class indices in 0..V-1.  A host array (NumPy's, or a tensor on the CPU) is checked
        and uploaded.  An array that is already on a GPU is not checked, since that would wait for it: there an index
        out of range at a valid position makes the loss and that position's gradient NaN, which the optimiser's step
        refuses.
    mask : None (all are valid), a boolean array, or weights >= 0 of the logits' dtype; of the targets' shape, on the
        host or on the backend.  Beside host targets that hold indices out of range (padding such as -100), keep the
        mask on the host too: otherwise it has to be downloaded to tell padding from mistakes.
    normalizer : what to divide by instead of the number (weight) of valid positions: a number >= 0 or a 0-d array of
        the backend.  Zero is right only where everything is masked; elsewhere the loss is then infinite.

    Returns
    -------
    loss : 0-d array, dtype of the logits.  All masked: 0.
    dlogits : array (..., V), exactly 0 at masked positions.

    Raises
    ------
    InputError
        for a wrong shape, or a host target at a valid position out of range, with its index and value.
    InputTypeError
        for a wrong dtype or another library's array.
    """
    backend = backend_of(logits, "logits")
    xp, dtype = backend.xp, _float_dtype(backend, "logits", logits)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise bad_input("logits", "shape (..., V) with V >= 1 classes", f"shape {tuple(logits.shape)}")
    shape, V = tuple(logits.shape[:-1]), int(logits.shape[-1])
    P = math.prod(shape)  # positions
    _require_mask(backend, mask, dtype, shape, exact=True)
    ids, stray = _class_indices(backend, targets, mask, shape, V)
    # NumPy's warnings would say in passing what the non-finite loss says for good; CuPy has none.
    with np.errstate(all="ignore"):
        valid, scale = _positions(backend, mask, normalizer, shape, dtype)
        z = logits.reshape(P, V)
        if valid is not None:
            z = xp.where(valid[:, None], z, 0)
        if stray is not None:
            scale = xp.where(stray if valid is None else stray & valid, math.nan, scale)
        rows = xp.arange(P)
        # log p_k = s_k - log(sum_j exp(s_j))  with  s = z - max(z): no exponential overflows.
        s = z - xp.max(z, axis=1, keepdims=True)
        p = xp.exp(s)
        total = p.sum(axis=1, keepdims=True)
        # L = sum_i scale_i * (log(total_i) - s_i[target_i])
        loss = _total((xp.log(total[:, 0]) - s[rows, ids]) * scale, xp, dtype)
        # L = scale*(log(total) - s[target])  ->  dz_k = scale*(exp(s_k)/total - [k == target])
        p /= total
        p[rows, ids] -= 1  # one entry a row: no index twice
        p *= scale[:, None]
    return loss, p.reshape(logits.shape)


@mended()
def mse(prediction: Any, target: Any, mask: Any = None, normalizer: Any = None) -> tuple[Any, Any]:
    """Squared error, the mean over all elements of valid positions, and its gradient with respect to the prediction.

    Parameters
    ----------
    prediction : float array, at least 1-d; (T, B, D) in this engine.
    target : array of the same shape, dtype and library.
    mask : None, a boolean array, or weights >= 0 of the prediction's dtype, on the host or on the backend.  Its shape
        is a leading part of the target's, as (T, B) for (T, B, D): a position is an entry of the mask.  Without a mask
        it is an entry of the target's shape without the last axis (of a 1-d target: each element).
    normalizer : what to divide by instead of the number (weight) of valid *positions*: a number >= 0 or a 0-d array of
        the backend.  The D elements of a position are divided by on top, so the number of valid positions gives the
        default.

    Returns
    -------
    loss : 0-d array, dtype of the prediction.  All masked: 0.
    dprediction : array of the prediction's shape, exactly 0 at masked positions.

    Raises
    ------
    InputError
        for a wrong shape.
    InputTypeError
        for a wrong dtype or another library's array.
    """
    backend = backend_of(prediction, "prediction")
    xp, dtype = backend.xp, _float_dtype(backend, "prediction", prediction)
    shape = tuple(prediction.shape)
    if not shape:
        raise bad_input("prediction", "at least one axis", "shape ()")
    backend.require("target", target, dtype=dtype)
    if tuple(target.shape) != shape:
        # Nothing is broadcast: (T, B, 1) against (T, B) would silently compare every row with every other.
        raise bad_input(
            "target", f"the prediction's shape {shape}", f"shape {tuple(target.shape)}", "nothing is broadcast"
        )
    _require_mask(backend, mask, dtype, shape, exact=False)
    leading = shape[: max(1, len(shape) - 1)] if mask is None else tuple(mask.shape)
    P, D = math.prod(leading), math.prod(shape[len(leading) :])
    with np.errstate(all="ignore"):
        valid, scale = _positions(backend, mask, normalizer, leading, dtype)
        y, t = prediction.reshape(P, D), target.reshape(P, D)
        if valid is not None:
            y, t = xp.where(valid[:, None], y, 0), xp.where(valid[:, None], t, 0)
        scale = scale / max(D, 1)
        # L = sum_i scale_i * sum_k (y_ik - t_ik)^2
        error = y - t
        loss = _total(xp.square(error).sum(axis=1) * scale, xp, dtype)
        # L = scale*(y - t)^2  ->  dy = 2*scale*(y - t)
        error *= (2 * scale)[:, None]
    return loss, error.reshape(shape)


def _positions(backend: Backend, mask: Any, normalizer: Any, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
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


def _total(losses: Any, xp: Any, dtype: Any) -> Any:
    """The sum as a 0-d array, added up in float64."""
    return xp.asarray(xp.sum(losses, dtype=np.float64), dtype=dtype)


def _float_dtype(backend: Backend, argument: str, array: Any) -> np.dtype:
    """The array's dtype, which must be float32 or float64."""
    dtype = backend.dtype_of(array)
    if dtype not in FLOATS:
        got = dtype_in_words(array.dtype)
        raise bad_type(
            argument, "dtype float32 or float64", got, "convert it to float32, which holds every half exactly"
        )
    return dtype


def _require_mask(backend: Backend, mask: Any, dtype: Any, shape: tuple[int, ...], exact: bool) -> None:
    """Raise unless the mask has the `shape` (`exact` off: a leading part of it) and a dtype that is meant here."""
    if mask is None:
        return
    host = host_view("mask", mask)
    if host is None:
        if not backend.is_array(mask):
            raise bad_type("mask", f"None or a {backend.name} or NumPy array", describe(mask))
        backend.require("mask", mask)
    found = backend.dtype_of(mask) if host is None else host.dtype
    if found not in (np.dtype(bool), dtype):
        mend = "use mask.astype(bool) for valid or not"
        raise bad_type("mask", f"dtype bool or {dtype}", dtype_in_words(mask.dtype), mend)
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


def _class_indices(backend: Backend, targets: Any, mask: Any, shape: tuple[int, ...], V: int) -> tuple[Any, Any]:
    """The targets as indices (P,) that are safe to use; of unchecked ones also a bool (P,): which were out of range."""
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
        expected = f"shape {shape}, that of the logits without their last axis"
        raise bad_input("targets", expected, f"shape {tuple(targets.shape)}")
    if host is None:
        xp = backend.xp
        stray = (targets < 0) | (targets >= V)
        return xp.asarray(xp.where(stray, 0, targets), dtype=np.int64).reshape(-1), stray.reshape(-1)
    stray = (host < 0) | (host >= V)
    if stray.any():
        wrong = stray if mask is None else stray & (_on_host(backend, mask) != 0)
        if wrong.any():
            index = first_place(wrong)
            mend = "mask it if it is padding" if mask is None else "padding has mask 0"
            raise bad_input("targets", f"class indices in 0..{V - 1}", f"{host[index]} at index {index}", mend)
        host = np.where(stray, 0, host)
    return backend.asarray(host.reshape(-1), dtype=np.int64), None


def _on_host(backend: Backend, mask: Any) -> np.ndarray:
    host = host_view("mask", mask)
    return backend.to_host(mask) if host is None else host
