"""``bptt tune``: a search whose trials are runs of ``bptt train``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checks import file_name, integer, number
from engine.search.folders import STUDIES, folder_of, link_best, require_own, study_name
from engine.search.options import space_of, values_of
from engine.search.search import Found, Search, StoppedError, found_in, same_as_before, search
from engine.search.space import Dimension
from engine.search.studies import (
    POINTS,
    load_optuna,
    make_pruner,
    make_sampler,
    open_storage,
    open_study,
    quiet_optuna,
)
from engine.search.watching import TrialWatch
from engine.search.workers import Worker, queue_again
from engine.training.config import LANGUAGE, make, sources_of
from engine.training.fine_tuning import options_before
from engine.training.kinds import TaskKind, kind_of
from engine.training.rundir import FILES
from engine.training.session import run_training
from engine.training.trainer import INTERRUPTED

#: Trials of a study, where nobody says how many.
TRIALS = 20


@dataclass(frozen=True)
class Plan:
    """What a search shall do, beside what varies.

    Attributes
    ----------
    out : the folder; each study has one of its own in it.
    study, storage : the name of the study, and where it is kept; None: the task's name, and a file in `out`.
    trials : in the study in all; None: `TRIALS`, or all points of a grid.
    sampler, pruner, figure : as for `engine.tune`; a figure of None is the task's.
    points : of a range on a grid.
    within : minutes after which no trial is begun.
    """

    out: Any
    study: str | None = None
    storage: Any = None
    trials: int | None = None
    sampler: str = "tpe"
    pruner: str = "median"
    figure: str | None = None
    points: int = POINTS
    within: float | None = None


def run_tuning(
    plan: Plan,
    ranges: Sequence[str] = (),
    choices: Sequence[str] = (),
    *,
    task: str | None = None,
    label: Callable[[str], str] = str,
    told: Callable[[Found, str], None] = lambda found, figure: None,
    **options: Any,
) -> tuple[Search, dict[str, Any]]:
    """Search for the best options of ``bptt train``.

    Parameters
    ----------
    ranges, choices : what varies, as ``lr=1e-4:1e-1:log`` and ``cell=lstm,gru``; none is a space that suits the task.
    told : gets each trial when it is over, and the name of the figure.
    task, label, options : as for `engine.training.run_training`; the options are the same in all trials.

    Returns
    -------
    The search, and what the command says of it, JSON-able.

    Raises
    ------
    EngineError
        for arguments that do not fit, an error that no trial can get round, or a full disk.
    """
    load_optuna("bptt tune")
    task, given = options_before(task, options, label)
    kind = kind_of(LANGUAGE if task is None else task, label)
    space = space_of(kind, ranges, choices, given, label)
    lowest = values_of(space, given, lambda dimension: dimension.ends()[0])
    config = make(kind.name if task is None else task, {**given, **lowest}, label)
    wanted = _wanted(plan, space, label)
    folder = file_name("out", plan.out) / study_name(plan.study or kind.name, label("study"))
    study = _open(plan, kind, space, given, config.seed, label)
    require_own(study, folder, label("study"))
    objective = _RunObjective(study, folder, plan.figure, {**given, "task": task, "label": label})

    def over(found: Found) -> None:
        link_best(study, folder)
        told(found, objective.figure)

    with Worker(folder) as worker:
        suggest = lambda trial: values_of(space, given, lambda one: one.suggest(trial))  # noqa: E731
        minutes = None if plan.within is None else number(label("within"), plan.within)
        stopped = search(study, suggest, objective, wanted, minutes=minutes, worker=worker, told=over)
    found = found_in(study, objective.figure, plan.figure in kind.higher, stopped)
    link = link_best(study, folder)
    rest = {"task": kind.name, "out": str(folder), "best_folder": None if link is None else str(link)}
    return found, {**found.to_json(), **rest}


class _RunObjective:
    """Trains in a trial's folder with its values.

    Attributes
    ----------
    figure : the name of the figure; ``"loss"`` before the first trial, where the task's own is asked for.
    """

    def __init__(self, study: Any, folder: Path, figure: str | None, options: Mapping[str, Any]) -> None:
        self._study, self._folder, self._asked, self._options = study, folder, figure, options
        self.figure = str(figure or study.user_attrs.get("figure", "loss"))

    def __call__(self, trial: Any, values: dict[str, Any]) -> float:
        watch = TrialWatch(trial, self._asked)
        folder = folder_of(trial, self._folder)
        resume = any((folder / name).exists() for name in FILES)
        result = run_training(folder, resume=resume, quiet=True, watch=watch, **self._options, **values)
        if self._asked is None and self.figure != watch.figure:
            self.figure = watch.figure
            self._study.set_user_attr("figure", watch.figure)
        if result["ending"] == INTERRUPTED:
            raise load_optuna().TrialPruned if watch.pruned else StoppedError
        return watch.reached()


def _wanted(plan: Plan, space: Sequence[Dimension], label: Callable[[str], str]) -> int:
    """How many trials the study shall have."""
    points = integer(label("points"), plan.points, 2)
    if plan.trials is not None:
        return integer(label("trials"), plan.trials, 1)
    return math.prod(len(one.points(points)) for one in space) if plan.sampler == "grid" else TRIALS


def _open(
    plan: Plan,
    kind: type[TaskKind],
    space: Sequence[Dimension],
    given: Mapping[str, Any],
    seed: int,
    label: Callable[[str], str],
) -> Any:
    """The study, which must have been begun with the same options if it is there."""
    with quiet_optuna():
        drawn = make_sampler(plan.sampler, space, seed, plan.points, label)
        pruner = make_pruner(plan.pruner, label)
        place = file_name("out", plan.out) / STUDIES if plan.storage is None else plan.storage
        storage = open_storage(place, queue_again, label)
        study = open_study(storage, plan.study or kind.name, plan.figure in kind.higher, drawn, pruner)
        said = {"task": kind.name, "figure": plan.figure, "space": {one.name: one.to_json() for one in space}}
        names = {field: label(field) for field in ("task", "figure", *given)} | {"space": "what varies"}
        same_as_before(study, {**said, **_fixed(kind, given)}, names, f"another {label('study')}")
    return study


def _fixed(kind: type[TaskKind], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are the same in all trials, for the record; of files their names and sizes, not their places."""
    sources = {"files", "data", "from_run", *sources_of(kind)}
    found: dict[str, Any] = {}
    for name, value in given.items():
        several = [str(one) for one in value] if isinstance(value, list | tuple) else value
        if name in sources:
            several = [_content(one) for one in (several if isinstance(several, list) else [several])]
        found[name] = several
    return found


def _content(path: Any) -> str:
    name = os.path.basename(os.path.normpath(str(path)))
    return f"{name} of {os.path.getsize(path):,} bytes" if os.path.isfile(path) else name
