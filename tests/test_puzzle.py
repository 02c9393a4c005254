"""Puzzles: the picture shows what the answer says, nothing shown before gives it away, a guess is judged rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from commands import bptt, refused

from engine.classroom.puzzle import Guess, Puzzle, judge, make
from engine.classroom.puzzle.code_listing import changed_lines, listing
from engine.classroom.puzzle.gate_errors import analytic, cotangents, gate_errors, numeric
from engine.classroom.puzzle.puzzle import pool
from engine.classroom.puzzle.puzzle_picture import draw
from engine.classroom.puzzle.puzzle_text import answer_text, puzzle_data, puzzle_text
from engine.zoo import BUGS

#: One seed for each kind: a gate of an LSTM, dc, the loop in the middle, lengths, a GRU of two phases, an RNN.
SEEDS = {2: "o", 5: "none", 6: "none", 33: "i", 13: "r", 82: "none"}
ROUNDING, VISIBLE = 1e-7, 1e-2


def every_text(puzzle: Puzzle) -> str:
    """All that is shown before the answer: words, data, and the words in the picture."""
    from matplotlib.text import Text

    figure = draw(puzzle)
    drawn = "\n".join(text.get_text() for text in figure.findobj(Text))
    return "\n".join((puzzle_text(puzzle), json.dumps(puzzle_data(puzzle)), drawn))


def check_that_the_picture_shows_the_answer(puzzle: Puzzle) -> None:
    """From the end: every gate is right until the step of the answer, where the gates of the answer are wrong."""
    after = puzzle.errors[:, puzzle.step + 1 :]
    assert (after < ROUNDING).all()
    wrong = {gate for gate, error in zip(puzzle.gates, puzzle.errors[:, puzzle.step], strict=True) if error > VISIBLE}
    assert wrong
    assert set(puzzle.answers) - {"none"} <= wrong
    assert puzzle.answers
    assert len(wrong) > 1 or len(puzzle.gates) == 1 or puzzle.bug.gates & wrong


def check_that_nothing_gives_the_answer_away(puzzle: Puzzle) -> None:
    shown = every_text(puzzle)
    assert puzzle.report.diagnosis is not None
    for secret in (puzzle.bug.name, puzzle.bug.story, str(puzzle.report.diagnosis), "where:", "likely cause"):
        assert secret not in shown
    for row in puzzle.report.rows:
        assert not row.pattern or row.pattern not in shown
    answer = answer_text(puzzle)
    assert puzzle.bug.story in answer
    assert str(puzzle.report.diagnosis) in answer


@pytest.mark.parametrize("seed", SEEDS)
def test_a_puzzle_shows_its_answer_and_hides_its_name(seed: int) -> None:
    puzzle = make(seed)
    assert puzzle.report.verdict == "wrong"
    check_that_the_picture_shows_the_answer(puzzle)
    check_that_nothing_gives_the_answer_away(puzzle)
    right = judge(puzzle, Guess(SEEDS[seed], puzzle.step, puzzle.lines[0].number))
    assert right.complete


@pytest.mark.proof
@pytest.mark.parametrize("seed", sorted(set(range(len(pool()))) - set(SEEDS)))
def test_every_puzzle(seed: int) -> None:
    puzzle = make(seed)
    check_that_the_picture_shows_the_answer(puzzle)
    check_that_nothing_gives_the_answer_away(puzzle)


def test_seeds_meet_every_bug_before_one_comes_again() -> None:
    order = np.random.default_rng(2024).permutation(len(pool()))
    assert sorted(order.tolist()) == list(range(len(pool())))
    one, other = make(3), make(3 + len(pool()))
    assert one.bug is other.bug
    assert one.report.worst != other.report.worst  # the same bug, other numbers
    assert make(3, "rnn").cell == "rnn_tanh"
    assert len(pool()) == 90  # the number that `bptt puzzle --help` says


@pytest.mark.parametrize("name", ["lstm-o-sign", "gru-before-z-sign", "mask-not-on-dh"])
def test_differences_of_the_gates_are_right_without_a_bug(name: str) -> None:
    """The trace of the right code against differences; with lengths, and with two phases."""
    case = BUGS[name].case(4)
    dy, dlast = cotangents(case, 4)
    claimed, right = analytic(case, dy, dlast), numeric(case, dy, dlast)
    assert {values.shape for values in right.values()} == {(6, 3, 5)}
    assert (gate_errors(claimed, right) < ROUNDING).all()


def test_the_changed_lines_are_those_that_the_bug_changes() -> None:
    """Read independently: the lines of the listing that the text of the wrong function lacks."""
    for name in pool():
        plant: Any = BUGS[name].plant
        cell = BUGS[name].case(0).layer.cell.name
        changed = changed_lines(cell, plant)
        own = {line.part for line in changed}
        assert len(own) == 1, name
        was = {line.text.strip() for line in changed}
        assert all(any(edit.strip().splitlines()[0] in text for text in was) for edit, _ in plant.edits), name
        for line in changed:
            file = Path(__file__).parent.parent / line.file
            assert file.read_text(encoding="utf-8").splitlines()[line.file_line - 1].strip() == line.text.strip()


def test_the_listing_is_numbered_through_without_docstrings() -> None:
    lines = listing("gru_before")
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert [line.text for line in lines if line.text.lstrip().startswith('"""')] == []
    assert lines[0].text.startswith("def output_backward(")
    assert {line.part for line in lines} == {0, 1, 2, 3}


