"""Gradient clipping, in place and without waiting for the device (Pascanu, Mikolov and Bengio 2013)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend.device_errors import explained
from engine.checks import number
from engine.errors import bad_input
from engine.optimizers.parameters import parameters_of


@explained()
def clip_grad_norm(model: Any, max_norm: float) -> Any:
    """Scale all gradients together so that their common 2-norm is at most `max_norm`; return the norm they had.

    The factor is min(1, max_norm/(norm + 1e-6)), as PyTorch has it (Pascanu, Mikolov and Bengio 2013).  Squares are
    added up in float64, so that float32 gradients of 1e25 or 1e-30 have a correct norm.  A norm that is not finite (a
    NaN or infinite gradient, or a float64 gradient beyond about 1e154) makes every gradient NaN. The optimiser's step
    then refuses the update and says so; a factor of 0 would have hidden the fault.

    Parameters
    ----------
    model : Layer, sequence of Layer or Optimizer
        Anything with params and grads, a list of these, or the optimiser that trains them, whose list of parameters is
        then used as it is.
    max_norm : float
        A number > 0; infinity only measures.

    Returns
    -------
    array
        The norm before, 0-d of the backend, in the widest dtype of the gradients.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> linear = engine.Linear(1, 2, bias=False, dtype="float64")
    >>> linear.grads["weight"] = np.array([[3.0], [4.0]])
    >>> float(engine.clip_grad_norm(linear, 1.0)), linear.grads["weight"].ravel().round(3).tolist()
    (5.0, [0.6, 0.8])
    """
    limit = _limit("max_norm", max_norm)
    backend, parameters = parameters_of(model)
    xp = backend.xp
    grads = [parameter.arrays(backend)[1] for parameter in parameters]
    with np.errstate(all="ignore"):
        squares = xp.zeros((), dtype=np.float64)
        for grad in grads:
            squares += xp.square(grad, dtype=np.float64).sum()
        norm = xp.sqrt(squares)
        factor = xp.where(xp.isfinite(norm), xp.minimum(limit / (norm + 1e-6), 1.0), math.nan)
        for grad in grads:
            grad *= xp.asarray(factor, dtype=grad.dtype)  # a 0-d float64 array would promote
        return xp.asarray(norm, dtype=np.result_type(*map(backend.dtype_of, grads)))


@explained()
def clip_grad_value(model: Any, limit: float) -> None:
    """Clip every element of every gradient to -limit..limit.

    Infinite elements stay as they are, unlike in PyTorch: made finite, they would get past the optimiser's check.

    Parameters
    ----------
    model : Layer, sequence of Layer or Optimizer
        Anything with params and grads, a list of these, or the optimiser that trains them, whose list of parameters is
        then used as it is.
    limit : float
        A number > 0.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> linear = engine.Linear(1, 2, bias=False, dtype="float64")
    >>> linear.grads["weight"] = np.array([[3.0], [-0.5]])
    >>> engine.clip_grad_value(linear, 1.0)
    >>> linear.grads["weight"].ravel().tolist()
    [1.0, -0.5]
    """
    limit = _limit("limit", limit)
    backend, parameters = parameters_of(model)
    xp = backend.xp
    with np.errstate(all="ignore"):
        for parameter in parameters:
            grad = parameter.arrays(backend)[1]
            xp.copyto(grad, xp.clip(grad, -limit, limit), where=xp.isfinite(grad))


def _limit(argument: str, value: Any) -> float:
    if isinstance(value, float) and value == math.inf:
        return value
    limit = number(argument, value)
    if limit == 0:
        raise bad_input(argument, "a number > 0", value, "to switch clipping off, leave the call out")
    return limit
