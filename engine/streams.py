"""Standard streams that are closed, full, or lead to a terminal that has gone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Watched:
    """A text stream that remembers an error in writing to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text."""
        with self._watching():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush."""
        with self._watching():
            self._stream.flush()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Forgiving:
    """A text stream whose write errors are swallowed: a lost line of progress is no reason to end a training.

    Parameters
    ----------
    stream : what is written to; None, as `sys.stderr` where it is closed, drops everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, if that can be done."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: the stream has been closed
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream leads to a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_closed() -> None:
    """Open those of the three standard streams that are closed, as in ``2>&-``.

    Otherwise the next file that is opened gets the number of a closed stream, and a library's messages go into that
    file.  Text for standard error is then dropped.  Writing to standard output fails, because results must not be lost
    silently.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)


def silence_stdout() -> None:
    """Drop what could not be written to standard output: the interpreter would try again at its exit, and complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
