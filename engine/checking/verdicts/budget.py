"""The time limit of a check, and its progress messages."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.checks import describe, number
from engine.errors import bad_type
from engine.streams import Forgiving

#: This part of a time limit is kept for what comes after the entries: the diagnosis, the report.
RESERVE = 0.05
#: Seconds before a terminal shows a line, and between two lines.
QUIET, BETWEEN = 0.5, 0.25


@dataclass(frozen=True)
class Progress:
    """How far a check has come.

    Attributes
    ----------
    verdict : of what was looked at so far.
    directions : how many random directions were looked along.
    entries, total : how many entries were looked at, of how many.
    seconds : since the check began.
    """

    verdict: str
    directions: int
    entries: int
    total: int
    seconds: float

    def __str__(self) -> str:
        entries = f"{self.entries:,} of {self.total:,} entries"
        return f"gradient check: {self.verdict} so far; {self.directions} directions, {entries}, {self.seconds:.0f} s"


class Clock:
    """The time that a check may take, and who is told how far it has come.

    Parameters
    ----------
    seconds : after which no further entries are looked at; None is no limit.
    progress : a function that takes a `Progress`; True for a line on stderr, False for none; None shows a line where
        stderr is a terminal and no test runs.
    """

    def __init__(self, seconds: Any = None, progress: Any = None) -> None:
        self.seconds = None if seconds is None else number("seconds", seconds)
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise bad_type("progress", "a function, True, False or None", describe(progress))
        self._started = time.perf_counter()
        self._state, self._rows = ("ok", 0, 0, 0), 0
        self._line: _Line | None = None
        self._tell: Callable[[Progress], Any] | None = None
        if callable(progress):
            self._tell = progress
        elif progress or (progress is None and _at_a_terminal()):
            self._tell = self._line = _Line()
        self._next = self._started + (0.0 if progress else QUIET)

    @property
    def watched(self) -> bool:
        """Whether someone is told, or the time is short: then directions come first."""
        return self._tell is not None or self.seconds is not None

    @property
    def left(self) -> float:
        """Seconds that are left for entries."""
        if self.seconds is None:
            return float("inf")
        return (1.0 - RESERVE) * self.seconds - (time.perf_counter() - self._started)

    def reached(self, verdict: str, directions: int, entries: int, total: int) -> None:
        """Keep how far the check has come, and say it: a callback hears of every such place."""
        self._state, self._rows = (verdict, directions, entries, total), 0
        self._say(always=self._line is None)

    def evaluated(self, rows: int, per_entry: int) -> None:
        """Say, though not too often, that the function was evaluated so many times more."""
        self._rows += rows
        verdict, directions, before, total = self._state
        self._say((verdict, directions, min(before + self._rows // per_entry, total), total))

    def close(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.clear()

    def _say(self, state: tuple[str, int, int, int] | None = None, always: bool = False) -> None:
        if self._tell is None:
            return
        now = time.perf_counter()
        if always or now >= self._next:
            self._next = now + BETWEEN
            self._tell(Progress(*(state or self._state), now - self._started))


class _Line:
    """One line of a terminal, written over and over."""

    def __init__(self) -> None:
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        text = str(progress)
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)

    def clear(self) -> None:
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        stream = Forgiving(sys.stderr)
        stream.write(text)
        stream.flush()


def _at_a_terminal() -> bool:
    return Forgiving(sys.stderr).isatty() and "PYTEST_CURRENT_TEST" not in os.environ
