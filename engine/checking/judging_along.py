"""Verdicts of the methods that look along random directions; see `engine.checking.judging`."""

from __future__ import annotations

import numpy as np

from engine.checking import differences, kinks, oracles
from engine.checking.finding import Finding
from engine.checking.judging import (
    FLOAT32_TOLERANCE,
    HIDDEN,
    drowned,
    forgive_noise,
    judge_finding,
    noise_of,
    underflow,
)
from engine.checking.oracles import Direction
from engine.checking.subject import Part, Subject


def along(subject: Subject, part: Part, method: str, tol: float, noise: np.ndarray, seed: int) -> Finding:
    """Compare derivatives along random directions: differences, the adjoint identity, or the Taylor remainder."""
    looks = oracles.directions(subject, part, seed)
    if not looks:
        empty = np.zeros((len(subject.groups), 0))
        return Finding(part, empty, empty, empty, empty, empty > 0, np.zeros(0, bool))
    claimed, size = oracles.claimed_along(subject, part, looks)
    stack = np.stack([look.values.reshape(-1) for look in looks])
    blurred = np.sqrt(stack**2 @ noise.reshape(-1) ** 2)[:, None]
    if method == "taylor":
        finding = _taylor(subject, part, tol, looks, claimed, size, blurred)
    else:
        finding = _derivatives(subject, part, method, tol, looks, claimed, size, blurred)
    if method != "adjoint" and finding.verdict == "wrong" and kinks.all_cross_one(subject, finding):
        beside = subject.displaced()
        there = next(one for one in beside.parts if one.name == part.name)
        if along(beside, there, method, tol, noise_of(beside, seed)[part.name], seed).verdict in ("ok", "cannot tell"):
            finding.verdict = "kink"
    return finding


def _derivatives(
    subject: Subject,
    part: Part,
    method: str,
    tol: float,
    looks: list[Direction],
    claimed: np.ndarray,
    size: np.ndarray,
    blurred: np.ndarray,
) -> Finding:
    """Compare the derivatives themselves."""
    error = np.zeros_like(claimed)
    if method == "directional":
        numeric, error = differences.along(
            subject, part, np.stack([look.values for look in looks]), oracles.reach(subject, part, looks)
        )
    else:
        numeric = oracles.adjoint(subject, part, looks)
    scale = np.maximum(np.maximum(size, np.abs(numeric)), np.abs(claimed))
    allowed = tol * scale + error + blurred + underflow(subject)
    departs = ~(np.abs(claimed - numeric) <= allowed)
    nothing = (claimed[:, 0] == 0.0) & (numeric[:, 0] == 0.0) & (blurred[:, 0] == 0.0)  # no way leads there
    hidden = ((error + blurred)[:, 0] > HIDDEN * scale[:, 0]) & ~nothing
    finding = Finding(part, claimed.T, numeric.T, allowed.T, scale.T, departs.T, hidden, looks)
    if not departs.any() and nothing.any():
        zero = np.flatnonzero(subject.claimed[part.name][0] == 0.0)
        finding.hidden |= nothing & drowned(subject, part, zero)
    forgive_noise(subject, finding)
    judge_finding(subject, finding)
    return finding


def _taylor(
    subject: Subject,
    part: Part,
    tol: float,
    looks: list[Direction],
    claimed: np.ndarray,
    size: np.ndarray,
    blurred: np.ndarray,
) -> Finding:
    """Compare the order of the remainder with 2."""
    precision = FLOAT32_TOLERANCE if subject.narrow else 1e-10
    slopes, claims = oracles.taylor(subject, part, looks, precision * size + blurred + underflow(subject))
    short = np.maximum(0.0, 2.0 - slopes)
    told = ~np.isnan(slopes)
    structural = (claims == 0) & ~told & (size == 0)
    finding = Finding(
        part,
        slopes.T,
        np.full(slopes.T.shape, 2.0),
        np.full(slopes.T.shape, tol),
        np.full(slopes.T.shape, 1.0),
        (told & ~(short <= tol)).T,
        (~told & ~structural)[:, 0],
        looks,
        slope=True,
    )
    zero = np.flatnonzero(subject.claimed[part.name][0] == 0.0)
    if not finding.departs.any() and structural[:, 0].any() and drowned(subject, part, zero):
        finding.hidden[:] = True
    if not np.isfinite(claimed).all():
        finding.verdict = "non-finite"
    elif finding.departs.any():
        finding.verdict = "wrong"
    elif finding.hidden.any():
        finding.verdict = "cannot tell"
    return finding
