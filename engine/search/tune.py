"""`engine.tune`: the values with which a model of `engine.fit` learns best."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.checks import describe, file_name, integer, number, switch
from engine.errors import NonFiniteError, bad_input, bad_type, one_line
from engine.layers.base import Layer
from engine.search.folders import STUDIES, folder_of, link_best, require_own, study_name
from engine.search.search import COMPLETE, Found, Search, found_in, same_as_before, search
from engine.search.space import make_space
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
from engine.training.fitting.fit_and_evaluate import fit
from engine.training.rundir import FILES

#: Figures of `engine.fit` that are better the higher they are.
_HIGHER = {"accuracy", "f1"}
_RESERVED = {"model", "x", "y", "out", "resume", "quiet"}


def tune(
    build: Callable[[dict[str, Any]], Any],
    space: Mapping[str, Any],
    x: Any = None,
    y: Any = None,
    *,
    trials: int = 20,
    figure: str = "loss",
    higher: bool | None = None,
    sampler: Any = "tpe",
    pruner: Any = "median",
    study: str = "study",
    storage: Any = None,
    out: Any = None,
    minutes: float | None = None,
    points: int = POINTS,
    seed: int = 0,
    quiet: bool = False,
    **options: Any,
) -> Search:
    """Search for the values with which a model learns best, with Optuna: ``pip install 'bptt-engine[tune]'``.

    Your function builds a model from the values of a trial; `engine.fit` trains it, and its figure on the validation
    rows is what the trials are compared by.  Trials that do badly are ended early.

    Parameters
    ----------
    build : callable
        ``build(values)`` gets a dict of the trial's values, and returns a model; or ``(model, options)``, where the
        options of `engine.fit` depend on the values, such as the optimiser; or a number, if it does all by itself.
    space : mapping
        From a name to ``(low, high)``, to ``(low, high, "log")``, or to a list of choices.  Two integers mean whole
        numbers.  A text ``"1e-4:1e-1:log"`` is a range as the command line has it.
    x, y : array, array
        Rows and targets, as `engine.fit` takes them.
    trials : int
        Trials of the study in all, those of other processes and of an earlier call included; those that fail are not.
    figure : str
        ``"loss"``, or one of `metrics`: its value on the validation rows, for the weights with the lowest loss.
    higher : bool or None
        Whether a higher figure is better; None knows it of accuracy and F1, and takes lower for better else.
    sampler : str or optuna.samplers.BaseSampler
        ``"tpe"`` (Bergstra et al. 2011: draws where the better trials lie), ``"random"`` or ``"grid"``.
    pruner : str or optuna.pruners.BasePruner
        What ends a trial early: ``"median"`` (worse than the median of the others at this epoch), ``"hyperband"``
        (Li et al. 2018) or ``"none"``.
    study : str
        The name of the study in its storage.
    storage : str, path, optuna.storages.BaseStorage or None
        Where the trials are kept: the URL of a database, the name of an SQLite file, or ``"journal:FILE"``.  Processes
        and machines with one storage share the study.  None is ``study.db`` in `out`, or memory without `out`.
    out : str, path or None
        Folder: in ``out/STUDY`` each trial has a run's folder, which `engine.load` reads, and ``best`` is a link to the
        best one.  None keeps no model.
    minutes : float or None
        No trial is begun later.
    points : int
        Points of a range on a grid.
    seed : int
        Of the values that are drawn; `engine.fit` has its own.
    quiet : bool
        Print no line for each trial.
    **options : Any
        Of `engine.fit`, for all trials: `epochs`, `validation`, `metrics`, and so on.

    Returns
    -------
    Search
        The trials, the best of them, how much each value matters, and pictures.

    Raises
    ------
    InputError, InputTypeError
        For arguments that do not fit, or if Optuna is not installed.
    KeyboardInterrupt
        After Ctrl-C; the same call goes on with the study, if it has a storage.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> draw = np.random.default_rng(0)
    >>> x = draw.random((60, 5, 2))
    >>> def build(values):
    ...     model = engine.Sequential(engine.GRU(2, values["hidden"]), engine.Linear(values["hidden"], 1))
    ...     return model, {"optimizer": engine.Adam(model, lr=values["lr"])}
    >>> space = {"lr": (1e-3, 1e-1, "log"), "hidden": [4, 8]}
    >>> found = engine.tune(build, space, x, x.mean(axis=(1, 2)), trials=3, epochs=2, validation=0.2, quiet=True)
    >>> len(found.trials), sorted(found.best.values)
    (3, ['hidden', 'lr'])
    """
    load_optuna()
    if not callable(build) or isinstance(build, type):
        raise bad_type("build", "a function from the values of a trial to a model", describe(build))
    dimensions = make_space(space)
    wanted, quiet = integer("trials", trials, 1), switch("quiet", quiet)
    limit = None if minutes is None else number("minutes", minutes)
    _check_options(options, figure)
    up = figure in _HIGHER if higher is None else switch("higher", higher)
    base, name = None if out is None else file_name("out", out), study_name(study)
    folder = None if base is None else base / name
    with quiet_optuna():
        drawn = make_sampler(sampler, dimensions, integer("seed", seed, 0), integer("points", points, 2))
        pruning = make_pruner(pruner)
        place = storage if storage is not None or base is None else base / STUDIES
        opened = open_study(open_storage(place, queue_again), name, up, drawn, pruning)
        said = {"figure": figure, "space": {one.name: one.to_json() for one in dimensions}}
        same_as_before(opened, said, {}, "another study=")
    objective = _Objective(build, x, y, figure, folder, options)

    if folder is not None:
        require_own(opened, folder)

    def told(found: Found) -> None:
        if folder is not None:
            link_best(opened, folder)
        if not quiet:
            print(line_of(found, figure), file=sys.stderr, flush=True)

    with Worker(folder) as worker:
        suggest = lambda trial: {one.name: one.suggest(trial) for one in dimensions}  # noqa: E731
        search(opened, suggest, objective, wanted, minutes=limit, worker=worker, told=told)
    return found_in(opened, figure, up)


class _Objective:
    """Builds and trains a model with the values of a trial."""

    def __init__(
        self, build: Callable[..., Any], x: Any, y: Any, figure: str, folder: Path | None, options: Mapping[str, Any]
    ) -> None:
        self._build, self._x, self._y, self._figure = build, x, y, figure
        self._folder, self._options = folder, options

    def __call__(self, trial: Any, values: dict[str, Any]) -> float:
        built = self._build(dict(values))
        if isinstance(built, int | float | np.integer | np.floating) and not isinstance(built, bool):
            if not math.isfinite(built):
                raise NonFiniteError(f"build: expected a finite number, got {built}")
            return float(built)
        model, own = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
        if not isinstance(model, Layer) or not isinstance(own, Mapping):
            raise bad_type("build", "a model, (model, options of engine.fit), or a number from it", describe(built))
        options = {**self._options, **own}
        _check_options(options, self._figure)
        if options.get("validation") is None:
            hint = "such as validation=0.2"
            raise bad_input("validation", "rows to compare the trials by", "None", hint)
        return self._train(trial, model, options)

    def _train(self, trial: Any, model: Layer, options: dict[str, Any]) -> float:
        watch = TrialWatch(trial, self._figure)
        place: dict[str, Any] = {}
        if self._folder is not None:
            folder = folder_of(trial, self._folder)
            place = {"out": folder, "resume": any((folder / name).exists() for name in FILES)}

        def end(progress: Any) -> None:
            if watch.pruned and progress.epoch < progress.epochs:
                progress.stop()

        listeners = [*options.pop("callbacks", ()), watch, end]
        history = fit(model, self._x, self._y, callbacks=listeners, quiet=True, **place, **options)
        if watch.pruned and history.ending == "stopped":
            raise load_optuna().TrialPruned
        return watch.reached()


def _check_options(options: Mapping[str, Any], figure: Any) -> None:
    """Raise for options that `engine.fit` has not, or that are not the user's here."""
    known = set(inspect.signature(fit).parameters) - _RESERVED
    for name in options:
        if name not in known:
            got = f"{name!r}, which tune sets by itself" if name in _RESERVED else repr(name)
            raise bad_input("options", "options of engine.fit", got)
    metrics = options.get("metrics", ())
    names = ["loss", *(getattr(one, "__name__", one) for one in metrics if isinstance(metrics, list | tuple))]
    if not isinstance(figure, str) or figure not in names:
        hint = "name it among metrics too"
        raise bad_input("figure", f"one of {', '.join(map(repr, names))}", describe(figure), hint)


def line_of(found: Found, figure: str) -> str:
    """A trial in one line."""
    values = " ".join(f"{name}={shown(value)}" for name, value in found.values.items())
    reached = "" if found.figure is None else f" {figure} {found.figure:.4g}"
    state = "" if found.state == COMPLETE else f" {found.state}"
    note = f" ({one_line(found.note, 160)})" if found.note else ""
    return f"trial {found.number}:{reached}{state}, {found.seconds or 0:.1f} s, {values}{note}"


def shown(value: Any) -> str:
    """A value in few digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


__all__ = ["line_of", "shown", "tune"]
