"""What a lecturer takes into class: the small checker, and slides from the pages."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import engine

ROOT = Path(__file__).resolve().parent.parent
CLASS = ROOT / "docs" / "class"


def load(name: str) -> ModuleType:
    """A script of docs/class as a module."""
    spec = importlib.util.spec_from_file_location(name, CLASS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the small checker -------------------------------------------------------------------------------------------------


def forward(x: Any, h: Any, W: Any, b: Any) -> Any:
    a = np.tanh(x @ W.T + b)
    return a * h, (x, h, W, a)


def backward(dout: Any, cache: Any) -> Any:
    x, h, W, a = cache
    da = dout * h * (1 - a**2)
    return da @ W, dout * a, da.T @ x, da.sum(axis=0)


#: What is wrong with each of the four gradients in turn, and one that is barely wrong.
WRONG = {
    "right": lambda g: g,
    "sign": lambda g: (-g[0], *g[1:]),
    "mean": lambda g: (*g[:3], g[3] / 5),
    "zero": lambda g: (g[0], 0 * g[1], *g[2:]),
    "one entry": lambda g: (*g[:2], g[2] + np.eye(*g[2].shape) * (np.arange(len(g[2])) == 1)[:, None], g[3]),
    "one part in a thousand": lambda g: (*g[:2], 1.001 * g[2], g[3]),
    "NaN": lambda g: (*g[:3], g[3] * np.nan),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_small_checker_says_what_the_big_one_says(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    inputs = [rng.normal(size=shape) for shape in ((5, 3), (5, 4), (4, 3), (4,))]
    before = [x.copy() for x in inputs]

    def wrong(dout: Any, cache: Any) -> Any:
        return WRONG[mistake](backward(dout, cache))

    passed = load("small_checker").check(forward, wrong, inputs)
    report = engine.check_gradients(forward, wrong, inputs)
    assert passed == report.passed == (mistake == "right")
    lines = capsys.readouterr().out.splitlines()
    for line, row in zip(lines, report.rows, strict=True):
        assert ("WRONG" in line) == (row.verdict != "ok")
    assert all(map(np.array_equal, inputs, before))


def test_the_small_checker_has_the_right_gradient_and_tells_a_wrong_shape(capsys: pytest.CaptureFixture[str]) -> None:
    small = load("small_checker")
    x = np.random.default_rng(0).normal(size=(2, 1, 3))
    np.testing.assert_allclose(small.numeric_gradient(lambda: np.sin(x).sum(), x), np.cos(x), rtol=1e-8)
    assert not small.check(lambda x: (x * 2, None), lambda dout, _: [2 * dout.T], [x])
    assert "its gradient has shape (3, 1, 2)" in capsys.readouterr().out


def test_the_small_checker_fits_on_a_page() -> None:
    lines = (CLASS / "small_checker.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    imported = [line for line in lines if line.startswith(("import", "from"))]
    assert imported == ["import numpy as np"]


# -- slides ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> str:
    text: str = load("make_slides").build()
    return text


class Reader(HTMLParser):
    """The words, the addresses and the open elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_slides_need_no_network_and_hold_the_words_of_the_pages(built: str) -> None:
    reader = Reader()
    reader.feed(built)
    assert [address[:60] for address in reader.addresses if not address.startswith(("data:image/", "#"))] == []
    words = " ".join("".join(reader.words).split())
    assert "$$" not in words
    assert "<" not in re.sub(r"<=|<-| < ", "", words.split("const all")[0].split("The plan")[1])
    for sentence in (
        "Backward walks the same slots from the right.",  # notation.md
        "State h[t+1] is used twice: it is the output y[t], and step t+1 reads it.",  # rnn.md
        "dc_prev = dc * f # c = f * c_prev + i * g",  # quoted from the source by lstm.md
        "No gradient is right until differences say so.",  # lesson_plan.md
    ):
        assert sentence in words
    assert len(built.encode()) < 1_000_000


def test_the_deck_is_the_list_of_the_plan_and_the_same_each_time(built: str) -> None:
    make_slides = load("make_slides")
    deck = make_slides.deck((CLASS / "lesson_plan.md").read_text(encoding="utf-8"))
    assert len(deck) >= 10
    titles = re.findall(r"<h2>(.*?)(?: <small>|</h2>)", built)
    assert list(dict.fromkeys(titles)) == [title for title, _, _ in deck]
    assert make_slides.build() == built
    with pytest.raises(SystemExit, match="no heading with the anchor #nowhere"):
        make_slides.section("# A page\n\ntext\n", "nowhere")


def test_a_section_ends_where_the_next_begins_and_code_is_no_heading() -> None:
    section = load("make_slides").section
    page = "# A\nzero\n## B\none\n```sh\n# a comment\n```\n### C\ntwo\n## D\nthree\n"
    assert section(page, "b").split() == "one ```sh # a comment ``` ### C two".split()
    assert section(page, "a") == "zero\n"
    assert section(page, "d") == "three\n"


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine: slides are not looked at")
def test_no_slide_is_larger_than_the_screen(built: str, tmp_path: Path) -> None:
    look = (
        "<script>const large=[];all.forEach((s,k)=>{show(k);"
        "if(s.scrollHeight>innerHeight+1||s.scrollWidth>innerWidth+1)"
        "large.push(k+1)});document.title='seen '+all.length+' large '+large.join(' ')</script></body>"
    )
    page = tmp_path / "slides.html"
    page.write_text(built.replace("</body>", look), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,807", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr[-500:]
    assert title[1].strip() == f"seen {built.count('<section ')} large"
