"""Texts with a label each: from a table, a folder for each class, or a file for each class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.data.data_checks import bad_data
from engine.data.encodings import decode_text
from engine.data.files import read_bytes
from engine.data.text_rows import CellRows, fewest_values, listed, read_cells, require_even
from engine.errors import bad_input

#: Names that a header line gives to the columns of texts and of labels.
TEXT_NAMES = ("text", "sentence", "review", "comment", "message", "content", "phrase", "utterance", "name", "tweet")
LABEL_NAMES = ("label", "class", "category", "sentiment", "target", "language", "topic", "intent", "polarity")


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, and the label of each.

    Attributes
    ----------
    texts : N texts.
    labels : N labels; empty where the source has none.
    places : where each stands in the source, in words: "line 7".
    source : the name of the file or folder.
    columns : the names of the columns of text and label, "" where there is no header line.
    note : which line was taken as a header line, in words; "" for a folder.
    """

    texts: list[str]
    labels: list[str]
    places: list[str]
    source: str
    columns: tuple[str, str] = ("", "")
    note: str = ""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def take(self, chosen: Iterable[int]) -> LabelledTexts:
        """The texts with these numbers."""
        kept = list(chosen)
        texts, labels, places = ([column[k] for k in kept] for column in (self.texts, self.labels, self.places))
        return LabelledTexts(texts, labels, places, self.source, self.columns, self.note)


@dataclass(frozen=True)
class TableForm:
    """How a table is written: what `read_labelled` and `read_texts` take beside its name.

    Attributes
    ----------
    text_column, label_column : names of columns, or their numbers from 1; None finds them.
    delimiter, encoding, skip : as `engine.data.read_table` takes them.
    strict : whether the named columns must be there; otherwise they are found as if they had not been named.
    """

    text_column: str | None = None
    label_column: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    skip: int = 0
    strict: bool = True


_PLAIN = TableForm()


def read_labelled(source: str | os.PathLike[str], form: TableForm = _PLAIN) -> LabelledTexts:
    r"""Return the texts of `source` with their labels.

    Parameters
    ----------
    source : str or Path
        A CSV or TSV file with a text and a label in each row, with a header line or without one; or a folder that
        holds a folder of text files for each class, or a file ``{class}.txt`` with a text in each line.
    form : TableForm
        How a table is written, where it cannot be told from it.

    Returns
    -------
    LabelledTexts
        In the order of the source.

    Raises
    ------
    DataError
        A row has no text or no label, rows have unequal numbers of cells, or a file cannot be read.
    InputError
        There is no such column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from engine.data.labelled import read_labelled
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text('text,label\n"good, very good",yes\nboring,no\n')
    >>> found = read_labelled(path)
    >>> found.texts, found.labels
    (['good, very good', 'boring'], ['yes', 'no'])
    """
    found = _read_folder(Path(source), form.encoding) if os.path.isdir(source) else _read_table(source, form, True)
    for what, cells in (("a label", found.labels), ("text", found.texts)):
        for place, cell in zip(found.places, cells, strict=True):
            if not cell.strip():
                raise bad_data(found.source, f"{what} in every row", f"none in {place}", "fill it in, or remove it")
    return found


def read_texts(source: str | os.PathLike[str], form: TableForm = _PLAIN) -> LabelledTexts:
    """Return texts for which labels are wanted; the labels that the source has are kept, empty ones too.

    Parameters
    ----------
    source : str or Path
        What `read_labelled` takes, or a file with a text in each line, or a table with a column of texts.
    form : TableForm
        How a table is written; a column of the name ``text_column`` is taken where there is one.
    """
    if os.path.isdir(source):
        found = _read_folder(Path(source), form.encoding)
    else:
        found = _read_table(source, form, False)
    for place, text in zip(found.places, found.texts, strict=True):
        if not text.strip():
            raise bad_data(found.source, "text in every row", f"none in {place}", "fill it in, or remove it")
    return found


# -- tables -----------------------------------------------------------------------------------------------------------


def _read_table(path: str | os.PathLike[str], form: TableForm, labelled: bool) -> LabelledTexts:
    rows = read_cells(path, delimiter=form.delimiter, encoding=form.encoding, skip=form.skip)
    width = len(rows.cells[0])
    require_even(rows, width)
    if labelled and width < 2:
        hint = "put a tab or a comma between text and label, or name what stands there with --delimiter"
        raise bad_data(rows.source, "a text and a label in every row", f"one cell in line {rows.lines[0]}", hint)
    names, note = _header(rows, form, labelled)
    if names is not None:
        rows = rows.without_first()
        if not rows.cells:
            raise bad_data(rows.source, "rows below the header line", "the first line alone", "give the data")
    text = _column(rows, names, form.text_column, "text_column", form.strict)
    label = _column(rows, names, form.label_column, "label_column", form.strict) if width > 1 else None
    text, label = _guess(rows, names, text, label, labelled)
    return LabelledTexts(
        [cells[text] for cells in rows.cells],
        [] if label is None else [cells[label] for cells in rows.cells],
        [f"line {line}" for line in rows.lines],
        rows.source,
        ("", "") if names is None else (names[text], "" if label is None else names[label]),
        note,
    )


