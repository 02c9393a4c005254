"""From numbers to verdicts: what departs, what cannot be decided, and how much rounding is allowed.

A tolerance belongs to a slice (one time step of x, one gate block of a parameter, or one row or column of an unknown
tensor) and to a group of outputs (see `subjects.subject`).  So a gradient that has shrunk to 1e-9 is compared with its
own size.  Two bounds computed from the data are added: the error bound of the second opinion, and the noise of backward
itself.  The noise is how far backward's result moves if every number that it reads moves by one rounding.  If these two
hide the slice, its verdict is "cannot tell", never "ok".
"""

from __future__ import annotations

import numpy as np

from engine.checking.oracles import differences, methods
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts import kinks, second_look
from engine.checking.verdicts.finding import Finding

#: Bounds larger than this part of a slice hide it.
HIDDEN = 0.01
#: Probes of backward's own rounding, and how far they may underestimate it.
PROBES, NOISE_SAFETY = 3, 16.0
#: Probes that tell a jump from rounding, by how many roundings they move, and how much closer they must lie together.
FAR_PROBES, FAR_ROUNDINGS, TOGETHER = 3, 1024.0, 1e-3
#: What float32 arithmetic may be off by, relative to a slice, beyond what the probes show.
FLOAT32_TOLERANCE = 1e-4
#: Zero gradients that are looked at for saturation, for each tensor.
ZEROS = 4
#: A pair of evaluations settles an entry where it agrees to this part of the tolerance.
CONFIRMED = 0.1
#: A first movement larger than so many roundings does not come from a saturated function.
BEGINNING = 1e7
#: Entries that are looked at closer.
CLOSE_LOOKS = 100


def noise_of(subject: Subject, seed: int, group: int = 0) -> dict[str, np.ndarray]:
    """By name: how far rounding may have moved each entry of a group's claimed gradient."""
    generator = np.random.default_rng([seed, 2])
    probes = [_probe(subject, generator, group) for _ in range(PROBES)]
    safety = NOISE_SAFETY * (4.0 if subject.narrow else 1.0)  # float32 forward strays as well
    found, jumps = {}, False
    for part in subject.parts:
        first = subject.claimed[part.name][group]
        found[part.name] = safety * _largest([probe[part.name] - first for probe in probes])
        with np.errstate(invalid="ignore"):
            jumps |= bool((found[part.name] > HIDDEN * slices(part, np.abs(first)[None])[0]).any())
    if jumps:
        probes += [_probe(subject, generator, group, FAR_ROUNDINGS) for _ in range(FAR_PROBES)]
        for part in subject.parts:
            stack = [probe[part.name] for probe in probes]
            found[part.name] = _without_jumps(subject.claimed[part.name][group], stack, found[part.name], safety)
    return found


def _probe(
    subject: Subject, generator: np.random.Generator, group: int, roundings: float = 1.0
) -> dict[str, np.ndarray]:
    blurred = subject.blur(generator, group, roundings)
    return {name: np.asarray(subject.backend.to_host(one), dtype=np.float64) for name, one in blurred.items()}


def _largest(gaps: list[np.ndarray]) -> np.ndarray:
    """The largest size at each place, of what is finite."""
    return np.max([np.where(np.isfinite(gap), np.abs(gap), 0.0) for gap in gaps], axis=0)


def _without_jumps(first: np.ndarray, probes: list[np.ndarray], noise: np.ndarray, safety: float) -> np.ndarray:
    """The noise; where backward jumps only at this one place, the noise beside it.

    A backward that is wrong only at whole numbers jumps by the same amount however little its numbers move.  Rounding
    behaves in another way: its effect grows with the distance, or varies from probe to probe.
    """
    with np.errstate(invalid="ignore"):
        spread = np.max(probes, axis=0) - np.min(probes, axis=0)
        nearest = np.min([np.abs(probe - first) for probe in probes], axis=0)
        return np.where(spread < TOGETHER * nearest, safety * spread, noise)


