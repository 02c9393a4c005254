"""The texts of a cell's row functions; see `kernels.cpu.rows` for what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kernels.cells import Cell
from kernels.cpu.flow import Flow, Target, base, is_narrow, projected_before, read_grads
from kernels.cpu.scalar import scalar_text
from kernels.phases import Place, Work
from kernels.steps import makes

_FORWARD = "r, b, s, s_next, g, t, first, last, pre, states, gate, kept, own, given, one"
_BACKWARD = (
    "r, t, b, first, last, dstates, values, spares, states, gate, kept, own, given, da, da_hidden, down, traces, one"
)


class RowTexts(NamedTuple):
    """The texts.

    Attributes
    ----------
    functions : the gate functions, for one number.
    forward, backward : a row function a stage.
    targets : for each stage, what takes the gradient of what its product multiplied; projected : of the projection.
    carry, note, leave : see `kernels.cpu.rows.Rows`.
    """

    functions: tuple[str, ...]
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    targets: tuple[Target | None, ...]
    projected: Target | None
    carry: str
    note: str
    leave: str


def row_texts(cell: Cell, flow: Flow) -> RowTexts:
    """Write out the row functions of a cell."""
    functions = []
    for n, work in enumerate(cell.works):
        functions += [scalar_text(work.forward.tree, f"forward_{n}"), scalar_text(work.backward.tree, f"backward_{n}")]
    backward = _BackwardTexts(cell, flow)
    projection, projected = projected_before(cell), None
    found: list[tuple[str, Target | None]] = []
    for n in reversed(range(len(cell.stages) + 1)):
        if n < len(cell.stages):
            found.append(backward.stage(n))
        if n == projection and cell.projected is not None:
            projected = backward.product(cell.projected)
    return RowTexts(
        tuple(functions),
        tuple(_ForwardText(cell, n).text() for n in range(len(cell.stages))),
        tuple(text for text, _ in reversed(found)),
        tuple(target for _, target in reversed(found)),
        projected,
        _carry(cell),
        _note(cell),
        _leave(cell, flow),
    )


def kept_names(cell: Cell) -> tuple[str, ...]:
    """The arrays of forward beside states and gates: those of the tape, then hidden parts that only forward needs."""
    return (*cell.kept, *(f"h_{gate}" for gate in apart(cell) if f"h_{gate}" not in cell.kept))


def apart(cell: Cell) -> tuple[str, ...]:
    """Gates whose hidden part is not added to the input part: gate functions, or the tape, need the two apart."""
    wanted = {*cell.separate, *(gate for gate in cell.recurrent if {f"x_{gate}", f"h_{gate}"} & {*cell.kept})}
    return tuple(gate for gate in cell.gates if gate in wanted)


# -- arrays and numbers in a row ------------------------------------------------------------------------------------


class _Lines:
    """The lines of a row function: what it takes out of tuples before its loop, and the loop's own."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.kept = kept_names(cell)
        self.first: dict[str, None] = {}
        self.loop: list[str] = []

    def array(self, which: str, k: int) -> str:
        """Array number k of a tuple, by a name of its own."""
        name = f"{which}{k}"
        self.first[f"{name} = {which}[{k}]"] = None
        return name

    def fixed(self, place: Place) -> str | None:
        """A number that neither direction makes: a weight, a factor, a function or constant."""
        if place.kind == "own":
            return f"{self.array('own', self.cell.own.index(place.name))}[j]"
        if place.kind == "given":
            factor = self.array("given", self.cell.given.index(place.name))
            self.first[f"{factor}_t = min(t, {factor}.shape[0] - 1)"] = None
            self.first[f"{factor}_b = min(b, {factor}.shape[1] - 1)"] = None
            return f"{factor}[{factor}_t, {factor}_b, j]"
        if place == Place("library", "zero"):
            return "(one - one)"
        return place.name if place.kind == "library" else None

    def text(self, name: str, arguments: str, loops: Iterable[tuple[str, list[str]]]) -> str:
        """The whole function; `loops` are (condition or "", lines)."""
        lines = [f"def {name}({arguments}):", *(f"    {line}" for line in self.first)]
        for condition, body in loops:
            indent = "    "
            if condition:
                lines.append(f"    {condition}:")
                indent = "        "
            lines += [f"{indent}for j in range(first, last):", *(f"{indent}    {line}" for line in body or ["pass"])]
        return "\n".join(lines) + "\n"


def _call(function: str, found: Iterable[str], arguments: Iterable[str]) -> str:
    return f"{', '.join(found)} = {function}({', '.join([*arguments, 'one'])})"


