"""The rows of a run and the file that they are kept in."""

from __future__ import annotations

import datetime
import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.tables import key_of
from engine.measuring.machine import machine


class Store:
    """The rows of a run, and the file that holds them from the first one on.

    Parameters
    ----------
    path : None keeps them in memory only; an existing file is resumed.
    header : what goes before the rows; an existing file must have the same ``machine`` and ``versions``.

    Raises
    ------
    ValueError
        if the file exists and cannot be resumed.
    """

    def __init__(self, path: Path | None, header: dict[str, Any]) -> None:
        self.path, self.document = path, {**header, "rows": []}
        if path is not None and path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                kept = {name: found[name] for name in ("machine", "versions", "absent", "rows")}
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"--resume: {path} holds no results of this script") from None
            if kept["machine"] != header["machine"]:
                raise ValueError(f"--resume: {path} was measured on another machine; give another name")
            for name in kept["versions"].keys() & header["versions"].keys():
                if kept["versions"][name] != header["versions"][name]:
                    raise ValueError(f"--resume: {path} was measured with another version of {name}; give another name")
            found["versions"] |= header["versions"]
            found["absent"] = header["absent"]
            resumed = {name: header[name] for name in ("command", "date", "commit")}
            found.setdefault("resumed", []).append(resumed)
            self.document = found
        self.rows: list[dict[str, Any]] = self.document["rows"]

    def has(self, key: tuple[Any, ...], libraries: Sequence[str], memory: bool) -> bool:
        """Whether there is a row with an answer, or a reason why there is none, of every library."""
        for row in self.rows:
            if key_of(row) == key:
                answered = row["failed"].keys() | (row.get("memory", {}) if memory else row["seconds"]).keys()
                return set(libraries) <= answered
        return False

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, in place of an earlier one of the same case, and write the file at once."""
        self.rows[:] = [other for other in self.rows if key_of(other) != key_of(row)] + [row]
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(dumps(self.document), encoding="utf-8")
            partial.replace(self.path)


def dumps(document: dict[str, Any]) -> str:
    """A document with one line for each row: small, and its changes can be read."""
    head = json.dumps({name: value for name, value in document.items() if name != "rows"}, indent=1)
    rows = ",\n".join("  " + json.dumps(row, allow_nan=False) for row in document["rows"])
    return head[:-2] + ',\n "rows": [\n' + rows + "\n ]\n}\n"


def heading(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What stands above results: the command, when and from which commit it was run, and on what."""
    return {
        "command": shlex.join(["python", "-m", module, *arguments]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }


def commit() -> str | None:
    """The commit that is checked out, with a plus where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/engine", ":/kernels"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + "+" * bool(changed.stdout.strip())
