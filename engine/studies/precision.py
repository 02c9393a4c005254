"""float32, bf16 and fp16, without and with a loss scale: loss, time, memory, and the gradients that are lost.

An LSTM learns the characters of the built-in text.  Its gradients are those of one of many machines that share a global
batch: the loss is the mean over all characters of that batch (rule 13), so the gradient of each character is small.
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
from engine.microscope import underflow
from engine.optimizers import Adam, LossScaler, clip_grad_norm
from engine.studies.study import Column, StudyResult
from engine.tasks.language import mean_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("precision"),
    Column("loss scale"),
    Column("validation loss", ".4f"),
    Column("against float32", "+.2%"),
    Column("ms a step", ".1f"),
    Column("MiB of a step", ".1f"),
    Column("to 0", ".1%"),
    Column("subnormal", ".1%"),
    Column("overflow", ".1%"),
)


@dataclass(frozen=True)
class Sizes:
    """How large the study is.

    Attributes
    ----------
    steps, rows : T and B of a machine's batch.
    machines : that share the global batch; their gradients are taken to be alike.
    updates : of a training.
    held_out : characters on which the loss is measured.
    wide : hidden units, and inputs, of the layer whose time and memory are measured.
    """

    steps: int = 64
    rows: int = 32
    machines: int = 2048
    embed: int = 32
    hidden: int = 64
    updates: int = 400
    held_out: int = 20_000
    wide: int = 256
    backend: str = "numpy"


#: It tries the study: plain kernels, because compiling others may take longer than all the rest.
QUICK = Sizes(
    steps=8, rows=4, machines=2**20, embed=5, hidden=8, updates=12, held_out=200, wide=12, backend="numpy:reference"
)
#: Precision and whether the loss is scaled.
WAYS = (("float32", False), ("bf16", False), ("fp16", False), ("fp16", True))


class Training(NamedTuple):
    """What a training left: the model, losses on the way as (update, validation loss), and the scale at the end."""

    model: Any
    curve: list[tuple[int, float]]
    scale: float


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Train in each way, and measure."""
    sizes = QUICK if quick else Sizes()
    text = builtin_text()
    vocabulary = Vocabulary(text)
    train, held_out = split(vocabulary.encode(text), 0.1)
    held_out = held_out[: sizes.held_out]
    trainings, costs = [], {}
    for precision, scaled in WAYS:
        say(f"training in {precision}" + ", the loss scaled" * scaled)
        trainings.append(_train(precision, scaled, len(vocabulary), (train, held_out), sizes, seed))
        if precision not in costs:
            say(f"time and memory of an LSTM with {sizes.wide} units in {precision}")
            costs[precision] = _seconds(precision, sizes), _memory(precision, sizes)
    say("gradients that are lost")
    lost = _lost(trainings[0].model, train, sizes)
    full = trainings[0].curve[-1][1]
    rows = []
    for (precision, scaled), training in zip(WAYS, trainings, strict=True):
        loss, (seconds, memory) = training.curve[-1][1], costs[precision]
        shares = lost[precision, scaled] if precision != "float32" else (None, None, None)
        word = f"{training.scale:g}" if scaled else "none"
        rows.append((precision, word, loss, loss / full - 1, 1e3 * seconds, memory, *shares))
    tokens = sizes.steps * sizes.rows * sizes.machines
    title = f"Half precision: LSTM, H = {sizes.hidden}, characters, a global batch of {tokens:,}"
    return StudyResult(title, COLUMNS, rows, _notes(sizes), lambda figure: _draw(figure, trainings, lost))


