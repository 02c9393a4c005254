"""A report for notebooks: a small table without outside resources, readable on a light and on a dark background."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from engine.checking.report.text import in_one_line, notes, numbers, only_verdict, place, said, shape, summary
from engine.html_tables import CELL, FRAME, TABLE, escaped, heads_row

if TYPE_CHECKING:
    from engine.checking.report.report import Report, Row

#: Colours of verdicts, so transparent that black text and white text stay readable.
TINTS = {"ok": "rgba(46,160,67,.22)", "wrong": "rgba(229,57,53,.30)", "non-finite": "rgba(229,57,53,.30)"}
OTHER = "rgba(219,154,4,.28)"
HEADS = ("tensor", "shape", "error", "verdict", "at", "backward", "numerical")


def page(report: Report) -> str:
    """The report as HTML; every text from outside is escaped."""
    rows = "".join(itertools.starmap(_row, zip(report.rows, said(report), strict=True)))
    below = "".join(f"<div>{escaped(note)}</div>" for note in notes(report))
    text = (
        f'<div style="{FRAME}">'
        f'<div style="{_tint(report.verdict)};padding:4px 8px">'
        f"<b>{escaped(summary(report))}</b></div>"
        f'<table style="{TABLE}">{heads_row(HEADS)}{rows}</table>{below}</div>'
    )
    return only_verdict(report, text)


def _row(row: Row, words: str) -> str:
    values = (in_one_line(row.name), shape(row), f"{row.worst.error:.1e}", row.verdict, place(row.worst), *numbers(row))
    tint = _tint(row.verdict) + ";"
    cells = "".join(
        f'<td style="{tint if k == 3 else ""}{CELL}">{escaped(value)}</td>' for k, value in enumerate(values)
    )
    below = f'<tr><td></td><td colspan="{len(HEADS) - 1}">{escaped(words)}</td></tr>' if words else ""
    return f"<tr>{cells}</tr>{below}"


def _tint(verdict: str) -> str:
    return f"background:{TINTS.get(verdict, OTHER)}"
