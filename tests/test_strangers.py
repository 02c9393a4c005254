"""Code as strangers write it: right code passes, a bug is found, and the report says where; the whole is a proof."""

from __future__ import annotations

import pytest

from benchmarks.checker.strangers.__main__ import is_placed
from benchmarks.checker.strangers.stranger import Stranger, strangers

STRANGERS = strangers()


def test_there_are_many_each_with_four_bugs() -> None:
    assert len(STRANGERS) >= 30
    assert all(len(one.bugs) >= 4 for one in STRANGERS)
    assert sorted(one.glue_lines for one in STRANGERS)[len(STRANGERS) // 2] <= 3


@pytest.mark.parametrize(("place", "one"), list(enumerate(STRANGERS)), ids=[one.name for one in STRANGERS])
def test_right_code_passes_and_a_bug_is_placed(place: int, one: Stranger) -> None:
    report = one.check()
    assert report.passed, report
    bug = one.bugs[place % 4]
    spoilt = one.check(bug)
    assert is_placed(spoilt, bug), f"{bug}\n{spoilt}"


@pytest.mark.proof
@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
@pytest.mark.parametrize("one", STRANGERS, ids=[one.name for one in STRANGERS])
def test_every_bug_by_several_methods_and_seeds(one: Stranger, method: str) -> None:
    for seed in range(2):
        assert one.check(None, seed, method).passed
        for bug in one.bugs:
            assert not one.check(bug, seed, method).passed, bug
