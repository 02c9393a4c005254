"""Find the wrong entries of a large tensor after a method that checked only random directions.

A set of entries that departs along a random direction is cut in pieces, and pieces that depart are cut again.  So one
entry of a million is found in a few dozen evaluations.  If more and more pieces depart, the error is spread, and a
sample of all entries shows how.  More entries are looked at in the rows, columns and time steps of those that depart.
"""

from __future__ import annotations

import numpy as np

from engine.checking.oracles import differences, methods
from engine.checking.oracles.chosen_entries import choose
from engine.checking.oracles.methods import Direction
from engine.checking.report.report import SERIOUS
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts import judging
from engine.checking.verdicts.finding import Finding

#: A set is cut into so many pieces; more sets than that at a time are no small place.
PIECES, SETS = 4, 12
#: Entries of all tensors together that are looked at one by one, and numbers that this may evaluate.
SAMPLE, NUMBERS = 128, 4_000_000
#: Wrong entries that lie in so many planes of an axis lie in a part of it; so many more of each plane are looked at,
#: and of the planes between and next to them where these are no more than so many.
PLANES, BESIDE, BETWEEN = 8, 8, 16
#: A single pair of evaluations that is off by more than this part of the size needs no longer look.
FAR = 1e-3


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
        if finding not in wrong or not finding.looks:
            found.append(finding)
            continue
        chosen = choose(part, sample, seed)
        few = suspects(subject, part, tol, noise[part.name], seed)
        entries = np.union1d(np.arange(part.size) if chosen is None else chosen, few).astype(np.int64)
        one = judging.entrywise(subject, part, method, tol, noise[part.name], entries)
        more = np.setdiff1d(beside(one, seed), entries)
        if more.size:
            one = merged(one, judging.entrywise(subject, part, method, tol, noise[part.name], more), more)
        one.entries = np.union1d(entries, more)
        found.append(one if one.departs.any() else finding)
    return found


def merged(before: Finding, one: Finding, entries: np.ndarray) -> Finding:
    """Two findings for one tensor, the second for some entries more."""
    more = np.zeros(one.part.size, dtype=bool)
    more[entries] = True
    more = more.reshape(one.part.shape)
    for name in ("numeric", "allowed", "departs", "hidden"):
        setattr(before, name, np.where(more, getattr(one, name), getattr(before, name)))
    before.scale = np.maximum(before.scale, one.scale)
    before.verdict = min(before.verdict, one.verdict, key=rank)
    return before


def rank(verdict: str) -> int:
    """The place of a verdict among the serious ones, the most serious first."""
    return SERIOUS.index(verdict) if verdict in SERIOUS else len(SERIOUS)


def beside(finding: Finding, seed: int) -> np.ndarray:
    """Flat indices of some more entries in the planes of those that depart, and around, where the planes are few."""
    part, departs = finding.part, finding.departs.any(axis=0)
    generator = np.random.default_rng([seed, 14])
    places = np.arange(part.size).reshape(part.shape)
    found = [np.zeros(0, dtype=np.int64)]
    for axis in range(len(part.shape)):
        planes = np.unique(np.nonzero(departs)[axis])
        if not 0 < len(planes) <= PLANES:
            continue
        around = np.arange(max(0, planes[0] - 1), min(part.shape[axis], planes[-1] + 2))
        for plane in around if len(around) <= BETWEEN else planes:
            own = np.take(places, plane, axis=axis).reshape(-1)
            own = own if part.free is None else own[part.free.reshape(-1)[own]]
            found.append(generator.choice(own, min(BESIDE, own.size), replace=False))
    return np.unique(np.concatenate(found))


def suspects(subject: Subject, part: Part, tol: float, noise: np.ndarray, seed: int) -> np.ndarray:
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
        # of all sizes: errors of the same size must not cancel
        row[places] = generator.choice((-1.0, 1.0), size=len(places)) * generator.uniform(0.5, 1.5, size=len(places))
    looks = [Direction(row.reshape(part.shape)) for row in rows]
    claimed, size = methods.claimed_along(subject, part, looks)
    reach, stack = methods.reach(subject, part, looks), np.stack([look.values for look in looks])
    blurred = np.sqrt(rows**2 @ noise.reshape(-1) ** 2) + judging.underflow(subject)

    def beyond(numeric: np.ndarray, error: np.ndarray, precision: float, chosen: np.ndarray) -> np.ndarray:
        scale = np.maximum(size[chosen], np.abs(numeric))[:, 0]
        gap = np.abs(claimed[chosen] - numeric)[:, 0]
        return np.asarray(~(gap <= precision * scale + error[:, 0] + blurred[chosen]))

    every = np.arange(len(sets))
    pair = differences.one_pair_along(subject, part, stack, reach)
    departs = beyond(*pair, FAR, every)
    doubtful = np.flatnonzero(beyond(*pair, judging.CONFIRMED * tol, every) & ~departs)
    if doubtful.size:
        longer = differences.along(subject, part, stack[doubtful], reach[doubtful])
        departs[doubtful] = beyond(*longer, tol, doubtful)
    return departs
