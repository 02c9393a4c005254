"""Draw the pictures of the documentation: ``python docs/make_images.py [FOLDER]`` (default: docs/images).

The files are SVG with the letters as outlines, so they look the same everywhere, and running this again with the same
Matplotlib gives the same bytes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `benchmarks`, where this is run as a script

import engine
from benchmarks.flow import pictures as flow
from benchmarks.speed import gather, performance_picture
from benchmarks.studies import hessian
from engine import zoo

FORWARD, BACKWARD = "#1f5f99", "#c2500a"  # told apart in grey as well: forward is solid, backward dashed
INK, PAPER, SLOT, STEP = "#222222", "#ffffff", "#e8f0f8", "#f4f1e8"
CODE = {"family": "DejaVu Sans Mono", "size": 11}
SMALL = {"size": 9.5}
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "bptt-engine",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
}


def canvas(width: float, height: float, xlim: tuple[float, float], ylim: tuple[float, float]) -> tuple[Any, Any]:
    """A white sheet without axes; sizes in inches."""
    figure, axes = plt.subplots(figsize=(width, height), facecolor=PAPER)
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set(xlim=xlim, ylim=ylim, aspect="equal")
    axes.axis("off")
    return figure, axes


def box(axes: Any, x: float, y: float, width: float, height: float, text: str, fill: str, **font: Any) -> None:
    """A rounded box around the point (x, y)."""
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=0.12", fc=fill, ec=INK, lw=1.1, zorder=3)
    )
    axes.text(x, y, text, ha="center", va="center", color=INK, zorder=4, **{**CODE, **font})


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], backward: bool = False) -> None:
    """A solid arrow of the forward pass, or a dashed one of the backward pass."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            shrinkA=0,
            shrinkB=0,
            lw=1.5,
            color=BACKWARD if backward else FORWARD,
            linestyle=(0, (4, 2)) if backward else "-",
            zorder=2,
        )
    )


def path(axes: Any, *points: tuple[float, float]) -> None:
    """A bent arrow of the forward pass through the points."""
    for start, end in itertools.pairwise(points[:-1]):
        axes.plot(*zip(start, end, strict=True), color=FORWARD, lw=1.5, solid_capstyle="round", zorder=2)
    arrow(axes, points[-2], points[-1])


def bracket(axes: Any, left: float, right: float, y: float, tip: float, text: str) -> None:
    """A bracket over [left, right] at height y whose ends point by `tip`, with its text on the far side."""
    axes.plot([left, left, right, right], [y + tip, y, y, y + tip], color=INK, lw=1.1)
    side = "top" if tip > 0 else "bottom"
    axes.text((left + right) / 2, y - 0.15 * (1 if tip > 0 else -1), text, ha="center", va=side, color=INK, **SMALL)


def legend(axes: Any, x: float, y: float, forward: str, backward: str) -> None:
    """One line for each kind of arrow."""
    for row, (text, is_backward) in enumerate(((forward, False), (backward, True))):
        arrow(axes, (x, y - 0.5 * row), (x + 1.0, y - 0.5 * row), is_backward)
        axes.text(x + 1.2, y - 0.5 * row, text, va="center", color=BACKWARD if is_backward else FORWARD, **SMALL)


