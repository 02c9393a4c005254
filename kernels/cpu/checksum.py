# mypy: allow-untyped-defs, allow-untyped-calls
"""A number that changes with the weights: a tape and packed weights know by it whether the weights are still theirs.

It is computed at every pass, so it has to keep up with memory.  The running values stay in registers, which Numba does
not do for an array in a loop; so the loop is emitted as LLVM's own instructions, by `_emit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.cpu.compiling import JIT, compiled
from kernels.cpu.pointers import INDEX, at, pointer, room

LANES = 64
_PRIME, _SHIFT = 0x01000193, 16
_WORDS = ir.VectorType(ir.IntType(32), LANES)


def _all(value: int) -> ir.Constant:
    return ir.Constant(_WORDS, [value] * LANES)


def _emit(builder: ir.IRBuilder, words: Any, count: Any, lanes: Any) -> None:
    """Emit the loop over `count` words, a multiple of `LANES`."""
    lanes_at = builder.bitcast(lanes, _WORDS.as_pointer())
    first = builder.load(lanes_at)
    first.align = 4
    entry, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed("<", ir.Constant(INDEX, 0), count), loop, end)

    builder.position_at_end(loop)
    k, running = builder.phi(INDEX), builder.phi(_WORDS)
    k.add_incoming(ir.Constant(INDEX, 0), entry)
    running.add_incoming(first, entry)
    word = builder.load(builder.bitcast(builder.gep(words, [k]), _WORDS.as_pointer()))
    word.align = 4
    mixed = builder.xor(builder.xor(running, word), builder.lshr(word, _all(_SHIFT)))
    folded, k_next = builder.mul(mixed, _all(_PRIME)), builder.add(k, ir.Constant(INDEX, LANES))
    k.add_incoming(k_next, loop)
    running.add_incoming(folded, loop)
    builder.cbranch(builder.icmp_signed("<", k_next, count), loop, end)

    builder.position_at_end(end)
    last = builder.phi(_WORDS)
    last.add_incoming(first, entry)
    last.add_incoming(folded, loop)
    builder.store(last, lanes_at).align = 4


@intrinsic
def _fold(typingctx, words, count, lanes):
    def codegen(context, builder, signature, args):
        _emit(builder, *args)
        return context.get_dummy_value()

    return types.void(words, types.int64, lanes), codegen


def _fold_in_python(words, count, lanes):
    for first in range(0, count, LANES):
        part = words[first : first + LANES]
        lanes[:LANES] = (lanes[:LANES] ^ part ^ (part >> np.uint32(_SHIFT))) * np.uint32(_PRIME)


#: fold(words, count, lanes): each lane takes in every 64th word of `count` words, a multiple of 64.
fold: Any = _fold if JIT else _fold_in_python


@compiled()
def checksum(table):
    """A number that changes with the 32-bit words of some arrays: a table of where each lies and how long it is.

    The words are folded into 64 running values: exclusive or, then times an odd number.  Both can be undone, so no
    single changed word leaves its running value as it was; the order of the words counts.  A product carries a change
    to higher bits only, and the sign is the highest: it is first copied to the middle, or two changed signs would undo
    each other.  In the end the running values are folded into one in the same way.
    """
    entries, prime, shift = at(table), np.uint32(_PRIME), np.uint32(_SHIFT)
    lanes = room(64, pointer(entries[0], prime))
    for lane in range(LANES):
        lanes[lane] = np.uint32(lane)
    for k in range(0, len(table), 2):
        words = pointer(entries[k], prime)
        whole = entries[k + 1] // LANES * LANES
        fold(words, whole, lanes)
        for n in range(whole, entries[k + 1]):
            word = words[n]
            lanes[n - whole] = (lanes[n - whole] ^ word ^ (word >> shift)) * prime
    found, factor = np.uint64(0), np.uint64(0x00000100000001B3)
    for lane in range(LANES):
        found = (found ^ np.uint64(lanes[lane])) * factor
        found ^= found >> np.uint64(32)
    return found
