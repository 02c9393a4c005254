"""The gate rows use whole vector registers, on the processor at hand and on those that LLVM would use half of."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from builders import FIVE_CELLS
from conftest import JIT_OFF

from kernels.cpu import loops, warmup
from kernels.cpu.vector_width import REGISTERS, parse_features, vector_registers
from kernels.gates import find

X86 = llvm.get_process_triple().startswith("x86_64")
assembly = pytest.mark.skipif(
    JIT_OFF or not X86,
    reason="nothing is compiled (NUMBA_DISABLE_JIT)"
    if JIT_OFF
    else "only the vector registers of x86-64 are known here",
)

LINUX, APPLE = "x86_64-unknown-linux-gnu", "arm64-apple-darwin23.1.0"
AVX2 = "+sse2,+avx,+avx2,+fma,-avx512f"
SKYLAKE = "+sse2,+avx,+avx2,+fma,+avx512f,+avx512cd,+avx512bw,+avx512dq,+avx512vl"
ICE_LAKE = f"{SKYLAKE},+avx512vnni,+avx512ifma,+avx512vbmi,+gfni"
SAPPHIRE_RAPIDS = f"{ICE_LAKE},+avx512bf16,+avx512fp16,+amx-tile,+amx-int8"
ZEN_4 = f"{ICE_LAKE},+avx512bf16,+sse4a,-avx512fp16"


@pytest.mark.parametrize(
    ("name", "triple", "features", "registers"),
    [
        ("skylake-avx512", LINUX, SKYLAKE, (64, 32)),
        ("icelake-server", LINUX, ICE_LAKE, (64, 32)),
        ("sapphirerapids", LINUX, SAPPHIRE_RAPIDS, (64, 32)),
        ("emeraldrapids", LINUX, SAPPHIRE_RAPIDS, (64, 32)),
        ("emeraldrapids, half asked for", LINUX, f"{SAPPHIRE_RAPIDS},+prefer-256-bit", (32, 32)),
        ("znver4", LINUX, ZEN_4, (64, 32)),
        ("znver5", LINUX, f"{ZEN_4},+avx512vp2intersect", (64, 32)),
        ("alderlake", "x86_64-pc-windows-msvc", AVX2, (32, 16)),
        ("haswell", LINUX, AVX2, (32, 16)),
        ("sandybridge", LINUX, "+sse4.2,+avx,-avx2", (32, 16)),
        ("nehalem", LINUX, "+sse4.2,-avx,-avx512f", (16, 16)),
        ("NUMBA_ENABLE_AVX=0", LINUX, "+sse4.2,-avx,-avx2,-avx512f,-avx512vl", (16, 16)),
        ("neoverse-n1", "aarch64-unknown-linux-gnu", "+neon,+fp-armv8", (16, 32)),
        ("apple-m1", APPLE, "", (16, 32)),
        ("unknown", LINUX, "", (16, 16)),
    ],
)
def test_registers_of(name: str, triple: str, features: str, registers: tuple[int, int]) -> None:
    assert vector_registers(triple, parse_features(features)) == registers


def test_the_last_word_on_a_feature_holds() -> None:
    assert parse_features("+avx,+fma,-avx") == {"avx": False, "fma": True}
    assert parse_features("") == {}


# -- what was compiled ------------------------------------------------------------------------------------------------
# Products, packing and sums of rows consist of moves, additions and fused multiply-adds.  So multiplications,
# divisions and comparisons of numbers belong to the gate rows.  Each loop over hidden units is there as vectors and,
# for the last few units, one number at a time.


def gate_registers(text: str) -> set[int]:
    """Bytes of the registers that the gate rows' vector instructions use, in assembly."""
    found = re.findall(r"^\s+v?(?:mul|div|max|cmp[a-z]*)p[sd]\s.*?([xyz])mm", text, re.MULTILINE)
    return {{"x": 16, "y": 32, "z": 64}[letter] for letter in found}