def unrolled() -> Any:
    """One layer and direction over T = 3 steps, with its T+1 slots and the way back."""
    figure, axes = canvas(11, 5.6, (-2.9, 17.1), (-5.05, 5.13))
    slots, steps = [0.0, 4.6, 9.2, 13.8], [2.3, 6.9, 11.5]
    up, down = 0.27, -0.27  # forward and backward run beside each other

    for k, x in enumerate(slots):
        box(axes, x, 0, 1.25, 1.25, f"h[{k}]", SLOT)
    for t, x in enumerate(steps):
        box(axes, x, 0, 1.55, 1.25, f"step\nt = {t}", STEP, size=10)
        for start, end in ((slots[t] + 0.63, x - 0.78), (x + 0.78, slots[t + 1] - 0.63)):
            arrow(axes, (start, up), (end, up))
            arrow(axes, (end, down), (start, down), backward=True)
        # the input below
        axes.text(x - 0.3, -2.55, f"x[{t}]", ha="right", va="center", color=FORWARD, **CODE)
        axes.text(x + 0.3, -2.55, f"dx[{t}]", ha="left", va="center", color=BACKWARD, **CODE)
        arrow(axes, (x - 0.25, -2.2), (x - 0.25, -0.63))
        arrow(axes, (x + 0.25, -0.63), (x + 0.25, -2.2), backward=True)
        axes.text(x + 0.4, -1.4, f"da[{t}]", ha="left", va="center", color=BACKWARD, **CODE)
        # the output above its slot
        above = slots[t + 1]
        axes.text(above - 0.3, 2.55, f"y[{t}]", ha="right", va="center", color=FORWARD, **CODE)
        axes.text(above + 0.3, 2.55, f"dy[{t}]", ha="left", va="center", color=BACKWARD, **CODE)
        arrow(axes, (above - 0.25, 0.63), (above - 0.25, 2.2))
        arrow(axes, (above + 0.25, 2.2), (above + 0.25, 0.63), backward=True)
    for k, x in enumerate(slots):
        axes.text(x, -0.95, f"dh[{k}]", ha="center", va="center", color=BACKWARD, **CODE)

    # both ends of the buffer
    arrow(axes, (-1.5, up), (-0.63, up))
    arrow(axes, (-0.63, down), (-1.5, down), backward=True)
    axes.text(-1.6, up + 0.1, "initial\nstate", ha="right", va="bottom", color=FORWARD, **SMALL)
    axes.text(-1.6, down - 0.1, "its\ngradient", ha="right", va="top", color=BACKWARD, **SMALL)
    end = slots[-1]
    arrow(axes, (end + 0.63, up), (end + 1.5, up))
    arrow(axes, (end + 1.5, down), (end + 0.63, down), backward=True)
    axes.text(end + 1.6, up + 0.1, "final\nstate", ha="left", va="bottom", color=FORWARD, **SMALL)
    axes.text(end + 1.6, down - 0.1, "its\ngradient", ha="left", va="top", color=BACKWARD, **SMALL)

    bracket(axes, slots[1] - 0.9, slots[3] + 1.2, 3.2, -0.25, "h[1:], the T outputs: dy[t] enters at slot t+1")
    bracket(
        axes,
        slots[0] - 0.65,
        slots[2] + 0.65,
        -3.35,
        0.25,
        "h[:-1], what the T steps read: the gradient of the recurrent weights pairs da[t] with h[t]",
    )
    legend(
        axes,
        -2.5,
        4.75,
        "forward, t = 0, 1, ..., T-1: step t reads slot t and writes slot t+1",
        "backward, t = T-1, ..., 1, 0",
    )
    axes.text(
        7.1,
        -4.6,
        "At a slot, backward adds up what arrives:  dh[t+1] = dy[t] + what step t+1 sends back"
        "  (at the last slot: + the gradient of the final state)",
        ha="center",
        va="center",
        color=BACKWARD,
        **SMALL,
    )
    return figure


def circle(axes: Any, x: float, y: float, text: str) -> None:
    """A sum or product of the forward pass."""
    axes.add_patch(Circle((x, y), 0.36, fc=PAPER, ec=INK, lw=1.1, zorder=3))
    axes.text(x, y, text, ha="center", va="center", color=INK, zorder=4, size=12)


def tag(axes: Any, x: float, y: float, number: int, text: str, above: bool = False) -> None:
    """The number of a backward line on the edge that it walks, and the gradient that it finds there."""
    axes.add_patch(Circle((x, y), 0.27, fc=BACKWARD, ec="none", zorder=4))
    axes.text(x, y - 0.01, str(number), ha="center", va="center", color=PAPER, zorder=5, size=9.5, weight="bold")
    font = {**CODE, "size": 10, "color": BACKWARD, "zorder": 4}
    if above:
        axes.text(x, y + 0.38, text, ha="center", va="bottom", **font)
    else:
        axes.text(x + 0.38, y, text, ha="left", va="center", **font)


