"""Sigmoid, tanh and relu for whole arrays of any array library, real or complex, without overflow or warning.

Complex input (with a moderate real part) is what the complex-step gradient check feeds; every formula is analytic on
each side of its kink and never takes a modulus, so an imaginary part passes through as a derivative would.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Activations(NamedTuple):
    """The activation functions of one array library."""

    sigmoid: Any
    tanh: Any
    relu: Any


def activations(xp: Any) -> Activations:
    """The activation functions over the array library `xp`."""

    @np.errstate(under="ignore")  # exp of a large negative number is 0, as it should be
    def sigmoid(x: Any) -> Any:
        # e = exp(-|x|) cannot overflow.  e / (1 + e) keeps relative accuracy for negative x: sigmoid(-40) is 4.2e-18.
        positive = x.real >= 0
        e = xp.exp(xp.where(positive, -x, x))
        return xp.where(positive, xp.ones_like(e), e) / (1 + e)

    def relu(x: Any) -> Any:
        # asks "is it at most 0?" so that a NaN answers no and stays visible
        return xp.where(x.real <= 0, xp.zeros_like(x), x)

    @np.errstate(under="ignore")
    def tanh(x: Any) -> Any:
        return xp.tanh(x)

    return Activations(sigmoid, tanh, relu)
