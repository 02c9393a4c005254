"""The product of two matrices on a team of threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cpu import barrier as barriers
from kernels.cpu import workspace
from kernels.cpu.arrays import matrix, plain
from kernels.cpu.compiling import compiled, ready
from kernels.cpu.pointers import after, at
from kernels.cpu.products import pack, pack_transposed, padded, portion, product, vector_lanes
from kernels.cpu.team import team_for
from kernels.cpu.tiles import ROWS, VECTOR_BYTES

Array = np.ndarray


def matmul(a: Array, b: Array) -> Array:
    """Matrix product of two 2-d arrays."""
    (M, K), N, dtype = a.shape, b.shape[1], a.dtype
    if b.shape[0] != K or b.dtype != dtype:  # compiled code would read past the end
        raise ValueError(f"b: expected shape ({K}, any) and dtype {dtype}, got {b.shape} and {b.dtype}")
    if K == 0:  # an empty sum: the tiles make at least one step
        return workspace.zeros((M, N), dtype)
    ready(dtype)
    c = workspace.empty((M, N), dtype)
    lines = (*matrix(a), *matrix(b))
    with team_for(M * K * N) as team:
        packs = workspace.empty((team.size, K * (padded(N, dtype) + VECTOR_BYTES)), dtype)
        rows = plain(max(M, K))
        team.run(lambda rank: _multiply((rank, team.size, team.bell, team.number), lines, packs, rows, c, K))
    return c


@compiled()
def _multiply(share: Any, lines: Any, packs: Array, rows: Array, c: Array, K: int) -> None:
    rank, team, bell, number = share
    if rank == 0:
        barriers.ring(at(bell), number)
    a, a_row, a_step, b, b_row, b_step = lines
    M, N = c.shape
    packed = after(at(packs), rank * packs.shape[1])
    # shared by columns, so that each thread packs its own; by rows where there are few columns
    by_columns = N >= 2 * M
    first, last = portion(N, rank, team, vector_lanes(c)) if by_columns else (0, N)
    row, row_end = (0, M) if by_columns else portion(M, rank, team, ROWS)
    if b_step == 1:
        pack((at(b), at(rows), b_row, first), K, last - first, packed, 0)
    else:
        pack_transposed(at(b), first * b_step, b_step, K, last - first, packed, 0)
    mine, to = after(at(rows), row), at(c)
    a_rows, c_rows = (at(a), mine, a_row, 0, a_step), (to, mine, N, first)
    product(row_end - row, last - first, a_rows, (packed, 0, K), c_rows, (to, mine, N, first, 0))
