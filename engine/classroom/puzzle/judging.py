"""Judging a guess: right or wrong, and a word that helps without giving the answer away."""

from __future__ import annotations

from dataclasses import dataclass

from engine.checks import describe
from engine.classroom.puzzle.puzzle import NO_GATE, ROUNDING, Puzzle
from engine.errors import bad_input


@dataclass(frozen=True)
class Guess:
    """Where someone thinks that the bug is; None where they do not say.

    Attributes
    ----------
    gate : a gate of the cell, or "none" where no single gate has the fault.
    step : the time step at which backward, on its way from the end to the start, first meets the bug.
    line : a number of the listing.
    """

    gate: str | None = None
    step: int | None = None
    line: int | None = None


@dataclass(frozen=True)
class Judgement:
    """What a guess is worth.

    Attributes
    ----------
    found : by part of the guess ("gate", "step", "line"), whether it is right; only the parts that were given.
    words : by the same names, a sentence each.
    """

    found: dict[str, bool]
    words: dict[str, str]

    @property
    def right(self) -> bool:
        """Whether every part that was given is right."""
        return all(self.found.values())

    @property
    def complete(self) -> bool:
        """Whether gate, step and line were all given and are right."""
        return self.right and len(self.found) == 3


def judge(puzzle: Puzzle, guess: Guess) -> Judgement:
    """Judge a guess.

    Parameters
    ----------
    puzzle : as `make` returns it.
    guess : at least one of its parts is not None.

    Raises
    ------
    InputError
        for a gate, step or line that the puzzle does not have.

    Examples
    --------
    >>> from engine.classroom.puzzle import Guess, judge, make
    >>> judge(make(0), Guess(step=0)).right
    False
    """
    said = {
        "gate": None if guess.gate is None else _gate(puzzle, guess.gate),
        "step": None if guess.step is None else _step(puzzle, guess.step),
        "line": None if guess.line is None else _line(puzzle, guess.line),
    }
    given = {name: found for name, found in said.items() if found is not None}
    if not given:
        raise bad_input("guess", "at least one of gate, step and line", "none of them")
    return Judgement(
        {name: right for name, (right, _) in given.items()}, {name: words for name, (_, words) in given.items()}
    )


def _gate(puzzle: Puzzle, gate: str) -> tuple[bool, str]:
    names = (*puzzle.gates, NO_GATE)
    if gate not in names:
        raise bad_input("gate", f"one of {', '.join(names)}", describe(gate))
    if gate in puzzle.answers:
        several = [name for name in puzzle.answers if name not in (gate, NO_GATE)]
        beside = f" ({', '.join(several)} would be right too)" if several and len(puzzle.gates) > 1 else ""
        return True, f"gate {gate}: right{beside}"
    if gate == NO_GATE:
        return False, "gate none: no; at the step where backward first goes wrong, not every gate is wrong"
    if puzzle.errors[puzzle.gates.index(gate), puzzle.step] < ROUNDING:
        return False, (
            f"gate {gate}: no; this gate is right at the step where backward first goes wrong, "
            "and what is wrong in it at earlier steps was carried there"
        )
    if puzzle.answers == (NO_GATE,):
        return (
            False,
            f"gate {gate}: no; it is wrong, but at that step the others are as well: no single gate has the fault",
        )
    return False, f"gate {gate}: no; it is wrong, but only because another gate is"


def _step(puzzle: Puzzle, step: int) -> tuple[bool, str]:
    last = puzzle.errors.shape[1] - 1
    if not 0 <= step <= last:
        raise bad_input("step", f"a time step, 0 to {last}", describe(step))
    if step == puzzle.step:
        return True, f"step {step}: right"
    if step < puzzle.step:
        return False, (
            f"step {step}: no; backward walks from step {last} down to 0, and met the bug before it came to step {step}"
        )
    return False, f"step {step}: no; every gate is still right there: follow backward further down"


def _line(puzzle: Puzzle, number: int) -> tuple[bool, str]:
    lines = puzzle.listing
    if not 1 <= number <= len(lines):
        raise bad_input("line", f"a line of the listing, 1 to {len(lines)}", describe(number))
    if number in {line.number for line in puzzle.lines}:
        return True, f"line {number}: right"
    part = lines[number - 1].part
    if part == puzzle.lines[0].part:
        return (
            False,
            f"line {number}: no; but it is the right function: take its lines one by one, with the forward line",
        )
    return False, (
        f"line {number}: no; another function. A gate that is wrong by itself points to the cell's equations; all "
        "gates wrong at once point to what all of them share: dh or dc, the recurrent product, or the time loop"
    )