def _train(
    precision: str, scaled: bool, size: int, text: tuple[np.ndarray, np.ndarray], sizes: Sizes, seed: int
) -> Training:
    """Train with carried states, with the gradients of the global batch."""
    train, held_out = text
    embedding = Embedding(size, sizes.embed, backend=sizes.backend)
    lstm = LSTM(sizes.embed, sizes.hidden, precision=precision, backend=sizes.backend)
    model: Any = Sequential(embedding, lstm, Linear(sizes.hidden, size, backend=sizes.backend), seed=seed)
    batches = contiguous_batches(train, sizes.rows, sizes.steps)
    optimizer, scaler = Adam(model, lr=5e-3), LossScaler() if scaled else None
    state, curve = None, [(0, mean_loss(model, held_out))]
    for update in range(sizes.updates):
        inputs, targets = batches.batch(update % len(batches))
        if update % len(batches) == 0:
            state = None
        with np.errstate(all="ignore"):
            logits, state, tape = model.forward(inputs, state)
            loss, dy = cross_entropy(logits, targets, normalizer=inputs.size * sizes.machines)
            model.zero_grad()
            model.backward(tape, scaler.scale(dy) if scaler else dy)
            if scaler:
                scaler.unscale(optimizer)
            for grad in model.grads.values():
                grad *= sizes.machines  # the sum over all machines
            clip_grad_norm(optimizer, 1.0)
            if scaler:
                scaler.step(optimizer, guard=loss)
            else:
                optimizer.step(guard=loss)
        if (update + 1) % max(1, sizes.updates // 16) == 0 or update + 1 == sizes.updates:
            curve.append((update + 1, mean_loss(model, held_out)))
    return Training(model, curve, scaler.value if scaler else 1.0)


def _lost(model: Any, train: np.ndarray, sizes: Sizes) -> dict[Any, Any]:
    """The shares of the gradients that are lost at the end of the float32 training, and the counts themselves."""
    inputs, targets = contiguous_batches(train, sizes.rows, sizes.steps).batch(0)
    normalizer = inputs.size * sizes.machines
    found: dict[Any, Any] = {}
    for precision in ("bf16", "fp16"):
        counts = underflow(
            model, inputs, loss=lambda y: cross_entropy(y, targets, normalizer=normalizer), precision=precision
        )
        shares = [counts.share(kind) for kind in ("zero", "subnormal", "overflow")]
        for place, scaled in enumerate((False, True)):
            found[precision, scaled] = tuple(share[place] for share in shares)
        found[precision] = counts
    return found


def _layer(precision: str, sizes: Sizes) -> tuple[Any, Any, Any]:
    """An LSTM for time and memory, its input and a gradient."""
    wide = sizes.wide
    layer = LSTM(wide, wide, precision=precision, backend=sizes.backend)
    draw = np.random.default_rng(0)
    x, dy = (draw.normal(size=(sizes.steps, sizes.rows, wide)).astype(np.float32) for _ in range(2))
    return layer, x, dy


def _seconds(precision: str, sizes: Sizes) -> float:
    """Of the median step, forward and backward."""
    layer, x, dy = _layer(precision, sizes)
    found = []
    for _ in range(16):
        started = time.perf_counter()
        _, _, tape = layer.forward(x)
        layer.backward(tape, dy)
        found.append(time.perf_counter() - started)
    return float(np.median(found[1:]))


def _memory(precision: str, sizes: Sizes) -> float | None:
    """MiB that a step takes at most, measured in a process of its own; None where that fails."""
    layer = Experiment("lstm", sizes.steps, sizes.rows, sizes.wide, sizes.wide, dtype="float32", precision=precision)
    command = [sys.executable, "-m", "engine.measuring.memory", sizes.backend, json.dumps(asdict(layer))]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else json.loads(done.stdout)["bytes"] / 2**20


def _notes(sizes: Sizes) -> list[str]:
    """What the columns mean."""
    return [
        f"{sizes.updates} updates with Adam, T = {sizes.steps}, B = {sizes.rows}; validation loss in nats. The "
        f"gradient is divided by the characters of a global batch of {sizes.machines:,} such batches before backward, "
        "and multiplied by their number after it: one machine stands for all.",
        f"Time and memory: forward and backward of an LSTM with {sizes.wide} inputs and units alone, T and B as above.",
        "To 0, subnormal, overflow: shares of the gradients of pre-activations at the weights of the float32 training; "
        "in the last row with a loss scale of 65536.",
    ]


def _draw(figure: Figure, trainings: list[Training], lost: dict[Any, Any]) -> None:
    """The losses over the updates, and what fp16 loses at each step."""
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    styles = ("k-", "s--", "o-", "^:")
    for (precision, scaled), training, style in zip(WAYS, trainings, styles, strict=True):
        label = precision + ", loss scaled" * scaled
        left.plot(*zip(*training.curve, strict=True), style, label=label, markersize=4)
    left.set(xlabel="update", title="validation loss, nats")
    left.legend()
    counts = lost["fp16"]
    name = next(iter(counts.layers))
    for kind, place, style, label in (
        ("zero", 0, "o-", "to 0"),
        ("subnormal", 0, "s--", "subnormal"),
        ("zero", 1, "^:", "to 0, loss scaled"),
        ("subnormal", 1, "v-.", "subnormal, loss scaled"),
    ):
        share = 100 * counts.by_step(kind, name)[place]
        right.plot(np.arange(len(share)), share, style, label=label, markersize=3)
    right.set(xlabel="time step", title="gradients that fp16 loses, %", ylim=(-3, 103))
    right.legend(loc="upper right", bbox_to_anchor=(1, 0.93), fontsize="small")
