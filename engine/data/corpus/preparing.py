"""From texts to a corpus of ids, in two passes of which the second reads ids alone.

The first pass cuts the text into tokens, numbers them in the order of their first appearance, and writes these numbers
to a file.  Then the vocabulary is known, and the second pass gives each number its id.  So a text is read once, and may
come from a pipe; and what is in memory at one time is a piece of the text and the vocabulary.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.atomic import storage_error, temporary_for
from engine.checks import describe, integer, one_of
from engine.data.corpus.coding import ByteVocabulary, WordVocabulary
from engine.data.corpus.cutting import Characters, Words
from engine.data.corpus.store import TYPES, smallest_type
from engine.data.corpus.streaming import STDIN, byte_pieces, text_pieces
from engine.data.corpus.writer import RAW, TokenWriter, corpus_folder, write_all
from engine.data.encodings import codec_of
from engine.data.files import file_name
from engine.errors import bad_input, bad_type

#: What a text can be cut into.
LEVELS = ("characters", "bytes", "words")
#: Numbers that are given their ids at a time.
_PIECE = 1 << 18


class Prepared(NamedTuple):
    """What `prepare_tokens` wrote.

    Attributes
    ----------
    folder : Path
        Where it lies.
    level : str
        What a token is.
    tokens, kinds : int
        How many there are, and how many different ids a model has to know.
    dtype : str
        The integer type of the file.
    unknown : float
        The share of the tokens that the vocabulary does not know.
    """

    folder: Path
    level: str
    tokens: int
    kinds: int
    dtype: str
    unknown: float


def prepare_tokens(
    sources: Any,
    out: str | os.PathLike[str],
    *,
    level: str = "characters",
    encoding: str | None = None,
    minimum_count: int = 2,
    vocabulary: int = 20_000,
    tell: Callable[[int], None] = lambda tokens: None,
) -> Prepared:
    """Make a corpus of token ids of texts, which may be larger than memory.

    Parameters
    ----------
    sources : str, path or list of these
        Text files in their order, packed by gzip or not, or pipes; ``"-"`` is standard input.  A file that does not
        end in a newline gets one before the next file, except by bytes.
    out : str or path
        The folder of the corpus.  Its files appear when all is written.
    level : str
        ``"characters"``; ``"bytes"``, as they are; or ``"words"``, in lower case, with punctuation marks as words.
    encoding : str, optional
        Of the texts, such as "cp1252"; left out, UTF-8 or what a byte-order mark says.
    minimum_count, vocabulary : int
        Of words: those that are rarer, or beyond the most frequent ``vocabulary - 1``, get the id 0.
    tell : callable
        Is called with the number of tokens that were read, piece by piece.

    Returns
    -------
    Prepared
        What was written; `engine.open_tokens` opens it.

    Raises
    ------
    InputError, InputTypeError
        For an argument that cannot be, or a folder that holds a corpus already.
    DataError
        A source cannot be read, is empty, or is no text.
    StorageError
        The disk is full, or takes nothing; the folder holds nothing half then.

    Examples
    --------
    >>> import os, tempfile
    >>> import engine
    >>> folder = tempfile.mkdtemp()
    >>> with open(os.path.join(folder, "a.txt"), "w", encoding="utf-8") as file:
    ...     _ = file.write("Was it a cat I saw? " * 30)
    >>> for level in ("characters", "bytes", "words"):
    ...     found = engine.prepare_tokens(os.path.join(folder, "a.txt"), os.path.join(folder, level), level=level)
    ...     print(found.tokens, found.kinds, found.dtype)
    600 10 uint8
    600 256 uint8
    210 8 uint8
    """
    names = _names(sources)
    one_of("level", level, LEVELS)
    least, most = integer("minimum_count", minimum_count, 1), integer("vocabulary", vocabulary, 2)
    if level == "bytes" and encoding is not None:
        raise bad_input("encoding", "None for bytes, which are taken as they are", describe(encoding))
    codec_of(encoding)
    if not callable(tell):
        raise bad_type("tell", "a function of a number of tokens", describe(tell))
    with corpus_folder(out) as folder:
        if level == "bytes":
            return _bytes(folder, names, tell)
        cutter: Any = Characters() if level == "characters" else Words()
        with _Numbers(folder) as numbers:
            starts = _first_pass(names, encoding, cutter, numbers, tell)
            if level == "characters":
                known, ids = cutter.vocabulary()
            else:
                known, ids = cutter.vocabulary(least, most)
                if len(known) == 1:
                    often = f"at most {cutter.most_often():,}, as often as the most frequent word occurs"
                    raise bad_input("minimum_count", often, describe(least))
            return _second_pass(folder, level, known, ids, numbers, starts)


def _names(sources: Any) -> list[str]:
    """The names of the sources."""
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    if not isinstance(given, list | tuple):
        raise bad_type("sources", "a file name or a list of them", describe(sources))
    names = [file_name(name) for name in given]
    if not names:
        raise bad_input("sources", "at least one text", "none", f"name files, or {STDIN} for standard input")
    if names.count(STDIN) > 1:
        raise bad_input("sources", f"{STDIN} once, for standard input", f"it {names.count(STDIN)} times")
    return names


def _bytes(folder: Path, names: Sequence[str], tell: Callable[[int], None]) -> Prepared:
    """The bytes themselves are the ids: one pass."""
    with TokenWriter(folder, "uint8") as writer:
        starts = []
        for name in names:
            starts.append(_source(name, writer.tokens))
            for piece in byte_pieces(name):
                writer.write(np.frombuffer(piece, np.uint8))
                tell(writer.tokens)
        vocabulary = ByteVocabulary()
        writer.finish("bytes", vocabulary, starts)
    return Prepared(folder, "bytes", writer.tokens, len(vocabulary), "uint8", 0.0)


def _source(name: str, start: int) -> dict[str, Any]:
    return {"name": "standard input" if name == STDIN else os.path.basename(name), "start": start}


def _first_pass(
    names: Sequence[str], encoding: str | None, cutter: Any, numbers: _Numbers, tell: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Number the tokens of all texts; where each text begins."""
    starts, last = [], "\n"
    for name in names:
        if not last.endswith("\n"):
            numbers.write(cutter.cut("\n"))
        starts.append(_source(name, numbers.count))
        for piece in text_pieces(name, encoding):
            last = piece or last
            numbers.write(cutter.cut(piece))
            tell(numbers.count)
        numbers.write(cutter.rest())
    if not numbers.count:
        shown = ", ".join("standard input" if name == STDIN else name for name in names)
        raise bad_input("sources", "a text with words" if names else "a text", f"none in {shown}", "give more text")
    return starts


