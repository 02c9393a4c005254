"""The five oldest cells give the bits that they gave before (tests/recorded_bits.py)."""

from __future__ import annotations

import json

import pytest
import recorded_bits
from conftest import JIT_OFF

from kernels.cpu.vector_width import REGISTERS

RECORD = json.loads(recorded_bits.FILE.read_text())


@pytest.mark.skipif(JIT_OFF, reason="plain Python adds and multiplies apart (NUMBA_DISABLE_JIT)")
@pytest.mark.skipif(
    REGISTERS.size != RECORD["register"], reason="recorded with AVX-512; this processor has another width"
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", recorded_bits.FIVE_CELLS)
def test_bits_are_those_of_before(cell: str, dtype: str) -> None:
    for name, found in recorded_bits.digests(cell, dtype).items():
        assert found == RECORD["digests"][name], name
