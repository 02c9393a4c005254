"""Penalties on what a recurrent layer gives out: its size, and its change from step to step, with their gradients.

Source: S. Merity, B. McCann, R. Socher, "Revisiting activation regularization for language RNNs", 2017, section 3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.checks import number, switch
from engine.errors import bad_input
from engine.losses.positions import float_dtype, positions, require_mask, summed


@explained()
def activation_regularization(y: Any, alpha: float, mask: Any = None, normalizer: Any = None) -> tuple[Any, Any]:
    """Penalty on the size of outputs: alpha times the mean square over all features of valid positions.

    Merity et al. take the output of the last recurrent layer after its dropout, as the next layer reads it, and
    alpha = 2.

    Parameters
    ----------
    y : array
        (T, B, H), or (B, T, H).
    alpha : float
        The strength, a number >= 0.
    mask : array of bool, array of float or None
        (T, B), or (B, T): the valid positions, or weights >= 0 of the dtype of y; None: all.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid positions, as for `engine.mse`.

    Returns
    -------
    penalty : array
        0-d, in the dtype of y.  All masked: 0.
    dy : array
        Its gradient by y, exactly 0 at masked positions.  Add it to the gradient that backward takes.

    Raises
    ------
    InputError
        For a wrong shape, or a strength that is none.
    InputTypeError
        For a wrong dtype or another library's array.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> y = np.array([[[1.0, 3.0]], [[5.0, 5.0]]])  # T = 2, B = 1
    >>> penalty, dy = engine.activation_regularization(y, 2.0, mask=np.array([[True], [False]]))
    >>> float(penalty), dy.tolist()
    (10.0, [[[2.0, 6.0]], [[0.0, 0.0]]])
    """
    backend, dtype, shape = _checked(y, mask)
    strength = number("alpha", alpha)
    xp = backend.xp
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, shape[:2], dtype)
        penalty, dy = _mean_square(xp, y.reshape(-1, shape[2]), valid, scale, strength, dtype)
    return penalty, dy.reshape(shape)


@explained()
def temporal_activation_regularization(
    y: Any, beta: float, mask: Any = None, normalizer: Any = None, *, batch_first: bool = False
) -> tuple[Any, Any]:
    """Penalty on the change of outputs: beta times the mean square of y_t - y_(t-1) over pairs of valid steps.

    Merity et al. take the output of the last recurrent layer before its dropout, and beta = 1.

    Parameters
    ----------
    y : array
        (T, B, H), or (B, T, H) with `batch_first`.
    beta : float
        The strength, a number >= 0.
    mask : array of bool, array of float or None
        (T, B), or (B, T): the valid positions, or weights >= 0; a pair has the smaller weight of its two positions.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid pairs.
    batch_first : bool
        Whether rows come first.

    Returns
    -------
    penalty : array
        0-d, in the dtype of y.  Without a valid pair, as for T = 1: 0.
    dy : array
        Its gradient by y.

    Raises
    ------
    InputError
        For a wrong shape, or a strength that is none.
    InputTypeError
        For a wrong dtype or another library's array.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> y = np.array([[[1.0]], [[3.0]], [[3.0]]])  # T = 3, B = 1
    >>> penalty, dy = engine.temporal_activation_regularization(y, 1.0)
    >>> float(penalty), dy.ravel().tolist()
    (2.0, [-2.0, 2.0, 0.0])
    """
    backend, dtype, shape = _checked(y, mask)
    strength, rows_first = number("beta", beta), switch("batch_first", batch_first)
    xp = backend.xp
    with np.errstate(all="ignore"):
        weight = None
        if mask is not None:
            weight = mask if backend.is_array(mask) else backend.asarray(np.asarray(mask))
            weight = xp.asarray(weight, dtype=dtype)
            # What a masked position holds, NaN too, must not reach the difference with a valid one.
            y = xp.where((weight != 0)[:, :, None], y, 0)
            weight = xp.minimum(_after(weight, rows_first), _before(weight, rows_first))
        change = _after(y, rows_first) - _before(y, rows_first)  # d_t = y_t - y_(t-1)
        valid, scale = positions(backend, weight, normalizer, tuple(change.shape[:2]), dtype)
        penalty, dchange = _mean_square(xp, change.reshape(-1, shape[2]), valid, scale, strength, dtype)
        dchange = dchange.reshape(change.shape)
        dy = xp.zeros(shape, dtype=dtype)
        part = _after(dy, rows_first)
        part += dchange  # d_t = y_t - y_(t-1)  ->  dy_t += dd_t
        part = _before(dy, rows_first)
        part -= dchange  # d_t = y_t - y_(t-1)  ->  dy_(t-1) -= dd_t
    return penalty, dy


def _checked(y: Any, mask: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """Backend, dtype and shape of y, after a check of the mask against them."""
    backend = backend_of(y, "y")
    dtype = float_dtype(backend, "y", y)
    shape = tuple(y.shape)
    if len(shape) != 3:
        raise bad_input("y", "shape (T, B, H), or (B, T, H)", f"shape {shape}")
    require_mask(backend, mask, dtype, shape[:2], exact=True)
    return backend, dtype, shape


def _mean_square(xp: Any, rows: Any, valid: Any, scale: Any, strength: float, dtype: Any) -> tuple[Any, Any]:
    """The sum of scale_i * strength * mean_k(rows_ik^2), and its gradient by the rows (P, H)."""
    if valid is not None:
        rows = xp.where(valid[:, None], rows, 0)
    if not math.prod(rows.shape):
        return xp.zeros((), dtype=dtype), rows
    factor = scale * (strength / rows.shape[1])
    penalty = summed(xp.square(rows).sum(axis=1) * factor, xp, dtype)
    return penalty, rows * (2 * factor)[:, None]  # L = f*r^2  ->  dr = 2*f*r


def _after(array: Any, batch_first: bool) -> Any:
    """The steps from the second on."""
    return array[:, 1:] if batch_first else array[1:]


def _before(array: Any, batch_first: bool) -> Any:
    """The steps up to the last but one."""
    return array[:, :-1] if batch_first else array[:-1]
