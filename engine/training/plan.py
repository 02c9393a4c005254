"""What a training run does at which steps, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: How a run ended.
COMPLETE, STOPPED_EARLY, INTERRUPTED = "complete", "stopped early", "interrupted"


class Plan(NamedTuple):
    """How long a run trains, and what it does at which steps.

    Attributes
    ----------
    total, minutes : the budget: steps in all, or minutes; the other one is None.
    clip, clip_value : largest global norm of the gradient, and largest single value of it (0: off).
    patience : validations without improvement before training stops (0: never).
    report_every, validate_every, checkpoint_every : in steps; 0: never, which a report cannot be.
    hint : what to do if a number is not finite.
    loss_scale : ``"dynamic"`` in fp16 and none elsewhere, a number, or ``"off"`` (`engine.training.loss_scale`).
    """

    total: int | None
    minutes: float | None
    clip: float
    clip_value: float
    patience: int
    report_every: int
    validate_every: int
    checkpoint_every: int
    hint: str
    loss_scale: str | float = "dynamic"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    ending : `COMPLETE`, `STOPPED_EARLY` or `INTERRUPTED`.
    step : steps made in all.
    best_loss, best_step : the lowest validation loss and where it was reached; None before the first validation.
    seconds : of training in all, over all sessions.
    """

    ending: str
    step: int
    best_loss: float | None
    best_step: int | None
    seconds: float
