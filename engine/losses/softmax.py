"""Cross-entropy of logits against token ids, with its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.checks import probability
from engine.errors import bad_input
from engine.losses.positions import class_indices, float_dtype, positions, require_mask, summed


@explained()
def cross_entropy(
    logits: Any, targets: Any, mask: Any = None, normalizer: Any = None, *, label_smoothing: float = 0.0
) -> tuple[Any, Any]:
    """Softmax cross-entropy in nats, the mean over valid positions, and its gradient with respect to the logits.

    docs/losses_and_optimisers.md derives the gradient.

    Parameters
    ----------
    logits : array (..., V)
        Any real numbers; (T, B, V) in this engine.
    targets : array of int (...)
        Class indices in 0..V-1.  A host array (NumPy's, or a tensor on the CPU) is checked and uploaded.  An array that
        is already on a GPU is not checked, since that would wait for it: there an index out of range at a valid
        position makes the loss and that position's gradient NaN, which the optimiser's step refuses.
    mask : array of bool, array of float or None
        The valid positions, or weights >= 0 of the logits' dtype; of the targets' shape, on the host or on the backend.
        None: all are valid.  Beside host targets that hold indices out of range (padding such as -100), keep the mask
        on the host too: otherwise it has to be downloaded to tell padding from mistakes.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid positions: a number >= 0 or a 0-d array of the backend.
        Zero is right only if everything is masked; otherwise the loss is infinite.
    label_smoothing : float
        The share e, 0 to 1, of the probability that every class gets alike: the target is 1 - e + e/V for the right
        class and e/V for the others (Szegedy et al. 2016, section 7).

    Returns
    -------
    loss : array
        0-d, in the dtype of the logits.  All masked: 0.
    dlogits : array (..., V)
        The gradient, exactly 0 at masked positions.

    Raises
    ------
    InputError
        For a wrong shape, or a host target at a valid position out of range, with its index and value.
    InputTypeError
        For a wrong dtype or another library's array.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> logits = np.zeros((2, 1, 4))  # T = 2, B = 1, V = 4: every class is as likely as the others
    >>> loss, dlogits = engine.cross_entropy(logits, np.array([[2], [0]]))
    >>> round(float(loss), 4), dlogits[0, 0].tolist()
    (1.3863, [0.125, 0.125, -0.375, 0.125])
    """
    backend = backend_of(logits, "logits")
    xp, dtype = backend.xp, float_dtype(backend, "logits", logits)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise bad_input("logits", "shape (..., V) with V >= 1 classes", f"shape {tuple(logits.shape)}")
    shape, V = tuple(logits.shape[:-1]), int(logits.shape[-1])
    P = math.prod(shape)  # positions
    require_mask(backend, mask, dtype, shape, exact=True)
    smooth = probability("label_smoothing", label_smoothing)
    ids, stray = class_indices(backend, targets, mask, shape, V)
    # No warnings: the non-finite loss already tells the user, and CuPy never warns.
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, shape, dtype)
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
        # L = sum_i scale_i * (log(total_i) - s_i[target_i]), with smoothing that entry of s with the mean of all
        wanted = s[rows, ids] if smooth == 0 else (1 - smooth) * s[rows, ids] + smooth * s.sum(axis=1) / V
        loss = summed((xp.log(total[:, 0]) - wanted) * scale, xp, dtype)
        # L = scale*(log(total) - (1-e)*s[target] - e*mean(s))
        #     ->  dz_k = scale*(exp(s_k)/total - (1-e)*[k == target] - e/V);  e is 0 without smoothing
        p /= total
        p[rows, ids] -= 1 - smooth  # one entry a row: no index twice
        if smooth > 0:
            p -= smooth / V
        p *= scale[:, None]
    return loss, p.reshape(logits.shape)
