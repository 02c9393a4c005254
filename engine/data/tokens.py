"""Words, characters and their ids: how a text is cut, and the vocabulary of what it is cut into."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, integer, one_of
from engine.data.data_checks import bad_data
from engine.errors import bad_type

# Scripts that are written without blanks between words: each sign is a word of its own.
_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Signs that nobody sees, such as the zero-width space, are no words.
_UNSEEN = "\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff"
WORD = re.compile(rf"[{_SIGNS}]|[^\W{_SIGNS}]+(?:['\u2019][^\W{_SIGNS}]+)*|[^\w\s{_UNSEEN}]")
#: The id of everything that is not in a vocabulary.
UNKNOWN = 0


def cut_words(text: str) -> list[str]:
    """Return the words of a text in lower case, punctuation marks as words of their own.

    Chinese and Japanese signs are words of their own, as no blanks stand between words there.

    Examples
    --------
    >>> cut_words("It's good, 真好!")
    ["it's", 'good', ',', '真', '好', '!']
    """
    return WORD.findall(text.lower())


def cut_characters(text: str) -> list[str]:
    """Return the characters of a text; runs of blanks and line ends become one blank.

    Examples
    --------
    >>> cut_characters(" O'Neal ")
    ['O', "'", 'N', 'e', 'a', 'l']
    """
    return list(" ".join(text.split()))


#: What a text can be cut into, by name.
CUTTERS: dict[str, Callable[[str], list[str]]] = {"words": cut_words, "characters": cut_characters}


class TokenVocabulary:
    """The tokens that a model knows; id 0 is for all others.

    Parameters
    ----------
    tokens : sequence of str
        The known tokens, each once; token k has the id k + 1.

    Examples
    --------
    >>> vocabulary = TokenVocabulary.of([["a", "b", "a"], ["c", "a", "b"]], minimum=2)
    >>> vocabulary.tokens, len(vocabulary), vocabulary.encode(["b", "c", "a"]).tolist()
    (['a', 'b'], 3, [2, 0, 1])
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
            raise bad_type("tokens", "a list of strings", describe(tokens))
        self.tokens = list(tokens)
        self._ids = {token: index for index, token in enumerate(self.tokens, 1)}
        if len(self._ids) != len(self.tokens):
            raise bad_data("tokens", "each token once", "a token twice", "use what TokenVocabulary.to_json returned")

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]], *, minimum: int = 1, size: int | None = None) -> TokenVocabulary:
        """Return the vocabulary of the tokens in `rows`, the most frequent ones first.

        Parameters
        ----------
        rows : iterable of lists of str
            Texts that are cut.
        minimum : int
            Tokens that occur less often are not kept.
        size : int or None
            The most ids, that of unknown tokens included.
        """
        least = integer("minimum", minimum, 1)
        counts = Counter(token for row in rows for token in row)
        kept = sorted((token for token, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))
        return cls(kept if size is None else kept[: integer("size", size, 1) - 1])

    def __len__(self) -> int:
        """Return the number of ids, that of unknown tokens included."""
        return len(self.tokens) + 1

    def __eq__(self, other: object) -> bool:
        return self.tokens == other.tokens if isinstance(other, TokenVocabulary) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.tokens))

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def encode(self, row: Sequence[str]) -> NDArray[np.int32]:
        """Return the ids (n,) of n tokens."""
        return np.array([self._ids.get(token, UNKNOWN) for token in row], dtype=np.int32)

    def grown(self, more: TokenVocabulary) -> TokenVocabulary:
        """Return a vocabulary that knows the tokens of `more` as well; the ids of those known before stay."""
        return TokenVocabulary([*self.tokens, *(token for token in more.tokens if token not in self)])

    def entries(self) -> list[str]:
        """Return the token of each id; that of unknown tokens is empty."""
        return ["", *self.tokens]

    def to_json(self) -> list[str]:
        """Return a list that `json.dumps` takes and `from_json` gives back as an equal vocabulary."""
        return list(self.tokens)

    @classmethod
    def from_json(cls, record: Any) -> TokenVocabulary:
        """Return the vocabulary that `to_json` described.

        Raises
        ------
        DataError
            The record is not one that `to_json` makes.
        """
        if not isinstance(record, list) or not all(isinstance(token, str) for token in record):
            raise bad_data("vocabulary", "a list of strings", describe(record), "use what to_json returned")
        return cls(record)


class TextEncoder:
    """From texts to ids: how a text is cut, the vocabulary, and the most tokens of a text.

    Parameters
    ----------
    by : str
        ``"words"`` or ``"characters"``.
    vocabulary : TokenVocabulary
        The tokens that are known.
    longest : int
        Tokens beyond these are left out.
    """

    def __init__(self, by: str, vocabulary: TokenVocabulary, longest: int) -> None:
        self.by, self.vocabulary, self.longest = one_of("by", by, CUTTERS), vocabulary, integer("longest", longest, 1)

    @classmethod
    def fit(cls, texts: Sequence[str], by: str, longest: int, *, minimum: int, size: int | None) -> TextEncoder:
        """Return the encoder whose vocabulary is that of `texts`."""
        cut = CUTTERS[one_of("by", by, CUTTERS)]
        return cls(by, TokenVocabulary.of((cut(text)[:longest] for text in texts), minimum=minimum, size=size), longest)

    def cut(self, text: str) -> list[str]:
        """Return the tokens of a text that the model sees."""
        return CUTTERS[self.by](text)[: self.longest]

    def encode(self, texts: Sequence[str], source: str, places: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the ids (n,) of each text; `source` and `places` say in an error where a text stands.

        Raises
        ------
        DataError
            A text holds no word.
        """
        found = []
        for text, place in zip(texts, places, strict=True):
            row = self.cut(text)
            if not row:
                hint = "write words into it, or remove it"
                raise bad_data(source, f"{self.by} in every text", f"none in {place} ({text!r})", hint)
            found.append(self.vocabulary.encode(row))
        return found

    def unknown(self, rows: Sequence[NDArray[np.int32]]) -> float:
        """Return which share of the tokens of encoded rows the vocabulary does not know."""
        total = sum(map(len, rows))
        return sum(int((row == UNKNOWN).sum()) for row in rows) / max(1, total)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `json.dumps` takes and `from_json` gives back as an equal encoder."""
        return {"by": self.by, "vocabulary": self.vocabulary.to_json(), "longest": self.longest}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TextEncoder:
        """Return the encoder that `to_json` described.

        Raises
        ------
        DataError
            The record is not one that `to_json` makes.
        """
        try:
            by, longest = record["by"], record["longest"]
            vocabulary = TokenVocabulary.from_json(record["vocabulary"])
        except (KeyError, TypeError):
            raise bad_data("encoder", "a record of by, vocabulary and longest", describe(record)) from None
        return cls(by, vocabulary, longest)
