"""Reading a file as bytes, with one clear error for each way in which that goes wrong."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from functools import partial

from engine.checks import describe, machine_memory
from engine.data.data_checks import bad_data
from engine.errors import DataError, bad_type

_GZIP_MAGIC = b"\x1f\x8b"
_AGAIN = "a run reads its data again when it is resumed or evaluated: write it to a file first"
_NO_FILES = (
    (stat.S_ISDIR, "a directory", "name the file or files in it"),
    (stat.S_ISFIFO, "a pipe", _AGAIN),
    (stat.S_ISSOCK, "a socket", _AGAIN),
    (stat.S_ISCHR, "a device", _AGAIN),
    (stat.S_ISBLK, "a device", _AGAIN),
)
# A file may have this share of the memory, because the arrays made from it are several times as large.
_SHARE = 10
_PIECE = 1 << 20


def file_name(path: object) -> str:
    """Return `path`, a string or a Path, as a string."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(name, str):
        raise bad_type("path", "a file name (str or Path)", describe(path), "give the name of a file")
    return name


def possible_name(name: str) -> bool:
    """Whether a file can have this name."""
    try:
        return bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a character
        return False


def read_bytes(path: str | os.PathLike[str], expected: str) -> bytes:
    """Return the content of the file at `path`, which is never empty; a gzip file is unpacked.

    `expected` says in the message what the file should have been ("a UTF-8 text file").

    Raises
    ------
    DataError
        The file is missing, is no regular file, cannot be read, is empty, or is too large for this machine.
    """
    name = file_name(path) or "''"
    if not possible_name(name):
        raise bad_data(repr(name), expected, "a name that no file can have", "check the name")
    try:
        found = os.stat(path)
        # Looked at before it is opened: opening a pipe waits for its other end, and some devices never end.
        for is_kind, got, hint in _NO_FILES:
            if is_kind(found.st_mode):
                raise bad_data(name, expected, got, hint)
        if found.st_size > largest():
            raise _too_large(name, f"{found.st_size:,}")
        with open(path, "rb") as file:
            # Files of the system itself (/proc) say that they have no bytes, and some of them wait for ever.
            raw = file.read(found.st_size)
        if raw.startswith(_GZIP_MAGIC):
            raw = _unpacked(raw, name)
    except FileNotFoundError:
        raise bad_data(name, expected, "no such file", f"check the name and the folder{_folder()}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise bad_data(name, expected, f"a damaged gzip file ({error})", "fetch or write it again") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise bad_data(name, expected, f"a file that cannot be read ({reason})", "check its permissions") from None
    except MemoryError:
        raise bad_data(name, expected, "a file that there is no memory for", "give a part of it") from None
    if not raw:
        raise bad_data(name, expected, "an empty file", "check that it was written completely")
    return raw


def _folder() -> str:
    """The working directory in brackets; nothing if it has been deleted."""
    try:
        return f" ({os.getcwd()})"
    except OSError:
        return ""


def largest() -> int:
    """Return how many bytes a data file may have on this machine."""
    return machine_memory() // _SHARE


def _unpacked(raw: bytes, name: str) -> bytes:
    """Unpack a gzip file, but stop after `largest()` bytes."""
    pieces: list[bytes] = []
    left = largest()
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
        for piece in iter(partial(packed.read, _PIECE), b""):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise _too_large(name, "more when it is unpacked")
    return b"".join(pieces)


def _too_large(name: str, size: str) -> DataError:
    expected = f"a file of at most {largest():,} bytes, a tenth of this machine's memory"
    return bad_data(name, expected, size, "give a part of it")
