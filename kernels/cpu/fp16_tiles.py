# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg"
"""The innermost loop of a product of IEEE half numbers (float16), and the rounding to them.

B is packed as 16-bit numbers, half the bytes of float32.  A vector of them becomes float32 when it is loaded; after
that a tile is the one of `kernels.cpu.tiles`.  The product of two half numbers has 22 significant bits and is exact in
float32, so the fused multiply-add rounds the sum alone.  A comes as rounded numbers in float32 already: each of them is
used for a few vectors only, so that to convert it there would cost more than it saves.

Processors with F16C convert both ways with one instruction.  Elsewhere integer arithmetic on the bits gives the same
numbers, subnormal ones and those that are not finite included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.cpu.compiling import JIT
from kernels.cpu.tiles import Arithmetic, emit_transpose, lanes, load_vector, tile_of
from kernels.cpu.vector_width import FEATURES
from kernels.rounding import round_to_fp16

_I16, _I32, _FLOAT, _HALF = ir.IntType(16), ir.IntType(32), ir.FloatType(), ir.HalfType()
LANE = lanes(np.float32)
#: Whether the processor converts by instructions.
INSTRUCTION = bool(FEATURES.get("f16c"))


def _like(value: Any, element: Any) -> Any:
    """The type of so many elements as a vector has."""
    return ir.VectorType(element, value.type.count)


def _integers(value: Any, number: int) -> ir.Constant:
    """An integer in every number of a vector of 32-bit integers."""
    return ir.Constant(value.type, [number] * value.type.count)


def _floats(value: Any, number: float) -> ir.Constant:
    return ir.Constant(_like(value, _FLOAT), [number] * value.type.count)


# -- both conversions, by instructions and by bits --------------------------------------------------------------------


class ByInstruction:
    """F16C."""

    @staticmethod
    def narrow(builder: ir.IRBuilder, value: Any) -> Any:
        """The bits of the nearest half numbers, ties to even."""
        return builder.bitcast(builder.fptrunc(value, _like(value, _HALF)), _like(value, _I16))

    @staticmethod
    def widen(builder: ir.IRBuilder, halves: Any) -> Any:
        """Their float32 numbers."""
        return builder.fpext(builder.bitcast(halves, _like(halves, _HALF)), _like(halves, _FLOAT))


class ByBits:
    """Integer arithmetic, on any processor."""

    @staticmethod
    def narrow(builder: ir.IRBuilder, value: Any) -> Any:
        """The bits of the nearest half numbers, ties to even."""
        bits = builder.bitcast(value, _like(value, _I32))
        sign = builder.lshr(builder.and_(bits, _integers(bits, 0x80000000)), _integers(bits, 16))
        size = builder.and_(bits, _integers(bits, 0x7FFFFFFF))
        # 13 bits of the fraction go; the exponent, 127 for a 1 there, is 15 for a 1 here; a carry runs into it
        even = builder.and_(builder.lshr(size, _integers(bits, 13)), _integers(bits, 1))
        rounded = builder.add(builder.add(size, _integers(bits, 0xFFF)), even)
        found = builder.sub(builder.lshr(rounded, _integers(bits, 13)), _integers(bits, 112 << 10))
        # below 2**-14 the last place is 2**-24, which is that of 0.5: the sum is rounded there
        sum_ = builder.fadd(builder.bitcast(size, value.type), _floats(value, 0.5))
        small = builder.sub(builder.bitcast(sum_, bits.type), _integers(bits, 0x3F000000))
        found = builder.select(builder.icmp_unsigned("<", size, _integers(bits, 0x38800000)), small, found)
        large = builder.icmp_unsigned(">=", size, _integers(bits, 0x47800000))  # 65536
        found = builder.select(large, _integers(bits, 0x7C00), found)
        not_a_number = builder.icmp_unsigned(">", size, _integers(bits, 0x7F800000))
        found = builder.select(not_a_number, _integers(bits, 0x7E00), found)
        return builder.trunc(builder.or_(found, sign), _like(value, _I16))

    @staticmethod
    def widen(builder: ir.IRBuilder, halves: Any) -> Any:
        """Their float32 numbers."""
        bits = builder.zext(halves, _like(halves, _I32))
        sign = builder.shl(builder.and_(bits, _integers(bits, 0x8000)), _integers(bits, 16))
        size = builder.shl(builder.and_(bits, _integers(bits, 0x7FFF)), _integers(bits, 13))
        # the exponent is 112 too small; a product puts that right for subnormal numbers too
        value = builder.fmul(builder.bitcast(size, _like(halves, _FLOAT)), _floats(halves, 2.0**112))
        found = builder.bitcast(value, bits.type)
        endless = builder.icmp_unsigned(">=", size, _integers(bits, 0x0F800000))  # infinite, or no number
        found = builder.select(endless, builder.or_(found, _integers(bits, 0x7F800000)), found)
        return builder.bitcast(builder.or_(found, sign), value.type)


Conversion: Any = ByInstruction if INSTRUCTION else ByBits


def _store_halves(builder: ir.IRBuilder, value: Any, pointer: Any, conversion: Any = Conversion) -> None:
    halves = conversion.narrow(builder, value)
    builder.store(halves, builder.bitcast(pointer, halves.type.as_pointer())).align = 2


# -- the tile ---------------------------------------------------------------------------------------------------------


def _tile_with(conversion):
    class Widened(Arithmetic):
        """B is widened when it is loaded."""

        def packed(self, pointer: Any) -> Any:
            """A pointer to the 16-bit numbers of B."""
            return self.builder.bitcast(pointer, _I16.as_pointer())

        def load(self, pointer: Any) -> Any:
            """A vector of B, as float32."""
            halves = ir.VectorType(_I16, self.vector.count)
            loaded = self.builder.load(self.builder.bitcast(pointer, halves.as_pointer()))
            loaded.align = 2
            return conversion.widen(self.builder, loaded)

    return tile_of(Widened)


tile_by_instruction, tile_by_bits = _tile_with(ByInstruction), _tile_with(ByBits)


def tile_in_python(rows, vectors, first, a, b, c, start):
    """The same where Numba is switched off."""
    a_line, a_rows, a_width, a_at, a_step = a
    packed, packed_at, depth = b
    width = vectors * LANE
    panel = packed[packed_at : packed_at + depth * width // 2].view(np.float16).reshape(depth, width)
    panel = panel.astype(np.float32)
    for i in range(first, first + rows):
        total, begin = np.zeros(width, np.float32), a_rows[i] * a_width + a_at
        for k in range(depth):
            total += a_line[begin + k * a_step] * panel[k]
        if start[4]:
            at = start[1][i] * start[2] + start[3]
            total += start[0][at : at + width]
        at = c[1][i] * c[2] + c[3]
        c[0][at : at + width] = total


#: As `kernels.cpu.tiles.tile`, with B as 16-bit numbers.
tile: Any = (tile_by_instruction if INSTRUCTION else tile_by_bits) if JIT else tile_in_python


# -- rounding ---------------------------------------------------------------------------------------------------------


def _round_vector_with(conversion):
    @intrinsic
    def round_vector(typingctx, source, target):
        def codegen(context, builder, signature, args):
            value = load_vector(builder, ir.VectorType(_FLOAT, LANE), args[0])
            rounded = conversion.widen(builder, conversion.narrow(builder, value))
            builder.store(rounded, builder.bitcast(args[1], rounded.type.as_pointer())).align = 4
            return context.get_dummy_value()

        return types.void(source, target), codegen

    return round_vector


def _pack_vector_with(conversion):
    @intrinsic
    def pack_vector(typingctx, source, target):
        def codegen(context, builder, signature, args):
            value = load_vector(builder, ir.VectorType(_FLOAT, LANE), args[0])
            _store_halves(builder, value, args[1], conversion)
            return context.get_dummy_value()

        return types.void(source, target), codegen

    return pack_vector


round_by_bits, pack_by_bits = _round_vector_with(ByBits), _pack_vector_with(ByBits)


@intrinsic
def _pack_square(typingctx, source, source_at, source_step, target, target_at, target_step):
    names = ("source", "source_at", "source_step", "target", "target_at", "target_step")
    i64 = types.int64

    def codegen(context, builder, signature, args):
        values, vector = dict(zip(names, args, strict=True)), ir.VectorType(_FLOAT, LANE)
        emit_transpose(builder, LANE, values, lambda pointer: load_vector(builder, vector, pointer), _store_halves)
        return context.get_dummy_value()

    return types.void(source, i64, i64, target, i64, i64), codegen


def _round_vector_in_python(source, target):
    target[:LANE] = round_to_fp16(np, np.asarray(source[:LANE], np.float32))


def _pack_vector_in_python(source, target):
    with np.errstate(over="ignore", under="ignore"):
        target[: LANE // 2] = np.asarray(source[:LANE], np.float32).astype(np.float16).view(np.float32)


def _pack_square_in_python(source, source_at, source_step, target, target_at, target_step):
    for n in range(LANE):
        column = source[source_at + n :: source_step][:LANE]
        _pack_vector_in_python(column, target[target_at + n * target_step :])


#: round_vector(source, target): a vector of float32 numbers, each rounded to a half number.
round_vector: Any = (_round_vector_with(Conversion)) if JIT else _round_vector_in_python
#: pack_vector(source, target): the same as 16-bit numbers, in half the room.
pack_vector: Any = (_pack_vector_with(Conversion)) if JIT else _pack_vector_in_python
#: pack_square: as `kernels.cpu.tiles.transpose_square`; each line of the target is packed.
pack_square: Any = _pack_square if JIT else _pack_square_in_python
