"""Random wrong calls into every public function: each is refused in one sentence, or was right after all."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import wrong_calls.catalogue  # noqa: F401  (fills the catalogue)
from builders import KERNELS
from wrong_calls import command_lines
from wrong_calls.calls import CATALOGUE, Call, Place, call
from wrong_calls.domains import whole
from wrong_calls.drawing import examples
from wrong_calls.judge import FAILED, REFUSED, RIGHT, Example, judge
from wrong_calls.places import prepare

import engine
from engine import data, training

TESTS = Path(__file__).parent
#: Names that are no functions to be called wrongly: errors, records, and what takes no argument.
WITHOUT_ARGUMENTS = {
    "EngineError",
    "InputError",
    "InputTypeError",
    "Ledger",
    "Trace",
    "ledger",
    "available_backends",
    "cells",
    "get_num_threads",
    "builtin_text",
    "Callback",
    "Checkpoint",
    "History",
    "Search",
    "Outcome",
    "Parts",
    "Packing",
    "PartWindows",
    "WindowBatch",
    "TextBatch",
    "Score",
    "Series",
    "Scaler",
    "Table",
    "Windows",
}


@pytest.fixture(scope="module", params=KERNELS)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return prepare(tmp_path_factory.mktemp("wrong_calls") / "files", f"numpy:{request.param}")


@pytest.fixture
def place(prepared: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(prepared.folder / "scratch")  # some wrong values are good file names
    return prepared


def test_wrong_calls_are_refused_in_one_sentence(place: Place) -> None:
    @hypothesis.settings(max_examples=200, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(examples(place))
    def check(example: Example) -> None:
        outcome = judge(example, place)
        assert outcome.verdict in (REFUSED, RIGHT), outcome.why

    check()


def test_wrong_command_lines_end_in_one_line(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "files", "numpy:reference")

    @hypothesis.settings(max_examples=20, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(command_lines.lines())
    def check(line: command_lines.Line) -> None:
        hypothesis.assume(not command_lines.is_long(line))
        ending = command_lines.make(line, folder)
        assert ending.fault == "", ending

    check()


def test_every_public_name_is_called() -> None:
    called = {name.partition(" ")[0].partition(".")[0].partition("(")[0] for name in CATALOGUE}
    called |= {name.partition(" ")[0].rpartition(".")[2] for name in CATALOGUE}
    public = {*engine.__all__, *data.__all__, *training.__all__}
    assert public - called - WITHOUT_ARGUMENTS == set()
    assert WITHOUT_ARGUMENTS - public == set()


def warns(count: Any) -> int:
    warnings.warn("something", RuntimeWarning, stacklevel=1)
    return 1


def speaks_otherwise(count: Any) -> int:
    raise engine.InputError(f"count is bad: {count}")


CAREFUL = engine.data.shuffled_order


@pytest.mark.parametrize(
    ("function", "value", "verdict"),
    [
        (lambda count: CAREFUL(count, 0, 0), "'2'", REFUSED),
        (lambda count: CAREFUL(count, 0, 0), "int64", RIGHT),
        (lambda count: [1] * int(count), "'2'", FAILED),  # accepts what is wrong
        (lambda count: [1] * count, "None", FAILED),  # Python's own words
        (lambda count: np.full(2, count).dtype.kind, "bool_", FAILED),
        (lambda count: type(count).__name__, "subclass of int", FAILED),  # another result than for a plain int
        (speaks_otherwise, "None", FAILED),
        (warns, "2", FAILED),
    ],
)
def test_the_judge_tells_right_from_wrong(
    function: Callable[[Any], Any], value: str, verdict: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(place: Place) -> Call:
        return call(lambda count: function(count), count=(3, whole(0)))

    monkeypatch.setitem(CATALOGUE, "a function", build)
    outcome = judge(Example("a function", {"count": ("pool", value)}), Place("numpy:reference", tmp_path))
    assert outcome.verdict == verdict, outcome.why


@pytest.mark.proof
@pytest.mark.parametrize("kernels", KERNELS)
def test_three_thousand_wrong_calls(kernels: str) -> None:
    command = [sys.executable, "-m", "wrong_calls", "--backend", f"numpy:{kernels}", "--count", "3000", "--seed", "1"]
    environment = {"PYTHONPATH": f"{TESTS.parent}:{TESTS}", "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
