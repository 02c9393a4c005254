"""From numbers to verdicts: what departs, what cannot be told, and how far rounding is allowed for.

A tolerance belongs to a slice: one time step of x, one gate block of a parameter, one row or column of a tensor of
which nothing is known; and to a group of outputs (see `engine.checking.subject`).  So a gradient that has shrunk to
1e-9 is held to its own size.  On top of it come two bounds that are computed from the data: the error bound of the
second opinion, and the noise of backward itself, which is how far its result moves if every number it reads moves by
one rounding.  Where these two hide the slice, the verdict for it is "cannot tell", never "ok".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.checking import differences, oracles
from engine.checking.subject import Part, Subject

#: Bounds larger than this part of a slice hide it.
HIDDEN = 0.01
#: Probes of backward's own rounding, and how far they may underestimate it.
PROBES, NOISE_SAFETY = 3, 16.0
#: What float32 arithmetic may be off by, relative to a slice, beyond what the probes show.
FLOAT32_TOLERANCE = 1e-4
#: More departing entries than this are no kinks, and are not looked at one by one.
KINKS = 400
#: Zero gradients that are looked at for saturation, for each tensor.
ZEROS = 4


@dataclass
class Finding:
    """What was found for one tensor.  G groups of outputs; the first is all of them.

    Attributes
    ----------
    part : the tensor.
    claimed, numeric : (G, ...) gradients; for methods that look along directions (G, n) derivatives.
    allowed : how far they may lie apart.
    scale : the size of each entry's slice.
    departs : where they lie farther apart.
    hidden : (...) where, for all outputs together, nothing can be told.
    looks : the directions, for methods that look along some.
    slope : whether claimed and numeric are orders of a Taylor remainder in place of derivatives.
    verdict : of this tensor.
    """

    part: Part
    claimed: np.ndarray
    numeric: np.ndarray
    allowed: np.ndarray
    scale: np.ndarray
    departs: np.ndarray
    hidden: np.ndarray
    looks: list[oracles.Direction] = field(default_factory=list)
    slope: bool = False
    verdict: str = "ok"
    entries: np.ndarray | None = None

    def errors(self) -> np.ndarray:
        """Errors relative to each slice, NaN as infinity."""
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(self.claimed - self.numeric) / np.maximum(self.scale, 1e-300)
        return np.where(np.isnan(error), np.inf, error)


def noise_of(subject: Subject, seed: int) -> dict[str, np.ndarray]:
    """By name: how far rounding may have moved each entry of the claimed gradient."""
    generator = np.random.default_rng([seed, 2])
    found = {part.name: np.zeros(part.shape) for part in subject.parts}
    for _ in range(PROBES):
        blurred = subject.blur(generator)
        for part in subject.parts:
            moved = np.asarray(subject.backend.to_host(blurred[part.name]), dtype=np.float64)
            with np.errstate(invalid="ignore"):
                gap = np.abs(moved - subject.claimed[part.name][0])
            found[part.name] = np.fmax(found[part.name], np.where(np.isfinite(gap), gap, 0.0))
    return {name: NOISE_SAFETY * noise for name, noise in found.items()}


def slices(part: Part, values: np.ndarray) -> np.ndarray:
    """The largest value of the slice in which each entry of (G, ...) lies."""
    values = np.where(np.isfinite(values), values, 0.0)
    inner = tuple(range(1, values.ndim))
    if part.time_axis is not None:
        others = tuple(axis for axis in inner if axis != part.time_axis + 1)
        return np.broadcast_to(values.max(axis=others, keepdims=True, initial=0.0), values.shape)
    if part.gates:
        blocks = values.reshape(len(values), len(part.gates), -1)
        return np.broadcast_to(blocks.max(axis=2, keepdims=True, initial=0.0), blocks.shape).reshape(values.shape)
    if part.own_axes and values.ndim > 1:
        found = [
            values.max(axis=tuple(other for other in inner if other != axis), keepdims=True, initial=0.0)
            for axis in inner
        ]
        smallest = found[0]
        for one in found[1:]:
            smallest = np.minimum(smallest, one)
        return np.broadcast_to(smallest, values.shape)
    return np.broadcast_to(values.max(axis=inner, keepdims=True, initial=0.0), values.shape)


def entrywise(
    subject: Subject, part: Part, method: str, tol: float, noise: np.ndarray, entries: np.ndarray | None
) -> Finding:
    """Compare a tensor entry by entry: central differences, complex step or forward accumulation.

    Parameters
    ----------
    entries : flat indices of the entries to look at; None looks at all.
    """
    chosen = np.arange(part.size) if entries is None else entries
    error = np.zeros((len(chosen), len(subject.groups)))
    if method == "central":
        numeric, error = differences.central(subject, part, chosen)
    elif method == "complex":
        numeric = oracles.complex_step(subject, part, chosen)
        error += oracles.COMPLEX_UNDERFLOW
    else:
        numeric = oracles.rtrl(subject, part, chosen)
    finding = _compare(subject, part, chosen, numeric, error, tol, noise)
    if method == "central":
        doubtful = np.flatnonzero(_doubtful(finding, chosen, error, tol))
        if doubtful.size:
            numeric[doubtful], error[doubtful] = differences.thorough(subject, part, chosen[doubtful])
            finding = _compare(subject, part, chosen, numeric, error, tol, noise)
    _judge(finding)
    if method == "complex" and np.isnan(numeric).any() and np.isfinite(finding.claimed).all():
        finding.verdict = "cannot tell"
    if method == "central" and finding.verdict == "wrong":
        _look_for_kinks(subject, finding)
    if method in ("central", "complex") and finding.verdict == "ok" and _saturated(subject, finding):
        finding.verdict = "cannot tell"
    finding.entries = entries
    return finding


def _compare(
    subject: Subject,
    part: Part,
    chosen: np.ndarray,
    numeric: np.ndarray,
    error: np.ndarray,
    tol: float,
    noise: np.ndarray,
) -> Finding:
    """Lay numbers (n, G) out in the tensor's shape, and compare; entries that were not looked at agree."""
    claimed = subject.claimed[part.name]
    values: np.ndarray = claimed.reshape(len(claimed), -1).copy()
    bound: np.ndarray = np.zeros((len(claimed), part.size))
    values[:, chosen], bound[:, chosen] = numeric.T, error.T
    values, bound = np.reshape(values, claimed.shape), np.reshape(bound, claimed.shape)
    with np.errstate(invalid="ignore"):
        scale = slices(part, np.maximum(np.abs(claimed), np.abs(values)))
        allowed = tol * scale + bound + noise + _underflow(subject)
        departs = ~(np.abs(claimed - values) <= allowed)  # "not <=" and never ">": a NaN must depart
    nothing = (claimed[0] == 0.0) & (values[0] == 0.0) & (noise == 0.0)  # no way leads there
    hidden = ((bound[0] + noise) > HIDDEN * scale[0]) & ~nothing
    return Finding(part, claimed, values, allowed, scale, departs, hidden)


