"""Sigmoid, tanh and relu for whole arrays of any array library, real or complex, without overflow or warning.

The complex-step gradient check feeds complex input (with a moderate real part).  Every formula is analytic on each side
of its kink and never takes a modulus, so an imaginary part passes through as a derivative would.  The real part of the
result has the same bits as the result for real input, because in a chaotic network one last digit changes everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any


def activations(xp: Any) -> dict[str, Callable[..., Array]]:
    """The activation functions over the array library `xp`, by name."""

    @np.errstate(under="ignore")  # exp of a large negative number is 0, as it should be
    def sigmoid(x: Any) -> Any:
        # e = exp(-|x|) cannot overflow.  e / (1 + e) keeps relative accuracy for negative x: sigmoid(-40) is 4.2e-18.
        positive = x.real >= 0
        e = xp.exp(xp.where(positive, -x.real, x.real))
        size = xp.where(positive, xp.ones_like(e), e) / (1 + e)
        if not xp.iscomplexobj(x):
            return size
        # exp(a + ib) = exp(a) (cos b + i sin b), and the quotient with its denominator (1 + e cos b)(1 + ib') made real
        b = xp.where(positive, -x.imag, x.imag)
        e_real, e_imaginary = e * xp.cos(b), e * xp.sin(b)
        size = xp.where(positive, xp.ones_like(e), e_real) / (1 + e_real)
        b = e_imaginary / (1 + e_real)
        return xp.where(positive, size * (1 - 1j * b), size + b * b + 1j * (b - size * b)) / (1 + b * b)

    def relu(x: Any) -> Any:
        # asks "is it at most 0?" so that a NaN answers no and stays visible
        return xp.where(x.real <= 0, xp.zeros_like(x), x)

    @np.errstate(under="ignore")
    def tanh(x: Any) -> Any:
        t = xp.tanh(x.real)
        if not xp.iscomplexobj(x):
            return t
        # tanh(a + ib) = (t (1 + s^2) + i s (1 - t^2)) / (1 + t^2 s^2) with t = tanh(a), s = tan(b); 1 - t^2 has no
        # digits left where t is nearly 1, sech(a)^2 = 4 e / (1 + e)^2 with e = exp(-2|a|) has all of them
        s, e = xp.tan(x.imag), xp.exp(-2 * abs(x.real))
        slope = 4 * e / (1 + e) ** 2
        return (t * (1 + s * s) + 1j * (s * slope)) / (1 + (t * s) ** 2)

    @np.errstate(under="ignore")
    def exp(x: Any) -> Any:
        return xp.exp(x)

    def log(x: Any) -> Any:
        if not xp.iscomplexobj(x):
            return xp.log(x)
        return xp.log(x.real) + 1j * (x.imag / x.real)  # exact for the small imaginary part of a complex step

    def maximum(a: Any, b: Any) -> Any:
        a, b = alike(xp, a, b)
        return xp.where(a.real >= b.real, a, b)

    return {"sigmoid": sigmoid, "tanh": tanh, "relu": relu, "exp": exp, "log": log, "maximum": maximum}


def alike(xp: Any, a: Any, b: Any) -> tuple[Array, Array]:
    """Two arguments of one function as two arrays; one of them may be a number such as `zero`."""
    if not getattr(a, "shape", ()):  # a literal has no shape
        a = xp.zeros_like(b) + a
    return a, b if getattr(b, "shape", ()) else xp.zeros_like(a) + b


def tanh_slope(h: Array, one: Array) -> Array:
    """tanh'(a), from h = tanh(a)."""
    return one - h * h


def relu_slope(h: Array, one: Array) -> Array:
    """relu'(a), from h = relu(a): 1 where the output is positive, 0 elsewhere (0 at the kink, as PyTorch has it)."""
    return one * (h.real > 0)


def library(xp: Any, act: str, one: Any) -> dict[str, Any]:
    """The functions and numbers that gate functions may use, by name, over `xp` (`kernels.equations.LIBRARY`).

    Parameters
    ----------
    act : ``"tanh"`` or ``"relu"``: the function that they get as ``act``.
    one : the number 1 in the arrays' own dtype.
    """
    functions = activations(xp)
    slope = {"tanh": tanh_slope, "relu": relu_slope}[act]
    return functions | {"act": functions[act], "act_slope": slope, "one": one, "zero": one - one}


def matmul(xp: Any, a: Any, b: Any) -> Any:
    """a @ b; for complex arrays by real products, so that the real part has the bits of the real arrays' product."""
    if not (xp.iscomplexobj(a) or xp.iscomplexobj(b)):
        return a @ b
    a_imag, b_imag = xp.imag(a), xp.imag(b)
    real, imaginary = a.real @ b.real, a.real @ b_imag + a_imag @ b.real
    return real - a_imag @ b_imag + 1j * imaginary
