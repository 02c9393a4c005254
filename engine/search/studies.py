"""What of a search is Optuna's: the study and its storage, how values are drawn, which trials are ended early."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.checks import describe, one_of
from engine.errors import LONGEST, EngineError, bad_input, bad_type, one_line
from engine.search.space import Dimension, grid

SAMPLERS, PRUNERS = ("tpe", "random", "grid"), ("median", "hyperband", "none")
INSTALL = "pip install 'bptt-engine[tune]'"
#: In a file, a trial tells so often (in seconds) that it is alive, and counts as dead after so long without a word.
HEARTBEAT, GRACE = 30, 120
#: Seconds to wait for another process that writes into an SQLite file.
_PATIENCE = 60
#: How often the tables of a database are looked for, or made.
_TRIES = 6
#: Points of a range on a grid.
POINTS = 4


def load_optuna(argument: str = "tune") -> Any:
    """The module.

    Raises
    ------
    InputError
        if it is not installed; the message says how to.
    """
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise bad_input(argument, "Optuna", "no such package", INSTALL) from error


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's own lines, and without its warnings that what is used here is experimental."""
    optuna = load_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_storage(given: Any, on_stale: Callable[[Any, Any], None], label: Callable[[str], str] = str) -> Any:
    """The storage that a user names.

    Parameters
    ----------
    given : None (memory), a storage of Optuna, the URL of a database, the name of an SQLite file, or ``journal:FILE``.
    on_stale : called with the study and each trial whose process has not been heard of for long.

    Raises
    ------
    InputError
        if it cannot be opened.
    """
    optuna = load_optuna()
    if given is None:
        return optuna.storages.InMemoryStorage()
    if isinstance(given, optuna.storages.BaseStorage):
        return given
    if not isinstance(given, str | os.PathLike):
        raise bad_type(label("storage"), "a URL, the name of a file, or a storage of Optuna", describe(given))
    text = os.fspath(given)
    if not isinstance(text, str) or not text or "\0" in text:
        raise bad_input(label("storage"), "a URL or the name of a file", describe(text))
    hint = "such as sqlite:///FILE, postgresql://USER@HOST/NAME, or journal:FILE"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if text.startswith("journal:"):
                path = Path(text.removeprefix("journal:"))
                _make_folder(path)
                return optuna.storages.journal.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
            url = text if "://" in text else f"sqlite:///{text}"
            options: dict[str, Any] = {}
            if url.startswith("sqlite:///"):
                _make_folder(Path(url.removeprefix("sqlite:///")))
                options = {"connect_args": {"timeout": _PATIENCE}}
            return _database(optuna, url, options, on_stale)
    except EngineError:
        raise
    except Exception as error:  # whatever the database's module raises
        raise bad_input(label("storage"), "a storage that can be opened", _reason(text, error), hint) from error


def _database(optuna: Any, url: str, options: dict[str, Any], on_stale: Callable[[Any, Any], None]) -> Any:
    """The storage in a database; tried again where two processes make its tables at the same moment."""
    for tried in range(_TRIES):
        try:
            return optuna.storages.RDBStorage(
                url, options, heartbeat_interval=HEARTBEAT, grace_period=GRACE, heartbeat_stale_trial_callback=on_stale
            )
        except Exception as error:
            if tried == _TRIES - 1 or not re.search("already exists|UNIQUE|[Dd]uplicate|locked", str(error)):
                raise
            time.sleep(0.2 * (tried + 1))
    raise AssertionError


def _make_folder(path: Path) -> None:
    if path.name and path.is_dir():
        raise IsADirectoryError(f"{path} is a directory")
    path.parent.mkdir(parents=True, exist_ok=True)


def _reason(text: str, error: Exception) -> str:
    words = re.sub(r"//[^@/]*@", "//...@", one_line(f"{text} ({error})", LONGEST))  # without a password
    return words.partition(" (Background on this error")[0] + ")" * ("(Background" in words)


def open_study(storage: Any, name: str, higher: bool, sampler: Any, pruner: Any) -> Any:
    """The study of that name in the storage; it is made if it is not there."""
    optuna = load_optuna()
    direction = "maximize" if higher else "minimize"
    study = optuna.create_study(
        storage=storage, sampler=sampler, pruner=pruner, study_name=name, direction=direction, load_if_exists=True
    )
    if (study.direction == optuna.study.StudyDirection.MAXIMIZE) != higher:
        got = "one in which it is the other way round"
        raise bad_input("study", f"a study to {direction} its figure", got, "choose another name")
    return study


def make_pruner(name: Any, label: Callable[[str], str] = str) -> Any:
    """The pruner of that name, or a pruner of Optuna as it is."""
    optuna = load_optuna()
    if isinstance(name, optuna.pruners.BasePruner):
        return name
    one_of(label("pruner"), name, PRUNERS)
    if name == "median":  # of a trial's first two evaluations nothing is concluded
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
    return optuna.pruners.HyperbandPruner() if name == "hyperband" else optuna.pruners.NopPruner()


def make_sampler(
    name: Any, space: Sequence[Dimension], seed: int, points: int = POINTS, label: Callable[[str], str] = str
) -> Any:
    """The sampler of that name, or a sampler of Optuna as it is.

    Random values and those of TPE depend on the seed, the number of the trial and the trials before it alone: a search
    that was killed goes on with the values that it would have drawn.
    """
    optuna = load_optuna()
    if isinstance(name, optuna.samplers.BaseSampler):
        return name
    one_of(label("sampler"), name, SAMPLERS)
    if name == "grid":
        return optuna.samplers.GridSampler(grid(space, points, label("sampler")), seed=seed % 2**32)
    kind = optuna.samplers.TPESampler if name == "tpe" else optuna.samplers.RandomSampler
    return _repeatable(optuna, lambda drawn: kind(seed=drawn), seed)


def _repeatable(optuna: Any, make: Callable[[int], Any], seed: int) -> Any:
    """A sampler that is made anew for each trial, with a seed of its own."""

    class Repeatable(optuna.samplers.BaseSampler):
        """See `make_sampler`."""

        def __init__(self) -> None:
            self._now = make(seed % 2**32)

        def before_trial(self, study: Any, trial: Any) -> None:
            drawn = np.random.SeedSequence([seed, fresh_number(study, trial)]).generate_state(1)[0]
            self._now = make(int(drawn))
            self._now.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._now.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._now.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._now.sample_independent(study, trial, param_name, param_distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            self._now.after_trial(study, trial, state, values)

    return Repeatable()


def fresh_number(study: Any, trial: Any) -> int:
    """How many trials were begun before this one, not counting those that went on with another one."""
    number: int = first_number(trial)
    trials = study.get_trials(deepcopy=False)
    return sum(other.number < number and first_number(other) == other.number for other in trials)


def first_number(trial: Any) -> int:
    """The number of a trial, or of the one that it goes on with."""
    return int(trial.user_attrs.get("continues", trial.number))


__all__ = [
    "GRACE",
    "INSTALL",
    "POINTS",
    "PRUNERS",
    "SAMPLERS",
    "load_optuna",
    "make_pruner",
    "make_sampler",
    "open_storage",
    "open_study",
    "quiet_optuna",
]
