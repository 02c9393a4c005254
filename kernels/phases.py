"""The phases of a step, and where each name of their gate functions lies.

`read_phases` follows the names through the phases of a cell, once, when it is declared: what an argument refers to,
what takes a result, what has to stay on the tape because backward asks for it.  `kernels.steps`, `kernels.cpu.rows` and
`kernels.cuda.elements` are written from its answer, the `Layout`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from kernels.equations import LIBRARY, Equation, error, read

Array = Any  # of any array library


class Between(NamedTuple):
    """A row function between a product and its gate functions, with its reverse.

    Attributes
    ----------
    forward : (R, G*H) -> (R, G*H), on all rows of a step.
    backward : (dout, rows, out) -> drows, each (R, G*H).
    """

    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array, Array], Array]


class Phase:
    """A product with recurrent weights, and the gate functions after it.

    Parameters
    ----------
    gates : the names of its gates, as one string of letters or as a sequence of names; the order of their blocks in
        the weights.  Empty for a phase that only goes on with what others have made.
    forward, backward : the gate functions.
    source : what the recurrent weights multiply: ``"h_prev"`` or a value that a phase before returned.  None for a
        phase without a recurrent product.
    between : row functions (forward, backward) on all rows of a step, between the product and the gate functions: for
        normalisation.  They take the input part and the hidden part apart where the gate functions ask for ``x_X`` and
        ``h_X``, their sum where these ask for ``a_X``.  A phase without gates takes its `source` through them and
        its gate functions ask for ``between_SOURCE``.  Biases would be normalised away: there are none.
    """

    def __init__(
        self,
        gates: str | Iterable[str],
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        source: str | None = "h_prev",
        between: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
    ) -> None:
        self.gates = tuple(gates)
        self.forward, self.backward = forward, backward
        self.source = source
        self.between = None if between is None else Between(*between)


class Projection(NamedTuple):
    """The last phase of a cell whose hidden state is a product of its own: h = W_hr source (Sak et al. 2014)."""

    source: str


class Place(NamedTuple):
    """Where a value lies.

    Attributes
    ----------
    kind : ``a x h`` a gate's pre-activation and its parts, ``prev`` and ``new`` a state in its slots, ``gate`` the
        gate block on the tape, ``kept`` another array on the tape, ``local`` a value of this stage that nobody keeps,
        ``own`` a weight of a unit, ``given`` a factor from the layer, ``between`` a normalised source, ``library``;
        in backward also ``grad``, the gradient of a value.
    name : which one.
    """

    kind: Literal["a", "x", "h", "prev", "new", "gate", "kept", "local", "own", "given", "between", "library", "grad"]
    name: str


class Work(NamedTuple):
    """A phase as it was read.

    Attributes
    ----------
    gates : its gates; source : what its weights multiply, None without a product; between : its row functions.
    forward, backward : the two equations.
    inputs : where each argument of forward lies.
    labels : what each result of forward is called, one of a kind in the cell: ``local`` places refer to it.
    outputs : for each result of forward, the places on the tape that take it.
    reads : where each argument of backward lies.
    """

    gates: tuple[str, ...]
    source: Place | None
    between: Between | None
    forward: Equation
    backward: Equation
    inputs: tuple[Place, ...]
    labels: tuple[str, ...]
    outputs: tuple[tuple[Place, ...], ...]
    reads: tuple[Place, ...]


class Stage(NamedTuple):
    """A recurrent product and all phases up to the next product: one pass over the units.

    Attributes
    ----------
    source : what is multiplied, or None.
    first, last : its gates are ``cell.gates[first:last]``.
    works : its phases.
    """

    source: Place | None
    first: int
    last: int
    works: tuple[Work, ...]


class Layout(NamedTuple):
    """What the names of a cell's gate functions say; `kernels.cells.Cell` explains the fields."""

    gates: tuple[str, ...]
    recurrent: tuple[str, ...]
    states: tuple[str, ...]
    own: tuple[str, ...]
    given: tuple[str, ...]
    kept: tuple[str, ...]
    separate: tuple[str, ...]
    splits: tuple[str, ...]
    biased: bool
    projected: Place | None
    works: tuple[Work, ...]
    stages: tuple[Stage, ...]


