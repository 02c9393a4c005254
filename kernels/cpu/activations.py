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
def _split_32(x: Any) -> Any:
    """x = 2**k m of a positive normal number: m in [1, 2), and k as a number."""
    bits = np.float32(x).view(np.uint32)
    m = np.uint32((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000))
    return m.view(np.float32), np.float32(np.int32(bits >> np.uint32(23)) - np.int32(127))


@inlined
def _split_64(x: Any) -> Any:
    """x = 2**k m of a positive normal number: m in [1, 2), and k as a number."""
    bits = np.float64(x).view(np.uint64)
    m = np.uint64((bits & np.uint64(0xFFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000))
    return m.view(np.float64), np.float64(np.int64(bits >> np.uint64(52)) - np.int64(1023))


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
    shift : the number that is added to round to an integer; it includes the exponent's bias.
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


def _make_exp_and_log(
    number: Any, shift: float, ln2: tuple[float, float], ends: tuple[float, float], power_of_two: Any, horner: Any,
    split: Any,
) -> Any:  # fmt: skip
    """exp and log of one precision; parameters as for `_make`, and `split` takes a number apart."""
    zero, half, one, two, magic, per_ln2 = *map(number, (0, 0.5, 1, 2, shift)), number(1.4426950408889634)
    high, low = number(ln2[0]), number(ln2[1])
    infinite, vanishing, infinity, nan = number(ends[0]), number(1 - ends[0]), number(np.inf), number(np.nan)
    tiny = number(np.finfo(number).tiny)
    lowest = number(np.log(float(tiny)))
    straight = tuple(map(number, _COEFFICIENTS[number]))
    series = tuple(number(1 / n) for n in range(2 * len(straight) + 1, 1, -2))  # 1/3 + z/5 + z^2/7 ...
    bits = np.finfo(number).nmant + 2
    lift, lifted = number(2.0**bits), number(bits)
    root = number(2**0.5)

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
    def log(x: Any) -> Any:
        below = one if x < tiny else zero
        m, k = split(x * lift if x < tiny else x)
        above = one if m > root else zero
        k = k + above - below * lifted
        m = m * (half if m > root else one)
        s = (m - one) / (m + one)
        z = s * s
        value = k * high + (k * low + (two * s * z * horner(series, z) + two * s))
        value = value if x < infinity else x  # inf and NaN
        value = -infinity if x == zero else value
        return nan if x < zero else value

    return exp, log


_SINGLE: Any = (
    np.float32,
    1.5 * 2.0**23 + 127,
    (0.693145751953125, 1.42860682030941723212e-6),
    (89, 9.1),
    _power_of_two_32,
    _horner_32,
    _split_32,
)
_DOUBLE: Any = (
    np.float64,
    1.5 * 2.0**52 + 1023,
    (6.93147180369123816490e-01, 1.90821492927058770002e-10),
    (710, 20),
    _power_of_two_64,
    _horner_64,
    _split_64,
)
_sigmoid_32, _tanh_32 = _make(*_SINGLE[:-1])
_sigmoid_64, _tanh_64 = _make(*_DOUBLE[:-1])
_exp_32, _log_32 = _make_exp_and_log(*_SINGLE)
_exp_64, _log_64 = _make_exp_and_log(*_DOUBLE)


# -- one name for both precisions: chosen by the argument's type when a loop is compiled ------------------------------


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of one float32 or float64 number."""
    return _sigmoid_32(x) if isinstance(x, np.float32) else _sigmoid_64(x)


def tanh(x: Any) -> Any:
    """tanh(x) of one float32 or float64 number."""
    return _tanh_32(x) if isinstance(x, np.float32) else _tanh_64(x)


def exp(x: Any) -> Any:
    """exp(x) of one float32 or float64 number."""
    return _exp_32(x) if isinstance(x, np.float32) else _exp_64(x)


def log(x: Any) -> Any:
    """Natural logarithm of one float32 or float64 number."""
    return _log_32(x) if isinstance(x, np.float32) else _log_64(x)


@inlined
def relu(x: Any) -> Any:
    """max(x, 0) of one number; NaN stays NaN."""
    return type(x)(0) if x <= 0 else x


@inlined
def maximum(a: Any, b: Any) -> Any:
    """The larger of two numbers; `b` if one of them is NaN, as in the array steps."""
    return a if a >= b else b


def number(value: float, like: Any) -> Any:
    """A literal number of a gate function, in the type of `like`: a float64 would widen every value that it meets."""
    return type(like)(value)


def _choose_by_type(function: Any, single: Any, double: Any) -> None:
    @overload(function, jit_options=INLINED)
    def by_type(x: Any) -> Any:
        return single if x.bitwidth == 32 else double


_choose_by_type(sigmoid, _sigmoid_32, _sigmoid_64)
_choose_by_type(tanh, _tanh_32, _tanh_64)
_choose_by_type(exp, _exp_32, _exp_64)
_choose_by_type(log, _log_32, _log_64)


@inlined
def _number_32(value: Any, like: Any) -> Any:
    return np.float32(value)


@inlined
def _number_64(value: Any, like: Any) -> Any:
    return np.float64(value)


@overload(number, jit_options=INLINED)
def _number_by_type(value: Any, like: Any) -> Any:
    return _number_32 if like.bitwidth == 32 else _number_64
