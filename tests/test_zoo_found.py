"""Every planted bug is caught by every method that claims to cover it, and the diagnosis says where it is."""

from __future__ import annotations

import functools

import pytest

import engine
from engine.checking.report import Report
from engine.checking.zoo import BUGS, Bug

METHODS = ("central", "complex", "rtrl", "directional", "adjoint", "taylor")
#: Forward mode is that of the whole sequence: truncated gradients are no affair of these.
WHOLE = ("rtrl", "adjoint")


@functools.cache
def report_of(name: str, method: str) -> Report:
    bug = BUGS[name]
    case = bug.case(0)
    with bug.plant():
        return engine.gradcheck(case.layer, case.x, case.state, case.lengths, method, truncation=case.truncation)


def covered(bug: Bug, method: str) -> bool:
    return method not in WHOLE or bug.case(0).truncation is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BUGS)
def test_it_is_caught(name: str, method: str) -> None:
    bug = BUGS[name]
    if not covered(bug, method):  # asked for all the same, it says so
        with pytest.raises(engine.InputError, match="forward mode"):
            report_of(name, method)
        return
    report = report_of(name, method)
    assert report.verdict in bug.verdicts, report
    assert not report.passed


@pytest.mark.parametrize("method", ["central", "adjoint"])
def test_the_diagnosis_names_place_and_time(method: str) -> None:
    """The issue's floor is 0.9; the zoo that it was written with does better."""
    asked = right = 0
    for name, bug in BUGS.items():
        if not covered(bug, method):
            continue
        report = report_of(name, method)
        if report.verdict != "wrong":
            continue
        asked += 1
        right += report.worst.name in bug.names and report.worst.gate in bug.gates
        assert report.diagnosis is not None
        if bug.time_step is not None:
            assert report.diagnosis.time_step == bug.time_step, report
    assert asked > 190
    assert right >= 0.97 * asked
