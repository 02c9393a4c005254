"""One time step of some rows, for the compiled loops: a function for each stage and direction, from the cell's places.

A row function applies the gate functions of a stage (`kernels.cpu.scalar`: the very same source) to hidden units
`first` to `last` of some rows, and knows where in the arrays a value lies; nothing else.  To see them, print
``make_rows(cell).text``.  Arrays are pointers (`kernels.cpu.pointers`); the loops have them in a table, whose entries
have the names of `kernels.cpu.program.names_forward` and `names_backward`.

Forward (R rows of a chunk of steps, S slots: T+1 of a tape, or the two that `predict` swaps):
pre (R, G, H) pre-activations, the recurrent product included unless its gate's hidden part is apart; states (S, B, H)
each; gate (S, B, G, H); kept (S, B, H) each.  ``r`` is the row in pre, ``b`` the row of the batch, ``old`` and ``new``
the rows of the states before and after, ``slot`` that of gates and kept values, ``t`` the step.

Backward: dstates (B, H) each, what the states of this step receive on entry, what the states before it receive on
leaving (less what comes through the products); values, spares (B, H) each, see `kernels.cpu.flow`; da, da_hidden
(R, S), S being G*H and some padding; down (R, n*H) gradients of the cell's own weights, row by row; traces (T+1, B, H)
the gradients of the states.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kernels.activations import relu_slope, tanh_slope
from kernels.cells import Cell
from kernels.cpu import activations, pointers
from kernels.cpu.compiling import apart, inlined
from kernels.cpu.flow import Flow, Target, base, flow, is_narrow, kept_names, projected_before, read_grads, separate
from kernels.cpu.program import names_backward, names_forward
from kernels.cpu.scalar import scalar_text, scalar_text_of
from kernels.phases import Place, Work
from kernels.steps import makes

#: `act_slope` of each nonlinearity, as a text.
_SLOPES = {"tanh": scalar_text_of(tanh_slope, "one"), "relu": scalar_text_of(relu_slope, "one")}

INTS = ("int", "int")
#: The arguments of both functions: stage, count, when, widths, units, batch, places, lines, one.
FORWARD_KINDS = ("int", "int", (*INTS, *INTS, "int"), (*INTS, "int"), INTS, "rows", "rows", "rows", "number")
BACKWARD_KINDS = ("int", "int", (*INTS, "int"), (*INTS, *INTS), INTS, "rows", "rows", "rows", "number")
_ARGUMENTS = "count, when, widths, units, batch, places"
_FORWARD = (
    "t, s, s_next, g, at = when; B, H, P = widths; first, last = units",
    "b, r = batch[n], at + places[n]",
    "old, new, slot = s * B + b, s_next * B + b, g * B + b",
)
_BACKWARD = (
    "t, at, traced = when; B, H, P, S = widths; first, last = units",
    "b, r = batch[n], at + places[n]",
    "old, new, slot = t * B + b, (t + 1) * B + b, t * B + b",
)


class Rows(NamedTuple):
    """The row functions of a cell.

    Attributes
    ----------
    forward, backward : functions of (stage, count, when, widths, units, batch, places, lines, one).
    targets : for each stage, what takes the gradient of what its product multiplied; projected : of the projection.
    flow : the arrays of a backward step.
    text : all that they are made of.
    """

    forward: Any
    backward: Any
    targets: tuple[Target | None, ...]
    projected: Target | None
    flow: Flow
    text: str


def make_rows(cell: Cell) -> Rows:
    """Write out and mark for compilation the row functions of a cell."""
    arrays, names = flow(cell), dict[str, Any]()
    names |= {"__name__": __name__}  # where Numba looks for the globals of a function that it loads from disk
    names |= {name: getattr(activations, name) for name in ("sigmoid", "tanh", "relu", "exp", "log", "maximum")}
    names |= {"number__": activations.number, "pointer": pointers.pointer, "act": names[cell.act]}
    texts = [_SLOPES[cell.act]]
    for n, work in enumerate(cell.works):
        texts += [scalar_text(work.forward.tree, f"forward_{n}"), scalar_text(work.backward.tree, f"backward_{n}")]
    for text in texts:
        _define(text, names, inlined)
    names["act_slope"] = names[f"{cell.act}_slope"]
    forward = [_ForwardText(cell, n).text() for n in range(len(cell.stages))]
    writer, projected = _BackwardTexts(cell, arrays), None
    backward: list[tuple[Any, Target | None]] = []
    for n in reversed(range(len(cell.stages) + 1)):
        if n < len(cell.stages):
            backward.insert(0, writer.stage(n))
        if n == projected_before(cell) and cell.projected is not None:
            projected = writer.product(cell.projected)
    functions = []
    for way, stages, places in (
        ("forward", forward, names_forward(cell)),
        ("backward", [text for text, _ in backward], names_backward(cell, arrays)),
    ):
        for text, _ in stages:
            _define(text, names, apart)
        texts += [*(text for text, _ in stages), _choice(way, [used for _, used in stages], places)]
        functions.append(_define(texts[-1], names, lambda function: function))
    targets = tuple(target for _, target in backward)
    return Rows(functions[0], functions[1], targets, projected, arrays, "\n".join([cell.act, *texts]))


def _define(text: str, names: dict[str, Any], mark: Any) -> Any:
    """Run the text of one function, mark it for compilation and enter it among the names."""
    name = text[len("def ") : text.index("(")]
    exec(compile(text, __file__, "exec"), names)  # a file: what is in none is not kept on disk
    names[name] = mark(names[name])
    return names[name]


def _choice(way: str, used: list[list[str]], places: tuple[str, ...]) -> str:
    """The function that calls the row function of a stage with the lines that it uses."""
    lines = [f"def {way}(stage, {_ARGUMENTS}, lines, one):"]
    for n, names in enumerate(used):
        found = [(name, f"lines[{places.index(name)}]") for name in names]
        given = [line if name.endswith(("_t", "_b")) else f"pointer({line}, one)" for name, line in found]
        lines += [f"    if stage == {n}:", f"        {way}_row_{n}({', '.join([_ARGUMENTS, *given, 'one'])})"]
    return "\n".join(lines) + "\n"


# -- arrays and numbers in a row ------------------------------------------------------------------------------------


class _Lines:
    """The lines of a row function: the arrays it uses, what it computes for each row, and the loop over units."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.kept = kept_names(cell)
        self.used: dict[str, None] = {}
        self.row: dict[str, None] = {}
        self.loop: list[str] = []

    def number(self, array: str, row: str, width: str, block: int = 0, blocks: int = 1) -> str:
        """Number j of a row, or of one block of a row, of an array."""
        self.used[array] = None
        begin = f"{row}_{width}" if blocks == 1 else f"{row}_{block}_of_{blocks}"
        self.row[f"{begin} = {row if blocks == 1 else f'({row} * {blocks} + {block})'} * {width}"] = None
        return f"{array}[{begin} + j]"

    def column(self, array: str, block: int) -> str:
        """Number j of a block of a row of da."""
        self.used[array] = None
        self.row[f"column{block} = r * S + {block} * H"] = None
        return f"{array}[column{block} + j]"

    def width(self, name: str) -> str:
        """How many numbers a value of that name has in a row."""
        return "P" if is_narrow(self.cell, name) else "H"

    def state(self, which: str, name: str, row: str) -> str:
        """A number of one of the arrays that a cell has for each state."""
        return self.number(f"{which}{self.cell.states.index(name)}", row, self.width(name))

    def value(self, place: Place) -> str | None:
        """A number that both directions find in the same place."""
        match place.kind:
            case "own":
                array = f"own{self.cell.own.index(place.name)}"
                self.used[array] = None
                return f"{array}[j]"
            case "given":
                array = f"given{self.cell.given.index(place.name)}"
                self.used |= dict.fromkeys((array, f"{array}_t", f"{array}_b"))
                self.row[f"{array}_row = t * {array}_t + b * {array}_b"] = None
                return f"{array}[{array}_row + j]"
            case "library":
                return "(one - one)" if place.name == "zero" else place.name
            case "prev" | "new":
                return self.state("states", place.name, "old" if place.kind == "prev" else "new")
            case "gate":
                return self.number("gate", "slot", "H", self.cell.gates.index(place.name), len(self.cell.gates))
            case "kept":
                return self.number(f"kept{self.kept.index(place.name)}", "slot", self.width(place.name))
        return None

    def text(self, name: str, common: tuple[str, ...], loops: Iterable[tuple[str, list[str]]]) -> tuple[str, list[str]]:
        """The whole function, and the arrays it takes; `loops` are (condition or "", lines)."""
        lines = [f"def {name}({', '.join([_ARGUMENTS, *self.used, 'one'])}):", f"    {common[0]}"]
        lines += ["    for n in range(count):", *(f"        {line}" for line in (*common[1:], *self.row))]
        for condition, body in loops:
            indent = " " * (12 if condition else 8)
            lines += [f"        {condition}:"] if condition else []
            lines += [f"{indent}for j in range(first, last):", *(f"{indent}    {line}" for line in body or ["pass"])]
        return "\n".join(lines) + "\n", list(self.used)