def slices(part: Part, values: np.ndarray) -> np.ndarray:
    """The largest value of the slice in which each entry of (G, ...) lies."""
    values = np.where(np.isfinite(values), values, 0.0)
    inner = tuple(range(1, values.ndim))
    if part.time_axis is not None:
        others = tuple(axis for axis in inner if axis != part.time_axis + 1)
        return np.broadcast_to(values.max(axis=others, keepdims=True, initial=0.0), values.shape)
    if part.gates:
        largest = [
            np.broadcast_to(block.max(axis=inner, keepdims=True, initial=0.0), block.shape)
            for block in part.blocks(values)
        ]
        return np.concatenate(largest, axis=1 + part.gate_axis)
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
        numeric, error = _pair_or_sweep(subject, part, chosen, tol, noise)
    elif method == "complex":
        numeric = methods.complex_step(subject, part, chosen)
        error += methods.COMPLEX_UNDERFLOW
    else:
        numeric = methods.rtrl(subject, part, chosen)
    finding = _compare(subject, part, chosen, numeric, error, tol, noise)
    if method == "central":
        doubtful = np.flatnonzero(_doubtful(finding, chosen, error, tol))
        if doubtful.size:
            numeric[doubtful], error[doubtful] = differences.thorough(subject, part, chosen[doubtful])
            finding = _compare(subject, part, chosen, numeric, error, tol, noise)
        if _closer(subject, part, finding, chosen, numeric, error, tol):
            finding = _compare(subject, part, chosen, numeric, error, tol, noise)
    forgive_noise(subject, finding)
    second_look.excuse_saturation(
        subject,
        finding,
        lambda beside, there: entrywise(beside, there, method, tol, noise_of(beside, 0)[there.name], entries),
    )
    second_look.clear_structural_zeros(subject, finding, noise)
    _clear_passing_zeros(subject, finding, method, tol)
    judge_finding(subject, finding)
    if method == "complex" and np.isnan(numeric).any() and np.isfinite(finding.claimed).all():
        finding.verdict = "cannot tell"
    if (method == "central" or subject.narrow) and finding.verdict == "wrong":
        kinks.look_for_kinks(subject, finding)
    elif method == "central" and finding.verdict == "cannot tell" and kinks.hides_kinks(subject, finding):
        finding.verdict = "kink"
    if method in ("central", "complex") and finding.verdict == "ok":
        zero = _saturated(subject, finding, noise)
        kept = finding.hidden
        finding.hidden = kept | zero
        _clear_passing_zeros(subject, finding, method, tol)
        if finding.hidden.any():
            finding.verdict = "cannot tell"
        finding.hidden = kept
    return finding


def _clear_passing_zeros(subject: Subject, finding: Finding, method: str, tol: float) -> None:
    def redo(beside: Subject, there: Part, entries: np.ndarray) -> Finding:
        return entrywise(beside, there, method, tol, noise_of(beside, 0)[there.name], entries)

    second_look.clear_passing_zeros(subject, finding, tol, redo)


