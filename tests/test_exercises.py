"""Exercises: right solutions of any style pass, wrong ones fail with a word that helps, nothing can be cheated."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import bptt, refused
from student_files import ROOT, SOLUTIONS, judged, said, sampled

from engine.classroom.exercises.catalogue import EXERCISES
from engine.classroom.exercises.checking_in import Result, as_results, check_in, points
from engine.classroom.exercises.handing_out import hand_out, texts

STYLES = sorted(path.stem for path in (ROOT / "tests" / "other_styles").glob("[a-z]*.py"))

# -- right and wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sampled(EXERCISES, {"numeric_gradient", "lstm", "gru", "softmax_loss", "attention"}))
def test_solutions_are_right(name: str) -> None:
    result = check_in(SOLUTIONS / f"{name}.py", seed=7)
    assert (result.passed, said(result)) == (True, "".join("\n" for _ in result.outcomes[1:]))
    assert result.points == result.most >= 10


@pytest.mark.parametrize("name", sampled(STYLES, {"rnn_step", "truncated_bptt"}))
def test_right_solutions_in_another_style_pass(name: str) -> None:
    result = check_in(ROOT / "tests" / "other_styles" / f"{name}.py")
    assert result.passed, said(result)


STEP = "import numpy as np\ndef clip_by_norm(gradients, max_norm):\n    "


@pytest.mark.parametrize(
    ("body", "words"),
    {
        "pass": "must return a tuple of 2; it returned None",
        "return gradients": "must return a tuple of 2; it returned 3 values",
        "return [np.zeros(5)] * 3, sum((g**2).sum() for g in gradients) ** 0.5": "shape (5,) in place of (3, 2)",
        "return 'right', 1.0": "must return a tuple of 3",
        "return [{1} for _ in gradients], 1.0": "must return arrays and numbers; it returned a set",
        "return [None] * len(gradients), sum((g**2).sum() for g in gradients)**0.5": "clipped[0] is None",
        "gradients[0] *= 0.5; return gradients, gradients[0][7, 7]": "ended with IndexError",
    }.items(),
)
def test_answers_of_a_wrong_form_are_told(tmp_path: Path, body: str, words: str) -> None:
    assert words in said(judged(tmp_path, "clip_by_norm", STEP + body + "\n"))


# -- the student's process ---------------------------------------------------------------------------------------------

CHEATS = {
    "prints a score": ("print('{\"score\": 10}'); return gradients", "it returned 3 values"),
    "sys.exit": ("import sys; sys.exit(0)", "ended with SystemExit: 0 (line 3)"),
    "os._exit": ("import os; os._exit(0)", "the process ended while it ran"),
    "writes a file": ("open(PATH, 'w').write('')", "an exercise may not write files"),
    "removes a file": ("import os; os.remove(PATH)", "an exercise may not do this (os.remove)"),
    "starts a process": ("import os; os.system('echo')", "an exercise may not do this (os.system)"),
    "imports the answers": ("import engine", "engine may not be used here"),
    "reads the answers": ("open(HIDDEN).read()", "may not read the files of bptt-engine"),
    "kills the judge": ("import os; os.kill(os.getppid(), 9)", "an exercise may not do this (os.kill)"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_students_code_cannot_reach_beyond_its_functions(tmp_path: Path, cheat: str) -> None:
    body, words = CHEATS[cheat]
    precious = tmp_path / "precious.txt"
    precious.write_text("work of a term", encoding="utf-8")
    hidden = ROOT / "engine" / "classroom" / "exercises" / "hidden" / "single_functions.py"
    text = (
        f"PATH, HIDDEN = {str(precious)!r}, {str(hidden)!r}\n" + STEP.removeprefix("import numpy as np\n") + body + "\n"
    )
    result = judged(tmp_path, "clip_by_norm", text)
    assert result.points == 0
    assert words in said(result)
    assert precious.read_text(encoding="utf-8") == "work of a term"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_by_norm.py", "precious.txt"]


def test_an_endless_loop_ends_with_the_time(tmp_path: Path) -> None:
    result = judged(tmp_path, "clip_by_norm", STEP + "while True: pass\n", seconds=2.0)
    assert result.points == 0
    assert "is there a loop that does not end?" in said(result)


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "import sys\nsys.exit(0)\n": "ended with SystemExit: 0 (line 2)",
        "def clip_by_norm(:\n": "ended with SyntaxError: invalid syntax",
        "x = 1\n": "clip_by_norm is not in clip_by_norm.py: keep the names of the functions",
        "import torch\n": "torch may not be used here",
    }.items(),
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str, words: str) -> None:
    result = judged(tmp_path, "clip_by_norm", text)
    assert (result.points, result.most) == (0, 10)
    assert words in said(result)


# -- handing out -------------------------------------------------------------------------------------------------------


@pytest.mark.proof
def test_visible_tests_pass_for_solutions_and_fail_for_empty_sheets(tmp_path: Path) -> None:
    """As a student runs them: in the folder, with pytest."""
    solved, empty = tmp_path / "solved", tmp_path / "empty"
    for name in EXERCISES:
        hand_out(name, solved)
        hand_out(name, empty)
        (solved / f"{name}.py").write_text((SOLUTIONS / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    codes = []
    for folder in (solved, empty):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "."]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        codes.append(done.returncode)
    assert codes == [0, 1], done.stdout
    assert " passed" not in done.stdout.splitlines()[-1]
    assert "NotImplementedError" in done.stdout


@pytest.mark.parametrize("name", EXERCISES)
def test_a_sheet_has_the_task_and_nothing_of_the_answer(name: str) -> None:
    sheet, tests = texts(name).values()
    assert compile(sheet, name, "exec")
    assert compile(tests, name, "exec")
    holes = sheet.count("    raise NotImplementedError\n")
    assert holes == sheet.count("\ndef ") >= 1
    assert max(map(len, (sheet + tests).splitlines())) <= 120
    assert "{common}" not in sheet
    assert "Returns\n" in sheet
    assert "hidden" not in tests
    solution = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    body = [line.strip() for line in solution.splitlines() if line.startswith("    ") and len(line.strip()) > 30]
    assert [line for line in body if line in sheet] == []


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("exercise", "new", "rnn", "--out", tmp_path / "work") == 0
    work = tmp_path / "work" / "rnn.py"
    work.write_text("mine\n", encoding="utf-8")
    assert "it is never overwritten" in refused(capsys, "exercise", "new", "rnn", "--out", tmp_path / "work")
    assert work.read_text(encoding="utf-8") == "mine\n"
    assert "did you mean lstm_step?" in refused(capsys, "exercise", "new", "lstm_stp")
    (tmp_path / "file").touch()
    refused(capsys, "exercise", "new", "rnn", "--out", tmp_path / "file", code=1)


# -- results -----------------------------------------------------------------------------------------------------------


def test_the_command_judges_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("clip_by_norm", "embedding"):
        hand_out(name, tmp_path)
    (tmp_path / "embedding.py").write_text((SOLUTIONS / "embedding.py").read_text(encoding="utf-8"), encoding="utf-8")
    assert bptt("exercise", "check", tmp_path) == 1
    shown = capsys.readouterr().out
    assert "embedding: 10 of 10 points" in shown
    assert "clip_by_norm: 0 of 10 points" in shown
    assert "10 of 20 points" in shown
    assert shown.count("clip_by_norm is not written yet") == 1
    assert shown.count("as above") == 4  # the other tests of clip_by_norm, and none that passed
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (results["score"], results["max_score"]) == (10, 20)
    assert {"name", "score", "max_score", "status", "output", "visibility"} == set(results["tests"][0])
    assert sum(test["score"] for test in results["tests"]) == 10
    assert {test["status"] for test in results["tests"]} == {"passed", "failed"}
    assert results["extra_data"]["bptt_exercise"]["embedding"] == {"points": 10, "max": 10}
    assert points(tmp_path / "embedding.py") == 1.0
    # a second time over its own results, elsewhere, as JSON
    assert bptt("exercise", "check", tmp_path / "embedding.py", "--json", "--results", tmp_path / "other.json") == 0
    assert json.loads(capsys.readouterr().out)["score"] == 10
    assert bptt("exercise", "check", tmp_path / "embedding.py") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    {
        "check nowhere/rnn.py": "FILE: expected a file that exists",
        "check other.py": "FILE: expected a file with the name of an exercise",
        "check .": "DIR: expected a folder with exercises",
        "check embedding.py --results precious.txt": "it is not overwritten",
        "check embedding.py --results /dev/zero": "it is not overwritten",
        "check embedding.py --results no/such/folder.json": "expected a file in a folder that exists",
        "check embedding.py --seed -1": "--seed: expected an integer",
        "check embedding.py --seconds nan": "--seconds: expected a number above 0",
    }.items(),
)
def test_bad_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "embedding" in arguments:
        (tmp_path / "embedding.py").write_text("", encoding="utf-8")
        (tmp_path / "precious.txt").write_text("work of a term", encoding="utf-8")
    assert words in refused(capsys, "exercise", *arguments.split())
    assert not (tmp_path / "results.json").exists()


def test_the_list_and_its_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("exercise", "list", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)) == list(EXERCISES)
    assert bptt("exercise", "list") == 0
    assert all(name in capsys.readouterr().out or name for name in EXERCISES)
    assert len(EXERCISES) == 12
    assert set(EXERCISES) == {path.stem for path in SOLUTIONS.glob("*.py")}


def test_results_of_nothing_are_empty() -> None:
    empty: Any = as_results([Result("rnn", (), 0.0)])
    assert (empty["score"], empty["max_score"], empty["tests"]) == (0, 0, [])
    assert importlib.import_module("engine.classroom.exercises.runner").LARGEST > 0
