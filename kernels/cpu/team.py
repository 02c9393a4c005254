"""The threads of one pass over a layer, or of one product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernels.cpu import barrier as barriers
from kernels.cpu import threads
from kernels.cpu.compiling import JIT
from kernels.cpu.loops import Loops
from kernels.cpu.plan import worth_a_team

_NO_BARRIER = barriers.new()  # nobody waits at it: the team is one

if JIT:
    threads.watch_with(barriers.watch)


def team_for(multiply_adds: int) -> threads.Team:
    """The threads for that much work."""
    return threads.Team(threads.get_num_threads() if worth_a_team(multiply_adds) else threads.just_one())


def available(team: threads.Team, loops: Loops, way: str, dtype: Any) -> int:
    """How many threads a pass may be divided among: one, while there is still something to compile."""
    return team.size if JIT and (way, dtype) in loops.ran else 1


def run(
    team: threads.Team, by_units: bool, loops: Loops, way: str, dtype: Any, work: Callable[[Any, tuple[Any, ...]], Any]
) -> None:
    """Call ``work(loop, share)`` on every thread of the team; a loop's first run is its compilation.

    If one thread fails, for example because memory is full, the others must not wait for it at the barrier.

    Parameters
    ----------
    way : ``"forward"`` or ``"backward"``.
    """
    loop, size = getattr(loops, way), team.size
    barrier = barriers.new() if size > 1 else _NO_BARRIER
    team.run(
        lambda rank: work(loop, (rank, size, by_units, barrier, team.bell, team.number)),
        lambda: barriers.open_for_good(barrier),
    )
    loops.ran.add((way, dtype))
