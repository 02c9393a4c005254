"""Data-parallel training on 1 to 64 machines: what the model of `engine.parallel.scaling` says, and a simulation.

The times of one machine are measured here, on one thread; the network is one of two kinds, described by latency and
bandwidth.  The simulation runs the program's own buckets and sums between threads that sleep where machines compute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.layers import LSTM, Embedding, Linear, Sequential
from engine.losses import cross_entropy
from engine.optimizers import Adam, clip_grad_norm
from engine.parallel.buckets import Buckets
from engine.parallel.scaling import Costs, Done, Link, bytes_sent, predicted_seconds, simulated_seconds
from engine.parallel.threads import Network, ThreadCommunicator
from engine.studies.study import Column, StudyResult
from engine.thread_count import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("network"),
    Column("machines"),
    Column("MB sent", ".1f"),
    Column("ms, sent after", ".1f"),
    Column("ms, sent meanwhile", ".1f"),
    Column("simulated", ".1f"),
    Column("difference %", "+.1f"),
    Column("times one", ".1f"),
    Column("efficiency", ".2f"),
)
LINKS = (
    Link("1 Gbit/s, 50 µs", 50e-6, 0.125e9),
    Link("10 Gbit/s, 20 µs", 20e-6, 1.25e9),
    Link("100 Gbit/s, 2 µs", 2e-6, 12.5e9),
)


@dataclass(frozen=True)
class Sizes:
    """How large the study is.

    Attributes
    ----------
    rows, steps : of each machine's part of a batch.
    machines : for the model, and those of them that are simulated.
    looks : steps that are timed.
    """

    vocabulary: int = 96
    embed: int = 64
    hidden: int = 512
    layers: int = 2
    rows: int = 32
    steps: int = 64
    machines: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    simulated: tuple[int, ...] = (2, 8, 64)
    looks: int = 5
    backend: str = "numpy"


#: It tries the study: plain kernels, because compiling others may take longer than all the rest.
QUICK = Sizes(
    hidden=48, layers=2, rows=4, steps=8, machines=(1, 2, 4), simulated=(2,), looks=2, backend="numpy:reference"
)


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Measure one machine, predict many, and simulate some of them."""
    sizes = QUICK if quick else Sizes()
    say("one machine, on one thread")
    costs = measured(sizes, seed)
    rows: list[tuple[Any, ...]] = []
    for link in LINKS:
        for machines in sizes.machines:
            after = predicted_seconds(costs, machines, link, overlap=False)
            meanwhile = predicted_seconds(costs, machines, link)
            found = None
            if machines in sizes.simulated:
                say(f"{machines} machines, {link.name}")
                found = simulated_seconds(costs, machines, link)
            times = machines * costs.seconds / meanwhile
            rows.append((
                link.name, machines, bytes_sent(costs, machines) / 1e6, 1e3 * after, 1e3 * meanwhile,
                None if found is None else 1e3 * found,
                None if found is None else 100 * (found / meanwhile - 1), times, times / machines,
            ))  # fmt: skip
    parts = f"{sizes.layers} x {sizes.hidden} LSTM, {sizes.rows} rows of {sizes.steps} steps on each machine"
    size = sum(costs.entries.values()) * costs.itemsize / 1e6
    notes = [
        f"One step of one machine takes {1e3 * costs.seconds:.1f} ms: forward {1e3 * costs.forward:.1f}, backward "
        f"{1e3 * (costs.seconds - costs.forward - costs.rest):.1f}, clipping and Adam {1e3 * costs.rest:.1f}.",
        f"The gradients have {size:.1f} MB; a machine sends (n-1)/n of them twice.",
        "The batch grows with the machines. 'Sent after': all buckets after backward; 'sent meanwhile': each bucket as "
        "soon as backward is done with its layers, which is what training does and what is simulated.",
    ]
    return StudyResult(f"Data-parallel training: {parts}", COLUMNS, rows, notes, lambda figure: draw(figure, rows))


def measured(sizes: Sizes, seed: int) -> Costs:
    """The times of one machine: medians over a few steps on one thread."""
    before = get_num_threads()
    set_num_threads(1)
    try:
        return _measured(sizes, seed)
    finally:
        set_num_threads(before)


def _measured(sizes: Sizes, seed: int) -> Costs:
    kind: dict[str, Any] = {"backend": sizes.backend}
    model = Sequential(
        Embedding(sizes.vocabulary, sizes.embed, **kind),
        LSTM(sizes.embed, sizes.hidden, sizes.layers, **kind),
        Linear(sizes.hidden, sizes.vocabulary, **kind),
        seed=seed,
    )
    optimizer, draw_ids = Adam(model, lr=1e-3), np.random.default_rng(seed)
    ids, targets = draw_ids.integers(0, sizes.vocabulary, (2, sizes.steps, sizes.rows))
    buckets = Buckets(model, ThreadCommunicator(Network(1), 0))
    moments: list[tuple[float, tuple[str, ...]]] = []
    buckets.ready = lambda names: moments.append((time.perf_counter(), tuple(names)))  # type: ignore[method-assign]
    forward, rest, passes = [], [], []
    for _ in range(1 + sizes.looks):
        moments.clear()
        begun = time.perf_counter()
        y, _, tape = model.forward(ids)
        _, dy = cross_entropy(y, targets)
        model.zero_grad()
        started = time.perf_counter()
        with buckets.following(model):
            model.backward(tape, dy)
        ended = time.perf_counter()
        clip_grad_norm(optimizer, 1.0)
        optimizer.step()
        forward.append(started - begun)
        rest.append(time.perf_counter() - ended)
        passes.append(np.diff([started, *(moment for moment, _ in moments)]))
    backward = np.median(passes[1:], axis=0)  # the first step compiles, and makes memory
    events = [Done(float(took), names) for took, (_, names) in zip(backward, moments, strict=True)]
    entries = {name: int(grad.size) for name, grad in model.grads.items()}
    return Costs(float(np.median(forward[1:])), events, float(np.median(rest[1:])), entries)


def draw(figure: Figure, rows: list[tuple[Any, ...]]) -> None:
    """How many times the throughput of one machine so many have; points are simulated."""
    axes = figure.add_subplot()
    machines = sorted({row[1] for row in rows})
    axes.plot(machines, machines, color="0.7", linestyle=":", label="n times")
    one = {row[0]: row[4] for row in rows if row[1] == 1}
    for link, colour in zip(LINKS, ("#c1666b", "#e0a458", "#4f7cac"), strict=True):
        own = [row for row in rows if row[0] == link.name]
        first = one[link.name]
        axes.plot([r[1] for r in own], [r[1] * first / r[4] for r in own], color=colour, label=link.name)
        axes.plot([r[1] for r in own], [r[1] * first / r[3] for r in own], color=colour, linestyle="--", linewidth=1)
        points = [r for r in own if r[5] is not None]
        axes.plot([r[1] for r in points], [r[1] * first / r[5] for r in points], "o", color=colour)
    axes.plot([], [], "--", color="0.4", linewidth=1, label="sent after backward")
    axes.plot([], [], "o", color="0.4", label="simulated")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(machines, map(str, machines))
    axes.set_yticks(machines, map(str, machines))
    axes.set_xlabel("machines")
    axes.set_ylabel("times the throughput of one")
    axes.legend()
