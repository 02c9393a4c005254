"""From bytes to text, in the encoding that the user names, or that a byte-order mark names, or else in UTF-8."""

from __future__ import annotations

import codecs
import os

from engine.checks import describe
from engine.data.data_checks import bad_data
from engine.data.guessing import cut_short, likely, mostly_utf8, wide
from engine.errors import DataError, bad_input, bad_type

# UTF-32-LE starts with the two bytes of UTF-16-LE, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Packed files, by how they begin.
_PACKED = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"BZh": "a file packed by bzip2",
    b"\xfd7zXZ\x00": "a file packed by xz",
    b"(\xb5/\xfd": "a file packed by Zstandard",
}


def decode_text(raw: bytes, path: str | os.PathLike[str], expected: str, encoding: str | None = None) -> str:
    """Decode strictly, drop a byte-order mark, and turn every line end into a plain newline.

    Parameters
    ----------
    encoding : str, optional
        Left out, a byte-order mark decides, and without one the text must be UTF-8.

    Raises
    ------
    DataError
        The bytes are of a binary file, in another encoding (the message names the likely one), or nothing but a
        byte-order mark.
    InputError
        No text encoding has that name.
    """
    name = os.fspath(path)
    codec = codec_of(encoding)
    if codec is None:
        codec = mark_of(raw)
        if codec is None:
            require_text(raw, name, expected)
    try:
        text = raw.decode(codec or "utf-8").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        raise _undecodable(raw, error, name, expected, codec) from None
    except UnicodeError as error:  # a codec for something else than whole texts
        raise bad_data(name, f"text in {codec}", f"bytes that are none ({error})", "name another encoding") from None
    if not text:
        hint = "check that it was written completely"
        raise bad_data(name, expected, "an empty file (a byte-order mark alone)", hint)
    if "\0" in text:
        hint = "name another encoding, or another file"
        raise bad_data(name, f"text in {codec}", f"a zero at character {text.index(chr(0))}", hint)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def mark_of(raw: bytes) -> str | None:
    """Return the encoding that a byte-order mark at the start of the bytes names."""
    return next((found for mark, found in _MARKS if raw.startswith(mark)), None)


def codec_of(encoding: object) -> str | None:
    """Return Python's name of the encoding that was named."""
    if encoding is None:
        return None
    expected = 'the name of a text encoding, such as "cp1252"'
    if not isinstance(encoding, str):
        raise bad_type("encoding", expected, describe(encoding))
    try:
        found = codecs.lookup(encoding)
    except (LookupError, ValueError):
        raise bad_input("encoding", expected, describe(encoding), "check its spelling") from None
    if not found._is_text_encoding:  # such as "zip", which turns bytes into bytes
        raise bad_input("encoding", expected, describe(encoding), "unpack the file first")
    return found.name


def require_text(raw: bytes, name: str, expected: str) -> None:
    """Raise unless the bytes are text in an encoding that keeps ASCII as it is."""
    for magic, got in _PACKED.items():
        if raw.startswith(magic):
            raise bad_data(
                name, expected, f"a binary file ({got})", "unpack it, or export the data as text, and name that file"
            )
    zero = raw.find(b"\0")
    if zero < 0:
        return
    found = wide(raw)
    if found:
        raise bad_data(name, expected, f"what is likely {found} without a byte-order mark", _name_it(found))
    hint = "unpack an archive, or export a document as plain text, and name that file"
    raise bad_data(name, expected, f"a binary file (a zero byte at offset {zero})", hint)


def _undecodable(raw: bytes, error: UnicodeDecodeError, name: str, expected: str, codec: str | None) -> DataError:
    """Build the error for bytes that are no character in `codec`, None for UTF-8."""
    offset = error.start
    line = raw.count(b"\n" if b"\n" in raw else b"\r", 0, offset) + 1
    got = f"the byte 0x{raw[offset]:02x} at offset {offset} (line {line}), "
    utf8 = codec in (None, "utf-8", "utf-8-sig")
    if utf8 and cut_short(raw, error):
        hint = f"get the whole file, or cut off what is left of it, the last {len(raw) - offset} of {len(raw):,} bytes"
        return bad_data(name, expected, f"{got}where a UTF-8 character is cut short by the end of the file", hint)
    if utf8 and mostly_utf8(raw, offset):
        hint = "correct it there, or get the file again"
        return bad_data(name, expected, f"{got}which is damaged: the rest of the text is UTF-8", hint)
    found = likely(raw, offset)
    got += f"which is no character in {codec}" if codec else "which is not UTF-8"
    if found is None:
        hint = "if it is text, name its encoding with --encoding (encoding=...), else name another file"
    else:
        got += f", but likely {found.name} ({found.sample!r})"
        hint = _name_it(found.name)
    return bad_data(name, f"text in {codec}" if codec else expected, got, hint)


def _name_it(encoding: str) -> str:
    return f'read it with --encoding {encoding} (encoding="{encoding}")'