def _doubtful(finding: Finding, chosen: np.ndarray, error: np.ndarray, tol: float) -> np.ndarray:
    """(n,) entries worth a longer sweep: hidden, or departing by no more than their own uncertainty explains."""
    lead = len(finding.claimed)
    gap = np.abs(finding.claimed - finding.numeric).reshape(lead, -1)[:, chosen].T
    departs = finding.departs.reshape(lead, -1)[:, chosen].T
    size = np.abs(finding.numeric).reshape(lead, -1)[:, chosen].T
    unsure = departs & ((gap < 1e3 * error) | (error > 1e-3 * size))
    return np.asarray(unsure.any(axis=1) | finding.hidden.reshape(-1)[chosen])


def _underflow(subject: Subject) -> float:
    """Smaller numbers than this lose digits, and then are 0."""
    return 1e3 * float(np.finfo(np.float32 if subject.narrow else np.float64).tiny)


def _judge(finding: Finding) -> None:
    if not (np.isfinite(finding.claimed).all() and np.isfinite(finding.numeric).all()):
        finding.verdict = "non-finite"
    elif finding.departs.any():
        finding.verdict = "wrong"
    elif finding.hidden.any():
        finding.verdict = "cannot tell"


def _look_for_kinks(subject: Subject, finding: Finding) -> None:
    """Tell a kink from an error, by the slopes to the left and to the right of the entries that depart.

    Where the two differ and the claimed slope lies between them, the entry stands at a kink.  Where they agree with
    each other and with the claim, a kink lies close by, and all steps of the sweep but the shortest have crossed it.
    """
    part = finding.part
    lead = len(finding.claimed)
    places = np.flatnonzero(finding.departs.reshape(lead, -1).any(axis=0))
    if places.size > KINKS or part.array.dtype != np.float64:
        return
    departs, claimed, numeric, allowed = (
        values.reshape(lead, -1)[:, places].T
        for values in (finding.departs, finding.claimed, finding.numeric, finding.allowed)
    )
    left, right = differences.one_sided(subject, part, places, differences.SHORTEST)
    left_far, right_far = differences.one_sided(subject, part, places, 128.0 * differences.SHORTEST)
    slack = allowed + 4.0 * differences.output_rounding(subject) / differences.SHORTEST
    # where a function is smooth the two slopes differ by the step times its bend
    jump = np.abs(left - right) > np.maximum(4.0 * slack, 0.25 * np.abs(left_far - right_far))
    between = (np.minimum(left, right) - slack <= claimed) & (claimed <= np.maximum(left, right) + slack)
    middle = 0.5 * (left + right)
    close_by = ~jump & (np.abs(claimed - middle) <= slack) & (np.abs(numeric - middle) > 4.0 * slack)
    finding.numeric.reshape(lead, -1)[:, places] = np.where(close_by, middle, numeric).T
    finding.departs.reshape(lead, -1)[:, places] = (departs & ~close_by).T
    if not finding.departs.any():
        finding.verdict = "cannot tell" if finding.hidden.any() else "ok"
    elif (jump & between)[departs & ~close_by].all():
        finding.verdict = "kink"
    elif jump[departs & ~close_by].all() and _right_beside(subject, part):
        finding.verdict = "kink"  # of several at once, whose slopes need not lie between those of all together


