"""Rows of results summed up: means, the worst case, and each case where a peer is faster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.measuring import figures
from engine.measuring.peers import LIBRARIES
from engine.measuring.rounds import TOLERANCE

TimedRow = Mapping[str, Any]


def name_of(row: TimedRow) -> str:
    """A case in a few words, with its threads."""
    threads = row["threads"]
    return f"{figures.case_of(row)}, {threads} thread{'s' * (threads > 1)}"


def key_of(row: TimedRow) -> tuple[Any, ...]:
    """What tells a row from every other."""
    return row["mode"], figures.case_of(row), row["threads"]


def digits(value: float) -> str:
    """Three digits, and never an exponent."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def milliseconds(seconds: float) -> str:
    """A time in ms."""
    return digits(1e3 * seconds)


@dataclass(frozen=True)
class Summary:
    """A peer's ratios over several rows: its time over ours, above 1 where ours is faster.

    Attributes
    ----------
    count, mean : how many rows, and the geometric mean of their ratios.
    worst, interval : the row with the smallest ratio, and the 95 % interval of that ratio.
    below : the rows whose ratio is below 1, smallest first.
    """

    peer: str
    count: int
    mean: float
    worst: TimedRow
    interval: tuple[float, float]
    below: tuple[TimedRow, ...]

    def worst_ratio(self) -> float:
        """The smallest ratio."""
        return figures.ratio(self.worst, self.peer)

    def sentence(self) -> str:
        """The summary in words."""
        low, high = self.interval
        return (
            f"{LIBRARIES[self.peer].title} / ours: geometric mean {self.mean:.2f} of {self.count} cases; worst "
            f"{self.worst_ratio():.2f} ({low:.2f} to {high:.2f}), {name_of(self.worst)}; "
            f"below 1.0: {len(self.below)} of {self.count}"
        )


def agrees(row: TimedRow, peer: str) -> bool:
    """Whether a peer's results were the engine's, as far as float32 can tell."""
    apart = row.get("difference", {}).get(peer, 0.0)
    return apart is not None and apart <= TOLERANCE


def timed(rows: Iterable[TimedRow], peer: str) -> list[TimedRow]:
    """The rows in which a peer was timed, and computed the same."""
    return [row for row in rows if peer in row.get("seconds", {}) and agrees(row, peer)]


def summary(rows: Iterable[TimedRow], peer: str) -> Summary | None:
    """A peer's summary; None where it was timed in none of the rows."""
    ordered = sorted(timed(rows, peer), key=lambda row: figures.ratio(row, peer))
    if not ordered:
        return None
    ratios = [figures.ratio(row, peer) for row in ordered]
    below = tuple(row for row, value in zip(ordered, ratios, strict=True) if value < 1)
    worst = ordered[0]
    mean = figures.geometric_mean(ratios)
    return Summary(peer, len(ordered), mean, worst, figures.interval(worst, peer), below)


def memory_of(row: TimedRow, library: str) -> float:
    """MiB that a training step takes above the baseline: inputs, parameters, gradients, and all that backward needs."""
    found = row["memory"][library]
    return float(found["peak"] - found["baseline"])


def table(rows: Sequence[TimedRow], libraries: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells for all rows: sizes, times, ratios with their intervals, share of sgemm, memory."""
    peers = [name for name in libraries if name != "engine"]
    with_times, with_memory = any("seconds" in row for row in rows), any("memory" in row for row in rows)
    columns = ["cell", "options", "threads", "B", "T", "D", "H"]
    if with_times:
        columns.append("ours, ms")
        for peer in peers:
            columns += [f"{LIBRARIES[peer].title}, ms", "ratio", "95 %"]
        columns.append("of sgemm")
    if with_memory:
        columns += [f"{LIBRARIES[name].title}, MiB" for name in libraries]
    return columns, [_cells(row, peers, with_times, with_memory) for row in rows]


def _cells(row: TimedRow, peers: Sequence[str], with_times: bool, with_memory: bool) -> list[str]:
    options = [f"L={row['layers']}"] * (row["layers"] > 1)
    options += ["bidirectional"] * row["bidirectional"] + ["mixed"] * row["mixed"]
    cells = [row["cell"], " ".join(options), *(str(row[name]) for name in ("threads", "B", "T", "D", "H"))]
    if with_times:
        times = row.get("seconds", {})
        cells.append(milliseconds(figures.median(row, "engine")) if times else "")
        for peer in peers:
            if peer in times and agrees(row, peer):
                low, high = figures.interval(row, peer)
                cells += [milliseconds(figures.median(row, peer)), f"{figures.ratio(row, peer):.2f}"]
                cells.append(f"{low:.2f}..{high:.2f}")
            else:
                cells += ["-", "-", "-"]
        share = figures.fraction(row)
        cells.append("" if share is None else f"{100 * share:.0f} %")
    if with_memory:
        for library in ("engine", *peers):
            cells.append(f"{memory_of(row, library):.1f}" if library in row.get("memory", {}) else "-")
    return cells


def notes(rows: Sequence[TimedRow], libraries: Sequence[str]) -> list[str]:
    """What has to stand under a table: summaries, cases below 1, reasons of failure, results that differ."""
    lines: list[str] = []
    for peer in (name for name in libraries if name != "engine"):
        found = summary(rows, peer)
        if found is not None:
            lines.append(found.sentence())
            lines += [f"  below 1.0: {figures.ratio(row, peer):.2f} {name_of(row)}" for row in found.below]
        memory = [row for row in rows if {"engine", peer} <= row.get("memory", {}).keys()]
        if memory:
            ratios = [memory_of(row, "engine") / memory_of(row, peer) for row in memory]
            worst = max(zip(ratios, range(len(memory)), strict=True))
            lines.append(
                f"memory, ours / {LIBRARIES[peer].title}: geometric mean {figures.geometric_mean(ratios):.2f} of "
                f"{len(memory)} cases; worst {worst[0]:.2f}, {name_of(memory[worst[1]])}"
            )
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if peer in row["failed"]:
                reasons.setdefault(row["failed"][peer], []).append(name_of(row))
        for reason, names in reasons.items():
            which = "all cases" if len(names) == len(rows) else f"{len(names)} of {len(rows)}, first {names[0]}"
            lines.append(f"{LIBRARIES[peer].title} not measured ({which}): {reason}")
        for row in rows:
            if not agrees(row, peer):
                lines.append(f"{LIBRARIES[peer].title} COMPUTES SOMETHING ELSE, and is left out: {name_of(row)}")
    return lines
