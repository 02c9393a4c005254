"""Translations, each with a hash of its source: one whose hash is another than its page's is older, and a test fails.

There are two kinds, and a page may have either:

- a whole page, ``NAME.LANGUAGE.md`` beside ``NAME.md`` (``.ipynb`` likewise), which stands in its place on the site.
  Its first line, in a notebook its metadata's ``translated_from``, is ``translated from notation.md, HASH``;
- a catalogue of gettext, ``docs/locale/LANGUAGE/LC_MESSAGES/NAME.po``, with the hash in its header.

``python docs/site/build.py --catalogues`` brings every catalogue up to date: entries whose source has changed are
marked fuzzy.  The translator looks at these, and takes the marks away.  Formulas stay untranslated.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = re.compile(r"\.([a-z]{2}_[A-Z]{2})$")
HEADER = """# {mark}
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
_HASH = re.compile(r"translated from (\S+), ([0-9a-f]{16})")


def digest(path: Path) -> str:
    """A short hash of a page."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def mark(path: Path) -> str:
    """What a translation of this page says of its source."""
    return f"translated from {path.name}, {digest(path)}"


def language_of(path: Path) -> str:
    """The language of a page that is translated whole; empty for an original."""
    found = LANGUAGE.search(path.stem)
    return found[1] if found else ""


def original_of(path: Path) -> Path:
    """The page that a translation translates whole; the page itself if it is an original."""
    return path.with_name(LANGUAGE.sub("", path.stem) + path.suffix) if language_of(path) else path


def whole_pages(root: Path = ROOT) -> Iterator[tuple[Path, Path]]:
    """Every page that is translated whole, with its original."""
    for folder, pattern in ((root, "*.md"), (root / "docs", "**/*.md"), (root / "notebooks", "*.ipynb")):
        for path in sorted(folder.glob(pattern)):
            if language_of(path):
                yield path, original_of(path)


def catalogues(root: Path = ROOT) -> Iterator[tuple[Path, Path]]:
    """Every catalogue, with the page that it translates."""
    for path in sorted((root / "docs" / "locale").glob("*/LC_MESSAGES/**/*.po")):
        name = path.as_posix().partition("/LC_MESSAGES/")[2].removesuffix(".po")
        first = root / ("README.md" if name == "index" else f"docs/{name}.md")
        places = [first, root / f"{name}.ipynb", root / f"{name.upper()}.md", root / "docs" / f"{name}.rst"]
        yield path, next((place for place in places if place.exists()), first)


def faults(root: Path = ROOT) -> list[str]:
    """What is wrong with the translations, a sentence each."""
    found = []
    for path, source in [*whole_pages(root), *catalogues(root)]:
        name = path.relative_to(root).as_posix()
        if not source.exists():
            found.append(f"{name}: there is no page {source.name}")
            continue
        said = _HASH.search(_head(path))
        if said is None or said[0] != mark(source):
            found.append(f"{name}: older than {source.name}; look at what has changed, then let it say: {mark(source)}")
        if path.suffix == ".po":
            found += [f"{name}: {fault}" for fault in entry_faults(read(path))]
        elif len(titles(prose(path))) != len(titles(prose(source))):
            found.append(f"{name}: other headings than {source.name}, so that links to them are lost")
    return found


def prose(path: Path) -> str:
    """The text of a page, or of a notebook's markdown cells, without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text).get("cells", [])
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def titles(text: str) -> list[str]:
    """The anchors of a page's headings, in order."""
    found = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found]


def entry_faults(catalogue: Catalog) -> Iterator[str]:
    """Entries that are marked fuzzy, and formulas that are another in the translation."""
    for entry in catalogue:
        if entry.id and entry.fuzzy:
            yield f"fuzzy: {str(entry.id)[:60]!r}"
        elif entry.id and entry.string and is_formula(str(entry.id)) and entry.string != entry.id:
            yield f"a formula is translated: {str(entry.id)[:60]!r}"


def is_formula(text: str) -> bool:
    """Whether an entry is a formula: TeX, without two plain words in a row; without a command, without one word."""
    if "\\" not in text and re.search(r"(?<!\w)[A-Za-z]{3,}(?!\w)", text):
        return False
    words = re.sub(r"\\[A-Za-z]+(\{[A-Za-z]*\})?", "", text)
    return bool(re.search(r"\\[A-Za-z]{2,}|[_^]\{?\w", text)) and not re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}|`", words)


def read(path: Path) -> Catalog:
    """A catalogue from a file."""
    with path.open("rb") as file:
        return read_po(file)


def write(path: Path, catalogue: Catalog, source: Path) -> None:
    """Write a catalogue with the hash of its source, and without what is another on every day and machine."""
    for entry in catalogue:
        entry.flags -= {"python-format", "python-brace-format"}  # a formula looks like one
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        language = path.as_posix().partition("/LC_MESSAGES/")[0].rpartition("/")[2]
        file.write(HEADER.format(mark=mark(source), language=language).encode())
        write_po(file, catalogue, width=100, no_location=True, omit_header=True)


def update(templates: Path, new: tuple[str, str] | None = None) -> None:
    """Bring every catalogue up to date with the templates that Sphinx has written.

    Parameters
    ----------
    templates : Path
        The folder of Sphinx's ``.pot`` files.
    new : tuple of str or None
        Language and name of a page that gets its first catalogue, such as ``("zh_CN", "gru")``.
    """
    if new is not None:
        path = ROOT / "docs" / "locale" / new[0] / "LC_MESSAGES" / f"{new[1]}.po"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path, source in catalogues():
        name = path.as_posix().partition("/LC_MESSAGES/")[2].removesuffix(".po")
        template, catalogue = read(templates / f"{name}.pot"), read(path)
        catalogue.update(template)
        catalogue.obsolete.clear()
        write(path, catalogue, source)
        print(path.relative_to(ROOT))


def _head(path: Path) -> str:
    """The part of a file in which it names its source."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return str(json.loads(text)["metadata"].get("translated_from", ""))
    return text[:400]