def gate_instructions(text: str, dtype: str) -> dict[tuple[str, int], int]:
    """How many of the gate rows' instructions work on so many numbers at once, in LLVM's code, by kind and numbers."""
    name = {"float32": "float", "float64": "double"}[dtype]
    found = re.findall(rf"= (fmul|fdiv|fcmp)\b[a-z ]*? (?:<(\d+) x {name}>|{name}) ", text)
    return Counter((kind, int(width or 1)) for kind, width in found)


def code_and_assembly(loop: Any, dtype: str) -> tuple[str, str]:
    """A compiled loop, whether it was compiled in this process or came from disk."""
    compiled = next(
        result
        for signature, result in loop.overloads.items()
        if str(signature[-1]) == dtype  # the number 1
    )
    module = compiled.library._get_module_for_linking().clone()
    for function in module.functions:
        if not function.is_declaration and function.name != compiled.fndesc.llvm_func_name:
            function.linkage = "available_externally"  # it is called, and not written out again
    triple, processor, features = compiled.library.codegen.magic_tuple()
    # opt=0: unlike what runs, instructions are in no special order, which takes a tenth of the time; vectors are there
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, features=features, opt=0)
    return str(module.get_function(compiled.fndesc.llvm_func_name)), machine.emit_assembly(module)


@assembly
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "cell",
    [*FIVE_CELLS, pytest.param("slstm", marks=pytest.mark.proof)],  # one that `make test` has not compiled
)
def test_gate_rows_use_whole_registers(cell: str, dtype: str) -> None:
    warmup.warm(cell, dtype)
    width = REGISTERS.size // np.dtype(dtype).itemsize
    found_loops = loops.loops_of(find(cell))
    assert found_loops is not None
    for way, loop in found_loops.rows.items():
        code, instructions = code_and_assembly(loop.dispatcher, dtype)
        found = gate_instructions(code, dtype)
        kinds = {kind for kind, _ in found}
        assert kinds, "no gate row was found"
        for kind in kinds:
            # the last units, or a few units of several rows, come in smaller vectors, or one by one in several copies
            smaller = [number for (other, lanes), number in found.items() if other == kind and 1 < lanes < width]
            assert found[kind, width] >= max([1, *smaller]), f"a loop is not vectorised, or half: {way} {found}"
        assert max(gate_registers(instructions)) == REGISTERS.size


# Compiled for another processor and not run.
ROWS_FOR_ANOTHER = """
import json, numba, numpy
from numba import float32
from kernels.cpu import compiling
from kernels.cpu.rows import BACKWARD_KINDS, FORWARD_KINDS, make_rows
from kernels.gates import LSTM

def theirs(x, y):
    for j in range(len(x)):
        y[j] = x[j] * x[j]

rows = make_rows(LSTM)
theirs = numba.njit(theirs)
theirs.compile((numba.types.Array(float32, 1, "C"),) * 2)
rows = [compiling.Shared(*pair) for pair in ((rows.forward, FORWARD_KINDS), (rows.backward, BACKWARD_KINDS))]
for row in rows:
    row.address(numpy.dtype("float32"))
rows = [row.dispatcher for row in rows]
print(json.dumps([text for loop in (*rows, theirs) for text in loop.inspect_asm().values()]))
"""


@assembly
@pytest.mark.parametrize(
    ("processor", "features", "ours", "others"),
    [
        ("sapphirerapids", SAPPHIRE_RAPIDS, 64, 32),
        pytest.param("haswell", AVX2, 32, 32, marks=pytest.mark.proof),  # it has no wider ones
    ],
)
def test_rows_for_another_processor(processor: str, features: str, ours: int, others: int, tmp_path: Path) -> None:
    """LLVM prefers half a register on Intel's servers: that holds for the functions of others, and not for ours."""
    script = tmp_path / "rows.py"  # a file: what has none is not kept on disk, and says so
    script.write_text(ROWS_FOR_ANOTHER)
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(loops.__file__).parents[2]),
    }
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    forward, backward, theirs = (max(gate_registers(text)) for text in json.loads(done.stdout))
    assert (forward, backward, theirs) == (ours, ours, others)
