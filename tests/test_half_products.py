"""Products of 16-bit numbers in compiled code: against NumPy's, and the instructions against the emulation."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from builders import distance
from conftest import JIT_OFF

from kernels.cpu import bf16, bf16_tiles, fp16_tiles, half, precisions
from kernels.cpu.pointers import after, at
from kernels.cpu.tiles import ROWS, VECTORS
from kernels.cpu.vector_width import parse_features
from kernels.rounding import ROUNDINGS, round_to_bf16, round_to_fp16

LANE, PLAIN = half.LANE, np.arange(300)
#: Rows, depth, columns: less and more than a tile, odd depths, columns that end within a vector and at its end.
SIZES = [(1, 1, 1), (7, 5, 3), (ROWS + 7, 2 * LANE, VECTORS * LANE), (ROWS, 33, LANE + 1), (9, 4 * LANE + 1, 131)]


needs_instruction = pytest.mark.skipif(
    JIT_OFF or not bf16_tiles.INSTRUCTION,
    reason="nothing is compiled (NUMBA_DISABLE_JIT)" if JIT_OFF else "this processor has no AVX512-BF16",
)


# The functions want pointers, which Python has not.


@numba.njit
def multiply(found: Any, a: Any, b: Any, sizes: Any, c: Any, start: Any, memory: Any, transposed: bool) -> None:
    plain, packed, scratch = at(PLAIN), at(memory[0]), at(memory[1])
    count, depth, columns = sizes
    if transposed:
        half.pack_gates(found[half.PACK_GATES], at(found), at(b), depth, columns, (0, 1), (0, columns), packed, 0)
    else:
        half.pack_rows(found[half.PACK_ROWS], (at(b), plain, columns, 0), depth, columns, packed, 0)
    half.gates(
        found[half.GATES], at(found), count, columns, (0, 1), (0, columns), (at(a), plain, depth, 0, 1),
        (packed, 0, depth), (at(c), plain, columns, 0), (at(start), plain, columns, 0, 1), scratch,
    )  # fmt: skip


@numba.njit
def gradient(found: Any, a: Any, b: Any, sizes: Any, span: Any, total: Any, summed: bool, memory: Any) -> None:
    plain, packed, scratch = at(PLAIN), at(memory[0]), at(memory[1])
    M, depth, columns = sizes
    half.gradient(
        found[half.GRADIENT], at(found), (at(a), 0, M), (at(b), plain, columns, 0), depth, columns, plain,
        packed, 0, scratch, span, (at(total), summed),
    )  # fmt: skip


@pytest.fixture(params=["bf16", "fp16"])
def precision(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def found(precision: str) -> np.ndarray:
    return precisions.addresses(precision)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def room(rows: int, depth: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory for packed pairs and for those of the other operand, with NaN in it."""
    deep = (depth + 1) // 2 * 2
    packed = np.full(deep // 2 * (columns + LANE), np.nan, np.float32)
    return packed, np.full(max(rows * (deep + half.PADDING), deep * half.BLOCK), np.nan, np.float32)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_product(found: Any, precision: str, sizes: tuple[int, int, int], transposed: bool) -> None:
    count, depth, columns = sizes
    a, b, start = numbers(count, depth), numbers(depth, columns), numbers(count, columns)
    beyond = np.full(count * columns + 1, np.nan, np.float32)  # one number past the end
    given = np.ascontiguousarray(b.T) if transposed else b
    multiply(found, a.ravel(), given.ravel(), sizes, beyond, start.ravel(), room(*sizes), transposed)
    rounded = ROUNDINGS[precision]
    wanted = start + rounded(np, a).astype(np.float64) @ rounded(np, b)
    assert distance(beyond[:-1].reshape(count, columns), wanted) < 1e-6
    assert np.isnan(beyond[-1])


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("sizes", [(M, depth, columns) for M, depth, columns in SIZES] + [(half.BLOCK + 5, 6, 20)])
def test_gradient_of_a_weight(found: Any, precision: str, sizes: tuple[int, int, int], summed: bool) -> None:
    M, depth, columns = sizes
    a, b, before = numbers(depth, M), numbers(depth, columns), numbers(M, columns)
    span, total = (M // 3, M), before.copy()
    gradient(found, a.ravel(), b.ravel(), sizes, span, total.reshape(-1), summed, room(*sizes))
    rounded = ROUNDINGS[precision]
    wanted = rounded(np, a).T.astype(np.float64) @ rounded(np, b) + (before if summed else 0)
    assert distance(total[span[0] :], wanted[span[0] :]) < 1e-6
    np.testing.assert_array_equal(total[: span[0]], before[: span[0]])


def test_what_is_not_finite_stays_so(found: Any) -> None:
    """An infinite number, a NaN, and one that rounds to infinity, each in a row of its own, at an odd depth."""
    a, b = np.ones((4, 3), np.float32), np.ones((3, LANE), np.float32)
    a[0, 2], a[1, 0], a[2, 1] = np.inf, np.nan, np.finfo(np.float32).max
    c = np.zeros(4 * LANE, np.float32)
    multiply(found, a.ravel(), b.ravel(), (4, 3, LANE), c, np.zeros(4 * LANE, np.float32), room(4, 3, LANE), False)
    for row, wanted in zip(c.reshape(4, LANE), (np.inf, np.nan, np.inf, 3), strict=True):
        np.testing.assert_array_equal(row, np.full(LANE, wanted, np.float32))


# -- the instruction and its emulation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "size", "there"),
    [
        ("+avx512f,+avx512vl,+avx512bf16", 64, True),  # Zen 4, Zen 5, Cooper Lake, Sapphire Rapids
        ("+avx512f,+avx512vl,+avx512bf16", 32, True),  # with half registers asked for
        ("+avx512f,-avx512vl,+avx512bf16", 32, False),
        ("+avx512f,+avx512vl,+avx512vnni", 64, False),  # Skylake, Ice Lake
        ("+avx2,+fma", 32, False),
        ("", 16, False),
    ],
)
def test_which_processors_have_the_instruction(features: str, size: int, there: bool) -> None:
    assert bf16_tiles.has_instruction(parse_features(features), size) is there


def one_tile(tile: Any) -> Any:
    """A function that computes one tile."""

    @numba.njit
    def run(rows: int, vectors: int, a: Any, packed: Any, depth: int, c: Any) -> None:
        plain = at(PLAIN)
        result = at(c), plain, vectors * LANE, 0
        tile(rows, vectors, 0, (at(a), plain, depth, 0, 1), (at(packed), 0, depth), result, (at(c), plain, 0, 0, 0))

    return run


@needs_instruction
@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (ROWS, VECTORS)])
def test_the_instruction_and_the_emulation_have_the_same_bits(rows: int, vectors: int) -> None:
    """The results of a million products, over 40 powers of ten, ties and cancelled sums among them."""
    rng, depth = np.random.default_rng(5), 40
    runs = one_tile(bf16_tiles.tile_by_instruction), one_tile(bf16_tiles.tile_by_floats)
    for _ in range(12):
        pairs = [
            round_to_bf16(np, (rng.normal(size=2 * n) * 10.0 ** rng.integers(-9, 9, 2 * n)).astype(np.float32))
            for n in (rows * depth, depth * vectors * LANE)
        ]
        a, b = ((p.view(np.uint32) >> 16).astype(np.uint16).view(np.float32) for p in pairs)
        found = np.zeros((2, rows * vectors * LANE), np.float32)
        for run, result in zip(runs, found, strict=True):
            run(rows, vectors, a, b, depth, result)
        np.testing.assert_array_equal(found[0].view(np.uint32), found[1].view(np.uint32))


