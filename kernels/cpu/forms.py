"""What passes of one size have in common: the table they start from, and how their memory is laid out.

A form is made once for a layer and a size, and kept with the layer's `kernels.cpu.packs.Packs`.  A pass copies the
table of its form, and enters the addresses of its own arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from kernels.cells import Pass
from kernels.cpu import barrier as barriers
from kernels.cpu import half, precisions, workspace
from kernels.cpu import table as tables
from kernels.cpu.arrays import in_order, nothing, plain, rows
from kernels.cpu.backward_loop import PADDING
from kernels.cpu.compiling import ready
from kernels.cpu.flow import is_narrow
from kernels.cpu.forward_loop import start_packing
from kernels.cpu.loops import Loops
from kernels.cpu.packs import Packs
from kernels.cpu.plan import Plan, Sizes, room_for_packs
from kernels.cpu.products import DEPTH
from kernels.cpu.table import Block, Part, Table, blocks, place, table_of

Array = np.ndarray
NOBODYS_BARRIER = barriers.new()  # nobody waits at it: the team is one
_INTEGER = np.dtype(np.int64)


class Form(NamedTuple):
    """What passes of one layer and size have in common.

    Attributes
    ----------
    template : the table, with all that is the same for each of them.
    blocks : the memory that a pass needs.
    found : the block of an array that is a result, and its part, by name.
    at : place in the table by name.
    states, tape : places of the states before the first step, forward; of the arrays of a tape, backward.
    apart : whether the gradients of weights are summed apart, as there are several chunks.
    held : arrays whose addresses are in the table.
    """

    template: Table
    blocks: tuple[Block, ...]
    found: dict[str, tuple[int, Part]]
    at: dict[str, int]
    states: tuple[int, ...]
    tape: tuple[int, ...]
    apart: bool
    held: tuple[Any, ...]

    def begin(self) -> tuple[Table, list[Array]]:
        """The table of a pass, and its memory."""
        table = self.template.copy()
        return table, [block.enter(table) for block in self.blocks]

    def result(self, name: str, memory: list[Array]) -> Array:
        """One of its arrays."""
        block, part = self.found[name]
        return part.view(memory[block])


def forward_form(
    packs: Packs, loops: Loops, size: Sizes, division: Plan, keep: bool, full: bool, packed: Array | None
) -> Form:
    """The form of passes forward.

    Parameters
    ----------
    keep : whether they leave a tape; full : whether all rows have all steps; packed : the weights, if they are packed.
    """
    cell, dtype, (T, B, D, G, _, H, P, _) = packs.cell, packs.dtype, size
    at = {name: tables.FORWARD_LINES + k for k, name in enumerate(loops.names["forward"])}
    slots, steps = (T + 1, T) if keep else (2, 1)
    widths = [P if is_narrow(cell, name) else H for name in cell.states]
    tape = [Part(at[f"states{k}"], (slots, B, width), dtype) for k, width in enumerate(widths)]
    if not (loops.one_block and keep and full):
        tape.append(Part(at["gate"], (steps, B, G, H), dtype))
    tape += [Part(at[f"kept{k}"], (steps, B, P if narrow else H), dtype) for k, narrow in enumerate(loops.kept)]
    y = [Part(at["y"], (T, B, P), dtype)]
    index_room = (2 + 2 * division.chunk) * B + len(loops.programs["forward"])
    room = room_for_packs(size, dtype, division, keep, packs.in_pairs) if packed is None else packed.shape[1]
    scratch = [Part(at["pre"], (division.chunk * B, G, H), dtype)]
    scratch.append(Part(at["indices"], (division.team, index_room), _INTEGER))
    if packs.slots:
        scratch.append(
            Part(at["scratch"], (division.team, half.scratch_forward(packs.slots, division.chunk, size)), dtype)
        )
    if packed is None:
        scratch.append(Part(at["packs"], (division.team, room), dtype))
    if not keep:
        groups = [y, [*tape, *scratch]]
    else:  # y and the tape together only where they are small: y may live on without the tape
        groups = [[*tape, *y], scratch] if sum(p.size for p in (*tape, *y)) < workspace.SMALL else [tape, y, scratch]
    stride = room if packed is None or division.by_units else 0  # threads that share by rows read the same weights
    biased = [int(name in packs.weights) for name in ("bias_ih", "bias_hh")]
    head = [division.chunk, stride, index_room, int(keep), *biased, int(packed is not None), 0, B * D, D]
    table, held = _table(packs, loops, "forward", size, division, head, at)
    if packed is not None:
        table[at["packs"]] = place(packed)
    for k in range(len(cell.own)):
        table[at[f"own{k}"]] = packs.places[5 + k]
    found = _laid_out(groups, loops.names["forward"], tables.FORWARD_LINES)
    return Form(table, *found, at, tuple([at[f"first{k}"] for k in range(len(widths))]), (), False, (*held, packed))


def pack(packs: Packs, loops: Loops, size: Sizes, division: Plan) -> Array:
    """Pack the weights for that division of the work, to be kept."""
    ready(packs.dtype)
    packed, one = packs.room(size, division), packs.dtype.type(1)
    table, memory = forward_form(packs, loops, size, division, False, True, packed).begin()
    for rank in range(len(packed)):
        start_packing(table, rank, one)
    del memory
    packs.keep(division, packed)
    return packed


def backward_form(packs: Packs, loops: Loops, size: Sizes, division: Plan, trace: bool, going_on: bool = False) -> Form:
    """The form of passes backward; `trace` : whether they leave a trace; `going_on` : as in `kernels.Kernels`."""
    cell, dtype, (T, B, D, G, R, H, P, projected) = packs.cell, packs.dtype, size
    at = {name: tables.BACKWARD_LINES + k for k, name in enumerate(loops.names["backward"])}
    split, widths = int(bool(cell.splits)), [P if is_narrow(cell, name) else H for name in cell.states]
    results = [Part(at[f"dstates{k}"], (B, width), dtype) for k, width in enumerate(widths)]
    results.append(Part(at["dx"], (T, B, D), dtype))
    if sum(part.size for part in results) >= workspace.SMALL:
        groups = [results[:-1], results[-1:]]
    else:
        groups = [results]
    index_room = (2 + 2 * division.chunk) * B + len(loops.programs["backward"])
    room = room_for_packs(size, dtype, division, True, packs.in_pairs)
    count, width = division.chunk * B, G * H + PADDING
    scratch = [
        Part(at["packs"], (division.team, room), dtype),
        Part(at["indices"], (division.team, index_room), _INTEGER),
        Part(at["da"], (count, width), dtype),
        Part(at["da_hidden"], (count, width * split), dtype),
        Part(at["down"], (count, len(cell.own) * H), dtype),
        Part(at["dprojected"], (count, (P + PADDING) * projected), dtype),
    ]
    if packs.slots:
        scratch.append(
            Part(at["scratch"], (division.team, half.scratch_backward(packs.slots, division.chunk, size)), dtype)
        )
    for which, narrow in (("values", loops.values), ("spares", loops.spares)):
        scratch += [Part(at[f"{which}{k}"], (B, P if one else H), dtype) for k, one in enumerate(narrow)]
    apart = (division.chunk < T or count > DEPTH) and not going_on
    if apart:
        totals = zip(("ih", "hh", "hr", "bias_ih", "bias_hh"), packs.arrays, strict=False)
        scratch += [Part(at[f"total_{name}"], array.shape, dtype) for name, array in totals]
    head = [division.chunk, room, index_room, 0, int(trace), *(0,) * 5, int(going_on), 0, B * D, D, 0, B * P, P]
    table, held = _table(packs, loops, "backward", size, division, head, at)
    numbers = plain(max(count, G * H, R * H, P))
    table[at["plain"]] = place(numbers)
    for k in range(len(cell.own)):
        table[at[f"own{k}"]] = packs.places[5 + k]
    found = _laid_out([*groups, scratch], loops.names["backward"], tables.BACKWARD_LINES)
    tape = (*(f"states{k}" for k in range(len(widths))), "gate", *(f"kept{k}" for k in range(len(cell.kept))))
    return Form(table, *found, at, (), tuple([at[name] for name in tape]), apart, (*held, numbers))


def _table(
    packs: Packs, loops: Loops, way: str, size: Sizes, division: Plan, head: list[int], at: dict[str, int]
) -> tuple[Table, tuple[Any, ...]]:
    """The table with the weights, and what must stay alive for it."""
    none, ends, program = place(nothing(1, packs.dtype)), in_order(None, size.T, size.B), loops.programs[way]
    team = [division.team, int(division.by_units), place(NOBODYS_BARRIER), place(_NOBODYS_BELL), 0]
    lines = [0 if name.endswith("_there") else none for name in loops.names[way]]
    table = table_of([*team, *size, *head, *lines])
    rounded = precisions.addresses(packs.precision)
    fixed = {"lengths": place(ends[0]), "order": place(ends[1]), "program": place(program), "rounded": place(rounded)}
    names = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
    for name, entry in {**dict(zip(names, packs.places, strict=False)), **fixed}.items():
        if name in at:
            table[at[name]] = entry
    return table, (*ends, program, rounded)


_NOBODYS_BELL = barriers.new()


def _laid_out(
    groups: Iterable[list[Part]], names: tuple[str, ...], first: int
) -> tuple[tuple[Block, ...], dict[str, tuple[int, Part]]]:
    """The blocks of each group, and where in them each array is."""
    found = [block for group in groups for block in blocks(group)]
    where = {names[part.at - first]: (n, part) for n, block in enumerate(found) for part in block.parts}
    return tuple(found), where


def enter_rest(table: Table, form: Form, given: Pass, size: Sizes) -> list[Array]:
    """Enter lengths, and factors with their steps in time and in the batch: 0 where one holds for all."""
    held = list[Array]()
    if given.lengths is not None:
        held += in_order(given.lengths, size.T, size.B)
        table[form.at["lengths"]], table[form.at["order"]] = place(held[0]), place(held[1])
    for k, name in enumerate(given.cell.given):
        factor, entry = rows(given.factors[name]), form.at[f"given{k}"]
        steps, batch, units = factor.shape
        table[entry] = place(factor)
        table[entry + 1], table[entry + 2] = (batch * units if steps > 1 else 0), (units if batch > 1 else 0)
        held.append(factor)
    return held


def enter_gradients(table: Table, form: Form, targets: list[Any]) -> None:
    """Enter the gradients of weights to add to (`Packs.places_of`)."""
    for k, target in enumerate(targets):
        if target is not None:
            table[form.at["target_ih"] + k], table[tables.BACKWARD_WANTED + k] = target, 1
            if not form.apart:
                table[form.at["total_ih"] + k] = target
