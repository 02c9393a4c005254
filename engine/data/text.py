"""Text for the character model: where it comes from, its alphabet, and its training and validation parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, fraction, switch
from engine.data.data_checks import bad_data, require_ids
from engine.data.encodings import decode_text
from engine.data.files import file_name, read_bytes
from engine.errors import bad_input, bad_type
from engine.plain_arrays import refuse_own_rules

_TEXT_FILE = "a UTF-8 text file"
_UNKNOWN_SIGN = "\N{REPLACEMENT CHARACTER}"
# Shorter paragraphs ("Changed in version 3.8: ...") recur by nature and give nothing away.
_SHORTEST_REPEAT = 60
# Characters that are encoded at a time.
_PIECE = 1 << 20

# A text, or its ids (n,); a part of it is of the same kind.
Stream = TypeVar("Stream", str, NDArray[Any])


def load_text(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, encoding: str | None = None) -> str:
    """Return the text of one file, or of several in the order given; gzip files are unpacked.

    A byte-order mark is dropped and every line end becomes a newline. If a file does not end in a newline, one is put
    before the next file.

    Parameters
    ----------
    encoding : str, optional
        Encoding of all files, such as "cp1252". If left out, each must be UTF-8 or start with a byte-order mark.

    Raises
    ------
    DataError
        A file is missing, no regular file, unreadable, empty, binary, or in another encoding; then the message names
        the likely one.
    InputError
        No file is named, or no encoding has this name.
    """
    if not isinstance(paths, Iterable | str | os.PathLike):
        raise bad_type("paths", "a file name or several", describe(paths), "give names of text files")
    if isinstance(paths, np.ndarray):  # one of no axes cannot be gone through
        refuse_own_rules("paths", paths, "a file name or several")
        paths = paths.reshape(-1).tolist()
    names = [file_name(name) for name in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not names:
        raise bad_input("paths", "at least one file", "none", "name a text file, or use builtin_text()")
    texts = [decode_text(read_bytes(name, _TEXT_FILE), name, _TEXT_FILE, encoding) for name in names]
    return "".join(text if text.endswith("\n") else text + "\n" for text in texts[:-1]) + texts[-1]


def builtin_text() -> str:
    """Return the reference manual that every CPython carries (`pydoc_data.topics`), about 400 000 characters.

    The topics are joined in the order of their names. The manual prints some sections twice, alone and inside a
    larger one; only the first copy of a long paragraph is kept. Otherwise one in nine of the 50-character passages in
    the last tenth would also be in the first nine tenths, and the validation loss would be too good.
    The text is the same on every run of one Python version, and differs a little between versions.

    Raises
    ------
    DataError
        This Python was installed without the manual.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        hint = "name a text file instead, or install the complete standard library"
        raise bad_data("builtin_text", "pydoc_data.topics of the standard library", "none", hint) from None
    seen: set[str] = set()
    kept: list[str] = []
    for name in sorted(topics):
        for paragraph in topics[name].split("\n\n"):
            passage = paragraph.strip()
            if not passage or (len(passage) >= _SHORTEST_REPEAT and passage in seen):
                continue
            seen.add(passage)
            kept.append(paragraph.strip("\n"))
    return "\n\n".join(kept) + "\n"


def split(ids: Stream, validation_fraction: float, source: str = "ids") -> tuple[Stream, Stream]:
    """Cut a stream in two: the first part is for training, the last `validation_fraction` of it for validation.

    Parameters
    ----------
    ids : str or array (n,)
        The stream in its own order; it is never shuffled, so that no passage is on both sides.
    validation_fraction : float
        In [0, 1). 0 leaves the validation part empty; else both parts get at least one element.
    source : str
        The name of the stream in messages, for example that of its file.

    Returns
    -------
    training, validation : slices (views) of `ids`; together they are all of it.
    """
    refuse_own_rules("ids", ids)
    if not isinstance(ids, str) and (not isinstance(ids, np.ndarray) or ids.ndim != 1):
        raise bad_type("ids", "a string or an array (n,)", describe(ids))
    share = fraction("validation_fraction", validation_fraction, zero_allowed=True)
    size = len(ids)
    held_out = round(size * share)
    if share > 0 and not 0 < held_out < size:
        expected = f"enough text that both parts of a split at {share:g} get something"
        raise bad_input(source, expected, f"{size} characters", "give more text, or hold out another fraction")
    return ids[: size - held_out], ids[size - held_out :]


