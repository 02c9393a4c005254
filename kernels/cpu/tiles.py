# mypy: allow-untyped-defs, allow-untyped-calls
"""The innermost loop of every product: one tile of C = A B, held in registers while the sum runs.

A tile is up to `ROWS` rows of A against `VECTORS` vectors of columns of B.  At every k it loads a few vectors of B,
spreads one number of each row of A over a vector, and does one fused multiply-add for each pair; with 6 rows and 4
vectors that is 24 of them for 10 loads, enough to keep the multipliers of a core busy.  B has been packed beforehand
(`kernels.cpu.products`), so that the loads walk straight through memory.

Numba does not say "keep these 24 vectors in registers" in Python; LLVM does.  So the loop is emitted as LLVM's own
instructions, by `_emit`.  Each number of C is summed in the order of k, whatever the shape of the tile: the same bits
come out for every batch size and every number of threads.

Rows are given by offsets, so that they may lie anywhere: only the rows that are still within their length, or rows in
reversed time.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.cpu.compiling import JIT
from kernels.cpu.vector_width import REGISTERS, largest_tile

VECTOR_BYTES = REGISTERS.size
#: Rows of A and vectors of B in the largest tile.
ROWS, VECTORS = largest_tile(REGISTERS)
#: LLVM unrolls the loop over k where a tile has so few rows.  With more, the pointers of several k would not fit the
#: registers for addresses, and there is work enough without.
UNROLLED = 2


def lanes(dtype: Any) -> int:
    """How many numbers one vector holds."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


_INDEX = ir.IntType(64)


def _number(value: int) -> ir.Constant:
    return ir.Constant(_INDEX, value)


def _at(builder: ir.IRBuilder, pointer: Any, index: Any) -> Any:
    return builder.gep(pointer, [index], inbounds=True)


def load_vector(builder: ir.IRBuilder, vector: ir.VectorType, pointer: Any) -> Any:
    """A vector from where a pointer to a number points."""
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = _align(vector)
    return loaded


def store_vector(builder: ir.IRBuilder, value: Any, pointer: Any) -> None:
    """Write a vector there."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = _align(value.type)


def _align(vector: ir.VectorType) -> int:
    """A vector may begin at any number."""
    return 4 if isinstance(vector.element, ir.FloatType) else 8


class Arithmetic:
    """The arithmetic of a tile, on vectors of one type; `bf16_tiles` and `fp16_tiles` have others."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType) -> None:
        self.builder, self.vector = builder, vector

    def packed(self, pointer: Any) -> Any:
        """A pointer to the numbers of B, from one to where they lie."""
        return pointer

    def load(self, pointer: Any) -> Any:
        """A vector of B."""
        return load_vector(self.builder, self.vector, pointer)

    def operand(self, value: Any) -> Any:
        """A vector of A or B, made ready for as many products as it takes part in."""
        return value

    def multiply_add(self, a: Any, b: Any, total: Any) -> Any:
        """A b + c: fused where the processor can, as every one of the last ten years; else a product and a sum."""
        name = f"llvm.fmuladd.v{self.vector.count}{'f32' if isinstance(self.vector.element, ir.FloatType) else 'f64'}"
        known = self.builder.module.globals.get(name)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.builder.call(known or ir.Function(self.builder.module, kind, name), [a, b, total])


