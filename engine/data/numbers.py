"""Numbers as people write them: decimal point or comma, thousands marks, and columns in which these are unclear.

A column is read in one style. Every possible style is tried on all cells of the column. If two styles fit and disagree
on a number, the column is refused. Nothing is guessed cell by cell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.errors import DataError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "."})
_OTHER_MINUS = "\N{MINUS SIGN}\N{SMALL HYPHEN-MINUS}\N{FULLWIDTH HYPHEN-MINUS}"
_MINUS = str.maketrans(_OTHER_MINUS, "-" * len(_OTHER_MINUS))
# Each kind of thousands mark, as the characters that stand for it.
_BLANKS = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
_GROUPS = (",", ".", _BLANKS, "'\N{RIGHT SINGLE QUOTATION MARK}")
_NUMERIC = re.compile(rf"[+{_OTHER_MINUS}-]?[.,]?[0-9][0-9{''.join(_GROUPS)}]*(?:[eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(rf"[+{_OTHER_MINUS}-]?[1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})?")
_SIGNS = {".": "decimal point", ",": "decimal comma"}
_NAME_DECIMAL = 'say which sign is the decimal one with --decimal . or --decimal , (decimal="." or decimal=",")'


class Style(NamedTuple):
    """How the numbers of a column are written: the decimal sign, and what may stand between groups of three digits."""

    decimal: str
    group: str

    def pattern(self) -> re.Pattern[str]:
        """Return what a number looks like; no thousands mark follows a leading zero."""
        grouped = rf"[1-9][0-9]{{0,2}}(?:[{self.group}][0-9]{{3}})+|" if self.group else ""
        sign = re.escape(self.decimal)
        return re.compile(rf"[+-]?(?=[0-9]|{sign}[0-9])(?:{grouped}[0-9]*)(?:{sign}[0-9]*)?(?:[eE][+-]?[0-9]+)?")

    def number(self, cell: str) -> float:
        """Return the number in a cell that the pattern fits."""
        for mark in self.group:
            cell = cell.replace(mark, "")
        return float(cell.replace(self.decimal, "."))


class Column(NamedTuple):
    """The cells of one column, and what its file shows about the style of its numbers."""

    source: str
    cells: Sequence[str]
    where: Callable[[int], str]  # the place of a cell, in words
    decimal: str | None  # the decimal sign, where it was named
    comma_custom: bool  # semicolons between cells, or a comma as decimal sign elsewhere: a point may mark thousands
    blank_marks: bool  # a plain blank can be a thousands mark, since it is known not to stand between cells


def looks_numeric(cell: str) -> bool:
    """Say whether a cell could be a number in any style; used to find header lines and delimiters."""
    return _NUMERIC.fullmatch(cell) is not None


def point_in_doubt(column: Column) -> bool:
    """Say whether every point in a column stands before three digits, so that it could mark thousands as well."""
    if column.decimal or column.comma_custom or "." not in "".join(column.cells):
        return False
    fits = _THOUSANDS.fullmatch
    return all(fits(cell) or cell.lower() in MISSING for cell in column.cells) and any(
        "." in cell and len(cell) > 1 for cell in column.cells
    )


def read_numbers(column: Column) -> NDArray[np.float64]:
    """Return the numbers (N,) of a column, NaN where a cell is missing.

    A point before three digits is the decimal sign, unless the file shows a decimal comma or semicolons between cells;
    see `point_in_doubt`.

    Raises
    ------
    DataError
        A cell is no finite number, or the column could be read as two different ones.
    """
    found = _plain(column, column.cells)
    if found is None:
        cells = ["nan" if cell.lower() in MISSING else cell for cell in column.cells]
        found = _plain(column, cells)
        if found is None:
            found = _styled(column, [cell.translate(_MINUS) for cell in cells])
    if np.isinf(found).any():
        raise _no_number(column, int(np.argmax(np.isinf(found))))
    return found


def _plain(column: Column, cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the numbers as Python reads them, if they cannot be read in another way."""
    try:
        found = np.array(list(map(float, cells)))
    except ValueError:
        return None
    # float() accepts "1_000", as Python source does; in a data file it is a mistake.
    point_in_doubt = column.decimal == "," or (column.decimal is None and column.comma_custom)
    together = "".join(cells)
    return None if "_" in together or (point_in_doubt and "." in together) else found


def _styled(column: Column, cells: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers in the one style that fits all cells; a missing one is "nan"."""
    known = [index for index, cell in enumerate(cells) if cell != "nan"]
    written = [cells[index] for index in known]
    fitting: list[tuple[Style, NDArray[np.float64]]] = []
    furthest = 0
    for style in _styles(column, "".join(written)):
        fits = style.pattern().fullmatch
        odd = next((place for place, cell in enumerate(written) if not fits(cell)), None)
        if odd is None:
            fitting.append((style, np.array(list(map(style.number, written)))))
        else:
            furthest = max(furthest, odd)
    if not fitting:
        raise _no_number(column, known[furthest])
    style, numbers = fitting[0]
    for other, others in fitting[1:]:
        if (numbers != others).any():
            place = int(np.argmax(numbers != others))
            got = f"{written[place]!r} in {column.where(known[place])}, which is {numbers[place]:.15g} with a "
            got += f"{_SIGNS[style.decimal]} and {others[place]:.15g} with a {_SIGNS[other.decimal]}"
            raise bad_data(column.source, "numbers that can be read in one way alone", got, _NAME_DECIMAL)
    found = np.full(len(cells), np.nan)
    found[known] = numbers
    return found


def _styles(column: Column, together: str) -> Iterator[Style]:
    """Yield every style that could be meant by cells with the characters `together`."""
    for decimal in column.decimal or ".,":
        groups = ["".join(mark for mark in group if mark in together) for group in _GROUPS]
        if not column.blank_marks:
            groups = [group.replace(" ", "") for group in groups]
        # Without a sign of the other custom, a point is no thousands mark.
        never = "" if column.decimal or column.comma_custom or "," in together else "."
        groups = [group for group in groups if group not in ("", decimal, never)]
        yield from (Style(decimal, group) for group in groups or [""])


def _no_number(column: Column, row: int) -> DataError:
    """Build the error for a cell that is no number in the style of its column."""
    cell = column.cells[row]
    got = f"{cell[:40]!r} in {column.where(row)}"
    hint = "write plain finite numbers with a decimal point, or leave the cell empty if it is unknown"
    if "%" in cell or "\N{PER MILLE SIGN}" in cell:
        hint = "take the percent signs out of the column"
    elif any(unicodedata.category(character) == "Sc" for character in cell):
        hint = "take the currency signs out of the column"
    elif re.fullmatch(r"[1-9][0-9]{0,2}( [0-9]{3})+([.,][0-9]*)?", cell) and not column.blank_marks:
        hint = "if the blank is a thousands mark, say that it does not stand between cells, with --delimiter ';'"
        hint += ' (delimiter=";")'
    elif "." in cell or "," in cell:
        if column.decimal:
            got += f", which has no place beside the {_SIGNS[column.decimal]} that was named"
            hint = "name the other sign, or write all numbers of the column in one way"
        elif any(Style(sign, mark).pattern().fullmatch(cell) for sign in ".," for mark in ".," if sign != mark):
            got += ", which is not written like the numbers before it"
            hint = "write all numbers of the column in one way"
    return bad_data(column.source, "numbers", got, hint)
