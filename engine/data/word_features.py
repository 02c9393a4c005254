"""Words as several ids each: the word itself, its endings, its beginning, its shape.

A word that training never showed still has an ending and a shape, and these tell much of its part of speech.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe
from engine.data.data_checks import bad_data
from engine.data.tokens import UNKNOWN, TokenVocabulary

Words = Sequence[Sequence[str]]


def shape_of(word: str) -> str:
    """Return the shape of a word: first letter, all capitals, digits, hyphen, no letter or digit at all.

    Examples
    --------
    >>> [shape_of(word) for word in ("the", "Bush", "NASA", "15", "e-mail", "...")]
    ['x', 'X', 'XA', 'x0', 'x-', 'x.']
    """
    capitals = len(word) > 1 and word.isupper()
    digits = any(character.isdigit() for character in word)
    signs = not any(character.isalnum() for character in word)
    return ("X" if word[0].isupper() else "x") + "A" * capitals + "0" * digits + "-" * ("-" in word) + "." * signs


#: What is known of a word, by name.
FEATURES: dict[str, Callable[[str], str]] = {
    "word": lambda word: word.lower(),
    "last two letters": lambda word: word[-2:].lower(),
    "last three letters": lambda word: word[-3:].lower(),
    "first two letters": lambda word: word[:2].lower(),
    "shape": shape_of,
}


class WordEncoder:
    """From words to ids (n, F), one for each of the F `FEATURES`; each feature has its own range of ids.

    Parameters
    ----------
    vocabularies : mapping from str to TokenVocabulary
        One for each feature.

    Examples
    --------
    >>> encoder = WordEncoder.fit([["The", "cat"], ["the", "dog"]], minimum=2)
    >>> encoder.encode(["cat", "The"]).shape, len(encoder)
    ((2, 5), 18)
    """

    def __init__(self, vocabularies: Mapping[str, TokenVocabulary]) -> None:
        if set(vocabularies) != set(FEATURES):
            raise bad_data("words", f"vocabularies of {', '.join(FEATURES)}", describe(list(vocabularies)))
        self.vocabularies = {name: vocabularies[name] for name in FEATURES}
        sizes = [len(vocabulary) for vocabulary in self.vocabularies.values()]
        self._offsets = np.cumsum([0, *sizes[:-1]])

    @classmethod
    def fit(cls, sentences: Words, *, minimum: int = 1, size: int | None = None) -> WordEncoder:
        """Return the encoder that knows the words of `sentences`; rarer words than `minimum` are unknown words."""
        found = {}
        for name, feature in FEATURES.items():
            rows = ([feature(word) for word in sentence] for sentence in sentences)
            found[name] = TokenVocabulary.of(rows, minimum=minimum if name == "word" else 1, size=size)
        return cls(found)

    def __len__(self) -> int:
        """Return the number of ids of all features together."""
        return sum(map(len, self.vocabularies.values()))

    def encode(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids (n, F) of n words."""
        columns = [
            self.vocabularies[name].encode([feature(word) for word in words]) for name, feature in FEATURES.items()
        ]
        return np.stack(columns, axis=1).astype(np.int64) + self._offsets

    def grown(self, more: WordEncoder) -> WordEncoder:
        """Return an encoder that knows the words of `more` as well."""
        return WordEncoder({name: own.grown(more.vocabularies[name]) for name, own in self.vocabularies.items()})

    def entries(self) -> list[str]:
        """Return what each id stands for: the feature and its value, which is empty for unknown ones."""
        return [f"{name}: {value}" for name, own in self.vocabularies.items() for value in own.entries()]

    def known(self, word: str) -> bool:
        """Whether the word itself is known."""
        return bool(self.vocabularies["word"].encode([FEATURES["word"](word)])[0] != UNKNOWN)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `json.dumps` takes and `from_json` gives back as an equal encoder."""
        return {name: vocabulary.to_json() for name, vocabulary in self.vocabularies.items()}

    @classmethod
    def from_json(cls, record: Any) -> WordEncoder:
        """Return the encoder that `to_json` described.

        Raises
        ------
        DataError
            The record is not one that `to_json` makes.
        """
        if not isinstance(record, Mapping):
            raise bad_data("words", "a record of vocabularies", describe(record), "use what to_json returned")
        return cls({name: TokenVocabulary.from_json(tokens) for name, tokens in record.items()})
