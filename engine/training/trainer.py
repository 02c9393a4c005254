"""The training loop: one step after another, with reports, validations and checkpoints at fixed step numbers.

A step never waits for the device: losses and norms are added up there and read once a report.  The checkpoint holds
everything that decides the next step, so a run that is killed and resumed computes the same as without the break.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.checks import describe, instance
from engine.errors import CheckpointError, InputError, NonFiniteError, bad_type
from engine.optimizers.clipping import clip_grad_norm, clip_grad_value
from engine.training.checkpoint import BEST, LAST, Checkpoint, problem, write_checkpoint
from engine.training.config import TrainConfig
from engine.training.metrics import METRICS, MetricsLog, elapsed_in
from engine.training.nonfinite import Recorded, diagnose, finite_weights, overflow
from engine.training.optimizer_and_schedule import course_changed, make_optimizer, make_schedule, total_steps
from engine.training.progress import Moment, Reporter
from engine.training.rundir import RunFolder
from engine.training.state import Live, Position
from engine.training.task import Task, forward, load_weights

_LOWER = "lower --lr, or clip harder with --clip; every checkpoint is from before it"

#: How a run ended.
COMPLETE, STOPPED_EARLY, INTERRUPTED = "complete", "stopped early", "interrupted"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    ending : `COMPLETE`, `STOPPED_EARLY` or `INTERRUPTED`.
    step : steps made in all.
    best_loss, best_step : the lowest validation loss and where it was reached; None before the first validation.
    seconds : of training in all, over all sessions.
    """

    ending: str
    step: int
    best_loss: float | None
    best_step: int | None
    seconds: float


