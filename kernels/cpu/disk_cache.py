"""Compiled code on disk.  Damaged code would end the process, so a file runs only if it is as it was written.

Numba keeps an index beside numbered files and checks neither: one flipped bit caused a segmentation fault.  Here a file
begins with a digest of its content and of its purpose: the function, its arguments' types, the processor, the sources.
A file that was damaged, cut short, swapped for another or made from other sources is ignored: the function is compiled
again, and its file written again.  A file's name follows from its purpose, so there is no index that two processes
could spoil for each other, and a file appears all at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

_DIGEST = 16  # bytes
OTHERS = 8  # files of the texts that a cell had before, or has in other programs


class DiskCache(FunctionCache):
    """Numba's disk cache, with files that are checked; a full disk or a damaged file costs time, not the pass.

    Parameters
    ----------
    function : what is compiled.
    sources : a digest of all source files that its code is made of.  Numba watches only the file that holds the
        function, but the function inlines equations of other files.
    key : the text of what the function encloses, such as the gate functions of a user's cell; "" if it encloses
        nothing.  Two cells of one name with different text have different files.
    """

    def __init__(self, function: Callable[..., Any], sources: str, key: str = "") -> None:
        super().__init__(function)
        self._enclosed = hashlib.blake2b(key.encode(), digest_size=_DIGEST).hexdigest() if key else ""
        self._cache_file = _CheckedFiles(Path(self.cache_path), self._impl.filename_base, sources)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """A file's key.  Numba's own pickles the enclosed functions, and those made from a text never look the same."""
        if not self._enclosed:
            return super()._index_key(sig, codegen)
        return sig, codegen.magic_tuple(), (self._enclosed, self._enclosed)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was kept for this signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a whole file that cannot be used, for example written by a modified Numba
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it for the next start, if the disk takes it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


class _CheckedFiles:
    """The files of one function, in place of Numba's index and data; `key` is the one that Numba's index would have."""

    def __init__(self, folder: Path, name: str, sources: str) -> None:
        self._folder, self._name = folder, name
        self._makers = (name, sources, numba.__version__, llvmlite.__version__)

    def path(self, key: Any) -> Path:
        """Where the code for `key` lies.  Code of an older source has the same place, so that nothing piles up."""
        signature, processor, (_, enclosed) = key
        which = hashlib.blake2b(repr((signature, processor, enclosed)).encode(), digest_size=8)
        return self._folder / f"{self._name}.{which.hexdigest()}.nbc"

    def _digest(self, key: Any, code: bytes) -> bytes:
        digest = hashlib.blake2b(repr((self._makers, key)).encode(), digest_size=_DIGEST)
        digest.update(code)
        return digest.digest()

    def load(self, key: Any) -> Any:
        """What was saved under `key`; None if there is nothing, or it cannot be read, or it was changed since."""
        try:
            content = self.path(key).read_bytes()
        except OSError:
            return None
        code = content[_DIGEST:]
        return pickle.loads(code) if content[:_DIGEST] == self._digest(key, code) else None

    def save(self, key: Any, data: Any) -> None:
        """Keep `data` under `key`, in place of what was there; another process sees the old or the new, whole.

        Of a cell that is edited again and again, the files of the oldest texts go.
        """
        code, path = dumps(data), self.path(key)
        new = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
        try:
            new.write_bytes(self._digest(key, code) + code)
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
        others = [other for other in self._folder.glob(self._any_text()) if not other.name.startswith(self._name)]
        for other in sorted(others, key=_written, reverse=True)[OTHERS:]:
            other.unlink(missing_ok=True)

    def _any_text(self) -> str:
        """Which files are of this function, whatever text its cell has: the digest of the text ends the name."""
        return re.sub(r"_[0-9a-f]{8}(?=-\d+\.)", "_????????", self._name) + ".*.nbc"

    def flush(self) -> None:
        """Forget everything; Numba calls this before it compiles a function again."""
        for path in self._folder.glob(f"{self._name}.*.nbc"):
            path.unlink(missing_ok=True)


def _written(path: Path) -> float:
    """When a file was written; long ago for one that is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
