"""Which processes work on a study, and what becomes of the trials of those that died.

A process that works on a study holds a lock on a file in the study's folder; the lock ends with the process, however
that ends.  So a trial whose process was killed on this machine is found at once.  One that died on another machine is
found by Optuna's heartbeat, which the storages in a database have.

The half-done trial is closed as failed, and a new one with the same values goes on in its place: in a run's folder
from the last checkpoint, else from the start.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.atomic import storage_error
from engine.search.studies import first_number, load_optuna

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; there the heartbeat alone tells
    fcntl = None  # type: ignore[assignment]

FOLDER = "workers"
#: A trial is not begun for the fourth time: it may be what kills its process, for want of memory.
MOST_TRIES = 3
#: Seconds between the moment at which a trial exists and the one at which it names its process, at most.
_UNNAMED = 60


class Worker:
    """A process at work on a study, as others see it.

    Parameters
    ----------
    folder : of the study; None: other processes cannot tell whether this one lives, but by the heartbeat.

    Attributes
    ----------
    name : of the process, in the record of its trials; "" without a folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder / FOLDER
        self._host = socket.gethostname()
        self.name = "" if folder is None else f"{self._host}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self._handle: int | None = None

    def __enter__(self) -> Worker:
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._folder / self.name, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise storage_error(self._folder, "a directory to write to", error) from error
            if fcntl is not None:
                fcntl.flock(self._handle, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._handle is not None and self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / self.name).unlink()
            os.close(self._handle)
            with contextlib.suppress(OSError):
                self._folder.rmdir()  # where no other process is at work
                self._folder.parent.rmdir()  # and where no trial left anything

    def is_dead(self, trial: Any) -> bool:
        """Whether the process of a running trial is known to have died: only if it ran on this machine."""
        if self._folder is None or fcntl is None:
            return False
        name = trial.user_attrs.get("worker")
        if name is None:  # killed before it could name itself
            began = trial.datetime_start
            return began is not None and (datetime.datetime.now() - began).total_seconds() > _UNNAMED
        if not isinstance(name, str) or name == self.name or name.rsplit(".", 2)[0] != self._host:
            return False
        try:
            handle = os.open(self._folder / name, os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
            return True
        finally:
            os.close(handle)


def take_again(study: Any, worker: Worker) -> None:
    """Close the trials of processes that died as failed, and let others go on with them."""
    optuna = load_optuna()
    states = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=[states.RUNNING]):
        if worker.is_dead(trial):
            try:
                study.tell(trial.number, state=states.FAIL)
            except (ValueError, optuna.exceptions.OptunaError):  # another process was faster
                continue
            queue_again(study, trial)


def queue_again(study: Any, trial: Any) -> None:
    """Put a new trial with the same values into the queue, which goes on with one that was not finished."""
    optuna = load_optuna()
    tries = int(trial.user_attrs.get("tries", 1))
    if tries >= MOST_TRIES:
        return
    kept = {"continues": first_number(trial), "tries": tries + 1}
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=kept,
            system_attrs=trial.system_attrs,  # a grid's sampler remembers its point there
        )
    )