def _pair_or_sweep(
    subject: Subject, part: Part, chosen: np.ndarray, tol: float, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (n, G) and their bounds: one pair of evaluations for an entry that it settles, else three."""
    slopes, floors = differences.one_pair(subject, part, chosen)
    numeric, error = slopes.copy(), floors.copy()
    finding = _compare(subject, part, chosen, slopes, floors, tol, noise)
    lead = len(finding.claimed)
    scale, claimed = (one.reshape(lead, -1)[:, chosen].T for one in (finding.scale, finding.claimed))
    with np.errstate(invalid="ignore"):
        confirmed = np.abs(claimed - slopes) + floors <= CONFIRMED * tol * scale
    moved = (slopes != 0.0) | (floors != 0.0)
    hidden = ~moved[:, 0] & finding.hidden.reshape(-1)[chosen]  # a longer step may move it
    longer = np.flatnonzero(~confirmed.all(axis=1) | hidden)
    if longer.size:
        pair = slopes[longer], floors[longer]
        numeric[longer], error[longer] = differences.central(subject, part, chosen[longer], pair)
    return numeric, error


def _closer(
    subject: Subject,
    part: Part,
    finding: Finding,
    chosen: np.ndarray,
    numeric: np.ndarray,
    error: np.ndarray,
    tol: float,
) -> bool:
    """Look closer, and put the numbers in place, where the steps are to blame for what cannot be told, not rounding."""
    floor = differences.output_rounding(subject) / differences.ALL_STEPS[0]
    coarse = (~(error <= differences.FAR_BEYOND * floor)).any(axis=1)
    here = np.abs(subject.host(part).reshape(-1)[chosen].astype(np.float64))
    departs = finding.departs.reshape(len(finding.departs), -1)[:, chosen].any(axis=0)
    beyond = departs & (here > 0.0) & (here < differences.SHORTEST)  # every step was far longer than the number
    error[beyond] = np.inf
    places = np.flatnonzero((_doubtful(finding, chosen, error, tol) & coarse) | beyond)[:CLOSE_LOOKS]
    if places.size == 0 or subject.narrow:
        return False
    best, bound = differences.fine(subject, part, chosen[places])
    better = ~(error[places] <= bound)
    numeric[places] = np.where(better, best, numeric[places])
    error[places] = np.where(better, bound, error[places])
    return True


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
        allowed = tol * scale + bound + noise + underflow(subject) + subject.atol
        departs = ~(np.abs(claimed - values) <= allowed)  # "not <=" and never ">": a NaN must depart
    nothing = (claimed[0] == 0.0) & (values[0] == 0.0) & (noise == 0.0)  # no way leads there
    hidden = ((bound[0] + noise) > np.maximum(HIDDEN * scale[0], subject.atol)) & ~nothing
    return Finding(part, claimed, values, allowed, scale, departs, hidden)


def _doubtful(finding: Finding, chosen: np.ndarray, error: np.ndarray, tol: float) -> np.ndarray:
    """(n,) entries worth a longer sweep: hidden, or departing by no more than their own uncertainty explains.

    An entry that departs for certain in one group of outputs is wrong, whatever the others say.
    """
    lead = len(finding.claimed)
    gap = np.abs(finding.claimed - finding.numeric).reshape(lead, -1)[:, chosen].T
    departs = finding.departs.reshape(lead, -1)[:, chosen].T
    size = np.abs(finding.numeric).reshape(lead, -1)[:, chosen].T
    unsure = departs & ((gap < 1e3 * error) | (error > 1e-3 * size) | ~np.isfinite(gap))
    certain = (departs & ~unsure).any(axis=1)
    return np.asarray((unsure.any(axis=1) & ~certain) | finding.hidden.reshape(-1)[chosen])


def forgive_noise(subject: Subject, finding: Finding) -> None:
    """Measure backward's noise for the single groups that depart, where all outputs together do not.

    The noise of all outputs together is mostly that of the largest terms; a group that passes only through saturated
    gates may have much more noise than its size suggests.  And a value that backward computes again, such as the tanh
    of a saturated cell state, is off by a rounding of 1 when almost nothing is left of 1 - tanh^2.  So in slices twelve
    digits below the largest of their tensor, an error of less than half counts as rounding.
    """
    whole = tuple(range(1, finding.scale.ndim))
    tiny = finding.scale < 1e-12 * np.max(finding.scale, axis=whole, keepdims=True, initial=0.0)
    forgiven = finding.departs & tiny & (np.abs(finding.claimed - finding.numeric) <= 0.5 * finding.scale)
    finding.departs &= ~forgiven
    finding.hidden |= forgiven[0]
    if finding.departs[0].any():
        return
    for group in np.flatnonzero(finding.departs.reshape(len(finding.departs), -1).any(axis=1)):
        noise = noise_of(subject, 0, int(group))[finding.part.name]
        if finding.looks:
            stack = np.stack([look.values.reshape(-1) for look in finding.looks])
            noise = np.sqrt(stack**2 @ noise.reshape(-1) ** 2)
        gap = np.abs(finding.claimed[group] - finding.numeric[group])
        finding.departs[group] &= ~(gap <= finding.allowed[group] + noise)


def underflow(subject: Subject) -> float:
    """Smaller numbers than this lose digits, and then are 0."""
    return 1e3 * float(np.finfo(np.float32 if subject.narrow else np.float64).tiny)


def judge_finding(subject: Subject, finding: Finding) -> None:
    """Set the verdict that the numbers call for."""
    lost = ~np.isfinite(finding.numeric)
    if not np.isfinite(finding.claimed).all() or (lost.any() and not np.isfinite(subject.here()).all()):
        finding.verdict = "non-finite"
        return
    if lost.any():  # finite here, but every probe has left the domain of the function
        finding.departs &= ~lost
        finding.hidden |= lost.any(axis=0)
    if finding.departs.any():
        finding.verdict = "wrong"
    elif finding.hidden.any():
        finding.verdict = "cannot tell"


def _saturated(subject: Subject, finding: Finding, noise: np.ndarray) -> np.ndarray:
    """Where rounding hides a gradient that is 0 on both sides: 1 - sigmoid(40) is 4e-18, and rounds to 0."""
    zero = (noise == 0.0) & (finding.claimed[0] == 0) & (finding.numeric[0] == 0) & (finding.scale[0] == 0)
    places, part = np.flatnonzero(zero), finding.part
    hides = drowned(subject, part, places) and not second_look.nothing_depends(subject, part, places)
    return np.asarray(zero & hides)


def drowned(subject: Subject, part: Part, places: np.ndarray) -> bool:
    """Whether one of these entries with gradient 0 does move the outputs: far away, or by very little."""
    if places.size == 0 or subject.zeros_are_zeros:
        return False
    chosen = places[np.linspace(0, places.size - 1, min(ZEROS, places.size)).astype(int)]
    moves = [differences.first_movement(subject, part, int(place)) for place in chosen]
    if any(0.0 < moved < BEGINNING for moved in moves):
        return True
    still = chosen[[moved == 0.0 for moved in moves]]
    hints = methods.complex_step(subject, part, still) if still.size else np.zeros(0)
    return bool((np.nan_to_num(hints) != 0.0).any())
