"""The functions of each precision, as one array of addresses: what the loops get in the line `rounded` of a table."""

from __future__ import annotations

import functools

import numpy as np

from kernels.cpu import bf16, fp16, half
from kernels.cpu.compiling import JIT, ready

_OWN = {"bf16": bf16, "fp16": fp16}


def slots(precision: str) -> int:
    """Float32 numbers that a pair takes in the scratch memory; 0 where nothing is rounded."""
    return _OWN[precision].SLOTS if precision in _OWN else 0


@functools.cache
def addresses(precision: str) -> np.ndarray:
    """The array of a precision (`kernels.cpu.half`); compiles the functions, if nobody did before.

    For "float32" it holds zeros.
    """
    if precision not in _OWN:
        return half.NONE
    ready(np.dtype(np.float32))
    found = [function.address(np.dtype(np.float32)) for function in (*_OWN[precision].FUNCTIONS, *half.FUNCTIONS)]
    return np.array([*found, slots(precision)], np.int64 if JIT else object)
