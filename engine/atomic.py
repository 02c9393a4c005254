"""Files that appear whole or not at all: write a temporary file beside the target, then rename it.

This order survives a kill and a power cut: write, flush, fsync the file, rename over the target, fsync the directory.
A rename within one directory is atomic on POSIX, so a reader sees the old file or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.errors import StorageError, bad_input, sentence

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; two runs in one directory are not noticed there
    fcntl = None  # type: ignore[assignment]

#: The ending of our temporary files; no other program uses it.
TEMPORARY = ".bptt.tmp"


def write_atomic(path: Path, data: bytes, place: str = "--out") -> None:
    """Replace the file `path` by `data`, wholly or not at all.

    Parameters
    ----------
    place : what names the place, for the hint of an error.

    Raises
    ------
    StorageError
        if any part of the write fails (a full disk, a missing right).  The old file is untouched and the temporary
        one is gone.
    """
    temporary = temporary_for(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error(path, f"to write {len(data):,} bytes", error, place) from error
    finally:
        # Gone already after a good rename; left behind by a failed write or by an interrupt.
        with contextlib.suppress(OSError):
            temporary.unlink()


def temporary_for(path: Path) -> Path:
    """The temporary file for `path`: in the same directory, because a rename cannot cross disks."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


def storage_error(path: Path, wanted: str, error: OSError, place: str = "--out") -> StorageError:
    """The error for a failed write, in one sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    hint = f"free some space or choose another {place}"
    if isinstance(error, PermissionError):
        hint = f"make the directory writable or choose another {place}"
    hint += " (what was saved before is untouched)"
    return StorageError(sentence(str(path), wanted, f"'{reason}'", hint))


def sync_directory(directory: Path) -> None:
    """Make a rename inside `directory` survive a power cut."""
    if os.name != "posix":  # pragma: no cover - a directory cannot be opened elsewhere
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(directory: Path, names: Iterable[str]) -> None:
    """Delete the temporary files that a killed run left for the files `names`, and nothing else.

    Call it only under `locked`, because another run may be using its own.
    """
    targets = "|".join(map(re.escape, names))
    ours = re.compile(rf"\.(?:{targets})\.[0-9]+{re.escape(TEMPORARY)}")
    with os.scandir(directory) as entries:
        leftovers = [e.path for e in entries if ours.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    for leftover in leftovers:
        with contextlib.suppress(OSError):
            os.unlink(leftover)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for one run; the lock ends with the process, however that ends.

    Raises
    ------
    StorageError
        if the directory cannot be written to.
    InputError
        if another process trains there.
    """
    made = not os.path.exists(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY)
    except OSError as error:
        if isinstance(error, NotADirectoryError | FileExistsError):
            raise bad_input(
                "out", "a directory", f"{directory}, where a file is in the way", "choose another"
            ) from error
        raise storage_error(directory, "a directory to write to", error) from error
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                hint = "wait for it to end or choose another --out"
                raise bad_input("out", f"no other run at work in {directory}", "one", hint) from error
        try:
            yield
        finally:
            # A run that ended before it wrote anything leaves nothing; an empty directory of the user's stays.
            with contextlib.suppress(OSError):
                if made:
                    directory.rmdir()
    finally:
        os.close(handle)