def lstm_step() -> Any:
    """The graph of one LSTM step; the numbers are those of the backward lines in docs/lstm.md."""
    figure, axes = canvas(10.4, 5.66, (-1.9, 16.1), (-1.6, 8.2))
    c_line, gate_row, a_row = 6.2, 2.9, 0.9
    f, i, g, o, branch, last = 3.0, 5.2, 7.4, 9.6, 11.4, 14.0
    plus = (i + g) / 2

    # the cell state's straight road
    box(axes, 0, c_line, 1.3, 0.9, "c[t]", SLOT)
    box(axes, last, c_line, 1.5, 0.9, "c[t+1]", SLOT)
    arrow(axes, (0.65, c_line), (f - 0.36, c_line))
    arrow(axes, (f + 0.36, c_line), (plus - 0.36, c_line))
    arrow(axes, (plus + 0.36, c_line), (last - 0.75, c_line))
    circle(axes, f, c_line, "×")
    circle(axes, plus, c_line, "+")
    # the gates
    box(axes, 0, a_row, 1.3, 0.9, "h[t]", SLOT)
    box(axes, (f + o) / 2, a_row, o - f + 1.6, 0.9, "a = W_ih x[t] + b_ih + W_hh h[t] + b_hh", STEP, size=10.5)
    arrow(axes, (0.65, a_row), (f - 0.8, a_row))
    arrow(axes, (6.3, -0.9), (6.3, a_row - 0.45))
    axes.text(6.3, -1.05, "x[t]", ha="center", va="top", color=FORWARD, **CODE)
    for x, name, function in ((f, "f", "sigmoid"), (i, "i", "sigmoid"), (g, "g", "tanh"), (o, "o", "sigmoid")):
        box(axes, x, gate_row, 1.3, 0.85, f"{name}\n{function}", STEP, size=9.5)
        arrow(axes, (x, a_row + 0.45), (x, gate_row - 0.43))
    product = 4.6
    circle(axes, plus, product, "×")
    path(axes, (i, gate_row + 0.43), (i, product), (plus - 0.36, product))
    path(axes, (g, gate_row + 0.43), (g, product), (plus + 0.36, product))
    arrow(axes, (plus, product + 0.36), (plus, c_line - 0.36))
    arrow(axes, (f, gate_row + 0.43), (f, c_line - 0.36))
    # the output
    box(axes, branch, 5.0, 1.1, 0.6, "tanh", STEP, size=9.5)
    arrow(axes, (branch, c_line), (branch, 5.3))
    circle(axes, branch, 3.7, "×")
    arrow(axes, (branch, 4.7), (branch, 4.06))
    path(axes, (o, gate_row + 0.43), (o, 3.7), (branch - 0.36, 3.7))
    box(axes, last, a_row, 1.5, 0.9, "h[t+1]", SLOT)
    path(axes, (branch + 0.36, 3.7), (last, 3.7), (last, a_row + 0.45))

    tag(axes, (o + branch) / 2 - 0.05, 3.7, 1, "do", above=True)
    tag(axes, branch, c_line, 2, "dc", above=True)
    tag(axes, f, 4.6, 3, "df")
    tag(axes, i, 4.0, 4, "di")
    tag(axes, g, 4.0, 5, "dg")
    tag(axes, 1.55, c_line, 6, "dc_prev", above=True)
    for x, number, name in ((o, 7, "da_o"), (g, 8, "da_g"), (f, 9, "da_f"), (i, 10, "da_i")):
        tag(axes, x, 1.88, number, name)
    tag(axes, 1.35, a_row, 11, "dh_prev", above=True)
    tag(axes, 6.3, -0.3, 12, "dx")

    # what arrives from later, and what leaves
    for y, name in ((c_line, "dc"), (a_row, "dh")):
        arrow(axes, (last + 1.75, y), (last + 0.75, y), backward=True)
        axes.text(last + 1.3, y + 0.15, name, ha="center", va="bottom", color=BACKWARD, **CODE)
        arrow(axes, (-0.65, y), (-1.65, y), backward=True)
    legend(
        axes,
        -1.5,
        7.8,
        "forward",
        "backward: every solid arrow is walked against its direction, in the order of the numbers",
    )
    return figure


