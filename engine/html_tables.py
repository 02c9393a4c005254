"""Tables for notebooks: HTML without outside resources, readable on a light and on a dark background."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

CELL = "padding:2px 8px;text-align:left;border-top:1px solid rgba(128,128,128,.35)"
#: Colour and background are the page's own, so that both themes stay readable.
FRAME = "color:inherit;background:none;font-size:90%"
TABLE = "border-collapse:collapse;font-family:monospace"


def escaped(text: object) -> str:
    """The text with everything escaped that HTML would read, quotes too."""
    return html.escape(str(text), quote=True)


def heads_row(heads: Iterable[str]) -> str:
    """The row of column heads."""
    return "<tr>" + "".join(f'<th style="{CELL}">{escaped(head)}</th>' for head in heads) + "</tr>"


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], below: str = "") -> str:
    """A table with a title above and a sentence below it; every text is escaped."""
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escaped(value)}</td>' for value in row) + "</tr>" for row in rows
    )
    last = f"<div>{escaped(below)}</div>" if below else ""
    return (
        f'<div style="{FRAME}"><div><b>{escaped(title)}</b></div>'
        f'<table style="{TABLE}">{heads_row(heads)}{body}</table>{last}</div>'
    )
