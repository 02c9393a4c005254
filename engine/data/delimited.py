"""Text tables: the header line, the delimiter and the rows of CSV files and similar files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.data.numbers import MISSING, Column, looks_numeric, point_in_doubt, read_numbers
from engine.data.sniffing import (
    BLANKS,
    COMMENT,
    cut_line,
    first_lines,
    lines_above,
    tell_delimiter,
    used_cells,
)
from engine.data.table import HEAD, TABLE_FILE, Table, listed
from engine.errors import DataError

# The first line of a file that is meant for Excel.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*\n?', re.IGNORECASE)
# A number whose comma is the decimal sign beyond doubt.
_COMMA = re.compile(r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+),(?:[0-9]{1,2}|[0-9]{4,})")


@dataclass(frozen=True)
class Records:
    """The records of a text: cells in quotation marks may run over several lines; comments are no records."""

    text: str
    source: str
    delimiter: str
    skip: int  # lines at the top that are left out
    drop: int = 0  # records that are left out below them
    blank_is_row: bool = False  # in a file of one column, a blank line is a cell that is missing
    plain: bool = False  # it is known that each line is a record of as many cells

    def rows(self) -> Iterator[list[str]]:
        """Yield the cells of each record; three times as fast where the text is plain."""
        if not self.plain:
            return (cells for _, cells in self)
        lines = islice(io.StringIO(self.text), self.skip + self.drop, None)
        return csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True, strict=True)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line on which each record begins, from 1, and its cells.

        Raises
        ------
        DataError
            Quotation marks do not pair.
        """
        begin, inside = 0, False

        def lines() -> Iterator[str]:
            nonlocal begin, inside
            for number, line in enumerate(io.StringIO(self.text), 1):
                if not inside:
                    if number <= self.skip or ("#" in line and COMMENT.match(line)):
                        continue
                    begin, inside = number, True
                yield line if self.delimiter != BLANKS else line.replace("\t", BLANKS).strip()

        # strict: an unfinished quotation would otherwise swallow the rest of the file without a word.
        reader = csv.reader(lines(), delimiter=self.delimiter, skipinitialspace=True, strict=True)
        try:
            for count, cells in enumerate(reader):
                inside = False
                if count < self.drop:
                    continue
                if len(cells) > 1 or (cells and cells[0].strip()):
                    yield begin, cells
                elif self.blank_is_row:
                    yield begin, [""]
        except csv.Error as error:
            hint = "check the quotation marks, or write the file again"
            got = f"an error from line {begin} on ({error})"
            raise bad_data(self.source, "well-formed CSV", got, hint) from None


