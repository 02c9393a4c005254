"""The files of a study: NAME.json, NAME.md and NAME.png in a folder, beside those of earlier runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

from engine.atomic import storage_error, write_atomic
from engine.checks import file_name
from engine.drawing import new_figure
from engine.errors import bad_input
from engine.studies.study import StudyResult

ENDINGS = (".json", ".md", ".png")


def folder_for(out: Any) -> Path:
    """The folder for a study's files, which need not exist yet.  Looked at before anything is measured.

    Raises
    ------
    InputError
        if a file is in the way, or the folder cannot be written to.
    """
    folder = file_name("out", out)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise bad_input("out", "a folder", f"{folder}, where {there} is a file", "choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise bad_input("out", "a folder that can be written to", str(folder), "choose another")
    return folder


def write_study(folder: Path, result: StudyResult, record: Mapping[str, Any]) -> dict[str, str]:
    """Write table, record and picture; what is there already stays as it is.

    Returns
    -------
    The files by kind: ``"record"``, ``"table"``, ``"picture"``.

    Raises
    ------
    StorageError
        if a file cannot be written.
    """
    picture = BytesIO()
    figure = new_figure(figsize=(9, 4.5), layout="constrained")
    figure.suptitle(result.title)
    result.draw(figure)
    figure.savefig(picture, format="png", dpi=110)
    plain = json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"
    contents = (plain, markdown(result, record), picture.getvalue())
    files = _reserve(folder, str(record["study"]))
    try:
        for path, content in zip(files, contents, strict=True):
            write_atomic(path, content)
    except BaseException:
        for path in files:
            if path.exists() and not path.stat().st_size:
                path.unlink()
        raise
    return dict(zip(("record", "table", "picture"), map(str, files), strict=True))


def markdown(result: StudyResult, record: Mapping[str, Any]) -> bytes:
    """The table with its notes as a page."""
    heads = [column.name for column in result.columns]
    lines = [heads, ["---"] * len(heads), *result.shown()]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    place = record["machine"]
    made = f"`{record['command']}`, {record['seconds']:.0f} s on {place['cpu']}, {place['cores']} cores"
    return "\n\n".join([f"# {result.title}", table, *result.notes, f"Made by {made}."]).encode() + b"\n"


def _reserve(folder: Path, name: str) -> list[Path]:
    """The three files under the first name that is free: NAME, NAME-2, NAME-3, ...; empty, so that they are ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            stem = name if number == 1 else f"{name}-{number}"
            files = [folder / (stem + ending) for ending in ENDINGS]
            if any(map(os.path.lexists, files)):
                continue
            try:
                files[0].touch(exist_ok=False)
            except FileExistsError:  # another study took the name between the two lines
                continue
            return files
    except OSError as error:
        raise storage_error(folder, "to write a study's files", error) from error
    raise AssertionError("names do not end")
