# mypy: allow-untyped-defs, allow-untyped-calls
"""How the threads of a team share a pass: `rank` of `team`, by rows of the batch or by hidden units (`by_units`)."""

from __future__ import annotations

from kernels.cpu.compiling import inlined
from kernels.cpu.pointers import after, pointer
from kernels.cpu.products import portion, vector_lanes
from kernels.cpu.table import BARRIER, BELL, BY_UNITS, TEAM
from kernels.cpu.table import SIZES as SIZES_AT

#: rank, team, by_units, barrier, bell, number of the pass.
SHARE = ("int", "int", "int", "rows", "rows", "int")
#: T, B, D, G, R, H, P, projected: see `kernels.cpu.plan.Sizes`.
SIZES = ("int",) * 8


@inlined
def share_of(table, rank, number):
    """The share of this rank, from the head of a table (`kernels.cpu.table`)."""
    return rank, table[TEAM], table[BY_UNITS], pointer(table[BARRIER], 1), pointer(table[BELL], 1), number


@inlined
def sizes_of(table):
    """The sizes in the head of a table."""
    s = after(table, SIZES_AT)
    return s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]


@inlined
def spans_of(share, H, P, one):
    """First and last of this thread's H units, first and last of its P numbers of h."""
    rank, team, by_units, _, _, _ = share
    lane = vector_lanes(one)
    return (*portion(H, rank, team, lane), *portion(P, rank, team, lane)) if by_units else (0, H, 0, P)


@inlined
def own_rows(share, B, lengths, order):
    """First, end and step of the rows that fall to this thread, counted in `order`."""
    rank, team, by_units, _, _, _ = share
    if by_units:
        return 0, B, 1
    if lengths[order[0]] != lengths[order[B - 1]]:  # the longest come first: in turns, or one thread had all of these
        return rank, B, team
    first, end = portion(B, rank, team, 1)  # neighbours: a core fetches ahead, and would fetch what the other writes
    return first, end, 1


@inlined
def count_of(mine, total):
    """How many of a thread's rows (`own_rows`) are among the first `total`."""
    first, end, step = mine
    return max(0, -(-(min(total, end) - first) // step))


@inlined
def take_rows(mine, order, batch, places):
    """Fill in, for each of a thread's rows, its row in the batch and its place in `order`; returns how many."""
    first, _, step = mine
    count = count_of(mine, mine[1])
    for n in range(count):
        places[n] = first + n * step
        batch[n] = order[places[n]]
    return count
