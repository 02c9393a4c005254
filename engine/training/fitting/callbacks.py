"""What a user may do between the epochs of `engine.fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.checks import describe
from engine.errors import bad_type
from engine.optimizers.base import Optimizer
from engine.training.keeping import Log


@dataclass
class Progress:
    """Where training stands, for callbacks.

    Attributes
    ----------
    model : Layer
        The model; its weights may be looked at and changed (call ``model.touch()`` after a change).
    optimizer : Optimizer
        Its ``lr`` may be set where `engine.fit` has no schedule.
    epoch, epochs : int
        Epochs made, and epochs to make.
    step, steps : int
        Updates made, and updates to make.
    batches : int
        Updates of an epoch.
    records : list of dict
        The lines of the metrics so far: two for an epoch with validation or metrics, else one.
    stopped : bool
        Whether `stop` was called.
    """

    model: Any
    optimizer: Optimizer
    epoch: int
    epochs: int
    step: int
    steps: int
    batches: int
    records: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def stop(self) -> None:
        """End the training: after this epoch, or after this step where a step called it."""
        self.stopped = True

    @property
    def loss(self) -> float | None:
        """Mean training loss of the last whole epoch."""
        return self._last("train", "loss")

    @property
    def validation_loss(self) -> float | None:
        """Loss of the last validation, or on the training rows where only metrics are measured."""
        return self._last("validation", "loss")

    @property
    def figures(self) -> dict[str, float]:
        """The metrics of the last epoch by name."""
        last: dict[str, Any] = next((record for record in reversed(self.records) if record["kind"] == "validation"), {})
        fixed = ("kind", "step", "epoch", "loss", "best", "timing")
        return {name: value for name, value in last.items() if name not in fixed}

    def _last(self, kind: str, name: str) -> float | None:
        return next((record[name] for record in reversed(self.records) if record["kind"] == kind), None)


class Callback:
    """Base of callbacks: override what you need.  A callback's own memory is not part of a checkpoint.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> class StopWhenGood(engine.Callback):
    ...     def on_epoch(self, progress):
    ...         if progress.loss < 0.05:
    ...             progress.stop()
    >>> draw = np.random.default_rng(0)
    >>> x = draw.random((64, 5, 2))
    >>> model = engine.Sequential(engine.GRU(2, 8), engine.Linear(8, 1))
    >>> adam = engine.Adam(model, lr=0.01)
    >>> history = engine.fit(
    ...     model, x, x.mean(axis=(1, 2)), epochs=100, optimizer=adam, callbacks=[StopWhenGood()], quiet=True
    ... )
    >>> history.ending, history.epochs < 100
    ('stopped', True)
    """

    def on_start(self, progress: Progress) -> None:
        """Training starts, or goes on.

        Parameters
        ----------
        progress : Progress
            Where it stands.
        """

    def on_step(self, progress: Progress) -> None:
        """An update was made.  Reading a loss here would wait for the device.

        Parameters
        ----------
        progress : Progress
            Where it stands.
        """

    def on_epoch(self, progress: Progress) -> None:
        """An epoch is over, and measured.

        Parameters
        ----------
        progress : Progress
            Where it stands.
        """

    def on_end(self, progress: Progress) -> None:
        """Training is over.

        Parameters
        ----------
        progress : Progress
            Where it stands.
        """


class _Function(Callback):
    """A plain function, called after each epoch."""

    def __init__(self, function: Callable[[Progress], Any]) -> None:
        self.function = function

    def on_epoch(self, progress: Progress) -> None:
        self.function(progress)


def check_callbacks(given: Any) -> tuple[list[Callback], list[Log]]:
    """Callbacks (functions among them are called after each epoch), and logs."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise bad_type("callbacks", "a list of callbacks", describe(given), "put a single one into a list")
    callbacks: list[Callback] = []
    logs: list[Log] = []
    for index, one in enumerate(given):
        if isinstance(one, Callback):
            callbacks.append(one)
        elif all(callable(getattr(one, name, None)) for name in ("begin", "write", "close")):
            logs.append(one)
        elif callable(one) and not isinstance(one, type):
            callbacks.append(_Function(one))
        else:
            got = f"the class {one.__name__}" if isinstance(one, type) else describe(one)
            raise bad_type(f"callbacks[{index}]", "an engine.Callback, or a function of the progress", got)
    return callbacks, logs
