"""The pages cannot rot: their Python runs, their quotations stand in the source, their links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import re
import shlex
import textwrap
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from matplotlib.mathtext import MathTextParser
from shown_text import agree

from bptt_engine.pytest_plugin import GradientChecks
from engine.cli.train import TrainCommand
from kernels.gates import lstm

ROOT = Path(__file__).resolve().parent.parent
_WRITTEN = [path for folder in ("docs", "docs/class") for path in sorted((ROOT / folder).glob("*.md"))]
PAGES = [ROOT / "README.md", *(path for path in _WRITTEN if path.stem.count(".") == 0)]
TRANSLATIONS = [path for folder in (ROOT, ROOT / "docs") for path in sorted(folder.glob("*.*.md"))]
OTHERS = [path for path in (ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md") if path.exists()]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IMAGES = ROOT / "docs" / "images"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after its language, its text, and the line on which the text starts."""

    language: str
    words: str
    text: str
    line: int

    @property
    def quoted(self) -> Path | None:
        """The file that the block quotes: written as ``python from FILE``."""
        found = re.match(r"from (\S+?),?(\s|$)", self.words)
        return ROOT / found[1] if found else None


def split(page: str) -> tuple[str, list[Block]]:
    """The prose of a page, each line of code blanked, and its blocks."""
    prose: list[str] = []
    blocks: list[Block] = []
    opened: tuple[str, int] | None = None
    body: list[str] = []
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            if opened is None:
                opened, body = (line[3:], number + 1), []
            else:
                assert line == "```", f"line {number}: a block inside a block"
                language, _, words = opened[0].partition(" ")
                blocks.append(Block(language, words, "\n".join(body) + "\n", opened[1]))
                opened = None
            prose.append("")
        elif opened is not None:
            body.append(line)
            prose.append("")
        else:
            prose.append(line)
    assert opened is None, f"the block that opens on line {opened and opened[1] - 1} is never closed"
    return "\n".join(prose), blocks


def text_of(path: Path) -> str:
    """The text of a page, or of a notebook's markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text


def blocks_of(path: Path) -> list[Block]:
    return split(text_of(path))[1]


# -- Python ------------------------------------------------------------------------------------------------------------


#: The README's examples run the compiled kernels, as a reader's will; the pages below docs/ ask for the plain ones.
MARKED = [pytest.param(path, marks=[pytest.mark.slow] if path.parent == ROOT else []) for path in PAGES]


@pytest.mark.docs
@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize("path", MARKED, ids=relative)
def test_python_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradcheck: GradientChecks) -> None:
    """All Python of a page, in order, as one program; warnings are errors here as in every test.

    A block ``text printed`` is what the Python above it prints.  Tests that a page shows are run as pytest would.
    """
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": path.stem}
    printed = ""
    for block in blocks_of(path):
        if block.language == "python" and not block.words.endswith("not run"):
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                # the empty lines in front make a traceback name the page's own line
                exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), namespace)
            printed = stdout.getvalue()
        elif block.words == "printed":
            assert agree(printed, block.text), f"{relative(path)}:{block.line}: what is printed is\n{printed}"
    for name, function in namespace.items():
        if name.startswith("test_"):
            wanted = inspect.signature(function).parameters
            function(**{key: value for key, value in {"gradcheck": gradcheck}.items() if key in wanted})


def test_what_a_page_shows_is_compared_with_what_it_prints() -> None:
    row = "x  6x2x3  2.3e-11  ok          [3,0,0] 0.05979 / 0.05979"
    assert agree(f"{row}\nok: 1 tensors", "x 6x2x3 7.1e-12  ok  [1,0,1] 0.3 / 0.3\nok:  1 tensors\n")
    wrong = "x  6x2x3  1.1e-01  wrong       [4,0,1] -0.3183 / -0.1468"
    assert agree(wrong, wrong.replace("1.1e-01", "1.08e-01"))
    for right, other in {
        "1.1e-01": "1.3e-01",
        "x ": "h0 ",
        "[4,0,1]": "[3,0,1]",
        "wrong": "ok",
        " -0.1468": "",
    }.items():
        assert not agree(wrong, wrong.replace(right, other))


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_quotations_stand_in_their_file(path: Path) -> None:
    for block in blocks_of(path):
        if block.quoted is None:
            continue
        source = [line.strip() for line in block.quoted.read_text(encoding="utf-8").splitlines()]
        position = 0
        for offset, line in enumerate(block.text.splitlines()):
            if line.strip():
                where = f"{relative(path)}:{block.line + offset}: {line.strip()!r} in {relative(block.quoted)}"
                assert line.strip() in source[position:], where
                position = source.index(line.strip(), position) + 1


def test_every_line_of_the_lstm_is_derived() -> None:
    """docs/lstm.md goes through both functions whole and in order, so that a new line cannot be forgotten there."""
    quoted = [
        line
        for block in blocks_of(ROOT / "docs" / "lstm.md")
        if block.quoted == ROOT / "kernels" / "gates" / "lstm.py"
        for line in block.text.splitlines()
    ]
    body: list[str] = []
    for function in (lstm.forward, lstm.backward):
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        tree = ast.parse("\n".join(lines)).body[0]
        assert isinstance(tree, ast.FunctionDef)
        body += [lines[node.lineno - 1].strip() for node in tree.body if isinstance(node, ast.Assign)]
    assert quoted == body


@pytest.mark.parametrize("path", TRANSLATIONS, ids=relative)
def test_a_translation_has_the_code_formulas_pictures_and_headings_of_its_page(path: Path) -> None:
    """So what runs and is right in the page is right in its translation, and nothing is left out."""
    source = path.with_name(path.name.partition(".")[0] + path.suffix)
    assert TRANSLATIONS, "no translation was found"
    for pattern in (r"^```.*?^```$", r"^\$\$.*?\$\$$", r"^#+ ", r"!\[[^\]]*\]\(([^)]+)\)"):
        here, there = (re.findall(pattern, one.read_text(encoding="utf-8"), re.M | re.S) for one in (path, source))
        assert here == there, pattern
    measured = r"\*\*([\d.,]+(?:e-\d+)?)\s*%?\*\*"
    here, there = (sorted(re.findall(measured, one.read_text(encoding="utf-8"))) for one in (path, source))
    assert here == there, "measured numbers, in bold"


# -- commands ----------------------------------------------------------------------------------------------------------


def shell_lines(path: Path) -> list[list[str]]:
    """The commands in a page's sh blocks, as words, without their comments."""
    lines = "".join(block.text for block in blocks_of(path) if block.language == "sh").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_commands_exist(path: Path) -> None:
    from engine.cli import bptt

    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in shell_lines(path):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, words
        elif words[0] == "bptt":
            name = next((word for word in words[1:] if not word.startswith("-")), None)
            known = {"--help", "--version"}
            if name is not None:
                assert name in bptt.commands, words
                command = bptt.commands[name]
                if isinstance(command, click.Group):  # such as bptt exercise new
                    command = command.commands[words[words.index(name) + 1]]
                if isinstance(command, TrainCommand):  # with the options of the task that the line names
                    command = command.for_args(words)
                known |= {option for parameter in command.params for option in parameter.opts}
            assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, words


