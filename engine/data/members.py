"""The files of a folder or of a zip file, read in the same way."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.data.data_checks import bad_data
from engine.data.files import file_name, largest, read_bytes


@dataclass(frozen=True)
class Members:
    """The files below one folder, or in one zip file.

    Attributes
    ----------
    source : str
        The folder or the zip file, as a message calls it.
    names : tuple of str
        The files in order, each with its folders, separated by ``/``.
    """

    source: str
    names: tuple[str, ...]
    _read: Callable[[str], bytes]

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        DataError
            The file is damaged, locked by a password, or cannot be read.
        """
        return self._read(name)

    def ending(self, *suffixes: str) -> list[str]:
        """Return the names with one of these endings, whatever the case of their letters."""
        return [name for name in self.names if PurePosixPath(name).suffix.lower() in suffixes]


def members_of(path: str | os.PathLike[str], expected: str) -> Members:
    """Return the files of a folder or a zip file; hidden files and those of macOS's own are left out.

    Parameters
    ----------
    path : str or Path
        The folder or the zip file.
    expected : str
        What it should have been, for the message of an error.

    Raises
    ------
    DataError
        There is no such folder or file, or it is no zip file, or would not fit into memory.

    Examples
    --------
    >>> import os
    >>> os.mkdir("letters")
    >>> with open("letters/a.txt", "w") as file:
    ...     count = file.write("first")
    >>> found = members_of("letters", "a folder of texts")
    >>> found.names, found.read("a.txt")
    (('a.txt',), b'first')
    """
    name = file_name(path)
    return _folder(Path(name), expected) if os.path.isdir(name) else _zip(name, expected)


def _visible(name: str) -> bool:
    """Whether a file is one of the user's: macOS adds a folder of its own to every zip file."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _folder(root: Path, expected: str) -> Members:
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        found += [(Path(folder) / file).relative_to(root).as_posix() for file in files]
    names = tuple(sorted(name for name in found if _visible(name)))
    return Members(str(root), names, lambda name: read_bytes(root / name, expected))


def _zip(name: str, expected: str) -> Members:
    raw = read_bytes(name, expected)
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise bad_data(name, expected, f"a file that is no zip file ({error})", "give a folder or a zip file") from None
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and _visible(entry.filename)]
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > largest():
        most = f"at most {largest():,} bytes when it is unpacked, a tenth of this machine's memory"
        raise bad_data(name, most, f"{unpacked:,}", "give a part of it")

    def read(member: str) -> bytes:
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
            hint = "write the zip file again, without a password"
            raise bad_data(f"{name}: {member}", expected, f"an entry that cannot be unpacked ({error})", hint) from None

    return Members(name, tuple(sorted(entry.filename for entry in entries)), read)
