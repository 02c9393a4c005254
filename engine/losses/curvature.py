"""Second derivatives of losses with respect to what they judge: what `engine.hvp` needs for the Hessian of a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.errors import bad_input
from engine.losses.positions import float_dtype, positions, require_mask

Array = Any  # of the backend of what the loss judges


@explained()
def curvature_of_mse(prediction: Any, mask: Any = None, normalizer: Any = None) -> Array:
    """The second derivative of `mse`: 2 over the number of elements, 0 at masked positions.

    Parameters
    ----------
    prediction : array
        As for `mse`; its shape and dtype count.
    mask : array or None
        As for `mse`.
    normalizer : float, array or None
        As for `mse`.

    Returns
    -------
    array
        In the shape of the prediction: each number has its own, as no two of them meet in the loss.

    Raises
    ------
    InputError, InputTypeError
        For a wrong shape, dtype or library.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.losses import curvature_of_mse
    >>> curvature_of_mse(np.zeros((2, 2)), mask=np.array([True, False])).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    backend = backend_of(prediction, "prediction")
    dtype, shape = float_dtype(backend, "prediction", prediction), tuple(prediction.shape)
    if not shape:
        raise bad_input("prediction", "at least one axis", "shape ()")
    require_mask(backend, mask, dtype, shape, exact=False)
    leading = shape[: max(1, len(shape) - 1)] if mask is None else tuple(mask.shape)
    D = max(math.prod(shape[len(leading) :]), 1)
    with np.errstate(all="ignore"):
        _, scale = positions(backend, mask, normalizer, leading, dtype)
        # dL/dy = 2*scale*(y - t)/D  ->  d2L/dy2 = 2*scale/D
        each = (2 * scale / D).reshape(*leading, *(1,) * (len(shape) - len(leading)))
    return backend.xp.ascontiguousarray(backend.xp.broadcast_to(each, shape))


@explained()
def curvature_of_cross_entropy(logits: Any, mask: Any = None, normalizer: Any = None) -> Callable[[Any], Array]:
    """The second derivative of `cross_entropy`: a function from a change of the logits to that of the gradient.

    The right classes and label smoothing have no part in it: both are linear in the logits.

    Parameters
    ----------
    logits : array (..., V)
        As for `cross_entropy`.
    mask : array or None
        As for `cross_entropy`.
    normalizer : float, array or None
        As for `cross_entropy`.

    Returns
    -------
    callable
        From a change v (..., V) of the logits to  scale * (p * v - p * sum(p * v)),  with p the softmax.

    Raises
    ------
    InputError, InputTypeError
        For a wrong shape, dtype or library.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.losses import curvature_of_cross_entropy
    >>> curvature_of_cross_entropy(np.zeros((1, 2)))(np.array([[1.0, 0.0]])).tolist()
    [[0.25, -0.25]]
    """
    backend = backend_of(logits, "logits")
    xp, dtype = backend.xp, float_dtype(backend, "logits", logits)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise bad_input("logits", "shape (..., V) with V >= 1 classes", f"shape {tuple(logits.shape)}")
    shape, V = tuple(logits.shape), int(logits.shape[-1])
    require_mask(backend, mask, dtype, shape[:-1], exact=True)
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, shape[:-1], dtype)
        z = logits.reshape(-1, V)
        z = z if valid is None else xp.where(valid[:, None], z, 0)
        p = xp.exp(z - xp.max(z, axis=1, keepdims=True))
        p = p / p.sum(axis=1, keepdims=True)

    def change(moved: Any) -> Array:
        backend.require("the change of the logits", moved, dtype=dtype, shape=shape, axes="that of the logits")
        pv = p * moved.reshape(-1, V)
        pv = pv - p * pv.sum(axis=1, keepdims=True)  # dz = scale*(p - target), dp = p*v - p*sum(p*v)
        return (scale[:, None] * pv).reshape(shape)

    return change
