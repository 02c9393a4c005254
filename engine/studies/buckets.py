"""Batches by length: which share of the steps is pads, how long an epoch takes, and what it does to the loss.

A bidirectional LSTM reads sentences of the built-in text in lower case, and says of each word how it was written: in
lower case, with a capital letter, in capital letters alone, in both, or with no letter at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import Buckets, builtin_text, shuffled_order
from engine.data.tokens import WORD, TokenVocabulary
from engine.layers import LSTM, Embedding, Linear, Sequential
from engine.optimizers import Adam, clip_grad_norm
from engine.studies.study import Column, StudyResult
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.objectives import make_objective
from engine.training.task import forward

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("batches"),
    Column("in an epoch"),
    Column("wasted steps in %", ".1f"),
    Column("s an epoch", ".2f"),
    Column("times none", ".2f"),
    Column("loss", ".4f"),
    Column("±", ".4f"),
)
#: How a word is written.
FORMS = ("lower", "Capital", "CAPITALS", "mixed", "no letter")


@dataclass(frozen=True)
class Sizes:
    """How large the study is.

    Attributes
    ----------
    sentences : to train on; a tenth as many are held out.
    batch : rows of a batch; a budget of steps is so many sentences of mean length.
    epochs : of a training.
    repeats : trainings in each way, with other first weights.
    """

    sentences: int = 2400
    batch: int = 32
    embed: int = 32
    hidden: int = 64
    epochs: int = 6
    repeats: int = 2
    backend: str = "numpy"


QUICK = Sizes(sentences=60, batch=6, embed=4, hidden=5, epochs=2, repeats=2, backend="numpy:reference")


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Train in each way; the epochs of the ways take turns."""
    sizes = QUICK if quick else Sizes()
    rows, answers, size = sentences(sizes.sentences + sizes.sentences // 10, sizes.sentences)
    ways = ways_of(sizes, rows)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[list[float]]] = {name: [] for name in ways}
    for turn in range(sizes.repeats):
        jobs = {name: _job(sizes, rows, answers, size, way, seed + turn) for name, way in ways.items()}
        optimizers = {name: Adam(job.model, lr=5e-3) for name, job in jobs.items()}
        for name in ways:
            losses[name].append([])
        for epoch in range(sizes.epochs):
            say(f"training {turn + 1} of {sizes.repeats}, epoch {epoch + 1} of {sizes.epochs}")
            for name, job in jobs.items():
                seconds[name].append(seconds_of_an_epoch(job, optimizers[name], epoch))
                losses[name][-1].append(job.validate().loss)
    found = []
    first = float(np.median(seconds["none"]))
    for name in ways:
        packing, median = jobs[name].packing(0, jobs[name].batches), float(np.median(seconds[name]))
        ends = [curve[-1] for curve in losses[name]]
        share = 0.0 if packing is None else 100 * packing.wasted
        half_range = (max(ends) - min(ends)) / 2
        found.append((name, jobs[name].batches, share, median, first / median, float(np.mean(ends)), half_range))
    title = f"{sizes.sentences:,} sentences in batches by length: LSTM, H = {sizes.hidden} in both directions"
    curves = {name: np.mean(curves, axis=0).tolist() for name, curves in losses.items()}
    return StudyResult(title, COLUMNS, found, _notes(sizes, ways), lambda figure: _draw(figure, found, curves))


