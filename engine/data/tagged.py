"""Sentences whose words have a tag each: a word and its tag in a line, an empty line after each sentence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.data.encodings import decode_text
from engine.data.files import read_bytes
from engine.data.text_rows import listed

_FILE = "a UTF-8 text file"
#: What a header line above words and tags calls them.
_WORDS, _TAGS = {"word", "words", "token", "tokens", "form"}, {"tag", "tags", "label", "labels", "pos", "upos", "ner"}


@dataclass(frozen=True)
class TaggedSentences:
    """Sentences, and the tag of each word.

    Attributes
    ----------
    words : the words of each sentence.
    tags : the tags of each sentence, as many as words; empty lists where the file has none.
    lines : the line on which each sentence begins, from 1.
    source : the name of the file.
    note : which line was taken as a header line, in words; "" if none was.
    """

    words: list[list[str]]
    tags: list[list[str]]
    lines: list[int]
    source: str
    note: str = ""

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.words)

    def take(self, places: Iterable[int]) -> TaggedSentences:
        """The sentences at `places`."""
        kept = list(places)
        words, tags = ([column[k] for k in kept] for column in (self.words, self.tags))
        return TaggedSentences(words, tags, [self.lines[k] for k in kept], self.source, self.note)


def read_tagged(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    tagged: bool = True,
    names: Sequence[str] = (),
) -> TaggedSentences:
    r"""Return the sentences of a file with a word and its tag in each line, and an empty line after each sentence.

    Parameters
    ----------
    path : str or Path
        The first cell of a line is the word, the last one is the tag.  A first line such as ``word``, ``tag`` is a
        header line, if no word below has that tag.
    encoding : str or None
        As `engine.data.load_text` takes it.
    delimiter : str or None
        What stands between word and tag; None finds it: a tab, else blanks.
    tagged : bool
        Whether every word must have a tag; otherwise lines may hold the word alone, or a sentence.
    names : sequence of str
        Known tags: without ``tagged``, lines of several words between blanks are a sentence each, unless most of them
        end in one of these.

    Raises
    ------
    DataError
        A word has no tag, a line has no word, or the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from engine.data.tagged import read_tagged
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tags.tsv"
    >>> _ = path.write_text("A\tDET\ncat\tNOUN\n\nRun\tVERB\n")
    >>> read_tagged(path).tags
    [['DET', 'NOUN'], ['VERB']]
    """
    name = os.fspath(path)
    text = decode_text(read_bytes(path, _FILE), path, _FILE, encoding)
    lines = text.split("\n")
    cut = {"tab": "\t", "blank": None}.get(delimiter or "", delimiter) if delimiter else _delimiter(lines)
    several = [cells for cells in map(str.split, lines) if len(cells) > 1]
    if not tagged and cut is None and 2 * sum(cells[-1] in names for cells in several) < len(several):
        rows = {number: line.split() for number, line in enumerate(lines, 1) if line.strip()}
        return TaggedSentences(list(rows.values()), [[] for _ in rows], list(rows), name)
    return _columns(lines, cut, name, tagged)


def _columns(lines: Sequence[str], cut: str | None, name: str, tagged: bool) -> TaggedSentences:
    """The sentences of lines with a word and its tag each."""
    words: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    begins: list[int] = [0]
    header, note = _header(lines, cut)
    for number, line in enumerate(lines, 1):
        if not line.strip() or number == header:
            if words[-1]:
                words.append([])
                tags.append([])
                begins.append(0)
            continue
        word, tag = _cells(line, cut, name, number, tagged)
        begins[-1] = begins[-1] or number
        words[-1].append(word)
        if tag:
            tags[-1].append(tag)
    if not words[-1]:
        words, tags, begins = words[:-1], tags[:-1], begins[:-1]
    if not words:
        raise bad_data(name, "a word and its tag in each line", "nothing but blank lines", "give the data")
    if not tagged and any(len(row) != len(found) for row, found in zip(words, tags, strict=True)):
        tags = [[] for _ in words]
    return TaggedSentences(words, tags, begins, name, note)


def _header(lines: Sequence[str], cut: str | None) -> tuple[int, str]:
    """The number of the header line, 0 if there is none, and a note on it."""
    filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    used = ((number, [cell.strip() for cell in line.split(cut)]) for number, line in filled)
    first, cells = next(used, (0, [""]))
    named = len(cells) > 1 and cells[0].lower() in _WORDS and cells[-1].lower() in _TAGS
    if not named or any(len(below) > 1 and below[-1] == cells[-1] for _, below in used):
        return 0, ""
    return first, f"line {first} is taken as a header line: {listed(cells)}"


def _delimiter(lines: Sequence[str]) -> str | None:
    """A tab if most lines hold one, else None: runs of blanks."""
    used = [line for line in lines if line.strip()]
    return "\t" if 2 * sum("\t" in line for line in used) >= len(used) else None


def _cells(line: str, cut: str | None, name: str, number: int, tagged: bool) -> tuple[str, str]:
    cells = [cell.strip() for cell in line.split(cut)]
    if not cells[0]:
        raise bad_data(name, "a word in every line that is not empty", f"none in line {number}", "write the word first")
    if len(cells) > 1 and cells[-1]:
        return cells[0], cells[-1]
    if tagged:
        hint = "write it after the word, with a tab between them"
        raise bad_data(name, "a tag for every word", f"none for {cells[0]!r} in line {number}", hint)
    return cells[0], ""


def tag_names(sentences: TaggedSentences) -> list[str]:
    """Return the tags that occur, sorted.

    Raises
    ------
    DataError
        There are fewer than two.
    """
    found = sorted({tag for row in sentences.tags for tag in row})
    if len(found) < 2:
        got = f"{listed(found)} alone" if found else "none"
        raise bad_data(sentences.source, "at least two different tags", got, "check that the tag stands last in a line")
    return found


def encode_tags(sentences: TaggedSentences, names: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return the tags (n,) of each sentence as indices into `names`.

    Raises
    ------
    DataError
        A tag is not among them.
    """
    known = {name: index for index, name in enumerate(names)}
    for row, words, line in zip(sentences.tags, sentences.words, sentences.lines, strict=True):
        for offset, tag in enumerate(row):
            if tag not in known:
                hint = "correct it, or train on data that has it"
                got = f"{tag!r} for {words[offset]!r} in line {line + offset}"
                raise bad_data(sentences.source, f"tags of the training data ({listed(names)})", got, hint)
    return [np.array([known[tag] for tag in row], dtype=np.int64) for row in sentences.tags]


