"""The product of two matrices on a team of threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cpu import barrier as barriers
from kernels.cpu import workspace
from kernels.cpu.arrays import matrix
from kernels.cpu.compiling import compiled
from kernels.cpu.products import pack, pack_transposed, padded, product, vector_lanes
from kernels.cpu.shares import portion
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
    c = workspace.empty((M, N), dtype)
    lines = (*matrix(a), *matrix(b))
    with team_for(M * K * N) as team:
        packs = workspace.empty((team.size, K * (padded(N, dtype) + VECTOR_BYTES)), dtype)
        team.run(lambda rank: _multiply((rank, team.size, team.bell, team.number), lines, packs, c, K))
    return c


@compiled("matrix products")
def _multiply(share: Any, lines: Any, packs: Array, c: Array, K: int) -> None:
    rank, team, bell, number = share
    if rank == 0:
        barriers.ring(bell, number)
    a, a_row, a_step, b, b_row, b_step = lines
    M, N = c.shape
    c_flat, packed = c.reshape(-1), packs[rank]
    # shared by columns, so that each thread packs its own; by rows where there are few columns
    by_columns = N >= 2 * M
    first, last = portion(N, rank, team, vector_lanes(c)) if by_columns else (0, N)
    row, row_end = (0, M) if by_columns else portion(M, rank, team, ROWS)
    if b_step == 1:
        pack(b, np.arange(K) * b_row, first, K, last - first, packed, 0)
    else:
        pack_transposed(b, np.arange(first, last) * b_step, 0, K, last - first, packed, 0)
    a_rows, c_rows = np.arange(row, row_end) * a_row, np.arange(row, row_end) * N
    to = (c_flat, c_rows, first)
    product(row_end - row, last - first, (a, a_rows, 0, a_step), (packed, 0, K), to, (*to, 0))
