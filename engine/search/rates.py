"""The learning-rate finder: train a little while the rate grows, and look where the loss falls and where it breaks.

The range test of L. N. Smith, Cyclical learning rates for training neural networks (2017), section 3.3, with a rate
that grows exponentially: a short training in which each step has a rate a little larger than the step before.  With
rates that are too small the loss stands still, then it falls, and where the rate is too large it breaks out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.checks import describe, file_name, instance, integer, number, switch
from engine.errors import NonFiniteError, bad_input
from engine.layers.base import Layer
from engine.optimizers.base import Optimizer
from engine.optimizers.clipping import clip_grad_norm, clip_grad_value
from engine.training.examples.objectives import make_objective
from engine.training.fitting.fit_data import make_fit_task
from engine.training.fitting.fit_loop import check_optimizer, require_finite_weights
from engine.training.loss_scale import DYNAMIC, make_scaler
from engine.training.plots import INK, TRAIN, VALIDATION, picture
from engine.training.task import Task, forward

#: The loss of so many steps counts about equally in the smoothed one.
_MEMORY = 10
#: The smoothed loss has broken out when it has risen above its lowest value by so many times what it had fallen.
_BROKEN = 2.0
#: Fewer steps than these show nothing.
FEWEST = 20
MOST = 10_000
LOW, HIGH, STEPS = 1e-6, 10.0, 150


@dataclass(frozen=True)
class RateSearch:
    """What a learning-rate finder saw.

    Attributes
    ----------
    rates : list of float
        The learning rate of each step.
    losses : list of float
        The loss of the batch after it.
    smoothed : list of float
        Their running mean, in which late ones count more.
    suggestion : float
        A learning rate to train with.
    diverged : bool
        Whether the loss broke out before the largest rate.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float
    diverged: bool

    def plot(self, path: Any) -> Path:
        """Draw the losses over the rates, with the suggestion.

        Parameters
        ----------
        path : str or path
            The PNG file.

        Returns
        -------
        Path
            The file.
        """
        place = file_name("path", path)
        with picture(place, (7.0, 4.0)) as figure:
            axes = figure.subplots()
            axes.plot(self.rates, self.losses, color=TRAIN, linewidth=1.0, label="loss of a batch")
            axes.plot(self.rates, self.smoothed, color=INK, linewidth=1.8, label="smoothed")
            words = f"suggested: {self.suggestion:.2g}"
            axes.axvline(self.suggestion, color=VALIDATION, linewidth=1.4, linestyle="--", label=words)
            low, high = min(self.losses), max(self.smoothed[: len(self.smoothed) // 2])
            axes.set_ylim(low - 0.05 * (high - low or 1.0), high + 0.6 * (high - low or 1.0))
            axes.set_xscale("log")
            axes.set_xlabel("learning rate")
            axes.set_ylabel("loss")
            axes.set_title("The loss while the learning rate grows")
            axes.legend(loc="upper left")
        return place


def find_learning_rate(
    model: Layer,
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    loss: Any = "mse",
    optimizer: Optimizer | None = None,
    batch_size: int = 32,
    stateful: bool = False,
    clip: float | None = 1.0,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    seed: int = 0,
) -> RateSearch:
    """Find a learning rate by a short training in which it grows from step to step.

    The model is as it was afterwards, to the bit: weights, gradients, counters of random numbers, and the optimiser's
    state.

    Parameters
    ----------
    model : Layer
        The model that is to be trained.
    x, y : array, array
        Rows and targets, or a source of batches and None, as `engine.fit` takes them.
    lengths, mask : sequence of int, array or None
        As for `engine.fit`.
    loss : str or callable
        As for `engine.fit`.
    optimizer : Optimizer or None
        The optimiser that is to be used, of this model; its own lr does not matter.  None is Adam.
    batch_size : int
        Rows of a batch.
    stateful : bool
        As for `engine.fit`.
    clip : float or None
        Largest norm of the gradient; None or 0 is none.
    low, high : float
        The first and the last learning rate.
    steps : int
        Steps from one to the other: the pass over the rows ends there, or begins again.
    seed : int
        Of the order of the rows.

    Returns
    -------
    RateSearch
        The rates, the losses and a suggestion.

    Raises
    ------
    InputError, InputTypeError
        For arguments that do not fit.
    NonFiniteError
        If the loss is NaN or infinite before the first step.

    Notes
    -----
    L. N. Smith, Cyclical learning rates for training neural networks (2017), section 3.3; the rate grows exponentially
    here.  The suggestion is the rate at which the smoothed loss falls fastest.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> draw = np.random.default_rng(0)
    >>> x = draw.random((200, 8, 2))
    >>> model = engine.Sequential(engine.GRU(2, 16), engine.Linear(16, 1))
    >>> found = engine.find_learning_rate(model, x, x.mean(axis=(1, 2)))
    >>> 1e-4 < found.suggestion < 1
    True
    """
    instance("model", model, Layer, "a layer or Sequential of engine")
    objective = make_objective(loss)
    options = {
        "loss": objective,
        "metrics": (),
        "batch_size": integer("batch_size", batch_size, 1),
        "shuffle": not switch("stateful", stateful),
        "stateful": stateful,
        "buckets": 0,
        "seed": integer("seed", seed, 0),
    }
    rows = {"lengths": lengths, "mask": mask, "weights": None}
    task = make_fit_task(model, objective, x, y, rows, None, options)
    require_finite_weights(model)
    trained = check_optimizer(model, optimizer)
    most = 0.0 if clip in (None, math.inf) else number("clip", clip, hint="None is no clipping")
    return sweep(task, trained, check_rates(low, high, steps), most)


def check_rates(low: Any, high: Any, steps: Any) -> np.ndarray:
    """The learning rates from `low` to `high`, evenly on a logarithmic scale.

    Raises
    ------
    InputError
        for limits that are no rates, or in the wrong order, or too few steps.
    """
    least, most = number("low", low), number("high", high)
    if least == 0:
        raise bad_input("low", "a number > 0", "0", f"the rate is multiplied from step to step; such as {LOW:g}")
    if most <= least:
        raise bad_input("high", f"a rate above low, {least:g}", f"{most:g}")
    count = integer("steps", steps, FEWEST)
    if count > MOST:
        raise bad_input("steps", f"at most {MOST:,}", describe(count))
    return np.geomspace(least, most, count)


def sweep(task: Task, optimizer: Optimizer, rates: np.ndarray, clip: float, clip_value: float = 0.0) -> RateSearch:
    """Make a step at each rate, until the loss breaks out; model and optimiser are put back."""
    model, carried, losses = task.model, None, list[float]()
    scaler = make_scaler(DYNAMIC, model)
    with untouched(model, optimizer), np.errstate(all="ignore"):
        for step in range(len(rates) + 1):
            out = forward(task, step, carried)
            losses.append(float(model.backend.to_host(out.loss)))
            if step == len(rates) or broken(losses):
                break
            model.zero_grad()
            model.backward(out.tape, scaler.scale(out.dy) if scaler else out.dy)
            if scaler:
                scaler.unscale(optimizer)
            if clip_value:
                clip_grad_value(optimizer, clip_value)
            clip_grad_norm(optimizer, clip or math.inf)
            optimizer.lr = float(rates[step])
            if scaler:
                scaler.step(optimizer, out.loss)
            else:
                optimizer.step(out.loss)
            carried = task.carried(step + 1, out.state)
    if not math.isfinite(losses[0]):
        raise NonFiniteError(f"loss: expected a finite loss before the first step, got {losses[0]}")
    diverged = len(losses) <= len(rates)
    after = [loss for loss in losses[1:] if math.isfinite(loss)]
    used = [float(rate) for rate in rates[: len(after)]]
    if len(after) < FEWEST // 2:
        raise bad_input("low", "a rate at which the model can be trained", f"{rates[0]:g}, which breaks it at once")
    curve = smooth(losses[: len(after) + 1])[1:]
    first = max(curve[:_MEMORY])
    if first - min(curve) <= 1e-6 * abs(first):
        got = f"{rates[0]:g} to {rates[-1]:g}, where it never does"
        raise bad_input("high", "rates among which the loss falls", got, "the loss may not depend on the rate at all")
    return RateSearch(used, after, curve, suggested(used, curve), diverged)


@contextlib.contextmanager
def untouched(model: Any, optimizer: Optimizer) -> Iterator[None]:
    """Put weights, buffers, gradients, counters of random numbers and the optimiser's state back on leaving."""
    copy = model.backend.xp.copy
    arrays = [*model.saved_arrays().values(), *model.grads.values()]
    kept, counters, state = [copy(array) for array in arrays], model.call_counters(), optimizer.state_dict()
    try:
        yield
    finally:
        for array, before in zip(arrays, kept, strict=True):
            array[...] = before
        model.touch()
        model.load_call_counters(counters)
        optimizer.load_state_dict(state)


def smooth(losses: Sequence[float]) -> list[float]:
    """The running mean in which each loss counts `_MEMORY` steps, without the bias of its start (as in Adam)."""
    keep, total, found = 1.0 - 1.0 / _MEMORY, 0.0, []
    for count, loss in enumerate(losses, 1):
        total = keep * total + (1.0 - keep) * loss
        found.append(total / (1.0 - keep**count))
    return found


def broken(losses: Sequence[float]) -> bool:
    """Whether the loss is not finite any more, or has risen far above its lowest value."""
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) < _MEMORY:
        return False
    curve = smooth(losses)
    lowest, first = min(curve), max(curve[:_MEMORY])
    return curve[-1] > max(first, lowest) + _BROKEN * (first - lowest)


def suggested(rates: Sequence[float], curve: Sequence[float]) -> float:
    """The rate at which the smoothed loss falls fastest, before it is lowest.

    The fall at a place is the slope of the straight line through the `_MEMORY` steps on either side of it, so that the
    noise of single batches counts little.
    """
    logs, losses, found = np.log(rates), np.asarray(curve), list[float]()
    end = max(int(np.argmin(losses)), 2) + 1
    for place in range(end):
        part = slice(max(place - _MEMORY, 0), min(place + _MEMORY + 1, end))
        apart = logs[part] - logs[part].mean()
        # A place near an end has fewer steps beside it, whose slope is less sure: it counts less.
        sure = len(apart) / (2 * _MEMORY + 1)
        found.append(sure * float(apart @ losses[part] / (apart @ apart)))
    return float(rates[int(np.argmin(found))])


__all__ = ["RateSearch", "check_rates", "find_learning_rate", "sweep"]