def _emit(arithmetic: Arithmetic, rows: int, vectors: int, values: dict[str, Any]) -> None:
    """Emit the tile: run over k, add what the sums start from, store."""
    builder, vector = arithmetic.builder, arithmetic.vector
    width = vector.count
    grid = [(row, v) for row in range(rows) for v in range(vectors)]
    a_row, c_row, start_row = (_row_pointers(builder, values, rows, array) for array in ("a", "c", "start"))
    packed = arithmetic.packed(_at(builder, values["packed"], values["packed_at"]))
    entry = builder.block
    loop, add, store, end, finish = map(builder.append_basic_block, ("loop", "add", "store", "end", "finish"))
    builder.branch(loop)

    builder.position_at_end(loop)
    k, a_at = builder.phi(_INDEX), builder.phi(_INDEX)
    sums = {pair: builder.phi(vector) for pair in grid}
    k.add_incoming(_number(0), entry)
    a_at.add_incoming(_number(0), entry)
    for pair in grid:
        sums[pair].add_incoming(ir.Constant(vector, [0.0] * width), entry)
    line = _at(builder, packed, builder.mul(k, _number(vectors * width)))
    b = [arithmetic.operand(arithmetic.load(_at(builder, line, _number(v * width)))) for v in range(vectors)]
    after = {}
    for row in range(rows):
        a = arithmetic.operand(_spread(builder, vector, builder.load(_at(builder, a_row[row], a_at))))
        for v in range(vectors):
            after[row, v] = arithmetic.multiply_add(a, b[v], sums[row, v])
    k_next = builder.add(k, _number(1))
    k.add_incoming(k_next, loop)
    a_at.add_incoming(builder.add(a_at, values["a_step"]), loop)
    for pair in grid:
        sums[pair].add_incoming(after[pair], loop)
    branch = builder.cbranch(builder.icmp_signed("<", k_next, values["depth"]), loop, finish)
    if rows > UNROLLED:
        _keep_as_it_is(branch)

    builder.position_at_end(finish)
    builder.cbranch(builder.icmp_signed("!=", values["has_start"], _number(0)), add, store)
    builder.position_at_end(add)
    for row, v in grid:
        start = load_vector(builder, vector, _at(builder, start_row[row], _number(v * width)))
        store_vector(builder, builder.fadd(start, after[row, v]), _at(builder, c_row[row], _number(v * width)))
    builder.branch(end)
    builder.position_at_end(store)
    for row, v in grid:
        store_vector(builder, after[row, v], _at(builder, c_row[row], _number(v * width)))
    builder.branch(end)
    builder.position_at_end(end)


def _keep_as_it_is(branch: Any) -> None:
    """Keep LLVM from unrolling the loop that a branch closes."""
    module = branch.module
    wish = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = ir.values.MDValue(module, (), name=str(len(module.metadata)))
    loop.operands = loop, wish  # a loop's mark begins with itself
    branch.set_metadata("llvm.loop", loop)


def _row_pointers(builder: ir.IRBuilder, values: dict[str, Any], rows: int, array: str) -> list[Any]:
    """Where each row of the tile begins in an array."""
    found = []
    for row in range(rows):
        number = builder.load(_at(builder, values[f"{array}_rows"], builder.add(values["first"], _number(row))))
        offset = builder.mul(number, values[f"{array}_width"])
        found.append(_at(builder, values[array], builder.add(offset, values[f"{array}_at"])))
    return found


def _spread(builder: ir.IRBuilder, vector: ir.VectorType, number: Any) -> Any:
    """A vector that holds one number everywhere."""
    undefined = ir.Constant(vector, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    one = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, everywhere)


_NAMES = (
    *("a", "a_rows", "a_width", "a_at", "a_step", "packed", "packed_at", "depth"),
    *("c", "c_rows", "c_width", "c_at", "start", "start_rows", "start_width", "start_at", "has_start"),
)


def emit_tiles(context, builder, signature, args, kind):
    """Emit the tile of that many rows and vectors, one of ROWS * VECTORS; arguments as those of `tile`."""
    parts = [cgutils.unpack_tuple(builder, value, len(kind)) for kind, value in zip(signature.args[3:], args[3:])]  # noqa: B905
    values = dict(zip(_NAMES, itertools.chain(*parts), strict=True)) | {"first": args[2]}
    width = 8 * VECTOR_BYTES // signature.args[4].types[0].dtype.bitwidth
    vector = ir.VectorType(values["packed"].type.pointee, width)
    end = builder.append_basic_block("end_of_tile")
    choice = builder.switch(builder.add(builder.mul(args[0], _number(VECTORS + 1)), args[1]), end)
    for tile_rows, tile_vectors in itertools.product(range(1, ROWS + 1), range(1, VECTORS + 1)):
        block = builder.append_basic_block("tile")
        choice.add_case(_number(tile_rows * (VECTORS + 1) + tile_vectors), block)
        builder.position_at_end(block)
        _emit(kind(builder, vector), tile_rows, tile_vectors, values)
        builder.branch(end)
    builder.position_at_end(end)
    return context.get_dummy_value()


