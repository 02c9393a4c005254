"""What LLVM makes of tiles and gate rows for other processors, also those of another kind: compiled here, never run."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
import pytest
from conftest import JIT_OFF
from llvmlite import ir
from numba import from_dtype
from numba.core import config
from numba.core.caching import NullCache

from kernels.cpu import compiling, pipeline, tiles
from kernels.cpu.rows import BACKWARD_KINDS, FORWARD_KINDS, make_rows
from kernels.cpu.vector_width import Registers, largest_tile, parse_features, vector_registers
from kernels.gates import LSTM

pytestmark = pytest.mark.skipif(JIT_OFF, reason="nothing is compiled (NUMBA_DISABLE_JIT)")
LINUX, APPLE = "x86_64-unknown-linux-gnu", "arm64-apple-darwin23.1.0"


class Processor(NamedTuple):
    """LLVM's name, kind of machine and features of a processor, how its registers look in assembly, LLVM's version."""

    name: str
    triple: str
    features: str
    register: str
    since: int = 14

    @property
    def registers(self) -> Registers:
        return vector_registers(self.triple, parse_features(self.features))

    def machine(self) -> llvm.TargetMachine:
        """LLVM's compiler for it; a test skips where the LLVM at hand does not know the processor."""
        if llvm.llvm_version_info[0] < self.since:
            pytest.skip(f"{self.name} is known from LLVM {self.since} on")
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        try:
            target = llvm.Target.from_triple(self.triple)
        except RuntimeError as error:
            pytest.skip(f"this llvmlite compiles for no such machine: {error}")
        return target.create_target_machine(cpu=self.name, features=self.features, opt=3)


PROCESSORS = (
    Processor("nehalem", LINUX, "+sse4.2", r"%xmm\d"),
    Processor("sandybridge", LINUX, "+avx", r"%ymm\d"),
    Processor("haswell", LINUX, "+avx,+avx2,+fma", r"%ymm\d"),
    Processor("znver3", LINUX, "+avx,+avx2,+fma", r"%ymm\d"),
    Processor("skylake-avx512", LINUX, "+avx,+avx2,+fma,+avx512f", r"%zmm\d"),
    Processor("sapphirerapids", LINUX, "+avx,+avx2,+fma,+avx512f", r"%zmm\d"),
    Processor("znver4", LINUX, "+avx,+avx2,+fma,+avx512f", r"%zmm\d", since=16),
    Processor("znver5", LINUX, "+avx,+avx2,+fma,+avx512f", r"%zmm\d", since=19),
    Processor("neoverse-n1", "aarch64-unknown-linux-gnu", "+neon", r"v\d+\.(?:4s|2d)|\.(?:4s|2d)\b"),
    Processor("apple-m1", APPLE, "", r"v\d+\.(?:4s|2d)|\.(?:4s|2d)\b"),
)
every_processor = pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: processor.name)


def _switched(kind: str) -> bool:
    """Whether Numba lets LLVM vectorise loops, or straight code ("SLP")."""
    return bool(getattr(config, f"{kind}_VECTORIZE"))


def optimised(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """LLVM's code after the steps that `kernels.cpu.pipeline` has Numba run."""
    module = llvm.parse_assembly(text)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.slp_vectorization = _switched("LOOP"), _switched("SLP")
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


# -- the tiles of a product -------------------------------------------------------------------------------------------

ELEMENTS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}


