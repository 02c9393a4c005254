"""Judging a student's file: every test with its points, and the results for a course system."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checks import describe
from engine.classroom.exercises.catalogue import EXERCISES, Exercise
from engine.classroom.exercises.pair import WrongError
from engine.classroom.exercises.student import Student, StudentError
from engine.errors import StorageError, bad_input, sentence

#: Seconds that a file may take for all of its tests, unless the caller says otherwise.
SECONDS = 60.0
#: Bytes of a results file, at most.
LARGEST = 10_000_000
#: A key by which a results file of ours is known.
MARK = "bptt_exercise"


@dataclass(frozen=True)
class Outcome:
    """One test's result.

    Attributes
    ----------
    name : of the test.
    points, most : what it gave, and could give.
    words : why it failed; empty if it passed.
    """

    name: str
    points: int
    most: int
    words: str


@dataclass(frozen=True)
class Result:
    """A judged file.

    Attributes
    ----------
    exercise : its name.
    outcomes : of the tests, in order.
    seconds : that judging took.
    """

    exercise: str
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def points(self) -> int:
        """The sum of what the tests gave."""
        return sum(outcome.points for outcome in self.outcomes)

    @property
    def most(self) -> int:
        """The sum of what the tests could give."""
        return sum(outcome.most for outcome in self.outcomes)

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return all(not outcome.words for outcome in self.outcomes)


def check_in(path: str | Path, seconds: float = SECONDS, seed: int = 0) -> Result:
    """Judge a file.

    The file runs in a process of its own, which ends after `seconds`.  It may print, call ``sys.exit`` and raise what
    it likes; it may write no file.

    Parameters
    ----------
    path : a file with the name of an exercise, such as ``rnn_step.py``.
    seconds : the limit for all tests together.
    seed : of the hidden cases; another seed gives other numbers.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        if there is no such file, or no exercise of that name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from engine.classroom.exercises.checking_in import check_in
    >>> from engine.classroom.exercises.handing_out import hand_out
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = check_in(hand_out("clip_by_norm", pathlib.Path(folder))[0])
    >>> (result.points, result.most, result.outcomes[0].words)
    (0, 10, 'clip_by_norm is not written yet (line 50)')
    """
    path = Path(path)
    exercise = _exercise(path)
    start = time.monotonic()
    outcomes: list[Outcome] = []
    with Student(path, seconds) as student:
        try:
            student.load()
        except StudentError as error:
            outcomes = [Outcome(test.name, 0, test.points, str(error)) for test in exercise.tests(student, seed)]
        else:
            outcomes = list(_judged(exercise, student, seed))
    return Result(exercise.name, tuple(outcomes), time.monotonic() - start)


def files_in(place: Path) -> list[Path]:
    """The exercises in a folder, in the order of the catalogue; or the one file.

    Raises
    ------
    InputError
        if there is none.
    """
    if not place.is_dir():
        _exercise(place)
        return [place]
    found = [place / f"{name}.py" for name in EXERCISES if (place / f"{name}.py").is_file()]
    if not found:
        raise bad_input("DIR", "a folder with exercises", str(place), "bptt exercise new NAME writes one")
    return found


def points(path: str | Path, seconds: float = SECONDS, seed: int = 0) -> float:
    """The part of all points that a file gets, from 0 to 1: the last line of a test cell in nbgrader.

    Parameters
    ----------
    path, seconds, seed : as for `check_in`.
    """
    result = check_in(path, seconds, seed)
    return result.points / result.most


def _exercise(path: Path) -> Exercise:
    if path.stem not in EXERCISES or path.suffix != ".py":
        expected = f"a file with the name of an exercise ({', '.join(EXERCISES)}) and .py"
        raise bad_input("FILE", expected, describe(path.name))
    if not path.is_file():
        raise bad_input("FILE", "a file that exists", str(path), f"bptt exercise new {path.stem} writes it")
    return EXERCISES[path.stem]


def _judged(exercise: Exercise, student: Student, seed: int) -> Iterator[Outcome]:
    gone = ""
    for test in exercise.tests(student, seed):
        words = gone
        if not gone:
            try:
                test.run()
            except WrongError as error:
                words = str(error)
            except StudentError as error:
                words = str(error)
                gone = words if error.kind in ("time", "ended") else ""
            except Exception as error:  # what one test cannot digest must not end the judging of the others
                words = f"the result cannot be judged ({type(error).__name__}: {str(error)[:200]})"
        yield Outcome(test.name, 0 if words else test.points, test.points, words)


# -- results -----------------------------------------------------------------------------------------------------------


def as_results(results: list[Result]) -> dict[str, Any]:
    """The results in Gradescope's form, as plain data for JSON.

    Returns
    -------
    dict
        ``score``, ``max_score``, ``execution_time``, ``output``, ``tests`` with ``name``, ``score``, ``max_score``,
        ``status`` and ``output``; and in ``extra_data`` the points by exercise.
    """
    tests = [
        {
            "name": f"{result.exercise}: {outcome.name}",
            "score": outcome.points,
            "max_score": outcome.most,
            "status": "failed" if outcome.words else "passed",
            "output": outcome.words or "right",
            "visibility": "visible",
        }
        for result in results
        for outcome in result.outcomes
    ]
    score, most = (sum(getattr(result, name) for result in results) for name in ("points", "most"))
    return {
        "score": score,
        "max_score": most,
        "execution_time": round(sum(result.seconds for result in results), 3),
        "output": f"{score} of {most} points",
        "tests": tests,
        "extra_data": {MARK: {result.exercise: {"points": result.points, "max": result.most} for result in results}},
    }


def require_results_file(path: Path) -> None:
    """Raise unless results can go there.

    Raises
    ------
    InputError
        for a folder that is not there, or a file that is not a results file of ours.
    """
    if not path.parent.is_dir():
        raise bad_input("--results", "a file in a folder that exists", str(path))
    if path.exists() and not _ours(path):
        raise bad_input("--results", "a new file, or an earlier results file", str(path), "it is not overwritten")


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write results as JSON.

    Raises
    ------
    StorageError
        if the file cannot be written.
    """
    try:
        path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(sentence(str(path), "a file that can be written", error.strerror or error)) from error


def _ours(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:  # a device may have no end
            return False
        return MARK in json.loads(path.read_text(encoding="utf-8"))["extra_data"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
