"""Rows of a data set in host memory: checked once, then gathered into batches.

A row is a sequence: (t, D) numbers, or (t,) ids.  A data set is one array with the rows first, (N, T, D) or (N, T), or
a list of N arrays of unequal length.  Nothing of it is copied but the batch at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, first_place, host_integers, numbers


class Rows:
    """Sequences of numbers or ids, and how many steps of each are valid.

    Attributes
    ----------
    data : one array (N, T, ...), or N arrays (t, ...).
    lengths : (N,) valid steps of each row.
    ragged : whether rows have pads in a batch: they differ in length.
    shape : of one step: (D,) of numbers, () of ids.
    ids : whether the values are integers that must stay so.
    """

    def __init__(self, data: np.ndarray | list[np.ndarray], lengths: np.ndarray, ids: bool) -> None:
        self.data, self.lengths, self.ids = data, lengths, ids
        self.shape = tuple(data.shape[2:] if isinstance(data, np.ndarray) else data[0].shape[1:])
        whole = data.shape[1] if isinstance(data, np.ndarray) else int(lengths[0])
        self.ragged = bool((lengths != whole).any())

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """Steps of the longest row."""
        return int(self.lengths.max())

    @property
    def width(self) -> int:
        """Steps of an array, valid or not; of a list, those of its longest row."""
        return self.data.shape[1] if isinstance(self.data, np.ndarray) else self.steps

    def gather(self, index: np.ndarray | slice, steps: int, dtype: np.dtype, batch_first: bool) -> np.ndarray:
        """The rows of that index as a new array (steps, B, ...), or (B, steps, ...); pads are zeros.

        Parameters
        ----------
        steps : at least the length of the longest of these rows.
        """
        wanted = self._dtype() if self.ids else dtype
        if isinstance(self.data, np.ndarray):
            block = self.data[index, :steps]
            shape = block.shape if batch_first else (steps, len(block), *self.shape)
            values = np.empty(shape, wanted)
            np.copyto(values if batch_first else values.swapaxes(0, 1), block, casting="unsafe")
            if self.ragged:
                pads = np.arange(steps) >= self.lengths[index][:, None]
                values[pads if batch_first else pads.T] = 0
            return values
        count = len(self.lengths[index])
        values = np.zeros(((count, steps) if batch_first else (steps, count)) + self.shape, wanted)
        by_row = values if batch_first else values.swapaxes(0, 1)
        for place, row in zip(by_row, self._chosen(index), strict=True):
            place[: len(row)] = row[:steps]
        return values

    def _chosen(self, index: np.ndarray | slice) -> Sequence[np.ndarray]:
        if isinstance(self.data, np.ndarray) or isinstance(index, slice):
            return list(self.data[index])
        return [self.data[i] for i in index]

    def _dtype(self) -> np.dtype:
        """Ids of rows that were made apart may differ in their integer type."""
        return self.data.dtype if isinstance(self.data, np.ndarray) else np.dtype(np.int64)

    def parts(self) -> list[np.ndarray]:
        """The arrays that hold the rows, for checks and fingerprints."""
        return [self.data] if isinstance(self.data, np.ndarray) else self.data


def read_rows(name: str, given: Any, lengths: Any = None) -> Rows:
    """Rows from what a user gave: an array with the rows first, or a list of arrays.

    Parameters
    ----------
    name : of the argument, for messages.
    lengths : (N,) valid steps of each row of an array; None: all.

    Raises
    ------
    InputError, InputTypeError
        for no rows, a wrong number of axes, rows of different widths or without steps, values that are no numbers.
    """
    if isinstance(given, list | tuple) and not _is_table(given):
        if lengths is not None:
            raise bad_input("lengths", f"None beside a list: the rows of {name} have lengths", describe(lengths))
        return _from_list(name, given)
    data = numbers(name, given)
    expected = "numbers (N, T, D), or ids (N, T), the rows first"
    if data.dtype.kind not in "fiub":
        raise bad_type(name, expected, dtype_in_words(data.dtype), "encode text with a vocabulary first")
    if data.ndim not in (2, 3) or (data.ndim == 2 and data.dtype.kind == "f"):
        hint = f"rows of single numbers are {name}[..., None]" if data.ndim == 2 else ""
        raise bad_input(name, expected, f"shape {data.shape} of {data.dtype}", hint)
    if 0 in data.shape:
        raise bad_input(name, "at least one row, step and feature", f"shape {data.shape}")
    return Rows(data, _lengths(name, data, lengths), ids=data.ndim == 2)


def _is_table(given: Any) -> bool:
    """Whether a list holds rows of one length as lists of plain numbers: NumPy makes an array of it."""
    return bool(given) and all(isinstance(row, list | tuple) for row in given) and len({len(row) for row in given}) == 1


def _from_list(name: str, given: Sequence[Any]) -> Rows:
    if not given:
        raise bad_input(name, "at least one row", "an empty list")
    rows = [numbers(f"{name}[{index}]", row) for index, row in enumerate(given)]
    first = rows[0]
    for index, row in enumerate(rows):
        place = f"{name}[{index}]"
        if row.dtype.kind not in "fiub":
            raise bad_type(place, "an array of numbers or ids", dtype_in_words(row.dtype), "encode text first")
        if row.ndim not in (1, 2) or (row.ndim == 1 and row.dtype.kind == "f"):
            hint = "a row of single numbers is row[:, None]" if row.ndim == 1 else ""
            raise bad_input(place, "numbers (t, D), or ids (t,)", f"shape {row.shape} of {row.dtype}", hint)
        if row.shape[1:] != first.shape[1:]:
            expected = f"shape (t, {first.shape[1]})" if first.ndim == 2 else "shape (t,)"
            raise bad_input(place, f"{expected} as in {name}[0]", f"shape {row.shape}", "make all rows alike")
        if not len(row):
            raise bad_input(place, "a row of at least one step", "an empty one", "leave it out")
    return Rows(rows, np.array([len(row) for row in rows]), ids=first.ndim == 1)


def _lengths(name: str, data: np.ndarray, given: Any) -> np.ndarray:
    count, steps = data.shape[:2]
    if given is None:
        return np.full(count, steps)
    found = host_integers("lengths", given, "integers", "one for each row", "a host list or NumPy integer array")
    if found.shape != (count,):
        raise bad_input("lengths", f"one for each of the {count} rows of {name}", f"shape {found.shape}")
    wrong = np.flatnonzero((found < 1) | (found > steps))
    if wrong.size:
        row = int(wrong[0])
        raise bad_input("lengths", f"values in 1..{steps}", f"{int(found[row])} at row {row}")
    return found.astype(np.int64)


def require_finite(name: str, rows: Rows, dtype: np.dtype) -> None:
    """Raise unless all valid numbers are finite and the model's dtype can hold them."""
    most = float(np.finfo(dtype).max)
    for number, part in enumerate(rows.parts()):
        if part.dtype.kind != "f" or not part.size:
            continue
        with np.errstate(invalid="ignore"):
            low, high = float(part.min()), float(part.max())
        if -most <= low and high <= most:  # false for NaN
            continue
        whole = isinstance(rows.data, np.ndarray)
        wrong = ~(np.abs(part) <= most)
        if whole:
            wrong[np.arange(part.shape[1]) >= rows.lengths[:, None]] = False  # pads: nobody looks at them
        if wrong.any():
            at = first_place(wrong)
            hint = "fill the gaps, or leave these rows out" if np.isnan(part[at]) else "scale the values"
            got = f"{part[at]} at index {list(at if whole else (number, *at))}"
            raise bad_input(name, f"finite numbers that {dtype} holds", got, hint)
