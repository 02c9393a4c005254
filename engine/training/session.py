"""A whole training session, as the command line and a notebook start it: open, train, draw, sum up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from engine.backend import Backend, get_backend
from engine.checks import file_name, switch
from engine.data.corpus import vocabulary_from_json
from engine.errors import BackendUnavailableError, bad_input
from engine.layers.recurrent import Recurrent
from engine.layers.segment_sizes import segments_for
from engine.long_sequences.parts import leaves_of
from engine.training.checkpoint import BEST, LAST, Checkpoint, checkpoint_in, problem, read_checkpoint
from engine.training.config import LANGUAGE, TrainConfig, elsewhere, strangers
from engine.training.fine_tuning import take_over, trained
from engine.training.interrupt import StopRequest
from engine.training.keeping import Log
from engine.training.kinds import as_task
from engine.training.logs import make_log
from engine.training.loss_scale import loss_scale_of, make_scaler
from engine.training.metrics import METRICS, read_metrics
from engine.training.packing import note_of, share_of
from engine.training.plots import draw_loss, drawn
from engine.training.progress import make_reporter
from engine.training.rundir import LOSS_PICTURE, RunFolder, open_run
from engine.training.task import RunTask, Task, load_weights
from engine.training.team import team_of
from engine.training.trainer import INTERRUPTED, Outcome, Trainer


class Watch(Log, Protocol):
    """Follows the figures of a training, and may end it.

    Attributes
    ----------
    figure : the name of the task's figure, set before training starts.
    """

    figure: str

    def stop(self) -> bool:
        """Asked after every step whether to save and end."""


def run_training(
    out: str | Path,
    *,
    task: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    logs: Sequence[str] = (),
    watch: Watch | None = None,
    parallel: Any = False,
    label: Callable[[str], str] = str,
    **options: Any,
) -> dict[str, Any]:
    """Train in the directory `out` until the budget is used up or a signal comes.

    Parameters
    ----------
    task : the name of a task; None is ``"language"``, or that of the run that is resumed.
    resume : continue the run in `out`.
    quiet : no progress.
    logs : further logs of the figures in the run's folder: ``"csv"``, ``"tensorboard"``.
    watch : follows the figures, and may end the training, whose state is saved then.
    parallel : as for `engine.fit`: whether all processes of MPI's launcher train this one model.
    label : gives the name of an option in messages.
    options : fields of `TrainConfig` and options of the task that differ from its defaults.

    Returns
    -------
    dict
        the result, JSON-able: ``"ending"``, ``"step"``, the best validation figure, the files, the scores.  Of several
        processes the first one has it; all others have ``"ending"`` and ``"step"`` alone.

    Raises
    ------
    EngineError
        see `open_run` and `Trainer.train`.
    """
    quiet, team = switch("quiet", quiet), team_of(parallel)
    opening = open_run(file_name("out", out), task, options, resume, label)
    with StopRequest() as stop, team.opened(opening) as run:
        # A run that started from another one has its vocabulary in its own checkpoint.
        resumed = run.checkpoint.meta["task"] if run.checkpoint and run.config.from_run else None
        job = team.together(lambda: make_task(run.config, resumed))
        team.require_equal("data", lambda: job.fingerprint)
        scaled = make_scaler(loss_scale_of(run.config.loss_scale), job.model) is not None
        team.together(lambda: team.compress(run.config.compress, scaled, label("compress")))
        started = "" if run.checkpoint else start(job, run.config)
        reporter = make_reporter(job.position, quiet or team.rank > 0)
        with contextlib.ExitStack() as stack:
            stack.callback(reporter.close)
            stack.enter_context(team.guard())
            writers = _writers(run, job, logs, watch, label) if team.rank == 0 else []
            ending = lambda: stop.requested or (watch is not None and watch.stop())  # noqa: E731
            trainer = team.together(lambda: Trainer(run, team.shard(job), reporter, ending, writers, team))
            team.together(lambda: _require_budget(trainer.task))
            # The warning is said again with the results, which --quiet does not take away.
            notes = (run.note, started, *job.notes(), note_of(job), trainer.warning)
            for note in filter(None, notes if team.rank == 0 else ()):
                reporter.note(note)
            if run.warning and team.rank == 0:
                reporter.warn(run.warning)
            outcome = trainer.train()
        said = {"ending": outcome.ending, "step": outcome.step}
        return said if team.rank > 0 else _result(run, job, outcome, trainer.warning)


def _writers(
    run: RunFolder, job: RunTask, logs: Sequence[str], watch: Watch | None, label: Callable[[str], str]
) -> list[Log]:
    """What gets the figures beside the run's own files."""
    writers: list[Log] = [make_log(name, run.directory, label) for name in dict.fromkeys(logs)]
    if watch is not None:
        watch.figure = job.figure(1.0)[0]
        writers.append(watch)
    return writers


def _require_budget(job: Task) -> None:
    """Raise, before a file is written, if the first batch does not fit into the memory that ``recompute`` may take."""
    limited = [one for one in leaves_of(job.model) if isinstance(one, Recurrent) and one.recompute is not None]
    batch = job.batch(0) if limited else None
    if batch is None or isinstance(batch.x, tuple):  # the layers of a translator tell it in their first pass
        return
    steps, rows = batch.x.shape[:2]
    for layer in limited:
        segments_for(layer, steps, rows, batch.lengths is not None)


