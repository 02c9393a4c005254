"""The training loop of `engine.fit`: callbacks, an optimiser of the user's, and files only where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.optimizers import Adam
from engine.optimizers.base import Optimizer
from engine.optimizers.schedules import make_schedule
from engine.training.checkpoint import BEST, read_file
from engine.training.examples.examples_task import ExamplesTask
from engine.training.fitting.callbacks import Callback, Progress
from engine.training.fitting.fit_folder import FitFolder, check_fit
from engine.training.keeping import Keeper, Memory, RunFiles
from engine.training.loop import Loop
from engine.training.progress import Moment
from engine.training.task import load_weights


class Records:
    """The lines of the metrics in memory, those of earlier sessions first."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def begin(self, earlier: list[dict[str, Any]]) -> None:
        """See `engine.training.keeping.Log`."""
        self.lines += earlier

    def write(self, record: Mapping[str, Any]) -> None:
        """See `engine.training.keeping.Log`."""
        self.lines.append(dict(record))

    def close(self) -> None:
        """See `engine.training.keeping.Log`."""


class FitLoop(Loop):
    """The loop with callbacks."""

    progress: Progress
    listeners: list[Callback]
    each_step: list[Callback]

    def run(self, listeners: list[Callback], records: list[dict[str, Any]]) -> Any:
        """Train with these callbacks."""
        batches, total = self.task.batches, self.plan.total or 0
        self.listeners = listeners
        self.each_step = [one for one in listeners if type(one).on_step is not Callback.on_step]
        self.progress = Progress(self.task.model, self.optimizer, 0, total // batches, 0, total, batches, records)
        self._started_callbacks = False
        try:
            return self.train()
        finally:
            if self._started_callbacks:
                self._tell("on_end")

    def _finished(self) -> bool:
        if not self._started_callbacks:
            self._started_callbacks = True
            self._tell("on_start")
        if self.listeners and (self.each_step or self.state.step % self.task.batches == 0):
            self.progress.stopped = self.team.any(self.progress.stopped)
        return self.progress.stopped or super()._finished()

    def _between(self) -> None:
        if self.each_step:
            self._update()
            for one in self.each_step:
                one.on_step(self.progress)
        if self.listeners and self.state.step % self.task.batches == 0:
            self._tell("on_epoch")

    def _must_save(self, step: int) -> bool:
        """At the end of each epoch, and where the plan has it within one."""
        ends = self.plan.checkpoint_every > 0 and step % self.task.batches == 0
        return ends or super()._must_save(step)

    def _tell(self, name: str) -> None:
        self._update()
        for one in self.listeners:
            getattr(one, name)(self.progress)

    def _update(self) -> None:
        self.progress.step, self.progress.epoch = self.state.step, self.state.step // self.task.batches

    def _moment(self) -> Moment:
        moment = super()._moment()
        moment.batches = self.task.batches
        return moment


def files(folder: FitFolder, task: ExamplesTask) -> Keeper:
    """What keeps a run in its folder."""
    lines = 0 if folder.checkpoint is None else int(folder.checkpoint.meta["metrics_lines"])
    about: Callable[[], dict[str, Any]] = lambda: folder.about(task.model)  # noqa: E731
    return RunFiles(folder.directory, folder.start, about, task.figure(1.0)[0], lines)


def put_back(model: Any, keeper: Keeper) -> None:
    """Give the model the best weights."""
    if isinstance(keeper, Memory):
        assert keeper.best is not None
        model.load_state_dict(keeper.best)
    elif isinstance(keeper, RunFiles):
        load_weights(model, read_file(keeper.directory / BEST, check_fit))


def require_finite_weights(model: Layer) -> None:
    """Raise if a weight is NaN or infinite before training: every loss would be."""
    for name, param in model.params.items():
        if not np.isfinite(model.backend.to_host(param)).all():
            raise bad_input("model", "finite weights", f"NaN or infinity in {name!r}", "build or load it anew")


def check_optimizer(model: Layer, given: Any) -> Optimizer:
    """The optimiser, which must be of this model; None is Adam."""
    if given is None:
        return Adam(model, lr=1e-3)
    if not isinstance(given, Optimizer):
        got = f"the class {given.__name__}" if isinstance(given, type) else describe(given)
        raise bad_type("optimizer", "an optimiser of this model", got, "build it: engine.Adam(model, lr=1e-3)")
    own = {id(param) for param in model.params.values()}
    if any(id(parameter.arrays(given.backend)[0]) not in own for parameter in given.parameters):
        hint = "build it with this model: engine.Adam(model, lr=1e-3)"
        raise bad_input("optimizer", "an optimiser of this model's parameters", "one of other parameters", hint)
    given.clear_nonfinite()
    return given


def course_of(given: Any, optimizer: Optimizer, total: int) -> Callable[[int], float]:
    """The learning rate by the step, over `total` steps."""
    if given is None:
        return lambda step: optimizer.lr
    if isinstance(given, str):
        if given not in ("cosine", "step", "constant"):
            expected = "'cosine', 'step', 'constant', or a function from the step to a learning rate"
            raise bad_input("schedule", expected, describe(given))
        size = max(1, total // 3) if given == "step" else None
        return make_schedule(given, optimizer.lr, total_steps=total, step_size=size)
    if not callable(given) or isinstance(given, type):
        raise bad_type("schedule", "a name, or a function from the step to a learning rate", describe(given))
    found: Callable[[int], float] = given
    return found


def settings_of(task: ExamplesTask, optimizer: Optimizer, clip: float, schedule: Any) -> dict[str, Any]:
    """What decides the result beside the data and the number of epochs."""
    model = task.model
    plain = {k: v for k, v in optimizer.state_dict().items() if isinstance(v, str | int | float | bool)}
    words = ", ".join(f"{name}={value}" for name, value in plain.items() if name != "type")
    course = schedule if schedule is None or isinstance(schedule, str) else f"{type(schedule).__name__}"
    return {
        "model": model.config(),
        "backend": model.backend.spec,
        "dtype": str(model.dtype),
        "loss": task.objective.name,
        "batch_size": task.batch_size,
        "batches": task.batches,
        "shuffle": task.shuffle,
        "stateful": task.stateful,
        "buckets": 0 if task.sampler.buckets is None else task.sampler.buckets.to_json(),
        "seed": task.seed,
        "clip": clip,
        "schedule": course,
        "optimizer": f"{plain['type']}({words})",
    }
