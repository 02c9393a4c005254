"""Verdicts of the methods that look along random directions; see `engine.checking.verdicts.judging`."""

from __future__ import annotations

import dataclasses

import numpy as np

from engine.checking.oracles import differences, methods
from engine.checking.oracles.methods import Direction
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts import kinks, second_look
from engine.checking.verdicts.finding import Finding
from engine.checking.verdicts.judging import (
    CONFIRMED,
    FLOAT32_TOLERANCE,
    HIDDEN,
    drowned,
    forgive_noise,
    judge_finding,
    noise_of,
    underflow,
)

#: The tolerance of differences, which decide if a Taylor remainder is in doubt.
SETTLE = 1e-6
#: Where the smallest number is less than this part of the largest, no step fits both.
UNEVEN = 1e-2


def along(subject: Subject, part: Part, method: str, tol: float, noise: np.ndarray, seed: int) -> Finding:
    """Compare derivatives along random directions: differences, the adjoint identity, or the Taylor remainder.

    The method ``"scan"`` takes differences too, only as many as are needed to find departures.
    """
    looks = methods.directions(subject, part, seed)
    if not looks:
        empty = np.zeros((len(subject.groups), 0))
        return Finding(part, empty, empty, empty, empty, empty > 0, np.zeros(0, bool))
    finding = _compare(subject, part, method, tol, looks, noise)
    if method == "adjoint" or finding.verdict not in ("wrong", "cannot tell"):
        return finding
    if finding.verdict == "cannot tell" or _tiny(subject, part):
        closer = _relative(subject, part, method, tol, finding, noise)
        if closer is not None:
            return closer
    if kinks.all_cross_one(subject, finding):
        beside = subject.off_kinks()
        if beside is None:
            finding.verdict = "kink"
            return finding
        there = second_look.part_of(beside, part)
        again = _compare(beside, there, method, tol, looks, noise_of(beside, seed)[part.name])
        if again.verdict in ("ok", "cannot tell"):
            finding.verdict = "kink"
        elif finding.verdict == "cannot tell" and again.verdict == "wrong":
            return again
    return finding


def _relative(
    subject: Subject, part: Part, method: str, tol: float, finding: Finding, noise: np.ndarray
) -> Finding | None:
    """The same along directions that move each number by a fraction of itself, if all is right there; else None.

    If numbers of size 1 and of a millionth stand together, no step is long enough for the former and short enough for
    the latter.  The logarithm of such a small number ends at 0.
    """
    size = np.abs(subject.host(part).astype(np.float64))
    largest = float(np.max(size, initial=0.0))
    smallest = float(np.min(size, initial=largest, where=size > 0.0))
    if not 0.0 < largest < np.inf or (smallest > UNEVEN * largest and not _tiny(subject, part)):
        return None
    relative = np.where(size > 0.0, size / largest, 1.0)
    looks = [
        dataclasses.replace(look, values=look.values * relative, reach=largest / float(np.abs(look.values).max()))
        for look in finding.looks
    ]
    closer = _compare(subject, part, method, tol, looks, noise)
    return closer if closer.verdict == "ok" else None


def _tiny(subject: Subject, part: Part) -> bool:
    """Whether even the shortest step is far longer than every number of a tensor."""
    return 0.0 < float(np.max(np.abs(subject.host(part)), initial=0.0)) < differences.SHORTEST


def _compare(
    subject: Subject, part: Part, method: str, tol: float, looks: list[Direction], noise: np.ndarray
) -> Finding:
    compare = _taylor if method == "taylor" else _derivatives
    return compare(subject, part, method, tol, looks, noise)