def ways_of(sizes: Sizes, rows: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """The ways to put rows into batches, as options of `ExamplesTask`."""
    budget = round(sizes.batch * float(np.mean([len(row) for row in rows])))
    return {
        "none": {"buckets": 0},
        "sorted": {"buckets": 1, "shuffle": False},
        "buckets": {"buckets": 1},
        "pools": {"buckets": Buckets(pool=max(2, sizes.sentences // sizes.batch // 3))},
        "packed": {"buckets": Buckets(steps=budget)},
    }


def sentences(count: int, known: int) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Words (n,) and forms (n,) of sentences, in an order of their own; how many ids the words have.

    Parameters
    ----------
    known : the first so many sentences make the vocabulary.
    """
    found = [WORD.findall(one) for one in re.split(r"(?<=[.:!?])\s+|\n\n+", builtin_text())]
    found = [row for row in found if 2 <= len(row) <= 80]
    order = shuffled_order(len(found), 3, 0)[:count]
    chosen = [found[k] for k in order]
    lower = [[word.lower() for word in row] for row in chosen]
    vocabulary = TokenVocabulary.of(lower[:known], minimum=2)
    answers = [np.array([_form(word) for word in row]) for row in chosen]
    return [vocabulary.encode(row) for row in lower], answers, len(vocabulary)


def _form(word: str) -> int:
    if not any(sign.isalpha() for sign in word):
        return 4
    if word == word.lower():
        return 0
    if word == word.upper() and len(word) > 1:
        return 2
    return 1 if word[1:] == word[1:].lower() else 3


def _job(sizes: Sizes, rows: Any, answers: Any, size: int, way: dict[str, Any], seed: int) -> ExamplesTask:
    own: dict[str, Any] = {"backend": sizes.backend}
    lstm = LSTM(sizes.embed, sizes.hidden, bidirectional=True, **own)
    model = Sequential(
        Embedding(size, sizes.embed, **own), lstm, Linear(2 * sizes.hidden, len(FORMS), **own), seed=seed
    )
    loss, cut = make_objective("cross_entropy"), sizes.sentences
    train, held_out = (Examples(model, loss, rows[part], answers[part]) for part in (slice(cut), slice(cut, None)))
    return ExamplesTask(model, train, held_out, loss=loss, batch_size=sizes.batch, seed=seed, **way)


def seconds_of_an_epoch(job: Any, optimizer: Any, epoch: int) -> float:
    """Train for an epoch, and say how long it took.

    Parameters
    ----------
    job : an `ExamplesTask`.
    optimizer : of its model.
    """
    started = time.perf_counter()
    for step in range(epoch * job.batches, (epoch + 1) * job.batches):
        out = forward(job, step, None)
        job.model.zero_grad()
        job.model.backward(out.tape, out.dy)
        clip_grad_norm(optimizer, 1.0)
        optimizer.step()
    return time.perf_counter() - started


def _notes(sizes: Sizes, ways: dict[str, dict[str, Any]]) -> list[str]:
    """What was measured, and what the ways are."""
    return [
        f"{sizes.repeats} trainings of {sizes.epochs} epochs each, with Adam; the epochs of all ways take turns, and "
        "the median of their times is shown. Loss: cross-entropy of a word of the held-out sentences in nats, ± half "
        "of the range of the trainings.",
        f"none: shuffled, {sizes.batch} rows a batch. sorted: by length, the shortest first in every epoch. buckets: "
        "by length, equal lengths and the batches shuffled. "
        f"pools: sorted within {ways['pools']['buckets'].pool} shuffled batches at a time. packed: as many rows of "
        f"similar length as fit into {ways['packed']['buckets'].steps} steps.",
        "Compiled recurrent layers leave pads out, if they are given the lengths, as here; embedding, output layer and "
        "loss compute them.",
    ]


def _draw(figure: Figure, rows: list[tuple[Any, ...]], curves: dict[str, list[float]]) -> None:
    """Three panels: wasted steps, time, loss over the epochs."""
    names = [row[0] for row in rows]
    for place, column, title in ((1, 2, "wasted steps in %"), (2, 3, "seconds an epoch")):
        axes = figure.add_subplot(1, 3, place)
        bars = axes.bar(names, [row[column] for row in rows], color="C0" if place == 1 else "C1")
        axes.bar_label(bars, fmt="%.1f" if place == 1 else "%.2f", padding=2)
        axes.margins(y=0.12)
        axes.tick_params(axis="x", rotation=30)
        axes.set_title(title)
    axes = figure.add_subplot(1, 3, 3)
    for (name, curve), style in zip(curves.items(), ("o-", "s--", "^-", "d-.", "v:"), strict=True):
        axes.plot(range(1, len(curve) + 1), curve, style, label=name)
    axes.set_xticks(range(1, len(next(iter(curves.values()))) + 1))
    axes.set_xlabel("epochs")
    axes.set_title("validation loss")
    axes.legend()