class Trainer:
    """Trains the model of a task in a run's directory.

    Parameters
    ----------
    run : from `engine.training.rundir.open_run`.
    task : data and model.
    reporter : shows the progress.
    stop : asked after every step whether to save and end.

    Attributes
    ----------
    warning : an effect of a resumed run's new budget that its user may not expect, or "".
    """

    def __init__(
        self, run: RunFolder, task: Task, reporter: Reporter, stop: Callable[[], bool] = lambda: False
    ) -> None:
        instance("run", run, RunFolder, "a run", "open one with open_run")
        instance("reporter", reporter, Reporter, "a Reporter", "make one with make_reporter")
        if isinstance(task, type) or not all(hasattr(task, name) for name in ("model", "batches", "batch", "loss")):
            raise bad_type("task", "data and model, as the Task protocol has them", describe(task))
        if not callable(stop):
            raise bad_type("stop", "a function without arguments", describe(stop))
        self.run, self.task, self.config, self.reporter, self.stop = run, task, run.config, reporter, stop
        run.check_data(task.fingerprint)
        self.optimizer = make_optimizer(task.model, self.config)
        self.live = Live(task.model, self.optimizer)
        self._recorded: list[Recorded] = []
        self._lines = self._restore(run.checkpoint) if run.checkpoint else 0
        self._before = elapsed_in(run.directory / METRICS, self._lines, task.figure(1.0)[0])
        self.total = total_steps(self.config, task.batches)
        self.schedule = make_schedule(self.config, self.total or self.state.planned)
        self.warning = ""
        if run.checkpoint:
            before = TrainConfig.from_json(run.checkpoint.meta["config"])
            planned = total_steps(before, task.batches) or self.state.planned
            now = self.total or self.state.planned
            self.warning = course_changed(self.config, self.state.step, now, planned, float(self.optimizer.lr))
        self._started = self._reported = time.monotonic()
        self._first_step = self.state.step

    @property
    def state(self) -> Position:
        """Where the run stands."""
        return self.live.position

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
        config, state = self.config, self.state
        self.run.write_options(self.task.fingerprint)
        self.metrics = MetricsLog(self.run.directory / METRICS, self._lines)
        self._started = self._reported = time.monotonic()
        try:
            while not self._finished():
                if self.stop():
                    self._save()
                    return self._outcome(INTERRUPTED)
                self._step()
                if state.step % config.report_every == 0:
                    self._report()
                if state.step % config.validate_every == 0:
                    self._validate()
                if state.step % config.checkpoint_every == 0:
                    self._save()
                self.reporter.tick(self._moment())
            if state.positions:
                self._report()
            if state.validated != state.step:
                self._validate()
            self._save()
            return self._outcome(STOPPED_EARLY if self._out_of_patience() else COMPLETE)
        finally:
            self.metrics.close()

    def _step(self) -> None:
        """One update, in the order of rule 15."""
        task, config, state, optimizer = self.task, self.config, self.state, self.optimizer
        xp = task.model.backend.xp
        self._recorded.append(Recorded(state.step, self.live.carried, task.model.call_counters()))
        # If an update is refused, the flag and the replay say so; NumPy's warnings would only repeat it.
        with np.errstate(all="ignore"):
            out = forward(task, state.step, self.live.carried)
            task.model.zero_grad()
            task.model.backward(out.tape, out.dy)
            if config.clip_value:
                clip_grad_value(optimizer, config.clip_value)
            norm = clip_grad_norm(optimizer, config.clip or math.inf)
            optimizer.lr = self.schedule(state.step)
            # After a refused update all later ones are refused too, so the weights stay those that the replay needs.
            optimizer.step(guard=xp.where(optimizer.nonfinite, math.nan, out.loss))
            self.live.loss_sum += xp.asarray(out.loss, dtype=np.float64) * out.positions
            self.live.norm_sum += norm
        self.live.carried = out.state
        state.positions += out.positions
        state.since += 1
        state.step += 1

    def _finished(self) -> bool:
        if self._out_of_patience():
            return True
        if self.config.minutes is not None:
            return self._elapsed() >= 60.0 * self.config.minutes
        assert self.total is not None
        return self.state.step >= self.total

    def _out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.state.strikes

    # -- reports, validations, checkpoints -----------------------------------------------------------------------------

    def _report(self) -> None:
        """Read the sums back from the device, the only wait in training, and write them down."""
        self._require_finite()
        state, to_host = self.state, self.task.model.backend.to_host
        loss = float(to_host(self.live.loss_sum)) / state.positions
        norm = float(to_host(self.live.norm_sum)) / state.since
        name, figure = self.task.figure(loss)
        now = time.monotonic()
        speed = (
            state.positions / max(now - self._reported, 1e-9) if state.step - state.since >= self._first_step else 0.0
        )
        self._reported = now
        record = {
            "kind": "train",
            "step": state.step,
            "epoch": state.step / self.task.batches,
            "loss": loss,
            name: figure,
            "lr": self.optimizer.lr,
            "grad_norm": norm if math.isfinite(norm) else None,  # finite gradients can have a norm that float32 has not
            "timing": {"elapsed_s": round(self._elapsed(), 3), "positions_per_s": round(speed, 1)},
        }
        self.live.loss_sum[...] = 0
        self.live.norm_sum[...] = 0
        state.positions = state.since = 0
        self.metrics.write(record)
        if self.config.minutes is not None:
            self._plan()
        self.reporter.report(record, self._moment())

    def _validate(self) -> None:
        """Measure the validation loss; keep the weights if they are the best so far."""
        self._require_finite(weights=True)
        state = self.state
        with np.errstate(all="ignore"):
            loss, figures = self.task.validate()
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"step {state.step}: expected a finite validation loss, got {loss}; lower --lr and train anew"
            )
        better = state.best_loss is None or loss < state.best_loss
        state.strikes = 0 if better else state.strikes + 1
        state.validated = state.step
        if better:
            state.best_loss, state.best_step = loss, state.step
            self._write(BEST, everything=False)
        name, figure = self.task.figure(loss)
        record = {
            "kind": "validation",
            "step": state.step,
            "epoch": state.step / self.task.batches,
            "loss": loss,
            name: figure,
            **{key: float(value) if math.isfinite(value) else None for key, value in figures.items()},
            "best": better,
            "timing": {"elapsed_s": round(self._elapsed(), 3)},
        }
        self.metrics.write(record)
        self.reporter.report(record, self._moment())
        self._reported = time.monotonic()  # the speed that is shown is that of training alone

    def _save(self) -> None:
        """Write the whole state to ``last.safetensors``."""
        self._require_finite(weights=True)
        self.metrics.sync()
        self._write(LAST, everything=True)

    def _write(self, name: str, everything: bool) -> None:
        arrays, meta = self.live.pack(everything)
        meta |= {"config": self.config.to_json(), "data": self.task.fingerprint, "task": self.task.describe()}
        if everything:
            meta["metrics_lines"] = self.metrics.lines
        write_checkpoint(self.run.directory / name, arrays, meta)

    def _restore(self, checkpoint: Checkpoint) -> int:
        """Take over the state of a checkpoint; returns how many lines of metrics belong to it."""
        load_weights(self.task.model, checkpoint)
        try:
            self.live.unpack(checkpoint)
            return int(checkpoint.meta["metrics_lines"])
        except CheckpointError:
            raise
        except InputError as error:
            hint = "resume with the options and the release that wrote it"
            raise problem(checkpoint.path, "the state of this run", f"'{error}'", hint) from error

    def _require_finite(self, weights: bool = False) -> None:
        """Rule 16: if an update was refused since the last check, replay its batch and say what was wrong.

        Before a file is written the `weights` are checked too: an update can overflow although loss and gradients are
        finite.  The optimiser's buffers need no check of their own: a bad buffer (NaN, or infinity where it is not a
        sum of squares) has spoilt its weight in the same update.
        """
        to_host = self.task.model.backend.to_host
        if bool(to_host(self.optimizer.nonfinite)):
            # Updates made are counted, refused ones are not: the count is the number of the first refused step.
            bad = int(to_host(self.optimizer.steps))
            recorded = next(record for record in self._recorded if record.step == bad)
            raise diagnose(self.task, recorded, _LOWER)
        if weights and not finite_weights(self.task):
            raise overflow(self.task, self.state.step, _LOWER) or AssertionError("weights that change by themselves")
        self._recorded.clear()

    # -- budget and learning rate --------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Under a budget in minutes: estimate the total number of steps again, from the share of the time used.

        So the learning rate falls along the same curve, over time instead of steps.
        """
        self.state.planned = max(self.state.step, round(self.state.step / max(self._moment().share, 1e-6)))
        self.schedule = make_schedule(self.config, self.total or self.state.planned)

    # -- where it stands -----------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        """Seconds of training, earlier sessions included."""
        return self._before + time.monotonic() - self._started

    def _moment(self) -> Moment:
        state, elapsed = self.state, self._elapsed()
        if self.config.minutes is not None:
            budget = 60.0 * self.config.minutes
            return Moment(state.step, None, min(1.0, elapsed / budget), max(0.0, budget - elapsed))
        assert self.total is not None
        made = state.step - self._first_step
        left = (elapsed - self._before) / made * (self.total - state.step) if made else None
        return Moment(state.step, self.total, state.step / self.total, left)

    def _outcome(self, ending: str) -> Outcome:
        return Outcome(ending, self.state.step, self.state.best_loss, self.state.best_step, self._elapsed())
