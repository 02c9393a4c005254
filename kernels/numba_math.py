"""Sigmoid and tanh of one number, branch-free, so that the compiler can do eight or sixteen at once.

Both rest on exp of a non-positive argument: with k the nearest integer to z / ln 2 and r = z - k ln 2, exp(z) = 2**k
exp(r), where |r| <= 0.35 and exp(r) is its Taylor polynomial (degree 7 for float32, 13 for float64: the first term left
out is below the last bit).  Adding 1.5 * 2**23 (float32) or 1.5 * 2**52 (float64) rounds to an integer and leaves it in
the low bits of the sum, from where it is shifted into the exponent of 2**k.  No table, no branch, no call.

`sigmoid` and `tanh` agree with the exact value to a few units in the last place; a test counts them.  NaN stays NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from kernels.compiling import INLINED, inlined

# -- float32 -----------------------------------------------------------------------------------------------------------

_F = np.float32
_MAGIC_32, _MAGIC_BITS_32 = _F(1.5 * 2.0**23), np.int32(0x4B400000)
_LOG2E_32 = _F(1.4426950408889634)
_LN2_HIGH_32, _LN2_LOW_32 = (
    _F(0.693145751953125),
    _F(1.42860682030941723212e-6),
)  # high part: few bits, k * high is exact
_T32 = tuple(_F(1.0 / f) for f in (2, 6, 24, 120, 720, 5040))


@inlined
def _reduce_32(z: Any) -> Any:
    """k as an int32 and r = z - k ln 2."""
    shifted = np.float32(z * _LOG2E_32 + _MAGIC_32)
    k = shifted - _MAGIC_32
    return np.int32(shifted.view(np.int32) - _MAGIC_BITS_32), (z - k * _LN2_HIGH_32) - k * _LN2_LOW_32


@inlined
def _power_of_two_32(k: Any) -> Any:
    return np.int32(np.int32(k + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def _expm1_poly_32(r: Any) -> Any:
    p = _T32[5]
    p = p * r + _T32[4]
    p = p * r + _T32[3]
    p = p * r + _T32[2]
    p = p * r + _T32[1]
    p = p * r + _T32[0]
    return p * (r * r) + r


@inlined
def _sigmoid_32(x: Any) -> Any:
    y = abs(x)
    y = _F(104.0) if y > _F(104.0) else y  # exp(-104) is below the smallest float32
    k, r = _reduce_32(-y)
    half = np.int32(k >> np.int32(1))  # 2**k in two factors: k reaches below the smallest exponent
    scale = _power_of_two_32(half)
    e = ((_expm1_poly_32(r) + _F(1.0)) * scale) * _power_of_two_32(np.int32(k - half))
    top = _F(1.0) if x >= _F(0.0) else e
    return top / (_F(1.0) + e)


@inlined
def _tanh_32(x: Any) -> Any:
    y = abs(x)
    y = _F(9.1) if y > _F(9.1) else y  # tanh(9.1) rounds to 1
    k, r = _reduce_32(_F(-2.0) * y)
    scale, p = _power_of_two_32(k), _expm1_poly_32(r)
    e = (p + _F(1.0)) * scale  # exp(-2y)
    em1 = p * scale + (scale - _F(1.0))  # exp(-2y) - 1 without cancellation
    large = y > _F(0.55)  # tanh y = 1 - 2e/(1+e) loses nothing here; below, -em1/(1+e) loses nothing
    ratio = (_F(2.0) * e if large else -em1) / (_F(1.0) + e)
    t = _F(1.0) - ratio if large else ratio
    return -t if x < _F(0.0) else t


# -- float64 -----------------------------------------------------------------------------------------------------------

_MAGIC_64, _MAGIC_BITS_64 = 1.5 * 2.0**52, np.int64(0x4338000000000000)
_LOG2E_64 = 1.4426950408889634
_LN2_HIGH_64, _LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_T64 = tuple(1.0 / f for f in (2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800))


@inlined
def _reduce_64(z: Any) -> Any:
    """k as an int64 and r = z - k ln 2."""
    shifted = np.float64(z * _LOG2E_64 + _MAGIC_64)
    k = shifted - _MAGIC_64
    return shifted.view(np.int64) - _MAGIC_BITS_64, (z - k * _LN2_HIGH_64) - k * _LN2_LOW_64


@inlined
def _power_of_two_64(k: Any) -> Any:
    return np.int64((k + np.int64(1023)) << np.int64(52)).view(np.float64)


@inlined
def _expm1_poly_64(r: Any) -> Any:
    p = _T64[11]
    p = p * r + _T64[10]
    p = p * r + _T64[9]
    p = p * r + _T64[8]
    p = p * r + _T64[7]
    p = p * r + _T64[6]
    p = p * r + _T64[5]
    p = p * r + _T64[4]
    p = p * r + _T64[3]
    p = p * r + _T64[2]
    p = p * r + _T64[1]
    p = p * r + _T64[0]
    return p * (r * r) + r


@inlined
def _sigmoid_64(x: Any) -> Any:
    y = abs(x)
    y = 746.0 if y > 746.0 else y  # exp(-746) is below the smallest float64
    k, r = _reduce_64(-y)
    half = k >> np.int64(1)
    e = ((_expm1_poly_64(r) + 1.0) * _power_of_two_64(half)) * _power_of_two_64(k - half)
    top = 1.0 if x >= 0.0 else e
    return top / (1.0 + e)


@inlined
def _tanh_64(x: Any) -> Any:
    y = abs(x)
    y = 20.0 if y > 20.0 else y  # tanh(20) rounds to 1
    k, r = _reduce_64(-2.0 * y)
    scale, p = _power_of_two_64(k), _expm1_poly_64(r)
    e = (p + 1.0) * scale  # exp(-2y)
    em1 = p * scale + (scale - 1.0)  # exp(-2y) - 1 without cancellation
    large = y > 0.55  # tanh y = 1 - 2e/(1+e) loses nothing here; below, -em1/(1+e) loses nothing
    ratio = (2.0 * e if large else -em1) / (1.0 + e)
    t = 1.0 - ratio if large else ratio
    return -t if x < 0.0 else t


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
