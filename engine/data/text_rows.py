"""Rows of cells that hold text: CSV and TSV files with texts and labels, with a header line or without one."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from engine.data.data_checks import bad_data
from engine.data.encodings import decode_text
from engine.data.files import read_bytes

_TEXT_FILE = "a UTF-8 text file"
_DELIMITERS = ("\t", ",", ";", "|")
# The delimiter is found from so many records.
_SAMPLE = 50


@dataclass(frozen=True)
class CellRows:
    """The records of a file.

    Attributes
    ----------
    cells : the cells of each record, without blanks around them.
    lines : the line on which each record begins, from 1.
    source : the name of the file.
    """

    cells: list[list[str]]
    lines: list[int]
    source: str

    def without_first(self) -> CellRows:
        """The rows below a header line."""
        return CellRows(self.cells[1:], self.lines[1:], self.source)


def read_cells(
    path: str | os.PathLike[str], *, delimiter: str | None = None, encoding: str | None = None, skip: int = 0
) -> CellRows:
    """Return the records of a file; blank lines are none.

    Cells between tabs are taken as they are, since texts hold quotation marks that do not pair; a cell that is wholly
    in quotation marks loses them.  Between other delimiters the rules of CSV hold.  A file whose name ends in ``.txt``
    and that holds no tab is a text a line.

    Parameters
    ----------
    delimiter : one character, or None to tell it from the first records.
    skip : lines at the top that are left out.

    Raises
    ------
    DataError
        The file cannot be read, holds no text, or its quotation marks do not pair.
    """
    name = os.fspath(path)
    text = decode_text(read_bytes(path, _TEXT_FILE), path, _TEXT_FILE, encoding)
    body = "".join(islice(io.StringIO(text), skip, None))
    if not body.strip():
        raise bad_data(name, "rows of text", "nothing but blank lines", "check that it was written completely")
    cut = {"tab": "\t", "blank": " "}.get(delimiter or "", delimiter) or _tell_delimiter(body, name)
    if cut == "" or cut == "\t":
        found = [
            (number, [line.strip()] if cut == "" else [_unquoted(cell.strip()) for cell in line.split(cut)])
            for number, line in enumerate(body.split("\n"), skip + 1)
            if line.strip()
        ]
    else:
        found = _records(body, cut, name, skip)
    return CellRows([cells for _, cells in found], [number for number, _ in found], name)


def _unquoted(cell: str) -> str:
    """A cell without the quotation marks that a spreadsheet puts around it."""
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"' or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"').strip()


def _records(body: str, delimiter: str, name: str, skip: int) -> list[tuple[int, list[str]]]:
    """The records of a CSV text, each with the line on which it begins."""
    reader = csv.reader(io.StringIO(body), delimiter=delimiter, skipinitialspace=True, strict=True)
    found, begin = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append((begin + skip, [cell.strip() for cell in cells]))
            begin = reader.line_num + 1
    except csv.Error as error:
        hint = "check the quotation marks, or write the file with tabs between the cells"
        got = f"an error from line {begin + skip} on ({error})"
        raise bad_data(name, "well-formed CSV", got, hint) from None
    return found


def _tell_delimiter(body: str, name: str) -> str:
    """Return what stands between the cells, "" if each line is one text."""
    lines = name.lower().endswith(".txt")
    if "\t" in next(line for line in body.split("\n") if line.strip()):
        return "\t"
    if lines:
        return ""
    merits: dict[str, float] = {}
    for delimiter in _DELIMITERS[1:]:
        widths = _widths(body, delimiter)
        if not widths:
            continue
        width, agreeing = Counter(widths).most_common(1)[0]
        if width > 1 and agreeing == len(widths):
            return delimiter
        merits[delimiter] = agreeing / len(widths) if width > 1 else 0.0
    best = max(merits, key=lambda delimiter: merits[delimiter], default=",")
    if merits.get(best, 0.0) < 0.5:  # nothing cuts most rows: one column, in which CSV's quotation marks may stand
        return "," if name.lower().endswith(".csv") and set(_widths(body, ",")) == {1} else ""
    return best


def _widths(body: str, delimiter: str) -> list[int]:
    """How many cells each of the first records has."""
    reader = csv.reader(io.StringIO(body), delimiter=delimiter, skipinitialspace=True)
    return [len(cells) for cells in islice(reader, _SAMPLE) if any(cell.strip() for cell in cells)]


def require_even(rows: CellRows, width: int) -> None:
    """Raise unless every record has `width` cells."""
    for line, cells in zip(rows.lines, rows.cells, strict=True):
        if len(cells) != width:
            hint = "give every row the same cells, with quotation marks around a text that holds the delimiter"
            wanted = f"{width} cells a row as in the first line" if width > 1 else "one cell a row as in the first line"
            raise bad_data(rows.source, wanted, f"{len(cells)} in line {line}", hint)


def distinct(rows: CellRows, place: int) -> int:
    """How many different cells a column has."""
    return len({cells[place] for cells in rows.cells})


def mean_length(rows: CellRows, place: int) -> float:
    """Characters of a column's cells, in the mean."""
    return sum(len(cells[place]) for cells in rows.cells) / max(1, len(rows.cells))


def fewest_values(rows: CellRows) -> int:
    """The column with the fewest different cells, of equals the one with the shortest, then the last."""
    places = range(len(rows.cells[0]))
    return min(places, key=lambda place: (distinct(rows, place), mean_length(rows, place), -place))


def listed(names: Sequence[str]) -> str:
    """Names in quotation marks, of many the first ones."""
    shown = ", ".join(map(repr, names[:20]))
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
