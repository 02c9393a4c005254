"""A whole training session, as the command line and a notebook start it: open, train, draw, sum up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.backend import Backend, get_backend
from engine.checks import file_name, switch
from engine.data import Vocabulary, score
from engine.errors import BackendUnavailableError, EngineError
from engine.training.checkpoint import BEST, LAST, Checkpoint, problem, read_checkpoint
from engine.training.config import FORECAST, LANGUAGE, TrainConfig, elsewhere
from engine.training.forecaster import Forecaster
from engine.training.forecasting import Scaling, far_note, read_series, series_notes, upcoming
from engine.training.interrupt import StopRequest
from engine.training.language_model import LanguageModel
from engine.training.metrics import METRICS, read_metrics
from engine.training.plots import draw_forecast, draw_loss
from engine.training.progress import make_reporter
from engine.training.rundir import FORECAST_PICTURE, LOSS_PICTURE, RunFolder, checkpoint_in, open_run
from engine.training.task import Task, fingerprint, load_model, load_weights
from engine.training.trainer import INTERRUPTED, Outcome, Trainer
from engine.training.verdict import forecast_verdict, language_verdict


def run_training(
    out: str | Path,
    *,
    task: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    label: Callable[[str], str] = str,
    **options: Any,
) -> dict[str, Any]:
    """Train in the directory `out` until the budget is used up or a signal comes.

    Parameters
    ----------
    task : ``"language"`` (the default) or ``"forecast"``.
    resume : continue the run in `out`.
    quiet : no progress.
    label : gives the name of an option in messages.
    options : fields of `TrainConfig` that differ from the task's defaults.

    Returns
    -------
    dict
        the result, JSON-able: ``"ending"``, ``"step"``, the best validation figure, the files, the scores.

    Raises
    ------
    EngineError
        see `open_run` and `Trainer.train`.
    """
    quiet = switch("quiet", quiet)
    with StopRequest() as stop, open_run(file_name("out", out), task, options, resume, label) as run:
        job = make_task(run.config)
        reporter = make_reporter(job.position, quiet)
        try:
            trainer = Trainer(run, job, reporter, lambda: stop.requested)
            for note in (run.note, *(series_notes(job.series) if isinstance(job, Forecaster) else ())):
                if note:
                    reporter.note(note)
            if run.warning:
                reporter.warn(run.warning)
            if trainer.warning:  # said again with the results, which --quiet does not take away
                reporter.note(trainer.warning)
            outcome = trainer.train()
        finally:
            reporter.close()
        return _result(run, job, outcome, trainer.warning)


def _result(run: RunFolder, job: Task, outcome: Outcome, warning: str) -> dict[str, Any]:
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
        "checkpoint": str(run.directory / LAST),
        "best": str(run.directory / BEST) if figure is not None and (run.directory / BEST).exists() else None,
    }
    name = job.figure(1.0)[0]
    records = read_metrics(run.directory / METRICS, name)
    result |= drawn("picture", draw_loss, run.directory / LOSS_PICTURE, records, name, job.unit, job.title)
    if isinstance(job, LanguageModel) and best is not None:
        result |= language_verdict(best, records, len(job.vocabulary))
    if isinstance(job, Forecaster) and outcome.ending != INTERRUPTED:
        load_weights(job.model, read_checkpoint(checkpoint_in(run.directory)))
        result |= score_forecasts(job, run.directory / FORECAST_PICTURE)
    return result


def make_task(config: TrainConfig, vocabulary: Vocabulary | None = None) -> Task:
    """Load the data of a run and build its model, with its first weights."""
    backend = get_backend(config.backend)
    if config.task == FORECAST:
        return Forecaster(config, backend)
    return LanguageModel(config, backend, vocabulary)


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


def vocabulary_of(checkpoint: Checkpoint) -> Vocabulary:
    """The vocabulary of a language model's checkpoint."""
    task = checkpoint.meta["config"]["task"]
    if task != LANGUAGE:
        raise problem(checkpoint.path, "a language model", f"one of the task {task!r}", "name another run")
    return Vocabulary.from_json(checkpoint.meta["task"]["vocabulary"])


