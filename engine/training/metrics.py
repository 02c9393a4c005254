"""Metrics as JSON lines: one object in each line, for people and for plots.

Two kinds of line, told apart by ``"kind"``::

    {"kind": "train", "step": 50, "epoch": 0.1, "loss": 2.31, "bpc": 3.33, "lr": 0.002, "grad_norm": 0.7, "timing": {}}
    {"kind": "validation", "step": 500, "epoch": 1, "loss": 1.62, "bpc": 2.34, "best": true, "timing": {}}

A line of a validation may have further figures of the task, such as ``"accuracy": 0.9``.
Only ``"timing"`` depends on the clock, so two runs can be compared without it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.atomic import storage_error
from engine.errors import CheckpointError
from engine.training.rules import choice, real, record, record_fault, switch, whole
from engine.training.run_files import opened, parse_json, problem

METRICS = "metrics.jsonl"

_SHARED = {"step": whole(0), "epoch": real(0), "loss": real(), "timing": record()}
_TIMING = {"elapsed_s": real(0)}
_KINDS = {
    "train": _SHARED | {"lr": real(0), "grad_norm": real(0).or_none()},
    "validation": _SHARED | {"best": switch()},
}
#: Further figures, as of accuracy; None stands for one that is not finite.
_FIGURE = real().or_none()
#: No line is longer: a file of one endless line is not read to its end.
_MOST_BYTES = 10_000
_EXPECTED, _MEND = "lines of metrics", "the file has been changed since: restore it, or start anew with another --out"


class MetricsLog:
    """Appends to ``metrics.jsonl``, from a known number of lines on.

    Parameters
    ----------
    path : the file.
    lines : how many of its lines belong to the state from which training continues.  Lines after these were written
        between the last checkpoint and a kill (the last one perhaps half).  They are cut off, and written again later.

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
        self._end = sum(len(line) for line in _first_lines(path, lines))
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
        """Force the lines to the disk, because the checkpoint that counts them must not survive without them."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(self.path, "to write it to the disk", error) from error

    def close(self) -> None:
        """Close the file; it stays as it is."""
        self._file.close()


def read_metrics(path: Path, figure: str, most: int | None = None) -> list[dict[str, Any]]:
    """Every whole line of the file at `path`, or the first `most` of them; [] without a file.

    Parameters
    ----------
    figure : the name of the number that people read, which every line has, such as ``"bpc"``.

    Raises
    ------
    CheckpointError
        for a line of another kind, or if there are fewer than `most`.
    """
    lines = _whole_lines(path) if most is None else _first_lines(path, most)
    return [_record(path, number, line, figure) for number, line in enumerate(lines, start=1)]


def _record(path: Path, number: int, line: bytes, figure: str) -> dict[str, Any]:
    """One line, checked to be what `MetricsLog` writes."""
    expected = f"a line of metrics with {figure!r} in line {number}"
    try:
        said = parse_json(line)
    except ValueError as error:
        raise problem(path, expected, "something else", _MEND) from error
    kind = said.get("kind") if isinstance(said, dict) else None
    rules = _KINDS.get(kind) if isinstance(kind, str) else None
    if rules is not None:
        rules = {name: _FIGURE for name in said if name != "kind"} | rules | {figure: real()}
    fault = record_fault(rules or {"kind": choice(*_KINDS)}, said)
    if fault is None:
        fault = record_fault(_TIMING, said["timing"])
    if fault is not None:
        raise problem(path, expected, f"{fault[2]} in place of {fault[1]} as {fault[0]!r}", _MEND)
    return dict(said)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The complete lines of the file; none without a file."""
    if not path.exists():
        return
    with opened(path, _EXPECTED, _MEND) as (file, _):
        while (line := file.readline(_MOST_BYTES)).endswith(b"\n"):
            yield line
        if len(line) == _MOST_BYTES:
            raise problem(path, _EXPECTED, f"one of more than {_MOST_BYTES:,} bytes", _MEND)


def _first_lines(path: Path, count: int) -> list[bytes]:
    """The first lines of the file, as many as the checkpoint beside it knows of."""
    if path.exists():
        with opened(path, _EXPECTED, _MEND):  # it will be appended to, which no pipe and no device may be
            pass
    found = list(itertools.islice(_whole_lines(path), count))
    if len(found) < count:
        raise CheckpointError(
            f"{path}: expected at least {count} lines by the checkpoint beside it, got {len(found)}; {_MEND}"
        )
    return found
