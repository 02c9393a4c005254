# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg,var-annotated"
"""Where the threads of a team wait for each other, inside compiled code.

A barrier is a counter and a round number, each in a cache line of its own.  The last thread to come sets the counter
back and begins a new round; the others watch the round number.  They spin, because the wait is a microsecond.  A thread
that has spun for long gives its core away at every turn, because then another thread has work for it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from kernels.cpu.compiling import JIT, compiled, inlined
from kernels.cpu.pointers import INDEX, at

# int64 positions: two cache lines apart, as processors fetch lines in pairs
_COUNT, _ROUND, _BROKEN, _SIZE = 0, 16, 32, 48
_PATIENCE = 4000  # turns of spinning, some tens of microseconds

#: The system's call for "let another thread run".
_give_way = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


def new() -> np.ndarray:
    """A barrier at which nobody waits."""
    return np.zeros(_SIZE, np.int64)


def open_for_good(barrier: np.ndarray) -> None:
    """Let everybody through from now on: one of the team has failed and will never come."""
    barrier[_BROKEN] = 1


@intrinsic
def _add(typingctx, pointer, index, value):
    """Add to a number and return its old value, in one atomic operation."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "seq_cst")

    return types.int64(pointer, types.int64, types.int64), codegen


@intrinsic
def _read(typingctx, pointer, index):
    """Read a number that another thread may write."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 8, typ=INDEX)

    return types.int64(pointer, types.int64), codegen


@intrinsic
def _write(typingctx, pointer, index, value):
    """Write a number that another thread reads, after all that was written before."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.int64), codegen


@inlined
def _wait(barrier, team):
    """Go on when all `team` threads have come here."""
    if team > 1:
        round_now = _read(barrier, _ROUND)
        if _add(barrier, _COUNT, 1) == team - 1:
            _add(barrier, _COUNT, -team)
            _add(barrier, _ROUND, 1)
        else:
            turns = 0
            while _read(barrier, _ROUND) == round_now:
                turns += 1
                if turns > _PATIENCE:
                    if _read(barrier, _BROKEN):
                        break
                    _give_way()


@inlined
def _ring(bell, number):
    """Tell the threads that watch the bell: pass `number` has begun."""
    _write(bell, 0, number)


#: In plain Python there is one thread, and nothing to wait for.
wait: Any = _wait if JIT else lambda barrier, team: None
ring: Any = _ring if JIT else lambda bell, number: None


# -- between two passes ------------------------------------------------------------------------------------------------
# Waking a sleeping thread takes 50 microseconds or more, as long as a small pass.  So a thread that has nothing to do
# watches a number for a while before it sleeps, in compiled code, which does not hold Python's lock.

_WATCHED = 30000  # turns of watching, a hundred microseconds or more


@compiled()
def watch(bell, number, own, done):
    """Announce `done` in `own`, then return when the bell has reached `number`, or after a while."""
    _write(at(own), 0, done)
    for turn in range(_WATCHED):
        if _read(at(bell), 0) >= number:
            break
        if turn > _PATIENCE and turn % 64 == 0:
            _give_way()


def warm() -> None:
    """Compile `watch`, or load it from disk."""
    if JIT:
        watch(new(), 0, new(), 0)
