"""A prepared corpus: a folder with a file of token ids, which is mapped into memory and read by position.

``tokens.bin`` holds the ids one after another in the smallest integer type; ``checksums.bin`` a CRC-32 for each block
of it; ``index.json`` says the rest, and is written last: a folder without it holds no corpus.  Nothing is read before
it is asked for, and a block is checked when something in it is read for the first time.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, file_name, fraction, integer
from engine.data.corpus.coding import vocabulary_from_json
from engine.data.data_checks import bad_data
from engine.errors import DataError, InputError, bad_input

INDEX, TOKENS, CHECKSUMS = "index.json", "tokens.bin", "checksums.bin"
FORMAT, VERSION = "bptt tokens", 1
#: Bytes of a block, which has one checksum: so much is read to check one id.
BLOCK = 1 << 16
TYPES = {"uint8": "<u1", "uint16": "<u2", "uint32": "<u4"}
_EXPECTED, _MEND = "a folder that 'bptt prepare' wrote", "prepare the text again"
#: An index is never larger; a word of a vocabulary takes about ten bytes of it.
_MOST_INDEX = 1 << 28
_RULES: dict[str, tuple[type, ...]] = {"level": (str,), "dtype": (str,), "tokens": (int,), "checksum": (int,)}


def smallest_type(ids: int) -> str:
    """The smallest of `TYPES` that holds 0 .. ids - 1."""
    return next(name for name, form in TYPES.items() if ids - 1 <= np.iinfo(form).max)


class _File:
    """The mapped file with its checksums; all parts of a corpus share it.

    Parameters
    ----------
    folder : of the corpus.
    form : dtype of the ids.
    tokens : how many there are.
    checksum : of the file of checksums.
    """

    def __init__(self, folder: Path, form: str, tokens: int, checksum: int) -> None:
        self.path, self.form = folder / TOKENS, np.dtype(form)
        size, sums = tokens * self.form.itemsize, folder / CHECKSUMS
        self.sums = np.frombuffer(_whole_file(sums, 4 * -(-size // BLOCK)), "<u4")
        if zlib.crc32(self.sums.tobytes()) != checksum:
            raise bad_data(sums, "checksums as they were written", "others", f"the file is damaged: {_MEND}")
        self._descriptor = _opened(self.path)
        self._size = size
        self.require_size()
        self.ids: NDArray[Any] = np.memmap(self.path, self.form, "r", shape=(tokens,))
        self.good = np.zeros(len(self.sums), bool)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def require_size(self) -> None:
        """Raise if the file is shorter or longer than it was: a map must not be read behind the end of its file."""
        found = os.fstat(self._descriptor).st_size
        if found != self._size:
            raise bad_data(self.path, f"{self._size:,} bytes, as {INDEX} says", f"{found:,}", f"it is cut: {_MEND}")

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """The ids from `start` to before `stop`, copied, after a check of their blocks."""
        self.require_size()
        size = self.form.itemsize
        for block in range(start * size // BLOCK, -(-stop * size // BLOCK)):
            if not self.good[block]:
                self._check(block)
        return self.ids[start:stop].astype(np.int32)

    def _check(self, block: int) -> None:
        content = self.ids.view(np.uint8)[block * BLOCK : (block + 1) * BLOCK].tobytes()
        if zlib.crc32(content) != int(self.sums[block]):
            where = f"bytes {block * BLOCK:,} to {block * BLOCK + len(content) - 1:,}"
            raise bad_data(self.path, f"block {block:,} ({where}) as it was written", "other bytes", _MEND)
        self.good[block] = True


class TokenStore:
    """The ids of a prepared corpus, or of a part of it, in their order.  `open_tokens` makes one.

    Parameters
    ----------
    path : Path
        The folder.
    said : dict
        Its index, checked.
    file : object
        The mapped file.
    span : tuple of int
        The first id of this part, and the one behind its last.

    Attributes
    ----------
    path : Path
        The folder.
    level : str
        What a token is: ``"characters"``, ``"bytes"`` or ``"words"``.
    dtype : numpy.dtype
        The integer type of the file.
    vocabulary : Vocabulary, ByteVocabulary or WordVocabulary
        What the ids mean.
    fingerprint : str
        A hash of the index, which has the checksum of all checksums: of the contents, without a look at them.
    sources : list of dict
        The files that were prepared: ``name``, and where their tokens ``start``.
    """

    def __init__(self, path: Path, said: dict[str, Any], file: _File, span: tuple[int, int]) -> None:
        self.path, self.level, self.dtype = path, str(said["level"]), file.form
        self.vocabulary: Any = said["vocabulary"]
        self.fingerprint: str = said["fingerprint"]
        self.sources: list[dict[str, Any]] = said["sources"]
        self._said, self._file, (self._start, self._stop) = said, file, span

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._stop - self._start

    def __repr__(self) -> str:
        kinds = f"{len(self.vocabulary):,} different"
        return f"<TokenStore {self.path}: {len(self):,} {self.level}, {kinds}, {self.dtype}>"

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the ids (stop - start,) from `start` to before `stop`, copied.

        Raises
        ------
        InputError
            ``start <= stop`` is no range of this part.
        DataError
            What was written there is not what stands there now.
        """
        first, end = integer("start", start, 0), integer("stop", stop, 0)
        if not first <= end <= len(self):
            raise bad_input("stop", f"start <= stop <= {len(self)}", f"{describe(start)} and {describe(stop)}")
        return self._file.read(self._start + first, self._start + end)

    def part(self, start: int, stop: int) -> TokenStore:
        """Return the ids from `start` to before `stop` as a store of their own; nothing is read.

        Raises
        ------
        InputError
            ``start <= stop`` is no range of this part.
        """
        first, end = integer("start", start, 0), integer("stop", stop, 0)
        if not first <= end <= len(self):
            raise bad_input("stop", f"start <= stop <= {len(self)}", f"{describe(start)} and {describe(stop)}")
        return TokenStore(self.path, self._said, self._file, (self._start + first, self._start + end))

    def split(self, validation: float, most: int | None = None) -> tuple[TokenStore, TokenStore]:
        """Return the first part to train on, and the last `validation` of it (at most `most` ids) to validate on.

        Raises
        ------
        InputError
            A part would be empty.
        """
        share = fraction("validation", validation, zero_allowed=True)
        size = len(self)
        held_out = round(size * share)
        if most is not None:
            held_out = min(held_out, integer("most", most, 0))
        if share > 0 and not 0 < held_out < size:
            expected = f"enough tokens that both parts of a split at {share:g} get something"
            raise bad_data(self.path, expected, f"{size}", "prepare more text, or hold out another fraction")
        return self.part(0, size - held_out), self.part(size - held_out, size)

    def check(self) -> None:
        """Read all of it, and compare it with its checksums.

        Raises
        ------
        DataError
            A block is not what was written; the message names it.
        """
        step = 1 << 20
        for start in range(self._start, self._stop, step):
            self._file.read(start, min(self._stop, start + step))


