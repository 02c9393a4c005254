"""From a file or a data frame to a table; the content of a file decides what it is, not its name."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from engine.checks import describe, integer
from engine.data.data_checks import bad_data
from engine.data.delimited import read_delimited
from engine.data.encodings import decode_text
from engine.data.files import read_bytes
from engine.data.frames import frame_table
from engine.data.sniffing import BLANKS
from engine.data.table import TABLE_FILE, ArrayTable, Table
from engine.errors import bad_input, bad_type

_NPY_MAGIC = b"\x93NUMPY"
_NPY_FILE = "an NPY file of numbers (N,) or (N, C)"
# Names for delimiters that are awkward to type on a command line.
_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "blank": BLANKS, "blanks": BLANKS, "space": BLANKS}


def read_table(
    source: str | os.PathLike[str] | Any,
    *,
    decimal: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    skip: int = 0,
) -> Table:
    """Read a table from a CSV file, an NPY file or a data frame.

    Parameters
    ----------
    source : file name, or data frame
        CSV: a header line with column names, one row a line. The cells are separated by commas, semicolons, tabs,
        vertical bars or runs of blanks. Lines that begin with # are comments, and empty rows at the end are no rows.
        NPY: numbers (N,) or (N, C), whose columns are named "0", "1", ...; loading it never runs code.
        Both may be compressed by gzip.
    decimal : "." or ",", optional
        The decimal sign. If left out, it is found from all cells of a column; cells that can be read in two ways, such
        as "1,001", are refused.
    delimiter : one character, "tab" or "blank", optional
        The character between cells; "blank" means runs of blanks. If left out, it is found from the first lines.
    encoding : str, optional
        Encoding of a text file, such as "cp1252". If left out, the file must be UTF-8, or start with a byte-order mark.
    skip : int
        How many lines to leave out at the top.

    Raises
    ------
    DataError
        The file cannot be used.
    InputError
        An option has no valid value.
    """
    if decimal is not None and not (isinstance(decimal, str) and decimal in (".", ",")):
        raise bad_input("decimal", '"." or ","', describe(decimal), "name the decimal sign of the file")
    cut = _delimiter(delimiter)
    lines = integer("skip", skip, 0)
    if not isinstance(source, str | os.PathLike):
        table = frame_table("path", source)
        if table is None:
            hint = "give the name of a file"
            raise bad_type("path", "a file name (str or Path) or a data frame", describe(source), hint)
        return table
    raw = read_bytes(source, TABLE_FILE)
    name = os.fspath(source)
    if raw.startswith(_NPY_MAGIC):
        return _read_npy(raw, name)
    if name.lower().endswith((".npy", ".npz")):
        got = "a ZIP archive (NPZ)" if raw.startswith(b"PK") else "a file without the NPY signature"
        raise bad_data(name, _NPY_FILE, got, "write one array with numpy.save(file, array)")
    text = decode_text(raw, source, TABLE_FILE, encoding)
    return read_delimited(text, name, decimal=decimal, delimiter=cut, skip=min(lines, len(text)))


def _delimiter(given: object) -> str | None:
    """Return the character that `given` stands for."""
    if given is None:
        return None
    expected = 'one character such as ";", or "tab" or "blank"'
    if not isinstance(given, str):
        raise bad_type("delimiter", expected, describe(given))
    found = _DELIMITER_NAMES.get(given.lower(), given)
    if len(found) != 1 or found.isalnum() or found in "\"'+-.#\n\r\0":
        raise bad_input("delimiter", expected, repr(given), "name what stands between the cells")
    return found


def _read_npy(raw: bytes, source: str) -> ArrayTable:
    try:
        array: Any = np.load(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # a damaged header raises anything, from SyntaxError to MemoryError
        reason = " ".join(str(error).split())
        got = "an array of Python objects" if "Object arrays" in reason else f"a damaged file ({reason})"
        hint = "write it again with numpy.save(file, array.astype(float))"
        raise bad_data(source, _NPY_FILE, got, hint) from None
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        hint = "write it again with numpy.save(file, array.astype(float))"
        raise bad_data(source, "numbers (N,) or (N, C) of at most 64 bits", f"dtype {array.dtype}", hint)
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise bad_data(source, "numbers (N,) or (N, C)", f"shape {array.shape}", "give rows (time) by columns")
    return ArrayTable(array if array.ndim == 2 else array[:, np.newaxis], source)
