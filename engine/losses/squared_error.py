"""Mean squared error, with its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.losses.positions import float_dtype, positions, require_mask, require_same_shape, summed


@explained()
def mse(prediction: Any, target: Any, mask: Any = None, normalizer: Any = None) -> tuple[Any, Any]:
    """Squared error, the mean over all elements of valid positions, and its gradient with respect to the prediction.

    Parameters
    ----------
    prediction : array
        At least 1-d; (T, B, D) in this engine.
    target : array
        Of the same shape, dtype and library.
    mask : array of bool, array of float or None
        The valid positions, or weights >= 0 of the prediction's dtype, on the host or on the backend.  Its shape is a
        leading part of the target's, as (T, B) for (T, B, D): a position is an entry of the mask.  Without a mask it is
        an entry of the target's shape without the last axis (of a 1-d target: each element).
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid *positions*: a number >= 0 or a 0-d array of the backend.
        The loss is also divided by D, the elements of a position, so the number of valid positions gives the default.

    Returns
    -------
    loss : array
        0-d, in the dtype of the prediction.  All masked: 0.
    dprediction : array
        The gradient, in the prediction's shape, exactly 0 at masked positions.

    Raises
    ------
    InputError
        For a wrong shape.
    InputTypeError
        For a wrong dtype or another library's array.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> prediction, target = np.array([[1.0, 2.0], [5.0, 5.0]]), np.zeros((2, 2))
    >>> loss, dprediction = engine.mse(prediction, target, mask=np.array([True, False]))
    >>> float(loss), dprediction.tolist()
    (2.5, [[1.0, 2.0], [0.0, 0.0]])
    """
    backend = backend_of(prediction, "prediction")
    xp, dtype = backend.xp, float_dtype(backend, "prediction", prediction)
    shape = require_same_shape(backend, ("prediction", prediction), ("target", target), dtype)
    require_mask(backend, mask, dtype, shape, exact=False)
    leading = shape[: max(1, len(shape) - 1)] if mask is None else tuple(mask.shape)
    P, D = math.prod(leading), math.prod(shape[len(leading) :])
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, leading, dtype)
        y, t = prediction.reshape(P, D), target.reshape(P, D)
        if valid is not None:
            y, t = xp.where(valid[:, None], y, 0), xp.where(valid[:, None], t, 0)
        scale = scale / max(D, 1)
        # L = sum_i scale_i * sum_k (y_ik - t_ik)^2
        error = y - t
        loss = summed(xp.square(error).sum(axis=1) * scale, xp, dtype)
        # L = scale*(y - t)^2  ->  dy = 2*scale*(y - t)
        error *= (2 * scale)[:, None]
    return loss, error.reshape(shape)
