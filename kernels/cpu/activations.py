"""Sigmoid and tanh of one number, branch-free, so that the compiler can do eight or sixteen at once.

    sigmoid(x) = 1 / (1 + exp(-x))              tanh(x) = m / (m + 2),  m = exp(2x) - 1

Both rest on exp(z) = 2**k exp(r), with k the nearest integer to z / ln 2 and r = z - k ln 2, so that |r| <= 0.35, where
exp(r) - 1 is a short polynomial (`_COEFFICIENTS`).  Adding 1.5 * 2**23 (float32) or 1.5 * 2**52 (float64) rounds a
number to an integer and leaves it in the low bits of the sum; where the exponent's bias is added with it, one shift of
these bits makes 2**k of them.  No table, no branch, no call.

Both agree with the exact value to a few units in the last place; a test counts them.  A sigmoid below the smallest
normal number may be 0.  NaN stays NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from kernels.cpu.compiling import INLINED, inlined

#: (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2, as polynomials of the least greatest relative error (Remez exchange):
#: an eighth of a unit in the last place of exp(r) - 1.  Highest power first.
_COEFFICIENTS = {
    np.float32: (
        0.0013946005073528419513,
        0.008366347428710783843,
        0.041666290361724421803,
        0.16666545448542699322,
        0.5000000058345106162,
    ),
    np.float64: (
        2.5113968123325586616e-8,
        2.7625545553939298268e-7,
        2.7557229669897799538e-6,
        0.000024801506690883438941,
        0.00019841269900952765669,
        0.0013888888930171342328,
        0.0083333333333156342945,
        0.041666666666582060182,
        0.16666666666666684226,
        0.50000000000000045782,
    ),
}


@inlined
def _power_of_two_32(shifted: Any) -> Any:
    """2**k from 1.5 * 2**23 + 127 + k: the low bits become the exponent."""
    shifted = np.float32(shifted)
    exponent = np.uint32(shifted.view(np.uint32) << np.uint32(23))
    return exponent.view(np.float32)


@inlined
def _power_of_two_64(shifted: Any) -> Any:
    """2**k from 1.5 * 2**52 + 1023 + k."""
    shifted = np.float64(shifted)
    exponent = np.uint64(shifted.view(np.uint64) << np.uint64(52))
    return exponent.view(np.float64)


@inlined
def _horner_32(c: Any, r: Any) -> Any:
    return (((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]


@inlined
def _horner_64(c: Any, r: Any) -> Any:
    first = ((((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]) * r + c[5]
    return (((first * r + c[6]) * r + c[7]) * r + c[8]) * r + c[9]


def _make(
    number: Any, shift: float, ln2: tuple[float, float], ends: tuple[float, float], power_of_two: Any, horner: Any
) -> Any:
    """Sigmoid and tanh of one precision.

    Parameters
    ----------
    number : the type.
    shift : what rounds to an integer when it is added, with the exponent's bias.
    ln2 : the logarithm of 2 in two parts, the first with so few bits that k times it is exact.
    ends : where exp(x) has become inf, and where tanh(x) has become 1.
    """
    one, two, magic, per_ln2 = number(1), number(2), number(shift), number(1.4426950408889634)
    high, low = number(ln2[0]), number(ln2[1])
    # tanh has z = 2x: with half of ln 2 the remainder is r/2 at no cost, with the powers of 2 in the coefficients
    half_high, half_low, per_half_ln2 = number(ln2[0] / 2), number(ln2[1] / 2), number(2 * 1.4426950408889634)
    infinite, vanishing, saturated = number(ends[0]), number(1 - ends[0]), number(ends[1])
    coefficients = _COEFFICIENTS[number]
    straight = tuple(map(number, coefficients))
    doubled = tuple(number(c * 2.0 ** (len(coefficients) + 1 - n)) for n, c in enumerate(coefficients))

    @inlined
    def sigmoid(x: Any) -> Any:
        y = infinite if -x > infinite else -x
        y = vanishing if y < vanishing else y
        shifted = y * per_ln2 + magic
        k = shifted - magic
        r = (y - k * high) - k * low
        e = (horner(straight, r) * (r * r) + r + one) * power_of_two(shifted)  # exp(-x)
        return one / (one + e)

    @inlined
    def tanh(x: Any) -> Any:
        y = saturated if x > saturated else x
        y = -saturated if y < -saturated else y
        shifted = y * per_half_ln2 + magic
        k = shifted - magic
        r = (y - k * half_high) - k * half_low
        scale = power_of_two(shifted)
        p = horner(doubled, r) * (r * r) + two * r
        m = p * scale + (scale - one)  # exp(2x) - 1 without cancellation
        return m / (m + two)

    return sigmoid, tanh


_sigmoid_32, _tanh_32 = _make(
    np.float32,
    1.5 * 2.0**23 + 127,
    (0.693145751953125, 1.42860682030941723212e-6),
    (89, 9.1),
    _power_of_two_32,
    _horner_32,
)
_sigmoid_64, _tanh_64 = _make(
    np.float64,
    1.5 * 2.0**52 + 1023,
    (6.93147180369123816490e-01, 1.90821492927058770002e-10),
    (710, 20),
    _power_of_two_64,
    _horner_64,
)


# -- one name for both precisions: chosen by the argument's type when a loop is compiled ------------------------------


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of one float32 or float64 number."""
    return _sigmoid_32(x) if isinstance(x, np.float32) else _sigmoid_64(x)


def tanh(x: Any) -> Any:
    """tanh(x) of one float32 or float64 number."""
    return _tanh_32(x) if isinstance(x, np.float32) else _tanh_64(x)


@inlined
def relu(x: Any) -> Any:
    """max(x, 0) of one number; NaN stays NaN."""
    return type(x)(0) if x <= 0 else x


@overload(sigmoid, jit_options=INLINED)
def _sigmoid_by_type(x: Any) -> Any:
    return _sigmoid_32 if x.bitwidth == 32 else _sigmoid_64


@overload(tanh, jit_options=INLINED)
def _tanh_by_type(x: Any) -> Any:
    return _tanh_32 if x.bitwidth == 32 else _tanh_64