def open_tokens(path: str | os.PathLike[str]) -> TokenStore:
    r"""Open a corpus that `engine.prepare_tokens` or ``bptt prepare`` wrote; its ids are read when they are asked for.

    Parameters
    ----------
    path : str or path
        The folder.

    Returns
    -------
    TokenStore
        ``store.read(start, stop)`` reads ids; `engine.data.contiguous_batches` takes it in place of an array.

    Raises
    ------
    DataError
        It is no such folder, or a file in it is missing or damaged.

    Examples
    --------
    >>> import os, tempfile
    >>> import engine
    >>> from engine.data import contiguous_batches
    >>> folder = tempfile.mkdtemp()
    >>> with open(os.path.join(folder, "text.txt"), "w") as file:
    ...     _ = file.write("the tide comes in and the tide goes out\n" * 50)
    >>> _ = engine.prepare_tokens([os.path.join(folder, "text.txt")], os.path.join(folder, "corpus"))
    >>> store = engine.open_tokens(os.path.join(folder, "corpus"))
    >>> len(store), store.dtype, store.vocabulary.decode(store.read(4, 14))
    (2000, dtype('uint8'), 'tide comes')
    >>> batches = contiguous_batches(store, batch_size=4, steps=25)
    >>> len(batches), batches.batch(3).inputs.shape
    (20, (25, 4))
    """
    folder = file_name("path", path)
    said = _read_index(folder)
    file = _File(folder, TYPES[said["dtype"]], said["tokens"], said["checksum"])
    return TokenStore(folder, said, file, (0, said["tokens"]))


def _read_index(folder: Path) -> dict[str, Any]:
    """The index of a corpus, checked, with its vocabulary and the fingerprint."""
    if not os.path.isdir(folder):
        got = "a file" if os.path.exists(folder) else "no such folder"
        raise bad_data(folder, _EXPECTED, got, "prepare a text: bptt prepare TEXT --out DIR")
    path = folder / INDEX
    if not os.path.exists(path):
        raise bad_data(folder, _EXPECTED, f"one without {INDEX}", "prepare a text: bptt prepare TEXT --out DIR")
    raw = _whole_file(path, None)
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        raise bad_data(path, "the index of a corpus in JSON", "something else", f"it is damaged: {_MEND}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise bad_data(path, f"an index with the format {FORMAT!r}", "another file", "name another folder")
    if said.get("version") != VERSION or said.get("block") != BLOCK:
        raise bad_data(path, f"version {VERSION} of the format", describe(said.get("version")), _MEND)
    for name, kinds in _RULES.items():
        if type(said.get(name)) not in kinds:
            raise _bad_entry(path, name, said.get(name))
    if said["dtype"] not in TYPES or said["tokens"] < 0 or not isinstance(said.get("sources"), list):
        name = "dtype" if said["dtype"] not in TYPES else "tokens" if said["tokens"] < 0 else "sources"
        raise _bad_entry(path, name, said.get(name))
    try:
        said["vocabulary"] = vocabulary_from_json(said.get("vocabulary"))
    except InputError as error:
        raise bad_data(path, "an index with a vocabulary", f"'{error}'", _MEND) from None
    said["fingerprint"] = hashlib.sha256(raw).hexdigest()[:16]
    return said


def _bad_entry(path: Path, name: str, got: Any) -> DataError:
    return bad_data(path, f"an index with {name!r} as it was written", describe(got), f"it is damaged: {_MEND}")


def _whole_file(path: Path, size: int | None) -> bytes:
    """The bytes of a file, which has so many."""
    descriptor = _opened(path)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor).st_size
        if size is None and found > _MOST_INDEX:
            raise bad_data(path, f"at most {_MOST_INDEX:,} bytes", f"{found:,}", _MEND)
        if size is not None and found != size:
            raise bad_data(path, f"{size:,} bytes, as {INDEX} says", f"{found:,}", f"it is damaged: {_MEND}")
        return file.read()


def _opened(path: Path) -> int:
    try:
        if not path.is_file():
            got = "no such file" if not path.exists() else "something that is no file"
            raise bad_data(path, "a file of a corpus", got, _MEND)
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        hint = "check its permissions"
        raise bad_data(path, "a file that can be read", f"'{error.strerror or error}'", hint) from None
