"""Maps of the entries of a gradient: how far off each is, and which ones depart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: Colours, markers and words of verdicts.
COLOURS = {
    "ok": "tab:green",
    "wrong": "tab:red",
    "non-finite": "tab:purple",
    "kink": "tab:orange",
    "cannot tell": "tab:gray",
    "not looked at": "tab:gray",
}
PALE = COLOURS | {"wrong": "#f4a6a0", "kink": "#fbc98a"}
MARKERS = {"ok": "o", "wrong": "x", "non-finite": "s", "kink": "^", "cannot tell": "o", "not looked at": "o"}
NOUNS = {
    "ok": "right",
    "wrong": "departs",
    "non-finite": "NaN or infinity",
    "kink": "kink: two slopes",
    "cannot tell": "cannot tell",
    "not looked at": "not looked at",
}
#: The most maps in a picture, and the most cells along a side of one.
MOST, MOST_SQUARES = 4, 120


def chosen(report: Any) -> list[Any]:
    """The rows to draw a map of: matrices that are not right, first the one with the fault.

    Backward carries an error into every entry of other tensors, and a map with every entry marked shows nothing.
    """
    blamed = report.diagnosis.name if report.diagnosis is not None else report.rows[0].name
    rows = [row for row in report.rows if row.errors is not None and len(row.shape) > 1 and row.errors.size > 1]
    rows = [row for row in rows if row.name == blamed or not row.marked.all()]
    return sorted(rows, key=lambda row: (row.name != blamed, row.verdict != report.verdict))[:MOST]


def draw_map(panel: Any, row: Any, tol: float) -> None:
    """Draw the errors of a tensor's entries as a map, its first axis downward, and mark those that depart."""
    from matplotlib.colors import LogNorm

    timed = row.time_axis is not None
    # time runs to the right, as everywhere
    errors, marked = (_as_matrix(values, row) for values in (row.errors, row.marked))
    smallest = tol / 100.0
    norm = LogNorm(vmin=smallest, vmax=10.0)
    drawn = np.clip(np.nan_to_num(_largest(errors), nan=10.0, posinf=10.0), smallest, 10.0)
    down, right = errors.shape
    image = panel.imshow(
        drawn, norm=norm, cmap="Blues", aspect="auto", interpolation="nearest",
        extent=(-0.5, right - 0.5, down - 0.5, -0.5),
    )  # fmt: skip
    panel.figure.colorbar(image, ax=panel, label="error / largest value of its slice")
    steps = [size / cells for size, cells in zip(errors.shape, drawn.shape, strict=True)]
    places = np.argwhere(_largest(marked.astype(float)) > 0)
    size = float(np.clip(2000.0 / max(drawn.shape) ** 1.5, 4.0, 60.0))
    y, x = ((places[:, k] + 0.5) * steps[k] - 0.5 for k in (0, 1))
    panel.scatter(x, y, marker=MARKERS[row.verdict], c=COLOURS[row.verdict], s=size, linewidths=1.2)
    if timed:
        labels = ("other axes in one", "time step t")
    elif len(row.shape) == 2:
        labels = ("row (axis 0)", "column (axis 1)")
    else:
        labels = ("axis 0", f"axes 1 to {len(row.shape) - 1} in one")
    panel.set(ylabel=labels[0], xlabel=labels[1])
    panel.set_title(
        f"d{row.name}: {NOUNS[row.verdict]} where marked" + f" ({row.extent})" * bool(row.extent), fontsize=8
    )
    for axis in (panel.xaxis, panel.yaxis):
        axis.get_major_locator().set_params(integer=True)


def _as_matrix(values: np.ndarray, row: Any) -> np.ndarray:
    if row.time_axis is not None:
        return np.moveaxis(values, row.time_axis, 0).reshape(row.shape[row.time_axis], -1).T
    return values.reshape(row.shape[0], -1)


def _largest(values: np.ndarray) -> np.ndarray:
    """The matrix with at most `MOST_SQUARES` cells along each side: each shows the largest of what lies below it."""
    for axis, size in enumerate(values.shape):
        width = math.ceil(size / MOST_SQUARES)
        values = np.maximum.reduceat(values, np.arange(0, size, width), axis=axis)
    return values
