"""In which order a subject's tensors are looked at, and how much of them within a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from engine.checking.oracles.chosen_entries import choose
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts import judging
from engine.checking.verdicts.along_directions import along
from engine.checking.verdicts.budget import Clock
from engine.checking.verdicts.finding import Finding
from engine.checking.verdicts.locating import beside, merged, rank, suspects

ENTRYWISE = ("central", "complex", "rtrl")
#: How many evaluations most entries take.
EVALUATIONS = {"central": 2}
#: Entries that are looked at together where the time is short, at first and at most.
FIRST_FEW, TOGETHER = 8, 1024
#: A sample of a tensor that is wrong in many places.
SPREAD = 64
#: A wrong entry may take so many times as long as a right one.
LONGER = 16.0
#: Directions take differences; their tolerance is at least this.
ALONG = 1e-6


def look_at_all(
    subject: Subject,
    method: str,
    seed: int,
    tol: float,
    noise: dict[str, np.ndarray],
    entries: int | None,
    clock: Clock,
) -> list[Finding]:
    """What is found for each part, in order.

    If the time is limited, or a progress function is given, random directions come first, then the entries of the
    tensors that depart along them, then those of the others.  A direction counts if entries were left out.
    """
    silent = subject.on_rows
    try:
        if method not in ENTRYWISE:
            return _along_all(subject, method, seed, tol, noise, clock)
        scans = _along_all(subject, "scan", seed, max(tol, ALONG), noise, clock) if clock.watched else []
        walk = _Walk(subject, method, seed, tol, noise, entries, clock, scans)
        order = list(range(len(subject.parts)))
        if scans:
            order.sort(key=lambda number: rank(scans[number].verdict))
        if clock.seconds is not None:
            walk.taste(order)
        subject.on_rows = walk.on_rows
        for number in order:
            walk.finish(number)
        return walk.settled()
    finally:
        subject.on_rows = silent
        clock.close()


def coverage(findings: Sequence[Finding]) -> str:
    """What was looked at, in words; nothing where that is everything."""
    partial = [finding for finding in findings if finding.entries is not None]
    if not partial:
        return ""
    total = sum(finding.part.size for finding in findings)
    looked = sum(finding.part.size if finding.entries is None else len(finding.entries) for finding in findings)
    words = f"{looked:,} of {total:,} entries"
    whole = []
    for kind, own in (
        ("gate block", [finding for finding in partial if finding.part.gates]),
        ("time step", [finding for finding in partial if finding.part.time_axis is not None]),
    ):
        if own and all(map(_all_blocks, own)):
            whole.append(kind)
    words += f", of every {' and '.join(whole)}" if whole else ""
    missed = [finding.part.name for finding in partial if finding.entries is not None and not len(finding.entries)]
    if 0 < len(missed) < len(findings):
        words += f", none of {', '.join(missed[:4])}" + (", ..." if len(missed) > 4 else "")
    directions = sum(finding.scanned for finding in findings)
    return words + (f"; all of them along {directions} random directions" if directions else "")


class _Walk:
    """Through the entries of all parts, a chunk at a time."""

    def __init__(
        self,
        subject: Subject,
        method: str,
        seed: int,
        tol: float,
        noise: dict[str, np.ndarray],
        entries: int | None,
        clock: Clock,
        scans: list[Finding],
    ) -> None:
        self.subject, self.method, self.seed, self.tol, self.noise, self.clock = (
            subject,
            method,
            seed,
            tol,
            noise,
            clock,
        )
        self.scans = scans
        self.chosen = [choose(part, entries, seed) for part in subject.parts]
        self.found: list[Finding | None] = [None] * len(subject.parts)
        self.looked: list[np.ndarray] = [np.zeros(0, dtype=np.int64) for _ in subject.parts]
        self.per_entry = 0.0

    def taste(self, numbers: Sequence[int]) -> None:
        """A few entries of every part, of each gate block and time step, so that none goes without."""
        for number in numbers:
            if self.clock.left <= 0.0:
                return
            few, wanted = choose(self.subject.parts[number], FIRST_FEW, self.seed), self._wanted(number)
            self._look(number, wanted if few is None else np.intersect1d(few, wanted))

    def finish(self, number: int) -> None:
        """The rest of a part's entries, those along which a direction departed first."""
        if self.clock.left <= 0.0:
            return
        rest = np.setdiff1d(self._wanted(number), self.looked[number])
        if self.clock.seconds is None:
            self._look(number, rest)
            return
        scan = self.scans[number]
        if scan.departs.any():
            tol, noise = max(self.tol, ALONG), self.noise[scan.part.name]
            few = suspects(self.subject, scan.part, tol, noise, self.seed)
            spread = choose(scan.part, SPREAD, self.seed)
            self._look_first(number, few[:FIRST_FEW] if few.size or spread is None else spread)
            found = self.found[number]
            if found is not None:
                self._look_first(number, beside(found, self.seed))
            rest = np.setdiff1d(rest, self.looked[number])
            self.per_entry *= LONGER
        rest = rest[np.argsort(-_suspicion(scan)[rest], kind="stable")]
        while len(rest) and self.clock.left > 0.0:
            size = self._enough_for(0.25 * self.clock.left)
            self._look(number, np.sort(rest[:size]))
            rest = rest[size:]

    def _look_first(self, number: int, entries: np.ndarray) -> None:
        """Look at some of the entries that were not looked at yet."""
        few = np.setdiff1d(np.intersect1d(entries, self._wanted(number)), self.looked[number])
        size = self._enough_for(0.25 * self.clock.left)
        if few.size:
            self._look(number, few[np.linspace(0, few.size - 1, min(size, few.size)).astype(int)])

    def settled(self) -> list[Finding]:
        """The findings; where entries were left out, what the directions say if that is more serious."""
        settled = []
        for number, part in enumerate(self.subject.parts):
            scan = self.scans[number] if self.scans else None
            found = self.found[number] or scan
            assert found is not None
            everything = len(self.looked[number]) == len(_every_entry(part, self.seed))
            if scan is not None and not everything and rank(scan.verdict) < rank(found.verdict):
                found = scan
            found.entries = None if everything else self.looked[number]
            found.scanned = 0 if scan is None else len(scan.looks)
            settled.append(found)
        return settled

    def on_rows(self, rows: int) -> None:
        """Say, now and then, that the function was evaluated so many times more."""
        self.clock.evaluated(rows, EVALUATIONS.get(self.method, 1))

    def _wanted(self, number: int) -> np.ndarray:
        chosen = self.chosen[number]
        return np.arange(self.subject.parts[number].size) if chosen is None else chosen

    def _enough_for(self, seconds: float) -> int:
        """How many entries can be looked at in so many seconds."""
        return int(min(TOGETHER, max(1.0, seconds / self.per_entry))) if self.per_entry else FIRST_FEW

    def _look(self, number: int, entries: np.ndarray) -> None:
        if self.clock.left <= 0.0:
            return
        part, started = self.subject.parts[number], time.perf_counter()
        whole = len(entries) == part.size
        one = judging.entrywise(
            self.subject, part, self.method, self.tol, self.noise[part.name], None if whole else entries
        )
        if len(entries):
            self.per_entry = max(0.5 * self.per_entry, (time.perf_counter() - started) / len(entries))
        before = self.found[number]
        self.found[number] = one if before is None else merged(before, one, entries)
        self.looked[number] = np.concatenate([self.looked[number], entries])
        self.tell()

    def tell(self) -> None:
        """Say how far this is."""
        done, total = sum(map(len, self.looked)), sum(len(self._wanted(k)) for k in range(len(self.looked)))
        every = [*self.scans, *(finding for finding in self.found if finding is not None)]
        self.clock.reached(_verdict(every), sum(len(scan.looks) for scan in self.scans), done, total)