def tile_text(rows: int, vectors: int, dtype: str, size: int) -> str:
    """LLVM's code of one function that is one tile, with vectors of so many bytes."""
    element, index = ELEMENTS[dtype], ir.IntType(64)
    pointers = dict.fromkeys(("a", "packed", "c", "start"), element.as_pointer())
    pointers |= dict.fromkeys(("a_rows", "c_rows", "start_rows"), index.as_pointer())
    names = (*tiles._NAMES, "first")
    module = ir.Module("tile")
    kind = ir.FunctionType(ir.VoidType(), [pointers.get(name, index) for name in names])
    function = ir.Function(module, kind, "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    values = dict(zip(names, function.args, strict=True))
    vector = ir.VectorType(element, size // np.dtype(dtype).itemsize)
    tiles._emit(tiles.Arithmetic(builder, vector), rows, vectors, values)
    builder.ret_void()
    return str(module)


def loop_with_products(assembly: str) -> list[str]:
    """The lines of the innermost loop that multiplies most: from a label to the jump back to it."""
    lines, labels, found = assembly.splitlines(), dict[str, int](), list[list[str]]()
    for number, line in enumerate(lines):
        if label := re.match(r"([.\w]+):", line):
            labels[label[1]] = number
        jump = re.match(r"\s+(?:j\w+|b\.?\w*|cbn?z\s+\w+,|tbn?z\s.*,)\s+([.\w]+)\s*$", line)
        if jump and jump[1] in labels:
            found.append(lines[labels[jump[1]] : number + 1])
    return max(found, key=lambda body: sum(map(multiplies, body)))


def multiplies(line: str) -> bool:
    """Whether an instruction multiplies numbers, fused with an addition or not."""
    return re.match(r"\s+(?:v?f?mulp[sd]|vfmadd\d+p[sd]|fmla|fmul)[.\s]", line) is not None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_processor
def test_the_largest_tile_stays_in_registers(processor: Processor, dtype: str) -> None:
    """A product for each pair of row and vector, in whole registers, and nothing goes to the stack and back."""
    machine, tile = processor.machine(), largest_tile(processor.registers)
    module = optimised(tile_text(*tile, dtype, processor.registers.size), machine)
    loop = loop_with_products(machine.emit_assembly(module))
    products = [line for line in loop if multiplies(line)]
    assert len(products) == tile.rows * tile.vectors
    assert all(re.search(processor.register, line) for line in products)
    assert not [line for line in loop if re.search(r"%[re]sp|\[sp", line)]


@pytest.mark.parametrize(("registers", "tile"), [(Registers(64, 32), (6, 4)), (Registers(16, 32), (6, 4))])
def test_tile_of_32_registers(registers: Registers, tile: tuple[int, int]) -> None:
    assert largest_tile(registers) == tile


@pytest.mark.parametrize("size", [16, 32])
def test_tile_of_16_registers(size: int) -> None:
    rows, vectors = largest_tile(Registers(size, 16))
    assert (rows, vectors) == (6, 2)
    assert rows * vectors + vectors + 1 + 1 <= 16  # sums, B, a number of A, and a product where it is not fused


# -- gate rows ---------------------------------------------------------------------------------------------------------

#: Forward has three sigmoids and two tanhs, a division each; backward the tanh of c, with a trace and without.
DIVISIONS = {"forward": 5, "backward": 2}


@pytest.fixture(scope="module", params=["float32", pytest.param("float64", marks=pytest.mark.proof)])
def gate_rows(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """(dtype, LLVM's code of the gate rows of an LSTM by way), before any optimisation."""
    dtype, found = request.param, dict[str, str]()
    optimise = pipeline._Library._optimize_final_module
    rows = make_rows(LSTM)

    def seen(library: pipeline._Library) -> None:
        found[library.name] = str(library._final_module)
        optimise(library)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline._Library, "_optimize_final_module", seen)
        for function, kinds in ((rows.forward, FORWARD_KINDS), (rows.backward, BACKWARD_KINDS)):
            dispatcher = compiling.compiled("LSTM", wrapped=False)(function)
            dispatcher._cache = NullCache()
            dispatcher.compile(tuple(compiling._type(kind, from_dtype(np.dtype(dtype))) for kind in kinds))
    return dtype, found


def for_another(text: str, processor: Processor, machine: llvm.TargetMachine) -> str:
    """The code as Numba would have written it on that processor."""
    text = re.sub(r'(?m)^target triple = ".*"$', f'target triple = "{processor.triple}"', text)
    text = re.sub(r'(?m)^target datalayout = ".*"$', f'target datalayout = "{machine.target_data}"', text)
    return re.sub(r'("prefer-vector-width"=)"\d+"', rf'\1"{8 * processor.registers.size}"', text)


@pytest.mark.parametrize("way", ["forward", "backward"])
@every_processor
def test_gate_rows_are_whole_registers_and_not_unrolled(
    processor: Processor, way: str, gate_rows: tuple[str, dict[str, str]]
) -> None:
    """A division for each activation, in one loop of whole registers; what is left of a row comes in smaller pieces.

    Unrolled by two they were as fast on Zen 4, by four half as fast where a row has few units.
    """
    (dtype, texts), machine = gate_rows, processor.machine()
    module = optimised(for_another(texts[way], processor, machine), machine)
    lanes = processor.registers.size // np.dtype(dtype).itemsize
    name = {"float32": "float", "float64": "double"}[dtype]
    found = Counter(map(int, re.findall(rf"= fdiv\b[a-z ]*? <(\d+) x {name}>", str(module))))
    assert max(found) == lanes
    assert found[lanes] == DIVISIONS[way]
    divisions = [line for line in machine.emit_assembly(module).splitlines() if re.match(r"\s+v?f?div", line)]
    assert any(re.search(processor.register, line) for line in divisions)
