"""The functions of each precision, as one array of addresses: what the loops get in the line `rounded` of a table."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.cpu import bf16, fp16, half
from kernels.cpu.compiling import JIT, ready
from kernels.rounding import MATRICES, precision_of

_OWN: dict[str, Any] = {"bf16": bf16, "fp16": fp16}


def slots(precision: str) -> int:
    """Float32 numbers that a pair takes in the scratch memory; 0 where nothing is rounded."""
    own = _OWN.get(precision.partition(" ")[0])
    return 0 if own is None else own.SLOTS


def in_pairs(precision: str) -> tuple[bool, ...]:
    """Whether weight_ih, weight_hh and weight_hr are packed as pairs of rounded numbers."""
    return tuple([precision_of(precision, name) in _OWN for name in MATRICES])


@functools.cache
def addresses(precision: str) -> np.ndarray:
    """The array of a precision (`kernels.cpu.half`); compiles the functions, if nobody did before.

    For "float32" it holds zeros.
    """
    own = _OWN.get(precision.partition(" ")[0])
    if own is None:
        return half.NONE
    ready(np.dtype(np.float32))
    found = [function.address(np.dtype(np.float32)) for function in (*own.FUNCTIONS, *half.FUNCTIONS)]
    flags = [int(rounded) for rounded in in_pairs(precision)]
    return np.array([*found, own.SLOTS, *flags], np.int64 if JIT else object)
