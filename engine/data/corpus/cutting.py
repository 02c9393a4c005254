"""Tokens of a text that comes in pieces, numbered in the order of their first appearance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.corpus.coding import WordVocabulary
from engine.data.text import Vocabulary
from engine.data.tokens import WORD

#: So many words at the end of a piece wait for the next one: a word and what an apostrophe ties to it may be cut there.
_WAITING = 3
#: A word that is longer is cut: what comes without a blank for so long is no word.
_LONGEST = 1 << 16


class Characters:
    """Characters, numbered."""

    def __init__(self) -> None:
        self._numbers = np.full(0x110000, -1, np.int32)  # by code point
        self._codes: list[int] = []

    def cut(self, text: str) -> NDArray[np.int32]:
        """The numbers (n,) of a piece."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        found = self._numbers[codes]
        if (found < 0).any():
            new = np.unique(codes[found < 0])
            self._numbers[new] = np.arange(len(self._codes), len(self._codes) + len(new))
            self._codes += new.tolist()
            found = self._numbers[codes]
        return found

    def rest(self) -> NDArray[np.int32]:
        """Nothing waits."""
        return np.zeros(0, np.int32)

    def vocabulary(self) -> tuple[Vocabulary, NDArray[np.int64]]:
        """The characters, and the id of each number."""
        codes = np.array(self._codes, "<u4")
        ids = np.empty(len(codes), np.int64)
        ids[np.argsort(codes)] = np.arange(len(codes))
        return Vocabulary(codes.tobytes().decode("utf-32-le", "surrogatepass")), ids


class Words:
    """Words in lower case, numbered and counted."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._counts: Any = np.zeros(1 << 10, np.int64)
        self._waiting = ""

    def cut(self, text: str) -> NDArray[np.int32]:
        """The numbers (n,) of the words that are whole; the last ones wait."""
        text = self._waiting + text
        places = [found.start() for found in WORD.finditer(text)]
        if len(text) > _LONGEST and (len(places) <= _WAITING or places[-_WAITING] < len(text) - _LONGEST):
            end = len(text)
        else:
            end = places[-_WAITING] if len(places) >= _WAITING else 0
        self._waiting = text[end:]
        return self._numbered(text[:end])

    def rest(self) -> NDArray[np.int32]:
        """The numbers of the words that waited."""
        text, self._waiting = self._waiting, ""
        return self._numbered(text)

    def _numbered(self, text: str) -> NDArray[np.int32]:
        known = self._numbers
        found = np.array([known.setdefault(word, len(known)) for word in WORD.findall(text.lower())], np.int32)
        if len(known) > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(len(known), np.int64)])
        if len(found):
            counted = np.bincount(found)
            self._counts[: len(counted)] += counted
        return found

    def most_often(self) -> int:
        """How often the most frequent word occurs."""
        return int(self._counts.max())

    def vocabulary(self, minimum: int, size: int) -> tuple[WordVocabulary, NDArray[np.int64]]:
        """The most frequent words, at most ``size - 1`` of them, and the id of each number; 0 of all others."""
        counts = self._counts[: len(self._numbers)]
        words = list(self._numbers)
        order = sorted(np.flatnonzero(counts >= minimum).tolist(), key=lambda k: (-int(counts[k]), words[k]))
        kept = order[: size - 1]
        ids = np.zeros(len(words), np.int64)
        ids[kept] = np.arange(1, len(kept) + 1)
        return WordVocabulary([words[k] for k in kept]), ids