class FrequentTags:
    """The baseline of tagging: for each word its most frequent tag in training, for others the most frequent of all.

    Parameters
    ----------
    sentences : TaggedSentences
        The training part.

    Examples
    --------
    >>> from engine.data.tagged import FrequentTags, TaggedSentences
    >>> train = TaggedSentences([["a", "can"], ["can", "can"]], [["D", "N"], ["V", "V"]], [1, 4], "train")
    >>> FrequentTags(train).predict(["a", "can", "new"])
    ['D', 'V', 'V']
    """

    def __init__(self, sentences: TaggedSentences) -> None:
        counts: dict[str, Counter[str]] = {}
        for row, tags in zip(sentences.words, sentences.tags, strict=True):
            for word, tag in zip(row, tags, strict=True):
                counts.setdefault(word, Counter())[tag] += 1
        total: Counter[str] = sum(counts.values(), Counter())
        self.usual = most_frequent(total)
        self.tags = {word: most_frequent(found) for word, found in counts.items()}

    def predict(self, words: Sequence[str]) -> list[str]:
        """The tag of each word."""
        return [self.tags.get(word, self.usual) for word in words]


def most_frequent(counts: Counter[str]) -> str:
    """The most frequent entry, of equals the first in the alphabet."""
    return min(counts, key=lambda name: (-counts[name], name))