class _ForwardText:
    """The forward row function of one stage."""

    def __init__(self, cell: Cell, number: int) -> None:
        self.cell, self.number, self.lines = cell, number, _Lines(cell)
        self.apart = apart(cell)

    def text(self) -> str:
        """The whole function."""
        for work in self.cell.stages[self.number].works:
            self._work(work)
        return self.lines.text(f"forward_row_{self.number}", _FORWARD, [("", self.lines.loop)])

    def _work(self, work: Work) -> None:
        n, add = self.cell.works.index(work), self.lines.loop.append
        add(_call(f"forward_{n}", (f"v_{label}" for label in work.labels), map(self._value, work.inputs)))
        for label, places in zip(work.labels, work.outputs, strict=True):
            for place in sorted(places, key=lambda place: place.kind):
                add(f"{self._value(place, after=True)} = v_{label}")
        for gate in work.gates:
            for kind in ("a", "x"):  # a hidden part has been left in its place by the product
                if f"{kind}_{gate}" in self.cell.kept:
                    to = self._value(Place("kept", f"{kind}_{gate}"))
                    add(f"{to} = {self._value(Place(kind, gate))}")

    def _value(self, place: Place, after: bool = False) -> str:
        """The text for a number; a state's slot is the one after the step where it has a new value."""
        fixed, lines = self.lines.fixed(place), self.lines
        if fixed is not None:
            return fixed
        match place.kind:
            case "prev" | "new":
                state = lines.array("states", self.cell.states.index(place.name))
                return f"{state}[{'s' if place.kind == 'prev' else 's_next'}, b, j]"
            case "gate":
                return f"gate[g, b, {self.cell.gates.index(place.name)}, j]"
            case "kept":
                return f"{lines.array('kept', lines.kept.index(place.name))}[g, b, j]"
            case "h":
                return self._value(Place("kept", f"h_{place.name}"))
            case "x":
                return f"pre[r, {self.cell.gates.index(place.name)}, j]"
            case "a":
                x = self._value(Place("x", place.name))
                return f"{x} + {self._value(Place('h', place.name))}" if place.name in self.apart else x
        return f"v_{place.name}"  # local


# -- backward -------------------------------------------------------------------------------------------------------


class _BackwardTexts:
    """The backward row functions of a cell, written from the last stage to the first.

    `there` are the values whose gradient some later stage, or a product, has left in its array; `begun` the spare
    arrays that hold something.
    """

    def __init__(self, cell: Cell, flow: Flow) -> None:
        self.cell, self.flow = cell, flow
        self.there: set[str] = set()
        self.begun: set[str] = set()
        self.lines = _Lines(cell)

    def stage(self, number: int) -> tuple[str, Target | None]:
        """The row function of a stage, and what takes its product; called for each, from the last to the first."""
        stage, self.lines = self.cell.stages[number], _Lines(self.cell)
        self.now: dict[str, str] = {}  # gradient of a value -> the variable that holds it
        self.before: dict[str, list[str]] = {}  # gradient of a state before the step -> its parts
        self.traced: dict[str, str] = {}
        for work in reversed(stage.works):
            self._work(work)
        self._store(number)
        body, loops = self.lines.loop, [("", self.lines.loop)]
        if self.traced:
            slots = [
                f"{self.lines.array('traces', self.cell.states.index(name))}[t + 1, b, j] = {variable}"
                for name, variable in self.traced.items()
            ]
            loops = [("if traces[0].shape[0] > 0", body + slots), ("else", body)]
        text = self.lines.text(f"backward_row_{number}", _BACKWARD, loops)
        return text, None if stage.source is None else self.product(stage.source)

    def product(self, place: Place) -> Target:
        """What takes the gradient of what a product multiplied."""
        name = place.name if place.kind == "prev" else base(place.name)
        if place.kind == "prev" and name in self.flow.spares:
            added = name in self.begun
            self.begun.add(name)
            return Target("spare", self.flow.spares.index(name), added)
        if name in self.cell.states:
            return Target("state", self.cell.states.index(name), True)
        added = name in self.there
        self.there.add(name)
        return Target("value", self.flow.values.index(name), added)

    def _work(self, work: Work) -> None:
        n = self.cell.works.index(work)
        found = {name: f"{name}_{n}" for name in work.backward.results}
        arguments = [self._value(place) for place in work.reads]  # what it reads is read before anything is written
        self.lines.loop.append(_call(f"backward_{n}", found.values(), arguments))
        for name, variable in found.items():
            kind, _, gate = name.partition("_")
            if gate in self.cell.gates and kind in ("da", "dx", "dh"):
                self._gate(kind, gate, variable)
            elif name.endswith("_prev"):
                self.before.setdefault(name[1:-5], []).append(variable)
            elif name[1:] in self.cell.own:
                at = self._column(self.cell.own.index(name[1:]))
                self.lines.loop.append(f"down[r, {at}] = {variable}")
            elif name[1:] in work.replaces:
                self.now[name[1:]] = variable
                if name[1:] in self.cell.states and makes(work, name[1:]):
                    self.traced[name[1:]] = variable
            else:
                self._add(name[1:], variable)

    def _gate(self, kind: str, gate: str, variable: str) -> None:
        at = self._column(self.cell.gates.index(gate))
        if kind != "dh":
            self.lines.loop.append(f"da[r, {at}] = {variable}")
        if kind != "dx" and self.cell.splits:
            self.lines.loop.append(f"da_hidden[r, {at}] = {variable}")

    def _column(self, block: int) -> str:
        if block:
            self.lines.first["H = np.uint64(gate.shape[3])"] = None
        return "H + " * block + "j"

    def _add(self, name: str, variable: str) -> None:
        if name in self.now or name in self.there or name in self.cell.states:
            self.lines.loop.append(f"{variable} = {self._gradient(name)} + {variable}")
        self.now[name] = variable

    def _gradient(self, name: str) -> str:
        """The gradient of a value as far as it is known."""
        return self.now.get(name) or self._array_of(name)

    def _array_of(self, name: str) -> str:
        if name in self.cell.states:
            return f"{self.lines.array('dstates', self.cell.states.index(name))}[b, j]"
        return f"{self.lines.array('values', self.flow.values.index(name))}[b, j]"

    def _store(self, number: int) -> None:
        """At the end of a stage, store the gradients that later stages will read in their arrays."""
        add = self.lines.loop.append
        later: set[str] = set().union(*(read_grads(other) for other in self.cell.stages[:number]))
        if self.cell.projected is not None and number >= projected_before(self.cell):
            later.add("h")
        for name, variable in self.now.items():
            if name in later:
                add(f"{self._array_of(name)} = {variable}")
                self.there.add(name)
        for k, name in enumerate(self.cell.states):
            parts = " + ".join(self.before.get(name, []))
            if name in self.flow.spares:
                if parts:
                    array = self.lines.array("spares", self.flow.spares.index(name))
                    add(f"{array}[b, j] {'+=' if name in self.begun else '='} {parts}")
                    self.begun.add(name)
            elif number == self.flow.consumed[name]:
                add(f"{self.lines.array('dstates', k)}[b, j] = {parts or 'one - one'}")
            elif parts:
                add(f"{self.lines.array('dstates', k)}[b, j] += {parts}")

    def _value(self, place: Place) -> str:
        fixed, lines = self.lines.fixed(place), self.lines
        if fixed is not None:
            return fixed
        match place.kind:
            case "prev" | "new":
                state = lines.array("states", self.cell.states.index(place.name))
                return f"{state}[t{' + 1' if place.kind == 'new' else ''}, b, j]"
            case "gate":
                return f"gate[t, b, {self.cell.gates.index(place.name)}, j]"
            case "kept":
                return f"{lines.array('kept', lines.kept.index(place.name))}[t, b, j]"
        return self._gradient(place.name)  # grad


