"""The training loop in a run's folder, by the options of ``bptt train``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.checks import describe, instance
from engine.errors import bad_type
from engine.layers.base import Layer
from engine.optimizers.averaging import WeightAverage
from engine.training.alone import ALONE, Alone
from engine.training.config import TrainConfig
from engine.training.fine_tuning import rates_at
from engine.training.keeping import Log, RunFiles
from engine.training.loop import Loop
from engine.training.loss_scale import loss_scale_of
from engine.training.optimizer_and_schedule import course_changed, make_optimizer, make_schedule, total_steps
from engine.training.plan import COMPLETE, INTERRUPTED, STOPPED_EARLY, Outcome, Plan
from engine.training.progress import Reporter
from engine.training.regularisers import Regularisers, read_regularisers
from engine.training.rundir import RunFolder
from engine.training.task import Task

_LOWER = "lower --lr, or clip harder with --clip; every checkpoint is from before it"


class Trainer(Loop):
    """Trains the model of a task in a run's directory.

    Parameters
    ----------
    run : from `engine.training.rundir.open_run`.
    task : data and model.
    reporter : shows the progress.
    stop : asked after every step whether to save and end.
    logs : get the lines of the metrics too (`engine.training.logs`).
    team : the processes that train together.

    Attributes
    ----------
    warning : an effect of a resumed run's new budget that its user may not expect, or "".
    """

    def __init__(
        self,
        run: RunFolder,
        task: Task,
        reporter: Reporter,
        stop: Callable[[], bool] = lambda: False,
        logs: Sequence[Log] = (),
        team: Alone = ALONE,
    ) -> None:
        instance("run", run, RunFolder, "a run", "open one with open_run")
        instance("reporter", reporter, Reporter, "a Reporter", "make one with make_reporter")
        if isinstance(task, type) or not all(hasattr(task, name) for name in ("model", "batches", "batch", "loss")):
            raise bad_type("task", "data and model, as the Task protocol has them", describe(task))
        if not callable(stop):
            raise bad_type("stop", "a function without arguments", describe(stop))
        self.run, self.config = run, run.config
        run.check_data(task.fingerprint)
        plan = plan_of(self.config, task.batches)
        lines = int(run.checkpoint.meta["metrics_lines"]) if run.checkpoint else 0
        keeper = RunFiles(run.directory, self._begin, self._about, task.figure(1.0)[0], lines)
        optimizer = make_optimizer(task.model, self.config)
        super().__init__(task, optimizer, plan, lambda step: optimizer.lr, keeper, reporter, stop, logs, team)
        self.live.regularisers = regularisers_of(task.model, self.config, team.size)
        if run.checkpoint:
            self.restore(run.checkpoint)
        self._set_groups()
        self.schedule = make_schedule(self.config, plan.total or self.state.planned)
        self.warning = ""
        if run.checkpoint:
            before = TrainConfig.from_json(run.checkpoint.meta["config"])
            planned = total_steps(before, task.batches) or self.state.planned
            now = plan.total or self.state.planned
            self.warning = course_changed(self.config, self.state.step, now, planned, float(self.optimizer.lr))

    def _begin(self) -> None:
        self.run.write_options(self.task.fingerprint)

    def _about(self) -> dict[str, Any]:
        return {"config": self.config.to_json(), "data": self.task.fingerprint, "task": self.task.describe()}

    def _between(self) -> None:
        if self.config.unfreeze_every and self.state.step % self.config.unfreeze_every == 0:
            self._set_groups()

    def _set_groups(self) -> None:
        """Freeze what is not trained at this step, and give the groups of parameters their learning rates."""
        config = self.config
        if config.freeze or config.rates or config.unfreeze_every:
            self.optimizer.set_rates(rates_at(config, list(self.task.model.params), self.state.step))

    def _replan(self) -> None:
        """Under a budget in minutes: estimate the total number of steps again, from the share of the time used.

        So the learning rate falls along the same curve, over time instead of steps.
        """
        self.state.planned = max(self.state.step, round(self.state.step / max(self._moment().share, 1e-6)))
        self.schedule = make_schedule(self.config, self.plan.total or self.state.planned)


def plan_of(config: TrainConfig, batches: int) -> Plan:
    """When a run does what, by its options."""
    return Plan(
        total=total_steps(config, batches),
        minutes=config.minutes,
        clip=config.clip,
        clip_value=config.clip_value,
        patience=config.patience,
        report_every=config.report_every,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        hint=_LOWER,
        loss_scale=loss_scale_of(config.loss_scale),
    )


def regularisers_of(model: Layer, config: TrainConfig, ranks: int) -> Regularisers:
    """The regularisers of a run, by its options."""
    average = None
    if config.average != "none":
        decay = config.average_decay if config.average == "ema" else None
        average = WeightAverage(model, decay, start=config.average_from, every=config.average_every)
    given = {name: getattr(config, name) for name in ("ar", "tar", "gradient_noise")}
    return read_regularisers(model, **given, average=average, seed=config.seed, ranks=ranks)


__all__ = ["COMPLETE", "INTERRUPTED", "STOPPED_EARLY", "Outcome", "Trainer", "plan_of"]