def _along_all(
    subject: Subject, method: str, seed: int, tol: float, noise: dict[str, np.ndarray], clock: Clock
) -> list[Finding]:
    found: list[Finding] = []
    total = sum(part.size for part in subject.parts)
    clock.reached("ok", 0, 0, total)
    for part in subject.parts:
        found.append(along(subject, part, method, tol, noise[part.name], seed))
        clock.reached(_verdict(found), sum(len(one.looks) for one in found), 0, total)
    return found


def _suspicion(scan: Finding) -> np.ndarray:
    """For each entry in how many of the directions that depart it takes part, those through everything aside."""
    counts = np.zeros(scan.part.size)
    for look, departs in zip(scan.looks, np.atleast_1d(scan.departs.any(axis=0)), strict=True):
        if departs:
            counts += look.values.reshape(-1) != 0.0
    return counts


def _every_entry(part: Part, seed: int) -> np.ndarray:
    chosen = choose(part, None, seed)
    return np.arange(part.size) if chosen is None else chosen


def _all_blocks(finding: Finding) -> bool:
    """Whether some entry of every gate block, or time step, was looked at."""
    part = finding.part
    looked = np.zeros(part.size, dtype=bool)
    looked[finding.entries] = True
    looked = looked.reshape(part.shape)
    if part.time_axis is not None:
        others = tuple(axis for axis in range(looked.ndim) if axis != part.time_axis)
        return bool(looked.any(axis=others).all())
    return all(block.any() for block in part.blocks(looked))


def _verdict(findings: Sequence[Finding]) -> str:
    return min((finding.verdict for finding in findings), key=rank, default="ok")
