"""What the studies share: the spread over seeds, a memory task, a text, and a training loop."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

import engine
from engine.data import Vocabulary, builtin_text, contiguous_batches, split
from engine.tasks.language import mean_loss

#: A figure: one number, or the median, lowest and highest of several runs.
Figure = float | dict[str, float]
Figures = dict[str, Figure]

CLASSES, NOISE = 4, 4


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, lowest and highest of the runs."""
    found = [float(value) for value in values]
    return {"median": float(np.median(found)), "low": min(found), "high": max(found)}


def norm(array: Any) -> float:
    """The 2-norm over all entries, in float64."""
    return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


def spectral_radius(matrix: np.ndarray) -> float:
    """The largest absolute value of an eigenvalue."""
    return float(np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max())


def orthogonal(size: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix (size, size)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return q * np.sign(np.diag(r))


# -- the memory task ---------------------------------------------------------------------------------------------------


def remember(steps: int, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequences whose class is shown at step 0 alone; noise stands at every step.

    Returns
    -------
    x : float32 (T, B, 8): the class, one-hot, at step 0, and four columns of noise.
    classes : (B,), four of them: guessing is right in 25 % of the rows.
    """
    classes = rng.integers(CLASSES, size=rows)
    x = np.zeros((steps, rows, CLASSES + NOISE), np.float32)
    x[0, np.arange(rows), classes] = 1.0
    x[:, :, CLASSES:] = 0.3 * rng.normal(size=(steps, rows, NOISE))
    return x, classes


def classifier(layer: Any, seed: int) -> Any:
    """The layer with a linear layer on top, one logit a class."""
    return engine.Sequential(layer, engine.Linear(layer.hidden_size, CLASSES, backend=layer.backend, seed=seed))


def gradients(model: Any, x: Any, classes: Any, last: Any = None, lengths: Any = None) -> float:
    """Add the gradients of the cross-entropy at each row's last output; return the loss.

    Parameters
    ----------
    last : (B,) the step of each row's last output; None is the last step of all.
    lengths : handed to the layer.
    """
    y, _, tape = model.forward(x, lengths=lengths)
    rows = np.arange(x.shape[1])
    last = np.full(x.shape[1], len(x) - 1) if last is None else last
    loss, dlast = engine.cross_entropy(y[last, rows], classes)
    dy = np.zeros_like(y)
    dy[last, rows] = dlast
    model.backward(tape, dy)
    return float(loss)


def learn_to_remember(
    layer: Any, steps: int, updates: int, seed: int, lr: float = 3e-3, clip: float = 1.0, rows: int = 32
) -> tuple[Any, list[float]]:
    """Train on the memory task with Adam; return the model and the loss of every update."""
    model, rng = classifier(layer, seed), np.random.default_rng(seed)
    optimizer, losses = engine.Adam(model, lr=lr), []
    for _ in range(updates):
        x, classes = remember(steps, rows, rng)
        model.zero_grad()
        losses.append(gradients(model, x, classes))
        engine.clip_grad_norm(model, clip)
        optimizer.step()
    return model, losses


def accuracy(model: Any, steps: int, rows: int = 500) -> float:
    """Percent of fresh sequences of the memory task that are classified correctly."""
    x, classes = remember(steps, rows, np.random.default_rng(10**6))
    y, _ = model.predict(x)
    return 100.0 * float((y[-1].argmax(axis=-1) == classes).mean())


def updates_until(losses: list[float], limit: float, window: int = 20) -> int:
    """The first update after which the mean of `window` losses is below the limit; all updates if there is none."""
    means = np.convolve(losses, np.full(window, 1 / window), "valid")
    below = np.flatnonzero(means < limit)
    return int(below[0]) + window if len(below) else len(losses)


# -- the text ----------------------------------------------------------------------------------------------------------


class Text:
    """The first `characters` of the built-in text, one tenth of them held out."""

    def __init__(self, characters: int) -> None:
        text = builtin_text()[:characters]
        self.size = len(Vocabulary.from_text(text))
        self.train, self.held_out = split(Vocabulary.from_text(text).encode(text), 0.1)

    def model(self, layer: Any, seed: int, embed: int = 24) -> Any:
        """Embedding, the layer (made for inputs of width `embed`), and a logit for each character."""
        common = {"backend": layer.backend, "seed": seed}
        return engine.Sequential(
            engine.Embedding(self.size, embed, **common), layer, engine.Linear(layer.hidden_size, self.size, **common)
        )

    def train_on(
        self,
        model: Any,
        rows: int,
        steps: int,
        updates: int,
        optimizer: Any,
        clip: float = 1.0,
        summed: bool = False,
    ) -> None:
        """Train; the state is carried from batch to batch, and starts from zeros in every epoch.

        The loss is the mean over rows, and over time steps their mean or (`summed`) their sum.
        """
        batches = contiguous_batches(self.train, rows, steps)
        state = None
        for update in range(updates):
            inputs, targets = batches.batch(update % len(batches))
            state = state if update % len(batches) else None
            model.zero_grad()
            y, state, tape = model.forward(inputs, state)
            _, dy = engine.cross_entropy(y, targets, normalizer=float(rows) if summed else None)
            model.backward(tape, dy)
            engine.clip_grad_norm(model, clip)
            optimizer.step()

    def bits(self, model: Any) -> float:
        """Bits per character on the held-out text."""
        return mean_loss(model, self.held_out) / math.log(2.0)
