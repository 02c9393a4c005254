"""What a study is, and how one is run by its name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.checks import integer, one_of, switch
from engine.measuring.machine import machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Each study with its words for the help.  Its module has the same name, with underscores.
STUDIES: Mapping[str, str] = {
    "batch-vs-steps": "B rows of T steps for the same B * T: time, memory, noise, bias, loss.",
    "buckets": "Batches by length: wasted steps, time of an epoch, loss, in five ways.",
    "precision": "float32, bf16, fp16, fp16 with loss scaling: loss, time, memory, underflow.",
    "recompute": "Segments of a long sequence: time and memory, predicted and measured.",
    "truncation": "k2 of truncated BPTT: what the gradient lacks, and what windows save.",
    "scaling": "Data-parallel training on 1 to 64 machines: a model, and a simulation of it.",
    "regularisers": "Dropout, zoneout, decay, AR, TAR, noise, averages: the loss on text not seen.",
}
#: What stands in a cell of a table; None is a value that could not be measured.
Cell = str | int | float | None


class Column(NamedTuple):
    """A column of a study's table.

    Attributes
    ----------
    name : its heading, with the unit.
    form : how its numbers are written, as ``format`` takes it: ``".3f"``; ``""`` is for words and counts.
    """

    name: str
    form: str = ""

    def shown(self, value: Cell) -> str:
        """A value of the column as the table has it."""
        if value is None:
            return "-"
        return value if isinstance(value, str) else format(value, self.form)


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes
    ----------
    title : one line over table and picture.
    columns : of the table.
    rows : values of the table, a tuple for each row; numbers as they were measured, not rounded.
    notes : sentences under the table: what was measured, and what the figures say.
    draw : draws the picture into an empty figure.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[tuple[Cell, ...]]
    notes: Sequence[str]
    draw: Callable[[Figure], None]

    def shown(self) -> list[list[str]]:
        """The rows of the table as texts."""
        return [[column.shown(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]


def run_study(
    name: str, quick: bool = False, seed: int = 0, say: Callable[[str], None] = lambda line: None
) -> tuple[StudyResult, dict[str, Any]]:
    """Run a study.

    Parameters
    ----------
    name : one of `STUDIES`.
    quick : a small version that takes a few seconds: it shows that the study runs, its figures mean little.
    seed : of everything that is drawn.
    say : is told what is being measured.

    Returns
    -------
    The result, and the same as a record for JSON, with the command, the machine and the seconds that it took.

    Raises
    ------
    InputError
        for a name that is no study.
    """
    one_of("name", name, tuple(STUDIES))
    quick, seed = switch("quick", quick), integer("seed", seed, 0)
    run = import_module(f"engine.studies.{name.replace('-', '_')}").run
    started = time.monotonic()
    result: StudyResult = run(quick, seed, say)
    names = [column.name for column in result.columns]
    return result, {
        "study": name,
        "title": result.title,
        "command": f"bptt study {name}" + " --quick" * quick + f" --seed {seed}" * bool(seed),
        "quick": quick,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(),
        "rows": [dict(zip(names, map(_plain, row), strict=True)) for row in result.rows],
        "notes": list(result.notes),
    }


def _plain(value: Cell) -> Cell:
    """A value as JSON has it, which knows no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