# -- what a step has beside the cell --------------------------------------------------------------------------------


def _range(cell: Cell, name: str) -> str:
    """The part of a thread of an array: of the P numbers of h, or of the H units."""
    return "wide, wide_end" if is_narrow(cell, name) else "first, last"


def _carry(cell: Cell) -> str:
    lines = ["def carry(b, s, s_next, g, first, last, wide, wide_end, states, gate, kept):"]
    for k, name in enumerate(cell.states):
        ends = _range(cell, name)
        lines += [f"    states{k} = states[{k}]", f"    for j in range({ends}):"]
        lines += [f"        states{k}[s_next, b, j] = states{k}[s, b, j]"]
    lines += ["    for block in range(gate.shape[2]):", "        for j in range(first, last):"]
    lines += ["            gate[g, b, block, j] = 0"]
    for k, name in enumerate(cell.kept):
        lines += [f"    kept{k} = kept[{k}]", f"    for j in range({_range(cell, name)}):"]
        lines += [f"        kept{k}[g, b, j] = 0"]
    return "\n".join(lines) + "\n"


def _note(cell: Cell) -> str:
    lines = ["def note(slot, b, first, last, wide, wide_end, dstates, traces):"]
    for k, name in enumerate(cell.states):
        ends = _range(cell, name)
        lines += [f"    dstates{k}, traces{k} = dstates[{k}], traces[{k}]", f"    for j in range({ends}):"]
        lines += [f"        traces{k}[slot, b, j] = dstates{k}[b, j]"]
    return "\n".join(lines) + "\n"


def _leave(cell: Cell, flow: Flow) -> str:
    lines = ["def leave(b, first, last, wide, wide_end, dstates, spares):"]
    for k, name in enumerate(flow.spares):
        lines += [f"    dstates{k}, spares{k} = dstates[{cell.states.index(name)}], spares[{k}]"]
        lines += [f"    for j in range({_range(cell, name)}):", f"        dstates{k}[b, j] = spares{k}[b, j]"]
    return "\n".join([*lines, *(["    pass"] if not flow.spares else [])]) + "\n"
