# mypy: allow-untyped-defs, allow-untyped-calls
"""Where the numbers of an array lie, for compiled code: a pointer, without the array.

Compiled code counts a reference, by an atomic operation, whenever it hands an array on; in a small time step that is as
much work as the gates.  So the loops get pointers.  The caller of a loop holds the arrays until the loop ends.

With ``NUMBA_DISABLE_JIT=1`` an array in one line stands in the place of its pointer: the loops run as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from kernels.cpu.compiling import JIT

INDEX = ir.IntType(64)
CACHE_LINE = 64  # bytes


@intrinsic
def _at(typingctx, array):
    def codegen(context, builder, signature, args):
        return make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def _after(typingctx, pointer, count):
    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


@intrinsic
def _pointer(typingctx, address, like):
    kind = types.CPointer(types.unliteral(like))

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(types.int64, like), codegen


@intrinsic
def _from_a_cache_line(typingctx, pointer):
    def codegen(context, builder, signature, args):
        address = builder.add(builder.ptrtoint(args[0], INDEX), ir.Constant(INDEX, CACHE_LINE - 1))
        return builder.inttoptr(builder.and_(address, ir.Constant(INDEX, -CACHE_LINE)), args[0].type)

    return pointer(pointer), codegen


@intrinsic(prefer_literal=True)
def _room(typingctx, count, like):
    def codegen(context, builder, signature, args):
        kind = context.get_value_type(like.dtype)
        return cgutils.alloca_once(builder, kind, size=ir.Constant(INDEX, count.literal_value))

    # the number stays in the type: Numba takes the same code for all calls of one type
    return (like(count, like), codegen) if isinstance(count, types.Literal) else None


#: at(array): its pointer.
at: Any = _at if JIT else lambda array: array if isinstance(array, list) else array.reshape(-1)
#: after(pointer, count): so many numbers further.
after: Any = _after if JIT else lambda line, count: line[count:]
#: pointer(address, like): an entry of a table (`kernels.cpu.table`); `like` is a number of the kind that lies there.
pointer: Any = _pointer if JIT else lambda line, like: line
#: from_a_cache_line(pointer): the next place where a cache line begins; a vector across two lines is loaded twice.
from_a_cache_line: Any = _from_a_cache_line if JIT else lambda line: line
#: room(count, like): a pointer to so many numbers, a constant, of the kind that `like` points to.  Their values are
#: undefined, and they are there until the function that has made them ends.
room: Any = _room if JIT else lambda count, like: np.zeros(count, like.dtype)
