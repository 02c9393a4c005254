"""Truncated BPTT: what k2 leaves out of the gradient, and what windows save in memory.

The bias is that of the recurrent weights of an LSTM, with a random loss at every step; how much is lost depends on how
long the network remembers, which its forget bias decides.
"""

from __future__ import annotations

import functools
import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.layers import LSTM
from engine.long_sequences import truncation_bias, windowed_bptt
from engine.studies.study import Column, StudyResult
from engine.truncation import truncated_bptt
from kernels.cpu import workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("forget bias", ".0f"),
    Column("k1"),
    Column("k2"),
    Column("cosine", ".3f"),
    Column("norm ratio", ".3f"),
    Column("error", ".3f"),
    Column("MiB of a window", ".2f"),
    Column("MiB, 4 T", ".2f"),
    Column("MiB of the whole tape", ".2f"),
)


@dataclass(frozen=True)
class Sizes:
    """How large the study is: T steps, B rows, D features, H units, and what is tried."""

    steps: int = 100
    batch: int = 8
    features: int = 8
    hidden: int = 64
    biases: tuple[float, ...] = (0.0, 1.0, 3.0)
    reach: tuple[int, ...] = (4, 10, 20, 50, 100)
    backend: str = "numpy"


QUICK = Sizes(steps=24, batch=2, features=2, hidden=5, biases=(0.0, 3.0), reach=(2, 24), backend="numpy:reference")


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Measure each forget bias and k2."""
    sizes = QUICK if quick else Sizes()
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4 * sizes.steps, sizes.batch, sizes.features))
    cotangent = rng.normal(size=(sizes.steps, sizes.batch, sizes.hidden))

    def loss(y: Any) -> tuple[Any, Any]:
        return (y * cotangent).sum(), cotangent

    rows: list[tuple[Any, ...]] = []
    for bias in sizes.biases:
        layer = LSTM(sizes.features, sizes.hidden, forget_bias=bias, dtype="float64", backend=sizes.backend, seed=seed)
        for k2 in sizes.reach:
            k1 = max(1, k2 // 2)
            say(f"forget bias {bias:g}, k1 = {k1}, k2 = {k2}")
            found = truncation_bias(layer, x[: sizes.steps], loss, [k2], k1, names=["weight_hh_l0"]).rows[0]
            memory = [_window(layer, x[: times * sizes.steps], k1, k2) for times in (1, 4)]
            whole = _peak(functools.partial(truncated_bptt, layer, x[: sizes.steps], loss, k1, k2))
            rows.append((bias, k1, k2, found.cosine, found.ratio, found.error, *memory, whole))
    title = f"Truncated BPTT: LSTM, T = {sizes.steps}, B = {sizes.batch}, H = {sizes.hidden}, float64"
    notes = (
        "Cosine, norm ratio and error: the truncated gradient of weight_hh beside the full one.",
        "MiB: the most that Python's tracer saw above what was there before, of windowed_bptt at T and at 4 T steps, "
        "and of truncated_bptt, which keeps the tape of all T steps.",
    )
    return StudyResult(title, COLUMNS, rows, notes, lambda figure: _draw(figure, rows))


def _window(layer: LSTM, x: np.ndarray, k1: int, k2: int) -> float:
    def loss(y: Any, start: int, stop: int) -> tuple[Any, Any]:
        gc.collect(1)  # what waits for the collector is no part of the window
        return 0.0, np.ones_like(y)

    return _peak(lambda: windowed_bptt(layer, x, loss, k1, k2))


def _peak(passes: Callable[[], Any]) -> float:
    """The most MiB that were alive beside those of before."""
    passes()
    gc.collect()
    workspace.release()
    tracemalloc.start()
    try:
        passes()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _draw(figure: Figure, rows: list[tuple[Any, ...]]) -> None:
    """The error over k2 for each forget bias, and the memory over k2."""
    error_axes, memory_axes = figure.subplots(1, 2)
    styles = (("#1f5f99", "o"), ("#c2500a", "s"), ("#4a7a2c", "^"))
    for (colour, mark), bias in zip(styles, dict.fromkeys(row[0] for row in rows), strict=False):
        own = [row for row in rows if row[0] == bias]
        reach = [row[2] for row in own]
        error_axes.plot(reach, [row[5] for row in own], color=colour, marker=mark, label=f"forget bias {bias:g}")
    for column, line, label in ((6, "-", "window, T"), (7, "--", "window, 4 T"), (8, ":", "whole tape, T")):
        memory_axes.plot(reach, [row[column] for row in own], line, color="#222222", label=label)
    error_axes.set(title="relative error of the gradient", xlabel="k2", xscale="log", ylim=(0, None))
    memory_axes.set(title="MiB", xlabel="k2", xscale="log", ylim=(0, None))
    for axes in (error_axes, memory_axes):
        axes.legend()
