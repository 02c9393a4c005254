"""Pairs of sentences, one the translation of the other: a sentence, a tab and its translation in each line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.batching import shuffled_order
from engine.data.data_checks import bad_data
from engine.data.encodings import decode_text
from engine.data.files import read_bytes

_FILE = "a UTF-8 text file"
#: Signs between which no blank stands: Chinese characters, kana, and the punctuation of their scripts.
_CLOSE = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")
_NO_BLANK_BEFORE, _NO_BLANK_BEHIND = frozenset(".,!?;:)]}%\u201d\u2019\u2026"), frozenset("([{\u201c\u2018$#")


@dataclass(frozen=True)
class SentencePairs:
    """Sentences and their translations.

    Attributes
    ----------
    sources, targets : the two sides; a source with several translations stands there once for each.
    lines : the line of each pair, from 1.
    source : the name of the file.
    """

    sources: list[str]
    targets: list[str]
    lines: list[int]
    source: str

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.sources)

    def take(self, places: Iterable[int]) -> SentencePairs:
        """The pairs at `places`."""
        kept = list(places)
        sources, targets = [self.sources[k] for k in kept], [self.targets[k] for k in kept]
        return SentencePairs(sources, targets, [self.lines[k] for k in kept], self.source)

    def references(self) -> dict[str, list[str]]:
        """Every source once, in order, with its different translations."""
        found: dict[str, list[str]] = {}
        for source, target in zip(self.sources, self.targets, strict=True):
            known = found.setdefault(source, [])
            if target not in known:
                known.append(target)
        return found


def read_pairs(path: str | os.PathLike[str], *, encoding: str | None = None) -> SentencePairs:
    r"""Return the pairs of a file with a sentence, a tab and its translation in each line.

    Empty lines are left out, and so is what stands behind a second tab, such as the licence of a sentence.

    Parameters
    ----------
    path : str or Path
        The file.
    encoding : str or None
        As `engine.data.load_text` takes it.

    Raises
    ------
    DataError
        A line has no tab or an empty side, the file holds no pair, or it cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from engine.data.pairs import read_pairs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text("Hi.\tSalut.\nHi.\tBonjour.\nRun!\tCours !\n")
    >>> read_pairs(path).references()
    {'Hi.': ['Salut.', 'Bonjour.'], 'Run!': ['Cours !']}
    """
    name = os.fspath(path)
    found = SentencePairs([], [], [], name)
    for number, line in enumerate(decode_text(read_bytes(path, _FILE), path, _FILE, encoding).split("\n"), 1):
        if not line.strip():
            continue
        cells = [" ".join(cell.split()) for cell in line.split("\t")]
        if len(cells) < 2:
            hint = "write the translation behind a tab"
            raise bad_data(name, "a sentence, a tab and its translation in each line", f"no tab in line {number}", hint)
        for side, cell in zip(("sentence", "translation"), cells, strict=False):
            if not cell:
                raise bad_data(name, f"a {side} in each line", f"none in line {number}", "complete or remove the line")
        found.sources.append(cells[0])
        found.targets.append(cells[1])
        found.lines.append(number)
    if not len(found):
        raise bad_data(name, "a sentence, a tab and its translation in each line", "no line with text", "give the data")
    return found


def read_sources(path: str | os.PathLike[str], *, encoding: str | None = None) -> list[str]:
    """Return the sentences of a file, one a line; what stands behind a tab is left out.

    Raises
    ------
    DataError
        There is none, or the file cannot be read.
    """
    text = decode_text(read_bytes(path, _FILE), path, _FILE, encoding)
    found = [" ".join(line.partition("\t")[0].split()) for line in text.split("\n")]
    if not any(found):
        raise bad_data(os.fspath(path), "a sentence in each line", "no line with text", "give the sentences")
    return [sentence for sentence in found if sentence]


def split_by_source(pairs: SentencePairs, share: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the pairs to train on and of those to validate on.

    All translations of one sentence stand on one side, whatever its capitals and blanks: else the figure would tell
    what the model remembers.

    Raises
    ------
    DataError
        One side would have no sentence.
    """
    keys = [source.casefold() for source in pairs.sources]
    different = list(dict.fromkeys(keys))
    count = round(share * len(different))
    if not 0 < count < len(different):
        got = f"{len(different)} different sentence{'s' if len(different) != 1 else ''}, of which {share:g} is {count}"
        raise bad_data(pairs.source, "sentences to train on and others to validate on", got, "give more pairs")
    held = {different[k] for k in shuffled_order(len(different), seed, 0, purpose=7)[:count]}
    outside = np.array([key in held for key in keys], dtype=bool)
    return np.flatnonzero(~outside), np.flatnonzero(outside)


def join_words(words: Sequence[str]) -> str:
    """Return the text of words: blanks between them, but not around signs of Chinese and Japanese, nor before a stop.

    Examples
    --------
    >>> from engine.data.pairs import join_words
    >>> join_words(["it", "is", "late", "."]), join_words(["我", "7", "点", "走", "。"])
    ('it is late.', '我7点走。')
    """
    text = ""
    for word in words:
        close = not text or word in _NO_BLANK_BEFORE or text[-1] in _NO_BLANK_BEHIND
        text += word if close or _CLOSE.match(word) or _CLOSE.match(text[-1]) else f" {word}"
    return text
