"""The links of a page, turned from files of the repository to pages of the site.

A link to a source file leads to a page that shows it, one to a page in another language into that language's part of
the site.  A link to a heading of a page that is translated whole leads to the heading in the same place there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from catalogues import language_of, original_of, prose, titles

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


class Links:
    """The links of the pages in one language.

    Parameters
    ----------
    pages : mapping of Path to str
        The place of every page on the site, by its original.
    language : str
        Of the pages; empty for English.
    translated : mapping of Path to Path
        The pages that are translated whole into this language, by their originals.

    Attributes
    ----------
    shown : set of Path
        The source files and folders that links lead to.
    """

    def __init__(self, pages: Mapping[Path, str], language: str, translated: Mapping[Path, Path]) -> None:
        self.pages, self.language, self.translated = pages, language, translated
        self.shown: set[Path] = set()

    def turned(self, path: Path, place: str) -> str:
        """The text of the page at `path`, with its links turned for a page at `place`."""
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            notebook = json.loads(text)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = self._in_text("".join(cell["source"]), path, place)
            return json.dumps(notebook)
        parts = re.split(r"^(```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)  # code is left alone
        return "".join(part if part.startswith("```") else self._in_text(part, path, place) for part in parts)

    def _in_text(self, text: str, path: Path, place: str) -> str:
        return _LINK.sub(lambda match: self._link(match[1], match[2], match[3] or "", path, place), text)

    def _link(self, words: str, target: str, anchor: str, path: Path, place: str) -> str:
        there = Path(os.path.normpath(path.parent / target))
        if not target or re.match(r"[a-z]+:", target) or not there.exists():
            return f"[{words}]({target}{anchor})"
        source = original_of(there)
        if ROOT / "docs" / "images" in there.parents:
            new = there.relative_to(ROOT / "docs").as_posix()
            words = " ".join(words.split())  # MyST drops a line break inside the words of a picture
        elif source not in self.pages:
            self.shown.add(there)
            new = shown_at(there)
        elif (source in self.translated and there == source == original_of(path)) or (
            language_of(there) not in ("", self.language)
        ):
            other = Path(self.pages[source]).with_suffix(".html").as_posix()
            folder = language_of(there)
            up = os.path.relpath(f"{folder}/{other}" if folder else f"../{other}", Path(place).parent)
            return f'<a href="{up}{anchor}">{words}</a>'
        else:
            new, anchor = self.pages[source], self._heading(source, anchor)
        return f"[{words}]({os.path.relpath(new, Path(place).parent)}{anchor})".replace(os.sep, "/")

    def _heading(self, source: Path, anchor: str) -> str:
        """The anchor of the same heading in the translation, if the page has one."""
        if not anchor or source not in self.translated:
            return anchor
        own, theirs = (titles(prose(page)) for page in (source, self.translated[source]))
        return "#" + dict(zip(own, theirs, strict=True)).get(anchor[1:], anchor[1:])


def shown_at(path: Path) -> str:
    """The place of the page that shows a source file, or the files of a folder."""
    name = path.relative_to(ROOT).as_posix()
    return f"source/{name}/index.rst" if path.is_dir() else f"source/{name}.rst"
