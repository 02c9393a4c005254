"""One training: what both sides get, our side's loop, and the process that runs one of them.

    python -m benchmarks.tasks.job CASE ours|torch SEED

Both sides get the batches of our task object, the same number of steps, and the learning rate of each step; both draw
their own first weights, by the seed.  Timed are the steps alone: making a batch and converting it are not, on either
side.  Both sides first run forward and backward once, so that nothing is compiled or loaded while the clock runs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.case import Case, all_cases, real_data
from engine.measuring.machine import cores
from engine.optimizers import clip_grad_norm
from engine.training.config import TrainConfig, make
from engine.training.optimizer_and_schedule import make_optimizer, make_schedule, total_steps
from engine.training.session import make_task

#: From the model's input and the lengths of its rows to its output, as our model gives it, without dropout.
Predict = Callable[[Any, Any], np.ndarray]


@dataclass
class Clock:
    """Adds up the time that is spent within ``with clock:``."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    _began: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> Clock:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._began[0]
        self.cpu_seconds += time.process_time() - self._began[1]


@dataclass
class Job:
    """One training.

    Attributes
    ----------
    task : our task object: data, batches, loss, figures.  Of its model the PyTorch side uses nothing.
    config : the options of the run.
    clock : what is timed.
    """

    task: Any
    config: TrainConfig
    clock: Clock = field(default_factory=Clock)

    @cached_property
    def steps(self) -> int:
        """How many updates are made."""
        found = total_steps(self.config, self.task.batches)
        assert found is not None, "a case has a budget in steps or epochs"
        return found

    @cached_property
    def _schedule(self) -> Callable[[int], float]:
        return make_schedule(self.config, self.steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return float(self._schedule(step))

    def batches(self) -> Iterator[Any]:
        """The batch of each step."""
        return (self.task.batch(step) for step in range(self.steps))

    def warm_up(self, passes: Callable[[Any], None]) -> None:
        """Run `passes`, forward and backward, on a batch before the clock runs: code is compiled and loaded then."""
        passes(self.task.batch(0))


def train_ours(job: Job) -> None:
    """Train the task's own model: forward, loss, backward, clip, step."""
    task, clip = job.task, job.config.clip
    optimizer = make_optimizer(task.model, job.config)
    copy = task.model.to()
    job.warm_up(lambda batch: _step_of_ours(copy, task, batch))
    state = None
    for step, batch in enumerate(job.batches()):
        optimizer.lr = job.rate(step)
        with job.clock:
            y, state, tape = task.model.forward(batch.x, task.carried(step, state), batch.lengths)
            dy = task.loss(y, batch)[1]
            task.model.zero_grad()
            task.model.backward(tape, dy)
            if clip:
                clip_grad_norm(optimizer, clip)
            optimizer.step()


def _step_of_ours(model: Any, task: Any, batch: Any) -> None:
    """Forward and backward once."""
    y, _, tape = model.forward(batch.x, None, batch.lengths)
    model.backward(tape, task.loss(y, batch)[1])


class Foreign:
    """Another library's trained model in the place of ours: it answers, and all else is said of ours."""

    def __init__(self, ours: Any, predict: Predict) -> None:
        self._ours, self._predict = ours, predict

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ours, name)

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """The output for x."""
        y = np.ascontiguousarray(self._predict(x, lengths), dtype=self._ours.dtype)
        return self._ours.backend.asarray(y), None


def run(case: Case, side: str, seed: int) -> dict[str, Any]:
    """Train one side, and return its figure, JSON-able, with the times and what is said beside it."""
    with tempfile.TemporaryDirectory() as scratch:
        options = {**case.options, **case.data(real_data(), Path(scratch)), "seed": seed}
        config = make(case.task, options)
        job = Job(make_task(config), config)
        if side == "ours":
            train_ours(job)
        else:
            predict = importlib.import_module(case.torch).train(job)
            job.task.model = Foreign(job.task.model, predict)
        loss, figures = getattr(job.task, case.measure)()
        figure = dict([job.task.figure(loss)], **figures)[case.figure]
        name, baseline = case.baseline(job.task)
    return {
        "figure": float(figure),
        "seconds": job.clock.seconds,
        "cpu_seconds": job.clock.cpu_seconds,
        "steps": job.steps,
        "baseline": {"name": name, "figure": float(baseline)},
    }


def main(arguments: list[str]) -> int:
    """Run what the arguments name, and print its result as the last line."""
    name, side, seed = arguments
    if side != "ours":
        with contextlib.suppress(ImportError):
            torch = importlib.import_module("torch")
            torch.set_num_threads(cores())
    print(json.dumps(run(all_cases()[name], side, int(seed))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
