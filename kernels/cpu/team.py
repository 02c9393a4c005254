"""The threads of one pass over a layer, or of one product."""

from __future__ import annotations

from typing import Any

from kernels.cpu import barrier as barriers
from kernels.cpu import threads
from kernels.cpu.compiling import JIT, ready
from kernels.cpu.loops import Loops
from kernels.cpu.plan import worth_a_team
from kernels.cpu.table import BARRIER, BELL, ROWS, Table, place

if JIT:
    threads.watch_with(barriers.watch)


def team_for(multiply_adds: int) -> threads.Team:
    """The threads for that much work."""
    return threads.Team(threads.get_num_threads() if worth_a_team(multiply_adds) else threads.just_one())


def available(team: threads.Team, loops: Loops, way: str, dtype: Any) -> int:
    """How many threads a pass may be divided among: one, while there is still something to compile."""
    return team.size if JIT and (way, dtype) in loops.ran else 1


def run(team: threads.Team, loops: Loops, way: str, dtype: Any, table: Table) -> None:
    """Start the loop of that way, ``"forward"`` or ``"backward"``, on every thread; its first run is its compilation.

    If one thread fails, for example because memory is full, the others must not wait for it at the barrier.
    """
    known, loop = loops.ran.get((way, dtype)), getattr(loops, way)
    if known is None:
        ready(dtype)
        known = loops.rows[way].address(dtype), dtype.type(1)
    table[ROWS], one = known
    if team.size == 1:
        loop(table, 0, 0, one)
    else:
        barrier = barriers.new()
        table[BARRIER], table[BELL] = place(barrier), place(team.bell)
        team.run(lambda rank: loop(table, rank, team.number, one), lambda: barriers.open_for_good(barrier))
    loops.ran[way, dtype] = known
