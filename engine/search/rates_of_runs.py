"""The learning-rate finder for the options of ``bptt train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.atomic import storage_error
from engine.checks import file_name
from engine.search.rates import HIGH, LOW, STEPS, check_rates, sweep
from engine.training.config import LANGUAGE, make
from engine.training.fine_tuning import options_before, rates_at
from engine.training.optimizer_and_schedule import make_optimizer
from engine.training.session import make_task, start

PICTURE = "rate.png"


def find_rate(
    directory: Any, task: str | None, given: Mapping[str, Any], label: Callable[[str], str] = str
) -> dict[str, Any]:
    """Find a learning rate for a run with these options; nothing but a picture is written.

    Parameters
    ----------
    directory : where the run would be, and where the picture goes.
    task, given, label : as for `engine.training.run_training`.

    Returns
    -------
    dict
        JSON-able: ``"suggestion"``, ``"rates"``, ``"losses"``, ``"smoothed"``, ``"diverged"``, ``"picture"``.

    Raises
    ------
    EngineError
        if the options do not fit or the data cannot be read.
    """
    folder = file_name("out", directory)
    task, options = options_before(task, given, label)
    config = make(LANGUAGE if task is None else task, options, label)
    job = make_task(config)
    start(job, config)
    optimizer = make_optimizer(job.model, config)
    if config.freeze or config.rates or config.unfreeze_every:
        optimizer.set_rates(rates_at(config, list(job.model.params), 0))
    found = sweep(job, optimizer, check_rates(LOW, HIGH, STEPS), config.clip, config.clip_value)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, "a directory to write to", error) from error
    picture = found.plot(folder / PICTURE)
    return {
        "task": config.task,
        "suggestion": found.suggestion,
        "diverged": found.diverged,
        "rates": found.rates,
        "losses": found.losses,
        "smoothed": found.smoothed,
        "picture": str(picture),
    }
