"""Metrics as JSON lines: one object a line, in the file that a run leaves for people and for plots.

Two kinds of line, told apart by ``"kind"``::

    {"kind": "train", "step": 50, "epoch": 0.1, "loss": 2.31, "bpc": 3.33, "lr": 0.002, "grad_norm": 0.7, "timing": {}}
    {"kind": "validation", "step": 500, "epoch": 1, "loss": 1.62, "bpc": 2.34, "best": true, "timing": {}}

What depends on the clock stands under ``"timing"`` alone, so that two runs can be compared without it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.training.atomic import storage_error

METRICS = "metrics.jsonl"


class MetricsLog:
    """Appends to ``metrics.jsonl``, from a known number of lines on.

    Parameters
    ----------
    path : the file.
    lines : how many of its lines belong to the state that training goes on from; what stands after them was written
        between the last checkpoint and a kill (perhaps half a line), will be written again, and is cut off.

    Raises
    ------
    CheckpointError
        if the file has fewer lines than that.
    StorageError
        if it cannot be written.
    """

    def __init__(self, path: Path, lines: int = 0) -> None:
        self.path = path
        self.lines = lines
        self._end = _end_of_line(path, lines) if lines else 0
        try:
            self._file = open(path, "ab", buffering=0)
            self._file.truncate(self._end)
        except OSError as error:
            raise storage_error(path, "to open it for writing", error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line.  A write that fails leaves no half line behind and raises a `StorageError`."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            written = self._file.write(line)
            if written != len(line):  # an unbuffered write may stop short where the disk ends
                raise OSError(28, f"only {written} of {len(line)} bytes fit")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise storage_error(self.path, f"to append {len(line)} bytes", error) from error
        self._end += len(line)
        self.lines += 1

    def sync(self) -> None:
        """Force the lines to the disk: a checkpoint that counts them must not outlive them."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(self.path, "to write it to the disk", error) from error

    def close(self) -> None:
        """Close the file; it stays as it is."""
        self._file.close()


def read_metrics(path: Path, *needed: str) -> list[dict[str, Any]]:
    """Every whole line of the file at `path`, each with the keys that all have and those `needed`; [] without a file.

    Raises
    ------
    CheckpointError
        for a line of another kind.
    """
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    keys = {"kind", "step", "epoch", "loss", *needed}
    return [_record(path, number, line, keys) for number, line in enumerate(whole.splitlines(), start=1)]


def _record(path: Path, number: int, line: bytes, keys: set[str]) -> dict[str, Any]:
    """One line, checked to be what `MetricsLog` writes."""
    try:
        record = json.loads(line)
        good = keys <= record.keys() and isinstance(record.get("timing", {}), dict)
    except (ValueError, AttributeError):
        good = False
    if not good:
        raise CheckpointError(
            f"{path}: expected a JSON object with {', '.join(sorted(keys))} in line {number}, got something else; "
            "the file has been changed since: restore it, or start anew with another --out"
        )
    return record


def elapsed_in(path: Path, lines: int) -> float:
    """Seconds of training that the first `lines` lines of the file account for.

    The clock is kept here and not in the checkpoint, so that equal states make equal checkpoint files.
    """
    for record in reversed(read_metrics(path)[:lines]):
        if "elapsed_s" in record.get("timing", {}):
            return float(record["timing"]["elapsed_s"])
    return 0.0


def _end_of_line(path: Path, lines: int) -> int:
    """The byte offset behind line number `lines`."""
    whole = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if whole and not whole[-1].endswith(b"\n"):
        whole.pop()
    if len(whole) < lines:
        raise CheckpointError(
            f"{path}: expected at least {lines} lines by the checkpoint beside it, got {len(whole)}; "
            "the file has been changed since: restore it, or start anew with another --out"
        )
    return sum(map(len, whole[:lines]))
