"""Encodings: what is read, and how the likely one is named where nothing says which it is."""

from __future__ import annotations

import codecs
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from commands import bptt
from commands import refused as command_refused
from refusals import refused

from engine.data import load_series, load_text
from engine.errors import DataError, InputError, InputTypeError

pytestmark = pytest.mark.usefixtures("blank_pictures")

WILD = Path(__file__).parent / "data" / "wild"

TEXTS = {
    "english": "It’s a fine day – “quite”, she said. £5 for café.\n",
    "german": "Die Größe der Häuser überrascht uns täglich. Ärger gibt es trotzdem.\n",
    "french": "Élève déjà à l’école, où l'on apprend le français — même l'été.\n",
    "polish": "Zażółć gęślą jaźń. W Szczebrzeszynie chrząszcz brzmi w trzcinie.\n",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Město je krásné.\n",
    "turkish": "Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul'da yaşıyorum.\n",
    "russian": "Мороз и солнце; день чудесный! Ещё ты дремлешь, друг прелестный.\n",
    "greek": "Η γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.\n",
    "hebrew": "שלום עולם, מה שלומך היום? ירושלים היא עיר.\n",
    "arabic": "السلام عليكم ورحمة الله وبركاته. هذا كتاب جديد في المدينة.\n",
    "japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "chinese": "这是一个简单的中文文本，我们在这里说明数据的来源和时间。\n",
    "taiwanese": "這是一個簡單的中文文本，我們在這裡說明數據的來源和時間。\n",
    "korean": "안녕하세요. 이것은 한국어로 쓴 간단한 글입니다. 우리는 학교에 갑니다.\n",
}
LIKELY = [
    ("english", "cp1252"),
    ("english", "mac-roman"),
    ("german", "cp1252"),
    ("german", "cp850"),
    ("french", "cp1252"),
    ("polish", "cp1250"),
    ("polish", "ISO-8859-2"),
    ("czech", "cp1250"),
    ("turkish", "cp1254"),
    ("russian", "cp1251"),
    ("russian", "KOI8-R"),
    ("russian", "cp866"),
    ("greek", "cp1253"),
    ("hebrew", "cp1255"),
    ("arabic", "cp1256"),
    ("japanese", "Shift-JIS"),
    ("japanese", "EUC-JP"),
    ("chinese", "GB18030"),
    ("taiwanese", "Big5"),
    ("korean", "EUC-KR"),
]


@pytest.mark.parametrize(("language", "encoding"), LIKELY)
def test_the_likely_encoding_is_named_with_byte_and_line_and_then_reads_the_text(
    tmp_path: Path, language: str, encoding: str
) -> None:
    text = "plain\n" + TEXTS[language].replace("’", "'" if encoding.startswith("ISO") else "’")
    raw = text.encode(encoding)
    offset = next(place for place, byte in enumerate(raw) if byte > 127)
    path = tmp_path / "novel.txt"
    path.write_bytes(raw)
    with refused(DataError, f"the byte 0x{raw[offset]:02x} at offset {offset} (line 2)", f"--encoding {encoding} (enc"):
        load_text(path)
    assert load_text(path, encoding=encoding) == text


@pytest.mark.parametrize(
    ("header", "encoding"),
    [("日付,値", "Shift-JIS"), ("时间,温度(℃)", "GB18030"), ("дата,значение", "cp1251"), ("Zeit,°C", "cp1252")],
)
def test_a_header_line_alone_is_enough_to_go_by(tmp_path: Path, header: str, encoding: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(f"{header}\n2021,1.5\n2022,2.5\n".encode(encoding))
    column = header.partition(",")[2]
    with refused(DataError, "(line 1), which is not UTF-8, but likely", f"--encoding {encoding} (encoding="):
        load_series(path, column)
    assert load_series(path, column, encoding=encoding).values.ravel().tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("name", "encoding", "start"), [("cp1252", "cp1252", "It’s a"), ("gb2312", "GB18030", "循环神经")]
)
def test_texts_that_were_handed_over(name: str, encoding: str, start: str) -> None:
    with refused(DataError, "offset 2 (line 1)", f"read it with --encoding {encoding} ("):
        load_text(WILD / f"{name}.txt")
    assert load_text(WILD / f"{name}.txt", encoding=encoding).startswith(start)


