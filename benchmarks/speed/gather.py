"""The results of all runs, read from benchmarks/results/ and put in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.tables import TimedRow, key_of
from engine.measuring.timed_step import TIMED_CELLS

RESULTS = Path(__file__).resolve().parent.parent / "results"
#: From here on a sequence is long, and its rows are compared with the same run's shorter ones, not with the grid's.
LONG = 1000
Document = dict[str, Any]


def load(folder: Path = RESULTS) -> list[Document]:
    """The results of all runs of `benchmarks.speed.compare`, oldest first; other files have rows of another form."""
    found = [
        {"file": path.name, **json.loads(path.read_text(encoding="utf-8"))} for path in sorted(folder.glob("*.json"))
    ]
    compared = [document for document in found if all("mode" in row for row in document["rows"])]
    return sorted(compared, key=lambda document: str(document["date"]))


def by_machine(documents: Iterable[Document]) -> list[list[Document]]:
    """Runs on one kind of processor together, whatever system ran there; the one with the most rows first."""
    groups: dict[str, list[Document]] = {}
    for document in documents:
        processor = [document["machine"][name] for name in ("cpu", "cores", "isa")]
        groups.setdefault(json.dumps(processor), []).append(document)
    return sorted(groups.values(), key=lambda group: -sum(len(document["rows"]) for document in group))


def rows_of(documents: Iterable[Document], *, long: bool = False) -> list[TimedRow]:
    """All rows, without the long sequences; of a case measured twice with the same libraries the later one."""
    rows: dict[tuple[Any, ...], TimedRow] = {}
    for document in documents:
        for row in document["rows"]:
            if (row["T"] >= LONG) == long:
                libraries = frozenset({*row.get("seconds", {}), *row.get("failed", {})})
                rows[*key_of(row), libraries] = row
    order = {cell: place for place, cell in enumerate(TIMED_CELLS)}
    return sorted(rows.values(), key=lambda row: (order[row["cell"]], row["threads"], row["T"], row["H"], row["B"]))


def plain(row: TimedRow) -> bool:
    """One layer in one direction, rows of one length."""
    return row["layers"] == 1 and not row["bidirectional"] and not row["mixed"]


def training(rows: Iterable[TimedRow]) -> list[TimedRow]:
    """The grid of training steps."""
    return [row for row in rows if row["mode"] == "training" and plain(row)]


def values(rows: Iterable[TimedRow], name: str) -> list[Any]:
    """The values that a field has, in order."""
    return sorted({row[name] for row in rows})


def groups(rows: Sequence[TimedRow]) -> Iterator[tuple[str, int, list[TimedRow]]]:
    """Rows of one cell and one number of threads together."""
    for cell in TIMED_CELLS:
        for threads in values(rows, "threads"):
            found = [row for row in rows if row["cell"] == cell and row["threads"] == threads]
            if found:
                yield cell, threads, found