class Vocabulary:
    """The characters a model knows, sorted by code point; a character's id is its place.

    Build it over the whole text, before the split: then a model learns only which characters the validation part has.
    A character that training never shows is simply predicted badly. To hide even this from the model, build it over
    the training part with `unknown=True`; every other character then gets one reserved id.

    Parameters
    ----------
    characters : str
        The alphabet, in any order; repeats count once.
    unknown : bool
        Reserve the id after the last character for all characters that are not in the alphabet.
    """

    level = "characters"

    def __init__(self, characters: str, *, unknown: bool = False) -> None:
        if not isinstance(characters, str):
            raise bad_type("characters", "a string", type(characters).__name__, "join the characters")
        if not characters:
            raise bad_input("characters", "at least one character", "an empty string", "give the text to be learnt")
        self.characters = "".join(sorted(set(characters)))
        self.unknown_id = len(self.characters) if switch("unknown", unknown) else None
        self._codes = _code_points(self.characters)  # (V,) rising

    @classmethod
    def from_text(cls, text: str, *, unknown: bool = False) -> Vocabulary:
        """Return the vocabulary of the characters that occur in `text`."""
        return cls(text, unknown=unknown)

    def __len__(self) -> int:
        """Return the number of ids: the characters, and one more if there is an id for unknown ones."""
        return len(self.characters) + (self.unknown_id is not None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.characters, self.unknown_id) == (other.characters, other.unknown_id)

    def __hash__(self) -> int:
        return hash((self.characters, self.unknown_id))

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r}, unknown={self.unknown_id is not None})"

    def encode(self, text: str, argument: str = "text") -> NDArray[np.int32]:
        """Return the ids (n,) int32 of the n characters of `text`; `argument` names the text in an error.

        Raises
        ------
        InputError
            A character is not in the vocabulary, and there is no id for unknown ones.
        """
        if not isinstance(text, str):
            raise bad_type(argument, "a string", type(text).__name__, "read files with load_text")
        ids = np.empty(len(text), np.int32)
        # In pieces: otherwise a large text would take forty times its size for a moment.
        for start in range(0, len(text), _PIECE):
            codes = _code_points(text[start : start + _PIECE])
            found = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
            strange = self._codes[found] != codes
            if strange.any():
                if self.unknown_id is None:
                    position = start + int(np.argmax(strange))
                    raise bad_input(
                        argument,
                        f"only the {len(self.characters)} characters of the vocabulary",
                        f"{text[position]!r} (U+{ord(text[position]):04X}) at position {position}",
                        "remove it, or use a vocabulary that contains it",
                    )
                found[strange] = self.unknown_id
            ids[start : start + len(codes)] = found
        return ids

    def decode(self, ids: Any) -> str:
        """Return the text of `ids` (n,); the id for unknown characters becomes the sign U+FFFD.

        Raises
        ------
        InputError
            An id is outside 0 .. len(self) - 1.
        """
        array = require_ids("ids", ids)
        outside = (array < 0) | (array >= len(self))
        if outside.any():
            index = int(np.argmax(outside))
            expected = f"integers in 0..{len(self) - 1}"
            hint = "use the vocabulary that the ids were made with"
            raise bad_input("ids", expected, f"{array[index]} at index {index}", hint)
        codes = np.append(self._codes, np.uint32(ord(_UNKNOWN_SIGN)))[array]
        return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    @property
    def start(self) -> str:
        """A text for a model to start after: a newline, or the first character where there is none."""
        return "\n" if "\n" in self.characters else self.characters[0]

    def entries(self) -> str:
        """Return the characters in the order of their ids."""
        return self.characters

    def speller(self) -> Callable[[int], str]:
        """Return a function that takes one id after another, and returns the character of each."""
        return lambda number: self.decode([number])

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that `json.dumps` takes and `from_json` gives back as an equal vocabulary."""
        return {"characters": self.characters, "unknown": self.unknown_id is not None}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Vocabulary:
        """Return the vocabulary that `to_json` described.

        Raises
        ------
        DataError
            The record is not one that `to_json` makes: ids would no longer mean the same characters.
        """
        characters = record.get("characters") if isinstance(record, Mapping) else None
        unknown = record.get("unknown") if isinstance(record, Mapping) else None
        if not isinstance(characters, str) or not isinstance(unknown, bool) or not characters:
            expected = 'a record {"characters": "...", "unknown": true or false}'
            raise bad_data(
                "vocabulary",
                expected,
                repr(record) if isinstance(record, str) else record,
                "use what Vocabulary.to_json returned",
            )
        vocabulary = cls(characters, unknown=unknown)
        if vocabulary.characters != characters:
            expected = "characters that are sorted and occur once"
            raise bad_data("vocabulary", expected, repr(characters)[:80], "use what Vocabulary.to_json returned")
        return vocabulary


def _code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points (n,) of `text`, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
