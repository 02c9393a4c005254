"""A report for notebooks: a small table without outside resources, readable on a light and on a dark background."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING

from engine.checking.report.text import in_one_line, notes, numbers, only_verdict, place, said, shape, summary

if TYPE_CHECKING:
    from engine.checking.report.report import Report, Row

#: Colours of verdicts, so transparent that black text and white text stay readable.
TINTS = {"ok": "rgba(46,160,67,.22)", "wrong": "rgba(229,57,53,.30)", "non-finite": "rgba(229,57,53,.30)"}
OTHER = "rgba(219,154,4,.28)"
CELL = "padding:2px 8px;text-align:left;border-top:1px solid rgba(128,128,128,.35)"
HEADS = ("tensor", "shape", "error", "verdict", "at", "backward", "numerical")


def page(report: Report) -> str:
    """The report as HTML; every text from outside is escaped."""
    heads = "".join(f'<th style="{CELL}">{head}</th>' for head in HEADS)
    rows = "".join(itertools.starmap(_row, zip(report.rows, said(report), strict=True)))
    below = "".join(f"<div>{_text(note)}</div>" for note in notes(report))
    text = (
        '<div style="color:inherit;background:none;font-size:90%">'
        f'<div style="{_tint(report.verdict)};padding:4px 8px">'
        f"<b>{_text(summary(report))}</b></div>"
        f'<table style="border-collapse:collapse;font-family:monospace"><tr>{heads}</tr>{rows}</table>{below}</div>'
    )
    return only_verdict(report, text)


def _row(row: Row, words: str) -> str:
    values = (in_one_line(row.name), shape(row), f"{row.worst.error:.1e}", row.verdict, place(row.worst), *numbers(row))
    tint = _tint(row.verdict) + ";"
    cells = "".join(f'<td style="{tint if k == 3 else ""}{CELL}">{_text(value)}</td>' for k, value in enumerate(values))
    below = f'<tr><td></td><td colspan="{len(HEADS) - 1}">{_text(words)}</td></tr>' if words else ""
    return f"<tr>{cells}</tr>{below}"


def _tint(verdict: str) -> str:
    return f"background:{TINTS.get(verdict, OTHER)}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
