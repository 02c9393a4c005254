"""Recomputation through time: what segments cost in time and save in memory, predicted and measured.

An LSTM reads one long batch, and gets one gradient of its outputs.  Every way gives the same gradients of its weights;
whether they are the same to the last bit is measured too.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.layers import LSTM
from engine.long_sequences import memory_of, recompute, segmented_bptt
from engine.studies.study import Column, StudyResult
from kernels.cpu import workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("way"),
    Column("segments"),
    Column("ms", ".0f"),
    Column("of full", ".2f"),
    Column("MiB", ".1f"),
    Column("predicted", ".1f"),
    Column("measured / predicted", ".2f"),
    Column("same bits"),
)
FULL, INSIDE, WHOLE = "full storage", "recompute", "segmented_bptt"


@dataclass(frozen=True)
class Sizes:
    """How large the study is: T steps, B rows, D features, H units; `segments` are tried; `repeats` are timed."""

    steps: int = 4096
    batch: int = 8
    features: int = 8
    hidden: int = 256
    segments: tuple[int, ...] = (2, 4, 8, 16, 32)
    repeats: int = 3
    backend: str = "numpy"


QUICK = Sizes(steps=200, batch=4, features=3, hidden=8, segments=(2,), repeats=1, backend="numpy:reference")


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Measure each way."""
    sizes = QUICK if quick else Sizes()
    rng = np.random.default_rng(seed)
    shape = sizes.steps, sizes.batch
    x = rng.normal(size=(*shape, sizes.features)).astype(np.float32)
    dy = rng.normal(size=(*shape, sizes.hidden)).astype(np.float32)
    lstm = LSTM(sizes.features, sizes.hidden, backend=sizes.backend, seed=seed)
    rows: list[tuple[Any, ...]] = []
    first: dict[str, np.ndarray] = {}
    for way, segments in [(FULL, 1), *((way, count) for way in (INSIDE, WHOLE) for count in sizes.segments)]:
        say(f"{way}, {segments} segments")
        passes, predicted, count = _passes(lstm, x, dy, way, segments)
        passes()  # what is compiled is compiled now
        grads = {name: np.array(grad) for name, grad in lstm.grads.items()}
        first = first or grads
        same = all(grads[name].tobytes() == first[name].tobytes() for name in grads)
        seconds, peak = _seconds(passes, sizes.repeats), _peak(passes)
        full = rows[0][2] if rows else 1e3 * seconds
        rows.append((
            way, count, 1e3 * seconds, 1e3 * seconds / full, peak / 2**20, predicted / 2**20, peak / predicted,
            "yes" if same else "no",
        ))  # fmt: skip
    title = f"Recomputation: LSTM, T = {sizes.steps}, B = {sizes.batch}, H = {sizes.hidden}, float32"
    notes = (
        "MiB: the most that Python's tracer saw above what was there before; x and dy were.",
        f"{FULL} and {INSIDE}: y and dx of all steps exist; {WHOLE}: those of a segment, and a dy of its own.",
        "Same bits: whether the gradients of the weights are those of full storage, bit for bit.",
    )
    return StudyResult(title, COLUMNS, rows, notes, lambda figure: _draw(figure, rows))


def _passes(lstm: LSTM, x: np.ndarray, dy: np.ndarray, way: str, segments: int) -> tuple[Callable[[], Any], int, int]:
    """Forward and backward; the bytes that they are predicted to take, and the segments."""

    def whole() -> None:
        lstm.zero_grad()
        y, _, tape = lstm.forward(x)
        lstm.backward(tape, dy)
        del y  # whoever needs it for the loss has it until then

    def by_segment() -> Any:
        lstm.zero_grad()
        return segmented_bptt(lstm, x, lambda y, start, stop: (0.0, dy[start:stop].copy()), segments=segments)

    recompute(lstm, segments=segments if way == INSIDE else None)
    if way == WHOLE:
        found = by_segment()
        return by_segment, found.predicted, found.segments
    plan = memory_of(lstm, *x.shape[:2])
    return whole, plan.peak, plan.segments


def _seconds(passes: Callable[[], Any], repeats: int) -> float:
    """Of the fastest of several runs."""
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        passes()
        found.append(time.perf_counter() - begun)
    return min(found)


def _peak(passes: Callable[[], Any]) -> int:
    """The most bytes that were alive beside those of before."""
    gc.collect()
    workspace.release()
    tracemalloc.start()
    try:
        passes()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _draw(figure: Figure, rows: list[tuple[Any, ...]]) -> None:
    """Time and memory of each way over the number of segments."""
    time_axes, memory_axes = figure.subplots(1, 2)
    for way, colour, mark in ((INSIDE, "#1f5f99", "o"), (WHOLE, "#c2500a", "s")):
        own = [rows[0], *(row for row in rows if row[0] == way)]
        counts = [row[1] for row in own]
        time_axes.plot(counts, [row[3] for row in own], color=colour, marker=mark, label=way)
        memory_axes.plot(counts, [row[4] for row in own], color=colour, marker=mark, label=f"{way}, measured")
        memory_axes.plot(counts, [row[5] for row in own], ":", color=colour, label="predicted")
    time_axes.axhline(1.4, color="#9a9a9a", linestyle="--", linewidth=1)
    time_axes.set(title="time, of full storage", xlabel="segments", xscale="log", ylim=(0, None))
    memory_axes.set(title="MiB of forward and backward", xlabel="segments", xscale="log", ylim=(0, None))
    counts = sorted({row[1] for row in rows})
    for axes in (time_axes, memory_axes):
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.legend()
