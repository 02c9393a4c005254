"""The second zoo: its truths are true, right code passes, and every bug is found.

What is true is read off the right gradients and the wrong ones: no checker has a say in it.
"""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from benchmarks.checker import second_zoo
from benchmarks.checker.second_zoo import BUGS
from benchmarks.checker.second_zoo_bug import Gradients, SecondBug
from engine.zoo import BUGS as FIRST
from engine.zoo import CAUSES

#: A difference that is no round-off.
DEPARTS = 1e-10
#: How wrong a bug is at least, somewhere; and the few that are small on purpose.
WRONG, SMALL = 1e-4, 1e-6
SMALL_BUGS = {"pair-norm-epsilon-forgotten", "method-lstm-small-weight-decay-left-in"}
VERDICTS = {"wrong", "input mutated", "non-deterministic"}
every_bug = pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
#: `make test` looks for every third bug, of every kind and verdict; `make test-proof` for the others too.
every_third_bug = pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=[] if k % 3 == 1 else [pytest.mark.proof]) for k, bug in enumerate(BUGS.values())],
    ids=BUGS,
)


@functools.cache
def departures(bug: SecondBug) -> tuple[dict[str, float], Gradients]:
    """The largest relative error by tensor, in either pass; and how far off the first pass is."""
    found: dict[str, float] = {}
    rights, wrongs = bug.walks(False, 0), bug.walks(True, 0)
    for right, wrong in zip(rights, wrongs, strict=True):
        assert right.keys() == wrong.keys()
        for name, truth in right.items():
            error = float(np.abs(wrong[name] - truth).max() / np.abs(truth).max())
            if not error <= DEPARTS:
                found[name] = max(error, found.get(name, 0.0))
    return found, {name: np.abs(wrongs[0][name] - truth) / np.abs(truth).max() for name, truth in rights[0].items()}


def test_there_are_many_of_every_kind_and_none_is_in_the_first_zoo() -> None:
    kinds = [bug.kind for bug in BUGS.values()]
    assert all(kinds.count(kind) >= 15 for kind in second_zoo.BUG_KINDS)
    assert len(kinds) == len(BUGS) == len({bug.story for bug in BUGS.values()})
    assert not BUGS.keys() & FIRST.keys()
    for bug in BUGS.values():
        assert bug.story.endswith(".")
        assert bug.cause is None or bug.cause in CAUSES
        assert bug.verdicts <= VERDICTS


def check_that_what_is_named_is_wrong(bug: SecondBug) -> None:
    found, _ = departures(bug)
    assert bug.names
    assert bug.names <= found.keys(), f"right all the same: {sorted(bug.names - found.keys())}"
    assert max(found.values()) >= (SMALL if bug.name in SMALL_BUGS else WRONG)


def check_that_the_time_step_is_the_first_that_departs(bug: SecondBug) -> None:
    _, gaps = departures(bug)
    axis = bug.time_axis
    found = None
    if axis is not None and bug.x in gaps:
        others = tuple(k for k in range(gaps[bug.x].ndim) if k != axis)
        steps = np.flatnonzero(~(gaps[bug.x].max(axis=others) <= DEPARTS))
        found = int(steps.max()) if steps.size else None
    assert found == bug.time_step


@every_bug
def test_a_bug_is_what_it_says_and_right_code_passes(bug: SecondBug) -> None:
    check_that_what_is_named_is_wrong(bug)
    check_that_the_time_step_is_the_first_that_departs(bug)
    report = bug.right("central", 0)
    assert report.passed, report


@every_third_bug
def test_the_bug_is_found(bug: SecondBug) -> None:
    report = bug.check("central", 0)
    assert second_zoo.judge(bug, report)["caught"], report


def test_the_table_counts_and_names_what_was_misread(capsys: pytest.CaptureFixture[str]) -> None:
    assert second_zoo.main(["--kind", "pair", "--method", "complex"]) == 0
    assert capsys.readouterr().out.startswith("kind    method              bugs      caught")
    assert second_zoo.main(["--kind", "pair", "--method", "complex", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["bugs"] == row["caught"] == row["time step"]
    assert row["right code"] == row["passed"]
    assert row["bugs"] - row["diagnosis"] == len(row["notes"])
