"""Labelled rows in three parts: by a seed, or with all rows of one speaker held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.classes import stratified_split
from engine.data.data_checks import bad_data
from engine.data.labelled import LabelledTexts


class RowParts(NamedTuple):
    """The rows of each part, int64 arrays in ascending order; every row is in exactly one of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def three_parts(
    rows: LabelledTexts,
    validation: float,
    test: float,
    seed: int = 0,
    *,
    groups: Sequence[str] = (),
    hold_out: str = "",
) -> RowParts:
    """Split rows into training, validation and test part, with about the same shares of each label.

    Parameters
    ----------
    rows : LabelledTexts
        N rows with their labels.
    validation, test : float
        Shares of the rows, in (0, 1); `validation` counts what `test` leaves.
    seed : int
        The same seed gives the same parts.
    groups : sequence of str (N,)
        Who a row comes from, such as its speaker.
    hold_out : str
        The test part is all rows of this group in place of a share; "" for none.

    Raises
    ------
    DataError
        Nobody of that name is there, or nobody else; or a label has too few rows.

    Examples
    --------
    >>> from engine.data import LabelledTexts
    >>> names = [f"{k}.wav" for k in range(20)]
    >>> rows = LabelledTexts(names, ["a", "b"] * 10, names, "tones")
    >>> [len(part) for part in three_parts(rows, 0.25, 0.2)]
    [12, 4, 4]
    """
    if hold_out:
        chosen = np.array([group == hold_out for group in groups], dtype=bool)
        rest, last = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        if not len(rest) or not len(last):
            raise _nobody(rows.source, groups, hold_out)
        _require_several(rows.take(rest), 2, "to train and to validate on")
    else:
        _require_several(rows, 3, "to train, to validate and to test on")
        rest, last = stratified_split(rows, test, seed)
    train, held = stratified_split(rows.take(rest), validation, seed)
    return RowParts(rest[train], rest[held], last)


def _require_several(rows: LabelledTexts, least: int, why: str) -> None:
    """Raise unless each label has so many rows."""
    for label, count in Counter(rows.labels).items():
        if count < least:
            got = f"{count} of {label!r} ({rows.places[rows.labels.index(label)]})"
            raise bad_data(rows.source, f"at least {least} of each label, {why}", got, "give more of it, or remove it")


def _nobody(source: str, groups: Sequence[str], hold_out: str) -> Exception:
    known = sorted({group for group in groups if group})
    expected = "a name that some of the recordings have, and others have not"
    got = f"{hold_out!r} beside {', '.join(known[:12])}" if known else f"{hold_out!r}, and no names in the data"
    return bad_data(source, expected, got, "name one of the speakers")
