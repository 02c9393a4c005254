"""The quantile loss (pinball loss) of forecasts with bands, with its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.checks import describe, fraction
from engine.errors import bad_input, bad_type
from engine.losses.positions import float_dtype, positions, require_mask, summed


@explained()
def quantile(
    prediction: Any, target: Any, levels: Sequence[float], mask: Any = None, normalizer: Any = None
) -> tuple[Any, Any]:
    """Quantile loss (Koenker and Bassett 1978), the mean over valid positions and levels, and its gradient.

    With e = target - prediction, the loss of level q is q e where e > 0 and (q - 1) e where not.  Its mean is lowest
    where a share q of the targets lies below the prediction: that is the quantile.

    Parameters
    ----------
    prediction : array (..., Q) or (..., D * Q)
        Q numbers for each target: of the targets' shape with an axis of levels behind, or as a `Linear` gives them,
        the Q levels of the first of D columns first.
    target : array (...) or (..., D)
        What came, of the same dtype and library.
    levels : sequence of float
        The Q levels, each between 0 and 1, rising, such as ``(0.1, 0.5, 0.9)``.
    mask : array of bool, array of float or None
        The valid positions, or weights >= 0; its shape is a leading part of the target's.  None: all.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid positions.

    Returns
    -------
    loss : array
        0-d, in the dtype of the prediction.  All masked: 0.
    dprediction : array
        The gradient, in the prediction's shape; 0 where prediction and target are equal, and at masked positions.

    Raises
    ------
    InputError
        For a wrong shape, or levels that are not between 0 and 1 and rising.
    InputTypeError
        For a wrong dtype or another library's array.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.losses import quantile
    >>> loss, gradient = quantile(np.array([[3.0, 3.0]]), np.array([5.0]), levels=(0.25, 0.75))
    >>> float(loss), gradient.tolist()
    (1.0, [[-0.125, -0.375]])
    """
    backend = backend_of(prediction, "prediction")
    xp, dtype = backend.xp, float_dtype(backend, "prediction", prediction)
    q = check_levels(levels)
    backend.require("target", target, dtype=dtype)
    shape, given, Q = tuple(target.shape), tuple(prediction.shape), len(q)
    if not shape:
        raise bad_input("target", "at least one axis", "shape ()")
    if given not in ((*shape, Q), (*shape[:-1], shape[-1] * Q)):
        expected = f"shape {(*shape, Q)} or {(*shape[:-1], shape[-1] * Q)}, {Q} levels of a target of shape {shape}"
        raise bad_input("prediction", expected, f"shape {given}")
    require_mask(backend, mask, dtype, shape, exact=False)
    leading = shape[: max(1, len(shape) - 1)] if mask is None else tuple(mask.shape)
    P, D = math.prod(leading), math.prod(shape[len(leading) :])
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, leading, dtype)
        y, t = prediction.reshape(P, D, Q), target.reshape(P, D, 1)
        if valid is not None:
            y, t = xp.where(valid[:, None, None], y, 0), xp.where(valid[:, None, None], t, 0)
        level = backend.asarray(q, dtype=dtype)
        scale = (scale / max(D * Q, 1))[:, None, None]
        e = t - y
        # L = scale * (q*e if e > 0 else (q - 1)*e)
        slope = xp.where(e > 0, level, xp.where(e < 0, level - 1, xp.zeros_like(e)))
        slope = xp.where(e == e, slope, e)  # NaN stays visible
        loss = summed(xp.where(slope != 0, slope * e * scale, 0), xp, dtype)
        dy = -slope * scale  # L = scale * slope * (t - y)
    return loss, dy.reshape(given)


def check_levels(levels: Any) -> np.ndarray:
    """The levels (Q,) on the host, or a clear error."""
    if not isinstance(levels, list | tuple | np.ndarray) or len(levels) == 0:
        raise bad_type("levels", "a sequence of numbers such as (0.1, 0.5, 0.9)", describe(levels))
    found = np.array([fraction(f"levels[{k}]", level, zero_allowed=False) for k, level in enumerate(levels)])
    if (np.diff(found) <= 0).any():
        raise bad_input("levels", "rising numbers", ", ".join(f"{level:g}" for level in found))
    return found
