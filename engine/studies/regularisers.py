"""What each regulariser does to the loss on held-out text, in a short training on a small text.

An LSTM learns the first characters of the built-in text, in eight passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import Vocabulary, builtin_text, contiguous_batches, split
from engine.layers import LSTM, Dropout, Embedding, Linear, Sequential
from engine.losses import cross_entropy
from engine.optimizers import Adam, AdamW, WeightAverage, add_gradient_noise, clip_grad_norm
from engine.studies.study import Column, StudyResult
from engine.tasks.language import mean_loss
from engine.training.regularisers import NO_PENALTIES, Penalties

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    Column("regulariser"),
    Column("best loss", ".3f"),
    Column("±", ".3f"),
    Column("after updates"),
    Column("last loss", ".3f"),
    Column("training loss", ".3f"),
    Column("seconds", ".1f"),
)
EMBED, WIDTH, STEPS, ROWS = 32, 128, 32, 16


@dataclass(frozen=True)
class Technique:
    """A training with one regulariser.

    Attributes
    ----------
    name : its words in the table.
    dropout : of the embedding and of the LSTM's output.
    layer : options of the LSTM.
    decay : decoupled weight decay.
    penalties : on the LSTM's output.
    noise : variance of the noise on the gradients at the first update.
    average : the decay of an exponential average; 0: the plain mean from half of the updates on; None: no average.
    """

    name: str
    dropout: float = 0.0
    layer: Mapping[str, Any] = field(default_factory=dict)
    decay: float = 0.0
    penalties: Penalties = NO_PENALTIES
    noise: float = 0.0
    average: float | None = None


TECHNIQUES = (
    Technique("none"),
    Technique("dropout 0.3", dropout=0.3),
    Technique("recurrent dropout 0.3", layer={"recurrent_dropout": 0.3}),
    Technique("weight dropout 0.3", layer={"weight_dropout": 0.3}),
    Technique("zoneout 0.15", layer={"zoneout": 0.15}),
    Technique("weight decay 0.3", decay=0.3),
    Technique("AR 2", penalties=Penalties(ar=2.0)),
    Technique("TAR 1", penalties=Penalties(tar=1.0)),
    Technique("gradient noise 1e-6", noise=1e-6),
    Technique("EMA 0.98", average=0.98),
    Technique("SWA, second half", average=0.0),
    Technique("dropout 0.3, AR 2, TAR 1, EMA 0.98", 0.3, penalties=Penalties(2.0, 1.0), average=0.98),
)

#: Those of the small version.
_QUICK = ("none", "gradient noise 1e-6", "EMA 0.98")


def run(quick: bool, seed: int, say: Callable[[str], None]) -> StudyResult:
    """Train with each regulariser, twice."""
    text = builtin_text()
    vocabulary = Vocabulary(text)
    train, held_out = split(vocabulary.encode(text), 0.1)
    updates, repeats = (12, 1) if quick else (640, 2)
    train, held_out = train[: (1 if quick else 80) * STEPS * ROWS + 1], held_out[: 1000 if quick else 8000]
    rows, curves = [], {}
    for technique in [one for one in TECHNIQUES if not quick or one.name in _QUICK]:
        say(technique.name)
        found = [
            _train(
                technique,
                train,
                held_out,
                len(vocabulary),
                seed + turn,
                updates,
                "numpy:reference" if quick else "numpy",
            )
            for turn in range(repeats)
        ]
        best = [min(losses) for _, losses, _, _ in found]
        mean = np.mean([losses for _, losses, _, _ in found], axis=0)
        at = found[0][0]
        curves[technique.name] = (at, mean.tolist())
        seconds, training = (float(np.mean([one[place] for one in found])) for place in (2, 3))
        spread = (max(best) - min(best)) / 2
        lowest = at[int(np.argmin(mean))]
        rows.append((technique.name, float(np.mean(best)), spread, lowest, float(mean[-1]), training, seconds))
    title = f"Regularisers: LSTM, H = {WIDTH}, {len(train):,} characters, {updates} updates"
    notes = [
        f"Losses in nats a character on {len(held_out):,} other ones; {repeats} trainings each, ± half of the range of "
        f"the best losses. {ROWS} rows of {STEPS} steps, Adam, learning rate 0.003, clipped at 1.",
        "With an average, the held-out loss is that of the averaged weights. The training loss is that of the last "
        "tenth of the updates, as it was trained: with its masks, without penalties.",
    ]
    return StudyResult(title, COLUMNS, rows, notes, lambda figure: _draw(figure, curves))


def _train(
    technique: Technique, train: Any, held_out: Any, size: int, seed: int, updates: int, backend: str
) -> tuple[list[int], list[float], float, float]:
    """Updates and held-out losses along the way, seconds of training, and the training loss at the end."""
    common: dict[str, Any] = {"backend": backend}
    lstm = LSTM(EMBED, WIDTH, **technique.layer, **common)
    layers = [
        Embedding(size, EMBED, **common),
        lstm,
        Dropout(technique.dropout, **common),
        Linear(WIDTH, size, **common),
    ]
    if technique.dropout:
        layers.insert(1, Dropout(technique.dropout, **common))
    model = Sequential(*layers, seed=seed)
    optimizer = AdamW(model, lr=3e-3, weight_decay=technique.decay) if technique.decay else Adam(model, lr=3e-3)
    average = None
    if technique.average is not None:
        average = WeightAverage(model, technique.average or None, start=0 if technique.average else updates // 2)
    batches = contiguous_batches(train, ROWS, STEPS)
    at, held, trained, seconds, state = [], [], [], 0.0, None
    for update in range(updates):
        inputs, targets = batches.batch(update % len(batches))
        started = time.perf_counter()
        logits, state, tape, outputs = model.forward_with_outputs(inputs, state if update % len(batches) else None)
        loss, dlogits = cross_entropy(logits, targets)
        inner = technique.penalties.gradients(model, outputs, None)
        model.zero_grad()
        model.backward(tape, dlogits, inner=inner)
        clip_grad_norm(optimizer, 1.0)
        add_gradient_noise(optimizer, update, technique.noise, seed=seed)
        optimizer.step()
        if average is not None:
            average.update()
        seconds += time.perf_counter() - started
        trained.append(float(loss))
        if (update + 1) % max(1, updates // 16) == 0:
            at.append(update + 1)
            held.append(_held_out_loss(model, average, held_out))
    return at, held, seconds, float(np.mean(trained[-max(1, updates // 10) :]))


def _held_out_loss(model: Any, average: WeightAverage | None, held_out: Any) -> float:
    """The loss on the held-out text, with the averaged weights if there are any."""
    if average is None:
        return mean_loss(model, held_out)
    with average.applied():
        return mean_loss(model, held_out)


def _draw(figure: Figure, curves: Mapping[str, tuple[list[int], list[float]]]) -> None:
    """The held-out loss over the updates, a line for each regulariser."""
    axes = figure.add_subplot()
    for number, (name, (at, losses)) in enumerate(curves.items()):
        style = "k-" if name == "none" else "--" if number > 6 else "-"
        axes.plot(at, losses, style, label=name, linewidth=2.5 if name == "none" else 1.3)
    axes.set_xlabel("updates")
    axes.set_ylabel("held-out loss (nats a character)")
    axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left", fontsize=8)