def test_utf8_that_is_cut_short_or_damaged_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text, left in (("Größe über alles – „ja“ 日本", 2), ("plain …", 2), ("caf\xe9", 1)):
        raw = text.encode()
        cut = raw[: len(raw) - (len(text[-1].encode()) - left)]
        path.write_bytes(cut)
        with refused(
            DataError, f"at offset {len(cut) - left} (line 1), where a UTF-8 character is cut short by the end"
        ):
            load_text(path)
    path.write_bytes("Größe über alles\n".encode() * 9 + b"\xff\n")
    with refused(DataError, "the byte 0xff", "(line 10), which is damaged: the rest of the text is UTF-8"):
        load_text(path)
    path.write_bytes(b"caf\xe9")
    with refused(DataError, "but likely cp1252 ('café')"):
        load_text(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_enough(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("hé\r\nyou".encode(encoding))
    assert load_text(path) == "hé\nyou"
    path.write_bytes(gzip.compress("hé\r\nyou".encode(encoding)))
    assert load_text(path) == "hé\nyou"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("language", ["german", "russian", "chinese"])
def test_wide_encodings_are_told_without_a_mark(tmp_path: Path, language: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXTS[language].encode(encoding))
    with refused(DataError, f"got what is likely {encoding} without a byte-order mark; read it with --encoding"):
        load_text(path)
    assert load_text(path, encoding=encoding) == TEXTS[language]


def test_noise_is_not_called_text_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(1, 256, 300, np.uint8).tobytes()
        path.write_bytes(noise)
        with refused(DataError, "which is not UTF-8; if it is text, name its encoding with --encoding"):
            load_text(path)


def test_the_encoding_that_was_named_has_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Мороз и солнце".encode("cp866"))
    with refused(
        DataError, "expected text in cp1252, got the byte 0x8", "which is no character in cp1252, but likely cp866"
    ):
        path.write_bytes("Мороз Н и солнце".encode("cp866"))
        load_text(path, encoding="cp1252")
    for wrong in ("nope", "zip", "no\0pe"):
        with refused(InputError, "encoding: expected the name of a text encoding", f"got {wrong!r}"):
            load_text(path, encoding=wrong)
    with refused(InputTypeError, "encoding: expected the name of a text encoding", "got 3"):
        load_text(path, encoding=3)  # type: ignore[arg-type]
    path.write_bytes("a\0b".encode("utf-16-le"))
    with refused(DataError, "expected text in utf-16-le, got a zero at character 1"):
        load_text(path, encoding="utf-16-le")


def test_every_name_in_a_message_is_one_that_python_knows() -> None:
    from engine.data import guessing

    for name, languages in guessing._CANDIDATES:
        assert codecs.lookup(name)
        for letters in languages:
            small = re.sub(r"\|", "", letters)
            assert sum(bool(small[k].encode(name, "ignore")) for k in range(len(small))) >= 0.6 * len(small), name


def test_the_command_reads_and_measures_in_the_encoding_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, out = WILD / "cp1252.txt", tmp_path / "run"
    small = "--backend numpy:reference --hidden 4 --embed 3 --steps 2 --batch 2 --sequence 8 --quiet".split()
    assert "--encoding cp1252 " in command_refused(capsys, "train", text, *small, "--out", out)
    assert "--encoding: expected files that are written in it, got the built-in text; name FILE" in command_refused(
        capsys, "train", *small, "--encoding", "cp1252", "--out", out
    )
    assert not out.exists()
    assert bptt("train", text, *small, "--encoding", "cp1252", "--out", out) == 0
    assert bptt("evaluate", out) == 0
    assert bptt("train", "--resume", "--steps", 3, "--quiet", "--out", out) == 0
    capsys.readouterr()
    # Another file is not read in the encoding of the first one without a word.
    assert "--encoding cp1252 " in command_refused(capsys, "evaluate", out, text)
    assert bptt("evaluate", out, text, "--encoding", "cp1252") == 0
    assert "got 'nope'" in command_refused(capsys, "evaluate", out, text, "--encoding", "nope")
