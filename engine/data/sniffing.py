"""Find the delimiter and the header line of a text table from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice

from engine.data.data_checks import bad_data
from engine.data.numbers import looks_numeric

#: Runs of blanks and tabs between cells.
BLANKS = " "
_DELIMITERS = (",", ";", "\t", "|")
_NAME_DELIMITER = 'say what stands between cells with --delimiter, such as --delimiter ";" (delimiter=";")'
# What a spreadsheet writes for a failed formula is a cell, not a comment.
COMMENT = re.compile(r"\s*#(?!N/A|DIV/0!|REF!|VALUE!|NAME\?|NUM!|NULL!)")
# The delimiter is found from so many lines.
_SAMPLE = 30


def first_lines(text: str, skip: int) -> list[tuple[int, str]]:
    """Return the first lines that are neither blank nor comments, with their numbers."""
    numbered = enumerate(islice(io.StringIO(text), skip, None), skip + 1)
    lines = ((number, line) for number, line in numbered if line.strip() and not COMMENT.match(line))
    return list(islice(lines, _SAMPLE))


def used_cells(cells: Sequence[str]) -> int:
    """Return how many cells there are without the empty ones at the end."""
    count = len(cells)
    while count and not cells[count - 1].strip():
        count -= 1
    return count


def cut_line(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line, without empty ones at the end."""
    try:
        cells = (
            line.split()
            if delimiter == BLANKS
            else next(csv.reader([line.strip("\n")], delimiter=delimiter, skipinitialspace=True), [])
        )
    except csv.Error:  # reading the whole text will say what is wrong
        cells = [line]
    return [cell.strip() for cell in cells[: used_cells(cells)]]


def tell_delimiter(lines: Sequence[str], decimal: str | None, source: str) -> str:
    """Return the delimiter that cuts the header line and most rows below it into the same number of cells."""
    known = [delimiter for delimiter in _DELIMITERS if delimiter != decimal]
    quoted = [","] if decimal == "," else []  # it may yet stand between cells if the decimal one is in quotation marks
    merits: dict[str, int] = {}
    for delimiter in (*known, BLANKS, *quoted):
        if merits and delimiter not in known:
            break
        header, *rows = (cut_line(line, delimiter) for line in lines)
        if delimiter in quoted and not any("," in cell for cells in rows for cell in cells):
            continue
        agreeing = sum(len(cells) == len(header) for cells in rows)
        if len(header) > 1 and 2 * agreeing >= len(rows):
            merits[delimiter] = sum(looks_numeric(cell) for cells in rows for cell in cells)
    best = [delimiter for delimiter in merits if merits[delimiter] == max(merits.values())]
    if len(best) > 1:
        got = f"lines that {' and '.join(map(repr, best))} cut equally well"
        raise bad_data(source, "one delimiter between the cells", got, _NAME_DELIMITER)
    # Where no delimiter fits, the one that cuts most is the one to report errors with.
    return best[0] if best else max(known, key=lambda delimiter: sum(len(cut_line(line, delimiter)) for line in lines))


def lines_above(delimiter: str, sample: Sequence[tuple[int, str]]) -> int:
    """Return how many lines stand above what looks like the header line, 0 if none do."""
    cut = [cut_line(line, delimiter) for _, line in sample]
    for place in range(1, len(cut) - 1):
        agree = len({len(cells) for cells in cut[place:]}) == 1
        if agree and len(cut[place]) > len(cut[0]) and not any(map(looks_numeric, cut[place])):
            return sample[place][0] - 1
    return 0
