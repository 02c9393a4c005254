"""Whether a page or a notebook shows what its code prints."""

from __future__ import annotations

import math
import re


def agree(printed: str, shown: str) -> bool:
    """Whether a page shows what its code prints: the same words, and numbers to about two digits.

    Of a tensor that passed its error is rounding, and is another on every machine, as is the entry that has the
    largest.
    """
    lines = [re.sub(r"\S+  ok  .*", "ok", text).split() for text in (printed, shown)]
    return len(lines[0]) == len(lines[1]) and all(map(_same_word, *lines))


def _same_word(one: str, other: str) -> bool:
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=0.06)
    except ValueError:
        return False


def same_words(printed: str, shown: str) -> bool:
    """Whether the texts are the same but for their numbers and blanks: what a machine's speed may change."""
    return _without_numbers(printed) == _without_numbers(shown)


def _without_numbers(text: str) -> str:
    return "".join(re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "0", text).split())