def _header(rows: CellRows, form: TableForm, labelled: bool) -> tuple[list[str] | None, str]:
    """Return the names of the columns, None if the first line is data, and what it was taken for, in words.

    It is a header line if it holds the name of a column that was asked for, or a usual name, and none of its cells
    occurs again below in its column.  Above two columns it is one too if it has a word in each, while below it most
    texts hold several words and every label stands in several rows, but the one of this line in none; not where both
    columns are asked for by number.
    """
    first, width = rows.cells[0], len(rows.cells[0])
    asked = [name for name in (form.text_column, form.label_column) if name is not None]
    named = [name for name in asked if not (name.isdecimal() and 1 <= int(name) <= width)]
    line = f"line {rows.lines[0]} ({listed(first)})"
    if any(name in first for name in named):
        return first, f"{line} is the header line"
    known = (*TEXT_NAMES, *LABEL_NAMES, *(name.lower() for name in named))
    again = any(cells[place] == cell for place, cell in enumerate(first) for cells in rows.cells[1:])
    if not again and any(cell.lower() in known for cell in first):
        return first, f"{line} is the header line"
    by_number = len(asked) == 2 and not named
    if labelled and width == 2 and not by_number and all(cell.isidentifier() for cell in first):
        below = rows.without_first()
        label = fewest_values(below) if below.cells else 0
        counts = Counter(cells[label] for cells in below.cells)
        sentences = sum(" " in cells[1 - label] for cells in below.cells)
        repeated = len(counts) > 1 and min(counts.values()) > 1
        if repeated and first[label] not in counts and 2 * sentences > len(below.cells):
            numbers = f"--text-column {2 - label} --label-column {label + 1}"
            return first, f"{line} is taken as a header line; if it is data, give the columns by number: {numbers}"
    return None, f"{line} is data, not a header line" if width > 1 else ""


def _column(rows: CellRows, names: list[str] | None, asked: str | None, argument: str, strict: bool) -> int | None:
    """Return the place of the column that was asked for, or of the one with a usual name; None if there is neither."""
    width = len(rows.cells[0])
    if asked is not None:
        if names is not None and asked in names:
            return names.index(asked)
        if asked.isdecimal() and 1 <= int(asked) <= width:
            return int(asked) - 1
    if asked is not None and strict:
        wanted = f"one of the columns {listed(names)}" if names else f"a number in 1..{width}, as no line names columns"
        option = argument.replace("_", "-")
        raise bad_input(argument, f"{wanted} of {rows.source}", repr(asked), f"name another one with --{option}")
    if names is None:
        return None
    lower = [name.lower() for name in names]
    usual = TEXT_NAMES if argument == "text_column" else LABEL_NAMES
    return next((lower.index(name) for name in usual if name in lower), None)


def _guess(
    rows: CellRows, names: list[str] | None, text: int | None, label: int | None, labelled: bool
) -> tuple[int, int | None]:
    """Return the places of text and label, where no name tells them: the label is what has fewer different values."""
    width = len(rows.cells[0])
    if width == 1:
        return 0, None
    places = list(range(width))
    if width > 2 and (text is None or (label is None and labelled)):
        what = "text" if text is None else "label"
        got = f"the columns {listed(names)}" if names else f"{width} columns without names"
        hint = f"name it with --{what}-column"
        raise bad_data(rows.source, f"a column that is known to hold the {what}s", got, hint)
    if text is None and label is None:
        label = fewest_values(rows)
    if text is None:
        text = next(place for place in places if place != label)
    if label is None and width == 2:
        label = next(place for place in places if place != text)
    return text, label


# -- folders ----------------------------------------------------------------------------------------------------------

_FOLDER = "a folder for each class with text files in it, or a file {class}.txt for each class"


def _read_folder(folder: Path, encoding: str | None) -> LabelledTexts:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise bad_data(folder, _FOLDER, f"a folder that cannot be read ({error.strerror})") from None
    classes = [entry for entry in entries if entry.is_dir()]
    lists = [entry for entry in entries if entry.suffix == ".txt" and entry.is_file()]
    texts, labels, places = [], [], []
    if classes:
        for entry in classes:
            for file in sorted(path for path in entry.rglob("*") if path.is_file() and not path.name.startswith(".")):
                texts.append(_text_of(file, encoding))
                labels.append(entry.name)
                places.append(f"{entry.name}/{file.relative_to(entry).as_posix()}")
    for entry in [] if classes else lists:
        for number, line in enumerate(_text_of(entry, encoding).split("\n"), 1):
            if line.strip():
                texts.append(line.strip())
                labels.append(entry.stem)
                places.append(f"{entry.name}, line {number}")
    if not texts:
        raise bad_data(folder, _FOLDER, "neither", "name another folder, or a CSV or TSV file")
    return LabelledTexts(texts, labels, places, str(folder))


def _text_of(path: Path, encoding: str | None) -> str:
    expected = "a UTF-8 text file"
    return decode_text(read_bytes(path, expected), path, expected, encoding)