def gru_step() -> Any:
    """The graph of one GRU step, reset after; the numbers are those of the backward lines in docs/gru.md."""
    figure, axes = canvas(10.4, 5.4, (-1.9, 16.1), (-1.7, 7.65))
    road, gate_row, a_row, product = 5.6, 3.9, 0.9, 2.45
    r, n, z, blend, last = 2.7, 6.2, 9.6, 11.9, 14.2

    box(axes, 0, road, 1.3, 0.9, "h[t]", SLOT)
    box(axes, last, road, 1.5, 0.9, "h[t+1]", SLOT)
    arrow(axes, (0.65, road), (blend - 0.95, road))
    box(axes, blend, road, 1.9, 0.9, "(1-z)*n\n+ z*h[t]", STEP, size=10)
    arrow(axes, (blend + 0.95, road), (last - 0.75, road))
    box(axes, (r + z) / 2, a_row, z - r + 1.9, 0.9, "", STEP)
    for x, text in ((r, "a_r"), (n - 1.1, "h_n"), (n + 1.1, "x_n"), (z, "a_z")):
        axes.text(x, a_row, text, ha="center", va="center", color=INK, zorder=4, **CODE)
    path(axes, (0, road - 0.45), (0, a_row), (r - 0.95, a_row))
    axes.text(0.15, 2.6, "recurrent\nproduct", ha="left", va="center", color=FORWARD, **SMALL)
    arrow(axes, ((r + z) / 2, -0.9), ((r + z) / 2, a_row - 0.45))
    axes.text((r + z) / 2, -1.05, "x[t]", ha="center", va="top", color=FORWARD, **CODE)
    for x, name, function in ((r, "r", "sigmoid"), (n, "n", "tanh(x_n + r*h_n)"), (z, "z", "sigmoid")):
        box(axes, x, gate_row, 2.6 if name == "n" else 1.3, 0.85, f"{name}\n{function}", STEP, size=9.5)
    for x in (r, z):
        arrow(axes, (x, a_row + 0.45), (x, gate_row - 0.43))
    circle(axes, n - 1.1, product, "×")
    arrow(axes, (n - 1.1, a_row + 0.45), (n - 1.1, product - 0.36))
    arrow(axes, (n - 1.1, product + 0.36), (n - 1.1, gate_row - 0.43))
    arrow(axes, (n + 1.1, a_row + 0.45), (n + 1.1, gate_row - 0.43))
    path(axes, (r + 0.65, gate_row), (n - 2.2, gate_row), (n - 2.2, product), (n - 1.46, product))
    arrow(axes, (n + 1.3, gate_row + 0.2), (blend - 0.95, road - 0.28))
    path(axes, (z + 0.65, gate_row), (blend, gate_row), (blend, road - 0.45))

    tag(axes, 8.7, 4.62, 1, "dn", above=True)
    tag(axes, blend, 4.45, 2, "dz")
    tag(axes, 3.6, road, 3, "dh_prev, direct part", above=True)
    tag(axes, n + 1.1, 1.85, 4, "dx_n")
    tag(axes, n - 2.2, 3.2, 5, "dr")
    tag(axes, n - 1.1, 1.7, 6, "dh_n")
    tag(axes, z, 2.45, 7, "da_z")
    tag(axes, r, 2.45, 8, "da_r")
    tag(axes, 0.95, a_row, 9, "rest of\ndh_prev", above=True)

    arrow(axes, (last + 1.75, road), (last + 0.75, road), backward=True)
    axes.text(last + 1.3, road + 0.15, "dh", ha="center", va="bottom", color=BACKWARD, **CODE)
    arrow(axes, (-0.65, road), (-1.65, road), backward=True)
    legend(
        axes,
        -1.5,
        7.3,
        "forward",
        "backward: every solid arrow is walked against its direction, in the order of the numbers",
    )
    return figure


def gradient_check() -> Any:
    """What ``bptt gradcheck --inject gru-after-hidden-side-merged --plot FILE`` draws."""
    bug = zoo.find("gru-after-hidden-side-merged")
    case = bug.case(0)
    with bug.plant():
        return engine.gradcheck(case.layer, case.x, case.state, case.lengths).plot()


def performance() -> Any:
    """The figures of benchmarks/results/."""
    return performance_picture.picture(gather.load())


PICTURES: dict[str, Callable[[], Any]] = {
    "unrolled.svg": unrolled,
    "lstm_step.svg": lstm_step,
    "gru_step.svg": gru_step,
    "gradient_check.svg": gradient_check,
    **flow.PICTURES,
    "sharpness.svg": lambda: hessian.picture(hessian.kept()),
}
if performance_picture.has_picture(gather.load()):
    PICTURES[performance_picture.PICTURE] = performance


def draw(name: str, folder: Path) -> None:
    """Write one picture into the folder."""
    with matplotlib.rc_context(SETTINGS):
        figure = PICTURES[name]()
        figure.savefig(folder / name, metadata={"Date": None} if name.endswith(".svg") else None)
        plt.close(figure)


def main(folder: Path) -> None:
    """Write every picture into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        draw(name, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "images")
