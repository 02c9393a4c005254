"""Reading a file as bytes and as UTF-8 text, with one clear error for each way in which that goes wrong."""

from __future__ import annotations

import codecs
import os

from engine.data.checks import bad_data
from engine.errors import bad_type

# UTF-32-LE starts with the two bytes of UTF-16-LE, so it is looked for first.
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_bytes(path: str | os.PathLike[str], expected: str) -> bytes:
    """Return the content of the file at `path`, which is never empty.

    `expected` says in the message what the file should have been ("a UTF-8 text file").

    Raises
    ------
    DataError
        The file is missing, is a directory, cannot be read, or is empty.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise bad_type("path", "a file name (str or Path)", type(path).__name__, "give the name of a file")
    name = os.fspath(path) or "''"
    if "\0" in name:
        raise bad_data(repr(name), expected, "a name that no file can have", "check the name")
    # A directory is refused in different ways by different systems, so it is looked for first.
    if os.path.isdir(path):
        raise bad_data(name, expected, "a directory", "name the file or files in it")
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        raise bad_data(name, expected, "no such file", f"check the name and the folder ({os.getcwd()})") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise bad_data(name, expected, f"a file that cannot be read ({reason})", "check its permissions") from None
    if not raw:
        raise bad_data(name, expected, "an empty file", "check that it was written completely")
    return raw


def decode_text(raw: bytes, path: str | os.PathLike[str], expected: str) -> str:
    """Decode UTF-8 strictly, drop a byte-order mark, and turn every line end into a plain newline.

    Raises
    ------
    DataError
        The bytes are of a binary file, in another encoding, or nothing but a byte-order mark.
    """
    name = os.fspath(path)
    for mark, encoding in _OTHER_MARKS:
        if raw.startswith(mark):
            mend = f"convert it, for example with: iconv -f {encoding} -t UTF-8"
            raise bad_data(name, expected, f"{encoding} text", mend)
    zero = raw.find(b"\0")
    if zero >= 0:
        mend = "unpack an archive, or export a document as plain text, and name that file"
        raise bad_data(name, expected, f"a binary file (a zero byte at offset {zero})", mend)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte-order mark.
        offset = error.start + (len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0)
        line = raw.count(b"\n", 0, offset) + 1
        got = f"the byte 0x{raw[offset]:02x} at offset {offset} (line {line}), which is not UTF-8"
        mend = "if it is text, convert it, for example with: iconv -f LATIN1 -t UTF-8; otherwise name another file"
        raise bad_data(name, expected, got, mend) from None
    if not text:
        raise bad_data(
            name, expected, "an empty file (a byte-order mark alone)", "check that it was written completely"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")
