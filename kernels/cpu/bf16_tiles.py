# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""The innermost loop of a product of bfloat16 numbers, and the rounding to them.

Two bfloat16 numbers that follow each other along k are a **pair**.  It takes the 32 bits of one float32, and lies in an
array of these: the first number in the lower half of the bits, the second in the upper half.  So a product of depth k
is laid out as a float32 product of depth k/2, and all of `kernels.cpu.tiles` holds for it.  What differs is the
multiply-add: of two pairs it adds both products to a float32 sum.

Where the processor has AVX512-BF16, that is one instruction.  It adds the product of the upper halves, rounds, adds
that of the lower halves, rounds.  Elsewhere the halves are taken apart and two float32 multiply-adds do the same in the
same order.  The product of two bfloat16 numbers has 16 significant bits and is exact, so the results have the same
bits, but for one thing: the instruction takes numbers below 1.2e-38 for 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.cpu.compiling import JIT
from kernels.cpu.tiles import Arithmetic, emit_transpose, lanes, load_vector, store_vector, tile_of
from kernels.cpu.vector_width import FEATURES, REGISTERS
from kernels.rounding import round_to_bf16

_I16, _I32, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()
_UPPER = 0xFFFF0000
LANE = lanes(np.float32)


def has_instruction(features: dict[str, bool], size: int) -> bool:
    """Whether a processor multiplies pairs, in registers of `size` bytes."""
    return bool(features.get("avx512bf16")) and (size == 64 or bool(features.get("avx512vl")))


#: Whether this process uses the instruction.
INSTRUCTION = has_instruction(FEATURES, REGISTERS.size)


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _constant(like: Any, value: int) -> ir.Constant:
    """An integer in every number of a vector."""
    return ir.Constant(like, [value] * like.count)


def _integers(count: int) -> ir.VectorType:
    return ir.VectorType(_I32, count)


# -- multiply-add -----------------------------------------------------------------------------------------------------


class ByInstruction(Arithmetic):
    """AVX512-BF16."""

    def operand(self, value: Any) -> Any:
        """A vector of pairs."""
        return self.builder.bitcast(value, ir.VectorType(_BFloat(), 2 * self.vector.count))

    def multiply_add(self, a: Any, b: Any, total: Any) -> Any:
        """C + A B, both products."""
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * self.vector.count}"
        known = self.builder.module.globals.get(name)
        kind = ir.FunctionType(self.vector, [self.vector, a.type, a.type])
        return self.builder.call(known or ir.Function(self.builder.module, kind, name), [total, a, b])


class ByFloats(Arithmetic):
    """The same with float32 numbers, on any processor."""

    def operand(self, value: Any) -> Any:
        """The second and the first number of each pair, as float32."""
        bits = self.builder.bitcast(value, _integers(self.vector.count))
        halves = (
            self.builder.and_(bits, _constant(bits.type, _UPPER)),
            self.builder.shl(bits, _constant(bits.type, 16)),
        )
        return [self.builder.bitcast(half, self.vector) for half in halves]

    def multiply_add(self, a: Any, b: Any, total: Any) -> Any:
        """C + A B, both products, that of the second numbers first."""
        for one, other in zip(a, b, strict=True):
            total = super().multiply_add(one, other, total)
        return total


tile_by_instruction, tile_by_floats = tile_of(ByInstruction), tile_of(ByFloats)


def tile_in_python(rows, vectors, first, a, b, c, start):
    """The same where Numba is switched off."""
    a_line, a_rows, a_width, a_at, a_step = a
    packed, packed_at, depth = b
    width = vectors * LANE
    panel = packed[packed_at : packed_at + depth * width].reshape(depth, width).view(np.uint32)
    for i in range(first, first + rows):
        total, begin = np.zeros(width, np.float32), a_rows[i] * a_width + a_at
        line = a_line[begin : begin + (depth - 1) * a_step + 1 : a_step].view(np.uint32)
        for k in range(depth):
            halves = [[part & np.uint32(_UPPER), part << np.uint32(16)] for part in (line[k : k + 1], panel[k])]
            for one, other in zip(*halves, strict=True):
                total += one.view(np.float32) * other.view(np.float32)
        if start[4]:
            at = start[1][i] * start[2] + start[3]
            total += start[0][at : at + width]
        at = c[1][i] * c[2] + c[3]
        c[0][at : at + width] = total


#: As `kernels.cpu.tiles.tile`, of pairs.
tile: Any = (tile_by_instruction if INSTRUCTION else tile_by_floats) if JIT else tile_in_python


