"""Distinguish kinks from errors.

At a kink the slopes to the left and to the right differ, and a difference across it gives neither of them.  Code that
returns one of the two is right.
"""

from __future__ import annotations

import numpy as np

from engine.checking.oracles import differences, methods
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts.finding import Finding

#: More departing entries than this are no kinks, and are not looked at one by one.
KINKS = 400
#: How many times the jumps of the outputs may be those of the units behind them.
CANCEL = 8.0


def look_for_kinks(subject: Subject, finding: Finding) -> None:
    """Distinguish a kink from an error by the slopes to the left and to the right of the entries that depart.

    If the two differ and the claimed slope lies between them, the entry is at a kink.  If they agree with each other
    and with the claim, a kink lies close by, and all steps of the sweep except the shortest have crossed it.
    """
    part = finding.part
    lead = len(finding.claimed)
    places = np.flatnonzero(finding.departs.reshape(lead, -1).any(axis=0))
    if places.size > KINKS or part.dtype != np.float64:
        return
    departs, claimed, numeric, allowed = (
        values.reshape(lead, -1)[:, places].T
        for values in (finding.departs, finding.claimed, finding.numeric, finding.allowed)
    )
    near = reach(subject)
    left, right = differences.one_sided(subject, part, places, near)
    left_far, right_far = differences.one_sided(subject, part, places, 128.0 * near)
    rounding = 4.0 * differences.output_rounding(subject) / near
    slack = allowed + rounding
    # where a function is smooth the two slopes differ by the step times its bend
    jump = np.abs(left - right) > np.maximum(rounding, 0.25 * np.abs(left_far - right_far))
    between = (np.minimum(left, right) - slack <= claimed) & (claimed <= np.maximum(left, right) + slack)
    middle = 0.5 * (left + right)
    close_by = ~jump & (np.abs(claimed - middle) <= slack) & (np.abs(numeric - middle) > 4.0 * slack)
    finding.numeric.reshape(lead, -1)[:, places] = np.where(close_by, middle, numeric).T
    finding.departs.reshape(lead, -1)[:, places] = (departs & ~close_by).T
    if not finding.departs.any():
        finding.verdict = "cannot tell" if finding.hidden.any() else "ok"
    elif (jump & between)[departs & ~close_by].all():
        finding.verdict = "kink"
    elif (jump & _within(claimed, left, right, slack))[departs & ~close_by].all() and _right_beside(subject, part):
        finding.verdict = "kink"  # of several at once, whose slopes need not lie between those of all together


def hides_kinks(subject: Subject, finding: Finding) -> bool:
    """Whether every entry that noise hides stands at a kink: there, a rounding more or less decides between slopes."""
    places = np.flatnonzero(finding.hidden)
    if places.size > KINKS or finding.part.dtype != np.float64:
        return False
    near = reach(subject)
    left, right = (slope[:, 0] for slope in differences.one_sided(subject, finding.part, places, near))
    left_far, right_far = (slope[:, 0] for slope in differences.one_sided(subject, finding.part, places, 128.0 * near))
    rounding = 4.0 * differences.output_rounding(subject)[0] / near
    claimed = finding.claimed[0].reshape(-1)[places]
    jump = np.abs(left - right) > np.maximum(rounding, 0.25 * np.abs(left_far - right_far))
    between = (np.minimum(left, right) - rounding <= claimed) & (claimed <= np.maximum(left, right) + rounding)
    return bool((jump & between).all())


def _within(claimed: np.ndarray, left: np.ndarray, right: np.ndarray, slack: np.ndarray | float) -> np.ndarray:
    """Whether a claim is no larger than what the slopes of several kinks at once could add up to."""
    return np.asarray(np.abs(claimed) <= np.abs(left) + np.abs(right) + slack)


def _right_beside(subject: Subject, part: Part) -> bool:
    """Whether the same gradient is right a little way off, where there is no kink."""
    beside = subject.off_kinks()
    if beside is None:
        return True  # nothing speaks against it
    there = next(one for one in beside.parts if one.name == part.name)
    entries = np.arange(there.size)
    numeric, error = differences.thorough(beside, there, entries)
    claimed = beside.claimed[part.name].reshape(len(beside.groups), -1).T
    size = np.max(np.abs(numeric), axis=0, initial=0.0)
    precision = 1e-2 if subject.narrow else 1e-6
    return bool((np.abs(claimed - numeric) <= error + precision * size).all())


def all_cross_one(subject: Subject, finding: Finding) -> bool:
    """Whether kinks right here explain every direction that departs, or, where none does, that is hidden."""
    departs = np.asarray(finding.departs.any(axis=0))
    places = departs if departs.any() else np.asarray(finding.hidden)
    groups = finding.departs[:, places] if departs.any() else (np.arange(len(finding.departs)) == 0)[:, None]
    chosen = [look for look, taken in zip(finding.looks, places, strict=True) if taken]
    near = reach(subject)
    if not chosen:
        return False
    explained = [_explained(subject, finding.part, chosen, step, not departs.any()) for step in (near, 16.0 * near)]
    return bool((np.logical_or(*explained) | ~groups.T).all())


def _explained(subject: Subject, part: Part, looks: list[methods.Direction], near: float, steady: bool) -> np.ndarray:
    """(n, G) whether outputs cross kinks within a step, and the claim lies among the slopes on their sides.

    A direction through a whole tensor crosses many kinks at once, and under a random weighting their jumps may cancel.
    So the jump of each output is measured by itself, and a claim may be off the middle by several times the sum of the
    jumps, because in a net of two layers the jumps of one output cancel as well.  The check at a place nearby keeps
    wrong code out.  `steady` requires slopes that stay the same farther off: in chaos they differ everywhere.
    """
    stack = np.stack([look.values for look in looks])
    left, right = differences.one_sided_along(subject, part, stack, near)
    left_far, right_far = differences.one_sided_along(subject, part, stack, 128.0 * near)
    rounding = 4.0 * differences.ROUNDINGS * subject.output_noise() / near
    jump = np.abs(left - right)
    jump = np.where(jump > np.maximum(rounding, 0.25 * np.abs(left_far - right_far)), jump, 0.0)
    if steady:
        change = np.maximum(np.abs(left - left_far), np.abs(right - right_far))
        jump = np.where(change <= 0.25 * jump, jump, 0.0)
    jumps = jump @ np.abs(subject.weights.T)
    middle = 0.5 * (left + right) @ subject.weights.T
    claimed, _ = methods.claimed_along(subject, part, looks)
    slack = 4.0 * differences.output_rounding(subject) / near
    return np.asarray((jumps > 0.0) & (np.abs(claimed - middle) <= CANCEL * jumps + slack))


def reach(subject: Subject) -> float:
    """The step to both sides; in float32 a kink has an effect as far away as rounding reaches."""
    return differences.SHORTEST * (256.0 if subject.narrow else 1.0)
