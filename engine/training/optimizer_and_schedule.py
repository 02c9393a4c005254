"""Optimiser and learning-rate schedule from the options of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from engine import optimizers
from engine.optimizers import schedules
from engine.optimizers.base import Optimizer
from engine.optimizers.schedules import Schedule
from engine.training.config import TrainConfig

#: Before the first report a budget in minutes has no step count yet; the rate then starts as if it were this.
UNPLANNED = 1_000_000


def make_optimizer(model: Any, config: TrainConfig) -> Optimizer:
    """The optimiser that the options describe, with the engine's defaults for all other values."""
    kinds: dict[str, Callable[..., Optimizer]] = {
        "adam": optimizers.Adam,
        "adamw": optimizers.AdamW,
        "sgd": optimizers.SGD,
        "rmsprop": optimizers.RMSprop,
        "adagrad": optimizers.Adagrad,
    }
    extra: dict[str, Any] = {}
    if config.optimizer == "adamw":
        extra["weight_decay"] = config.weight_decay
    if config.optimizer in ("sgd", "rmsprop"):
        extra["momentum"] = config.momentum
    return kinds[config.optimizer](model, lr=config.lr, l1=config.l1, l2=config.l2, **extra)


def make_schedule(config: TrainConfig, total: int) -> Schedule:
    """The course of the learning rate over `total` steps, 0 where that is not known yet.

    ``step`` falls to a tenth after each third of the run.
    """
    steps = max(total or UNPLANNED, config.warmup + 1)
    step_size = max(1, steps // 3) if config.schedule == "step" else None
    return schedules.make_schedule(
        config.schedule, config.lr, total_steps=steps, step_size=step_size, warmup_steps=config.warmup
    )


def total_steps(config: TrainConfig, batches: int) -> int | None:
    """Steps to be made in all, with `batches` to an epoch; None under a budget in minutes."""
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return max(1, math.ceil(config.epochs * batches))
    return None


def course_changed(config: TrainConfig, step: int, total: int, before: int, last: float) -> str:
    """An effect of a resumed run's new budget that its user may not expect; "" if there is none.

    Parameters
    ----------
    step : steps made.
    total, before : steps to be made in all, and by the budget that the run had.
    last : the learning rate of the last step.
    """
    if config.minutes is None and total < step:
        return f"the {step:,} steps made are more than the {total:,} asked for: nothing is trained"
    new, old = (make_schedule(config, steps)(step) for steps in (total, before))
    if total == before or new <= 1.01 * max(last, old):  # old: in a warm-up the rate rises anyway
        return ""
    return (
        f"the learning rate rises again from {last:.3g} to {new:.3g}, for the {config.schedule} schedule now spans "
        f"{total:,} steps instead of {before:,}; with --schedule constant a longer run goes on as it was"
    )