def _right_beside(subject: Subject, part: Part) -> bool:
    """Whether the same gradient is right a little way off, where there is no kink."""
    beside = subject.displaced()
    there = next(one for one in beside.parts if one.name == part.name)
    entries = np.arange(there.size)
    numeric, error = differences.thorough(beside, there, entries)
    claimed = beside.claimed[part.name].reshape(len(beside.groups), -1).T
    size = np.max(np.abs(numeric), axis=0, initial=0.0)
    return bool((np.abs(claimed - numeric) <= error + 1e-6 * size).all())


def _saturated(subject: Subject, finding: Finding) -> bool:
    """Whether a gradient that is 0 on both sides is one that has drowned: 1 - sigmoid(40) is 4e-18, and rounds to 0."""
    zero = (finding.claimed[0] == 0) & (finding.numeric[0] == 0) & (finding.scale[0] == 0)
    return _drowned(subject, finding.part, np.flatnonzero(zero))


def _drowned(subject: Subject, part: Part, places: np.ndarray) -> bool:
    """Whether one of these entries, whose gradient seems to be 0, does move the outputs: far away, or a very little."""
    if places.size == 0 or subject.zeros_are_zeros:
        return False
    chosen = places[np.linspace(0, places.size - 1, min(ZEROS, places.size)).astype(int)]
    moves = [differences.first_movement(subject, part, int(place)) for place in chosen]
    if any(0.0 < moved < 1e-9 for moved in moves):
        return True
    still = chosen[[moved == 0.0 for moved in moves]]
    hints = oracles.complex_step(subject, part, still) if still.size else np.zeros(0)
    return bool((np.nan_to_num(hints) != 0.0).any())


# -- along directions --------------------------------------------------------------------------------------------------


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
        precision = FLOAT32_TOLERANCE if subject.narrow else 1e-10
        slopes, claims = oracles.taylor(subject, part, looks, precision * size + blurred + _underflow(subject))
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
        finite = bool(np.isfinite(claimed).all())
        zero = np.flatnonzero(subject.claimed[part.name][0] == 0.0)
        if not finding.departs.any() and structural[:, 0].any() and _drowned(subject, part, zero):
            finding.hidden[:] = True
        finding.verdict = (
            "non-finite"
            if not finite
            else "wrong"
            if finding.departs.any()
            else "cannot tell"
            if finding.hidden.any()
            else "ok"
        )
        return finding
    error = np.zeros_like(claimed)
    if method == "directional":
        numeric, error = differences.along(
            subject, part, np.stack([look.values for look in looks]), oracles.reach(subject, part, looks)
        )
    else:
        numeric = oracles.adjoint(subject, part, looks)
    scale = np.maximum(np.maximum(size, np.abs(numeric)), np.abs(claimed))
    allowed = tol * scale + error + blurred + _underflow(subject)
    departs = ~(np.abs(claimed - numeric) <= allowed)
    nothing = (claimed[:, 0] == 0.0) & (numeric[:, 0] == 0.0) & (blurred[:, 0] == 0.0)  # no way leads there
    hidden = ((error + blurred)[:, 0] > HIDDEN * scale[:, 0]) & ~nothing
    finding = Finding(part, claimed.T, numeric.T, allowed.T, scale.T, departs.T, hidden, looks)
    if not departs.any() and nothing.any():
        zero = np.flatnonzero(subject.claimed[part.name][0] == 0.0)
        finding.hidden |= nothing & _drowned(subject, part, zero)
    _judge(finding)
    return finding
