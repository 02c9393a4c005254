"""Corpora larger than memory: what `bptt prepare` writes, what training reads of it, and what goes wrong on the way."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, assert_same_run, bptt, finish, metrics, start, tiny
from commands import refused as command_refused
from refusals import refused

import engine
from engine.data import Vocabulary, contiguous_batches, load_text
from engine.data.corpus import ByteVocabulary, WordVocabulary, preparing, store, streaming, vocabulary_from_json, writer
from engine.data.corpus.writer import TokenWriter, corpus_folder
from engine.data.tokens import cut_words
from engine.errors import DataError, InputError, StorageError

TEXT = "It's the sea's tide:\r\nrock'n'roll, 真好 äöü – 'quoted'\rend; Ångström's \U0001f30a!\n" * 30


def write(path: Path, text: str = TEXT, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def ids_of(folder: Path) -> np.ndarray:
    found = engine.open_tokens(folder)
    return found.read(0, len(found))


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [5, 64, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_make_the_same_ids_as_the_whole_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, packed: bool
) -> None:
    monkeypatch.setattr(streaming, "PIECE", piece)
    monkeypatch.setattr(preparing, "_PIECE", 1 + piece // 2)
    first, second = write(tmp_path / "a.txt", TEXT.rstrip("\n")), write(tmp_path / "b.txt", "\ufeffsecond text\n")
    if packed:
        first.write_bytes(gzip.compress(first.read_bytes()))
    whole = load_text([first, second])
    engine.prepare_tokens([first, second], tmp_path / "c")
    characters = engine.open_tokens(tmp_path / "c")
    assert characters.vocabulary == Vocabulary(whole)
    np.testing.assert_array_equal(ids_of(tmp_path / "c"), Vocabulary(whole).encode(whole))
    assert [source["start"] for source in characters.sources] == [0, whole.index("second")]
    engine.prepare_tokens([first, second], tmp_path / "w", level="words", minimum_count=1)
    known = engine.open_tokens(tmp_path / "w").vocabulary.entries()
    assert [known[k] for k in ids_of(tmp_path / "w")] == cut_words(whole)
    raw = b"".join((gzip.decompress if packed and one is first else bytes)(one.read_bytes()) for one in (first, second))
    engine.prepare_tokens([first, second], tmp_path / "b", level="bytes")
    assert bytes(ids_of(tmp_path / "b").astype(np.uint8)) == raw


def test_the_smallest_type_holds_the_ids_and_rare_words_are_unknown(tmp_path: Path) -> None:
    many = write(tmp_path / "signs.txt", "".join(map(chr, range(0x4E00, 0x4E00 + 300))) * 2)
    assert engine.prepare_tokens(many, tmp_path / "signs").dtype == "uint16"
    words = [f"w{number}" for number in range(66_000)] + ["often"] * 7
    write(tmp_path / "words.txt", " ".join(words))
    found = engine.prepare_tokens(
        tmp_path / "words.txt", tmp_path / "all", level="words", minimum_count=1, vocabulary=10**6
    )
    assert (found.dtype, found.kinds, found.unknown) == ("uint32", 66_002, 0.0)
    known = engine.open_tokens(tmp_path / "all").vocabulary.entries()
    assert [known[k] for k in ids_of(tmp_path / "all")] == words
    few = engine.prepare_tokens(tmp_path / "words.txt", tmp_path / "few", level="words")
    assert (few.dtype, few.kinds, few.unknown) == ("uint8", 2, 66_000 / 66_007)
    assert ids_of(tmp_path / "few").tolist() == [0] * 66_000 + [1] * 7


def test_vocabularies_of_bytes_and_words_come_back_and_spell(tmp_path: Path) -> None:
    for vocabulary, text in ((ByteVocabulary(), "naïve\n"), (WordVocabulary(["no", ",", "never"]), "no, never no")):
        again = vocabulary_from_json(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary
        ids = again.encode(text)
        assert again.decode(ids) == text
        spell = again.speller()
        assert "".join(spell(int(k)) for k in ids).strip() == text.strip()
        with refused(InputError, f"ids: expected integers in 0..{len(again) - 1}, got {len(again)} at index 1"):
            again.decode([0, len(again)])
    with refused(DataError, "vocabulary: expected characters, bytes or words as its level, got 'bits'"):
        vocabulary_from_json({"level": "bits"})


def test_zeros_are_holes_of_the_file(tmp_path: Path) -> None:
    with corpus_folder(tmp_path / "c") as folder, TokenWriter(folder, "uint16") as made:
        made.write(np.zeros(10 * store.BLOCK, np.uint16))
        made.write(np.array([7, 300], np.uint16))
        made.write(np.zeros(2 * store.BLOCK, np.uint16))
        made.finish("words", WordVocabulary([f"w{k}" for k in range(400)]))
    found = engine.open_tokens(tmp_path / "c")
    found.check()
    assert found.read(10 * store.BLOCK - 1, 10 * store.BLOCK + 3).tolist() == [0, 7, 300, 0]
    assert (tmp_path / "c/tokens.bin").stat().st_blocks * 512 < 8 * store.BLOCK < len(found)


# -- what training reads -----------------------------------------------------------------------------------------------


def test_lanes_by_position_are_those_of_an_array(tmp_path: Path) -> None:
    engine.prepare_tokens(write(tmp_path / "t.txt"), tmp_path / "c")
    found, ids = engine.open_tokens(tmp_path / "c"), ids_of(tmp_path / "c")
    part = found.part(3, len(ids) - 8)
    of_file, of_array = (contiguous_batches(stream, 5, 7) for stream in (part, ids[3:-8]))
    assert len(of_file) == len(of_array) > 5
    assert (of_file.tokens, of_file.dropped) == (of_array.tokens, of_array.dropped)
    for number in (len(of_file) - 1, 0, 4):
        for one, other in zip(of_file.batch(number), of_array.batch(number), strict=True):
            np.testing.assert_array_equal(one, other)
    with refused(InputError, "stop: expected start <= stop <= 100, got 3 and 101"):
        found.part(0, 100).read(3, 101)
    train, held_out = found.split(0.5, most=20)
    assert (len(train), len(held_out)) == (len(ids) - 20, 20)
    with refused(DataError, "expected enough tokens that both parts of a split at 0.1 get something, got 4"):
        found.part(0, 4).split(0.1)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    engine.prepare_tokens(write(tmp_path / "tide.txt"), tmp_path / "corpus")
    return tmp_path / "corpus"


def test_training_on_a_corpus_is_training_on_its_text_and_resumes_by_a_number(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny(checkpoint_every=7, validate_every=5), "--quiet"]
    assert bptt("train", tmp_path / "tide.txt", "--out", tmp_path / "text", "--steps", 20, *options) == 0
    assert bptt("train", "--data", corpus, "--out", tmp_path / "whole", "--steps", 20, *options) == 0
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "text")
    assert bptt("train", "--data", corpus, "--out", tmp_path / "cut", "--steps", 20, "--epochs", 1, *options) == 2
    cut = ("train", "--data", corpus, "--out", tmp_path / "cut", "--steps", 20, *options)
    code = "import engine.training.trainer as t; real = t.Trainer._between\n"
    code += "def kill(self):\n    real(self)\n    if self.state.step == 17:\n        os.kill(os.getpid(), 9)"
    code = f"import os; {code}\nt.Trainer._between = kill\nfrom bptt_engine.command import main; main()"
    finish(start(*cut, code=code), -signal.SIGKILL)
    assert bptt(*cut, "--resume") == 0
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    capsys.readouterr()
    assert bptt("evaluate", tmp_path / "whole", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bpc"] == pytest.approx(metrics(tmp_path / "whole")[-1]["bpc"], rel=1e-6)


@pytest.mark.parametrize(("level", "figure", "unit"), [("bytes", "bpb", "byte"), ("words", "bpw", "word")])
def test_models_of_bytes_and_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str, figure: str, unit: str
) -> None:
    text, folder, run = write(tmp_path / "tide.txt"), tmp_path / "corpus", tmp_path / "run"
    assert bptt("prepare", text, "--level", level, "--out", folder) == 0
    assert f"bptt train --data {folder}" in capsys.readouterr().out
    assert bptt("train", "--data", folder, "--out", run, "--steps", 20, *tiny()) == 0
    shown = capsys.readouterr()
    assert f"bits per {unit}, at step 20" in shown.out
    assert f"{len(ids_of(folder)):,} {level}" in shown.err
    assert figure in metrics(run)[-1]
    assert bptt("evaluate", run, text) == 0
    assert f"bits per {unit} (perplexity" in capsys.readouterr().out
    assert bptt("sample", run, "--length", 9, "--prompt", "the sea") == 0
    assert capsys.readouterr().out.startswith("the sea")
    assert f"one of {level}" in command_refused(capsys, "train", text, "--from", run, "--out", tmp_path / "b")
    # A corpus of the same kind goes on with what the model knew.
    assert bptt("train", "--from", run, "--data", folder, "--out", tmp_path / "more", "--steps", 2, *tiny()) == 0


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def damage(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 16
    path.write_bytes(raw)


def test_a_damaged_block_is_told_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store, writer):
        monkeypatch.setattr(module, "BLOCK", 256)
    monkeypatch.setattr(writer, "_HOLE", bytes(256))
    engine.prepare_tokens(write(tmp_path / "t.txt"), tmp_path / "c")
    damage(tmp_path / "c/tokens.bin", 600)
    found = engine.open_tokens(tmp_path / "c")
    assert len(found.read(0, 512)) == 512
    for look in (lambda: found.read(510, 514), found.check):
        with refused(DataError, "tokens.bin", "expected block 2 (bytes 512 to 767) as it was written, got other bytes"):
            look()


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("tokens.bin", lambda path: os.truncate(path, 900), "bytes, as index.json says, got 900; it is cut"),
        ("tokens.bin", os.unlink, "expected a file of a corpus, got no such file"),
        ("checksums.bin", lambda path: damage(path, 1), "expected checksums as they were written, got others"),
        ("checksums.bin", lambda path: os.truncate(path, 3), "expected 4 bytes, as index.json says, got 3"),
        ("index.json", lambda path: path.write_text("{"), "expected the index of a corpus in JSON, got something else"),
        ("index.json", lambda path: path.write_text("{}"), "expected an index with the format 'bptt tokens'"),
        ("index.json", os.unlink, "expected a folder that 'bptt prepare' wrote, got one without index.json"),
        (
            "index.json",
            lambda path: path.write_text(path.read_text().replace('"uint8"', '"int8"')),
            "expected an index with 'dtype' as it was written, got 'int8'",
        ),
        (
            "index.json",
            lambda path: path.write_text(path.read_text().replace('"characters":', '"letters":')),
            "expected an index with a vocabulary",
        ),
    ],
)
def test_damaged_files_are_told(
    corpus: Path, capsys: pytest.CaptureFixture[str], name: str, harm: Any, words: str
) -> None:
    harm(corpus / name)
    err = command_refused(capsys, "train", "--data", corpus, "--out", corpus.parent / "run")
    assert words in err
    assert not (corpus.parent / "run").exists()


def test_a_file_that_is_cut_while_it_is_read_is_told(corpus: Path) -> None:
    found = engine.open_tokens(corpus)
    os.truncate(corpus / "tokens.bin", 100)
    with refused(DataError, "got 100; it is cut: prepare the text again"):
        found.read(0, 10)


@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_full_disk_leaves_nothing_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: int
) -> None:
    calls = iter(range(100))

    def full(file: Any, data: bytes) -> None:
        if next(calls) == at:
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(data)

    monkeypatch.setattr(streaming, "PIECE", 2000)
    monkeypatch.setattr(preparing, "write_all", full)
    monkeypatch.setattr(writer, "write_all", full)
    err = command_refused(capsys, "prepare", write(tmp_path / "t.txt", TEXT * 5), "--out", tmp_path / "c", code=1)
    assert "No space left on device" in err
    assert not (tmp_path / "c").exists()
    monkeypatch.undo()
    real = writer.write_atomic

    def no_index(path: Path, data: bytes, place: str = "--out") -> None:
        if path.name == "index.json":
            raise StorageError(f"{path}: expected to write {len(data):,} bytes, got 'No space left on device'")
        real(path, data, place)

    monkeypatch.setattr(writer, "write_atomic", no_index)
    assert "index.json" in command_refused(capsys, "prepare", tmp_path / "t.txt", "--out", tmp_path / "c", code=1)
    assert not (tmp_path / "c").exists()
    monkeypatch.undo()
    (tmp_path / "c").mkdir()
    engine.prepare_tokens(tmp_path / "t.txt", tmp_path / "c")


def test_a_killed_preparation_leaves_no_corpus_and_the_next_one_clears_up(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "prepare", "-", "--out", str(folder)],
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    process.stdin.write(TEXT.encode() * 2000)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not any(folder.glob(".raw.bin.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    with refused(InputError, "out: expected no other run at work in"):  # two at a time
        engine.prepare_tokens(write(tmp_path / "t.txt"), folder)
    process.kill()
    process.wait()
    process.stdin.close()
    assert [path.name.partition(".bin")[0] for path in folder.iterdir()] == [".raw"]
    with refused(DataError, "expected a folder that 'bptt prepare' wrote, got one without index.json"):
        engine.open_tokens(folder)
    (folder / "tokens.bin").write_bytes(b"of a preparation that was killed before its index")
    engine.prepare_tokens(tmp_path / "t.txt", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["checksums.bin", "index.json", "tokens.bin"]
    with refused(InputError, "out: expected a folder without a corpus, got", "which holds one; train with it"):
        engine.prepare_tokens(tmp_path / "t.txt", folder)


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", [], "expected a text, got an empty file"),
        (b"caf\xe9 au lait, d\xe9j\xe0 vu\n" * 3, [], "got the byte 0xe9 at offset 3 (line 1), likely cp1252"),
        ("a\nb\nµ".encode()[:-1], [], "(line 3), where a character is cut short by the end; get the whole text"),
        (b"a\0b", [], "got a binary file"),
        (b"PK\x03\x04" + bytes(20), [], "got a binary file (a ZIP archive"),
        (gzip.compress(b"x" * 999, mtime=0)[:-9], [], "got a damaged gzip file"),
        (b"abc", ["--encoding", "klingon"], "--encoding: expected the name of a text encoding"),
        (b"abc", ["--encoding", "cp1252", "--level", "bytes"], "--encoding: expected None for bytes"),
        (b"  \n", ["--level", "words"], "expected a text with words, got none in"),
        (b"a b a", ["--level", "words", "--minimum-count", 3], "--minimum-count: expected at most 2, as often as the"),
        (b"abc", ["--vocabulary", 1], "--vocabulary: expected an integer >= 2, got 1"),
    ],
)
def test_bad_texts_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, options: list[Any], words: str
) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    assert words in command_refused(capsys, "prepare", tmp_path / "t.txt", "--out", tmp_path / "c", *options)
    assert not (tmp_path / "c").exists()


def test_sources_and_folders_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write(tmp_path / "t.txt")
    prepared: Any = (
        ((tmp_path, "--out", tmp_path / "c"), "expected a text, got a directory; name the file or files in it"),
        ((tmp_path / "no.txt", "--out", tmp_path / "c"), "expected a text, got no such file"),
        (("/dev/zero", "--out", tmp_path / "c"), "expected a text, got a device"),
        (("-", "-", "--out", tmp_path / "c"), "expected - once, for standard input, got it 2 times"),
        ((text, "--out", text), "--out: expected a folder, got the file"),
        ((), "Missing argument 'TEXT...'"),
    )
    for given, words in prepared:
        assert words in command_refused(capsys, "prepare", *given)
    assert not (tmp_path / "c").exists()
    trained: Any = (
        (("--data", text), "expected a folder that 'bptt prepare' wrote, got a file"),
        (("--data", tmp_path / "no"), "got no such folder; prepare a text: bptt prepare TEXT --out DIR"),
        (("--data", ""), "--data: expected a folder that 'bptt prepare' wrote, got an empty name"),
        ((text, "--data", tmp_path), "--data: expected no files beside it, as FILE are, got both"),
    )
    for given, words in trained:
        assert words in command_refused(capsys, "train", *given, "--out", tmp_path / "run")
    with refused(InputError, "sources: expected at least one text, got none"):
        engine.prepare_tokens([], tmp_path / "c")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert bptt("prepare", "-", "--out", tmp_path / "piped", "--quiet") == 0
    assert len(ids_of(tmp_path / "piped")) == 11
    monkeypatch.setattr(sys, "stdin", None)
    with refused(DataError, "standard input: expected a text, got none: it is closed"):
        engine.prepare_tokens("-", tmp_path / "c")


def test_a_disk_that_takes_no_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with refused(StorageError, "expected a directory to write to, got 'Permission denied'"):
        engine.prepare_tokens(write(tmp_path / "t.txt"), tmp_path / "c")


# -- memory ------------------------------------------------------------------------------------------------------------

_MEASURED = """
import json, sys
from pathlib import Path
import numpy as np
import engine
from engine.training import run_training

