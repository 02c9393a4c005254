"""Decide by a look at other places whether rounding explains a departure.

Three cases look wrong or undecidable at one place and are clear at another.  If a function is saturated, outputs that
do not move hide the rest of a gradient, and backward keeps only rounding of it.  And a gradient that is zero by
structure (of a bias before batch normalisation) is a sum of terms that cancel, so both sides are rounding.  At a
place with tensors of moderate size nothing is saturated: there backward is right or wrong, and an entry that moves no
output there, nor here, nor far away, has no gradient.  And a gradient that passes through zero, such as that of a
loss at its minimum, is only rounding on both sides; a little way off it has a size, and there backward is right or
wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.checking.oracles import differences
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts import precision
from engine.checking.verdicts.finding import Finding

#: Departures smaller than this part of the largest gradients may be rounding of a saturated backward.
SMALL = 1e-9
#: Moves, in units of a tensor's size, that must change nothing where a gradient is zero by structure.
MOVES = (-8.0, -1.0, 1.0, 8.0)
#: Outputs may change by so many times their rounding then, for each unit of the move.
STILL = 64.0
#: A gradient that passes through zero here is so many times as large at a distance of 1 as a little way off.
FARTHER = 100.0
#: Random directions through the entries in doubt; so many entries are tried one by one if these move something.
DIRECTIONS, FEW = 2, 32
#: Longer and longer moves, in units of a tensor's size, up to the first that changes something.
LONGER = tuple(2.0**-13 * 1.5**k for k in range(29))
#: A first change of so many roundings is that of a kink: a saturated function sets off from the last digit.
SUDDEN = 1e6
#: So often the way from the last move without a change to the first with one is halved, in search of a smaller change.
HALVINGS = 9


def excuse_saturation(subject: Subject, finding: Finding, redo: Callable[[Subject, Part], Finding]) -> None:
    """Hide, in place of accusing, what departs by rounding alone and is right where nothing is saturated.

    Parameters
    ----------
    redo : makes the same comparison for a part of another subject.
    """
    if not finding.departs.any() or not np.isfinite(finding.numeric).all() or not np.isfinite(finding.claimed).all():
        return
    largest = max((float(np.max(np.abs(claimed), initial=0.0)) for claimed in subject.claimed.values()), default=0.0)
    rounding = differences.output_rounding(subject) + np.abs(subject.weights) @ precision.behind_zeros(subject)
    slack = np.maximum(SMALL * largest, rounding / differences.ALL_STEPS[0])
    gap = np.abs(finding.claimed - finding.numeric)
    if not finding.slope and (gap > slack.reshape(-1, *(1,) * (gap.ndim - 1)))[finding.departs].any():
        return
    beside = subject.moderate()
    if beside is None:
        return
    again = redo(beside, part_of(beside, finding.part))
    if again.verdict in ("ok", "cannot tell"):
        finding.hidden |= finding.departs.any(axis=0)
        finding.departs[:] = False


def clear_passing_zeros(
    subject: Subject, finding: Finding, tol: float, redo: Callable[[Subject, Part, np.ndarray], Finding]
) -> None:
    """Take hidden gradients for right that are next to nothing beside their size a little way off, and right there.

    A saturated function is no such case: a little way off, its gradients are as small as they are here.

    Parameters
    ----------
    tol : the largest error that passes, relative to the size at a distance of 1.
    redo : makes the same comparison for a part of another subject, of the hidden entries (flat indices) alone.
    """
    if subject.is_second or finding.departs.any() or not finding.hidden.any():
        return
    beside = subject.off_kinks()
    if beside is None:
        return
    places = np.flatnonzero(finding.hidden)
    off = (np.abs(finding.claimed[0] - finding.numeric[0]) + finding.allowed[0]).reshape(-1)[places]
    tol = tol * FARTHER
    if not finding.looks and not (off <= tol * np.max(np.abs(beside.claimed[finding.part.name][0]), initial=0.0)).any():
        return  # not worth a comparison
    there = redo(beside, part_of(beside, finding.part), places)
    if there.verdict == "ok":
        hidden = np.array(finding.hidden).reshape(-1)
        hidden[places] = ~(off <= tol * there.scale[0].reshape(-1)[places])
        finding.hidden = hidden.reshape(np.shape(finding.hidden))
    elif there.verdict == "wrong":
        subject.notes.append(
            f"with inputs a hundredth away the gradient of {finding.part.name} departs: check it there"
        )


def clear_structural_zeros(subject: Subject, finding: Finding, noise: np.ndarray) -> None:
    """Take hidden gradients for right that are rounding on both sides, and of which nothing depends.

    Parameters
    ----------
    noise : how far rounding may have moved each claimed value, in the shape of ``finding.hidden``.
    """
    typical = float(np.max(noise, initial=0.0, where=finding.hidden))  # one entry's may be small by chance
    doubtful = np.flatnonzero(finding.hidden & (np.abs(finding.claimed[0]) <= typical))
    if doubtful.size == 0 or finding.departs.any():
        return
    places = _places(subject)
    if len(places) < 2:
        return
    rows = np.zeros((doubtful.size, finding.part.size))
    if finding.looks:
        rows[:] = [finding.looks[k].values.reshape(-1) for k in doubtful]
    else:
        rows[np.arange(doubtful.size), doubtful] = 1.0
    generator = np.random.default_rng(8)
    mixed = generator.normal(size=(DIRECTIONS, doubtful.size)) @ rows
    hidden = np.array(finding.hidden).reshape(-1)
    if _nothing_moves(places, finding.part, mixed).all():
        hidden[doubtful] = False
    elif doubtful.size <= FEW:
        hidden[doubtful] = ~_nothing_moves(places, finding.part, rows)
        for k in np.flatnonzero(hidden[doubtful]):
            hidden[doubtful[k]] = not _still_between_kinks(subject, finding.part, rows[k])
    finding.hidden = hidden.reshape(np.shape(finding.hidden))


def nothing_depends(subject: Subject, part: Part, entries: np.ndarray) -> bool:
    """Whether these entries together move nothing, here, far away, and where all tensors are of moderate size."""
    places, rows = _places(subject), np.zeros((DIRECTIONS, part.size))
    rows[:, entries] = np.random.default_rng(8).normal(size=(DIRECTIONS, len(entries)))
    return len(places) > 1 and bool(_nothing_moves(places, part, rows).all())


def _places(subject: Subject) -> list[Subject]:
    beside = subject.moderate()
    return [subject] if beside is None else [subject, beside]


def part_of(subject: Subject, part: Part) -> Part:
    """The part of the same name."""
    return next(one for one in subject.parts if one.name == part.name)


def _still_between_kinks(subject: Subject, part: Part, row: np.ndarray) -> bool:
    """Whether outputs stay what they are along a direction, up to a kink on one side at least.

    If a relu before batch normalisation is on in every row, a shift of its input changes nothing, until it is off in
    one of them.
    """
    sides = [_first_change(subject, part, sign * row) for sign in (1.0, -1.0)]
    return "kink" in sides and "slow" not in sides


def _first_change(subject: Subject, part: Part, row: np.ndarray) -> str:
    """How the outputs begin to change along a direction: ``"kink"``, ``"slow"``, or empty if they never do.

    A saturated function changes by little before it changes by much; beyond a kink it is much at once.
    """
    values, here = subject.host(part).astype(np.float64), subject.here()
    unit = row.reshape(values.shape) / np.max(np.abs(row)) * max(1.0, float(np.max(np.abs(values), initial=0.0)))
    noise = np.maximum(subject.output_noise(), differences.EPS * float(np.max(np.abs(here), initial=0.0)))
    noise = np.maximum(noise, precision.behind_zeros(subject))
    if not (noise > 0.0).all():
        return "slow"  # any change is more than nothing

    def changes(moves: np.ndarray) -> np.ndarray:
        stack = (values + moves.reshape(-1, *(1,) * values.ndim) * unit).astype(part.dtype)
        change = np.abs(differences.in_blocks(subject, part, stack) - here) / noise
        return np.asarray(np.nan_to_num(change, nan=2.0 * STILL).max(axis=1)) / (1.0 + moves)

    found = changes(np.array(LONGER))
    if not (found > STILL).any():
        return ""
    first = int(np.argmax(found > STILL))
    if first == 0 or found[first] < SUDDEN:
        return "slow"
    near, far = LONGER[first - 1], LONGER[first]
    for _ in range(HALVINGS):
        middle = 0.5 * (near + far)
        change = float(changes(np.array([middle]))[0])
        if STILL < change < SUDDEN:
            return "slow"
        near, far = (near, middle) if change > STILL else (middle, far)
    return "kink"


def _nothing_moves(places: list[Subject], part: Part, rows: np.ndarray) -> np.ndarray:
    """(n,) whether outputs stay what they are, up to rounding, when a tensor is moved along rows (n, ...)."""
    still = np.ones(len(rows), dtype=bool)
    for subject in places:
        own = part_of(subject, part)
        values, here = subject.host(own).astype(np.float64), subject.here()
        size = max(1.0, float(np.max(np.abs(values), initial=0.0)))
        unit = rows / np.max(np.abs(rows), axis=1, keepdims=True) * size
        noise = np.maximum(subject.output_noise(), differences.EPS * float(np.max(np.abs(here), initial=0.0)))
        for move in MOVES:
            moved = (values + (move * unit).reshape(-1, *values.shape)).astype(own.dtype)
            change = np.abs(differences.in_blocks(subject, own, moved) - here)
            still &= (change <= STILL * (1.0 + abs(move)) * noise).all(axis=1)
    return still
