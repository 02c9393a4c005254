"""B rows of T steps for the same B * T: what the shape of a batch changes when its number of tokens does not.

An LSTM learns the characters of the built-in text; the state is carried from batch to batch.  Every shape makes the
same number of updates, from the same number of tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.data import Vocabulary, builtin_text, contiguous_batches, split
from engine.layers import LSTM, Embedding, Linear, Sequential
from engine.losses import cross_entropy
from engine.measuring.experiment import Experiment
from engine.optimizers import Adam, clip_grad_norm
from engine.studies.study import Column, StudyResult
from engine.tasks.language import mean_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("T"),
    Column("B"),
    Column("µs a token", ".1f"),
    Column("MiB of a step", ".2f"),
    Column("noise", ".2f"),
    Column("bias", ".3f"),
    Column("loss, same tokens", ".3f"),
    Column("±", ".3f"),
    Column("loss, same time", ".3f"),
)


@dataclass(frozen=True)
class Sizes:
    """How large the study is.  The text must have at least updates * tokens + 1 characters.

    Attributes
    ----------
    tokens : of a batch, B * T.
    steps : the values of T.
    updates : of a training.
    repeats : trainings of each shape, with other first weights.
    looks : batches whose gradients show the noise.
    lanes, length : of the text on which the bias is measured: so many rows of so many steps.
    """

    tokens: int = 512
    steps: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    embed: int = 32
    hidden: int = 128
    updates: int = 500
    repeats: int = 2
    looks: int = 48
    lanes: int = 32
    length: int = 512
    backend: str = "numpy"


#: It tries the study: plain kernels, because compiling others may take longer than all the rest.
QUICK = Sizes(
    tokens=128, steps=(4, 32), embed=6, hidden=12, updates=14, repeats=2, looks=6, lanes=3, length=64,
    backend="numpy:reference",
)  # fmt: skip


class Training(NamedTuple):
    """A training: seconds of the median update, and (seconds, validation loss) along the way."""

    step_seconds: float
    curve: list[tuple[float, float]]


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Measure each shape."""
    sizes = QUICK if quick else Sizes()
    text = builtin_text()
    vocabulary = Vocabulary(text)
    train, held_out = split(vocabulary.encode(text), 0.1)
    # Each shape reads the same characters, each of them once.
    train, held_out = train[: sizes.updates * sizes.tokens + 1], held_out[: 32 * sizes.tokens]
    probe = _model(sizes, len(vocabulary), seed)
    middle = sizes.steps[len(sizes.steps) // 2]
    say(f"training for the weights at which noise and bias are measured (T = {middle})")
    _train(probe, train, held_out, sizes, middle, sizes.updates // 4)
    whole = _gradient_in_windows(probe, train, sizes, sizes.length)
    rows, trainings = [], []
    for T in sizes.steps:
        B = sizes.tokens // T
        say(f"T = {T}, B = {B}")
        found = [
            _train(_model(sizes, len(vocabulary), seed + turn), train, held_out, sizes, T, sizes.updates)
            for turn in range(sizes.repeats)
        ]
        ends = [one.curve[-1][1] for one in found]
        bias = np.linalg.norm(_gradient_in_windows(probe, train, sizes, T) - whole) / np.linalg.norm(whole)
        noise = _noise(probe, train, sizes, T)
        memory = _memory(sizes, T)
        per_token = 1e6 * min(one.step_seconds for one in found) / sizes.tokens
        half_range = (max(ends) - min(ends)) / 2
        rows.append((T, B, per_token, memory, noise, float(bias), float(np.mean(ends)), half_range))
        trainings.append(found)
    # The time in which the fastest shape has made all its updates.
    limit = min(one.curve[-1][0] for found in trainings for one in found)
    in_time = [float(np.mean([_loss_at(one, limit) for one in found])) for found in trainings]
    whole_rows = [(*row, loss) for row, loss in zip(rows, in_time, strict=True)]
    title = f"B rows of T steps, B * T = {sizes.tokens}: LSTM, H = {sizes.hidden}, characters"
    return StudyResult(title, COLUMNS, whole_rows, _notes(sizes, limit), lambda figure: _draw(figure, whole_rows))


def _model(sizes: Sizes, size: int, seed: int) -> Any:
    """Embedding, LSTM, logits of the next character."""
    lstm = LSTM(sizes.embed, sizes.hidden, backend=sizes.backend)
    embedding = Embedding(size, sizes.embed, backend=sizes.backend)
    return Sequential(embedding, lstm, Linear(sizes.hidden, size, backend=sizes.backend), seed=seed)


def _train(model: Any, train: Any, held_out: Any, sizes: Sizes, T: int, updates: int) -> Training:
    """Train with carried states; the time of validations does not count."""
    batches = contiguous_batches(train, sizes.tokens // T, T)
    optimizer = Adam(model, lr=3e-3)
    state, seconds, spent = None, [], 0.0
    curve = [(0.0, mean_loss(model, held_out))]
    for update in range(updates):
        inputs, targets = batches.batch(update % len(batches))
        if update % len(batches) == 0:
            state = None
        started = time.perf_counter()
        logits, state, tape = model.forward(inputs, state)
        _, dlogits = cross_entropy(logits, targets)
        model.zero_grad()
        model.backward(tape, dlogits)
        clip_grad_norm(optimizer, 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        spent += seconds[-1]
        if (update + 1) % max(1, updates // 10) == 0 or update + 1 == updates:
            curve.append((spent, mean_loss(model, held_out)))
    return Training(float(np.median(seconds)), curve)


def _loss_at(training: Training, seconds: float) -> float:
    """The validation loss after so many seconds of training, between two validations in a straight line."""
    times, losses = zip(*training.curve, strict=True)
    return float(np.interp(seconds, times, losses))


def _gradient(model: Any, inputs: Any, targets: Any, state: Any, normalizer: int) -> tuple[Any, Any]:
    """The gradient of all parameters as one vector, and the state after the batch."""
    logits, state, tape = model.forward(inputs, state)
    _, dlogits = cross_entropy(logits, targets, normalizer=normalizer)
    model.zero_grad()
    model.backward(tape, dlogits)
    return np.concatenate([np.ravel(grad) for grad in model.grads.values()]).astype(np.float64), state


def _gradient_in_windows(model: Any, train: Any, sizes: Sizes, T: int) -> Any:
    """The gradient over a fixed text, which goes back at most T steps: all else is the same for every T."""
    text = train[: sizes.lanes * sizes.length + 1]
    state, total = None, 0.0
    for inputs, targets in contiguous_batches(text, sizes.lanes, T):
        part, state = _gradient(model, inputs, targets, state, sizes.lanes * sizes.length)
        total = total + part
    return total


def _noise(model: Any, train: Any, sizes: Sizes, T: int) -> float:
    """How far the gradient of one batch lies from the mean gradient, as a multiple of the mean's norm."""
    batches = contiguous_batches(train, sizes.tokens // T, T)
    state, found = None, []
    for number in range(min(sizes.looks + 1, len(batches))):
        part, state = _gradient(model, *batches.batch(number), state, sizes.tokens)
        if number:  # the first one starts from zeros, as no other does
            found.append(part)
    variance = np.var(found, axis=0, ddof=1).sum()
    squared = np.square(np.mean(found, axis=0)).sum() - variance / len(found)  # the mean has a share of the noise too
    return float(np.sqrt(variance / squared)) if squared > 0 else float("inf")


def _memory(sizes: Sizes, T: int) -> float | None:
    """MiB that a step of the LSTM takes at most, measured in a process of its own; None where that fails."""
    layer = Experiment("lstm", T, sizes.tokens // T, sizes.embed, sizes.hidden, dtype="float32")
    command = [sys.executable, "-m", "engine.measuring.memory", sizes.backend, json.dumps(asdict(layer))]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else json.loads(done.stdout)["bytes"] / 2**20


def _notes(sizes: Sizes, limit: float) -> list[str]:
    """What the columns mean."""
    return [
        f"{sizes.updates} updates of {sizes.tokens} characters with Adam, each character once, the state carried on; "
        f"{sizes.repeats} trainings of each shape, ± half of their range; validation loss in nats.",
        f"Same time: the loss after {limit:.1f} s, in which the fastest shape makes all its updates.",
        "Noise: the standard deviation of a batch's gradient over the norm of the mean gradient. Bias: the distance of "
        f"the gradient that goes back T steps from the one that goes back {sizes.length}, over the norm of that one.",
        "MiB of a step: the peak of a process that runs the LSTM alone forward and backward.",
    ]


def _draw(figure: Figure, rows: list[tuple[Any, ...]]) -> None:
    """Three panels over T: cost, gradient, loss."""
    places = range(len(rows))
    columns = {column.name: [row[n] for row in rows] for n, column in enumerate(COLUMNS)}
    panels = (
        ("cost", "µs a token", "MiB of a step"),
        ("gradient", "noise", "bias"),
        ("validation loss", "loss, same tokens", "loss, same time"),
    )
    for place, (title, first, second) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 3, place)
        for name, style in ((first, "o-"), (second, "s--")):
            axes.plot(places, [np.nan if value is None else value for value in columns[name]], style, label=name)
        axes.set_xticks(places, [f"{T}\n{B}" for T, B in zip(columns["T"], columns["B"], strict=True)])
        axes.set_xlabel("T above, B below")
        axes.set_title(title)
        if title != "validation loss":
            axes.set_ylim(bottom=0)
        axes.legend()
