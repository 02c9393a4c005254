"""From a subject to a report: compare its claimed gradients with a second opinion, and diagnose those that depart."""

from __future__ import annotations

import numpy as np

from engine.checking.diagnosis import wording
from engine.checking.diagnosis.causes import diagnose
from engine.checking.options import Options
from engine.checking.oracles import methods
from engine.checking.oracles.chosen_entries import choose
from engine.checking.report.report import Report
from engine.checking.report.rows import row, unread
from engine.checking.subjects.subject import Subject
from engine.checking.verdicts import judging, linearity
from engine.checking.verdicts.closeness import same
from engine.checking.verdicts.finding import Finding
from engine.checking.verdicts.locating import entries_of
from engine.checking.verdicts.looking import ENTRYWISE, coverage, look_at_all

#: A diagnosis looks at every entry; beyond so many at some of them.
DIAGNOSED = 6000


def report_on(subject: Subject, options: Options) -> Report:
    """Check a subject, and restore everything that was given."""
    subject.atol = options.atol
    try:
        return _compare(subject, options)
    finally:
        subject.put_back()


@np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")  # probes may leave a function's domain
def _compare(subject: Subject, options: Options) -> Report:
    """Compare a subject's claims with a second opinion."""
    method, seed, tol = options.method, options.seed, options.tolerance(subject.narrow)
    _evaluate_twice(subject)
    findings = []
    if not subject.trouble:
        noise = judging.noise_of(subject, seed)
        linearity.check_linearity(subject, noise)
        reach = methods.complex_reach(subject, seed) if method == "complex" else ""
        findings = look_at_all(subject, method, seed, tol, noise, options.entries, options.clock)
        for finding in findings:
            if reach and finding.verdict != "non-finite":
                finding.verdict, subject.causes[""] = "cannot tell", reach
        _evaluate_twice(subject)  # a state that leaks from one evaluation into the next shows by now
    for finding in findings:
        if finding.part.name in subject.causes:
            finding.verdict = "wrong"
    if findings and not subject.trouble and not subject.mutated and linearity.spoils_cache(subject, noise):
        subject.mutated = linearity.SPOILS
    diagnosis, detailed = None, findings
    if not subject.trouble and any(finding.verdict == "wrong" for finding in findings):
        if method not in ENTRYWISE and options.clock.seconds is None:
            detailed = _closer(subject, findings, min(tol, 1e-6), noise, seed)
        diagnosis = diagnose(subject, detailed if any(f.departs.any() for f in detailed) else findings)
    names = [group.name for group in subject.groups]
    seen = names.index(diagnosis.seen_in) if diagnosis is not None and diagnosis.seen_in in names else None
    alone = sum(finding.verdict == "wrong" for finding in findings) == 1
    rows = tuple(
        wording.worded(row(finding, seen), finding, detail, subject, alone)
        for finding, detail in zip(findings, detailed, strict=True)
    ) or unread(subject)
    if diagnosis is not None:
        diagnosis = wording.with_pattern(diagnosis, detailed, subject, rows)
    trouble, cause, notes = subject.trouble, subject.causes.get("", ""), list(subject.notes)
    if subject.mutated and not trouble:
        if "mutation" in options.allow or any(finding.verdict == "wrong" for finding in findings):
            notes.insert(0, subject.mutated)
        else:
            trouble, cause = "input mutated", subject.mutated
    covered = coverage(findings)
    if covered:
        notes.append(f"covered {covered}")
    return Report(rows, tol, method, trouble, diagnosis, cause, tuple(subject.warnings), tuple(notes))


def _closer(
    subject: Subject, findings: list[Finding], tol: float, noise: dict[str, np.ndarray], seed: int
) -> list[Finding]:
    """What was found along directions, entry by entry: every one, or those of a large tensor that tell most."""
    closer = "complex" if subject.can_copy else "central"
    if sum(part.size for part in subject.parts) > DIAGNOSED:
        return entries_of(subject, findings, tol, noise, closer, seed)
    return [
        judging.entrywise(subject, part, closer, tol, noise[part.name], choose(part, None, seed))
        for part in subject.parts
    ]


def _evaluate_twice(subject: Subject) -> None:
    again = subject.evaluate({})
    to_host = subject.backend.to_host
    pairs = list(zip(subject.outputs, again, strict=False))
    if len(again) != len(subject.outputs) or not all(same(to_host(a), to_host(b)) for a, b in pairs):
        if not subject.trouble:
            subject.trouble = "non-deterministic"
            subject.causes[""] = "two evaluations of forward at the same place differ"
