"""The backward functions of ``Cell`` (`kernels.cuda.elements`): `kernels.steps.Gradients`, as text."""

from __future__ import annotations

import functools

from kernels.cells import Cell
from kernels.cuda.parts import Part, call, parts, value
from kernels.cuda.translate import identifier, symbol
from kernels.phases import Place, Work
from kernels.steps import makes

_FUNCTION = "  static __device__ __forceinline__ void"


class Reverse:
    """Writes all parts, from the last to the first.  A gradient is an expression, put together as `Gradients` adds.

    Attributes
    ----------
    lines : the text.
    passed : values whose gradients wait in memory from one part to an earlier one, each with its number of units.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.lines: list[str] = []
        self.passed: dict[str, str] = {}
        self.values: dict[str, str] = {}  # gradients of states and values of the step, as far as they are known
        self.totals: dict[str, str] = {}  # of each state all that it receives
        self.previous: dict[str, str] = {}  # what the states before the step receive, where this part adds to it
        for part in reversed(parts(cell)):
            self._part(part)

    def _part(self, part: Part) -> None:
        cell, every, first = self.cell, parts(self.cell), part.first_back
        states = [state for state in cell.states if cell.is_narrow(state) == part.narrow]
        if first:
            self._absorb(part)
        self.lines.append(f"{_FUNCTION} backward_{part.name}(const Backward& k, int t, int b, int j, real product) {{")
        self._say(f"const At<Backward> at(k, k.{part.width}, G, t, b, j);")
        self.previous, self.first = {}, first
        if first:
            self._take_in(states)
        self._say("if (!at.valid) {")
        for line in self._past_the_end(part, states if first else []):
            self._say(f"  {line}")
        self._say("  return;")
        self._say("}")
        above = every[every.index(part) + 1 :][:1]
        if above and above[0].source is not None and not above[0].goes_back:
            self._add_place(above[0].source, "product")  # a = U source
        known = dict(self.totals)
        for work in reversed(part.works):
            self._work(work)
        if part.name == "projection":  # h = W_hr m
            self._say(f"k.dprojected[at.now] = {self.values['h']};")
        for state in states:
            if first or self.totals[state] != known[state]:
                self._say(self._trace(state, self.totals[state]))
            if first or state in self.previous:
                self._say(f"{self._next(state)} = {self.previous.get(state, '0')};")
        self._pass_on(part)
        self.lines.append("  }")

    def _say(self, line: str) -> None:
        self.lines.append("    " + line)

    def _next(self, state: str) -> str:
        return f"k.d{symbol(state)}_next[at.unit]"

    def _trace(self, state: str, gradient: str) -> str:
        return f"if (k.d{symbol(state)}_all != nullptr) k.d{symbol(state)}_all[at.next] = {gradient};"

    def _take_in(self, states: list[str]) -> None:
        """What the states receive from later."""
        for state in states:
            self.values[state] = self.totals[state] = name = f"d_{symbol(state)}"
            self._say(f"real {name} = {self._next(state)};")
            if state == "h":
                self._say("if (k.dy != nullptr) d_h += k.dy[at.now];  // y[t] = h[t+1]")

    def _past_the_end(self, part: Part, states: list[str]) -> list[str]:
        """A state's gradient stays, as S[t+1] = S[t], and all others are 0."""
        lines = []
        for state in states:
            lines += [self._trace(state, self.values[state]), f"{self._next(state)} = {self.values[state]};"]
        if part.first_back and not part.narrow:
            lines.append("for (int q = 0; q < G; ++q) k.da[at.block(q)] = k.da_hidden[at.block(q)] = 0;")
            lines += [f"k.d{symbol(name)}[at.now] = 0;" for name in self.cell.own]
        return lines + ["k.dprojected[at.now] = 0;"] * (part.name == "projection")

    def _work(self, work: Work) -> None:
        """One backward function, and where its results go."""
        cell = self.cell
        places = [place for place in work.reads if place.kind != "library"]
        values = [self.values[place.name] if place.kind == "grad" else value(cell, place) for place in places]
        self.lines.append(call(cell, work, "backward", values))
        for name in work.backward.results:
            result, target = f"s{cell.works.index(work)}.{identifier(name)}", name[1:]
            kind, _, gate = name.partition("_")
            if gate in cell.gates and kind in ("da", "dx", "dh"):
                self._say(f"{self._sides(kind, gate)}{result};")
            elif name.endswith("_prev"):
                self._add_place(Place("prev", target[:-5]), result)
            elif target in cell.own:
                self._say(f"k.d{symbol(target)}[at.now] = {result};")
            elif target in work.replaces:
                self.values[target] = result
                if makes(work, target):
                    self.totals[target] = result
            else:
                self._add(target, result)

    def _sides(self, kind: str, gate: str) -> str:
        """Where a gate's gradient goes: ``da``, of the input side, and ``da_hidden`` where that is another array."""
        block = self.cell.gates.index(gate)
        sides = {"da": ["da", "da_hidden"][: 1 + bool(self.cell.splits)], "dx": ["da"], "dh": ["da_hidden"]}[kind]
        return "".join(f"k.{side}[at.block({block})] = " for side in sides)

    def _add(self, name: str, gradient: str) -> None:
        self.values[name] = f"{self.values[name]} + {gradient}" if name in self.values else gradient

    def _add_place(self, place: Place, gradient: str) -> None:
        if place.kind != "prev":
            return self._add(place.name.partition("__")[0], gradient)
        known = self.previous.get(place.name, "" if self.first else self._next(place.name))
        self.previous[place.name] = f"{known} + {gradient}" if known else gradient

    def _pass_on(self, part: Part) -> None:
        """Leave in memory what an earlier part asks for; the numbers of this one are gone."""
        below = parts(self.cell)[: parts(self.cell).index(part)]
        asked = {place.name for one in below for work in one.works for place in work.reads if place.kind == "grad"}
        asked |= {"h"} if "projection" in [one.name for one in below] else set()
        for name in [name for name in self.values if name in asked]:
            there = f"k.d{symbol(name)}_passed[at.unit]"
            if self.values[name] != there:
                self._say(f"{there} = {self.values[name]};")
                self.passed[name] = part.width
            self.values[name] = there
        self.values = {name: gradient for name, gradient in self.values.items() if name in asked}

    def _absorb(self, part: Part) -> None:
        """Add what came through a product of step t, whose source is a state before it."""
        sources = [one.source for one in parts(self.cell) if one.source is not None and one.goes_back]
        name = f"absorb_{part.width}"
        self.lines.append(f"{_FUNCTION} {name}(const Backward& k, int t, int b, int j, real product) {{")
        for state in dict.fromkeys(place.name for place in sources if self.cell.is_narrow(place.name) == part.narrow):
            self._say("if (k.lengths == nullptr || t < k.lengths[b])")
            self._say(f"  k.d{symbol(state)}_next[(size_t)b * k.{part.width} + j] += product;")
        self.lines.append("  }")


reverse = functools.cache(Reverse)
