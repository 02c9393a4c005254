"""When a training by `engine.fit` reports, validates and saves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.checks import integer, number
from engine.errors import bad_input
from engine.training.examples.examples_task import ExamplesTask
from engine.training.plan import Plan

HINT = "lower the optimiser's lr, or give a smaller clip; the weights are those from before it"


def saving_of(out: Any, resume: bool, checkpoint_every: Any) -> int | None:
    """Steps between checkpoints within an epoch, 0: none; None without a folder for them."""
    every = integer("checkpoint_every", checkpoint_every, 0)
    if out is not None:
        return every
    for name, given, without in (("resume", resume, "False"), ("checkpoint_every", every, "0")):
        if given:
            raise bad_input(name, f"{without} without out", str(given), "give the folder of the run as out")
    return None


def reached(step: int, batches: int) -> str:
    """Where a resumed run goes on, in words."""
    epoch, batch = divmod(step, batches)
    return f"after epoch {epoch}" if not batch else f"in epoch {epoch + 1}, after batch {batch} of {batches}"


def plan_of(task: ExamplesTask, epochs: int, clip: float | None, patience: int, saving: int | None) -> Plan:
    """Reports and validations at the end of each epoch; checkpoints there too, and each `saving` steps."""
    if clip is None or (isinstance(clip, float | np.floating) and clip == math.inf):
        clip = 0.0
    return Plan(
        total=epochs * task.batches,
        minutes=None,
        clip=number("clip", clip, hint="None is no clipping"),
        clip_value=0.0,
        patience=patience,
        report_every=task.batches,
        validate_every=task.batches if task.validation is not None else 0,
        checkpoint_every=0 if saving is None else saving or task.batches,
        hint=HINT,
    )