def tile_of(arithmetic):
    """The tile with this arithmetic, as compiled code calls it."""

    @intrinsic
    def tile(typingctx, rows, vectors, first, a, b, c, start):
        def codegen(context, builder, signature, args):
            return emit_tiles(context, builder, signature, args, arithmetic)

        i64 = types.int64
        return types.void(i64, i64, i64, a, b, c, start), codegen

    return tile


_tile = tile_of(Arithmetic)


def _tile_in_python(rows, vectors, first, a, b, c, start):
    """`tile` where Numba is switched off."""
    a_line, a_rows, a_width, a_at, a_step = a
    packed, packed_at, depth = b
    width = vectors * lanes(packed.dtype)
    panel = packed[packed_at : packed_at + depth * width].reshape(depth, width)
    for i in range(first, first + rows):
        total = np.zeros(width, packed.dtype)
        for k in range(depth):
            total += a_line[a_rows[i] * a_width + a_at + k * a_step] * panel[k]
        if start[4]:
            at = start[1][i] * start[2] + start[3]
            total += start[0][at : at + width]
        at = c[1][i] * c[2] + c[3]
        c[0][at : at + width] = total


#: tile(rows, vectors, first, a, b, c, start): rows `first` to `first` + rows of C = start + A B, for so many vectors of
#: columns; the operands as in `kernels.cpu.products.product`.
tile: Any = _tile if JIT else _tile_in_python


def emit_transpose(
    builder: ir.IRBuilder, width: int, values: dict[str, Any], load: Any, store: Any = store_vector
) -> None:
    """Emit the transpose of a square of `width` rows by `width` columns: `load` gives the vector of a row.

    `store` : as `store_vector`, which writes the vector of a column.
    """
    lines = []
    for row in range(width):
        offset = builder.add(values["source_at"], builder.mul(values["source_step"], _number(row)))
        lines.append(load(_at(builder, values["source"], offset)))

    def interleave(one: Any, other: Any, first: int) -> Any:
        pick = [first + n // 2 + (width if n % 2 else 0) for n in range(width)]
        return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), width), pick))

    half = width // 2
    for _ in range(width.bit_length() - 1):  # log2(width) rounds of shuffling like two halves of a pack of cards
        lines = [interleave(lines[n // 2], lines[n // 2 + half], half * (n % 2)) for n in range(width)]
    for n, line in enumerate(lines):
        target = builder.add(values["target_at"], builder.mul(values["target_step"], _number(n)))
        store(builder, line, _at(builder, values["target"], target))


@intrinsic
def _transpose_square(typingctx, source, source_at, source_step, target, target_at, target_step):
    names = ("source", "source_at", "source_step", "target", "target_at", "target_step")
    i64 = types.int64

    def codegen(context, builder, signature, args):
        values = dict(zip(names, args, strict=True))
        width = 8 * VECTOR_BYTES // signature.args[0].dtype.bitwidth
        vector = ir.VectorType(values["source"].type.pointee, width)
        emit_transpose(builder, width, values, lambda pointer: load_vector(builder, vector, pointer))
        return context.get_dummy_value()

    return types.void(source, i64, i64, target, i64, i64), codegen


def _transpose_square_in_python(source, source_at, source_step, target, target_at, target_step):
    lane = lanes(source.dtype)
    for n in range(lane):
        begin = source_at + n * source_step
        target[target_at + n :: target_step][:lane] = source[begin : begin + lane]


#: Line n of the target takes number n of each line of the source: a square of as many lines as a vector has numbers.
transpose_square: Any = _transpose_square if JIT else _transpose_square_in_python