def start(job: RunTask, config: TrainConfig) -> str:
    """Give the model of a new run the weights that it starts with; a note that says which."""
    if config.from_run is None:
        return ""
    checkpoint = trained(config.from_run)
    taken, left = take_over(job.model, checkpoint, config.kind(), job.describe())
    rest = f"; first weights of its own: {', '.join(left)}" if left else ""
    return f"{len(taken)} parameters start as in {checkpoint.path}{rest}"


def _result(run: RunFolder, job: RunTask, outcome: Outcome, warning: str) -> dict[str, Any]:
    """What came of a session, with the pictures drawn and a forecaster scored."""
    figure, best = (None, None) if outcome.best_loss is None else job.figure(outcome.best_loss)
    result: dict[str, Any] = {
        "task": run.config.task,
        "out": str(run.directory),
        "ending": outcome.ending,
        "step": outcome.step,
        "epoch": outcome.step / job.batches,
        "seconds": round(outcome.seconds, 1),
        "validation": None if figure is None else {figure: best, "loss": outcome.best_loss, "step": outcome.best_step},
        "unit": job.unit,
        "warning": warning or None,
        **share_of(job, max(0, outcome.step - job.batches), outcome.step),
        "checkpoint": str(run.directory / LAST),
        "best": str(run.directory / BEST) if figure is not None and (run.directory / BEST).exists() else None,
    }
    name = job.figure(1.0)[0]
    records = read_metrics(run.directory / METRICS, name)
    result |= drawn("picture", draw_loss, run.directory / LOSS_PICTURE, records, name, job.unit, job.title)
    finished = outcome.ending != INTERRUPTED
    if finished:
        load_weights(job.model, read_checkpoint(checkpoint_in(run.directory)))
    return result | job.results(run.directory, finished, records)


def make_task(config: TrainConfig, described: Mapping[str, Any] | None = None) -> RunTask:
    """Load the data of a run and build its model, with its first weights.

    Parameters
    ----------
    described : what the checkpoint of a trained model says beside its weights (`Task.describe`), to read other data as
        that model did.
    """
    return as_task(config.kind(), config, get_backend(config.backend), described)


def backend_for(checkpoint: Checkpoint, name: str | None) -> Backend:
    """The backend of that name; None means the one that the checkpoint's model was trained on.

    Raises
    ------
    BackendUnavailableError
        if it cannot be used here.
    """
    if name is not None:
        return get_backend(name)
    try:
        return get_backend(checkpoint.meta["config"]["backend"])
    except BackendUnavailableError as error:
        raise BackendUnavailableError(f"{error}; name another one with --backend") from error


def vocabulary_of(checkpoint: Checkpoint) -> Any:
    """The vocabulary of a language model's checkpoint: of characters, bytes or words."""
    task = checkpoint.meta["config"]["task"]
    if task != LANGUAGE:
        raise problem(checkpoint.path, "a language model", f"one of the task {task!r}", "name another run")
    return vocabulary_from_json(checkpoint.meta["task"]["vocabulary"])


def evaluate_run(
    path: Path,
    sources: Sequence[str] = (),
    *,
    backend: str | None = None,
    label: Callable[[str], str] = str,
    **reading: Any,
) -> dict[str, Any]:
    """Measure a trained model on the held-out part of its data, or on other data.

    Parameters
    ----------
    path : a checkpoint file.
    sources : files or folders with other data of the same kind; none is the held-out part of the run's own.
    backend : a name, or None: the one that the model was trained on.
    label : gives the name of an option in messages.
    reading : options of how the data is read, where they differ from the run's.

    Returns
    -------
    dict
        JSON-able; see `TaskKind.evaluate`.

    Raises
    ------
    EngineError
        The model or the data cannot be used.
    """
    checkpoint, config = _trained(path, sources, reading, label)
    found = config.kind().evaluate(checkpoint, config, tuple(sources), backend_for(checkpoint, backend))
    return {"checkpoint": str(checkpoint.path), "task": config.task, **found}


def predict_run(
    path: Path,
    sources: Sequence[str] = (),
    *,
    backend: str | None = None,
    asked: Mapping[str, Any] | None = None,
    label: Callable[[str], str] = str,
    **reading: Any,
) -> dict[str, Any]:
    """What a trained model says of new data.

    Parameters
    ----------
    path, sources, backend, label, reading : as for `evaluate_run`.
    asked : what the task may be asked for beside files (`TaskKind.asks`).

    Returns
    -------
    dict
        JSON-able; see `TaskKind.predict`.

    Raises
    ------
    EngineError
        The model or the data cannot be used.
    """
    checkpoint, config = _trained(path, sources, reading, label)
    kind = config.kind()
    for name in sorted((asked or {}).keys() - kind.asks):
        raise bad_input(label(name), f"no such option for the task {config.task!r}", "one", "leave it out")
    found = kind.predict(checkpoint, config, tuple(sources), backend_for(checkpoint, backend), asked or {})
    return {"checkpoint": str(checkpoint.path), "task": config.task, **found}


def _trained(
    path: Path, sources: Sequence[str], reading: Mapping[str, Any], label: Callable[[str], str]
) -> tuple[Checkpoint, TrainConfig]:
    """A checkpoint and its options, with those of `reading` in their places."""
    checkpoint = read_checkpoint(path)
    config = TrainConfig.from_json(checkpoint.meta["config"])
    strangers(config.task, reading, label)
    own = {name: value for name, value in reading.items() if name in config.own}
    rest = {name: value for name, value in reading.items() if name not in own}
    config = elsewhere(config, rest) if sources else replace(config, **rest)
    config = replace(config, own={**config.own, **own})
    config.check(label)
    return checkpoint, config
