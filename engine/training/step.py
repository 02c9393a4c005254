"""One training step: everything between two states of a run, in one fixed order.

The order decides the result, so it stands here once, for `bptt train` and for `engine.fit`.  No line waits for the
device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from engine.optimizers.clipping import clip_grad_norm, clip_grad_value
from engine.training.alone import Alone
from engine.training.plan import Plan
from engine.training.state import Live
from engine.training.task import Task, forward


def take_step(task: Task, live: Live, plan: Plan, schedule: Callable[[int], float], team: Alone) -> None:
    """Make one update of the model.

    Parameters
    ----------
    task : gives the batch of the step, and its loss.
    live : the state of the run; it is that of the next step afterwards.
    plan : how gradients are clipped.
    schedule : from a step's number to its learning rate.
    team : the processes that train together.
    """
    model, optimizer, position = live.model, live.optimizer, live.position
    xp = model.backend.xp
    # If an update is refused, the flag and the replay say so; NumPy's warnings would only repeat it.
    with np.errstate(all="ignore"):
        out = forward(task, position.step, live.carried, live.regularisers.penalties)
        model.zero_grad()
        if live.scaler:
            out = out.scaled(live.scaler.scale)
        out = team.backward(live, out)
        if live.scaler:
            live.scaler.unscale(optimizer)
        if plan.clip_value:
            clip_grad_value(optimizer, plan.clip_value)
        norm = clip_grad_norm(optimizer, plan.clip or math.inf)
        live.regularisers.add_noise(optimizer, position.step)  # after clipping, which would scale it
        optimizer.lr = schedule(position.step)
        # After a refused update all later ones are refused too, so the weights stay those that the replay needs.
        guard = xp.where(optimizer.nonfinite, math.nan, out.loss)
        if live.scaler:
            live.scaler.step(optimizer, guard)
        else:
            optimizer.step(guard)
        live.regularisers.update_average()
        live.loss_sum += xp.asarray(out.loss, dtype=np.float64) * out.positions
        live.norm_sum += xp.where(optimizer.skipped, 0.0, norm)
    position.positions += out.positions
    position.since += 1
    position.step += 1
    live.carried = task.carried(position.step, out.state)  # what the next step does not need is not kept
