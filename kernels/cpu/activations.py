"""Sigmoid, tanh, exp and log of one number, branch-free, so that the compiler can do eight or sixteen at once.

    sigmoid(x) = 1 / (1 + exp(-x))              tanh(x) = m / (m + 2),  m = exp(2x) - 1

Both rest on exp(z) = 2**k exp(r), with k the nearest integer to z / ln 2 and r = z - k ln 2, so that |r| <= 0.35, where
exp(r) - 1 is a short polynomial (`_COEFFICIENTS`).  Adding 1.5 * 2**23 (float32) or 1.5 * 2**52 (float64) rounds a
number to an integer and leaves it in the low bits of the sum; if the exponent's bias is added too, one shift turns
these bits into 2**k.  No table, no branch, no call.

log(x) = k ln 2 + log(m) with x = 2**k m and m between sqrt(1/2) and sqrt(2), where log(m) = 2 artanh(s) with
s = (m - 1) / (m + 1) is a short series in s**2.

All agree with the exact value to a few units in the last place; a test counts them.  A sigmoid or exp below the
smallest normal number may be 0.  NaN stays NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from kernels.cpu.compiling import INLINED, inlined

#: (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2, as polynomials with the smallest worst relative error (Remez exchange):
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
def _horner_32(c: Any, r: Any) -> Any:
    return (((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]


@inlined
def _horner_64(c: Any, r: Any) -> Any:
    first = ((((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]) * r + c[5]
    return (((first * r + c[6]) * r + c[7]) * r + c[8]) * r + c[9]


def _make(number: Any, integer: Any, ln2: tuple[float, float], ends: tuple[float, float], horner: Any) -> Any:
    """The functions of one precision, by name.

    Parameters
    ----------
    number : the type; integer : the unsigned one of that size.
    ln2 : the logarithm of 2 in two parts, the first with so few bits that k times it is exact.
    ends : where exp(x) has become inf, and where tanh(x) has become 1.
    """
    digits, bias = np.finfo(number).nmant, np.finfo(number).maxexp - 1
    zero, one, two, shift = number(0), number(1), number(2), integer(digits)
    magic, per_ln2 = number(1.5 * 2.0**digits + bias), number(1.4426950408889634)
    high, low = number(ln2[0]), number(ln2[1])
    # tanh has z = 2x: with half of ln 2 the remainder is r/2 at no cost, with the powers of 2 in the coefficients
    half_high, half_low, per_half_ln2 = number(ln2[0] / 2), number(ln2[1] / 2), number(2 * 1.4426950408889634)
    infinite, vanishing, saturated = number(ends[0]), number(1 - ends[0]), number(ends[1])
    coefficients = _COEFFICIENTS[number]
    straight = tuple(map(number, coefficients))
    doubled = tuple(number(c * 2.0 ** (len(coefficients) + 1 - n)) for n, c in enumerate(coefficients))
    lowest = number(np.log(float(np.finfo(number).tiny)))

    @inlined
    def power_of_two(shifted: Any) -> Any:
        """2**k from `magic` + k: the low bits become the exponent."""
        exponent = integer(number(shifted).view(integer) << shift)
        return exponent.view(number)

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

    @inlined
    def exp(x: Any) -> Any:
        y = infinite if x > infinite else x
        y = vanishing if y < vanishing else y
        shifted = y * per_ln2 + magic
        k = shifted - magic
        r = (y - k * high) - k * low
        above = one if k > zero else zero  # 2**128 is no float32, but 2 * 2**127 * 0.99 is one
        value = (horner(straight, r) * (r * r) + r + one) * power_of_two(shifted - above) * (one + above)
        return zero if x < lowest else value

    @inlined
    def literal(value: Any, like: Any) -> Any:
        return number(value)

    log = _make_log(number, integer, ln2, horner)
    return {"sigmoid": sigmoid, "tanh": tanh, "exp": exp, "log": log, "number": literal}


def _make_log(number: Any, integer: Any, ln2: tuple[float, float], horner: Any) -> Any:
    """The logarithm of one precision; parameters as for `_make`."""
    digits, bias, tiny = np.finfo(number).nmant, np.finfo(number).maxexp - 1, number(np.finfo(number).tiny)
    zero, half, one, two, high, low = map(number, (0, 0.5, 1, 2, *ln2))
    terms = len(_COEFFICIENTS[number])
    series = tuple(number(1 / n) for n in range(2 * terms + 1, 1, -2))  # 1/3 + z/5 + z^2/7 ...
    infinity, nan, root, offset = number(np.inf), number(np.nan), number(2**0.5), number(bias)
    lift, lifted = number(2.0 ** (digits + 2)), number(digits + 2)
    shift, mask, exponent_of_one = integer(digits), integer(2**digits - 1), integer(bias << digits)

    @inlined
    def log(x: Any) -> Any:
        below = one if x < tiny else zero
        bits = number(x * lift if x < tiny else x).view(integer)
        mantissa = integer((bits & mask) | exponent_of_one)
        m, k = mantissa.view(number), number(bits >> shift) - offset  # x = 2**k m with m in [1, 2)
        above = one if m > root else zero
        k = k + above - below * lifted
        m = m * (half if m > root else one)
        s = (m - one) / (m + one)
        z = s * s
        value = k * high + (k * low + (two * s * z * horner(series, z) + two * s))
        value = value if x < infinity else x  # inf and NaN
        value = -infinity if x == zero else value
        return nan if x < zero else value

    return log


_SINGLE = _make(np.float32, np.uint32, (0.693145751953125, 1.42860682030941723212e-6), (89, 9.1), _horner_32)
_DOUBLE = _make(np.float64, np.uint64, (6.93147180369123816490e-01, 1.90821492927058770002e-10), (710, 20), _horner_64)


# -- one name for both precisions: chosen by the argument's type when a loop is compiled ------------------------------


def _of(name: str, x: Any) -> Any:
    return (_SINGLE if isinstance(x, np.float32) else _DOUBLE)[name]


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of one float32 or float64 number."""
    return _of("sigmoid", x)(x)


def tanh(x: Any) -> Any:
    """tanh(x) of one float32 or float64 number."""
    return _of("tanh", x)(x)


def exp(x: Any) -> Any:
    """exp(x) of one float32 or float64 number."""
    return _of("exp", x)(x)


def log(x: Any) -> Any:
    """Natural logarithm of one float32 or float64 number."""
    return _of("log", x)(x)


def number(value: float, like: Any) -> Any:
    """A literal number of a gate function, in the type of `like`: a float64 would widen every value that it meets."""
    return type(like)(value)


@inlined
def relu(x: Any) -> Any:
    """max(x, 0) of one number; NaN stays NaN."""
    return type(x)(0) if x <= 0 else x


@inlined
def maximum(a: Any, b: Any) -> Any:
    """The larger of two numbers; `b` if one of them is NaN, as in the array steps."""
    return a if a >= b else b


def _choose_by_type(function: Any) -> None:
    single, double = _SINGLE[function.__name__], _DOUBLE[function.__name__]
    if function is number:

        @overload(function, jit_options=INLINED)
        def literal_by_type(value: Any, like: Any) -> Any:
            return single if like.bitwidth == 32 else double

    else:

        @overload(function, jit_options=INLINED)
        def by_type(x: Any) -> Any:
            return single if x.bitwidth == 32 else double


for _function in (sigmoid, tanh, exp, log, number):
    _choose_by_type(_function)
