"""Text: files, the built-in manual, the vocabulary, the split. Every refusal names what, expected, got and the hint."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from engine.checks import fraction, integer
from engine.data import Vocabulary, builtin_text, load_text, split
from engine.errors import DataError, InputError, InputTypeError

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


# --- files ----------------------------------------------------------------------------------------------------------


def test_one_file_is_read_as_it_is_but_for_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffIch weiß\r\nnicht\rwas\n\n".encode())
    assert load_text(path) == "Ich weiß\nnicht\nwas\n\n"
    assert load_text(str(path)) == load_text([path])


def test_several_files_are_joined_in_order_with_a_newline_only_where_one_is_missing(tmp_path: Path) -> None:
    for name, content in {"a": "one", "b": "two\n", "c": "three"}.items():
        (tmp_path / name).write_text(content)
    assert load_text([tmp_path / "b", tmp_path / "a", tmp_path / "c"]) == "two\none\nthree"
    assert load_text(tmp_path / name for name in "ca") == "three\none"


@pytest.mark.parametrize(
    ("content", "got", "hint"),
    [
        (b"", "an empty file", "written completely"),
        (b"\xef\xbb\xbf", "an empty file (a byte-order mark alone)", "written completely"),
        (b"abc\n\x00\x01", "a binary file (a zero byte at offset 4)", "unpack"),
        (
            b"ab\ncaf\xe9 au lait",
            "the byte 0xe9 at offset 6 (line 2), which is not UTF-8, but likely cp1252 ('café au lait')",
            "cp1252",
        ),
        (
            b"\xef\xbb\xbfab\n\xff",
            "the byte 0xff at offset 6 (line 2), which is damaged: the rest of the text is UTF-8",
            "correct it",
        ),
        (b"\x1f\x8b\x07zip" * 3, "a damaged gzip file (Unknown compression method)", "fetch or write it again"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, got: str, hint: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    good = tmp_path / "good.txt"
    good.write_text("fine")
    with refused(DataError, f"{path}: expected a UTF-8 text file, got {got}; ", hint):
        load_text([good, path])


def test_a_missing_file_a_directory_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    with refused(DataError, f"{tmp_path / 'no'}: expected a UTF-8 text file, got no such file; check the name"):
        load_text(tmp_path / "no")
    with refused(DataError, f"{tmp_path}: expected a UTF-8 text file, got a directory; name the file"):
        load_text(tmp_path)
    with refused(DataError, "expected a UTF-8 text file, got a name that no file can have; check"):
        load_text("a\0b")
    with refused(DataError, "expected a UTF-8 text file, got a name that no file can have; check"):
        load_text("a\ud800b")
    with refused(DataError, "'': expected a UTF-8 text file, got no such file; check"):
        load_text("")
    with refused(DataError, "got a file that cannot be read (Not a directory); check"):
        (tmp_path / "file").write_text("x")
        load_text(tmp_path / "file" / "below")


def test_paths_that_are_no_names_are_refused() -> None:
    with refused(InputError, "paths: expected at least one file, got none; name a text file"):
        load_text([])
    with refused(InputTypeError, "paths: expected a file name or several, got 3; give"):
        load_text(3)  # type: ignore[arg-type]
    with refused(InputTypeError, "path: expected a file name (str or Path), got 3; give"):
        load_text([3])  # type: ignore[list-item]


# --- the built-in text ----------------------------------------------------------------------------------------------


def test_the_builtin_text_is_long_plain_and_the_same_each_time() -> None:
    text = builtin_text()
    assert text == builtin_text()
    assert 300_000 < len(text) < 2_000_000
    assert text.startswith('The "assert" statement\n')
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\0" not in text
    assert "\r" not in text
    assert 60 < len(Vocabulary.from_text(text)) < 300


def test_the_builtin_text_prints_no_long_paragraph_twice_and_loses_none() -> None:
    from pydoc_data.topics import topics

    passages = [passage.strip() for passage in builtin_text().split("\n\n")]
    long = [passage for passage in passages if len(passage) >= 60]
    assert len(long) == len(set(long))
    source = [passage.strip() for text in topics.values() for passage in text.split("\n\n") if passage.strip()]
    assert set(passages) == set(source)
    assert len(source) > len(passages)  # there are repeats: else the rule is not needed


def test_a_python_without_the_manual_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with refused(DataError, "builtin_text: expected pydoc_data.topics", "got none; name a text file instead"):
        builtin_text()


# --- vocabulary -----------------------------------------------------------------------------------------------------


@given(TEXTS, TEXTS)
def test_encode_and_decode_are_inverse_and_match_a_plain_loop(text: str, other: str) -> None:
    vocabulary = Vocabulary.from_text(text + other)
    alphabet = sorted(set(text + other))
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == [alphabet.index(character) for character in text]
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(ids.tolist()) == text
    assert len(vocabulary) == len(alphabet)


@given(TEXTS, TEXTS)
def test_unknown_characters_get_the_last_id_and_come_back_as_a_sign(text: str, other: str) -> None:
    vocabulary = Vocabulary.from_text(text, unknown=True)
    known = set(text)
    ids = vocabulary.encode(other)
    assert vocabulary.unknown_id == len(known) == len(vocabulary) - 1
    assert [i == vocabulary.unknown_id for i in ids] == [character not in known for character in other]
    assert vocabulary.decode(ids) == "".join(c if c in known else "\ufffd" for c in other)


@given(TEXTS, st.booleans())
def test_vocabulary_survives_json_and_order_of_characters_does_not_matter(text: str, unknown: bool) -> None:
    vocabulary = Vocabulary(text, unknown=unknown)
    back = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert back == vocabulary == Vocabulary(text[::-1] * 2, unknown=unknown)
    assert hash(back) == hash(vocabulary)
    assert back != Vocabulary(text, unknown=not unknown)
    assert back != Vocabulary(text + max(text[0], "x") + "yz§")
    assert vocabulary != text


def test_empty_text_encodes_to_nothing() -> None:
    ids = Vocabulary("ba").encode("")
    assert ids.shape == (0,)
    assert ids.dtype == np.int32
    assert Vocabulary("ba").decode([]) == ""
    assert repr(Vocabulary("ba")) == "Vocabulary('ab', unknown=False)"


def test_vocabulary_refusals() -> None:
    vocabulary = Vocabulary("abc")
    with refused(
        InputError, "text: expected only the 3 characters of the vocabulary, got 'é' (U+00E9) at position 2; rem"
    ):
        vocabulary.encode("abéx")
    with refused(InputError, "prompt: expected only the 3", "got 'A' (U+0041) at position 0; remove it, or use"):
        vocabulary.encode("A", "prompt")
    with refused(InputTypeError, "text: expected a string, got bytes; read files"):
        vocabulary.encode(b"abc")  # type: ignore[arg-type]
    with refused(InputError, "ids: expected integers in 0..2, got 3 at index 1; use the vocabulary"):
        vocabulary.decode([0, 3])
    with refused(InputError, "ids: expected integers in 0..2, got -1 at index 0; use"):
        vocabulary.decode(np.array([-1, 2]))
    with refused(InputTypeError, "ids: expected a one-dimensional array of integers", "got dtype float64; encode"):
        vocabulary.decode(np.array([1.0]))
    with refused(InputError, "ids: expected a one-dimensional array", "got shape (1, 1); flatten"):
        vocabulary.decode(np.array([[1]]))
    with refused(InputTypeError, "ids: expected a one-dimensional array", "got 'ab'; pass"):
        vocabulary.decode("ab")
    with refused(InputError, "characters: expected at least one character, got an empty string; give"):
        Vocabulary("")
    with refused(InputTypeError, "characters: expected a string, got list; join"):
        Vocabulary(["a"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"characters": "ab"},
        {"characters": "", "unknown": False},
        {"characters": ["a"], "unknown": False},
        {"characters": "ab", "unknown": 1},
        {"characters": "ba", "unknown": False},
        {"characters": "aab", "unknown": False},
        "ab",
        None,
    ],
)
def test_a_record_that_is_no_vocabulary_is_refused(record: object) -> None:
    with refused(DataError, "vocabulary: expected ", "got ", "; use what Vocabulary.to_json returned"):
        Vocabulary.from_json(record)  # type: ignore[arg-type]


# --- split ----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 300), st.floats(0.0, 0.95))
def test_split_is_contiguous_complete_and_of_the_size_asked_for(size: int, fraction: float) -> None:
    ids = np.arange(size, dtype=np.int32)
    held_out = round(size * fraction)
    if fraction > 0 and held_out in (0, size):
        with refused(InputError, "ids: expected enough text", f"got {size} characters; give more text"):
            split(ids, fraction)
        return
    train, validation = split(ids, fraction)
    assert np.concatenate([train, validation]).tolist() == ids.tolist()
    assert len(validation) == held_out
    assert np.shares_memory(train, ids)


def test_split_takes_a_text_too() -> None:
    assert split("abcdefghij", 0.3) == ("abcdefg", "hij")


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_split_refuses_fractions_out_of_range(fraction: float) -> None:
    with refused(InputError, f"validation_fraction: expected a fraction >= 0 and < 1, got {fraction}; give a number"):
        split("abcdefghij", fraction)


@pytest.mark.parametrize("fraction", ["0.1", None, True, [0.1]])
def test_split_refuses_what_is_no_number(fraction: object) -> None:
    with refused(InputTypeError, "validation_fraction: expected a fraction >= 0 and < 1, got ", "; give a number"):
        split("abcdefghij", fraction)  # type: ignore[arg-type]


def test_shared_checks_take_numpy_numbers_and_refuse_the_rest() -> None:
    assert integer("n", np.int16(3), 1) == 3
    assert type(integer("n", np.int16(3), 1)) is int
    assert fraction("f", np.float32(0.5), zero_allowed=False) == 0.5
    for wrong in (True, np.True_, 2.0, "2", None):
        with refused(InputTypeError, "n: expected an integer >= 1, got "):
            integer("n", wrong, 1)
    with refused(InputError, "n: expected an integer >= 1, got 0; hint"):
        integer("n", 0, 1, "hint")
    with refused(InputError, "f: expected a fraction > 0 and < 1, got 0.0"):
        fraction("f", 0.0, zero_allowed=False)