def test_wrong_guesses_get_a_word_that_helps() -> None:
    carried = make(5)  # dc is carried back without the forget gate: none, step 4, line 10
    for guess, words in {
        Guess(gate="o"): "was carried there",
        Guess(gate="i"): "no single gate has the fault",
        Guess(step=2): "met the bug before it came to step 2",
        Guess(step=5): "every gate is still right there",
        Guess(line=12): "it is the right function",
        Guess(line=40): "another function",
    }.items():
        judgement = judge(carried, guess)
        assert not judgement.right
        assert words in "".join(judgement.words.values())
    single = make(2)  # the output gate alone
    assert "not every gate is wrong" in judge(single, Guess(gate="none")).words["gate"]
    several = make(7)  # i, f and g are all wrong through dc
    assert "would be right too" in judge(several, Guess(gate="f")).words["gate"]
    half = judge(carried, Guess(gate="none", step=0))
    assert (half.right, half.complete, half.found) == (False, False, {"gate": True, "step": False})


def test_the_command_judges(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "puzzle.png"
    assert bptt("puzzle", "--seed", 5, "--plot", picture) == 0
    shown = capsys.readouterr().out
    assert picture.stat().st_size > 10_000
    assert "lstm-dc-without-f" not in shown
    assert "  10     dc_prev = dc * f" in shown
    assert bptt("puzzle", "--seed", 5, "--gate", "none", "--step", 4, "--line", 10) == 0
    assert bptt("puzzle", "--seed", 5, "--gate", "f") == 1
    capsys.readouterr()
    assert bptt("puzzle", "--seed", 5, "--step", 3, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["guess"]["right"], "answer" in found) == (False, False)
    assert bptt("puzzle", "--seed", 5, "--reveal", "--json") == 0
    answer = json.loads(capsys.readouterr().out)["answer"]
    assert (answer["bug"], answer["lines"], answer["step"]) == ("lstm-dc-without-f", [10], 4)
    assert bptt("puzzle", "--seed", 5, "--reveal") == 0
    assert "-    dc_prev = dc * f" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    {
        "--gate q": "--gate: expected one of i, f, g, o, none, got 'q'",
        "--step 6": "--step: expected a time step, 0 to 5, got 6",
        "--line 0": "--line: expected a line of the listing, 1 to ",
        "--seed -1": "--seed: expected an integer from 0",
        "--plot nowhere/x.png": "--plot: expected a file in a folder that exists",
        "--plot x.xyz": "--plot: expected a file name that ends in",
    }.items(),
)
def test_bad_guesses_are_refused(capsys: pytest.CaptureFixture[str], options: str, words: str) -> None:
    assert words in refused(capsys, "puzzle", *([] if "seed" in options else ["--seed", "5"]), *options.split())


@pytest.mark.parametrize(("answers", "code"), [("i 4 - none 4 10", 0), ("o x - o - - - - -", 1), ("- - -", 0)])
def test_in_a_terminal_guesses_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: str, code: int
) -> None:
    given = iter(answers.replace("-", "").split(" "))
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(given))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert bptt("puzzle", "--seed", 5) == code
    assert next(given, None) is None
    shown = capsys.readouterr().out
    assert "bptt puzzle --seed 5 --reveal" in shown
    assert ("step: expected a whole number, got x" in shown) == ("x" in answers)


def test_an_injected_bug_is_named_after_its_report(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "found.svg"
    assert bptt("gradcheck", "--inject", "lstm-o-sign", "--plot", picture) == 1
    out, err = capfd.readouterr()
    assert err.startswith("\nplanted: lstm-o-sign:")
    assert "planted" not in out
    assert "likely cause" not in picture.read_text()
