"""Learning-rate schedules: frozen callables from a step number to a rate, with the values of PyTorch's schedulers.

``step`` is the number of updates made so far, 0 before the first: ``opt.lr = schedule(step); opt.step()``.  A schedule
keeps no state, so a resumed run needs the step number and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.checks import describe, integer, number, one_of
from engine.errors import bad_input, bad_type


@dataclass(frozen=True)
class Schedule:
    """Base of the schedules.

    Attributes
    ----------
    lr : the base rate.
    """

    lr: float

    def __post_init__(self) -> None:
        self._set("lr", number("lr", self.lr))

    def __call__(self, step: int) -> float:
        """The learning rate after `step` updates."""
        count = integer("step", step, 0)
        try:
            rate = self._rate(count)
        except OverflowError:
            raise bad_input("step", "one at which the rate is a finite number", describe(count)) from None
        return number("lr", rate)

    def _rate(self, step: int) -> float:
        raise NotImplementedError

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen only from here on


@dataclass(frozen=True)
class Constant(Schedule):
    """The base rate throughout."""

    def _rate(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class Scaled(Schedule):
    """The base rate times any function of the step, as PyTorch's LambdaLR."""

    factor: Callable[[int], float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.factor) or isinstance(self.factor, type):
            raise bad_type("factor", "a function of the step number", describe(self.factor))

    def _rate(self, step: int) -> float:
        return self.lr * number("factor", self.factor(step), low=-math.inf)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr * gamma^floor(step/step_size), as PyTorch's StepLR."""

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("step_size", integer("step_size", self.step_size, 1))
        self._set("gamma", number("gamma", self.gamma))

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From lr to min_lr along half a cosine (Loshchilov and Hutter 2017, eq. 5, one cycle), as PyTorch's
    CosineAnnealingLR.

    After `total_steps` the rate stays at `min_lr`; PyTorch's would climb again.
    """

    total_steps: int
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("total_steps", integer("total_steps", self.total_steps, 1))
        self._set("min_lr", number("min_lr", self.min_lr))

    def _rate(self, step: int) -> float:
        share = min(step, self.total_steps) / self.total_steps
        return self.min_lr + (self.lr - self.min_lr) * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True, init=False)
class Warmup(Schedule):
    """A linear rise to another schedule's first rate, then that schedule from its own step 0.

    As PyTorch's LinearLR and the other scheduler joined by SequentialLR, with the default factor of LinearLR.

    Parameters
    ----------
    after : the schedule to rise to.
    steps : the length of the rise; 0 is none.
    start_factor : the share of the first rate to start at, in (0, 1].
    """

    after: Schedule
    steps: int
    start_factor: float

    def __init__(self, after: Schedule, steps: int, start_factor: float = 1.0 / 3.0) -> None:
        if not isinstance(after, Schedule):
            raise bad_type("after", "a schedule", describe(after))
        self._set("lr", after(0))
        self._set("after", after)
        self._set("steps", integer("steps", steps, 0))
        self._set("start_factor", number("start_factor", start_factor))
        if not 0.0 < self.start_factor <= 1.0:
            raise bad_input("start_factor", "a number > 0 and <= 1", start_factor)

    def _rate(self, step: int) -> float:
        if step >= self.steps:
            return self.after(step - self.steps)
        return self.lr * (self.start_factor + (1.0 - self.start_factor) * step / self.steps)


#: The schedules by name, with the options that each needs and those that it may have.
NAMES: dict[str, tuple[type[Schedule], tuple[str, ...], tuple[str, ...]]] = {
    "constant": (Constant, (), ()),
    "step": (StepDecay, ("step_size",), ("gamma",)),
    "cosine": (Cosine, ("total_steps",), ("min_lr",)),
}


def make_schedule(
    name: str,
    lr: float,
    *,
    total_steps: int | None = None,
    step_size: int | None = None,
    gamma: float | None = None,
    min_lr: float | None = None,
    warmup_steps: int = 0,
    start_factor: float | None = None,
) -> Schedule:
    """The schedule of that name, after a warm-up if one is asked for.

    Parameters
    ----------
    name : ``"constant"``, ``"step"`` or ``"cosine"``.
    lr : the base rate, the highest one.
    total_steps : the length of the whole run, warm-up included; ``"cosine"`` needs it, the others ignore it.
    step_size, gamma : steps between two drops and the factor of a drop (``"step"``).
    min_lr : the last rate (``"cosine"``).
    warmup_steps, start_factor : length of the linear rise and the share of the first rate that it starts at.

    Raises
    ------
    InputError
        for an unknown name, an option that is missing, out of range, or of another schedule.
    """
    kind, needed, optional = NAMES[one_of("schedule", name, NAMES)]
    given: dict[str, Any] = {"step_size": step_size, "gamma": gamma, "min_lr": min_lr, "total_steps": total_steps}
    given = {option: value for option, value in given.items() if value is not None}
    for option in needed:
        if option not in given:
            raise bad_input(option, f"a number with the schedule {name!r}", "none")
    for option in sorted(given.keys() - {*needed, *optional, "total_steps"}):
        hint = " or ".join(f"use {other!r}" for other, (_, must, may) in NAMES.items() if option in must + may)
        raise bad_input(option, f"none with the schedule {name!r}", describe(given[option]), hint)
    warmup_steps = integer("warmup_steps", warmup_steps, 0)
    if start_factor is not None and not warmup_steps:
        raise bad_input("start_factor", "none without a warm-up", describe(start_factor), "give warmup_steps too")
    if "total_steps" in given:
        given["total_steps"] = integer("total_steps", total_steps, 1) - warmup_steps
        if given["total_steps"] < 1:
            raise bad_input("warmup_steps", f"fewer than the {total_steps} steps of the run", warmup_steps)
    main = kind(lr, **{option: value for option, value in given.items() if option in (*needed, *optional)})
    if not warmup_steps:
        return main
    return Warmup(main, warmup_steps) if start_factor is None else Warmup(main, warmup_steps, start_factor)
