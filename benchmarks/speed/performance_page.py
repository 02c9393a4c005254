"""The page of the figures: ``python -m benchmarks.speed.performance_page`` writes the tables of docs/performance.md.

It reads benchmarks/results/.  The tables stand between two comments of the page; what is around them is written by
hand.  The picture, docs/images/performance.svg, is drawn with them.  Nothing is measured here, so that running this
again changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.speed.gather import LONG, Document, by_machine, groups, load, plain, rows_of, training, values
from benchmarks.speed.performance_picture import ALT, PICTURE, has_picture
from benchmarks.speed.tables import TimedRow, agrees, digits, memory_of, milliseconds, name_of, summary, timed
from engine.measuring import figures
from engine.measuring.peers import LIBRARIES, PEERS

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
#: Where the share of the sgemm peak is asked for: elsewhere a step is made of other things than products.
BUSY_ROWS, BUSY_UNITS = 32, 256


# -- Markdown ----------------------------------------------------------------------------------------------------------


def markdown(columns: Sequence[str], cells: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """A table with its first columns aligned to the left."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("---" if place < left else "---:" for place in range(len(columns))) + "|")
    return [*lines, *("| " + " | ".join(row) + " |" for row in cells), ""]


def between(low: float, high: float) -> str:
    """An interval."""
    return f"{low:.2f} to {high:.2f}"


def provenance(documents: Sequence[Document]) -> list[str]:
    """Where, when and how."""
    where = documents[0]["machine"]
    lines = [f"{where['cpu']}, {where['cores']} cores ({', '.join(where['isa'])}), {where['system']}, "]
    lines[0] += f"Python {where['python']}."
    lines.append("")
    cells = []
    for document in documents:
        packages = {LIBRARIES[name].package: version for name, version in document["versions"].items()}
        words = ", ".join(f"{package} {version}" for package, version in packages.items())
        commits = dict.fromkeys([document["commit"], *(run["commit"] for run in document.get("resumed", []))])
        cells.append(
            [
                f"`{document['file']}`",
                str(document["date"])[:10],
                ", ".join(str(commit) for commit in commits),
                words,
                f"`{document['command']}`",
            ]
        )
        for name, reason in document["absent"].items():
            lines += [f"{LIBRARIES[name].title} was absent from `{document['file']}`: {reason}", ""]
    return lines + markdown(("results", "date", "commit", "versions", "command"), cells, 5)


def ratios(rows: Sequence[TimedRow], peers: Sequence[str] = PEERS) -> list[str]:
    """Means, worst cases, and every case below 1, for each peer."""
    cells, below = [], []
    for peer in peers:
        parts = [*groups(rows), ("all", 0, list(rows))]
        for cell, threads, part in parts:
            found = summary(part, peer)
            if found is None:
                continue
            worst = found.worst
            cells.append(
                [
                    LIBRARIES[peer].title,
                    cell,
                    str(threads or "all"),
                    str(found.count),
                    f"{found.mean:.2f}",
                    f"{found.worst_ratio():.2f} ({between(*found.interval)})",
                    name_of(worst),
                    str(len(found.below)),
                ]
            )
        total = summary(rows, peer)
        if total is not None and total.below:
            below.append(f"{LIBRARIES[peer].title} is faster than ours in {len(total.below)} of {total.count} cases:")
            below.append("")
            below += markdown(
                ("case", "ours, ms", f"{LIBRARIES[peer].title}, ms", "ratio", "95 %"),
                [
                    [
                        name_of(row),
                        milliseconds(figures.median(row, "engine")),
                        milliseconds(figures.median(row, peer)),
                        f"{figures.ratio(row, peer):.2f}",
                        between(*figures.interval(row, peer)),
                    ]
                    for row in total.below
                ],
            )
        strange = [name_of(row) for row in rows if not agrees(row, peer)]
        if strange:
            below += [f"{LIBRARIES[peer].title} computes something else, and is left out: {'; '.join(strange)}.", ""]
    if not cells:
        return below
    columns = ("peer", "cell", "threads", "cases", "mean", "worst (95 %)", "which", "below 1.0")
    return markdown(columns, cells, 2) + below


