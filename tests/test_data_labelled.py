"""Texts with labels and words with tags: readers, splits, vocabularies.  Every refusal names place and hint."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from refusals import refused

from engine.data.classes import class_names, encode_labels, stratified_split
from engine.data.labelled import LabelledTexts, TableForm, read_labelled, read_texts
from engine.data.tagged import FrequentTags, encode_tags, read_tagged, tag_names
from engine.data.tokens import TextEncoder, TokenVocabulary, cut_characters, cut_words
from engine.errors import DataError, InputError

# --- tables ---------------------------------------------------------------------------------------------------------


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", 'He said "no\t0\nso, so\t1\n\nfine\t1\n'),  # tabs: marks that do not pair are text
        ("a.tsv", '"He said ""no"\t0\nso, so\t1\nfine\t1\n'),  # as a spreadsheet writes it
        ("a.tsv", 'sentence\tlabel\nHe said "no\t0\nso, so\t1\nfine\t1\n'),
        ("a.tsv", '0\tHe said "no\n1\tso, so\n1\tfine\n'),  # the label stands first
        ("a.csv", '"He said ""no",0\n"so, so",1\nfine,1\n'),
        ("a.csv", 'label,review\n0,"He said ""no"\n1,"so, so"\n1,fine\n'),
        ("a.csv", 'He said ""no;0\nso, so;1\nfine;1\n'.replace('""', "'")),
    ],
)
def test_tables_with_and_without_a_header_line(tmp_path: Path, name: str, text: str) -> None:
    found = read_labelled(written(tmp_path / name, text))
    assert [row.replace("'", '"') for row in found.texts] == ['He said "no', "so, so", "fine"]
    assert found.labels == ["0", "1", "1"]


def test_a_header_line_of_unusual_names(tmp_path: Path) -> None:
    rows = "good;so good\nbad;so so\nbad;very bad\ngood;quite fine, so to say\n"
    found = read_labelled(written(tmp_path / "a.csv", "mood;note\n" + rows))
    assert (found.labels, found.columns) == (["good", "bad", "bad", "good"], ("note", "mood"))
    for first in ("good;fine\n", "bad;not good\n", "rare;neither nor\n"):  # texts with a label
        assert len(read_labelled(written(tmp_path / "b.csv", first + rows))) == 5
    names = "Abe;Japanese\nRoy;Irish\nOh;Korean\nIm;Korean\nGill;Irish\n"  # a class of one example, not a header line
    assert len(read_labelled(written(tmp_path / "c.csv", names))) == 5


GUESSED = "good;so good\nbad;so so\nbad;very bad\ngood;quite fine, so to say\n"


@pytest.mark.parametrize(
    ("text", "form", "rows", "note"),
    [
        ("text;label\n" + GUESSED, TableForm(), 4, "line 1 ('text', 'label') is the header line"),
        ("mood;note\n" + GUESSED, TableForm(), 4, "line 1 ('mood', 'note') is taken as a header line; if it is data,"),
        ("mood;note\n" + GUESSED, TableForm("2", "1"), 5, "line 1 ('mood', 'note') is data, not a header line"),
        ("mood;note\n" + GUESSED, TableForm("note"), 4, "line 1 ('mood', 'note') is the header line"),
        ("bad;review\n" + GUESSED, TableForm(), 5, "line 1 ('bad', 'review') is data"),  # a class of others
        ("1;one\n2;two\n1;three\n", TableForm("2", "1"), 3, "line 1 ('1', 'one') is data"),  # a number is no name
        (GUESSED, TableForm(), 4, "line 1 ('good', 'so good') is data, not a header line"),
        ("\n\ntext;label\n" + GUESSED, TableForm(), 4, "line 3 ('text', 'label') is the header line"),
    ],
)
def test_what_was_taken_as_the_header_line_is_said(
    text: str, form: TableForm, rows: int, note: str, tmp_path: Path
) -> None:
    found = read_labelled(written(tmp_path / "a.csv", text), form)
    assert len(found) == rows
    assert found.note.startswith(note)
    assert found.take([0]).note == found.note
    if "if it is data" in note:
        assert found.note.endswith("--text-column 2 --label-column 1")


def test_columns_by_name_and_by_number(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "id,headline,kind,body\n1,A,x,one\n2,B,y,two\n3,C,x,three\n")
    by_name = read_labelled(path, TableForm("body", "kind"))
    assert (by_name.texts, by_name.labels, by_name.columns) == (
        ["one", "two", "three"],
        ["x", "y", "x"],
        ("body", "kind"),
    )
    assert by_name.places == ["line 2", "line 3", "line 4"]
    bare = written(tmp_path / "b.csv", "1,A,x,one\n2,B,y,two\n")
    assert read_labelled(bare, TableForm("4", "3")).labels == ["x", "y"]
    assert read_texts(bare, TableForm("2")).texts == ["A", "B"]


def test_a_text_over_several_lines_and_the_line_after_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\n"one\ntwo",a\n,b\n')
    with refused(DataError, "text in every row", "none in line 4", "fill it in"):
        read_labelled(path)
    assert read_labelled(written(path, 'text,label\n"one\ntwo",a\nthree,b\n')).texts == ["one\ntwo", "three"]


def test_texts_alone(tmp_path: Path) -> None:
    lines = written(tmp_path / "new.txt", "one, two\n\nthree\n")
    assert read_texts(lines).texts == ["one, two", "three"]
    column = written(tmp_path / "new.csv", 'text\n"one, two"\nthree\n')
    assert (read_texts(column).texts, read_texts(column).labels) == (["one, two", "three"], [])
    partly = written(tmp_path / "partly.csv", "label,text\nx,one\n,two\n")
    assert (read_texts(partly).texts, read_texts(partly).labels) == (["one", "two"], ["x", ""])


@pytest.mark.parametrize(
    ("text", "expected", "got"),
    [
        ("good\t\nbad\t0\n", "a label in every row", "none in line 1"),
        ("  \t1\nbad\t0\n", "text in every row", "none in line 1"),
        ("good,1\nwell, good,1\n", "2 cells a row", "3 in line 2"),
        ("good\nbad\n", "a text and a label in every row", "one cell in line 1"),
        ("text\tlabel\n", "rows below the header line", "the first line alone"),
        ("a,b,c\n1,2,3\n", "a column that is known to hold the texts", "3 columns without names"),
        (" \n\n", "rows of text", "nothing but blank lines"),
        ("", "a UTF-8 text file", "an empty file"),
        ('text,label\n"good,1\n', "well-formed CSV", "an error from line 2"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, expected: str, got: str) -> None:
    path = written(tmp_path / "a.csv", text)
    with refused(DataError, str(path), expected, got):
        read_labelled(path)


def test_a_wrong_column_and_a_wrong_encoding(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\ngood,1\nbad,0\n")
    with refused(InputError, "label_column", "'text', 'label'"):
        read_labelled(path, TableForm(label_column="stars"))
    with refused(InputError, "label_column", "'3'"):
        read_labelled(path, TableForm(label_column="3"))
    path.write_bytes("schön,1\nhäßlich,0\n".encode("cp1252"))
    with refused(DataError, "UTF-8", "--encoding cp1252"):
        read_labelled(path)
    assert read_labelled(path, TableForm(encoding="cp1252")).texts == ["schön", "häßlich"]


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_for_each_class_or_a_file_for_each_class(tmp_path: Path) -> None:
    for name, text in {"pos/b.txt": "good", "pos/a.txt": "very\ngood", "neg/x.txt": "bad", "README": "no"}.items():
        path = tmp_path / "folders" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = read_labelled(tmp_path / "folders")
    assert (found.texts, found.labels) == (["bad", "very\ngood", "good"], ["neg", "pos", "pos"])
    assert found.places == ["neg/x.txt", "pos/a.txt", "pos/b.txt"]
    (tmp_path / "names").mkdir()
    written(tmp_path / "names" / "Irish.txt", "O'Neal\n\nByrne\n")
    written(tmp_path / "names" / "Czech.txt", "Abl\n")
    found = read_labelled(tmp_path / "names")
    assert list(zip(found.texts, found.labels, strict=True)) == [
        ("Abl", "Czech"),
        ("O'Neal", "Irish"),
        ("Byrne", "Irish"),
    ]
    assert found.places[2] == "Irish.txt, line 3"
    (tmp_path / "none").mkdir()
    with refused(DataError, "a folder for each class", "neither"):
        read_labelled(tmp_path / "none")


# --- classes and parts ----------------------------------------------------------------------------------------------


def rows_of(*pairs: str) -> LabelledTexts:
    texts, labels = zip(*(pair.split("/") for pair in pairs), strict=True)
    return LabelledTexts(list(texts), list(labels), [f"line {n}" for n in range(1, len(texts) + 1)], "data")


def test_classes_in_order_and_those_that_are_refused() -> None:
    assert class_names(rows_of("a/10", "b/9", "c/x", "d/9")) == ["9", "10", "x"]
    with refused(DataError, "two different labels", "'1' alone"):
        class_names(rows_of("a/1", "b/1"))
    with refused(DataError, "several examples", "3 rows"):
        class_names(rows_of("a/1", "b/2", "c/3"))
    found = rows_of("a/x", "b/z", "c/y")
    with refused(DataError, "labels of the training data ('x', 'y')", "'z' in line 2"):
        encode_labels(found, ["x", "y"])
    assert encode_labels(found, ["x", "z", "y"]).tolist() == [0, 1, 2]


def test_parts_have_every_class_and_no_text_is_in_both() -> None:
    pairs = [f"{n % 29}/big" for n in range(90)] + [f"s{n}/small" for n in range(5)] + ["t/both", "t/small", "u/both"]
    rows = rows_of(*pairs)
    train, held = stratified_split(rows, 0.2, seed=3)
    assert sorted([*train, *held]) == list(range(len(rows)))
    assert not {rows.texts[k] for k in train} & {rows.texts[k] for k in held}
    assert Counter(rows.labels[k] for k in held)["small"] >= 1
    assert {rows.labels[k] for k in train} == {"big", "small", "both"}
    assert len({rows.texts[k] for k in held if rows.labels[k] == "big"}) == round(0.2 * 29)
    assert [part.tolist() for part in stratified_split(rows, 0.2, seed=3)] == [train.tolist(), held.tolist()]
    assert stratified_split(rows, 0.2, seed=4)[1].tolist() != held.tolist()


def test_a_class_of_one_example_is_refused() -> None:
    rows = rows_of("a/x", "b/x", "c/y")
    with refused(DataError, "2 examples of each class", "1 of 'y' (line 3)"):
        stratified_split(rows, 0.5)
    rows = rows_of("a/x", "b/x", "c/y", "c/y")
    with refused(DataError, "2 examples of each class", "2 of 'y' with the same text"):
        stratified_split(rows, 0.5)


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_words_and_characters() -> None:
    assert cut_words("Don't, he WON’T: 3.5% übel_x…") == [
        *("don't", ",", "he", "won’t", ":", "3", ".", "5", "%", "übel_x", "…")
    ]
    assert cut_words("我爱 NLP。") == ["我", "爱", "nlp", "。"]
    assert cut_characters(" ab\n c ") == ["a", "b", " ", "c"]


def test_a_vocabulary_keeps_the_most_frequent_tokens() -> None:
    rows = [["b", "a", "b"], ["c", "b", "a"], ["d"]]
    assert TokenVocabulary.of(rows).tokens == ["b", "a", "c", "d"]
    assert TokenVocabulary.of(rows, minimum=2).tokens == ["b", "a"]
    small = TokenVocabulary.of(rows, size=2)
    assert (small.tokens, len(small), small.encode(["a", "b", "?"]).tolist()) == (["b"], 2, [0, 1, 0])
    assert TokenVocabulary.from_json(json.loads(json.dumps(small.to_json()))) == small
    with refused(DataError, "vocabulary", "a list of strings"):
        TokenVocabulary.from_json({"a": 1})


def test_an_encoder_comes_back_from_json_and_names_an_empty_text() -> None:
    encoder = TextEncoder.fit(["a b c", "a b"], "words", 2, minimum=1, size=None)
    again = TextEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    rows = again.encode(["B a c a", "c"], "data", ["line 1", "line 2"])
    assert [row.tolist() for row in rows] == [[2, 1], [0]]
    assert again.unknown(rows) == pytest.approx(1 / 3)
    with refused(DataError, "words", "none in line 2"):
        again.encode(["a", " \u200b"], "new.csv", ["line 1", "line 2"])
    with refused(DataError, "encoder"):
        TextEncoder.from_json({"by": "words"})


# --- tagged sentences -----------------------------------------------------------------------------------------------


def test_sentences_with_tags(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "\nThe\tDET\nNew York\tPROPN\n\n\n#\tSYM\n")
    found = read_tagged(path)
    assert (found.words, found.tags, found.lines) == ([["The", "New York"], ["#"]], [["DET", "PROPN"], ["SYM"]], [2, 6])
    assert [row.tolist() for row in encode_tags(found, tag_names(found))] == [[0, 1], [2]]
    with refused(DataError, "tags of the training data", "'PROPN' for 'New York' in line 3"):
        encode_tags(found, ["DET", "SYM"])
    blanks = written(tmp_path / "b.txt", "The x B-NP\ncat y I-NP\n")
    assert read_tagged(blanks).tags == [["B-NP", "I-NP"]]
    bare = read_tagged(written(tmp_path / "c.txt", "The\ncat\n\nruns\n"), tagged=False)
    assert (bare.words, bare.tags) == ([["The", "cat"], ["runs"]], [[], []])
    assert found.take([1]).words == [["#"]]


@pytest.mark.parametrize(
    ("text", "expected", "got"),
    [
        ("The\tDET\ncat\nran\tVERB\n", "a tag for every word", "none for 'cat' in line 2"),
        ("The\tDET\ncat\t\n", "a tag for every word", "none for 'cat' in line 2"),
        ("The\tDET\n\tNOUN\n", "a word in every line", "none in line 2"),
        ("\n \n", "a word and its tag", "nothing but blank lines"),
    ],
)
def test_tagged_files_that_are_refused(tmp_path: Path, text: str, expected: str, got: str) -> None:
    path = written(tmp_path / "a.tsv", text)
    with refused(DataError, str(path), expected, got):
        read_tagged(path)


def test_untagged_sentences_a_word_a_line_or_a_sentence_a_line(tmp_path: Path) -> None:
    lines = written(tmp_path / "a.txt", "the cat runs\n\nStop\na dog sees N\nhe runs\n")
    found = read_tagged(lines, tagged=False, names=["D", "N"])
    assert (found.words, found.tags, found.lines) == (
        [["the", "cat", "runs"], ["Stop"], ["a", "dog", "sees", "N"], ["he", "runs"]],
        [[], [], [], []],
        [1, 3, 4, 5],
    )
    columns = written(tmp_path / "b.txt", "the x D\ncat y N\n\nStop z N\n")
    assert read_tagged(columns, tagged=False, names=["D", "N"]).words == [["the", "cat"], ["Stop"]]
    single = written(tmp_path / "c.txt", "the\ncat\n\nStop\n")
    assert read_tagged(single, tagged=False, names=["D", "N"]).words == [["the", "cat"], ["Stop"]]


def test_the_baseline_knows_words_by_their_most_frequent_tag(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "can\tA\ncan\tN\ncan\tN\nrun\tV\nrun\tN\nx\tV\nx\tV\ny\tV\n")
    baseline = FrequentTags(read_tagged(path))
    assert baseline.predict(["can", "run", "x", "new"]) == ["N", "N", "V", "V"]
    one = read_tagged(written(path, "a\tX\nb\tX\n"))
    with refused(DataError, "two different tags", "'X' alone"):
        tag_names(one)


def test_a_header_line_above_words_and_tags(tmp_path: Path) -> None:
    body = "A\tDET\ncat\tNOUN\n\nRun\tVERB\n"
    for first in ("word\ttag\n", "Token\tindex\tPOS\n\n", "\nform\tupos\n"):
        found = read_tagged(written(tmp_path / "a.tsv", first + body))
        assert (found.words, found.tags) == ([["A", "cat"], ["Run"]], [["DET", "NOUN"], ["VERB"]])
        line = 2 if first.startswith("\n") else 1
        assert found.note == f"line {line} is taken as a header line: " + ", ".join(map(repr, first.split()))
        assert found.lines[0] == 2 + first.count("\n") - 1
        assert found.take([1]).note == found.note
    for first in ("word\tNOUN\n", "word\ttag\nlabel\ttag\n"):  # a word with its tag
        found = read_tagged(written(tmp_path / "b.tsv", first + body))
        assert (found.words[0][0], found.note) == ("word", "")
    bare = read_tagged(written(tmp_path / "c.tsv", "word\ttag\n" + body), tagged=False, names=["DET", "NOUN", "VERB"])
    assert bare.words == [["A", "cat"], ["Run"]]