def _call(function: str, found: Iterable[str], arguments: Iterable[str]) -> str:
    return f"{', '.join(found)} = {function}({', '.join([*arguments, 'one'])})"


class _ForwardText:
    """The forward row function of one stage."""

    def __init__(self, cell: Cell, number: int) -> None:
        self.cell, self.number, self.lines = cell, number, _Lines(cell)

    def text(self) -> tuple[str, list[str]]:
        """The whole function."""
        for work in self.cell.stages[self.number].works:
            self._work(work)
        return self.lines.text(f"forward_row_{self.number}", _FORWARD, [("", self.lines.loop)])

    def _work(self, work: Work) -> None:
        n, add = self.cell.works.index(work), self.lines.loop.append
        add(_call(f"forward_{n}", (f"v_{label}" for label in work.labels), map(self._value, work.inputs)))
        for label, places in zip(work.labels, work.outputs, strict=True):
            for place in sorted(places, key=lambda place: place.kind):
                add(f"{self._value(place)} = v_{label}")
        for gate in work.gates:
            for kind in ("a", "x"):  # a hidden part has been left in its place by the product
                if f"{kind}_{gate}" in self.cell.kept:
                    to = self._value(Place("kept", f"{kind}_{gate}"))
                    add(f"{to} = {self._value(Place(kind, gate))}")

    def _value(self, place: Place) -> str:
        """The text for a number."""
        match place.kind:
            case "h":
                return self._value(Place("kept", f"h_{place.name}"))
            case "x":
                return self.lines.number("pre", "r", "H", self.cell.gates.index(place.name), len(self.cell.gates))
            case "a":
                x = self._value(Place("x", place.name))
                return f"{x} + {self._value(Place('h', place.name))}" if place.name in separate(self.cell) else x
        return self.lines.value(place) or f"v_{place.name}"  # local


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

    def stage(self, number: int) -> tuple[tuple[str, list[str]], Target | None]:
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
            slots = [f"{self.lines.state('traces', name, 'new')} = {found}" for name, found in self.traced.items()]
            loops = [("if traced", body + slots), ("else", body)]
        text = self.lines.text(f"backward_row_{number}", _BACKWARD, loops)
        return text, None if stage.source is None else self.product(stage.source)

    def product(self, place: Place) -> Target:
        """What takes the gradient of what a product multiplied."""
        name = place.name if place.kind == "prev" else base(place.name)
        if place.kind == "prev" and name in self.flow.spares:
            added = name in self.begun
            self.begun.add(name)
            return Target(f"spares{self.flow.spares.index(name)}", added)
        if name in self.cell.states:
            return Target(f"dstates{self.cell.states.index(name)}", True)
        added = name in self.there
        self.there.add(name)
        return Target(f"values{self.flow.values.index(name)}", added)

    def _work(self, work: Work) -> None:
        n, lines = self.cell.works.index(work), self.lines
        found = {name: f"{name}_{n}" for name in work.backward.results}
        arguments = [self._value(place) for place in work.reads]  # what it reads is read before anything is written
        lines.loop.append(_call(f"backward_{n}", found.values(), arguments))
        for name, variable in found.items():
            kind, _, gate = name.partition("_")
            if gate in self.cell.gates and kind in ("da", "dx", "dh"):
                self._gate(kind, gate, variable)
            elif name.endswith("_prev"):
                self.before.setdefault(name[1:-5], []).append(variable)
            elif name[1:] in self.cell.own:
                at = lines.number("down", "r", "H", self.cell.own.index(name[1:]), len(self.cell.own))
                lines.loop.append(f"{at} = {variable}")
            elif name[1:] in work.replaces:
                self.now[name[1:]] = variable
                if name[1:] in self.cell.states and makes(work, name[1:]):
                    self.traced[name[1:]] = variable
            else:
                self._add(name[1:], variable)

    def _gate(self, kind: str, gate: str, variable: str) -> None:
        block = self.cell.gates.index(gate)
        if kind != "dh":
            self.lines.loop.append(f"{self.lines.column('da', block)} = {variable}")
        if kind != "dx" and self.cell.splits:
            self.lines.loop.append(f"{self.lines.column('da_hidden', block)} = {variable}")

    def _add(self, name: str, variable: str) -> None:
        if name in self.now or name in self.there or name in self.cell.states:
            self.lines.loop.append(f"{variable} = {self._gradient(name)} + {variable}")
        self.now[name] = variable

    def _gradient(self, name: str) -> str:
        """The gradient of a value as far as it is known."""
        return self.now.get(name) or self._array_of(name)

    def _array_of(self, name: str) -> str:
        if name in self.cell.states:
            return self.lines.state("dstates", name, "b")
        return self.lines.number(f"values{self.flow.values.index(name)}", "b", self.lines.width(name))

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
        for name in self.cell.states:
            parts = " + ".join(self.before.get(name, []))
            if name in self.flow.spares:
                if parts:
                    spare = self.lines.number(f"spares{self.flow.spares.index(name)}", "b", self.lines.width(name))
                    add(f"{spare} {'+=' if name in self.begun else '='} {parts}")
                    self.begun.add(name)
            elif number == self.flow.consumed[name]:
                add(f"{self._array_of(name)} = {parts or 'one - one'}")
            elif parts:
                add(f"{self._array_of(name)} += {parts}")

    def _value(self, place: Place) -> str:
        return self.lines.value(place) or self._gradient(place.name)  # grad