def private(name="RssAnon"):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
"""


def measured(code: str, *args: object) -> float:
    """What a process of its own prints."""
    process = start(*args, code=_MEASURED + code)
    return float(json.loads(finish(process)[0].splitlines()[-1]))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell private memory")
@pytest.mark.proof
def test_private_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    for name, blocks in (("small", 4), ("large", 320)):  # 256 KiB and 20 MiB
        with corpus_folder(tmp_path / name) as folder, TokenWriter(folder, "uint8") as made:
            for block in range(blocks):
                made.write(draw.integers(0, 90, store.BLOCK) if block % 32 < 2 else np.zeros(store.BLOCK, np.uint8))
            made.finish("characters", Vocabulary("".join(map(chr, range(33, 123)))))
    train = """
options = dict(backend="numpy:reference", hidden=8, embed=4, batch=32, sequence=8, validate_every=6, validation=0.001)
run_training(sys.argv[1] + "-run", data=sys.argv[1], steps=6, quiet=True, **options)
print(private())
"""
    assert measured(train, tmp_path / "large") - measured(train, tmp_path / "small") < 4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell private memory")
@pytest.mark.parametrize("level", ["characters", "words"])
def test_memory_of_a_preparation_does_not_grow_with_the_text(tmp_path: Path, level: str) -> None:
    write(tmp_path / "small", TEXT * 200)
    write(tmp_path / "large", TEXT * 1000)  # 0.5 and 2.7 MB
    code = 'engine.prepare_tokens(sys.argv[1], sys.argv[1] + "-c", level=sys.argv[2])\nprint(private("VmHWM"))'
    peaks = [measured(code, tmp_path / name, level) for name in ("small", "large")]
    assert peaks[1] - peaks[0] < 1