# -- rounding ---------------------------------------------------------------------------------------------------------


def _halves(builder: ir.IRBuilder, value: Any) -> Any:
    """The bits of the nearest bfloat16 numbers, 16 each (`kernels.rounding.round_to_bf16`)."""
    count = value.type.count
    if INSTRUCTION:
        return builder.bitcast(builder.fptrunc(value, ir.VectorType(_BFloat(), count)), ir.VectorType(_I16, count))
    bits = builder.bitcast(value, _integers(count))
    even = builder.and_(builder.lshr(bits, _constant(bits.type, 16)), _constant(bits.type, 1))
    rounded = builder.add(builder.add(bits, _constant(bits.type, 0x7FFF)), even)
    quiet = builder.or_(bits, _constant(bits.type, 0x00400000))
    rounded = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(rounded, _constant(bits.type, 16)), ir.VectorType(_I16, count))


def _pairs_along(builder: ir.IRBuilder, pointer: Any, lane: int) -> Any:
    """Pairs of numbers that follow each other, from a pointer to the first: a vector of them as float32."""
    value = load_vector(builder, ir.VectorType(_FLOAT, 2 * lane), pointer)
    return builder.bitcast(_halves(builder, value), ir.VectorType(_FLOAT, lane))


def _pairs_across(builder: ir.IRBuilder, one: Any, other: Any) -> Any:
    """Pairs of the numbers of two vectors."""
    count = one.type.count
    pick = ir.Constant(_integers(2 * count), [n // 2 + count * (n % 2) for n in range(2 * count)])
    return builder.bitcast(builder.shuffle_vector(_halves(builder, one), _halves(builder, other), pick), one.type)


@intrinsic
def _pair(typingctx, one, other):
    def codegen(context, builder, signature, args):
        value = ir.Constant(ir.VectorType(_FLOAT, 2), ir.Undefined)
        for k in range(2):
            value = builder.insert_element(value, args[k], ir.Constant(_I32, k))
        return builder.bitcast(_halves(builder, value), _FLOAT)

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def _round_vector(typingctx, source, target):
    def codegen(context, builder, signature, args):
        store_vector(builder, _pairs_along(builder, args[0], LANE), args[1])
        return context.get_dummy_value()

    return types.void(source, target), codegen


@intrinsic
def _join_vectors(typingctx, one, other, target):
    def codegen(context, builder, signature, args):
        vector = ir.VectorType(_FLOAT, LANE)
        values = [load_vector(builder, vector, pointer) for pointer in args[:2]]
        store_vector(builder, _pairs_across(builder, *values), args[2])
        return context.get_dummy_value()

    return types.void(one, other, target), codegen


@intrinsic
def _round_square(typingctx, source, source_at, source_step, target, target_at, target_step):
    names = ("source", "source_at", "source_step", "target", "target_at", "target_step")
    i64 = types.int64

    def codegen(context, builder, signature, args):
        values = dict(zip(names, args, strict=True))
        emit_transpose(builder, LANE, values, lambda pointer: _pairs_along(builder, pointer, LANE))
        return context.get_dummy_value()

    return types.void(source, i64, i64, target, i64, i64), codegen


def _joined(one, other):
    """Pairs of two float32 arrays."""
    low, high = (round_to_bf16(np, np.asarray(part, np.float32)).view(np.uint32) for part in (one, other))
    return ((low >> np.uint32(16)) | high).view(np.float32)


def _round_vector_in_python(source, target):
    target[:LANE] = _joined(source[: 2 * LANE : 2], source[1 : 2 * LANE : 2])


def _join_vectors_in_python(one, other, target):
    target[:LANE] = _joined(one[:LANE], other[:LANE])


def _round_square_in_python(source, source_at, source_step, target, target_at, target_step):
    for n in range(LANE):
        begin = source_at + n * source_step
        _round_vector_in_python(source[begin:], target[target_at + n :: target_step])


#: pair(one, other): a pair of two numbers.
pair: Any = _pair if JIT else lambda one, other: _joined([one], [other])[0]
#: round_vector(source, target): a vector of pairs from twice as many numbers that follow each other.
round_vector: Any = _round_vector if JIT else _round_vector_in_python
#: join_vectors(one, other, target): a vector of pairs, their first numbers from one place, their second from another.
join_vectors: Any = _join_vectors if JIT else _join_vectors_in_python
#: round_square: as `kernels.cpu.tiles.transpose_square`, of pairs; the source has twice as many columns of numbers.
round_square: Any = _round_square if JIT else _round_square_in_python
