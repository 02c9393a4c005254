"""The page docs/paper_tables.md, from the results that are kept; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.studies.papers.tables import TABLES, Table

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "studies" / "papers"
PAGE = ROOT / "docs" / "paper_tables.md"

HEAD = """# Tables of papers

The tasks on which papers compare recurrent networks, each with the paper's figure beside ours, and one command. The
training is one loop of a dozen lines, and the code of a table is one function, both in
[benchmarks/studies/papers/](../benchmarks/studies/papers/). The sequences come from
[engine/data/synthetic.py](../engine/data/synthetic.py) and [engine/data/reber.py](../engine/data/reber.py).

A figure is the mean of several runs with different seeds, with the lowest and the highest in brackets. "Sequences"
are those that a run was trained on. "Seconds" are the processor's, on one thread, of training alone. Rows without
seconds are those of papers, with their place below the table, or of a guess that needs no training. The script writes
this page; a figure of a paper that could not be looked up is not here.

"""


def number(value: float) -> str:
    """Three digits, or all of them for a whole number."""
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The mean, and the lowest and the highest where they differ."""
    if len(set(values)) < 2:
        return number(values[0])
    return f"{number(mean(values))} ({number(min(values))} to {number(max(values))})"


def rows_of(table: Table, kept: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a table: the head, ours, and those of papers, each with the number of its source."""
    names = [*table.figures, "sequences", "seconds"]
    heads = {**table.figures, "sequences": "sequences", "seconds": "seconds"}
    ours = [
        [model, *(spread([run[name] for run in runs]) if name in runs[0] else "" for name in names)]
        for model, runs in kept["rows"].items()
    ]
    sources = list(dict.fromkeys(row.source for row in table.papers))
    papers = [
        [f"{row.model} [{sources.index(row.source) + 1}]", *(row.figures.get(name, "") for name in names)]
        for row in table.papers
    ]
    lines = [["model", *heads.values()], *ours, *papers]
    used = [place for place in range(len(lines[0])) if any(line[place] for line in lines[1:])]
    return [[line[place] for place in used] for line in lines]


def section(name: str, kept: Mapping[str, Any]) -> str:
    """The section of a table."""
    table = TABLES[name]
    head, *rows = rows_of(table, kept)
    lines = [
        f"## {table.title}",
        "",
        table.task,
        "",
        f"| {' | '.join(head)} |",
        "|---" + "|---:" * (len(head) - 1) + "|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [
        "",
        *(f"[{k}] {words}.  " for k, words in enumerate(dict.fromkeys(row.source for row in table.papers), 1)),
    ]
    where = kept["machine"]
    how = f"{kept['seconds']:.0f} s of the processor in all, {where['cpu']}, one thread; {kept['date']}."
    lines += ["", table.remark, "", f"`{kept['command']}`: {how}", ""]
    return "\n".join(lines)


def write_page(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Write the page from the files of results."""
    kept = {name: results / f"{name}.json" for name in TABLES}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in kept.items() if path.exists()}
    page.write_text(HEAD + "\n".join(section(name, document) for name, document in found.items()), encoding="utf-8")
