"""Formulas as MathML, made when the site is built: a page needs no script and no network to show them.

docutils has the converter; browsers draw MathML themselves, and screen readers read it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

RENDERER = "mathml"
#: Sizes of brackets, which MathML chooses itself.
_SIZED = re.compile(r"\\(big|Big|bigg|Bigg)[lr]?(?![A-Za-z])")


def mathml(tex: str, block: bool) -> str:
    """A formula as MathML."""
    return tex2mathml(_SIZED.sub("", tex), as_block=block)


def inline(writer: Any, node: nodes.math) -> None:
    """Write a formula that stands within a sentence."""
    writer.body.append(mathml(node.astext(), False))
    raise nodes.SkipNode


def display(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own; a narrow screen scrolls it."""
    writer.body.append(f'<div class="formula">{mathml(node.astext(), True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Enter the renderer under its name."""
    app.add_html_math_renderer(RENDERER, (inline, None), (display, None))
