"""From findings to rows of a report."""

from __future__ import annotations

import numpy as np

from engine.checking.report.report import Departure, Row
from engine.checking.subjects.subject import Part, Subject
from engine.checking.verdicts.finding import Finding


def row(finding: Finding, seen: int | None = None) -> Row:
    """One tensor's row.

    Parameters
    ----------
    seen : the group of outputs that the diagnosis looked at.
    """
    part = finding.part
    errors = finding.errors()
    if finding.looks:
        return Row(part.name, part.shape, _along(finding, errors), finding.verdict)
    by_step: tuple[float, ...] = ()
    hidden: tuple[int, ...] = ()
    by_gate, by_gate_seen = {}, {}
    if part.time_axis is not None and part.size:
        over = np.moveaxis(errors, part.time_axis + 1, 0).reshape(part.shape[part.time_axis], -1)
        by_step = tuple(float(one) for one in over.max(axis=1))
        steps = np.moveaxis(finding.hidden, part.time_axis, 0).reshape(part.shape[part.time_axis], -1)
        hidden = tuple(int(t) for t in np.flatnonzero(steps.any(axis=1)))
    if part.gates and part.size:
        by_gate = {gate: float(one.max()) for gate, one in zip(part.gates, part.blocks(errors), strict=True)}
    if seen is not None and part.size:
        blocks = part.blocks(errors[seen])
        by_gate_seen = {gate: float(one.max()) for gate, one in zip(part.gates or ("",), blocks, strict=True)}
    return Row(part.name, part.shape, _entry(finding, errors), finding.verdict, by_step, by_gate, hidden, by_gate_seen)


def unread(subject: Subject) -> tuple[Row, ...]:
    """Rows of a subject that was not compared, because the function as a whole has a fault."""
    nan = float("nan")
    return tuple(
        Row(part.name, part.shape, Departure(part.name, None, None, (), nan, nan, nan), "not looked at")
        for part in subject.parts
    )


def _entry(finding: Finding, errors: np.ndarray) -> Departure:
    """The farthest entry; of a tensor that departs, at the last time step that does."""
    part = finding.part
    if part.size == 0:
        return Departure(part.name, None, None, (), 0.0, 0.0, 0.0)
    group = 0
    if finding.departs.any() and not finding.departs[0].any():
        group = int(np.argmax(finding.departs.reshape(len(errors), -1).any(axis=1)))
    ranked = errors[group].copy()
    if finding.verdict == "non-finite" and not np.isfinite(finding.claimed[group]).all():
        ranked[np.isfinite(finding.claimed[group])] = -1.0
    if finding.departs[group].any():
        ranked = np.where(finding.departs[group], ranked, -1.0)
        if part.time_axis is not None:
            steps = np.moveaxis(finding.departs[group], part.time_axis, 0).reshape(part.shape[part.time_axis], -1)
            last = int(np.flatnonzero(steps.any(axis=1))[-1])
            np.moveaxis(ranked, part.time_axis, 0)[np.arange(part.shape[part.time_axis]) != last] = -1.0
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(ranked)), ranked.shape))
    place = (group, *index)
    return Departure(
        part.name,
        gate_at(part, index),
        None if part.time_axis is None else index[part.time_axis],
        index,
        float(finding.claimed[place]),
        float(finding.numeric[place]),
        float(errors[place]),
    )


def _along(finding: Finding, errors: np.ndarray) -> Departure:
    part = finding.part
    ranked = np.where(finding.departs, errors + 1e-300, -1.0) if finding.departs.any() else errors
    group, number = divmod(int(np.argmax(ranked)), ranked.shape[1])
    if not finding.departs.any():
        group, number = 0, int(np.argmax(errors[0]))
    look = finding.looks[number]
    return Departure(
        part.name,
        look.gate,
        None if look.steps is None else look.steps[1] - 1,
        (),
        float(finding.claimed[group, number]),
        float(finding.numeric[group, number]),
        float(errors[group, number]),
    )


def gate_at(part: Part, index: tuple[int, ...]) -> str | None:
    """The gate block that an entry stands in."""
    axis = part.gate_axis
    return part.gates[index[axis] * len(part.gates) // part.shape[axis]] if part.gates else None