def read_phases(cell: str, phases: Sequence[Phase | Projection]) -> Layout:
    """Follow the names through all phases of the cell of that name.

    Raises
    ------
    CellError
        where the functions disagree.
    """
    return _Reader(cell, phases).layout()


class _Reader:
    """One reading of a cell's phases.  `made` says of each name which phases return it, in order."""

    def __init__(self, cell: str, phases: Sequence[Phase | Projection]) -> None:
        self.cell = cell
        self.projection = phases[-1] if phases and isinstance(phases[-1], Projection) else None
        self.phases = [phase for phase in phases if isinstance(phase, Phase)]
        if len(self.phases) != len(phases) - (self.projection is not None) or not self.phases:
            raise error(cell, "expected one Phase or several, then at most one Projection")
        self.forward = [read(cell, phase.forward) for phase in self.phases]
        self.backward = [read(cell, phase.backward) for phase in self.phases]
        self.made: dict[str, list[int]] = {}
        for k, equation in enumerate(self.forward):
            for name in equation.results:
                self.made.setdefault(name, []).append(k)
        self.gates = self._gates()
        self.states = self._states()
        self.stage_of = self._stage_numbers()
        self.kept: dict[str, None] = {}  # in order of first use
        self.own: dict[str, None] = {}
        self.given: dict[str, None] = {}
        self.separate: dict[str, None] = {}

    # -- gates, states, stages ----------------------------------------------------------------------------------------

    def _gates(self) -> tuple[str, ...]:
        gates = tuple(gate for phase in self.phases for gate in phase.gates)
        for gate in gates:
            if not (isinstance(gate, str) and gate.isidentifier()) or gate in LIBRARY or gate == "prev":
                raise error(self.cell, f"a gate cannot be called {gate!r}")
            if gates.count(gate) > 1:
                raise error(self.cell, f"two gates are called {gate!r}")
        for phase, equation in zip(self.phases, self.forward, strict=True):
            for gate in phase.gates:
                if gate not in equation.results:
                    words = f"gate {gate!r} is not returned; got {', '.join(equation.results)}"
                    raise error(self.cell, words, equation, equation.tree.body[-1].lineno)
        if not gates:
            raise error(self.cell, "expected at least one gate")
        return gates

    def _states(self) -> tuple[str, ...]:
        """The states: h, then every other S with an argument S_prev, in the order in which forward returns them."""
        asked: dict[str, Equation] = {}
        for equation in self.forward:
            asked |= {name[:-5]: equation for name in equation.arguments if name.endswith("_prev")}
        for state, equation in asked.items():
            if state not in self.made and not (state == "h" and self.projection):
                words = f"{state + '_prev'!r} is asked for, but no phase returns the state {state!r}"
                raise error(self.cell, words, equation, equation.places(state + "_prev"))
        if self.projection and ("h" in self.made or "h" in asked):
            equation = next(e for e in self.forward if "h" in e.results or "h_prev" in e.arguments)
            raise error(
                self.cell, "the projection makes h: gate functions can neither return h nor ask for h_prev", equation
            )
        if not self.projection and "h" not in self.made:
            raise error(self.cell, "no phase returns the hidden state h", self.forward[-1])
        others = [name for name in self.made if name in asked and name != "h"]
        for state in ("h", *others):
            if state in asked and not any(f"d{state}_prev" in equation.results for equation in self.backward):
                words = f"{state}_prev is asked for in forward, but no backward returns d{state}_prev"
                raise error(self.cell, words, self.backward[-1])
        return ("h", *others)

    def _stage_numbers(self) -> list[int]:
        """For each phase, the number of its stage: a phase with gates, or with row functions, begins a new one."""
        numbers: list[int] = []
        for k, phase in enumerate(self.phases):
            begins = bool(phase.gates) or phase.between is not None
            numbers.append(0 if k == 0 else numbers[-1] + begins)
        return numbers

    # -- names -> places ----------------------------------------------------------------------------------------------

    def _label(self, name: str, k: int) -> str:
        """The name of what phase k returns as `name`: a later phase may give it a new value."""
        return name if len(self.made[name]) == 1 else f"{name}__{k}"

    def _stored(self, name: str, k: int) -> list[Place]:
        """The slots that take what phase k returns as `name`, whoever asks for it."""
        last = self.made[name][-1] == k
        state = [Place("new", name)] if name in self.states and last else []
        return state + ([Place("gate", name)] if name in self.gates and last else [])

    def _array(self, name: str, k: int) -> Place:
        """An array that holds what phase k returns as `name`; it goes on the tape where it has no slot yet."""
        stored = self._stored(name, k)
        return stored[0] if stored else self._keep(self._label(name, k))

    def _keep(self, label: str) -> Place:
        self.kept[label] = None
        return Place("kept", label)

    def _common(self, name: str, k: int) -> Place | None:
        """What both ways of phase k may ask for."""
        if name in LIBRARY:
            return Place("library", name)
        if name.startswith("p_"):
            self.own[name] = None
            return Place("own", name)
        if name.startswith("k_"):
            self.given[name] = None
            return Place("given", name)
        if name.endswith("_prev") and name[:-5] in self.states:
            return Place("prev", name[:-5])
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
        found = self._common(name, k) or self._part(name, k)
        if found is not None:
            if found.kind in ("x", "h"):
                if phase.source is None:
                    words = (
                        f"{name!r} is asked for, but the phase has no product (source=None); ask for 'a_{found.name}'"
                    )
                    raise error(self.cell, words, equation, equation.places(name))
                if f"a_{found.name}" in equation.arguments:
                    words = f"ask for 'a_{found.name}' or for its parts 'x_{found.name}' and 'h_{found.name}', not both"
                    raise error(self.cell, words, equation, equation.places(name))
                self.separate[found.name] = None
            return found
        if phase.between and not phase.gates and name == f"between_{phase.source}":
            return Place("between", name)
        makers = [j for j in self.made.get(name, ()) if j < k]
        if makers:
            same_stage = self.stage_of[makers[-1]] == self.stage_of[k]
            return Place("local", self._label(name, makers[-1])) if same_stage else self._array(name, makers[-1])
        raise self._unknown(name, k, equation)

    def _read(self, name: str, k: int) -> Place:
        """Where an argument of the backward function of phase k lies."""
        found = self._common(name, k)
        if found is not None:
            return found
        if self._part(name, k) is not None or name == f"between_{self.phases[k].source}":
            return self._keep(name)
        makers = self.made.get(name, [])
        if makers:  # its own, or what it was given, or what a later phase made of it
            own = [j for j in makers if j <= k]
            return self._array(name, own[-1] if own else makers[0])
        if name[:1] == "d" and (name[1:] in self.made or name[1:] in self.states):
            value = name[1:]
            if value not in self.states and not self._gives_gradient(value, k):
                words = f"{name!r} is asked for, but no later phase gives the gradient of {value!r}"
                raise error(self.cell, words, self.backward[k], self.backward[k].places(name))
            return Place("grad", value)
        raise self._unknown(name, k, self.backward[k])

    def _gives_gradient(self, value: str, k: int) -> bool:
        later = range(k + 1, len(self.phases))
        multiplied = any(self.phases[j].source == value for j in later)
        projected = self.projection is not None and self.projection.source == value
        return multiplied or projected or any("d" + value in self.backward[j].results for j in later)

    def _unknown(self, name: str, k: int, equation: Equation) -> Exception:
        gates = self.phases[k].gates
        there = [f"{kind}_{gate}" for gate in gates for kind in "axh"] + [f"{state}_prev" for state in self.states]
        there += [*self.made, *LIBRARY, *("d" + name for name in (*self.states, *self.made))]
        near = difflib.get_close_matches(name, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the gates of this phase are {', '.join(gates) or 'none'}"
        return error(self.cell, f"{name!r} is no name of this cell; {hint}", equation, equation.places(name))

    # -- backward's results -------------------------------------------------------------------------------------------

    def _check_results(self, k: int) -> None:
        """Every result of a backward function must be the gradient of something."""
        equation = self.backward[k]
        parts = {f"d{kind}_{gate}" for gate in self.gates for kind in "axh"}
        known = parts | {f"d{state}_prev" for state in self.states} | {f"d{name}" for name in self.states}
        known |= {f"d{name}" for name in self.made} | {f"d{name}" for name in self.own}
        known |= {f"dbetween_{self.phases[k].source}"}
        for name in equation.results:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                words = f"{name!r} is returned, but it is the gradient of nothing in this cell{hint}"
                raise error(self.cell, words, equation, equation.tree.body[-1].lineno)

    def _check_complete(self) -> None:
        """Every gate and every weight must have a gradient, and only one."""
        found = [name for equation in self.backward for name in equation.results]
        for gate in self.gates:
            both, parts = found.count(f"da_{gate}"), (found.count(f"dx_{gate}"), found.count(f"dh_{gate}"))
            if (both, parts) not in ((1, (0, 0)), (0, (1, 1))):
                words = (
                    f"gate {gate!r} has no gradient" if not both and not any(parts) else f"gate {gate!r} has not one"
                )
                words += f"; backward must return 'da_{gate}', or 'dx_{gate}' and 'dh_{gate}'"
                raise error(self.cell, words, self.backward[self._phase_of(gate)])
            if parts != (0, 0) and gate not in self.separate:
                words = f"backward returns 'dx_{gate}' and 'dh_{gate}', but forward does not ask for its parts"
                raise error(self.cell, words, self.backward[self._phase_of(gate)])
        for name in self.own:
            if found.count(f"d{name}") != 1:
                equation = next(e for e in (*self.forward, *self.backward) if name in e.arguments)
                count = found.count(f"d{name}")
                words = f"weight {name!r} needs one gradient 'd{name}' among backward's results, got {count}"
                raise error(self.cell, words, equation, equation.places(name))

    def _phase_of(self, gate: str) -> int:
        return next(k for k, phase in enumerate(self.phases) if gate in phase.gates)

    # -- the answer ---------------------------------------------------------------------------------------------------

    def _source(self, k: int) -> Place | None:
        """What the product of phase k multiplies."""
        phase = self.phases[k]
        if phase.source is None:
            return None
        return self._operand(phase.source, k, f"phase {k + 1} ({', '.join(phase.gates) or 'no gates'})")

    def _operand(self, source: str, k: int, who: str) -> Place:
        if source.endswith("_prev") and source[:-5] in self.states:
            return Place("prev", source[:-5])
        makers = [j for j in self.made.get(source, ()) if j < k]
        if not makers:
            words = (
                f"{who} has the source {source!r}, which no phase before it returns; expected 'h_prev', a value of a"
            )
            raise error(self.cell, f"{words} phase before, or None")
        return self._array(source, makers[-1])

    def layout(self) -> Layout:
        """Everything that was read."""
        inputs = [tuple(self._input(n, k) for n in e.arguments) for k, e in enumerate(self.forward)]
        sources = [self._source(k) for k in range(len(self.phases))]
        projected = None
        if self.projection is not None:
            projected = self._operand(self.projection.source, len(self.phases), "the projection")
        for gate in self.separate:  # the product leaves it there
            self._keep(f"h_{gate}")
        reads = [tuple(self._read(n, k) for n in e.arguments) for k, e in enumerate(self.backward)]
        for k in range(len(self.phases)):
            self._check_results(k)
        self._check_complete()
        works = []
        for k, (phase, forward, backward) in enumerate(zip(self.phases, self.forward, self.backward, strict=True)):
            labels = tuple(self._label(name, k) for name in forward.results)
            outputs = tuple(
                (*self._stored(name, k), *([Place("kept", label)] if label in self.kept else []))
                for name, label in zip(forward.results, labels, strict=True)
            )
            work = Work(phase.gates, sources[k], phase.between, forward, backward, inputs[k], labels, outputs, reads[k])
            works.append(work)
        found = {name for equation in self.backward for name in equation.results}
        return Layout(
            gates=self.gates,
            recurrent=tuple(gate for work in works if work.source for gate in work.gates),
            states=self.states,
            own=tuple(self.own),
            given=tuple(self.given),
            kept=tuple(self.kept),
            separate=tuple(gate for gate in self.gates if gate in self.separate),
            splits=tuple(gate for gate in self.gates if f"dh_{gate}" in found),
            biased=not any(phase.between and phase.gates for phase in self.phases),
            projected=projected,
            works=tuple(works),
            stages=self._stages(works),
        )

    def _stages(self, works: Sequence[Work]) -> tuple[Stage, ...]:
        stages, first = [], 0
        for number in range(self.stage_of[-1] + 1):
            members = tuple(work for work, n in zip(works, self.stage_of, strict=True) if n == number)
            last = first + sum(len(work.gates) for work in members)
            source = next((work.source for work in members if work.gates), None)
            stages.append(Stage(source, first, last, members))
            first = last
        return tuple(stages)
