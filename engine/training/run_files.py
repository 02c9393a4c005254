"""Reading the files of a run's directory: only plain files, no larger than a run writes them, and strict JSON."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from engine.array_file import MOST_BYTES
from engine.errors import CheckpointError, sentence

#: The most values in one JSON text: a megabyte of brackets would take a hundred of memory.
MOST_VALUES = 250_000


def problem(path: Path, expected: str, got: str, hint: str) -> CheckpointError:
    """A `CheckpointError` in the one form that all messages share."""
    return CheckpointError(sentence(str(path), expected, got, hint))


@contextmanager
def opened(path: Path, expected: str, hint: str) -> Iterator[tuple[BufferedReader, int]]:
    """The plain file at `path` and its size.  A pipe or a device is not opened, because it could block for ever.

    Raises
    ------
    CheckpointError
        if there is none, or it cannot be read, now or later.
    """
    if "\0" in str(path):
        raise problem(path, expected, "a name that no file can have", hint)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise problem(path, expected, "'Is a directory'", hint)
        if not stat.S_ISREG(found.st_mode):
            raise problem(path, expected, "a device or a pipe", hint)
        with open(path, "rb") as file:
            yield file, found.st_size
    except OSError as error:
        raise problem(path, expected, f"'{error.strerror or type(error).__name__}'", hint) from error


def read_json(path: Path, expected: str, hint: str) -> Any:
    """The value in a JSON file, which must be small."""
    with opened(path, expected, hint) as (file, size):
        if size > MOST_BYTES:
            raise problem(path, expected, f"a file of {size:,} bytes", hint)
        data = file.read(MOST_BYTES)
    try:
        return parse_json(data)
    except ValueError as error:
        raise problem(path, expected, f"'{error}'", hint) from error


def parse_json(data: str | bytes) -> Any:
    """The value that a JSON text describes.

    Raises
    ------
    ValueError
        if it is not JSON, holds NaN or infinity (which Python reads), or would fill the memory or the stack.
    """
    text = data.decode() if isinstance(data, bytes) else data
    if len(text) > MOST_BYTES or sum(map(text.count, ",[{")) > MOST_VALUES:
        raise ValueError("more than any run writes")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("brackets within brackets without end") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"the number {name}")
