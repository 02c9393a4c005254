"""A trained model to look at, with input of its own: the first batch of its data, or a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from engine.checks import integer
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.translator import Translator
from engine.losses import cross_entropy, mse
from engine.tasks.echo import EchoState
from engine.tasks.forecast import Forecaster
from engine.training.checkpoint import Checkpoint
from engine.training.config import FORECAST, TrainConfig
from engine.training.examples import ExamplesTask
from engine.training.session import backend_for, make_task, vocabulary_of
from engine.training.task import load_model, load_weights

Loss = Callable[[Any], tuple[Any, Any]]


class Problem(NamedTuple):
    """A model, its input, its loss, what the input is, in words, and the valid steps of its rows."""

    model: Layer
    x: Any
    loss: Loss
    words: str
    lengths: Any = None


def problem_of(
    checkpoint: Checkpoint, backend: str | None, text: str | None, steps: int | None, batch: int | None, last: bool
) -> Problem:
    """The model of a checkpoint, with something to read.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of a character model or a forecaster.
    backend : str, optional
        Where it is run; None is where it was trained.
    text : str, optional
        What a character model reads; None is the first batch of the data that it was trained on.
    steps, batch : int, optional
        Of that batch; None is as in training.
    last : bool
        Whether the loss of the last step alone counts.
    """
    if text is not None:
        return _of_text(checkpoint, backend, text, last)
    config = replace(TrainConfig.from_json(checkpoint.meta["config"]), backend=backend_for(checkpoint, backend).spec)
    if steps is not None:
        count = integer("steps", steps, 1)
        config = replace(config, window=count) if config.task == FORECAST else replace(config, sequence=count)
    if batch is not None:
        config = replace(config, batch=integer("batch", batch, 1))
    config.check()
    task = make_task(config, checkpoint.meta["task"])
    if isinstance(task.model, Translator):
        hint = "trace a part of it in Python: engine.trace(engine.load(RUN).parts['encoder'], x)"
        raise bad_input("RUN", "a model of layers in a row", "a Translator, whose attention joins two rows", hint)
    load_weights(task.model, checkpoint)
    first, words = task.batch(0), "the first batch of its training data"
    if isinstance(task, EchoState):  # its own loss has no gradient, as its weights are the solution
        return Problem(task.model, first.x, lambda y: _of_next_row(y, first.targets), words)
    if last and isinstance(task, ExamplesTask):
        raise bad_input("loss", f"no choice for the task {config.task!r}", "'last'", "leave --loss out")
    if isinstance(task, Forecaster) or not last:
        return Problem(task.model, first.x, lambda y: task.loss(y, first)[:2], words, first.lengths)
    return Problem(task.model, first.x, _of_last_step(first.targets), words)


def _of_text(checkpoint: Checkpoint, backend: str | None, text: str, last: bool) -> Problem:
    """A text: each character is to be told from those before it."""
    ids = vocabulary_of(checkpoint).encode(text)
    if len(ids) < 2:
        raise bad_input("text", "at least two characters", f"{len(ids)}", "the last one is only predicted")
    x, targets = ids[:-1, None], ids[1:, None]
    model = load_model(checkpoint, backend_for(checkpoint, backend))
    loss = _of_last_step(targets) if last else lambda y: cross_entropy(y, targets)
    return Problem(model, x, loss, f"a text of {len(ids)} characters")


def _of_next_row(y: Any, targets: Any) -> tuple[Any, Any]:
    """The mean squared error of the last step's output."""
    value, dlast = mse(y[-1], targets)
    dy = y * 0
    dy[-1] = dlast
    return value, dy


def _of_last_step(targets: np.ndarray) -> Loss:
    """The cross-entropy of the last step's logits alone."""

    def loss(y: Any) -> tuple[Any, Any]:
        value, dlast = cross_entropy(y[-1:], targets[-1:])
        dy = y * 0
        dy[-1:] = dlast
        return value, dy

    return loss