def _second_pass(
    folder: Path, level: str, vocabulary: Any, ids: NDArray[np.int64], numbers: _Numbers, starts: Sequence[Any]
) -> Prepared:
    """Give each number its id."""
    dtype, unknown = smallest_type(len(vocabulary)), 0
    table = ids.astype(TYPES[dtype])
    with TokenWriter(folder, dtype) as writer:
        for piece in numbers.pieces():
            found = table[piece]
            unknown += int((found == 0).sum()) if isinstance(vocabulary, WordVocabulary) else 0
            writer.write(found)
        writer.finish(level, vocabulary, starts)
    return Prepared(folder, level, writer.tokens, len(vocabulary), dtype, unknown / writer.tokens)


class _Numbers:
    """A file of numbers that grow: each stretch of it in the smallest type that holds them.

    Attributes
    ----------
    count : numbers that were written.
    """

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._path = folder / RAW
        self._temporary = temporary_for(self._path)
        self._stretches: list[tuple[str, int]] = []
        self._file: Any = None

    def __enter__(self) -> _Numbers:
        try:
            self._file = open(self._temporary, "w+b", buffering=0)
        except OSError as error:
            raise storage_error(self._path, "to open it for writing", error) from error
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def write(self, numbers: NDArray[Any]) -> None:
        """Append numbers (n,), which are 0 or more."""
        if not len(numbers):
            return
        dtype = smallest_type(int(numbers.max()) + 1)
        if self._stretches and TYPES[self._stretches[-1][0]] > TYPES[dtype]:
            dtype = self._stretches[-1][0]  # the types rise, and there are three stretches at most
        if not self._stretches or self._stretches[-1][0] != dtype:
            self._stretches.append((dtype, 0))
        try:
            write_all(self._file, np.ascontiguousarray(numbers, TYPES[dtype]).tobytes())
        except OSError as error:
            raise storage_error(self._path, f"to write {len(numbers):,} numbers", error) from error
        self._stretches[-1] = dtype, self._stretches[-1][1] + len(numbers)
        self.count += len(numbers)

    def pieces(self) -> Iterator[NDArray[Any]]:
        """All numbers in their order, piece by piece."""
        self._file.seek(0)
        for dtype, count in self._stretches:
            form = np.dtype(TYPES[dtype])
            for start in range(0, count, _PIECE):
                size = min(_PIECE, count - start) * form.itemsize
                raw = bytearray()
                while len(raw) < size:
                    part = self._file.read(size - len(raw))
                    if not part:
                        raise storage_error(self._path, "what was written to it", OSError(5, "an end before its end"))
                    raw += part
                yield np.frombuffer(raw, form)
