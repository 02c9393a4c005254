"""Find the wrong entries of a large tensor after a method that checked only random directions.

A set of entries that departs along a random direction is cut in pieces, and pieces that depart are cut again.  So one
entry of a million is found in a few dozen evaluations.  If more and more pieces depart, the error is spread, and a
sample of all entries shows how.
"""

from __future__ import annotations

import numpy as np

from engine.checking.oracles import differences, methods
from engine.checking.oracles.chosen_entries import choose
from engine.checking.oracles.methods import Direction
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts import judging
from engine.checking.verdicts.finding import Finding

#: A set is cut into so many pieces; more sets than that at a time are no small place.
PIECES, SETS = 4, 12
#: Entries of all tensors together that are looked at one by one, and numbers that this may evaluate.
SAMPLE, NUMBERS = 128, 4_000_000


def entries_of(
    subject: Subject, findings: list[Finding], tol: float, noise: dict[str, np.ndarray], method: str, seed: int
) -> list[Finding]:
    """For each tensor that departs along directions the same by some of its entries; the others as they are."""
    wrong = [finding for finding in findings if finding.verdict == "wrong" and finding.departs.any()]
    total = sum(part.size for part in subject.parts)
    sample = max(8, min(SAMPLE, NUMBERS // max(1, total)) // max(1, len(wrong)))
    found = []
    for finding in findings:
        part = finding.part
        if finding not in wrong or not finding.looks or finding.slope:
            found.append(finding)
            continue
        chosen = choose(part, sample, seed)
        few = _suspects(subject, part, tol, noise[part.name], seed)
        entries = np.union1d(np.arange(part.size) if chosen is None else chosen, few).astype(np.int64)
        one = judging.entrywise(subject, part, method, tol, noise[part.name], entries)
        one.entries = entries
        found.append(one if one.departs.any() else finding)
    return found


def _suspects(subject: Subject, part: Part, tol: float, noise: np.ndarray, seed: int) -> np.ndarray:
    """Flat indices of the few entries that depart; none where they are many."""
    generator = np.random.default_rng([seed, 13])
    places = np.arange(part.size) if part.free is None else np.flatnonzero(part.free)
    sets = [places]
    while sets and max(map(len, sets)) > 1:
        pieces = [piece for one in sets for piece in np.array_split(one, min(PIECES, len(one)))]
        departs = _depart(subject, part, pieces, tol, noise, generator)
        sets = [piece for piece, bad in zip(pieces, departs, strict=True) if bad]
        if len(sets) > SETS:
            return np.zeros(0, dtype=np.int64)
    return np.concatenate(sets) if sets else np.zeros(0, dtype=np.int64)


def _depart(
    subject: Subject, part: Part, sets: list[np.ndarray], tol: float, noise: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """(n,) whether the gradient departs along a random direction through each set of entries."""
    rows = np.zeros((len(sets), part.size))
    for row, places in zip(rows, sets, strict=True):
        row[places] = generator.choice((-1.0, 1.0), size=len(places))
    looks = [Direction(row.reshape(part.shape)) for row in rows]
    claimed, size = methods.claimed_along(subject, part, looks)
    reach = methods.reach(subject, part, looks)
    numeric, error = differences.along(subject, part, np.stack([look.values for look in looks]), reach)
    blurred = np.sqrt(rows**2 @ noise.reshape(-1) ** 2)
    gap = np.abs(claimed - numeric)[:, 0]
    scale = np.maximum(size, np.abs(numeric))[:, 0]
    return np.asarray(gap > tol * scale + error[:, 0] + blurred + judging.underflow(subject))