def grid(rows: Sequence[TimedRow], show: Callable[[TimedRow], str]) -> list[str]:
    """One figure for each case: a line for cell, threads, T and B, a column for H."""
    sizes = values(rows, "H")
    cells = []
    for cell, threads, part in groups(rows):
        for T in values(part, "T"):
            for B in values(part, "B"):
                line = {row["H"]: show(row) for row in part if (row["T"], row["B"]) == (T, B)}
                if line:
                    cells.append([cell, str(threads), str(T), str(B), *(line.get(H, "") for H in sizes)])
    return markdown(("cell", "threads", "T", "B", *(f"H = {H}" for H in sizes)), cells)


def share(rows: Sequence[TimedRow]) -> list[str]:
    """How near products of some size come to sgemm."""
    busy = [
        row for row in rows if row["B"] >= BUSY_ROWS and row["H"] >= BUSY_UNITS and figures.fraction(row) is not None
    ]
    cells = []
    for cell, threads, part in groups(busy):
        found = {name_of(row): figures.fraction(row) or 0.0 for row in part}
        least = min(found, key=lambda name: found[name])
        line = [cell, str(threads), str(len(part)), f"{100 * figures.geometric_mean(found.values()):.0f} %"]
        line += [f"{100 * found[least]:.0f} %", least]
        theirs = [value for row in timed(part, "torch") if (value := figures.fraction(row, "torch")) is not None]
        line.append(f"{100 * figures.geometric_mean(theirs):.0f} %" if theirs else "")
        peaks = [max(row["sgemm"]) for row in part]
        cells.append([*line, f"{min(peaks):.0f} to {max(peaks):.0f}"])
    if not cells:
        return []
    columns = ("cell", "threads", "cases", "mean", "least", "which", "PyTorch's mean", "sgemm, GFLOP/s")
    return markdown(columns, cells)


def memory(rows: Sequence[TimedRow]) -> list[str]:
    """The most memory of training steps, beside PyTorch's."""
    found = [row for row in rows if {"engine", "torch"} <= row.get("memory", {}).keys()]
    if not found:
        return []
    apart = [memory_of(row, "engine") / memory_of(row, "torch") for row in found]
    worst = max(range(len(found)), key=lambda place: apart[place])
    cells = [
        [
            name_of(row),
            f"{figures.case_of(row).activations() / 2**20:.0f}",
            f"{memory_of(row, 'engine'):.0f}",
            f"{memory_of(row, 'torch'):.0f}",
            f"{value:.2f}",
        ]
        for row, value in zip(found, apart, strict=True)
    ]
    lines = [
        f"Geometric mean of ours / PyTorch's over {len(found)} cases: {figures.geometric_mean(apart):.2f}; largest "
        f"{apart[worst]:.2f}, {name_of(found[worst])}.",
        "",
    ]
    return lines + markdown(("case", "kept, MiB", "ours, MiB", "PyTorch, MiB", "ours / PyTorch"), cells)


def lengths(documents: Sequence[Document]) -> list[str]:
    """A time step of a long sequence beside one of a shorter sequence of the same run."""
    cells = []
    for document in documents:
        rows = training(document["rows"])
        for row in rows:
            if row["T"] < LONG:
                continue
            same = [
                other
                for other in rows
                if other["T"] < LONG and all(other[name] == row[name] for name in ("cell", "B", "D", "H", "threads"))
            ]
            for other in same:
                line = [row["cell"], str(row["threads"]), str(row["B"]), str(row["H"]), f"{row['T']} / {other['T']}"]
                for library in ("engine", "torch"):
                    if library in row["seconds"] and library in other["seconds"]:
                        one, two = (figures.median(each, library) / each["T"] for each in (row, other))
                        line.append(f"{digits(1e6 * one)} / {digits(1e6 * two)} = {one / two:.2f}")
                    else:
                        line.append("")
                cells.append(line)
    if not cells:
        return []
    return markdown(("cell", "threads", "B", "H", "T", "ours, µs a time step", "PyTorch's"), cells)


