"""A puzzle and its answer in words: for the terminal and as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.classroom.puzzle.code_listing import diff
from engine.classroom.puzzle.judging import Judgement
from engine.classroom.puzzle.puzzle import ROUNDING, Puzzle
from engine.zoo.rewriting import Rewrite

TASK = (
    "Backward walks from the last time step to step 0. Which gate has the fault (none where no single one has), at\n"
    "which step does backward meet it first, and which line of the listing is not what the wrong code says?"
)


def puzzle_text(puzzle: Puzzle) -> str:
    """The listing, the map and the report: all that is shown before the answer."""
    rows = "" if puzzle.lengths is None else f", rows of {', '.join(map(str, puzzle.lengths))} valid steps"
    steps = puzzle.errors.shape[1]
    return "\n\n".join((
        f"Puzzle {puzzle.seed}: {puzzle.title}, {steps} time steps{rows}. One mistake is planted in its backward pass.",
        "The right code, numbered:\n" + listing_text(puzzle),
        "The gradient check, without what it says about the cause:\n" + str(puzzle.report_without_names),
        "Error of each gate's gradient at each time step (. is right):\n" + map_text(puzzle),
        TASK,
    ))  # fmt: skip


def listing_text(puzzle: Puzzle) -> str:
    """The right code, each function under its file's name."""
    shown, part = [], None
    for line in puzzle.listing:
        if line.part != part:
            part = line.part
            shown.append(f"     # {line.file}")
        shown.append(f"{line.number:>4} {line.text}".rstrip())
    return "\n".join(shown)


def map_text(puzzle: Puzzle) -> str:
    """Gates downward, time to the right; the numbers of the picture."""
    steps = puzzle.errors.shape[1]
    lines = ["gate" + "".join(f"{f't={t}':>9}" for t in range(steps))]
    for name, errors in zip(puzzle.gates, puzzle.errors, strict=True):
        lines.append(f"{name:<4}" + "".join(f"{'.' if error < ROUNDING else f'{error:.0e}':>9}" for error in errors))
    return "\n".join(lines)


def answer_text(puzzle: Puzzle) -> str:
    """The story, the changed lines and the checker's diagnosis."""
    assert isinstance(puzzle.bug.plant, Rewrite)
    places = ", ".join(f"line {line.number} ({line.file}:{line.file_line})" for line in puzzle.lines)
    return "\n".join((
        f"The bug: {puzzle.bug.name}",
        puzzle.bug.story,
        f"Where: gate {' or '.join(puzzle.answers)}, step {puzzle.step}, {places}",
        "",
        diff(puzzle.bug.plant),
        "",
        f"The checker's diagnosis: {puzzle.report.diagnosis}",
    ))  # fmt: skip


def puzzle_data(puzzle: Puzzle) -> dict[str, Any]:
    """What is shown before the answer, as plain data that ``json.dumps`` takes."""
    return {
        "seed": puzzle.seed,
        "cell": puzzle.cell,
        "gates": list(puzzle.gates),
        "steps": puzzle.errors.shape[1],
        "lengths": None if puzzle.lengths is None else list(puzzle.lengths),
        "errors": [[float(error) if np.isfinite(error) else None for error in row] for row in puzzle.errors],
        "listing": [{"number": line.number, "text": line.text, "file": line.file} for line in puzzle.listing],
        "report": puzzle.report_without_names.to_dict(),
    }


def judgement_data(judgement: Judgement) -> dict[str, Any]:
    """A judged guess as plain data."""
    return {
        "right": judgement.right,
        "complete": judgement.complete,
        "found": judgement.found,
        "words": judgement.words,
    }


def answer_data(puzzle: Puzzle) -> dict[str, Any]:
    """The answer as plain data."""
    assert isinstance(puzzle.bug.plant, Rewrite)
    return {
        "bug": puzzle.bug.name,
        "story": puzzle.bug.story,
        "gates": list(puzzle.answers),
        "step": puzzle.step,
        "lines": [line.number for line in puzzle.lines],
        "files": [f"{line.file}:{line.file_line}" for line in puzzle.lines],
        "diff": diff(puzzle.bug.plant),
        "diagnosis": puzzle.report.to_dict()["diagnosis"],
    }
