"""Binary cross-entropy of logits, with its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.errors import bad_input
from engine.losses.positions import float_dtype, on_host, positions, require_mask, require_same_shape, summed
from engine.plain_arrays import first_place, host_view


@explained()
def binary_cross_entropy(logits: Any, targets: Any, mask: Any = None, normalizer: Any = None) -> tuple[Any, Any]:
    """Cross-entropy in nats of yes-or-no answers, the mean over all elements of valid positions, and its gradient.

    The probability of yes is the sigmoid of the logit.  For several answers at once that do not exclude each other.

    Parameters
    ----------
    logits : array
        Any real numbers, at least 1-d; (T, B, D) or (B, D) in this engine.
    targets : array
        0 or 1, or a probability between; of the logits' shape, dtype and library.  Checked where it is on the host.
    mask : array of bool, array of float or None
        The valid positions, or weights >= 0; as for `mse`, its shape is a leading part of the targets'.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid positions, as for `mse`.

    Returns
    -------
    loss : array
        0-d, in the dtype of the logits.  All masked: 0.
    dlogits : array
        The gradient, in the logits' shape, exactly 0 at masked positions.

    Raises
    ------
    InputError
        For a wrong shape, or a target outside of 0..1 at a valid position.
    InputTypeError
        For a wrong dtype or another library's array.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.losses import binary_cross_entropy
    >>> loss, dlogits = binary_cross_entropy(np.array([[0.0, 1e4]]), np.array([[1.0, 1.0]]))
    >>> round(float(loss), 4), dlogits.tolist()
    (0.3466, [[-0.25, 0.0]])
    """
    backend = backend_of(logits, "logits")
    xp, dtype = backend.xp, float_dtype(backend, "logits", logits)
    shape = require_same_shape(backend, ("logits", logits), ("targets", targets), dtype)
    require_mask(backend, mask, dtype, shape, exact=False)
    leading = shape[: max(1, len(shape) - 1)] if mask is None else tuple(mask.shape)
    _require_probabilities(targets, None if mask is None else on_host(backend, mask) != 0, leading)
    P, D = math.prod(leading), math.prod(shape[len(leading) :])
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, leading, dtype)
        z, t = logits.reshape(P, D), targets.reshape(P, D)
        if valid is not None:
            z, t = xp.where(valid[:, None], z, 0), xp.where(valid[:, None], t, 0)
        scale = scale / max(D, 1)
        e = xp.exp(-abs(z))  # at most 1: no exponential overflows
        # L = scale * (log(1 + exp(z)) - t*z),  log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))
        loss = summed((xp.maximum(z, xp.zeros_like(z)) - t * z + xp.log1p(e)).sum(axis=1) * scale, xp, dtype)
        # L = scale * (log(1 + exp(z)) - t*z)  ->  dz = scale * (sigmoid(z) - t)
        dz = (xp.where(z >= 0, xp.ones_like(e), e) / (1 + e) - t) * scale[:, None]
    return loss, dz.reshape(shape)


def _require_probabilities(targets: Any, valid: np.ndarray | None, leading: tuple[int, ...]) -> None:
    """Raise if a valid target on the host is outside of 0..1."""
    host = host_view("targets", targets)
    if host is None:
        return
    wrong = ~((host >= 0) & (host <= 1))
    if valid is not None:
        wrong &= valid.reshape(*leading, *(1,) * (host.ndim - len(leading)))
    if wrong.any():
        index = first_place(wrong)
        raise bad_input("targets", "probabilities in 0..1", f"{host[index]} at index {index}", "1 is yes, 0 is no")
