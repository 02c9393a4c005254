"""The folder of a study: a run's folder for each trial, and a link to the best one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from engine.atomic import storage_error
from engine.checks import describe
from engine.errors import bad_input
from engine.search.studies import first_number

#: The SQLite file beside the studies' folders, where no other storage is named.
STUDIES = "study.db"
BEST = "best"


def study_name(given: Any, argument: str = "study") -> str:
    """The name of a study, which is that of its folder too."""
    if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", given):
        expected = "a name of letters, digits, dots, dashes and underscores, at most 100"
        raise bad_input(argument, expected, repr(given)[:60] if isinstance(given, str) else describe(given))
    return given


def require_own(study: Any, folder: Path, argument: str = "study") -> None:
    """Raise if the study has no trials, and its folder has: of a study whose storage is lost, or lies elsewhere."""
    if not study.get_trials(deepcopy=False) and next(iter(folder.glob("trial-*")), None) is not None:
        hint = "name its storage, or another study"
        raise bad_input(argument, f"a new study where {folder} has no trials", "trials of an earlier one", hint)


def folder_of(trial: Any, folder: Path) -> Path:
    """The run's folder of a trial, which the trial remembers; one that goes on with another has the same."""
    place = folder / f"trial-{first_number(trial):04d}"
    trial.set_user_attr("folder", str(place))
    return place


def link_best(study: Any, folder: Path) -> Path | None:
    """Let ``best`` lead to the best trial's folder, by a link, or as a copy where there are no links.

    Returns
    -------
    The link; None if there is no best trial, or its folder lies on another machine.
    """
    try:
        best = study.best_trial
    except ValueError:  # no trial is complete
        return None
    target, link = folder / f"trial-{first_number(best):04d}", folder / BEST
    if not target.is_dir():
        return None
    if link.is_symlink() and os.readlink(link) == target.name:
        return link
    temporary = folder / f".{BEST}.{os.getpid()}"
    try:
        try:
            os.symlink(target.name, temporary, target_is_directory=True)
        except (OSError, NotImplementedError):
            shutil.copytree(target, temporary)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        os.replace(temporary, link)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise storage_error(link, "a link to the best trial", error) from error
    return link