def _derivatives(
    subject: Subject, part: Part, method: str, tol: float, looks: list[Direction], noise: np.ndarray
) -> Finding:
    """Compare the derivatives themselves."""
    claimed, size = methods.claimed_along(subject, part, looks)
    blurred = _blurred(looks, noise)
    error = np.zeros_like(claimed)
    if method in ("directional", "scan"):
        numeric, error = _pair_or_sweep(
            subject, part, looks, claimed, CONFIRMED * tol * size, blurred, HIDDEN * size if method == "scan" else None
        )
    else:
        numeric = methods.adjoint(subject, part, looks)
    scale = np.maximum(np.maximum(size, np.abs(numeric)), np.abs(claimed))
    absolute = subject.atol * methods.lengths(looks)[:, None]
    allowed = tol * scale + error + blurred + underflow(subject) + absolute
    departs = ~(np.abs(claimed - numeric) <= allowed)
    nothing = (claimed[:, 0] == 0.0) & (numeric[:, 0] == 0.0) & (blurred[:, 0] == 0.0)  # no way leads there
    hidden = ((error + blurred)[:, 0] > np.maximum(HIDDEN * scale, absolute)[:, 0]) & ~nothing
    finding = Finding(part, claimed.T, numeric.T, allowed.T, scale.T, departs.T, hidden, looks)
    if not departs.any() and nothing.any():
        zero = np.flatnonzero((subject.claimed[part.name][0] == 0.0) & (noise == 0.0))
        finding.hidden |= nothing & drowned(subject, part, zero)
    forgive_noise(subject, finding)
    second_look.excuse_saturation(
        subject,
        finding,
        lambda beside, there: _derivatives(beside, there, method, tol, looks, noise_of(beside, 0)[part.name]),
    )
    second_look.clear_structural_zeros(subject, finding, blurred[:, 0])
    second_look.clear_passing_zeros(
        subject,
        finding,
        tol,
        lambda beside, there, _: _derivatives(beside, there, method, tol, looks, noise_of(beside, 0)[part.name]),
    )
    judge_finding(subject, finding)
    return finding


def _blurred(looks: list[Direction], noise: np.ndarray) -> np.ndarray:
    """(n, 1) how far rounding may have moved what backward claims along each direction."""
    stack = np.stack([look.values.reshape(-1) for look in looks])
    return np.asarray(np.sqrt(stack**2 @ noise.reshape(-1) ** 2)[:, None])


def _pair_or_sweep(
    subject: Subject,
    part: Part,
    looks: list[Direction],
    claimed: np.ndarray,
    near: np.ndarray,
    blurred: np.ndarray,
    rough: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (n, G) and their bounds: one pair of evaluations for a direction that it settles, else three or more.

    Parameters
    ----------
    near : (n, G) how close to the claimed derivative a pair has to come to settle it.
    rough : (n, G) the rounding that may be left for all outputs together, at a first scan; None is none beyond `near`.
    """
    directions = np.stack([look.values for look in looks])
    reach = methods.reach(subject, part, looks)
    numeric, error = differences.one_pair_along(subject, part, directions, reach)
    if rough is None:
        confirmed = (np.abs(claimed - numeric) + error <= near).all(axis=1)
    else:
        confirmed = (np.abs(claimed - numeric) <= near + error).all(axis=1) & (error <= rough)[:, 0]
    still = (claimed[:, 0] == 0.0) & (blurred[:, 0] == 0.0)  # a longer step may move it
    longer = np.flatnonzero(~confirmed | still)
    if longer.size:
        numeric[longer], error[longer] = differences.along(subject, part, directions[longer], reach[longer])
    return numeric, error


def _taylor(
    subject: Subject, part: Part, method: str, tol: float, looks: list[Direction], noise: np.ndarray
) -> Finding:
    """Compare the order of the remainder with 2.

    For a steep function no step is both short enough for the second order to lead and long enough to be clear of
    rounding.  If the order is not 2, extrapolated differences along the same directions decide.
    """
    claimed, size = methods.claimed_along(subject, part, looks)
    precision = FLOAT32_TOLERANCE if subject.narrow else 1e-10
    blurred = _blurred(looks, noise)
    allowed = precision * size + blurred + underflow(subject) + subject.atol * methods.lengths(looks)[:, None]
    slopes, claims = methods.taylor(subject, part, looks, allowed)
    told = ~np.isnan(slopes)
    structural = (claims == 0) & ~told & (size == 0)
    finding = Finding(
        part,
        slopes.T,
        np.full(slopes.T.shape, 2.0),
        np.full(slopes.T.shape, tol),
        np.full(slopes.T.shape, 1.0),
        (told & ~(np.maximum(0.0, 2.0 - slopes) <= tol)).T,
        ((~told & ~structural) | (blurred > HIDDEN * size))[:, 0],
        looks,
        slope=True,
    )
    zero = np.flatnonzero((subject.claimed[part.name][0] == 0.0) & (noise == 0.0))
    if not finding.departs.any() and structural[:, 0].any() and drowned(subject, part, zero):
        finding.hidden[:] = True
    if not np.isfinite(claimed).all():
        finding.verdict = "non-finite"
    elif finding.departs.any() or finding.hidden.any():
        settled = _derivatives(
            subject, part, "directional", FLOAT32_TOLERANCE if subject.narrow else SETTLE, looks, noise
        )
        if settled.verdict == "ok" or (finding.departs.any() and settled.verdict == "cannot tell"):
            return settled
        finding.verdict = "wrong" if finding.departs.any() else "cannot tell"
    return finding
