"""Every planted bug is caught by every method that claims to cover it, and the diagnosis says where it is.

`make test` tries a sample of the bugs and methods, `make test-proof` every bug by every method.
"""

from __future__ import annotations

import functools
from types import ModuleType

import pytest

import engine
from engine import zoo
from engine.checking.report.report import Report
from engine.zoo import BUGS, Bug

METHODS = ("central", "complex", "rtrl", "directional", "adjoint", "taylor")
#: Forward mode is that of the whole sequence: truncated gradients are no affair of these.
WHOLE = ("rtrl", "adjoint")
FAMILIES = {family.__name__.rpartition(".")[2]: family for family in zoo._FAMILIES}
#: In each family every method on a bug of its own; they begin where all causes and verdicts are among them.
SAMPLE = [
    (family.BUGS[(24 + k * (len(family.BUGS) // len(METHODS))) % len(family.BUGS)].name, method)
    for family in FAMILIES.values()
    for k, method in enumerate(METHODS)
]


@functools.cache
def report_of(name: str, method: str) -> Report:
    bug = BUGS[name]
    case = bug.case(0)
    with bug.plant():
        return engine.gradcheck(case.layer, case.x, case.state, case.lengths, method, truncation=case.truncation)


def covered(bug: Bug, method: str) -> bool:
    return method not in WHOLE or bug.case(0).truncation is None


def check_that_it_is_caught(name: str, method: str) -> None:
    bug = BUGS[name]
    if not covered(bug, method):  # asked for all the same, it says so
        with pytest.raises(engine.InputError, match="forward mode"):
            report_of(name, method)
        return
    report = report_of(name, method)
    assert report.verdict in bug.verdicts, report
    assert not report.passed
    if report.verdict == "wrong" and method in ("central", "adjoint"):
        assert report.diagnosis is not None
        assert bug.time_step in (None, report.diagnosis.time_step), report


def test_the_sample_has_every_method_in_every_family_every_cause_and_every_verdict() -> None:
    chosen = {BUGS[name] for name, _ in SAMPLE}
    assert {bug.cause for bug in chosen} == {bug.cause for bug in BUGS.values()}
    assert {bug.verdicts for bug in chosen} == {bug.verdicts for bug in BUGS.values()}
    for family in FAMILIES.values():
        assert {method for name, method in SAMPLE if BUGS[name] in family.BUGS} == set(METHODS)


@pytest.mark.parametrize(("name", "method"), SAMPLE)
def test_a_sample_is_caught(name: str, method: str) -> None:
    check_that_it_is_caught(name, method)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_bug_is_caught(family: ModuleType, method: str) -> None:
    for bug in family.BUGS:
        check_that_it_is_caught(bug.name, method)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("method", ["central", "adjoint"])
def test_the_diagnosis_names_the_place(method: str) -> None:
    """The issue's floor is 0.9; the zoo that it was written with does better."""
    reports = [(bug, report_of(bug.name, method)) for bug in BUGS.values() if covered(bug, method)]
    reports = [(bug, report) for bug, report in reports if report.verdict == "wrong"]
    assert len(reports) > 190
    right = [report.worst.name in bug.names and report.worst.gate in bug.gates for bug, report in reports]
    assert sum(right) >= 0.97 * len(right)
