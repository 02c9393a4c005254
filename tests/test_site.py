"""The site, without building it: every page has its place, every link leads somewhere, no translation is old.

`make docs` builds it, with warnings as errors.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def modules() -> Iterator[tuple[Any, ...]]:
    """The modules of docs/site, imported under the short names by which they know each other."""
    names = ("build", "catalogues", "formulas", "stage", "links")
    sys.path.insert(0, str(SITE))
    try:
        yield tuple(importlib.import_module(name) for name in names)
    finally:
        sys.path.remove(str(SITE))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def staged(modules: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "pages"
    modules[3].stage(target)
    return target


def test_every_page_of_the_repository_has_its_place_and_is_in_the_contents(staged: Path) -> None:
    docs = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    names = {path.as_posix() for path in docs if "." not in path.name}
    names |= {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb") if "." not in path.stem}
    index = (staged / "index.md").read_text(encoding="utf-8")
    listed = [
        line for block in index.split("```{toctree}")[1:] for line in block.split("```")[0].splitlines()[3:] if line
    ]
    listed = [line for line in listed if not line.startswith(":")]
    assert names <= set(listed)
    assert len(listed) == len(set(listed))
    assert all(any((staged / f"{name}{end}").exists() for end in (".md", ".ipynb", ".rst")) for name in listed)


@pytest.mark.parametrize("language", ["", "zh_CN"])
def test_links_of_the_pages_lead_to_pages_of_the_site(modules: Any, language: str, tmp_path: Path) -> None:
    staged = tmp_path / "pages"
    modules[3].stage(staged, language)
    targets = [
        (path, match)
        for path in [*staged.rglob("*.md"), *staged.glob("notebooks/*.ipynb")]
        if "source" not in path.relative_to(staged).parts
        for match in re.findall(r"\]\(([^)\s#]+)", re.sub(r"`[^`\n]*`", "", modules[1].prose(path)))
        if not re.match(r"[a-z]+:", match)
    ]
    assert len(targets) > 50
    lost = [f"{path.name}: {target}" for path, target in targets if not (path.parent / target).exists()]
    assert lost == []
    shown = {target for _, target in targets if "source/" in target}
    assert any(target.endswith("kernels/gates/lstm.py.rst") for target in shown)  # a file
    assert any(target.endswith("kernels/gates/index.rst") for target in shown)  # a folder
    text = (staged / "source" / "kernels" / "gates" / "lstm.py.rst").read_text(encoding="utf-8")
    assert "/source/kernels/gates/lstm.py" in text
    assert (staged / "source/kernels/gates/lstm.py").read_bytes() == (ROOT / "kernels/gates/lstm.py").read_bytes()


def test_links_between_the_languages(modules: Any, tmp_path: Path) -> None:
    """To the same page in another language, and to a heading that has another name there."""
    links = modules[4]
    docs = ROOT / "docs"
    pages = {docs / "notation.md": "notation.md", docs / "lstm.md": "lstm.md", ROOT / "README.md": "index.md"}
    chinese = {page: page.with_name(f"{page.stem}.zh_CN.md") for page in pages if page.name != "README.md"}

    def turned(text: str, path: Path, language: str, translated: dict[Path, Path]) -> str:
        found: str = links.Links(pages, language, translated)._in_text(text, path, pages[modules[1].original_of(path)])
        return found

    to_chinese = "[x](lstm.zh_CN.md)"
    assert turned(to_chinese, docs / "notation.md", "", {}) == '<a href="zh_CN/lstm.html">x</a>'
    assert turned(to_chinese, docs / "notation.zh_CN.md", "zh_CN", chinese) == "[x](lstm.md)"
    to_itself = turned("[English](lstm.md)", docs / "lstm.zh_CN.md", "zh_CN", chinese)
    assert to_itself == '<a href="../lstm.html">English</a>'
    heading = turned("[x](notation.md#gates-and-their-order)", docs / "lstm.md", "zh_CN", chinese)
    theirs = modules[1].titles(modules[1].prose(docs / "notation.zh_CN.md"))
    own = modules[1].titles(modules[1].prose(docs / "notation.md"))
    assert heading == f"[x](notation.md#{theirs[own.index('gates-and-their-order')]})"
    assert turned("[x](docs/lstm.md#forward)", ROOT / "README.md", "", {}) == "[x](lstm.md#forward)"


def test_every_formula_becomes_mathml(modules: Any, staged: Path) -> None:
    formulas, seen = modules[2], 0
    for path in [*staged.glob("*.md"), *staged.glob("notebooks/*.ipynb")]:
        for formula in re.findall(r"\$\$([^$]+)\$\$", modules[1].prose(path)):
            found = formulas.mathml(formula, True)
            assert found.startswith("<math")
            assert "merror" not in found, formula
            seen += 1
    assert seen > 40


def test_a_site_that_fetches_something_or_has_a_dead_link_is_refused(modules: Any, tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text('<a href="good.html#top">x</a><a href="https://example.org/">x</a>')
    assert modules[0].looked_over(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<script src="https://cdn.example/m.js"></script><link rel="stylesheet" href="//fonts.example/a.css">'
        '<a href="gone.html">x</a>'
    )
    assert len(modules[0].looked_over(tmp_path)) == 3


# -- translations ---------------------------------------------------------------------------------------------------


def test_no_translation_is_older_than_its_source(modules: Any) -> None:
    assert modules[1].faults() == []


def test_an_old_translation_is_found(modules: Any, tmp_path: Path) -> None:
    catalogues = modules[1]
    for folder in ("docs", "notebooks"):
        (tmp_path / folder).mkdir()
    page = tmp_path / "docs" / "notation.md"
    page.write_text("# Letters\n\nT time steps.\n\n$$a = W_{ih} x$$\n", encoding="utf-8")
    notebook = tmp_path / "notebooks" / "01.ipynb"
    notebook.write_text("{}", encoding="utf-8")
    whole = page.with_name("notation.zh_CN.md")
    whole.write_text(f"<!-- {catalogues.mark(page)} -->\n# 字母\n", encoding="utf-8")
    said = {"metadata": {"translated_from": catalogues.mark(notebook)}}
    notebook.with_name("01.zh_CN.ipynb").write_text(json.dumps(said), encoding="utf-8")
    catalogue = catalogues.Catalog(locale="zh_CN")
    catalogue.add("T time steps.", "T 个时间步。")
    catalogue.add("a = W_{ih} x", "")
    path = tmp_path / "docs" / "locale" / "zh_CN" / "LC_MESSAGES" / "notation.po"
    catalogues.write(path, catalogue, page)
    assert catalogues.faults(tmp_path) == []

    page.write_text("# Letters\n\nT time steps and B rows.\n\n## Sizes\n", encoding="utf-8")
    notebook.write_text("{ }", encoding="utf-8")
    assert sorted({fault.split(":")[0] for fault in catalogues.faults(tmp_path)}) == [
        "docs/locale/zh_CN/LC_MESSAGES/notation.po", "docs/notation.zh_CN.md", "notebooks/01.zh_CN.ipynb",
    ]  # fmt: skip
    catalogue.delete("a = W_{ih} x")
    catalogue.add("a = W_{ih} x", "a = W x")
    catalogue.add("B rows", "B 行", flags=("fuzzy",))
    catalogues.write(path, catalogue, page)
    words = " ".join(catalogues.faults(tmp_path))
    assert "notation.zh_CN.md: other headings" in words
    assert "a formula is translated" in words
    assert "fuzzy: 'B rows'" in words
    shutil.rmtree(tmp_path / "docs" / "locale")
    page.unlink()
    assert "there is no page notation.md" in catalogues.faults(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        (r"\frac{\partial L}{\partial c} = dc_{\mathrm{later}} + \frac{\partial L}{\partial h} \odot o", True),
        (r"h_t = \tanh(W h_{t-1})", True),
        ("The weights `weight_ih_l0` hold all gates.", False),
        ("Forward fills the T+1 slots from the left.", False),
        ("bias b_hn", False),
        ("b_{hn} + c_t", True),
    ],
)
def test_formulas_are_told_from_sentences(modules: Any, text: str, formula: bool) -> None:
    assert modules[1].is_formula(text) is formula
