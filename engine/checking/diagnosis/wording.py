"""The words of a row and of a diagnosis beside their numbers: which entries, in what pattern, why undecided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.checking.diagnosis.extent import extent
from engine.checking.diagnosis.pairs import Around
from engine.checking.diagnosis.patterns import pattern
from engine.checking.report.report import Diagnosis, Row
from engine.checking.subjects.subject import Subject
from engine.checking.subjects.surroundings import around, batch_axis
from engine.checking.verdicts.finding import Finding
from engine.checking.verdicts.judging import HIDDEN
from engine.checking.verdicts.linearity import DECAY

#: Patterns that a part of the outputs may show by chance, as most of the gradient is 0 there.
IN_PART = ("not 0 where", "all zero", "zero there")
MOVED = ("reversed", "shifted", "places ", "blocks ", "the right numbers in another order")


def worded(row: Row, finding: Finding, detail: Finding, subject: Subject, alone: bool = True) -> Row:
    """The row with its words.

    Parameters
    ----------
    finding : what the row was read from.
    alone : whether no other tensor is wrong.
    detail : of a method that looks along directions, the same tensor entry by entry where that is known.
    """
    if row.verdict == "ok" or finding.part.size == 0:
        return row
    cause = subject.causes.get(row.name, "")
    if cause.startswith("shape "):
        return replace(row, pattern=cause)
    entrywise = detail if row.verdict == "wrong" and not detail.looks and detail.departs.any() else finding
    if entrywise.looks:
        return replace(row, extent=_along(finding), pattern=cause, why=_why(finding, subject.causes.get("", "")))
    group = first_departing(entrywise)
    marked = _marked(entrywise, row.verdict, group)
    pair = (entrywise.claimed[group], entrywise.numeric[group])
    how = cause
    if row.verdict == "wrong":
        known = around(subject, entrywise.part, group)
        own = _pattern(entrywise, *pair, known if alone else replace(known, repeated={}), group)
        how = cause if cause.endswith(DECAY) else "; ".join(filter(None, (own, cause)))
    errors = entrywise.errors()[group]
    where = _extent(entrywise, marked, *pair, batch_axis(subject, entrywise.part))
    why, axis = _why(entrywise, subject.causes.get("", "")), entrywise.part.time_axis
    return replace(row, extent=where, pattern=how, why=why, time_axis=axis, errors=errors, marked=marked)


def with_pattern(diagnosis: Diagnosis, findings: list[Finding], subject: Subject, rows: tuple[Row, ...]) -> Diagnosis:
    """The diagnosis with the pattern of its gate block in its group, where neither a cause nor a row says it."""
    names = [group.name for group in subject.groups]
    finding = next((one for one in findings if one.part.name == diagnosis.name), None)
    if diagnosis.cause or finding is None or finding.looks or diagnosis.seen_in not in names:
        return diagnosis
    group, part = names.index(diagnosis.seen_in), finding.part
    claimed, numeric, departs = finding.claimed[group], finding.numeric[group], finding.departs[group]
    known = replace(around(subject, part, group), repeated={})
    if diagnosis.gate is None:
        words = _pattern(finding, claimed, numeric, known, group)
    else:
        k = part.gates.index(diagnosis.gate)
        block = [part.blocks(values)[k] for values in (claimed, numeric, departs)]
        words = pattern(block[0], block[1], block[2], Around(sizes=known.sizes, scalars=known.scalars))
    said = next((row.pattern for row in rows if row.name == diagnosis.name), "")
    if words.startswith(IN_PART) or (said and words.startswith(MOVED)) or any(words in row.pattern for row in rows):
        return diagnosis  # an early group has zeros where later steps would not
    return replace(diagnosis, pattern=words)


def first_departing(finding: Finding) -> int:
    """The first group in which something departs: all outputs together, if they show it."""
    found = finding.departs.reshape(len(finding.departs), -1).any(axis=1)
    return int(np.argmax(found)) if found.any() else 0


def _marked(finding: Finding, verdict: str, group: int) -> np.ndarray:
    """The entries that a verdict is about."""
    if verdict == "non-finite":
        lost = ~np.isfinite(finding.claimed[group])
        return lost if lost.any() else ~np.isfinite(finding.numeric[group])
    if verdict == "cannot tell" or not finding.departs.any():
        hidden = np.asarray(finding.hidden)
        return hidden if hidden.any() else _zeros(finding)
    return np.asarray(finding.departs[group])


def _zeros(finding: Finding) -> np.ndarray:
    return np.asarray((finding.claimed[0] == 0.0) & (finding.numeric[0] == 0.0))


def _extent(finding: Finding, marked: np.ndarray, claimed: np.ndarray, numeric: np.ndarray, batch: int | None) -> str:
    part, silent = finding.part, (claimed == 0.0) & (numeric == 0.0) & ~marked
    if finding.looked is not None:
        silent |= ~finding.looked
    words = extent(marked, silent, part.time_axis, batch)
    own = [gate for gate, block in zip(part.gates, part.blocks(marked), strict=False) if block.any()]
    if own and len(own) < len(part.gates):
        words += f" (gate{'s' * (len(own) > 1)} {', '.join(own)})"
    if words and finding.looked is not None:
        looked = f"{np.count_nonzero(finding.looked)} of {part.size}"
        words = f"{words.replace(' that is not 0', '')}, of the {looked} that were looked at"
    return words


def _pattern(finding: Finding, claimed: np.ndarray, numeric: np.ndarray, known: Around, group: int) -> str:
    departs = finding.departs[group]
    if finding.looked is None:
        return pattern(claimed, numeric, departs, known)
    places = finding.looked
    known = Around(sizes=known.sizes, scalars=known.scalars)
    return pattern(claimed[places], numeric[places], departs[places], known)


def _along(finding: Finding) -> str:
    if not finding.departs.any():
        return ""
    count = np.count_nonzero(finding.departs.any(axis=0))
    return f"along {count} of {len(finding.looks)} random directions"


def _why(finding: Finding, said: str) -> str:
    """Why a tensor stays undecided, as far as its own numbers show; empty if the reason concerns all tensors."""
    if said or finding.verdict not in ("cannot tell", "kink"):
        return ""
    if finding.verdict == "kink":
        return "the slopes on its two sides differ, and the claimed one lies between them"
    if finding.slope:
        return "the order of the remainder could not be measured above rounding"
    hidden = np.asarray(finding.hidden)
    claimed, numeric = finding.claimed[0][hidden], finding.numeric[0][hidden]
    if not hidden.any():
        return "" if np.isnan(finding.numeric).any() or not _zeros(finding).any() else (
            "0 on both sides there, but the outputs do move: what is left of the gradient has drowned in rounding"
        )  # fmt: skip
    if not np.isfinite(numeric).all():
        return "the function has no finite values around this place"
    allowed, scale = finding.allowed[0][hidden], finding.scale[0][hidden]
    if not claimed.any() and not numeric.any():
        return f"0 on both sides, known to within {allowed.max():.0e} only"
    unsure = float(np.max(allowed / np.maximum(scale, 1e-300)))
    if unsure <= HIDDEN:
        return "what departs there is so small beside the largest gradients that rounding may explain it"
    much = "more than the value itself" if unsure >= 1.0 else f"{unsure:.2g} of the value"
    return f"rounding and the method may be off by {much} there (at most {HIDDEN:.2g} of it would decide)"
