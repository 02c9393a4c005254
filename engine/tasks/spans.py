"""Spans in rows of BIO tags (Ramshaw and Marcus 1995), such as names, and how many of them are found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TAG = re.compile(r"O|[BI]-.+")


def are_bio(names: Sequence[str]) -> bool:
    """Whether tags mark spans: each is O, or B- or I- with a kind, and O and at least one B- are there."""
    return "O" in names and any(name.startswith("B-") for name in names) and all(map(_TAG.fullmatch, names))


def spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """The spans of a row of tags: first word, word after the last one, kind.

    A span begins at B-, and at an I- whose kind is not that of the word before.

    Examples
    --------
    >>> sorted(spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'LOC')]
    """
    found, begin, kind = set(), 0, ""
    for place, tag in enumerate((*tags, "O")):
        mark, _, own = tag.partition("-")
        goes_on = mark == "I" and own == kind
        if kind and not goes_on:
            found.add((begin, place, kind))
        if not goes_on:
            begin, kind = place, own
    return found


def span_f1(answers: Iterable[Sequence[str]], targets: Iterable[Sequence[str]]) -> float:
    """F1 of spans over all rows: a span counts if its words and its kind are right; 0 where there are none.

    Examples
    --------
    >>> span_f1([["B-X", "I-X", "O"]], [["B-X", "O", "B-X"]])
    0.0
    >>> span_f1([["B-X", "O", "O"]], [["B-X", "O", "B-X"]])
    0.6666666666666666
    """
    right = count = 0
    for answer, target in zip(answers, targets, strict=True):
        given, wanted = spans(answer), spans(target)
        right += len(given & wanted)
        count += len(given) + len(wanted)
    return 2 * right / count if count else 0.0