def test_figures_of_the_first_screen_are_measured_ones() -> None:
    """What README says of speed stands in the tables of docs/performance.md, which are made from the results."""
    speed = (ROOT / "README.md").read_text(encoding="utf-8").partition("- **Speed.**")[2].partition("```")[0]
    figures = re.findall(r"\b\d+\.\d\d\b|\b\d{3}\b", speed)
    assert len(figures) == 6
    tables = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").partition("<!-- figures: begin -->")[2]
    assert [figure for figure in figures if not re.search(rf"\| {re.escape(figure)} ", tables)] == []


# -- links, pictures, mathematics --------------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ +(.*?) *$", split(page)[0], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES + TRANSLATIONS + OTHERS + NOTEBOOKS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", split(text_of(path))[0])
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue  # another site's: not for a test that may run offline
        file, _, anchor = target.partition("#")
        there = path if not file else (path.parent / file).resolve()
        assert there.exists(), f"{relative(path)} links to {target}"
        assert ROOT in there.parents, f"{relative(path)} links out of the repository: {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{relative(path)} links to {target}"


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=relative)
def test_mathematics_is_well_formed(path: Path) -> None:
    """Each $$ formula is one line, is TeX, and keeps off what Markdown would take for its own."""
    prose = split(text_of(path))[0]
    parse = MathTextParser("path").parse
    for line in prose.splitlines():
        if "$$" in line:
            found = re.fullmatch(r"\$\$([^$]+)\$\$", line)
            assert found, f"not alone on its line: {line}"
            assert not re.search(r"\\[^A-Za-z]|[*<>]|\}_", found[1]), f"Markdown reads this too: {line}"
            parse(f"${found[1]}$")  # raises ValueError with the place


@pytest.fixture(scope="module")
def painter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_images", ROOT / "docs" / "make_images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_in(picture: Path) -> list[str]:
    """The words in a picture: their outlines come with the words as a comment.  Fails if it is not well-formed.

    Powers of ten on an axis are left out: how far an error lies below 1e-14 differs from one NumPy to the next.
    """
    text = picture.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    return [words for words in re.findall(r"<!-- (.*?) -->", text, re.DOTALL) if "mathdefault" not in words]


@pytest.mark.docs
def test_pictures_are_those_of_the_script(painter: ModuleType, tmp_path: Path) -> None:
    painter.main(tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    # screenshots of the explorer (.png) need a browser: docs/make_screenshots.py
    assert drawn == sorted(path.name for path in IMAGES.glob("*.svg")), "run python docs/make_images.py"
    for name in drawn:
        assert words_in(tmp_path / name), name
        assert words_in(tmp_path / name) == words_in(IMAGES / name), "run python docs/make_images.py"


def test_every_picture_is_shown_with_words_for_those_who_cannot_see_it() -> None:
    shown = {}
    for path in PAGES + OTHERS:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text_of(path)):
            shown[(path.parent / target).resolve()] = words
    assert {path for path in IMAGES.iterdir() if path not in shown} == set()
    assert all(len(words.split()) > 5 for words in shown.values())
