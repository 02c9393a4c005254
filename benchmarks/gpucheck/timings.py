"""How long a step takes on the device: ours and PyTorch's, one after the other, by CUDA events.

The grid is far larger than the time: it is walked in the order of what is asked first, and what is not reached is a row
that says so.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.gpucheck.correctness import DeviceCase, arguments, backend_for, build, first_line, not_built
from benchmarks.gpucheck.peers import PRECISIONS, kernel_names, layer_of, pinned
from engine.backend import Backend

BATCHES, SIZES, STEPS = (1, 16, 64, 128), (128, 256, 512, 1024, 2048), (50, 250, 1000)
CELL_OF = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}
MODES = ("training", "forward")
DTYPES = ("float32", "tf32", "bfloat16", "float16")
#: Steps before the first that is timed, the fewest that are timed, and for how long a side goes on, in seconds.
WARM, FEWEST, SLICE = 2, 3, 0.2


@dataclass(frozen=True)
class Point:
    """One place of the grid; D = H."""

    cell: str
    B: int
    H: int
    T: int
    dtype: str
    mode: str

    @property
    def floor(self) -> float | None:
        """Our time over PyTorch's has to be at most this; None where nothing is asked."""
        if self.H == 2048:
            return 1.2
        if self.cell == "GRU" and self.H > 192:
            return 0.8
        asked = self.cell == "LSTM" and self.B <= 64 and 256 <= self.H <= 1024 and self.dtype != "float16"
        return 1.0 if asked else None

    @property
    def rank(self) -> tuple[int, ...]:
        """Smaller is measured earlier: dtypes that are built, short sequences, places with a floor, small ones."""
        return (
            DTYPES.index(self.dtype),
            STEPS.index(self.T) if self.T in STEPS else 0,
            int(self.floor is None),
            list(CELL_OF).index(self.cell),
            self.B * self.H,
            MODES.index(self.mode),
        )


def grid() -> list[Point]:
    """All places, in the order in which they are measured."""
    every = itertools.product(CELL_OF, BATCHES, SIZES, STEPS, DTYPES, MODES)
    return sorted((Point(*place) for place in every), key=lambda point: point.rank)


@dataclass
class Side:
    """A step that can be timed: `run` starts it, `event` makes a mark in its stream, `between` tells milliseconds."""

    run: Callable[[], Any]
    event: Callable[[], Any]
    between: Callable[[Any, Any], float]

    def median(self, seconds: float) -> tuple[float, int]:
        """The median of several steps in seconds, and how many."""
        for _ in range(WARM):
            self.run()
        times: list[float] = []
        end = time.monotonic() + seconds
        while len(times) < FEWEST or time.monotonic() < end:
            start = self.event()
            self.run()
            stop = self.event()
            stop.synchronize()
            times.append(1e-3 * self.between(start, stop))
        return statistics.median(times), len(times)


def our_side(point: Point) -> Side:
    """Our step, through CuPy."""
    backend = backend_for("planned")
    case = DeviceCase(CELL_OF[point.cell], (point.T, point.B, point.H, point.H), bidirectional=False, mixed=False)
    layer = build(case, backend, point.dtype)
    x, state, dy, dstate = arguments(case, layer)

    def train() -> None:
        layer.zero_grad()
        _, _, tape = layer.forward(x, state)
        layer.backward(tape, dy, dstate)

    cuda = backend.xp.cuda
    return Side(
        train if point.mode == "training" else lambda: layer.predict(x, state),
        lambda: _recorded(cuda.Event()),
        cuda.get_elapsed_time,
    )


def their_side(point: Point, torch: Any, device: str = "cuda") -> Side:
    """PyTorch's step: cuDNN on a GPU."""
    layer = layer_of(torch, CELL_OF[point.cell], point.H, point.H, False, point.dtype, device)
    dtype = getattr(torch, PRECISIONS[point.dtype][0])
    make: Any = lambda *shape: torch.randn(shape, dtype=dtype, device=device)  # noqa: E731
    training = point.mode == "training"
    x = make(point.T, point.B, point.H).requires_grad_(training)
    dy = make(point.T, point.B, point.H)

    def train() -> None:
        x.grad = None
        layer.zero_grad(set_to_none=True)
        layer(x)[0].backward(dy)

    def predict() -> None:
        with torch.no_grad():
            layer(x)

    return Side(
        train if training else predict,
        lambda: _recorded(torch.cuda.Event(enable_timing=True)),
        lambda start, stop: float(start.elapsed_time(stop)),
    )


def _recorded(event: Any) -> Any:
    event.record()
    return event


def time_point(point: Point, torch: Any, seconds: float = SLICE, names: bool = False) -> dict[str, Any]:
    """One row: our time, theirs, the ratio beside its floor; `torch` None leaves theirs out."""
    row: dict[str, Any] = {**asdict(point), "floor": point.floor}
    reason = not_built(point.dtype)
    sides: dict[str, Callable[[], Side]] = {} if reason else {"ours": lambda: our_side(point)}
    if reason:
        row["ours_missing"] = reason
    if torch is not None:
        sides["theirs"] = lambda: their_side(point, torch)
    tf32 = PRECISIONS[point.dtype][1]
    with pinned(torch, tf32) if torch is not None else contextlib.nullcontext():
        for name, make in sides.items():
            try:
                side = make()
                row[name], row[f"{name}_steps"] = side.median(seconds)
                if names and torch is not None:
                    row[f"{name}_kernels"] = kernel_names(torch, side.run)
            except Exception as error:  # out of memory, most likely: that is the row's result
                row[f"{name}_error"] = first_line(error)
            side = None  # type: ignore[assignment]  # its arrays go before the other side's come
            _give_back(torch)
    if row.get("ours") and row.get("theirs"):
        row["ratio"] = row["ours"] / row["theirs"]
        row["reached"] = None if point.floor is None else row["ratio"] <= point.floor
    failed = any(key.endswith("_error") for key in row)
    row["status"] = "failed" if failed else "not built" if reason else "ok"
    return row


def _give_back(torch: Any) -> None:
    """Return what the two libraries keep for later to the device: each has a pool that the other cannot use."""
    backend: Backend = backend_for("plain")
    backend.xp.get_default_memory_pool().free_all_blocks()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def rows(
    points: list[Point], left: Callable[[], float], torch_missing: str | None, seconds: float = SLICE
) -> Iterator[dict[str, Any]]:
    """A row for each place, as they come; kernel names for the first of each cell, dtype and mode."""
    torch = None if torch_missing else importlib.import_module("torch")
    named: set[tuple[str, str, str]] = set()
    for point in points:
        if left() <= 0:
            yield {**asdict(point), "floor": point.floor, "status": "not reached"}
            continue
        key = (point.cell, point.dtype, point.mode)
        yield time_point(point, torch, seconds, names=key not in named)
        named.add(key)
