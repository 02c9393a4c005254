"""The results as JSON, and as a page of Markdown that docs/performance.md can take over."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.atomic import write_atomic

JSON, PAGE = "gpucheck.json", "gpucheck.md"
TITLES = {
    "correctness": "Against float64 NumPy",
    "gradient checks": "Gradient checks on the device",
    "repeats": "The same bits every time",
    "agreement": "Beside PyTorch's CUDA layers",
    "timings": "Times",
}
#: A row with one of these is no proof; the others are right, or say what is not there yet.
BAD = ("wrong", "failed", "fell back", "not reached")
#: Parts without which nothing is proven; PyTorch may be absent.
NEEDED = ("correctness", "gradient checks", "repeats")


def write(directory: Path, document: Mapping[str, Any]) -> None:
    """Write both files, each replaced whole."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(document), indent=1, allow_nan=False)
    write_atomic(directory / JSON, text.encode())
    write_atomic(directory / PAGE, page(document).encode())


def counts(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many rows have which status."""
    return Counter(str(row["status"]) for row in rows)


def verdict(document: Mapping[str, Any]) -> str:
    """All in one line."""
    if document.get("reason"):
        return f"no GPU was checked: {document['reason']}"
    if document.get("ended"):
        return f"ended early: {document['ended']}"
    sections = document["sections"]
    bad = [
        f"{name}: {counts(rows)[status]} {status}"
        for name, rows in sections.items()
        for status in BAD
        if name != "timings" and counts(rows)[status]
    ]
    return "; ".join(bad) if bad else "everything that was checked is right"


def passed(document: Mapping[str, Any]) -> bool:
    """Whether every part but the timings was run to its end, and no row is bad; how fast it is is no part of that."""
    if document.get("reason") or document.get("ended"):
        return False
    sections = document["sections"]
    bad = [row for name, rows in sections.items() if name != "timings" for row in rows if row["status"] in BAD]
    return not bad and all(sections.get(name) for name in NEEDED)


def page(document: Mapping[str, Any]) -> str:
    """The Markdown."""
    lines = ["# The check on a GPU", "", f"`{document['command']}`, {document['date']}", "", f"**{verdict(document)}**"]
    if document.get("device"):
        facts = {**document["device"], **document["versions"]}
        lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    for name, rows in document.get("sections", {}).items():
        lines += ["", f"## {TITLES[name]}", ""]
        notes = document.get("notes", {})
        lines += [notes[name], ""] if name in notes else []
        if rows:
            lines += _times(rows) if name == "timings" else _proofs(rows)
    return "\n".join(lines) + "\n"


def _proofs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each dtype and way; then every row that is wrong, in full."""
    keys = list(dict.fromkeys((str(row.get("way", "")), row["dtype"]) for row in rows))
    lines = ["| way | dtype | rows | result | worst difference | limit |", "|---|---|---|---|---|---|"]
    for way, dtype in keys:
        own = [row for row in rows if (str(row.get("way", "")), row["dtype"]) == (way, dtype)]
        worst = max((row["worst"] for row in own if "worst" in row), default=None)
        limit = max((row["limit"] for row in own if "limit" in row), default=None)
        result = ", ".join(f"{count} {status}" for status, count in counts(own).items())
        lines.append(f"| {way} | {dtype} | {len(own)} | {result} | {_brief(worst)} | {_brief(limit)} |")
    paths = Counter(row["path"] for row in rows if "path" in row)
    if paths:
        lines += ["", "Paths (forward, backward): " + "; ".join(f"{path} {count}" for path, count in paths.items())]
    bad = [row for row in rows if row["status"] in BAD]
    lines += ["", *(f"- {row['status']}: {_words(row)}" for row in bad)] if bad else []
    return lines


def _times(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| cell | mode | dtype | B | H | T | ours, ms | PyTorch, ms | ratio | at most | |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        if row["status"] == "not reached":
            continue
        word = {True: "reached", False: "**missed**", None: ""}[row.get("reached")]
        why = row.get("ours_error") or row.get("theirs_error") or row.get("ours_missing") or word
        cells = [
            row["cell"],
            row["mode"],
            row["dtype"],
            row["B"],
            row["H"],
            row["T"],
            _ms(row.get("ours")),
            _ms(row.get("theirs")),
            _brief(row.get("ratio"), "{:.2f}"),
            _brief(row["floor"], "{:g}"),
            why,
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    ratios = [row["ratio"] for row in rows if row.get("ratio")]
    asked = [row["reached"] for row in rows if row.get("reached") is not None]
    absent = counts(rows)["not reached"]
    lines += ["", f"{len(rows) - absent} of {len(rows)} places were measured; the time was up for the other {absent}."]
    if ratios:
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        lines.append(
            f"Our time over PyTorch's: geometric mean {mean:.2f}, largest {max(ratios):.2f}; "
            f"{sum(asked)} of {len(asked)} places are within what is asked."
        )
    for row in rows:
        for side, title in (("ours", "ours"), ("theirs", "PyTorch")):
            if row.get(f"{side}_kernels"):
                names = ", ".join(f"`{name}`" for name in row[f"{side}_kernels"][:6])
                lines.append(
                    f"- {row['cell']} {row['dtype']} {row['mode']} B={row['B']} H={row['H']}, {title}: {names}"
                )
    return lines


def _words(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("status",))


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3g}"


def _brief(value: float | None, form: str = "{:.1e}") -> str:
    return "-" if value is None else form.format(value)


def _plain(value: Any) -> Any:
    """The same without infinities and NaN, which JSON has not: they become words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
