"""Bytes and words as the alphabet of a language model, with the methods of a `Vocabulary` of characters.

Each has ``encode(text)``, ``decode(ids)``, ``entries()``, ``speller()``, ``start`` and ``to_json()``; a checkpoint
keeps what ``to_json`` says, and `vocabulary_from_json` makes it a vocabulary again.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.data.data_checks import bad_data, require_ids
from engine.data.text import Vocabulary
from engine.data.tokens import UNKNOWN, TokenVocabulary, cut_words
from engine.errors import bad_input, bad_type

#: What stands before these marks is not parted from them by a blank.
_CLOSING = set(",.;:!?)]}%\u2019'")
#: How an unknown word is written.
_UNKNOWN_WORD = "\N{REPLACEMENT CHARACTER}"


class ByteVocabulary:
    """The 256 bytes; an id is the byte itself.

    Examples
    --------
    >>> from engine.data.corpus import ByteVocabulary
    >>> vocabulary = ByteVocabulary()
    >>> len(vocabulary), vocabulary.encode("aé").tolist(), vocabulary.decode([97, 195, 169])
    (256, [97, 195, 169], 'aé')
    """

    level = "bytes"

    @property
    def start(self) -> str:
        """A text for a model to start after."""
        return "\n"

    def __len__(self) -> int:
        """Return 256."""
        return 256

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteVocabulary)

    def __hash__(self) -> int:
        return hash(self.level)

    def encode(self, text: str, argument: str = "text") -> NDArray[np.int32]:
        """Return the bytes (n,) int32 of `text` in UTF-8; `argument` names the text in an error."""
        if not isinstance(text, str):
            raise bad_type(argument, "a string", type(text).__name__)
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32)

    def decode(self, ids: Any) -> str:
        """Return the text of bytes (n,) as UTF-8; what is none becomes the sign U+FFFD."""
        return bytes(_within(ids, 256).astype(np.uint8)).decode("utf-8", "replace")

    def entries(self) -> list[str]:
        """Return a name for each id."""
        return [f"byte {number}" for number in range(256)]

    def speller(self) -> Callable[[int], str]:
        """Return a function that takes one id after another, and returns the text that each one completes."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda number: decoder.decode(bytes([number]))

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `vocabulary_from_json` takes."""
        return {"level": self.level}


class WordVocabulary(TokenVocabulary):
    """The words that a language model knows; id 0 is for all others.

    Parameters
    ----------
    tokens : sequence of str
        The known words in lower case, each once; word k has the id k + 1.

    Examples
    --------
    >>> from engine.data.corpus import WordVocabulary
    >>> vocabulary = WordVocabulary(["the", "sea", "."])
    >>> vocabulary.encode("The deep sea.").tolist(), vocabulary.decode([1, 2, 3])
    ([1, 0, 2, 3], 'the sea.')
    """

    level = "words"

    @property
    def start(self) -> str:
        """A text for a model to start after."""
        return "." if "." in self or not self.tokens else self.tokens[0]

    def encode(self, text: str | Sequence[str], argument: str = "text") -> NDArray[np.int32]:
        """Return the ids (n,) int32 of the words of a text; `argument` names the text in an error."""
        if not isinstance(text, str):
            raise bad_type(argument, "a string", type(text).__name__)
        return super().encode(cut_words(text))

    def decode(self, ids: Any) -> str:
        """Return the words of `ids` (n,) as a text."""
        spell = self.speller()
        return "".join(map(spell, _within(ids, len(self)).tolist())).removeprefix(" ")

    def speller(self) -> Callable[[int], str]:
        """Return a function that takes one id after another, and returns its word with the blank before it."""
        words = self.entries()

        def spell(number: int) -> str:
            word = _UNKNOWN_WORD if number == UNKNOWN else words[number]
            return word if word in _CLOSING else f" {word}"

        return spell

    def to_json(self) -> Any:
        """Return a dictionary that `vocabulary_from_json` takes."""
        return {"level": self.level, "words": list(self.tokens)}


def vocabulary_from_json(record: Any) -> Any:
    """Return the vocabulary of characters, bytes or words that its ``to_json`` described.

    Raises
    ------
    DataError
        The record is of none of them.
    """
    level = record.get("level", "characters") if isinstance(record, Mapping) else "characters"
    if level == ByteVocabulary.level:
        return ByteVocabulary()
    if level == WordVocabulary.level:
        words = record.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise bad_data("vocabulary", "a list of words", describe(words), "use what to_json returned")
        return WordVocabulary(words)
    if level != "characters":
        raise bad_data("vocabulary", "characters, bytes or words as its level", describe(level))
    return Vocabulary.from_json(record)


def _within(ids: Any, size: int) -> NDArray[np.integer[Any]]:
    found = require_ids("ids", ids)
    wrong = (found < 0) | (found >= size)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise bad_input("ids", f"integers in 0..{size - 1}", f"{found[index]} at index {index}")
    return found
