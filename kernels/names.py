"""Following the names of gate functions through the phases of a cell: where each value lies, a `Layout`."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence

from kernels import name_checks
from kernels.equations import LIBRARY, Equation, error, read
from kernels.phases import Layout, Phase, Place, Projection, Stage, Work, scale_of


def read_phases(cell: str, phases: Sequence[Phase | Projection]) -> Layout:
    """Follow the names through all phases of the cell of that name.

    Raises
    ------
    CellError
        if the functions disagree.
    """
    return _Reader(cell, phases).layout()


class _Reader:
    """One reading of a cell's phases.  `made` maps each name to the phases that return it, in order."""

    def __init__(self, cell: str, phases: Sequence[Phase | Projection]) -> None:
        self.cell = cell
        found = [k for k, phase in enumerate(phases) if isinstance(phase, Projection)]
        self.phases = [phase for phase in phases if isinstance(phase, Phase)]
        if len(self.phases) + len(found) != len(phases) or len(found) > 1 or not self.phases or found == [0]:
            raise error(cell, "expected one Phase or several, and at most one Projection after them")
        self.projection = next((phase for phase in phases if isinstance(phase, Projection)), None)
        self.projected_at = found[0] if found else len(self.phases)
        self.forward = [read(cell, phase.forward, phase.names) for phase in self.phases]
        self.backward = [read(cell, phase.backward, phase.names) for phase in self.phases]
        for phase, equation in zip(self.phases, self.forward, strict=True):
            name_checks.check_phase(cell, phase, equation)
        self.narrow = [self._is_narrow(k) for k in range(len(self.phases))]
        self.made: dict[str, list[int]] = {}
        for k, equation in enumerate(self.forward):
            for name in equation.results:
                self.made.setdefault(name, []).append(k)
        self.gates = self._gates()
        self.states = self._states()
        self._check_new_values()
        self.stage_of = self._stage_numbers()
        self.kept: dict[str, None] = {}  # in order of first use
        self.own: dict[str, None] = {}
        self.given: dict[str, None] = {}
        self.separate: dict[str, None] = {}

    # -- gates, states, stages ----------------------------------------------------------------------------------------

    def _is_narrow(self, k: int) -> bool:
        """Whether phase k works on the P units of the hidden state of a cell with a projection."""
        if self.projection is None:
            return False
        narrow = k >= self.projected_at or "h_prev" in self.forward[k].arguments
        if narrow:
            name_checks.check_narrow(self.cell, self.phases[k], self.forward[k], after=k >= self.projected_at)
        elif "h" in self.forward[k].results:
            raise error(self.cell, "the projection makes h; a phase before it cannot return h", self.forward[k])
        return narrow

    def _gates(self) -> tuple[str, ...]:
        gates: list[str] = []
        for phase, equation in zip(self.phases, self.forward, strict=True):
            for gate in phase.gates:
                name_checks.check_gate(self.cell, gate, gates, equation)
                gates.append(gate)
        if not gates:
            raise error(self.cell, "expected at least one gate", self.forward[0])
        return tuple(gates)

    def _states(self) -> tuple[str, ...]:
        """The states: h, then every other S with an argument S_prev, in the order in which forward returns them."""
        asked: dict[str, Equation] = {}
        for equation in self.forward:
            asked |= {name[:-5]: equation for name in equation.arguments if name.endswith("_prev")}
        for state, equation in asked.items():
            if state not in self.made and not (state == "h" and self.projection):
                words = f"{state + '_prev'!r} is asked for, but no phase returns the state {state!r}"
                raise error(self.cell, words, equation, equation.places(state + "_prev"))
        if not self.projection and "h" not in self.made:
            raise error(self.cell, "no phase returns the hidden state h", self.forward[-1])
        others = [name for name in self.made if name in asked and name != "h"]
        for state in ("h", *others):
            if state in asked and not any(f"d{state}_prev" in equation.results for equation in self.backward):
                words = f"{state}_prev is asked for in forward, but no backward returns d{state}_prev"
                raise error(self.cell, words, self.backward[-1])
        return ("h", *others)

    def _check_new_values(self) -> None:
        """A phase that gives a name a new value must ask for the old one, and must return its gradient."""
        for name, makers in self.made.items():
            before = [self.projected_at - 1] if self.projection and name == "h" else []
            for k in [*before, *makers][1:]:
                if name not in self.forward[k].arguments:
                    words = f"{name!r} has a value already; ask for it as an argument to give it a new one"
                    raise error(self.cell, words, self.forward[k], self.forward[k].last_line)
                if f"d{name}" not in self.backward[k].results:
                    words = f"forward gives {name!r} a new value; backward must return 'd{name}', what the old one gets"
                    raise error(self.cell, words, self.backward[k], self.backward[k].last_line)

    def _stage_numbers(self) -> list[int]:
        """For each phase, the number of its stage: a phase with gates, or with row functions, begins a new one."""
        numbers: list[int] = []
        for k, phase in enumerate(self.phases):
            begins = bool(phase.gates) or phase.between is not None or self.narrow[k] or self.narrow[k - 1]
            numbers.append(0 if k == 0 else numbers[-1] + begins)
        return numbers

    # -- names -> places ----------------------------------------------------------------------------------------------

    def _label(self, name: str, k: int) -> str:
        """The label of the value that phase k returns as `name`: a later phase may give that name a new value."""
        return name if len(self.made[name]) == 1 else f"{name}__{k}"

    def _stored(self, name: str, k: int) -> list[Place]:
        """The slots that take what phase k returns as `name`, whether or not anything asks for it."""
        state = [Place("new", name)] if name in self.states and self.made[name][-1] == k else []
        return state + ([Place("gate", name)] if name in self.phases[k].gates else [])

    def _array(self, name: str, k: int) -> Place:
        """An array that holds what phase k returns as `name`; it goes on the tape if it has no slot yet."""
        stored = self._stored(name, k)
        return stored[0] if stored else self._keep(self._label(name, k))

    def _keep(self, label: str) -> Place:
        self.kept[label] = None
        return Place("kept", label)

    def _common(self, name: str) -> Place | None:
        """The place of a name that forward and backward of every phase may ask for."""
        if name in LIBRARY:
            return Place("library", name)
        if name.endswith("_prev") and name[:-5] in self.states:
            return Place("prev", name[:-5])
        if name.startswith("p_"):
            self.own[name] = None
            return Place("own", name)
        if name.startswith("k_"):
            self.given[name] = None
            return Place("given", name)
        return None

    def _part(self, name: str, k: int) -> Place | None:
        """``a_X``, ``x_X`` or ``h_X`` of a gate of phase k."""
        kind, _, gate = name.partition("_")
        if gate in self.phases[k].gates and kind in ("a", "x", "h"):
            return Place(kind, gate)  # type: ignore[arg-type]
        return None

    def _input(self, name: str, k: int) -> Place:
        """Where an argument of the forward function of phase k lies."""
        phase, equation = self.phases[k], self.forward[k]
        found = self._common(name) or self._part(name, k)
        if found is not None:
            if found.kind in ("x", "h"):
                self.separate[found.name] = None
            return found
        if phase.between and not phase.gates and name == f"between_{phase.source}":
            return Place("between", name)
        if name == "h" and self.projection and k >= self.projected_at:
            return Place("new", "h")  # the product's slot
        makers = self._makers(name, k)
        if not makers:
            raise self._unknown(name, k, equation)
        if self.narrow[makers[-1]] != self.narrow[k]:
            words = f"{name!r} has as many numbers as h, after the projection; only a `source` can be that"
            raise error(self.cell, words, equation, equation.places(name))
        same_stage = self.stage_of[makers[-1]] == self.stage_of[k]
        return Place("local", self._label(name, makers[-1])) if same_stage else self._array(name, makers[-1])

    def _read(self, name: str, k: int) -> Place:
        """Where an argument of the backward function of phase k lies."""
        found, equation = self._common(name), self.backward[k]
        if found is not None:
            return found
        if self._part(name, k) is not None or self._is_between(name, k):
            return self._keep(name)
        makers = self.made.get(name, [])
        if makers:  # the value that this phase or one before it returned, else that of the first one after it
            own = [j for j in makers if j <= k]
            return self._array(name, own[-1] if own else makers[0])
        value = name[1:]
        if name[:1] == "d" and (value in self.made or value in self.states):
            if value == "h" and self.projection and not self.narrow[k]:
                words = f"'dh' is what h receives, after the projection; ask for 'd{self.projection.source}'"
                raise error(self.cell, words, equation, equation.places(name))
            if value not in self.states and not self._gives_gradient(value, k):
                words = f"{name!r} is asked for, but no later phase gives the gradient of {value!r}"
                raise error(self.cell, words, equation, equation.places(name))
            return Place("grad", value)
        raise self._unknown(name, k, equation)

    def _is_between(self, name: str, k: int) -> bool:
        phase = self.phases[k]
        return phase.between is not None and not phase.gates and name == f"between_{phase.source}"

    def _gives_gradient(self, value: str, k: int) -> bool:
        later = range(k + 1, len(self.phases))
        multiplied = any(self.phases[j].source == value for j in later)
        projected = self.projection is not None and self.projection.source == value
        return multiplied or projected or any("d" + value in self.backward[j].results for j in later)

    def _unknown(self, name: str, k: int, equation: Equation) -> Exception:
        gates, forward = self.phases[k].gates, equation is self.forward[k]
        words = None
        if name in self.made:
            words = f"{name!r} is a value of a later phase, or of this one"
        elif forward and name[:1] == "d" and name[1:] in self.made:
            words = f"{name!r} is a gradient: backward alone can ask for it"
        elif not forward and name in {node.id for node in ast.walk(self.forward[k].tree) if isinstance(node, ast.Name)}:
            words = f"{name!r} is asked for, but forward does not return it"
        if words is not None:
            return error(self.cell, words, equation, equation.places(name))
        there = [f"{kind}_{gate}" for gate in gates for kind in "axh"] + [f"{name}_prev" for name in ("h", *self.made)]
        there += [*self.made, *LIBRARY, *("d" + name for name in (*self.states, *self.made))]
        near = difflib.get_close_matches(name, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the gates of this phase are {', '.join(gates) or 'none'}"
        return error(self.cell, f"{name!r} is no name of this cell; {hint}", equation, equation.places(name))

    # -- the answer ---------------------------------------------------------------------------------------------------

    def _source(self, k: int) -> Place | None:
        """What the product of phase k multiplies."""
        phase = self.phases[k]
        if phase.source is None or (phase.source == "h_prev" and not phase.gates and not phase.between):
            return None
        return self._operand(phase.source, k, f"phase {k + 1} ({', '.join(phase.gates) or 'no gates'})")

    def _operand(self, source: str, k: int, who: str) -> Place:
        if source.endswith("_prev") and source[:-5] in self.states:
            return Place("prev", source[:-5])
        makers = self._makers(source, k)
        if not makers:
            near = difflib.get_close_matches(source, ["h_prev", *self.made], 1)
            hint = f"; did you mean {near[0]!r}?" if near and near[0] != source else ""
            words = f"{who} has the source {source!r}, which no phase before it returns; expected 'h_prev', a value of"
            equation = self.forward[min(k, len(self.forward) - 1)]
            raise error(self.cell, f"{words} a phase before, or None{hint}", equation)
        return self._array(source, makers[-1])

    def layout(self) -> Layout:
        """Everything that was read."""
        inputs = [tuple(self._input(n, k) for n in e.arguments) for k, e in enumerate(self.forward)]
        for phase, equation in zip(self.phases, self.forward, strict=True):
            name_checks.check_pre_activations(self.cell, phase, equation)
        sources = [self._source(k) for k in range(len(self.phases))]
        projected = None
        if self.projection is not None:
            projected = self._operand(self.projection.source, self.projected_at, "the projection")
        for gate in self.separate:  # the product leaves it there
            self._keep(f"h_{gate}")
        reads = [tuple(self._read(n, k) for n in e.arguments) for k, e in enumerate(self.backward)]
        known = {*self.states, *self.made, *self.own}
        name_checks.check_results(self.cell, self.phases, self.backward, known, self.states)
        name_checks.check_sent_back(self.cell, self._uses(), self.forward, self.backward)
        self._check_states_sent_back()
        name_checks.check_previous(self.cell, self.states, self.forward, self.backward)
        name_checks.check_complete(self.cell, self.phases, self.forward, self.backward, self.own, self.separate)
        scales = self._scales()
        works = [self._work(k, sources[k], inputs[k], reads[k]) for k in range(len(self.phases))]
        found = {name for equation in self.backward for name in equation.results}
        return Layout(
            gates=self.gates,
            recurrent=tuple(gate for work in works if work.source for gate in work.gates),
            states=self.states,
            own=(*self.own, *scales),
            initial=scales,
            given=tuple(self.given),
            kept=tuple(self.kept),
            separate=tuple(gate for gate in self.gates if gate in self.separate),
            splits=tuple(gate for gate in self.gates if f"dh_{gate}" in found or scale_of(gate, "h")[0] in scales),
            biased=not any(phase.between and phase.gates for phase in self.phases),
            projected=projected,
            projected_at=self.projected_at,
            works=tuple(works),
            stages=self._stages(works),
        )

    def _uses(self) -> list[tuple[str, int, int | None]]:
        """Each value with the phase that makes it and a phase after it that asks for it; None for a product."""
        found: list[tuple[str, int, int | None]] = []
        for k, (phase, equation) in enumerate(zip(self.phases, self.forward, strict=True)):
            found += [(name, makers[-1], k) for name in equation.arguments if (makers := self._makers(name, k))]
            if phase.source is not None and (makers := self._makers(phase.source, k)):
                found.append((phase.source, makers[-1], None))
        if self.projection is not None and (makers := self._makers(self.projection.source, self.projected_at)):
            found.append((self.projection.source, makers[-1], None))
        return found

    def _makers(self, name: str, k: int) -> list[int]:
        """The phases before phase k that return this name."""
        return [j for j in self.made.get(name, ()) if j < k]

    def _check_states_sent_back(self) -> None:
        """The next step sends a gradient to every state; the phase that makes the state must ask for it."""
        for state in self.states:
            makers = self.made.get(state, [])
            if not makers or not name_checks.moves(self.forward[makers[-1]], state):
                continue
            equation = self.backward[makers[-1]]
            if f"d{state}" not in equation.arguments:
                words = f"the state {state!r} gets a gradient from the next step; backward must ask for 'd{state}'"
                raise error(self.cell, words, equation)

    def _scales(self) -> dict[str, float]:
        """The weights of row functions that scale (`kernels.phases.Between`), each with its first value."""
        found: dict[str, float] = {}
        for phase in self.phases:
            for gate in phase.gates if phase.between and phase.between.scaled else ():
                for part in "xh"[: 1 + (phase.source is not None)]:
                    gain, bias = scale_of(gate, part)
                    found |= {gain: 1.0} | ({bias: 0.0} if part == "x" or gate in self.separate else {})
        return found

    def _work(self, k: int, source: Place | None, inputs: tuple[Place, ...], reads: tuple[Place, ...]) -> Work:
        phase, forward, backward = self.phases[k], self.forward[k], self.backward[k]
        labels = tuple(self._label(name, k) for name in forward.results)
        outputs = tuple(
            (*self._stored(name, k), *([Place("kept", label)] if label in self.kept else []))
            for name, label in zip(forward.results, labels, strict=True)
        )
        renewed = {f"d{name}" for name in forward.results if name in forward.arguments}
        replacing = {name for name in backward.results if name in backward.arguments or name in renewed}
        values = dict.fromkeys((*self.states, *self.made))
        return Work(
            phase.gates, source, phase.between, forward, backward, inputs, labels, outputs, reads,
            tuple(name for name in values if f"d{name}" in replacing), self.narrow[k],
        )  # fmt: skip

    def _stages(self, works: Sequence[Work]) -> tuple[Stage, ...]:
        stages, first = [], 0
        for number in range(self.stage_of[-1] + 1):
            members = tuple(work for work, n in zip(works, self.stage_of, strict=True) if n == number)
            last = first + sum(len(work.gates) for work in members)
            source = next((work.source for work in members if work.gates), None)
            stages.append(Stage(source, first, last, members, members[0].narrow))
            first = last
        return tuple(stages)
