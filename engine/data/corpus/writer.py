"""Writing a corpus: ids as they come, a checksum for each block, and the index last."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.atomic import locked, remove_temporaries, storage_error, sync_directory, temporary_for, write_atomic
from engine.checks import file_name, one_of
from engine.data.corpus.store import BLOCK, CHECKSUMS, FORMAT, INDEX, TOKENS, TYPES, VERSION
from engine.errors import bad_input

#: The ids as they are before the vocabulary is known.
RAW = "raw.bin"
FILES = (INDEX, TOKENS, CHECKSUMS, RAW)
_HOLE = bytes(BLOCK)


@contextmanager
def corpus_folder(out: Any) -> Iterator[Path]:
    """Lock a folder for a new corpus, and take away what a killed preparation left there.

    Raises
    ------
    InputError
        The folder holds a corpus already, or another process prepares one there.
    StorageError
        It cannot be written to.
    """
    folder = file_name("out", out)
    if os.path.exists(folder) and not folder.is_dir():
        raise bad_input("out", "a folder", f"the file {folder}", "choose another")
    with locked(folder):
        if (folder / INDEX).exists():
            hint = "train with it, choose another folder, or remove this one"
            raise bad_input("out", "a folder without a corpus", f"{folder}, which holds one", hint)
        try:
            remove_temporaries(folder, FILES)
            for name in (TOKENS, CHECKSUMS):  # without an index they belong to nothing
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(folder / name)
        except OSError as error:
            raise storage_error(folder, "a folder to write to", error) from error
        yield folder


class TokenWriter:
    """Writes the ids of a corpus into a folder of its own; use it as a context.

    The files get their names when all is written, and the index comes last: what was not finished is no corpus, and the
    next preparation takes it away.  A block of zeros is left out of the file, which has a hole there.

    Parameters
    ----------
    folder : Path
        Locked by `corpus_folder`.
    dtype : str
        ``"uint8"``, ``"uint16"`` or ``"uint32"``.

    Attributes
    ----------
    tokens : int
        Ids that were written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import engine
    >>> from engine.data.corpus import ByteVocabulary, TokenWriter
    >>> from engine.data.corpus.writer import corpus_folder
    >>> with corpus_folder(os.path.join(tempfile.mkdtemp(), "c")) as folder, TokenWriter(folder, "uint8") as writer:
    ...     writer.write(np.frombuffer(b"some text", np.uint8))
    ...     writer.finish("bytes", ByteVocabulary())
    >>> engine.open_tokens(folder).read(5, 9).tolist()
    [116, 101, 120, 116]
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder, self.dtype = folder, one_of("dtype", dtype, TYPES)
        self.tokens = 0
        self._form = np.dtype(TYPES[dtype])
        self._path, self._temporary = folder / TOKENS, temporary_for(folder / TOKENS)
        self._pending, self._sums = bytearray(), bytearray()
        self._file: Any = None

    def __enter__(self) -> TokenWriter:
        try:
            self._file = open(self._temporary, "wb", buffering=0)
        except OSError as error:
            raise storage_error(self._path, "to open it for writing", error) from error
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        left = [self._temporary, temporary_for(self.folder / CHECKSUMS)]
        if not (self.folder / INDEX).exists():  # without it the others belong to nothing
            left += [self._path, self.folder / CHECKSUMS]
        for path in left:
            with contextlib.suppress(OSError):
                path.unlink()

    def write(self, ids: NDArray[Any]) -> None:
        """Append ids (n,), which the type holds.

        Raises
        ------
        StorageError
            The disk is full, or takes nothing.
        """
        self.tokens += len(ids)
        self._pending += np.ascontiguousarray(ids, self._form).data
        whole = len(self._pending) // BLOCK * BLOCK
        if whole:
            for start in range(0, whole, BLOCK):
                self._write_block(bytes(self._pending[start : start + BLOCK]))
            del self._pending[:whole]

    def finish(self, level: str, vocabulary: Any, sources: Sequence[dict[str, Any]] = ()) -> None:
        """Write what is left, the checksums and, at last, the index.

        Parameters
        ----------
        level : str
            What a token is.
        vocabulary : Vocabulary, ByteVocabulary or WordVocabulary
            What the ids mean.
        sources : list of dict
            ``name`` and ``start`` of each text.

        Raises
        ------
        StorageError
            The disk is full, or takes nothing.
        """
        size = self.tokens * self._form.itemsize
        try:
            if self._pending:
                self._write_block(bytes(self._pending))
            self._file.truncate(size)  # a hole at the end is part of the file
            os.fsync(self._file.fileno())
            os.replace(self._temporary, self._path)
            sync_directory(self.folder)
        except OSError as error:
            raise storage_error(self._path, f"to write {size:,} bytes", error) from error
        write_atomic(self.folder / CHECKSUMS, bytes(self._sums))
        said = {
            "format": FORMAT,
            "version": VERSION,
            "level": level,
            "dtype": self.dtype,
            "tokens": self.tokens,
            "block": BLOCK,
            "checksum": zlib.crc32(self._sums),
            "sources": list(sources),
            "vocabulary": vocabulary.to_json(),
        }
        write_atomic(self.folder / INDEX, (json.dumps(said, indent=1) + "\n").encode())

    def _write_block(self, block: bytes) -> None:
        self._sums += zlib.crc32(block).to_bytes(4, "little")
        try:
            if block == _HOLE:
                self._file.seek(BLOCK, os.SEEK_CUR)
            else:
                write_all(self._file, block)
        except OSError as error:
            raise storage_error(self._path, f"to write {len(block):,} bytes", error) from error


def write_all(file: Any, data: bytes) -> None:
    """Write all of it: an unbuffered write may stop short where the disk ends."""
    rest = memoryview(data)
    while rest:
        written = file.write(rest)
        if not written:
            raise OSError(28, "no room is left on the disk")
        rest = rest[written:]