class TextTable(Table):
    """The columns of a text table; a column is cut out of the text each time it is needed."""

    unit = "line"
    hint = "choose one of these; if the header line is another one, say so with --skip or --delimiter"

    def __init__(
        self,
        names: Sequence[str],
        lines: NDArray[np.int64],
        records: Records,
        decimal: str | None,
        *,
        comma_custom: bool,
        sure: bool,
    ) -> None:
        super().__init__(names, lines, records.source)
        self._records = records
        self._decimal = decimal
        self._comma_custom = comma_custom
        self._sure = sure  # of the delimiter
        self._doubtful: dict[str, bool] = {}  # by the name of a column

    def cells(self, name: str) -> list[str]:
        """Return the cells of column `name`, without blanks around them."""
        return self._first(name, len(self))

    def head(self, name: str) -> list[str]:
        """Return the first few cells of column `name`."""
        return self._first(name, min(HEAD, len(self)))

    def blank_rows(self) -> NDArray[np.bool_]:
        """Return which rows (N,) hold only delimiters."""
        rows = islice(self._records.rows(), len(self))
        return np.array([not any(cell.strip() for cell in cells) for cells in rows], dtype=bool)

    def _first(self, name: str, count: int) -> list[str]:
        place = self.place(name)
        rows = islice(self._records.rows(), count)
        return [cells[place].strip() if place < len(cells) else "" for cells in rows]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return column `name` (N,), NaN where a cell is missing."""
        cells = self.cells(name)
        where = partial(self.where, name=name)
        column = Column(self.source, cells, where, self._decimal, self._comma_custom, self._sure)
        self._doubtful[name] = point_in_doubt(column)
        return read_numbers(column)

    def note(self, name: str) -> str:
        """Return a sentence on points that might mark thousands, "" if there are none."""
        if not self._doubtful.get(name):
            return ""
        read = f"each point in column {name!r} stands before three digits and is read as a decimal point"
        return f'{read}; if it marks thousands, say --decimal , (decimal=",")'


def read_delimited(text: str, source: str, *, decimal: str | None, delimiter: str | None, skip: int) -> TextTable:
    """Return the table in `text`.

    Parameters
    ----------
    decimal : "." or ",", or None to tell it from each column.
    delimiter : one character, `BLANKS` for runs of blanks and tabs, or None to tell it from the first lines.
    skip : lines at the top that are left out.
    """
    separator = _SEPARATOR_LINE.fullmatch(next(islice(io.StringIO(text), skip, None), ""))
    if separator:
        skip += 1
        delimiter = delimiter or separator[1]
    sample = first_lines(text, skip)
    nothing = bad_data(source, TABLE_FILE, "nothing but blank lines", "check that it was written completely")
    if not sample:
        raise nothing
    sure = delimiter is not None
    delimiter = delimiter or tell_delimiter([line for _, line in sample], decimal, source)
    records = Records(text.rstrip("\n"), source, delimiter, skip)
    line, header = next(iter(records), (0, []))
    if not header:
        raise nothing
    names = [name.strip() for name in header]
    below = 1
    if any(map(looks_numeric, names)) and all(looks_numeric(name) or name.lower() in MISSING for name in names):
        below = 0
        names = _commented_header(records, line, names)
    names = names[: used_cells(names)]
    records = replace(records, skip=line - 1, drop=below, blank_is_row=len(names) == 1)
    rows = _plain_rows(records, len(header)) if len(names) == len(header) else 0
    if rows:
        records = replace(records, plain=True)
        lines, width = np.arange(line + below, line + below + rows), len(header)
    else:
        lines, width = _shape(records, len(header), names, sample)
    names += [""] * (width - len(names))
    commas = delimiter == ";" or any(_COMMA.fullmatch(cell) for _, line in sample for cell in cut_line(line, delimiter))
    return TextTable(names, lines, records, decimal, comma_custom=commas, sure=sure or len(header) > 1)


def _plain_rows(records: Records, most: int) -> int:
    """Return how many rows there are, if each is a line of `most` cells of which the last one is not empty; else 0."""
    if '"' in records.text or "#" in records.text or records.delimiter == BLANKS:
        return 0
    count = 0
    try:
        for cells in replace(records, plain=True).rows():
            if len(cells) != most or not cells[-1] or cells[-1].isspace():
                return 0
            count += 1
    except csv.Error:
        return 0
    return count


def _shape(
    records: Records, most: int, names: Sequence[str], sample: Sequence[tuple[int, str]]
) -> tuple[NDArray[np.int64], int]:
    """Return the line of each row, and the number of columns.

    If the cell after the last column is empty in every row, it comes from an extra delimiter and does not count. Empty
    rows at the end do not count either.

    Parameters
    ----------
    most : how many cells the header line has.
    """
    lines: list[int] = []
    end, width, least, shortest = 0, len(names), most, 0
    for line, cells in records:
        lines.append(line)
        count = len(cells) if cells[-1].strip() else used_cells(cells)
        if not count:
            continue
        end = len(lines)
        if count > width:
            # A number without a name may be the decimals of the one before it.
            if count > most or (records.delimiter == "," and looks_numeric(cells[count - 1].strip())):
                raise _uneven(records, len(names), len(cells), line, sample)
            width = count
        if len(cells) < least:
            least, shortest = len(cells), line
    if not end:
        got = "the first line alone"
        raise bad_data(records.source, "rows of numbers below the header line", got, "give the data")
    if least < width:
        raise _uneven(records, width, least, shortest, sample)
    return np.array(lines[:end]), width


def _uneven(records: Records, expected: int, count: int, line: int, sample: Sequence[tuple[int, str]]) -> DataError:
    """Build the error for a row with another number of cells than the header line."""
    hint = "give every row the same number of cells"
    above = lines_above(records.delimiter, sample)
    if above:
        hint = f"leave out what stands above the header line with --skip {above} (skip={above})"
    elif count > expected:
        if records.delimiter == ",":
            hint += ", and quotation marks around cells with a comma; if commas are decimal signs, say --decimal ,"
            hint += ' (decimal=",")'
        hint += f"; if {records.delimiter!r} does not stand between cells, say what does with --delimiter"
    wanted = f"{expected} cells a row as in the header line"
    return bad_data(records.source, wanted, f"{count} in line {line}", hint)


def _commented_header(records: Records, line: int, numbers: Sequence[str]) -> list[str]:
    """Return the names in the last comment above a table that starts with numbers."""
    comments = [
        comment for comment in islice(io.StringIO(records.text), records.skip, line - 1) if COMMENT.match(comment)
    ]
    names = cut_line(comments[-1].strip().lstrip("#"), records.delimiter) if comments else []
    if len(names) != len(numbers):
        hint = "put a line with the column names first"
        got = f"the numbers {listed(numbers)}"
        raise bad_data(records.source, "a header line with column names", got, hint)
    return names
