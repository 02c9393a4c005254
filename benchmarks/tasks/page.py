"""The table of docs/tasks.md, from benchmarks/results/tasks/; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "tasks"
PAGE = ROOT / "docs" / "tasks.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = ("case", "figure", "baseline", "ours", "PyTorch", "seconds, ours", "seconds, PyTorch", "time ratio")
#: The columns that hold words.
WORDS = 3


def line_of(document: Mapping[str, Any]) -> list[str]:
    """The row of a result: means over the seeds, the lowest and the highest figure, and the ratio of the times."""
    rows, scale, unit = document["rows"], document["scale"], document["unit"]
    ours, theirs = ([row[side] for row in rows if side in row] for side in ("ours", "torch"))
    baseline = ours[0]["baseline"]

    def figures(side: Sequence[Mapping[str, Any]]) -> str:
        values = [scale * row["figure"] for row in side]
        return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "none"

    # Of one thread the processor's time: it is that of a quiet machine, whatever else runs beside it.
    clock = "cpu_seconds" if document["threads"] == 1 else "seconds"

    def seconds(side: Sequence[Mapping[str, Any]]) -> float:
        return mean(row[clock] for row in side)

    shown = f"{baseline['name']}: {scale * mean(row['baseline']['figure'] for row in ours):.2f}"
    return [
        f"`{document['case']}`: {document['title']}",
        f"{document['figure']}, {unit}" if unit else document["figure"],
        shown,
        figures(ours),
        figures(theirs),
        f"{seconds(ours):.1f}",
        f"{seconds(theirs):.1f}" if theirs else "none",
        f"{seconds(theirs) / seconds(ours):.2f}" if theirs else "none",
    ]


def table(documents: Sequence[Mapping[str, Any]]) -> str:
    """The table, and below it where and how each row was measured."""
    lines = ["| " + " | ".join(COLUMNS) + " |"]
    lines.append("|" + "|".join("---" if place < WORDS else "---:" for place in range(len(COLUMNS))) + "|")
    lines += ["| " + " | ".join(line_of(document)) + " |" for document in documents]
    lines.append("")
    for document in documents:
        where, versions = document["machine"], document["versions"]
        trained = f"{len(document['rows'])} seeds, {document['rows'][0]['ours']['steps']:,} steps each"
        on = f"{document['threads']} of {where['cores']} cores, {where['cpu']}"
        with_ = f"Python {where['python']}, NumPy {versions['numpy']}, PyTorch {versions['torch']}"
        lines.append(f"- `{document['command']}`: {trained}, on {on}; {with_}; {document['date'][:10]}.")
    return "\n".join(lines) + "\n"


def write_page(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Replace what stands between the two marks of the page."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    page.write_text(f"{before}{BEGIN}\n\n{table(documents)}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
