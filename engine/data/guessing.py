"""Guess the likely encoding of a text, for the message that refuses it. No file is ever read with a guessed encoding.

Each possible encoding is tried on the text from the first odd byte on. An encoding is likely if it gives characters
that are common in one of its languages, in their usual places: accents among plain letters, other scripts in words of
their own, capitals at the start of words.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

# The letters of each language, frequent ones first if other letters share their bytes: those after "|" count less.
_WESTERN = "àâçèéêëîïôùûüœæ äöüß áéíóúñü áâãàçéêíóôõú åäöæøé àèéìíòóù áéíóúýþæöð éèëïöüó".split()
_CENTRAL = "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű ăâîşţ čćđšž".split()
_BALTIC = "ąčęėįšųūž āčēģīķļņšūž äöõüšž".split()
_TURKISH = ["çğıöşüâİ"]
_CYRILLIC = ["оеаинтсрвл|бгджзйкмпуфхцчшщъыьэюяё", "оаинтвреіл|бгґдєжзїйкмпсуфхцчшщьюя"]
_GREEK = ["αοιετσνηυρ|βγδζθκλμξπςφχψωάέήίόύώϊϋ"]
_HEBREW = ["יוהלארתשמב|גדזחטךכםןנסעףפץצק"]
_ARABIC = ["اليمنورتبة|ءآأؤإئثجحخدذزسشصضطظعغفقكهوى"]
_THAI = ["านรกอเงมยลวดทสต่้ัีิ็์ื"]
_KANA = [
    "".join(map(chr, [*range(0x3041, 0x3097), *range(0x30A1, 0x30FD)]))
    + "日本人年月時分大中国会出行付値数量売上金額気温"
]
# The characters that make up half of an ordinary text, and those at the top of a column.
_SIMPLIFIED = [
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家"
    "种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日月期间数值价格量温度"
]
_TRADITIONAL = [
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家"
    "種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日月期間數值價格量溫度"
]
_HANGUL = [
    "이다는을의가에고하지도로한사기리나자아어인대시그일전상있들정으수해보부구서장주제여계를니라마만습요소비원조은과날짜값간격온"
]
_COMMON_SIGNS = frozenset("‘’“”„–—…•«»€£°±²³·½µ×©®¿¡\u3000、。，？！：；「」『』・ー《》（）")
_WITHIN_WORDS = frozenset("’–—…")

# Of encodings that fit equally well, the first one is named.
_CANDIDATES: tuple[tuple[str, list[str]], ...] = (
    ("cp1252", _WESTERN),
    ("cp1250", _CENTRAL),
    ("cp1254", _TURKISH),
    ("cp1257", _BALTIC),
    ("cp1251", _CYRILLIC),
    ("KOI8-R", _CYRILLIC),
    ("KOI8-U", _CYRILLIC),
    ("cp1253", _GREEK),
    ("cp1255", _HEBREW),
    ("cp1256", _ARABIC),
    ("cp874", _THAI),
    ("cp866", _CYRILLIC),
    ("ISO-8859-2", _CENTRAL),
    ("ISO-8859-5", _CYRILLIC),
    ("mac-roman", _WESTERN),
    ("mac-cyrillic", _CYRILLIC),
    ("cp850", _WESTERN),
    ("cp852", _CENTRAL),
    ("GB18030", _SIMPLIFIED),
    ("Big5", _TRADITIONAL),
    ("Shift-JIS", _KANA),
    ("cp932", _KANA),
    ("EUC-JP", _KANA),
    ("EUC-KR", _HANGUL),
    ("cp949", _HANGUL),
)
_END_OF_LATIN, _START_OF_SYLLABLES = "\u0250", "\u3000"
_SAMPLE = 1 << 14  # bytes
_MOST = 1000  # characters
_AROUND = 1 << 18
_LEAST_SCORES = (0.7, 0.4)  # where there is an alphabet, and where there are syllables


class Guess(NamedTuple):
    """An encoding, and a few characters as it reads them."""

    name: str
    sample: str


def likely(raw: bytes, offset: int) -> Guess | None:
    """Return the encoding that makes most sense of `raw`, where the byte at `offset` is the first odd one."""
    start = max(raw.rfind(b"\n", 0, offset) + 1, offset - 200)
    part = raw[start : start + _SAMPLE]
    scored: list[tuple[float, int, str]] = []
    for place, (name, languages) in enumerate(_CANDIDATES):
        try:
            # A character may be cut by the end of the sample, so the decoder is not told that this is the end.
            text = codecs.getincrementaldecoder(name)().decode(part)
        except UnicodeDecodeError:
            continue
        # Signs alone say too little; then the most widespread encoding is the only one worth naming.
        if place == 0 or any(character > "\x7f" and character.isalpha() for character in text):
            scored.append((-_score(text, languages), place, text))
    for score, place, text in sorted(scored):
        name = _CANDIDATES[place][0]
        least = _LEAST_SCORES[_CANDIDATES[place][1][0] > _START_OF_SYLLABLES]
        if -score >= least and _reads(raw, name):
            first = next(index for index, character in enumerate(text) if character > "\x7f")
            return Guess(name, " ".join(text[max(0, first - 12) : first + 12].split()))
    return None


def wide(raw: bytes) -> str | None:
    """Return the encoding with two or four bytes a character in which `raw` is text, or None."""
    best = (0.0, "")
    for name, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        if len(raw) % width or len(raw) < 4 * width:
            continue
        try:
            text = codecs.getincrementaldecoder(name)().decode(raw[:_SAMPLE])
        except UnicodeDecodeError:
            continue
        if any(unicodedata.category(character) in ("Cc", "Cn", "Co") for character in set(text) - set("\t\n\r\f")):
            continue
        best = max(best, (sum(character < "\x7f" for character in text) / len(text), name))
    return best[1] if best[1] and _reads(raw, best[1]) else None


def cut_short(raw: bytes, error: UnicodeDecodeError) -> bool:
    """Say whether all of `raw` is UTF-8, apart from a last character that is cut short."""
    if error.end != len(raw) or "unexpected end" not in error.reason:
        return False
    if len(raw) - error.start > 1 or not raw[: error.start].isascii():
        return True
    # One odd byte alone, the last: a small letter of cp1252, or the first byte of a UTF-8 character?
    return not bytes([raw[-1]]).decode("cp1252", "replace").islower()


def mostly_utf8(raw: bytes, offset: int) -> bool:
    """Say whether `raw` has the mark of UTF-8, or most characters beyond ASCII around `offset` are valid UTF-8."""
    if raw.startswith(codecs.BOM_UTF8):
        return True
    characters = re.findall(
        r"[^\x00-\x7f]", raw[max(0, offset - _AROUND) : offset + _AROUND].decode("utf-8", "replace")
    )
    bad = characters.count("\N{REPLACEMENT CHARACTER}")
    return len(characters) - bad >= 4 * bad


def _reads(raw: bytes, name: str) -> bool:
    try:
        raw.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _score(text: str, languages: list[str]) -> float:
    """Return how well the characters beyond ASCII fit the best of the languages: 1 at most, below 0 for nonsense."""
    places = [place for place, character in enumerate(text) if character > "\x7f"][:_MOST]
    neighbours = [(text[place - 1 : place], text[place], text[place + 1 : place + 2]) for place in places]
    best = max(sum(_fit(*three, common) for three in neighbours) for common in languages) / max(1, len(places))
    words = [word for word in re.findall(r"[^\s\d,;]+", text) if re.search(r"[^\x00-\x7f\W]", word)]
    if words and languages[0] < _END_OF_LATIN:  # most letters of a word are plain ones
        plain = sum(character.isascii() for word in words for character in word) / sum(map(len, words))
        best *= min(1.0, max(0.4, 2 * plain))
    return best


def _fit(before: str, character: str, after: str, common: str) -> float:
    """Return how well a character fits where it stands in a text that has the `common` letters."""
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cn", "Co"):
        return -2.0
    if character == "\N{NO-BREAK SPACE}":  # it says little
        return 0.2
    if character in _COMMON_SIGNS:
        return -1.0 if before.isalpha() and after.isalpha() and character not in _WITHIN_WORDS else 1.0
    beside_plain = any(other.isascii() and other.isalpha() for other in (before, after))
    if beside_plain and _END_OF_LATIN < common < _START_OF_SYLLABLES:
        return -2.0
    if kind == "Lu" and character not in common and before.islower():
        return -1.0
    if common < _END_OF_LATIN and not beside_plain and (before.isalpha() or after.isalpha()):
        return 0.6 if character in common and (before or after) in common else 0.0
    small = character if character in common else character.lower()
    if small in common:
        frequent = small in common.partition("|")[0]
        return (1.0 if frequent else 0.7) * (1.0 if small == character else 0.95)
    if common > _START_OF_SYLLABLES and kind in ("Lo", "So"):
        return 0.0 if unicodedata.name(character, "").startswith("HALFWIDTH") else 0.5
    return 0.0 if kind.startswith("L") else -0.5