def score_forecasts(job: Forecaster, picture: Path | None = None) -> dict[str, Any]:
    """Scores of the network and the baselines on the held-out part, and the picture if a file is named."""
    test, series, config = job.parts.test, job.series, job.config
    forecasts = job.forecasts()
    with np.errstate(over="ignore"):  # told by `forecast_verdict`
        scores = {name: score(values, test.targets, test.known) for name, values in forecasts.items()}
    first = int(test.origins[0])
    result: dict[str, Any] = {
        "column": series.names[0],
        "inputs": list(series.names),
        "horizon": config.horizon,
        "season": config.season,
        "window": config.window,
        "filled_cells": series.filled_count,
        "held_out": {
            "first_row": first,
            "rows": len(test.history) - first,
            "filled": int(series.filled[first:, 0].sum()),
            "points": int(test.known.sum()),
            "points_left_out": int((~test.known).sum()),
            "points_by_step": test.known.sum(axis=0).tolist(),
        },
        "scores": {name: {"rmse": s.rmse, "mae": s.mae, "points": s.points} for name, s in scores.items()},
        "next": upcoming(job.model, job.scaling, series, config),
        "notes": series_notes(series),
    }
    result |= forecast_verdict(result["scores"], job.config.cell.upper())
    if picture is not None:
        rmse = {name: s.rmse for name, s in scores.items()}
        after = [point["value"] for point in result["next"]]
        values = series.filled[:, 0], test, forecasts, rmse, series.names[0], after
        result |= drawn("forecast_picture", draw_forecast, picture, *values)
    return result


def predict_next(checkpoint: Checkpoint, backend: str | None = None, **reading: Any) -> dict[str, Any]:
    """The forecast after the last row of a series, by a trained forecaster, with the scaling of its training.

    Parameters
    ----------
    backend : a name, or None: the one that the model was trained on.
    reading : fields of `TrainConfig` for the series and how it is read, if they differ from the run's.

    Returns
    -------
    dict
        JSON-able: ``"last"``, the last row that is known, and ``"next"``, what `upcoming` returns.

    Raises
    ------
    EngineError
        The checkpoint is not a forecaster's, or the series cannot be used.
    """
    config = TrainConfig.from_json(checkpoint.meta["config"])
    config = elsewhere(config, reading) if "data" in reading else replace(config, **reading)
    config.check()
    if config.task != FORECAST:
        raise problem(checkpoint.path, "a forecaster", f"one of the task {config.task!r}", "name another run")
    series = read_series(config)
    model = load_model(checkpoint, backend_for(checkpoint, backend))
    scaling = Scaling.of(checkpoint)
    notes = [*series_notes(series), *far_note(scaling, series, config)]
    if fingerprint(series.values) != checkpoint.meta["data"]:
        notes.append(f"{config.data} is not, or no longer, what the model was trained on")
    last = len(series.values) - 1
    return {
        "checkpoint": str(checkpoint.path),
        "task": config.task,
        "data": str(config.data),
        "column": series.names[0],
        "inputs": list(series.names),
        "last": {
            "row": last,
            "time": series.times.cells[-1] if series.times else None,
            "value": None if series.filled[-1, 0] else float(series.values[-1, 0]),
        },
        "next": upcoming(model, scaling, series, config),
        "notes": notes,
    }


def drawn(name: str, draw: Callable[..., None], path: Path, *values: Any) -> dict[str, str | None]:
    """Draw into the file `path`, and return its name as an entry of the result.

    If the picture cannot be drawn, nothing else fails: the entry is None then, and ``"not_drawn"`` says why.
    """
    try:
        draw(path, *values)
    except EngineError:  # the disk is full
        raise
    except Exception as error:  # whatever matplotlib raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return {name: None, "not_drawn": f"{path}: expected to draw the picture, got '{reason}'"}
    return {name: str(path)}
