"""Writing an exercise's files for a student."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from engine.classroom.exercises.catalogue import find
from engine.errors import StorageError, bad_input, sentence


def texts(name: str) -> dict[str, str]:
    """The files of an exercise by name: the sheet with its holes, and the visible tests."""
    find(name)
    folder = resources.files("engine.classroom") / "sheets"
    common = (folder / "common.txt").read_text(encoding="utf-8").strip().replace("{name}", name)
    sheet = (folder / f"{name}.txt").read_text(encoding="utf-8").replace("{common}", common)
    return {f"{name}.py": sheet, f"test_{name}.py": (folder / f"test_{name}.txt").read_text(encoding="utf-8")}


def hand_out(name: str, folder: Path) -> list[Path]:
    """Write the files of an exercise into a folder, which is made if it is not there.

    Raises
    ------
    InputError
        for an unknown name, or where one of the files is already there: it may be someone's work.
    StorageError
        if they cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from engine.classroom.exercises.handing_out import hand_out
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in hand_out("rnn_step", pathlib.Path(folder))]
    ['rnn_step.py', 'test_rnn_step.py']
    """
    found = texts(name)
    for file in found:
        if (folder / file).exists():
            raise bad_input("--out", "a folder without these files", folder / file, "it is never overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in found.items():
            with (folder / file).open("x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        raise StorageError(sentence(str(folder), "a folder that can be written", error.strerror or error)) from error
    return [folder / file for file in found]