@needs_instruction
def test_the_instruction_is_used() -> None:
    """In the assembly, at least once for each row and vector of every tile; no float32 multiply-add is beside it."""
    precisions.addresses("bf16")
    (compiled,) = bf16.FUNCTIONS[half.PANEL].dispatcher.overloads.values()
    module = compiled.library._get_module_for_linking().clone()
    triple, processor, features = compiled.library.codegen.magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, features=features, opt=0)
    text = machine.emit_assembly(module)
    tiles = sum(rows * vectors for rows in range(1, ROWS + 1) for vectors in range(1, VECTORS + 1))
    assert text.count("vdpbf16ps") >= tiles
    assert "fmadd" not in text


# -- half numbers: both conversions, by instructions and by bits -------------------------------------------------------


def one_vector(convert: Any) -> Any:
    """A function that converts whole vectors, one after another."""

    @numba.njit
    def run(source: Any, target: Any, step: int) -> None:
        for n in range(0, len(source), LANE):
            convert(after(at(source), n), after(at(target), n // step))

    return run


def every_kind_of_number() -> np.ndarray:
    """Float32 numbers: all that are half numbers, those around the middle of two, and any others."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):
        between = np.nextafter(halves[1:], halves[:-1]) / 2 + halves[:-1] / 2
        around = [np.nextafter(between, np.float32(end)) for end in (-np.inf, np.inf)]
    bits = np.random.default_rng(7).integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    ends = np.array([65503, 65504, 65519.996, 65520, 65536, 1e38, 2.0**-25, 2.0**-24, 2.0**-14], np.float32)
    found = np.concatenate(
        [halves, between, *around, bits, ends, -ends, np.array([np.nan, np.inf, 0, -0.0], np.float32)]
    )
    return np.ascontiguousarray(found[: len(found) // LANE * LANE])


@pytest.mark.skipif(JIT_OFF, reason="nothing is compiled (NUMBA_DISABLE_JIT)")
@pytest.mark.parametrize("ways", ["of this processor", "by bits"])
def test_rounding_to_half_numbers_is_that_of_numpy(ways: str) -> None:
    given = every_kind_of_number()
    there = ways == "of this processor"
    rounding = one_vector(fp16_tiles.round_vector if there else fp16_tiles.round_by_bits)
    packing = one_vector(fp16_tiles.pack_vector if there else fp16_tiles.pack_by_bits)
    rounded, packed = np.zeros_like(given), np.zeros(len(given) // 2, np.float32)
    rounding(given, rounded, 1)
    packing(given, packed, 2)
    wanted = round_to_fp16(np, given)
    for found in (rounded, packed.view(np.float16).astype(np.float32)):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(given))


@pytest.mark.skipif(
    JIT_OFF or not fp16_tiles.INSTRUCTION,
    reason="nothing is compiled (NUMBA_DISABLE_JIT)" if JIT_OFF else "this processor has no F16C",
)
@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (ROWS, VECTORS)])
def test_half_tiles_have_the_same_bits_without_the_instruction(rows: int, vectors: int) -> None:
    rng, depth = np.random.default_rng(6), 40
    a = round_to_fp16(np, (rng.normal(size=rows * depth) * 10.0 ** rng.integers(-6, 4, rows * depth)).astype("f"))
    numbers_of_b = rng.integers(0, 1 << 16, depth * vectors * LANE, dtype=np.uint16)
    b = np.where(numbers_of_b & 0x7C00 == 0x7C00, numbers_of_b & 0xBFFF, numbers_of_b).astype(np.uint16)  # all finite
    found = np.zeros((2, rows * vectors * LANE), np.float32)
    for tile, result in zip((fp16_tiles.tile_by_instruction, fp16_tiles.tile_by_bits), found, strict=True):
        one_tile(tile)(rows, vectors, a, b.view(np.float32), depth, result)
    np.testing.assert_array_equal(found[0].view(np.uint32), found[1].view(np.uint32))
    exact = a.reshape(rows, depth).astype(float) @ b.view(np.float16).reshape(depth, -1).astype(float)
    assert distance(found[0].reshape(rows, -1), exact) < 1e-6
