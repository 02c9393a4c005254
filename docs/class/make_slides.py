"""Slides from the pages: ``python docs/class/make_slides.py [OUT.html]``, or `make slides`.

The deck is the list of links under "The slides" in lesson_plan.md.  Each link leads to a section of a page; the
section's own Markdown becomes one or more slides, so that pages and slides cannot differ.  The result is one file that
needs no network: pictures are inside, and formulas are drawn by matplotlib.
"""

from __future__ import annotations

import base64
import html
import io
import re
import sys
import zlib
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

HERE = Path(__file__).resolve().parent
PLAN, OUT = HERE / "lesson_plan.md", HERE.parents[1] / "build" / "slides.html"
#: How much fits on a slide, in lines; what a picture, a formula and the space after a block take; letters of a line.
LINES, PICTURE, FORMULA, GAP, LETTERS = 16.5, 13.0, 2.8, 0.7, 76
#: How much the last block of a section may be too large: better than a slide of its own.
SLACK = 1.0
#: A code line is smaller than a line of text; a row of a table is larger.
CODE, ROW = 0.82, 1.35


def deck(plan: str) -> list[tuple[str, str, str]]:
    """Title, file and anchor of every link in the plan's section "The slides"."""
    part = plan.split("\n## The slides\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\d+\. \[([^\]]+)\]\(([^)#]*)#([^)]+)\)", part, re.MULTILINE)


def section(page: str, anchor: str) -> str:
    """The Markdown below the heading with that anchor, up to the next heading of its level or above."""
    lines, level, found, fenced = page.splitlines(), 0, [], False
    for line in lines:
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) +(.*?) *$", line)
        if heading and level and len(heading[1]) <= max(level, 2):  # of a whole page, what stands before its sections
            break
        if heading and not level and _anchor(heading[2]) == anchor:
            level = len(heading[1])
            continue
        if level:
            found.append(line)
    if not level:
        raise SystemExit(f"make_slides: no heading with the anchor #{anchor}")
    return "\n".join(found).strip() + "\n"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# -- blocks of a section -----------------------------------------------------------------------------------------------


def blocks(text: str, folder: Path) -> list[tuple[float, str]]:
    """The blocks of a section as HTML, each with the lines that it takes on a slide; headings have size 0."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    found: list[tuple[float, str]] = []
    start = 0
    for number, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            found.append(_block(markdown, tokens[start : number + 1], folder))
            start = number + 1
    return [block for block in found if block[1]]


def _block(markdown: MarkdownIt, tokens: list[Token], folder: Path) -> tuple[float, str]:
    first, words = tokens[0], "".join(token.content for token in tokens)
    if first.type == "fence":
        return _code(first)
    if first.type == "heading_open":
        return 0.0, f"<h3>{html.escape(words)}</h3>"
    formula = re.fullmatch(r"\$\$(.+)\$\$", words.strip())
    if formula:
        return FORMULA, f'<p class="formula">{_formula(formula[1])}</p>'
    rendered = markdown.renderer.render(tokens, markdown.options, {})
    rendered = re.sub(r'<a href="(?!https?:)[^"]*">(.*?)</a>', r"<em>\1</em>", rendered, flags=re.DOTALL)
    pictures = re.findall(r'<img src="([^"]+)"', rendered)
    for source in pictures:
        rendered = rendered.replace(f'src="{source}"', f'src="{_inside(folder / source)}"')
    if pictures:
        return PICTURE, rendered
    if first.type == "table_open":
        return ROW * sum(token.type == "tr_open" for token in tokens), rendered
    lines = sum(-(-len(token.content) // LETTERS) for token in tokens if token.type == "inline")
    return float(lines), rendered


def _code(token: Token) -> tuple[float, str]:
    lines = token.content.rstrip("\n")
    size = CODE * sum(-(-max(1, len(line)) // 96) for line in lines.splitlines())
    if token.info.split(" ")[0] == "python":
        source = re.search(r"from ([\w./]+)", token.info)
        caption = f'<p class="source">{html.escape(source[1])}</p>' if source else ""
        code = highlight(lines, PythonLexer(), HtmlFormatter(nowrap=True))
        return size + 0.8 * bool(source), f"{caption}<pre><code>{code}</code></pre>"
    return size, f"<pre><code>{html.escape(lines)}</code></pre>"


def _formula(text: str) -> str:
    """A formula as SVG in the colour of the text, with its source for those who cannot see it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.01, 0.01))
    figure.patch.set_visible(False)
    figure.text(0, 0, f"${text}$", fontsize=20, math_fontfamily="cm")
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    svg = stream.getvalue().split("<svg", 1)[1]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    ids = f"f{zlib.crc32(text.encode())}-"  # one file holds many formulas: their names must differ
    svg = re.sub(r'(id="|href="#|url\(#)', lambda found: found[1] + ids, svg)
    # in the slide's own unit, so that a formula grows with the text
    svg = re.sub(
        r'(width|height)="([\d.]+)pt"', lambda found: f'{found[1]}="{float(found[2]) / 18:.2f}rem"', svg, count=2
    )
    return f'<svg role="img" aria-label="{html.escape(text)}"{svg}'


def _inside(path: Path) -> str:
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


# -- slides ------------------------------------------------------------------------------------------------------------


def slides(title: str, content: list[tuple[float, str]]) -> list[str]:
    """The blocks on as many slides as they need; a heading stays with what follows it."""
    pages: list[list[str]] = [[]]
    room = LINES
    for place, (size, block) in enumerate(content):
        last = place + 1 == len(content)
        leads = size == 0 or re.search(r":\s*</p>\s*$", block)  # what comes next belongs to it
        follows = content[place + 1][0] + GAP if leads and not last else 0.0
        if pages[-1] and (size or 1.2) + follows + GAP > room + SLACK * last:
            pages.append([])
            room = LINES
        pages[-1].append(block)
        room -= (size or 1.2) + GAP
    count = len(pages)
    heads = [title + (f" <small>{n} of {count}</small>" if count > 1 else "") for n in range(1, count + 1)]
    return [f"<h2>{head}</h2>\n" + "\n".join(page) for head, page in zip(heads, pages, strict=True)]


def build() -> str:
    """The whole file."""
    plan = PLAN.read_text(encoding="utf-8")
    name = re.search(r"^# (.+)$", plan, re.MULTILINE)
    assert name is not None
    found = [f"<h1>{html.escape(name[1])}</h1><p>Arrow keys or space: next and back. Home, End. Press P to print.</p>"]
    for title, file, anchor in deck(plan):
        path = (HERE / file).resolve() if file else PLAN
        text = section(path.read_text(encoding="utf-8"), anchor)
        found += slides(html.escape(title), blocks(text, path.parent))
    sections = "\n".join(
        f'<section id="s{number}" aria-label="slide {number} of {len(found)}">{slide}</section>'
        for number, slide in enumerate(found, 1)
    )
    template = (HERE / "slides_template.html").read_text(encoding="utf-8")
    colours = HtmlFormatter(style="default").get_style_defs("pre")
    dark = HtmlFormatter(style="monokai").get_style_defs("pre")
    keep = re.compile(r"background(-color)?: [^;}]+;?")  # the background is the template's
    return (
        template.replace("{{title}}", html.escape(name[1]))
        .replace("{{light}}", keep.sub("", colours))
        .replace("{{dark}}", keep.sub("", dark))
        .replace("{{slides}}", sections)
    )


def main(out: Path) -> None:
    """Write the file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    text = build()
    out.write_text(text, encoding="utf-8")
    print(f"{out}: {text.count('<section ')} slides, {len(text.encode()) // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
