"""The parts of a step as the kernels take it, and where the values of one unit lie in the buffers."""

from __future__ import annotations

import functools
from typing import NamedTuple

from kernels.cells import Cell
from kernels.cuda.translate import Way, function_name, symbol
from kernels.phases import Place, Work


class Part(NamedTuple):
    """A stage of a cell, or its projection: one pass over the units.

    Attributes
    ----------
    name : its number, or "projection".
    source : what it multiplies, or None.
    first, last : its gates are ``cell.gates[first:last]``.
    works : its phases.
    narrow : whether its units are the P of a projected hidden state.
    first_back : whether backward comes here first to units of this width, and takes in what states receive from later.
    goes_back : whether what its source receives is for a state before the step, and no part before it can take it in.
    """

    name: str
    source: Place | None
    first: int
    last: int
    works: tuple[Work, ...]
    narrow: bool
    first_back: bool = False
    goes_back: bool = False

    @property
    def columns(self) -> int:
        """Numbers of a unit that its product has."""
        return 0 if self.source is None else max(1, self.last - self.first)

    @property
    def width(self) -> str:
        """Its number of units, as the kernels call it."""
        return "P" if self.narrow else "H"


@functools.cache
def parts(cell: Cell) -> tuple[Part, ...]:
    """The parts of a step in the order of forward."""
    found = [Part(str(number), *stage) for number, stage in enumerate(cell.stages)]
    if cell.projected is not None:
        place = sum(cell.works.index(part.works[0]) < cell.projected_at for part in found)
        found.insert(place, Part("projection", cell.projected, 0, 0, (), narrow=True))
    for number, part in enumerate(found):
        is_first = part.narrow not in [other.narrow for other in found[number + 1 :]]
        back = part.source is not None and part.source.kind == "prev"
        if back and number > 0:
            back = cell.is_narrow(part.source.name) != found[number - 1].narrow  # type: ignore[union-attr]
        found[number] = part._replace(first_back=is_first, goes_back=back)
    return tuple(found)


def spread_of(cell: Cell) -> int:
    """Units that a thread of the forward product works on: with one gate a product it would have few sums."""
    return 4 if max(part.columns for part in parts(cell)) == 1 else 1


def value(cell: Cell, place: Place) -> str:
    """A value that lies in a buffer."""
    name = symbol(place.name)
    match place.kind:
        case "prev":
            return f"k.{name}_all[at.now]"
        case "new":
            return f"k.{name}_all[at.next]"
        case "gate":
            return f"k.gates[at.block({cell.gates.index(place.name)})]"
        case "kept":
            return f"k.kept_{name}[at.now]"
        case "own":
            return f"k.{name}[j]"
    assert place.kind == "given"
    return f"at.factor(k.{name}, k.steps_{name}, k.rows_{name})"


def call(cell: Cell, work: Work, way: Way, values: list[str]) -> str:
    """The statement that calls the gate function of phase N: its results are in ``sN``."""
    number = cell.works.index(work)
    name = function_name(cell, number, way)
    return f"    const {name}_result s{number} = {name}({', '.join(values)});"
