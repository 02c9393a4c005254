"""Learning-rate schedules: PyTorch's values, warm-up, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.errors import InputError, InputTypeError
from engine.optimizers import schedules
from engine.optimizers.schedules import Constant, Cosine, Scaled, Schedule, StepDecay, Warmup, make_schedule

RECORDED = Path(__file__).parent / "recorded" / "optimizers.npz"
STEP: dict[str, Any] = {"step_size": 4, "gamma": 0.6}
#: The same names for calls with arguments of wrong types, which a type checker would refuse too.
untyped: Any = schedules


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("step", StepDecay(0.3, 4, 0.6)),
        ("step", make_schedule("step", 0.3, **STEP, total_steps=15)),
        ("cosine", Cosine(0.3, 12, 0.02)),
        ("cosine", make_schedule("cosine", 0.3, total_steps=12, min_lr=0.02)),
        ("inverse", Scaled(0.3, lambda step: 1.0 / (1.0 + step))),
        ("warm_constant", Warmup(Constant(0.3), 5)),
        ("warm_constant", make_schedule("constant", 0.3, warmup_steps=5)),
        ("warm_step", Warmup(StepDecay(0.3, 4, 0.6), 5)),
        ("warm_step", make_schedule("step", 0.3, **STEP, warmup_steps=5)),
        ("warm_cosine", Warmup(Cosine(0.3, 12, 0.02), 5, start_factor=0.1)),
        ("warm_cosine", make_schedule("cosine", 0.3, total_steps=17, min_lr=0.02, warmup_steps=5, start_factor=0.1)),
    ],
)
def test_the_rates_are_pytorchs(name: str, schedule: Schedule) -> None:
    wanted = np.load(RECORDED)[f"schedule.{name}"]
    found = [schedule(step) for step in range(len(wanted))]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert all(type(rate) is float for rate in found)


def test_constant_is_the_default_of_no_options() -> None:
    assert make_schedule("constant", 0.25) == Constant(0.25)
    assert Constant(0.25)(10**9) == 0.25


def test_the_cosine_ends_at_its_last_rate_and_stays_there() -> None:
    schedule = Cosine(0.3, 7, 0.05)
    assert (schedule(0), schedule(7), schedule(8), schedule(14)) == (0.3, 0.05, 0.05, 0.05)


@given(lr=st.floats(1e-6, 10), steps=st.integers(1, 50), start=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_a_warm_up_rises_evenly_and_goes_on_from_the_beginning(lr: float, steps: int, start: float, seed: int) -> None:
    after = [Constant(lr), StepDecay(lr, 3), Cosine(lr, 20), Scaled(lr, lambda step: 0.9**step)][seed % 4]
    schedule = Warmup(after, steps, start)
    rise = np.array([schedule(step) for step in range(steps + 1)])
    np.testing.assert_allclose(rise, np.linspace(start * lr, lr, steps + 1), rtol=1e-12)
    assert all(schedule(steps + step) == after(step) for step in range(30))


def test_a_warm_up_of_no_steps_is_none() -> None:
    assert Warmup(StepDecay(0.3, 2), 0)(5) == StepDecay(0.3, 2)(5)
    assert make_schedule("step", 0.3, step_size=2, warmup_steps=0) == StepDecay(0.3, 2)


def test_schedules_are_values() -> None:
    schedule = Warmup(Cosine(0.3, 12, 0.02), 5)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(Warmup(Cosine(0.3, 12, 0.02), 5))
    assert repr(schedule).startswith("Warmup(lr=0.3, after=Cosine(lr=0.3, total_steps=12, min_lr=0.02), steps=5")
    with pytest.raises(AttributeError):
        schedule.steps = 3  # type: ignore[misc]
    assert type(untyped.StepDecay(np.float32(0.5), np.int64(3)).step_size) is int


def test_an_optimiser_takes_the_rates() -> None:
    model = engine.Linear(2, 3)
    opt = engine.SGD(model, lr=1.0)
    schedule = make_schedule("cosine", np.float64(0.3), total_steps=4)
    for step in range(5):
        opt.lr = schedule(step)
        opt.step()
    assert opt.lr == 0.0
    assert model.params["weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("make", "error", "parts"),
    [
        (lambda: untyped.Constant(-1), InputError, ["lr: expected a number >= 0, got -1"]),
        (lambda: untyped.Constant(np.nan), InputError, ["lr: expected a number >= 0, got nan"]),
        (lambda: untyped.Constant("1"), InputTypeError, ["lr: expected a number >= 0, got '1'"]),
        (lambda: untyped.Constant(1.0)(-1), InputError, ["step: expected an integer >= 0, got -1"]),
        (lambda: untyped.Constant(1.0)(1.5), InputTypeError, ["step: expected an integer >= 0, got 1.5"]),
        (lambda: untyped.Constant(1.0)(True), InputTypeError, ["step: expected an integer >= 0, got True"]),
        (
            lambda: untyped.Scaled(1.0, 0.5),
            InputTypeError,
            ["factor: expected a function of the step number, got 0.5"],
        ),
        (lambda: untyped.Scaled(1.0, lambda step: -1.0)(0), InputError, ["lr: expected a number >= 0, got -1.0"]),
        (lambda: untyped.StepDecay(1.0, 0), InputError, ["step_size: expected an integer >= 1, got 0"]),
        (lambda: untyped.StepDecay(1.0, 2, -1), InputError, ["gamma: expected a number >= 0, got -1"]),
        (lambda: untyped.Cosine(1.0, 0), InputError, ["total_steps: expected an integer >= 1, got 0"]),
        (lambda: untyped.Cosine(1.0, 5, -1), InputError, ["min_lr: expected a number >= 0, got -1"]),
        (lambda: untyped.Warmup(0.1, 5), InputTypeError, ["after: expected a schedule, got 0.1"]),
        (lambda: untyped.Warmup(untyped.Constant(1.0), -1), InputError, ["steps: expected an integer >= 0, got -1"]),
        (
            lambda: untyped.Warmup(untyped.Constant(1.0), 5, 0.0),
            InputError,
            ["start_factor: expected a number > 0 and <= 1, got 0.0"],
        ),
        (
            lambda: untyped.Warmup(untyped.Constant(1.0), 5, 1.5),
            InputError,
            ["start_factor: expected a number > 0 and <= 1, got 1.5"],
        ),
        (
            lambda: untyped.Warmup(untyped.Constant(1.0), 5, "x"),
            InputTypeError,
            ["start_factor: expected a number >= 0, got 'x'"],
        ),
    ],
)
def test_bad_schedules_are_refused(make: Any, error: type[Exception], parts: list[str]) -> None:
    with refused(error, *parts):
        make()


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("linear", {}, ["schedule: expected one of 'constant', 'step', 'cosine', got 'linear'"]),
        (None, {}, ["schedule: expected one of 'constant', 'step', 'cosine', got None"]),
        (["step"], {}, ["schedule: expected one of 'constant', 'step', 'cosine', got a list"]),
        ("step", {}, ["step_size: expected a number with the schedule 'step', got none"]),
        ("cosine", {}, ["total_steps: expected a number with the schedule 'cosine', got none"]),
        ("cosine", {"total_steps": 5, "gamma": 0.5}, ["gamma: expected none with the schedule 'cosine', got 0.5; use"]),
        ("constant", {"min_lr": 0.1}, ["min_lr: expected none with the schedule 'constant', got 0.1; use 'cosine'"]),
        ("constant", {"start_factor": 0.1}, ["start_factor: expected none without a warm-up, got 0.1; give warmup"]),
        ("constant", {"warmup_steps": -1}, ["warmup_steps: expected an integer >= 0, got -1"]),
        ("constant", {"warmup_steps": 2.0}, ["warmup_steps: expected an integer >= 0, got 2.0"]),
        ("cosine", {"total_steps": 5, "warmup_steps": 5}, ["warmup_steps: expected fewer than the 5 steps", "got 5"]),
        ("cosine", {"total_steps": 0}, ["total_steps: expected an integer >= 1, got 0"]),
        ("step", {"step_size": 0}, ["step_size: expected an integer >= 1, got 0"]),
    ],
)
def test_make_schedule_refuses(name: Any, options: dict[str, Any], parts: list[str]) -> None:
    with refused(InputError, *parts):
        make_schedule(name, 0.1, **options)
