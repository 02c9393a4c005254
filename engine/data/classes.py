"""The classes of labelled texts: their names, their numbers, and a split that keeps their shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.data.batching import shuffled_order
from engine.data.data_checks import bad_data
from engine.data.labelled import LabelledTexts
from engine.data.text_rows import listed
from engine.errors import DataError


def class_names(rows: LabelledTexts) -> list[str]:
    """Return the labels that occur, sorted: numbers by value, others by their letters.

    Raises
    ------
    DataError
        There are fewer than two.
    """
    found = set(rows.labels)
    if len(found) < 2:
        got = f"{listed(sorted(found))} alone" if found else "none"
        raise bad_data(rows.source, "at least two different labels", got, "check which column holds the labels")
    if len(found) == len(rows) and len(rows) > 2:
        got = f"{len(rows):,} rows with a label of its own each"
        raise bad_data(rows.source, "several examples of a label", got, "check which column holds the labels")
    return sorted(found, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))


def encode_labels(rows: LabelledTexts, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the class (N,) of each row, an index into `names`.

    Raises
    ------
    DataError
        A label is not among them.
    """
    known = {name: index for index, name in enumerate(names)}
    for label, place in zip(rows.labels, rows.places, strict=True):
        if label not in known:
            raise unseen_label(rows, names, label, place)
    return np.array([known[label] for label in rows.labels], dtype=np.int64)


def unseen_label(rows: LabelledTexts, names: Sequence[str], label: str, place: str) -> DataError:
    """Build the error for a label that training did not show."""
    hint = "correct it, or train on data that has it"
    return bad_data(rows.source, f"labels of the training data ({listed(names)})", f"{label!r} in {place}", hint)


def stratified_split(rows: LabelledTexts, share: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the rows to train on and of those to validate on, with about the same shares of classes.

    Rows of the same text stay on one side: else the figure would tell what the model remembers.  Each class gives about
    its `share` of texts, at least one; a text with several labels counts for the first of them.

    Parameters
    ----------
    share : float
        Of each class, in (0, 1).
    seed : int
        Of the order in which texts are drawn.

    Raises
    ------
    DataError
        A class has one text alone.
    """
    first: dict[str, str] = {}
    texts: dict[str, set[str]] = {}
    for text, label in zip(rows.texts, rows.labels, strict=True):
        first.setdefault(text, label)
        texts.setdefault(label, set()).add(text)
    for label, different in texts.items():
        if len(different) < 2:
            count, place = rows.labels.count(label), rows.places[rows.labels.index(label)]
            got = f"1 of {label!r} ({place})" if count == 1 else f"{count} of {label!r} with the same text"
            hint = "give more of it, remove it, or give --validation-data"
            raise bad_data(rows.source, "at least 2 examples of each class, to train and to validate on", got, hint)
    own: dict[str, list[str]] = {}
    for text, label in first.items():
        own.setdefault(label, []).append(text)
    held: set[str] = set()
    for members in own.values():
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held.update(members[k] for k in shuffled_order(len(members), seed, 0, purpose=7)[:count])
    outside = np.array([text in held for text in rows.texts], dtype=bool)
    return np.flatnonzero(~outside), np.flatnonzero(outside)
