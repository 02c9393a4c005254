"""How wide the vectors of the compiled loops are, and how many of them a product holds: what the registers hold.

LLVM would choose another width.  For Intel's servers from Skylake to Emerald Rapids it prefers half of a 512-bit
register, because the first of them lowered their clock when whole registers were used.  The product tiles use whole
registers in any case, so the other loops gain nothing from halves.  The choice here holds for our functions alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features


class Registers(NamedTuple):
    """The vector registers of a processor: how many bytes one holds, and how many there are."""

    size: int
    number: int


def vector_registers(triple: str, features: Mapping[str, bool]) -> Registers:
    """What the loops may use of a processor.

    Parameters
    ----------
    triple : what LLVM calls the kind of machine, such as ``x86_64-unknown-linux-gnu``.
    features : what LLVM says the processor has.  Its model's name is of no use: it stands for LLVM's opinion.
    """
    if triple.startswith(("aarch64", "arm64")):
        return Registers(16, 32)
    if features.get("avx512f"):
        # "prefer-256-bit" is no feature of a processor: it stands here only if NUMBA_CPU_FEATURES asks for it
        return Registers(32 if features.get("prefer-256-bit") else 64, 32)
    return Registers(32 if features.get("avx") else 16, 16)


class Tile(NamedTuple):
    """The largest part of a product that is held in registers: rows of A by vectors of columns of B."""

    rows: int
    vectors: int


def largest_tile(registers: Registers) -> Tile:
    """The tile that fits the registers: its sums, the vectors of B, a number of A spread over a vector, a product.

    The last is there where a processor has no fused multiply-add.  Measured on Zen 4 with 32 registers: 8 rows by 3
    vectors and 4 by 4 are as fast (within 2 %), 14 by 2 are slower, and 512 bits are 1 to 7 % faster than 256.
    """
    return Tile(6, 4 if registers.number >= 32 else 2)


def parse_features(text: str) -> dict[str, bool]:
    """LLVM's ``+avx,-sse4a`` as a dict; the last mention of a feature counts."""
    return {word[1:]: word[0] == "+" for word in text.split(",") if word}


def _features() -> dict[str, bool]:
    """What the processor that Numba compiles for has."""
    asked = getattr(config, "CPU_FEATURES", None)  # NUMBA_CPU_FEATURES: another processor than this one
    return parse_features(get_host_cpu_features() if asked is None else asked)


FEATURES = _features()
REGISTERS = vector_registers(llvm.get_process_triple(), FEATURES)