def batches(rows: Sequence[TimedRow]) -> list[str]:
    """Time of one row of the batch in one time step, as the batch grows."""
    sizes = values(rows, "B")
    if len(sizes) < 2:
        return []
    cells = []
    for cell, threads, part in groups(rows):
        T = max(values(part, "T"))
        for H in values(part, "H")[::2]:  # the others lie between
            for library in ("engine", "torch"):
                line = {
                    row["B"]: digits(1e6 * figures.median(row, library) / (row["T"] * row["B"]))
                    for row in timed(part, library)
                    if (row["T"], row["H"]) == (T, H)
                }
                if len(line) > 1:
                    title = "ours" if library == "engine" else LIBRARIES[library].title
                    cells.append([cell, str(threads), str(T), str(H), title, *(line.get(B, "") for B in sizes)])
    columns = ("cell", "threads", "T", "H", "", *(f"B = {B}" for B in sizes))
    return markdown(columns, cells) if cells else []


def sections(documents: Sequence[Document]) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of one machine's tables; a section without figures is left out."""
    rows = rows_of(documents)
    steps = training(rows)
    yield "Machine and commands", provenance(documents)
    text = ratios(steps)
    if timed(steps, "torch"):
        text += ["Time of PyTorch's step over ours, every case:", ""]
        text += grid(timed(steps, "torch"), lambda row: f"{figures.ratio(row, 'torch'):.2f}")
    if timed(steps, "engine"):
        text += ["Time of our step in ms:", ""]
        text += grid(timed(steps, "engine"), lambda row: milliseconds(figures.median(row, "engine")))
    yield "Training step", text
    yield "Share of the sgemm peak", share(steps)
    others = [row for row in rows if row["mode"] in ("training", "packed") and not plain(row)]
    yield "Two layers, two directions, mixed lengths", [*variants(others)]
    yield "Inference", ratios([row for row in rows if row["mode"] == "inference"])
    yield "Peak memory of a training step", memory([*rows, *rows_of(documents, long=True)])
    yield "Long sequences", lengths(documents)
    yield "Growing batches", batches(steps)


def variants(rows: Sequence[TimedRow]) -> list[str]:
    """Layers, directions and lengths: a line for each case."""
    cells = []
    for row in timed(rows, "torch"):
        options = ["2 layers" if row["layers"] == 2 else f"{row['layers']} layers"] * (row["layers"] > 1)
        options += ["two directions"] * row["bidirectional"] + ["mixed lengths, packed"] * row["mixed"]
        cells.append(
            [
                row["cell"],
                ", ".join(options),
                *(str(row[name]) for name in ("threads", "B", "T", "H")),
                milliseconds(figures.median(row, "engine")),
                milliseconds(figures.median(row, "torch")),
                f"{figures.ratio(row, 'torch'):.2f} ({between(*figures.interval(row, 'torch'))})",
            ]
        )
    found = summary(rows, "torch")
    if found is None:
        return []
    columns = ("cell", "options", "threads", "B", "T", "H", "ours, ms", "PyTorch, ms", "ratio (95 %)")
    return [found.sentence() + ".", "", *markdown(columns, cells, 2)]


def tables(documents: Sequence[Document]) -> str:
    """Everything that stands between the two comments."""
    lines: list[str] = []
    machines = by_machine(documents)
    for number, group in enumerate(machines):
        if len(machines) > 1:
            lines += [f"## {group[0]['machine']['cpu']}, {group[0]['machine']['cores']} cores", ""]
        for title, text in sections(group):
            if text:
                lines += [f"### {title}" if len(machines) > 1 else f"## {title}", ""]
                if title == "Training step" and not number and has_picture(documents):
                    lines += [f"![{ALT}](images/{PICTURE})", ""]
                lines += text
    return "\n".join(lines)


def page(text: str, documents: Sequence[Document]) -> str:
    """The page with its tables made anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables(documents)}{END}{after}" if documents else f"{before}{BEGIN}\n{END}{after}"


def main() -> int:
    """Write the tables, and draw the picture."""
    documents = load()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), documents), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(len(document['rows']) for document in documents)} rows")
    if has_picture(documents):
        from docs import make_images

        make_images.draw(PICTURE, ROOT / "docs" / "images")
        print(f"docs/images/{PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
