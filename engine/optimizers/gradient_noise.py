"""Annealed Gaussian noise on the gradients, the same numbers on every backend.

Source: A. Neelakantan, L. Vilnis, Q. V. Le, I. Sutskever, L. Kaiser, K. Kurach, J. Martens, "Adding gradient noise
improves learning for very deep networks", 2015, equation 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import philox
from engine.backend.device_errors import explained
from engine.checks import integer, number
from engine.optimizers.parameters import parameters_of

#: The exponent with which the variance falls.
GAMMA = 0.55


@explained()
def add_gradient_noise(model: Any, step: int, eta: float, *, gamma: float = GAMMA, seed: int = 0) -> None:
    """Add normal noise with the variance eta / (1 + step)^gamma to every gradient, in place.

    Call it between clipping and the optimiser's step: clipping would scale the noise too.  The numbers depend on the
    seed, the step and the parameter's name alone: a resumed run draws those of a run without a break, and every backend
    and every rank of a parallel run draws the same.

    Parameters
    ----------
    model : Layer, sequence of Layer or Optimizer
        Anything with params and grads, a list of these, or the optimiser that trains them.
    step : int
        Updates made so far, 0 at the first.
    eta : float
        The variance at the first step, a number >= 0; Neelakantan et al. try 0.01, 0.3 and 1.
    gamma : float
        How fast it falls, a number >= 0.
    seed : int
        Of the noise.

    Raises
    ------
    InputError, InputTypeError
        For arguments that do not fit.

    Examples
    --------
    >>> import engine
    >>> model = engine.Linear(2, 1, bias=False, dtype="float64")
    >>> engine.add_gradient_noise(model, step=0, eta=0.01, seed=3)
    >>> first = model.grads["weight"].copy()
    >>> model.zero_grad()
    >>> engine.add_gradient_noise(model, step=99, eta=0.01, seed=3)  # 100 ** -0.55 of the variance
    >>> (first != model.grads["weight"]).all().item(), first.shape
    (True, (1, 2))
    """
    step, seed = integer("step", step, 0), integer("seed", seed, 0)
    # sqrt(eta / (1 + step)^gamma), by way of the logarithm: no step and no gamma is too large for it
    deviation = math.sqrt(number("eta", eta)) * math.exp(-0.5 * number("gamma", gamma) * math.log(1 + step))
    backend, parameters = parameters_of(model)
    if not deviation:
        return
    with np.errstate(all="ignore"):  # a gradient that is not finite stays so, and the optimiser refuses it
        for parameter in parameters:
            grad = parameter.arrays(backend)[1]
            key = philox.stream_key(seed, parameter.name, f"gradient noise:{step}")
            noise = deviation * philox.normal(key, tuple(grad.shape))
            grad += backend.asarray(noise.astype(backend.dtype_of(grad)))
