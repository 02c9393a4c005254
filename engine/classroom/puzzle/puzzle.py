"""A puzzle: one planted bug, what a checker sees of it, and what is to be found."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from engine.checking import Report, gradcheck
from engine.checks import describe
from engine.classroom.puzzle import gate_errors
from engine.classroom.puzzle.code_listing import SITES, Line, changed_lines, listing
from engine.errors import bad_input
from engine.layers.recurrent import Recurrent
from engine.zoo import BUGS, Bug
from engine.zoo.rewriting import Rewrite

#: The cells that puzzles are about, and the families that a choice may name.
CELLS = {"rnn": ("rnn_tanh",), "lstm": ("lstm",), "gru": ("gru", "gru_before")}
#: Time steps of a puzzle, and a word in the names of bugs whose error nobody sees in a picture: factors such as 1.001.
STEPS, TOO_SMALL = 6, "1.00"
#: Errors of a gate below this are rounding.
ROUNDING = 1e-6
#: What a guess says where no single gate has the fault.
NO_GATE = "none"


@dataclass(frozen=True)
class Puzzle:
    """A planted bug without its name.

    Attributes
    ----------
    seed, family : that it was made from; the family is None where all cells were open.
    cell, title : the cell's name, and its name for people.
    gates : names of the gates, in the order of the picture.
    lengths : valid steps of each row, or None where all rows are full.
    report : of the gradient check with the bug planted, diagnosis included: keep it until the answer is shown.
    errors : (G, T) error of each gate's gradient at each time step.
    bug : the answer.
    lines : of the listing that the bug changes.
    """

    seed: int
    family: str | None
    cell: str
    title: str
    gates: tuple[str, ...]
    lengths: tuple[int, ...] | None
    report: Report
    errors: np.ndarray
    bug: Bug
    lines: tuple[Line, ...]

    @property
    def listing(self) -> tuple[Line, ...]:
        """The right code, numbered: one of these lines is another one in the wrong code."""
        return listing(self.cell)

    @property
    def report_without_names(self) -> Report:
        """The report without what it says about the cause: no diagnosis, no pattern."""
        rows = tuple(replace(row, pattern="", by_gate_seen={}) for row in self.report.rows)
        return replace(self.report, rows=rows, diagnosis=None, cause="")

    @property
    def step(self) -> int:
        """The time step at which backward first meets the bug."""
        assert self.bug.time_step is not None
        return self.bug.time_step

    @property
    def answers(self) -> tuple[str, ...]:
        """The gates that a right guess may name: those that the zoo names, if they are wrong at `step`, and "none"."""
        at_step = dict(zip(self.gates, self.errors[:, self.step], strict=True))
        named = [gate for gate in self.gates if gate in self.bug.gates and at_step[gate] > ROUNDING]
        if len(self.gates) == 1:  # the only gate, or no single one: the same answer
            return (*self.gates, NO_GATE)
        return (*named, NO_GATE) if None in self.bug.gates else tuple(named)


def make(seed: int, cell: str | None = None) -> Puzzle:
    """The puzzle of a seed.

    Parameters
    ----------
    seed : an integer >= 0.  Seeds that follow each other have different bugs, until all have been met.
    cell : "rnn", "lstm" or "gru", for a puzzle about one of these; None for all.

    Examples
    --------
    >>> from engine.classroom.puzzle import make
    >>> make(0).report.verdict
    'wrong'
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise bad_input("seed", "an integer from 0 to 4294967295", describe(seed))
    if cell is not None and cell not in CELLS:
        raise bad_input("cell", f"one of {', '.join(CELLS)}", describe(cell))
    names = [name for name in pool() if cell is None or BUGS[name].case(0).layer.cell.name in CELLS[cell]]
    order = np.random.default_rng(2024).permutation(len(names))
    bug = BUGS[names[order[seed % len(names)]]]
    case = bug.case(seed)
    dy, dlast = gate_errors.cotangents(case, seed)
    with bug.plant():
        report = gradcheck(case.layer, case.x, case.state, case.lengths, seed=seed)
        claimed = gate_errors.analytic(case, dy, dlast)
    right = gate_errors.numeric(case, dy, dlast)
    kind = case.layer.cell
    return Puzzle(
        seed,
        cell,
        kind.name,
        kind.title,
        tuple(kind.gates),
        None if case.lengths is None else tuple(case.lengths),
        report,
        gate_errors.gate_errors(claimed, right),
        bug,
        tuple(changed_lines(kind.name, _rewrite(bug))),
    )


def _rewrite(bug: Bug) -> Rewrite:
    assert isinstance(bug.plant, Rewrite)  # `pool` holds no other
    return bug.plant


@functools.cache
def pool() -> tuple[str, ...]:
    """Names of the bugs that make a puzzle: one layer, six steps, a changed line of the listing."""
    return tuple(name for name, bug in BUGS.items() if _makes_a_puzzle(bug))


def _makes_a_puzzle(bug: Bug) -> bool:
    if bug.time_step is None or bug.verdicts != {"wrong"} or TOO_SMALL in bug.name:
        return False
    if not isinstance(bug.plant, Rewrite) or not any(bug.plant.site in sites for sites in SITES.values()):
        return False
    case = bug.case(0)
    layer = case.layer
    if not isinstance(layer, Recurrent) or layer.cell.name not in SITES or layer.num_layers * layer.num_directions > 1:
        return False
    if case.truncation is not None or layer.batch_first or len(case.x) != STEPS:
        return False
    return bool(changed_lines(layer.cell.name, bug.plant))
