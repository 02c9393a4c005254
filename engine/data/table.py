"""Tables: named columns as they were written, before they are turned into numbers or times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data

#: So many cells decide what a column may hold.
HEAD = 5
TABLE_FILE = "a CSV file with a header line, or an NPY file of numbers"


class Table:
    """Columns by name, one row a time step; text files, arrays and data frames each are one.

    Attributes
    ----------
    names : tuple of C strings
    labels : tuple of strings
        The names of the index of a data frame, which names rows but is not a column. `cells` takes these names too.
    lines : int64 (N,)
        Where each row stands: the line of the file on which it begins, from 1, or its number in an array, from 0.
    unit : str
        What `lines` counts, "line" or "row".
    source : str
        Where the table came from, for messages.
    """

    unit = "row"
    labels: tuple[str, ...] = ()
    hint = "choose one of these"  # where there is no such column

    def __init__(self, names: Sequence[str], lines: NDArray[np.int64], source: str) -> None:
        self.names = tuple(names)
        self.lines = lines
        self.source = source

    def __len__(self) -> int:
        """Return the number of rows, N."""
        return len(self.lines)

    def cells(self, name: str) -> list[str]:
        """Return the N cells of column `name` as text without blanks around it; a missing cell is an empty string.

        Raises
        ------
        DataError
            No column has this name, or several have it.
        """
        raise NotImplementedError

    def head(self, name: str) -> list[str]:
        """Return the first few `cells` of column `name`, without reading the others if possible."""
        return self.cells(name)[:HEAD]

    def blank_rows(self) -> NDArray[np.bool_]:
        """Return which rows (N,) have only blank cells."""
        filled = np.zeros(len(self), dtype=bool)
        for name in set(self.names):
            if self.names.count(name) == 1:
                filled |= np.array([bool(cell) for cell in self.cells(name)], dtype=bool)
        return ~filled

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return column `name` (N,) as finite numbers, NaN where a cell is missing.

        Raises
        ------
        DataError
            No column has this name, or several have it; or a cell is no number, or can be read as two different ones.
        """
        raise NotImplementedError

    def note(self, name: str) -> str:
        """Return a note for the user on how the `numbers` of column `name` were read, "" if there is nothing to say."""
        return ""

    def place(self, name: str) -> int:
        """Return the place of column `name`, from 0."""
        count = self.names.count(name)
        if count != 1:
            got = f"{name!r}" if count == 0 else f"{name!r}, which {count} columns are called"
            hint = self.hint if count == 0 else "give them different names in the header line"
            raise bad_data(self.source, f"a column among {listed(self.names)}", got, hint)
        return self.names.index(name)

    def sound(self, name: str, values: NDArray[np.float64], *, integers: bool) -> NDArray[np.float64]:
        """Return the values (N,) of column `name`, or raise if one is infinite or not exact in float64."""
        wrong = np.isinf(values)
        if wrong.any():
            row = int(np.argmax(wrong))
            hint = "correct it, or write NaN if it is unknown"
            raise bad_data(self.source, "finite numbers", f"{values[row]} in {self.where(row, name)}", hint)
        wrong = np.abs(values) > 2.0**53
        if integers and wrong.any():
            row = int(np.argmax(wrong))
            got = f"{values[row]:.0f} in {self.where(row, name)}"
            raise bad_data(self.source, "integers up to 2**53, which float64 holds exactly", got, "use a larger unit")
        return values

    def where(self, row: int, name: str) -> str:
        """Return where a cell stands, in words: "line 3, column 'a'"."""
        return f"{self.unit} {self.lines[row]}, column {name!r}"


class ArrayTable(Table):
    """The columns of an array (N, C), named "0", "1", ...; NaN is a missing cell."""

    def __init__(self, values: NDArray[Any], source: str) -> None:
        super().__init__([str(k) for k in range(values.shape[1])], np.arange(len(values)), source)
        self._values = values

    def cells(self, name: str) -> list[str]:
        """Return the cells of column `name` as text."""
        return ["" if number != number else str(number) for number in self._values[:, self.place(name)].tolist()]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return column `name` (N,), NaN where a cell is missing."""
        column = self._values[:, self.place(name)]
        return self.sound(name, column.astype(np.float64), integers=column.dtype.kind in "iu")


class Selection(Table):
    """Some rows of a table."""

    def __init__(self, table: Table, rows: NDArray[np.int64]) -> None:
        super().__init__(table.names, table.lines[rows], table.source)
        self.unit, self.labels = table.unit, table.labels
        self._table, self._rows = table, rows.tolist()

    def cells(self, name: str) -> list[str]:
        """Return the cells of column `name` as text."""
        cells = self._table.cells(name)
        return [cells[row] for row in self._rows]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return column `name`, NaN where a cell is missing."""
        return self._table.numbers(name)[self._rows]


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return the names in quotation marks, not more than `most` of them."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
