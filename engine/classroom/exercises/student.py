"""A student's file, run in a process of its own with a limit of time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.classroom.exercises import runner

#: Files that a student's code may not read while it is judged: this package, with the hidden cases.
FORBIDDEN = Path(__file__).resolve().parents[2]


class StudentError(Exception):
    """A student's function cannot be judged; the message says why, for the student.

    Attributes
    ----------
    kind : "not written", "missing", "raised", "no cache", "cannot cross", "time" or "ended".
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Cache:
    """What a forward function returned last; it stays in the student's process."""

    def __init__(self, number: int, dropped: list[int]) -> None:
        self.number, self._dropped = number, dropped

    def __del__(self) -> None:
        self._dropped.append(self.number)

    def __deepcopy__(self, memo: Any) -> Cache:
        return self


@dataclass(frozen=True)
class Code:
    """An argument that is a function, as an expression of NumPy."""

    text: str


class Student:
    """A student's functions; use it in a ``with`` statement.

    Parameters
    ----------
    path : the file.
    seconds : the process is ended after so many seconds, whatever it does.

    Raises
    ------
    StudentError
        from each call, if the file cannot be loaded or a function cannot be judged.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._dropped: list[int] = []
        self._late = False
        #: Arrays of the cache into which the last call has written: the place, and the argument of forward, or -1.
        self.written: list[tuple[str, int]] = []

    def __enter__(self) -> Student:
        # An empty folder to work in: relative names lead nowhere.
        self._folder = tempfile.TemporaryDirectory(prefix="bptt-exercise-")
        command = [sys.executable, "-I", "-W", "ignore", runner.__file__, str(self.path.resolve()), self.path.name]
        command += [str(FORBIDDEN), str(Path(np.__file__).resolve().parents[1])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # the arrays are small
        )
        self._timer = threading.Timer(self.seconds, self._stop)
        self._timer.daemon = True
        self._timer.start()
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what is still in the buffer cannot be sent to a process that has ended
                    pass
        self._folder.cleanup()

    def load(self) -> None:
        """Wait until the file has run from top to bottom."""
        self._value(self._read(self.path.name), self.path.name)

    def call(self, name: str, *args: Any) -> Any:
        """What a function returns; arguments that it writes into are changed here as well."""
        return self._ask(name, args, keep=False)["value"]

    def forward(self, name: str) -> Callable[..., Any]:
        """A function that returns its results and a `Cache`, as ``check_gradients`` takes it."""

        def run(*args: Any) -> Any:
            answer = self._ask(name, args, keep=True)
            return (*answer["value"], Cache(answer["cache"], self._dropped))

        return run

    def backward(self, name: str) -> Callable[..., Any]:
        """A function of gradients and a `Cache`."""
        return lambda *args: self.call(name, *args)

    def _ask(self, name: str, args: Sequence[Any], keep: bool) -> dict[str, Any]:
        dropped, self._dropped[:] = list(self._dropped), []
        request = {"function": name, "args": [_sent(value) for value in args], "keep": keep, "drop": dropped}
        assert self._process.stdin is not None
        try:
            runner.write_message(self._process.stdin, request)
        except OSError:
            pass  # the process has ended: the read says so
        answer: dict[str, Any] = self._value(self._read(name), name)
        for number, values in answer["changed"].items():
            args[int(number)][...] = values
        self.written = [(str(place)[:80], int(argument)) for place, argument in answer["written"]]
        return answer

    def _read(self, name: str) -> Any:
        assert self._process.stdout is not None
        try:
            return runner.read_message(self._process.stdout)
        except (EOFError, ValueError, KeyError, IndexError, TypeError) as error:
            self._process.kill()
            if self._late:
                words = f"{name}: not ready after {self.seconds:g} seconds: is there a loop that does not end?"
                raise StudentError("time", words) from error
            words = f"{name}: the process ended while it ran (os._exit, or out of memory?)"
            raise StudentError("ended", words) from error

    def _value(self, answer: Any, name: str) -> Any:
        if not isinstance(answer, dict):
            raise StudentError("ended", f"{name}: the process gave an answer that cannot be read")
        if "error" not in answer:
            return answer
        kind, words, line = answer["error"], answer["words"], answer["line"]
        at = f" (line {line})" if line else ""
        raise StudentError(
            kind,
            {
                "not written": f"{name} is not written yet{at}",
                "missing": f"{name} is not in {self.path.name}: keep the names of the functions",
                "raised": f"{name} ended with {words}{at}",
                "no cache": f"{name} must return its result and a cache, as a tuple; it returned a {words}",
                "cannot cross": f"{name} must return arrays and numbers; it returned {words}",
            }.get(kind, f"{name}: {words}"),
        )

    def _stop(self) -> None:
        self._late = True
        self._process.kill()


def _sent(value: Any) -> Any:
    if isinstance(value, Cache):
        return {"cache": value.number}
    return {"code": value.text} if isinstance(value, Code) else value
