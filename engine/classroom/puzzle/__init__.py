"""A planted bug without its name: find its gate, its time step and its line.

`puzzle` makes one from a seed, `judging` judges a guess, `gate_errors` finds what the picture shows, `code_listing`
shows the lines that a guess counts, `puzzle_picture` and `puzzle_text` show the puzzle and its answer.
"""

from __future__ import annotations

from engine.classroom.puzzle.judging import Guess, Judgement, judge
from engine.classroom.puzzle.puzzle import CELLS, Puzzle, make

__all__ = ["CELLS", "Guess", "Judgement", "Puzzle", "judge", "make"]
