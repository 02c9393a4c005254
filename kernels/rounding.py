"""What `precision="bf16"` and `"fp16"` round: the two operands of every matrix product, and nothing else.

A bfloat16 number is the upper half of a float32: its sign, its 8 bits of exponent, 7 bits of its fraction.  An IEEE
half number (float16) has a sign, 5 bits of exponent and 10 of its fraction: the largest is 65504, the smallest above 0
is 2**-24.  Weights, inputs, states and, in backward, the gradients of pre-activations are rounded to such numbers, to
nearest and ties to even, when a product takes them as operands.  The products are added up in float32.  Biases, gate
functions, states, the gradients of weights and the weights themselves stay in float32.

Backward is straight-through: rounding has slope 1, so that it is the product rule with rounded operands
(y = round(x) round(W)' -> dx = round(dy) round(W), dW = round(dy)' round(x)).

This defines what is true; `kernels.cpu.half` computes it with a processor's own instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = Any  # of any array library
Product = Callable[[Array, Array], Array]

#: What a layer's products may be computed in.
PRECISIONS = ("float32", "bf16", "fp16")
#: The matrices of a layer, each with products of its own.
MATRICES = ("weight_ih", "weight_hh", "weight_hr")
_WITHOUT = " without "


def round_to_bf16(xp: Any, values: Array) -> Array:
    """Round float32 numbers to the nearest bfloat16, ties to even; the result is a float32 array of such numbers.

    Integer arithmetic on the bits: half of the last place that stays is added, less 1 where that place is even already;
    a carry runs on into the exponent as it should.  Numbers past the largest become infinite.
    """
    bits = xp.ascontiguousarray(values).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)).view(np.float32)
    return xp.where(values == values, rounded, values)  # a NaN has no nearest number


def round_to_fp16(xp: Any, values: Array) -> Array:
    """Round float32 numbers to the nearest IEEE half numbers, ties to even; the result is a float32 array of these.

    Below 2**-14 the numbers are subnormal: multiples of 2**-24, down to 0.  From 65520 on they become infinite.
    """
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float16).astype(np.float32)


ROUNDINGS: dict[str, Callable[[Any, Array], Array]] = {"bf16": round_to_bf16, "fp16": round_to_fp16}


def without(precision: str, exempt: Iterable[str]) -> str:
    """A precision with matrices whose products stay in float32: a text that says both, for a pass."""
    names = "" if precision == "float32" else " ".join(exempt)
    return precision + _WITHOUT * bool(names) + names


def precision_of(precision: str, matrix: str) -> str:
    """The precision of the products with one of `MATRICES`, from that of a pass."""
    name, _, exempt = precision.partition(_WITHOUT)
    return "float32" if matrix in exempt.split(" ") else name


def product_in(xp: Any, precision: str, matrix: str, matmul: Product) -> Product:
    """The product with one of `MATRICES` in the precision of a pass, from one in the arrays' own dtype."""
    precision = precision_of(precision, matrix)
    if precision == "float32":
        return matmul
    rounded = ROUNDINGS[precision]
    return lambda a, b: matmul(rounded(xp, a), rounded(xp, b))
