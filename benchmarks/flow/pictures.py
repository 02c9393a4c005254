"""The pictures of docs/vanishing_gradients.md, docs/truncated_bptt.md and docs/batch_size_and_time_steps.md."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from engine.microscope.generated import fresh_layer, generated_input

#: Told apart in grey as well, by their marks and lines.
STYLES = (("#1f5f99", "-", "o"), ("#c2500a", "--", "s"), ("#4a7a2c", "-.", "^"), ("#6b4a8a", ":", "D"))
INK, T, B, D, H = "#222222", 50, 4, 8, 32


def layer(cell: str, **options: Any) -> Any:
    """The layer that ``bptt trace`` looks at."""
    return fresh_layer(cell, D, H, 1, dtype="float64", backend="numpy:reference", seed=0, **options)


def fall(cell: str, scale: float = 1.0, rows: int = B, **options: Any) -> dict[str, np.ndarray]:
    """|dS[t]| / |dS[T]| of each state, with the loss at the last step."""
    made = layer(cell, **options)
    states = engine.trace(made, generated_input(made, T, rows, scale, 0), rows=0)["l0"].states
    return {name: norms / norms[-1] for name, norms in states.items()}


def vanishing() -> Any:
    """Spectral radius of a tanh RNN, and forget bias of an LSTM."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    slots = np.arange(T + 1)
    for number, radius in enumerate((0.9, 1.0, 1.1)):
        values = fall("rnn_tanh", 0.001, bias=False, spectral_radius=radius)["h"]
        _line(left, number, slots, values, f"radius {radius:g}")
        left.plot(slots, radius ** (T - slots), color=STYLES[number][0], lw=0.8)
    left.plot([], [], color=INK, lw=0.8, label="radius to the power of T - t")
    _finish(left, "tanh RNN, small input", "|dh[t]| / |dh[T]|")
    for number, bias in enumerate((0, 1, 2, 3)):
        _line(right, number, slots, fall("lstm", forget_bias=bias)["c"], f"forget bias {bias}")
    _finish(right, "LSTM", "|dc[t]| / |dc[T]|")
    return figure


def truncation() -> Any:
    """How far truncated gradients reach, and what they leave out."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    made = layer("lstm", forget_bias=3.0)
    x = generated_input(made, T, B, 1.0, 0)
    slots = np.arange(T + 1)
    for number, k2 in enumerate((50, 20, 5)):  # where they reach they agree: the shortest on top
        found = engine.trace(made, x, truncation=(1, k2), rows=0)["l0"].states["c"]
        _line(left, number, slots, found, f"k2 = {k2}")
    _finish(left, "LSTM, forget bias 3, loss at the last step", "|dc[t]|")
    left.set_yscale("linear")
    reach = (1, 2, 5, 10, 20, 50)
    for number, bias in enumerate((0, 1, 3)):
        made = layer("lstm", forget_bias=bias)
        dy = np.random.default_rng(0).normal(size=(T, B, H))
        kept = []
        for k2 in reach:
            cut = engine.trace(made, x, dy=dy, truncation=(1, k2), rows=0).truncation
            assert cut is not None
            kept.append(cut.captured["weight_hh_l0"])
        _line(right, number, np.array(reach), np.array(kept), f"forget bias {bias}")
    right.axhline(1, color=INK, lw=0.8)
    right.set_xscale("log")
    right.set_xticks(reach, [str(k2) for k2 in reach])
    right.minorticks_off()
    _finish(right, "k1 = 1, a loss at every step", "part of the gradient of weight_hh that is left", "k2")
    right.set_yscale("linear")
    return figure


def batches() -> Any:
    """The gradient over the steps for four batch sizes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for panel, cell in zip(axes, ("rnn_tanh", "lstm"), strict=True):
        for number, rows in enumerate((1, 8, 64, 512)):
            _line(panel, number, np.arange(T + 1), fall(cell, rows=rows)["h"], f"B = {rows}")
        _finish(panel, cell, "|dh[t]| / |dh[T]|")
    return figure


def _line(panel: Any, number: int, x: np.ndarray, values: np.ndarray, label: str) -> None:
    colour, line, mark = STYLES[number]
    every = (2 * number, max(1, len(x) // 7)) if len(x) > 10 else 1
    panel.plot(x, values, color=colour, linestyle=line, marker=mark, ms=5, lw=1.6, markevery=every, label=label)


def _finish(panel: Any, title: str, label: str, below: str = "slot t") -> None:
    panel.set_yscale("log")
    panel.set(title=title, xlabel=below, ylabel=label)
    panel.grid(color="#dddddd", lw=0.7)
    panel.set_axisbelow(True)
    panel.legend(frameon=False, fontsize=9)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


PICTURES = {"vanishing.svg": vanishing, "truncation.svg": truncation, "batches.svg": batches}
