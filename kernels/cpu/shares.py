# mypy: allow-untyped-defs, allow-untyped-calls
"""How the threads of a team share a pass, and the products with the rows of some units' weights.

A weight (G*H, depth) has a row for each unit of each gate.  A thread that owns units `first` to `last` packs their rows
only, gate by gate; one that owns all units packs the gates together, as one matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.cells import Cell
from kernels.cpu.compiling import compiled, inlined, spliced
from kernels.cpu.products import pack, pack_transposed, product, vector_lanes
from kernels.cpu.row_texts import apart, kept_names


class Block(NamedTuple):
    """Gates whose recurrent weights are multiplied at once: those of a stage that are added to their input parts
    together, or one whose hidden part is apart.

    Attributes
    ----------
    stage : which stage.
    gate : the first gate; gates : how many.
    row : where their weights begin in weight_hh, in gates.
    kept : which kept array takes the product, or -1 where it joins the pre-activations.
    """

    stage: int
    gate: int
    gates: int
    row: int
    kept: int


def blocks(cell: Cell) -> tuple[Block, ...]:
    """The recurrent products of a cell, in order."""
    found: list[Block] = []
    separate, kept = apart(cell), kept_names(cell)
    for n, stage in enumerate(cell.stages):
        for gate in range(stage.first, stage.last) if stage.source else ():
            name = cell.gates[gate]
            to = kept.index(f"h_{name}") if name in separate else -1
            before = found[-1] if found else None
            if before and before.stage == n and before.kept == to == -1:
                found[-1] = before._replace(gates=before.gates + 1)
            else:
                found.append(Block(n, gate, 1, cell.recurrent.index(name), to))
    return tuple(found)


@inlined
def portion(total, rank, team, grain):
    """The part of 0..total that falls to `rank`, in whole grains."""
    grains = -(-total // grain)
    return min(total, grains * rank // team * grain), min(total, grains * (rank + 1) // team * grain)


@inlined
def own_rows(rank, team, by_units, lengths, order):
    """First, end and step of the rows that fall to `rank`, counted in `order`."""
    B = len(order)
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
def padded_to_vectors(columns, array):
    """The columns that a packed matrix takes: whole vectors."""
    lane = vector_lanes(array)
    return -(-columns // lane) * lane


@spliced
def row_starts(mine, order, width, by_order):
    """Where each of a thread's rows begins, in arrays with rows of that width; `by_order`: as rows of the batch."""
    first, end, step = mine
    count = max(0, -(-(end - first) // step))
    found = np.empty(count, np.int64)
    for n in range(count):
        i = first + n * step
        found[n] = (order[i] if by_order else i) * width
    return found


@compiled("matrix products")
def pack_gates(weight, depth, H, gate, last_gate, first, last, packed, at):
    """Pack the rows of units `first` to `last` of some gates of a weight (G*H, depth), to multiply by its transpose."""
    joined = last - first == H
    while gate < last_gate:
        columns = (last_gate - gate) * H if joined else last - first
        starts = (np.arange(columns) + gate * H + first) * depth
        pack_transposed(weight, starts, 0, depth, columns, packed, at)
        at += depth * padded_to_vectors(columns, weight)
        gate += last_gate if joined else 1
    return at


@compiled("matrix products")
def multiply_gates(count, H, gate, last_gate, first, last, a, packed, at, depth, c, start):
    """C = start + A W' for what `pack_gates` has packed; column 0 of C is the first unit of gate 0."""
    joined = last - first == H
    while gate < last_gate:
        columns = (last_gate - gate) * H if joined else last - first
        begin = gate * H + first
        c_gate, start_gate = (c[0], c[1], c[2] + begin), (start[0], start[1], start[2] + begin, start[3])
        product(count, columns, a, (packed, at, depth), c_gate, start_gate)
        at += depth * padded_to_vectors(columns, packed)
        gate += last_gate if joined else 1


@spliced
def pack_as_they_stand(weights, table, widths, spans, d_span, packed):
    """Pack the weights as they stand: each stage's part of weight_hh, weight_hr, weight_ih.

    Returns where each of them begins, and where there is room for a chunk's operands.
    """
    weight_ih, weight_hh, weight_hr = weights
    _, G, H, P = widths
    first, last, begin, end = spans
    stages, at = len(table), 0
    places = np.empty(stages + 3, np.int64)
    for k in range(stages):
        places[k] = at
        if table[k, 3]:
            row, depth = table[k, 2] * H, table[k, 1] * H
            pack(weight_hh, (np.arange(depth) + row) * P, begin, depth, end - begin, packed, at)
            at += depth * padded_to_vectors(end - begin, packed)
    places[stages] = at
    if weight_hr.size > 0:
        pack(weight_hr, np.arange(P) * H, first, P, last - first, packed, at)
        at += P * padded_to_vectors(last - first, packed)
    places[stages + 1] = at
    D = weight_ih.size // (G * H)
    pack(weight_ih, np.arange(G * H) * D, d_span[0], G * H, d_span[1] - d_span[0], packed, at)
    places[stages + 2] = at + G * H * padded_to_vectors(d_span[1] - d_span[0], packed)
    return places
