"""Text in pieces: from files, packed or not, from pipes and from standard input, never whole in memory."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from typing import IO, Any

from engine.data.data_checks import bad_data
from engine.data.encodings import codec_of, mark_of, require_text
from engine.data.files import possible_name
from engine.data.guessing import likely
from engine.errors import DataError

#: Bytes that are read at a time.
PIECE = 1 << 17
STDIN = "-"
_EXPECTED = "a text"
_GZIP_MAGIC = b"\x1f\x8b"


def byte_pieces(name: str) -> Iterator[bytes]:
    """The bytes of a file in pieces, of which at least one is not empty; a gzip file is unpacked.

    Raises
    ------
    DataError
        The file is missing, a folder or a device, cannot be read, is empty, or is a damaged gzip file.
    """
    shown, empty = "standard input" if name == STDIN else name, True
    try:
        with _open(name) as file:
            start = file.read(PIECE)
            pieces: Any = _unpacked(start, file) if start.startswith(_GZIP_MAGIC) else _rest(start, file)
            for piece in pieces:
                empty = False
                yield piece
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise bad_data(shown, _EXPECTED, f"a damaged gzip file ({error})", "fetch or write it again") from None
    except FileNotFoundError:
        raise bad_data(shown, _EXPECTED, "no such file", f"check the name and the folder; {STDIN} is stdin") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise bad_data(shown, _EXPECTED, f"a file that cannot be read ({reason})", "check its permissions") from None
    if empty:
        raise bad_data(shown, _EXPECTED, "an empty file", "check that it was written completely")


def text_pieces(name: str, encoding: str | None = None) -> Iterator[str]:
    """The text of a file in pieces, with plain newlines and without a byte-order mark.

    Parameters
    ----------
    encoding : None lets a byte-order mark decide, and is UTF-8 without one.

    Raises
    ------
    DataError
        As `byte_pieces`; or the bytes are no text in that encoding, and then the message names the likely one.
    InputError
        No text encoding has that name.
    """
    shown, named = "standard input" if name == STDIN else name, codec_of(encoding)
    decoder: Any = None
    read = lines = 0
    first = True
    for raw in byte_pieces(name):
        if decoder is None:
            codec = named or mark_of(raw)
            if codec is None:
                require_text(raw, shown, _EXPECTED)
            decoder = _decoder(codec or "utf-8")
        try:
            text = decoder.decode(raw)
        except UnicodeDecodeError as error:
            raise _undecodable(shown, error, codec, read + len(raw) - len(error.object), lines) from None
        read += len(raw)
        lines += text.count("\n")
        if first and text:
            text, first = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), False
        yield _without_zero(text, shown)
    try:
        text = decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(shown, error, codec, read - len(error.object), lines) from None
    yield _without_zero(text, shown)


def _decoder(codec: str) -> Any:
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)("strict"), translate=True)


def _open(name: str) -> IO[bytes]:
    if name == STDIN:
        if sys.stdin is None or not hasattr(sys.stdin, "buffer"):
            raise bad_data("standard input", _EXPECTED, "none: it is closed", "name a file")
        return _NotClosed(sys.stdin.buffer)  # type: ignore[return-value]
    if not possible_name(name):
        raise bad_data(repr(name), _EXPECTED, "a name that no file can have", "check the name")
    mode = os.stat(name).st_mode
    if stat.S_ISDIR(mode):
        raise bad_data(name, _EXPECTED, "a directory", "name the file or files in it")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise bad_data(name, _EXPECTED, "a device", "name a file")
    return open(name, "rb")


class _NotClosed:
    """Standard input, which stays open."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read

    def __enter__(self) -> _NotClosed:
        return self

    def __exit__(self, *_: Any) -> None:
        """Nothing is closed."""


def _rest(start: bytes, file: IO[bytes]) -> Iterator[bytes]:
    piece = start
    while piece:
        yield piece
        piece = file.read(PIECE)


class _Joined(io.RawIOBase):
    """The beginning of a stream that was read already, and the rest of it."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start, self._file = start, file

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, room: Any) -> int:
        """Fill the room as far as one read goes."""
        found = self._start[: len(room)] or self._file.read(len(room))
        self._start = self._start[len(room) :]
        room[: len(found)] = found
        return len(found)


def _unpacked(start: bytes, file: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BufferedReader(_Joined(start, file), PIECE)) as packed:
        yield from _rest(packed.read(PIECE), packed)  # type: ignore[arg-type]


def _without_zero(text: str, name: str) -> str:
    if "\0" in text:
        raise bad_data(name, _EXPECTED, "a binary file (a zero character)", "name a text, or take --level bytes")
    return text


def _undecodable(name: str, error: UnicodeDecodeError, codec: str | None, before: int, lines: int) -> DataError:
    """The error for bytes that are no character; `before` bytes and about `lines` lines were read before its piece."""
    raw = bytes(error.object)
    line = lines + raw.count(b"\n", 0, error.start) + 1
    got = f"the byte 0x{raw[error.start]:02x} at offset {before + error.start:,} (line {line:,})"
    if error.end >= len(raw) and "end" in error.reason:
        return bad_data(name, _EXPECTED, f"{got}, where a character is cut short by the end", "get the whole text")
    found = likely(raw[max(0, error.start - PIECE) :], min(error.start, PIECE)) if codec in (None, "utf-8") else None
    hint = "name its encoding with --encoding (encoding=...), or correct it there"
    if found is not None:
        got, hint = f"{got}, likely {found.name} ({found.sample!r})", f"read it with --encoding {found.name}"
    return bad_data(name, f"text in {codec or 'UTF-8'}", got, hint)
