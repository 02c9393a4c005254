"""The training loop: one step after another, with reports, validations and checkpoints at fixed step numbers.

A step never waits for the device: losses and norms are added up there and read once a report.  What is kept holds
everything that decides the next step, so a run that is killed and resumed computes the same as without the break.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import CheckpointError, InputError, NonFiniteError
from engine.optimizers.base import Optimizer
from engine.training.alone import ALONE, Alone
from engine.training.checkpoint import Checkpoint, problem
from engine.training.keeping import Keeper, Log
from engine.training.loss_scale import make_scaler
from engine.training.nonfinite import Recorded, diagnose, finite_weights, overflow
from engine.training.packing import share_of
from engine.training.plan import COMPLETE, INTERRUPTED, STOPPED_EARLY, Outcome, Plan
from engine.training.progress import Moment, Reporter
from engine.training.state import Live, Position
from engine.training.step import take_step
from engine.training.task import Task, load_weights

#: After so many steps the device is asked whether an update was refused, even if no report is due.
_LOOK_EVERY = 1000


class Loop:
    """Trains the model of a task.

    Parameters
    ----------
    task : data and model.
    optimizer : of the model.
    plan : when to do what.
    schedule : from a step's number to its learning rate.
    keeper : where lines of the metrics, best weights and states go.
    reporter : shows the progress.
    stop : asked after every step whether to save and end.
    logs : get the lines of the metrics too.
    team : the processes that train together.
    """

    def __init__(
        self,
        task: Task,
        optimizer: Optimizer,
        plan: Plan,
        schedule: Callable[[int], float],
        keeper: Keeper,
        reporter: Reporter,
        stop: Callable[[], bool] = lambda: False,
        logs: Sequence[Log] = (),
        team: Alone = ALONE,
    ) -> None:
        self.task, self.optimizer, self.plan, self.schedule = task, optimizer, plan, schedule
        self.team, self.keeper, self.stop = team, team.keeper(keeper), team.stop(stop)
        self.reporter, self.logs = reporter, logs
        reporter.figure = task.figure(1.0)[0]
        self.live = Live(task.model, optimizer, make_scaler(plan.loss_scale, task.model))
        self._recorded: list[Recorded] = []
        self._before = 0.0
        self._started = self._reported = time.monotonic()
        self._first_step = 0
        self._clock = self._seconds if plan.minutes is None else team.clock(self._seconds)

    @property
    def state(self) -> Position:
        """Where the run stands."""
        return self.live.position

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over the state of a checkpoint."""
        load_weights(self.task.model, checkpoint)
        try:
            self.live.unpack(checkpoint)
        except CheckpointError:
            raise
        except InputError as error:
            hint = "resume with the options and the release that wrote it"
            raise problem(checkpoint.path, "the state of this run", f"'{error}'", hint) from error
        self.live.carried = self.team.own_state(self.live.carried)
        self._first_step = self.state.step

    # -- the loop ------------------------------------------------------------------------------------------------------

    def train(self) -> Outcome:
        """Train until the budget is used up, validation stops improving, or a stop is asked for.

        Raises
        ------
        NonFiniteError
            naming the tensor and its first bad time step; the last checkpoint is from before that.
        StorageError
            if a file cannot be written; what was saved before is untouched.
        """
        state = self.state
        try:
            earlier = self.keeper.begin()
            self._before = float(earlier[-1]["timing"]["elapsed_s"]) if earlier else 0.0
            for log in self.logs:
                log.begin(earlier)
            self.team.begin(self.live)
            self._started = self._reported = time.monotonic()
            while not self._finished():
                if self.stop():
                    self._save()
                    return self._outcome(INTERRUPTED)
                self._step()
                self._after_step()
                self.reporter.tick(self._moment())
            if state.positions:
                self._report()
            if self.plan.validate_every and state.validated != state.step:
                self._validate()
            self._save()
            return self._outcome(STOPPED_EARLY if self._out_of_patience() else COMPLETE)
        finally:
            self.keeper.end()
            for log in self.logs:
                log.close()

    def _step(self) -> None:
        """One update."""
        self._recorded.append(Recorded(self.state.step, self.live.carried, self.task.model.call_counters()))
        take_step(self.task, self.live, self.plan, self.schedule, self.team)

    def _after_step(self) -> None:
        """Reports, validations and checkpoints where the plan has them."""
        plan, step = self.plan, self.state.step
        if step % plan.report_every == 0:
            self._report()
        elif len(self._recorded) >= _LOOK_EVERY:
            self._require_finite()
        if plan.validate_every and step % plan.validate_every == 0:
            self._validate()
        self._between()
        if self._must_save(step):
            self._save()

    def _must_save(self, step: int) -> bool:
        """Whether a checkpoint is due."""
        return self.plan.checkpoint_every > 0 and step % self.plan.checkpoint_every == 0

    def _between(self) -> None:
        """Called after each step, before a checkpoint that is due: for what a user has to do there."""

    def _finished(self) -> bool:
        if self._out_of_patience():
            return True
        if self.plan.minutes is not None:
            return self._elapsed() >= 60.0 * self.plan.minutes
        assert self.plan.total is not None
        return self.state.step >= self.plan.total

    def _out_of_patience(self) -> bool:
        return 0 < self.plan.patience <= self.state.strikes

    # -- reports, validations, checkpoints -----------------------------------------------------------------------------

    def _report(self) -> None:
        """Read the sums back from the device, the only wait in training, and write them down."""
        self._require_finite()
        state, to_host = self.state, self.task.model.backend.to_host
        loss = float(to_host(self.live.loss_sum)) / state.positions
        scaling = self._loss_scale()
        made = state.since - scaling.get("skipped", 0)
        norm = float(to_host(self.live.norm_sum)) / max(made, 1)
        name, figure = self.task.figure(loss)
        now = time.monotonic()
        whole = state.step - state.since >= self._first_step
        speed = state.positions / max(now - self._reported, 1e-9) if whole else 0.0
        self._reported = now
        record = {
            "kind": "train",
            "step": state.step,
            "epoch": state.step / self.task.batches,
            "loss": loss,
            name: figure,
            **share_of(self.task, state.step - state.since, state.step),
            "lr": self.optimizer.lr,
            "grad_norm": norm if math.isfinite(norm) else None,  # finite gradients can have a norm that float32 has not
            **scaling,
            "timing": {"elapsed_s": round(self._elapsed(), 3), "positions_per_s": round(speed, 1)},
        }
        self.live.loss_sum[...] = 0
        self.live.norm_sum[...] = 0
        state.positions = state.since = 0
        self._write(record)
        if self.plan.minutes is not None:
            self._replan()
        self.reporter.report(record, self._moment())

    def _loss_scale(self) -> dict[str, Any]:
        """Where the loss is scaled: the scale, and the steps skipped since the last report."""
        if self.live.scaler is None:
            return {}
        state, before = self.live.scaler.state_dict(), self.live.reported_skips
        self.live.reported_skips = state["skipped"]
        return {"loss_scale": state["scale"], "skipped": state["skipped"] - before}

    def _validate(self) -> None:
        """Measure the validation loss; keep the weights if they are the best so far."""
        self._require_finite(weights=True)
        with self.live.regularisers.averaged():
            record = self._measured()
        self._write(record)
        self.reporter.report(record, self._moment())
        self._reported = time.monotonic()  # the speed that is shown is that of training alone

    def _measured(self) -> dict[str, Any]:
        """The line of a validation with the weights that the model has, which are kept if they are the best."""
        state = self.state
        with np.errstate(all="ignore"):
            loss, figures = self.team.on_first(self._measure)
        if not math.isfinite(loss):
            hint = self.plan.hint.partition(";")[0]
            words = f"step {state.step}: expected a finite validation loss, got {loss}; {hint}, and train anew"
            raise self.team.worst(NonFiniteError(words))
        better = state.best_loss is None or loss < state.best_loss
        state.strikes = 0 if better else state.strikes + 1
        state.validated = state.step
        if better:
            state.best_loss, state.best_step = loss, state.step
            self.keeper.keep_best(self.live)
        name, figure = self.task.figure(loss)
        return {
            "kind": "validation",
            "step": state.step,
            "epoch": state.step / self.task.batches,
            "loss": loss,
            name: figure,
            **{key: float(value) if math.isfinite(value) else None for key, value in figures.items()},
            "best": better,
            "timing": {"elapsed_s": round(self._elapsed(), 3)},
        }

    def _measure(self) -> tuple[float, dict[str, float]]:
        """Loss and figures of the validation part."""
        found = self.task.validate()
        return found.loss, dict(found.figures)

    def _write(self, record: Mapping[str, Any]) -> None:
        self.keeper.write(record)
        for log in self.logs:
            log.write(record)

    def _save(self) -> None:
        """Keep the whole state."""
        self._require_finite(weights=True)
        self.keeper.keep_state(self.live)

    def _require_finite(self, weights: bool = False) -> None:
        """Rule 16: if an update was refused since the last check, replay its batch and say what was wrong.

        Before a state is kept the `weights` are checked too: an update can overflow although loss and gradients are
        finite.  The optimiser's buffers need no check of their own: a bad buffer (NaN, or infinity where it is not a
        sum of squares) has spoilt its weight in the same update.
        """
        to_host = self.task.model.backend.to_host
        if bool(to_host(self.optimizer.nonfinite)):
            # Updates made are counted, refused ones are not: the count is the number of the first refused step.
            scaler = self.live.scaler
            skipped = 0 if scaler is None else scaler.skipped
            bad = int(to_host(self.optimizer.steps)) - self.live.made_before + skipped
            recorded = next(record for record in self._recorded if record.step == bad)
            raise self.team.worst(diagnose(self.task, recorded, self.plan.hint, scaler))
        if weights and not finite_weights(self.task):
            error = overflow(self.task, self.state.step, self.plan.hint)
            raise self.team.worst(error or AssertionError("weights that change by themselves"))
        self._recorded.clear()

    def _replan(self) -> None:
        """Under a budget in minutes: estimate the number of steps anew."""

    # -- where it stands -----------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        """Seconds of training, earlier sessions included."""
        return self._clock()

    def _seconds(self) -> float:
        """Those that this process knows of."""
        return self._before + time.monotonic() - self._started

    def _moment(self) -> Moment:
        state, elapsed, plan = self.state, self._elapsed(), self.plan
        if plan.minutes is not None:
            budget = 60.0 * plan.minutes
            return Moment(state.step, None, min(1.0, elapsed / budget), max(0.0, budget - elapsed))
        assert plan.total is not None
        made = state.step - self._first_step
        left = (elapsed - self._before) / made * (plan.total - state.step) if made else None
        return Moment(state.step, plan.total, state.step / plan.total, left)

    def _outcome(self, ending: str) -> Outcome:
        return Outcome(ending, self.state.step, self.state.best_loss, self.state.best_step, self._elapsed())
