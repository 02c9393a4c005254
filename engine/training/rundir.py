"""The directory of a run: its files, who may write there, and where a resumed run continues.

``run.json`` holds the options, written before the first step; ``last.safetensors`` the newest state;
``best.safetensors`` the weights with the lowest validation loss; ``metrics.jsonl`` the figures; ``loss.png`` the
picture, with those of the task beside it (`TaskKind.pictures`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.atomic import locked, remove_temporaries, write_atomic
from engine.backend import get_backend
from engine.checks import describe, file_name, instance, switch
from engine.errors import bad_input, bad_type
from engine.pretrained import pretrained_file
from engine.training.checkpoint import BEST, LAST, Checkpoint, field, problem, read_checkpoint
from engine.training.config import LANGUAGE, SOURCES, TrainConfig, changed, make, sources_of, with_budget
from engine.training.fine_tuning import options_before
from engine.training.kinds import TaskKind, kind_of
from engine.training.metrics import METRICS
from engine.training.rules import record, record_fault, text
from engine.training.run_files import read_json
from engine.training.schema import RESUMABLE, stored_options

OPTIONS = "run.json"
LOSS_PICTURE = "loss.png"
FILES = (OPTIONS, LAST, BEST, METRICS, LOSS_PICTURE)


@dataclass(frozen=True)
class RunFolder:
    """A run that is ready to be trained.

    Attributes
    ----------
    directory : where its files go; locked.
    config : its options; the backend is spelt out (``"numpy:numba"``), for results depend on the kernels.
    checkpoint : the state to continue from, or None to start at step 0.
    fingerprint : of the data it was started on, or None if that is not known yet.
    note : a note for the user on how it starts, or "".
    warning : a warning for the user, shown even if notes are off, or "".
    """

    directory: Path
    config: TrainConfig
    checkpoint: Checkpoint | None
    fingerprint: str | None
    note: str = ""
    warning: str = ""

    def check_data(self, fingerprint: str) -> None:
        """Raise unless the data is what the run was started on."""
        if self.fingerprint not in (None, fingerprint):
            name = "files" if "files" in self.config.kind().shared else "data"
            hint = "give the data that it was started on, or train anew with another --out"
            raise bad_input(name, f"the data of the run in {self.directory} ({self.fingerprint})", fingerprint, hint)

    def write_options(self, fingerprint: str) -> None:
        """Write ``run.json``: from here on the directory holds a run."""
        record = {"config": self.config.to_json(), "data": fingerprint}
        write_atomic(self.directory / OPTIONS, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


@contextmanager
def open_run(
    directory: Path, task: str | None, given: Mapping[str, Any], resume: bool, label: Callable[[str], str] = str
) -> Iterator[RunFolder]:
    """Lock a directory and find out how training starts there.

    Parameters
    ----------
    task : the task asked for; None means the language task, or that of the run that is resumed.
    given : the options that the user gave; all others come from the run that is resumed, or from the task's defaults.
    resume : continue the run that is there.
    label : gives the name of an option in messages.

    Raises
    ------
    InputError
        if a new run would meet an old one's files, or a resumed one is given options that would change its result, or
        there is none to resume and no data is named.
    CheckpointError
        if ``last.safetensors`` or ``run.json`` cannot be read.
    StorageError
        if the directory cannot be written to.
    """
    try:
        named = isinstance(label("out"), str)
    except Exception:  # a class of numbers, say, or no function at all
        named = False
    if not named:
        raise bad_type("label", "a function from an option's name to a text", describe(label))
    directory, resume = file_name("directory", directory), switch("resume", resume)
    given = dict(instance("given", given, Mapping, "a mapping of options"))
    kind = kind_of(LANGUAGE if task is None else task, label)
    if task is not None and ":" not in task:
        task = kind.name
    given = _with_absolute(kind, given, label)
    if "backend" in given:
        given["backend"] = get_backend(given["backend"]).spec
    if os.path.exists(directory) and not directory.is_dir():  # of a name that is too long, pathlib makes an error
        raise bad_input(label("out"), "a directory", f"the file {directory}", f"choose another {label('out')}")
    files = (*FILES, *kind.pictures)
    present = [name for name in files if os.path.exists(directory / name)]
    if present and not resume:
        hint = f"continue it with {label('resume')}, or choose another {label('out')}"
        raise bad_input(
            label("out"), "a directory without a run", f"{directory}, which holds {', '.join(present)}", hint
        )
    if resume and not present and not any(given.get(name) for name in (*SOURCES, *sources_of(kind))):
        # With a mistyped directory the built-in text would be trained.  If the data is named, the user may mean: begin.
        hint = f"leave {label('resume')} out to start a run there, or name its directory with {label('out')}"
        raise bad_input(label("resume"), f"a run in {directory}", "none", hint)
    if not present:  # before the directory is made: bad options leave nothing behind
        task, given = options_before(task, given, label)
        warning = f"{directory} holds no run yet: starting afresh" if resume else ""
        fresh = RunFolder(
            directory, _spelt_out(make(LANGUAGE if task is None else task, given, label)), None, None, warning=warning
        )
    with locked(directory):
        remove_temporaries(directory, files)
        yield _existing(directory, task, given, label) if present else fresh


def _with_absolute(kind: type[TaskKind], given: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
    """The options with file names that stay valid when the run is resumed from another working directory."""
    named = [name for name in (*SOURCES, "from_run", *sources_of(kind)) if given.get(name)]
    if given.get("data") in kind.bundled and not os.path.exists(given["data"]):
        named.remove("data")
    if pretrained_file(str(given.get("from_run"))) and not os.path.exists(given["from_run"]):
        named.remove("from_run")  # no file, but the name of a model that comes with the package
    return {**given, **{name: _absolute(label(name), given[name], several=name == "files") for name in named}}


def _absolute(argument: str, value: Any, several: bool) -> Any:
    """A file name, or several, that stay valid in another working directory."""
    if not several:
        return os.path.abspath(file_name(argument, value))
    if not isinstance(value, tuple | list):
        raise bad_type(argument, "a tuple of file names", describe(value))
    return tuple(os.path.abspath(file_name(argument, one)) for one in value)


def _existing(directory: Path, task: str | None, given: Mapping[str, Any], label: Callable[[str], str]) -> RunFolder:
    """The run whose files are in the directory."""
    last = directory / LAST
    if last.exists():
        checkpoint = read_checkpoint(last)
        for name in RESUMABLE:
            field(last, checkpoint.meta, name)
        stored, data = stored_options(last, checkpoint.meta["config"]), checkpoint.meta["data"]
        config = _resumed(directory, stored, task, given, label)
        step = checkpoint.meta["trainer"]["step"]
        if (directory / OPTIONS).exists():
            begun, begun_data = _options(directory, label)
            names = changed(
                stored, {**begun.own, **{n: v for n, v in begun.__dict__.items() if n not in ("task", "own")}}
            )
            if names or begun.task != stored.task or begun_data != data:
                what = ", ".join(names) or "the task" * (begun.task != stored.task) or "the data"
                hint = f"it is another run's checkpoint: put back the one of this run, or choose another {label('out')}"
                raise problem(
                    last, f"the state of the run that {OPTIONS} describes", f"one that differs in {what}", hint
                )
        return RunFolder(directory, config, checkpoint, data, f"resuming {directory} at step {step:,}")
    if not (directory / OPTIONS).exists():
        found = ", ".join(name for name in FILES if (directory / name).exists())
        hint = f"choose another {label('out')}"
        raise bad_input(label("out"), f"a run with {LAST} or {OPTIONS}", f"{directory} with {found} alone", hint)
    stored, data = _options(directory, label)
    config = _resumed(directory, stored, task, given, label)
    best = directory / BEST
    if best.exists():
        reached = read_checkpoint(best).meta["trainer"]["step"]
        if reached > config.checkpoint_every:  # then a first checkpoint had been written
            hint = f"put {LAST} back from a copy, or choose another {label('out')}"
            raise problem(directory / LAST, f"the last state of a run that reached step {reached:,}", "no file", hint)
    note = f"{directory} holds no checkpoint yet: starting afresh, with the options in {OPTIONS}"
    return RunFolder(directory, config, None, data, note)


def _options(directory: Path, label: Callable[[str], str]) -> tuple[TrainConfig, str]:
    """The content of ``run.json``: the options, and the fingerprint of the data."""
    path, expected = directory / OPTIONS, "the options of a run in JSON"
    hint = f"choose another {label('out')}"
    said = read_json(path, expected, hint)
    fault = record_fault({"config": record(), "data": text()}, said)
    if fault is not None:
        raise problem(path, expected, f"{fault[2]} in place of {fault[0] or 'them'!r}", hint)
    return stored_options(path, said["config"]), said["data"]


def _resumed(
    directory: Path, stored: TrainConfig, task: str | None, given: Mapping[str, Any], label: Callable[[str], str]
) -> TrainConfig:
    """The stored options, after checking that those given now would not change the result."""
    given = _with_absolute(stored.kind(label), given, label)
    names = changed(stored, given)
    if task is not None and task != stored.task:
        names.insert(0, "task")
        given = {**given, "task": task}
    if names:
        got = ", ".join(f"{label(name)} {given[name]} (was {stored.value(name)})" for name in names)
        hint = f"leave {'it' if len(names) == 1 else 'them'} out, or start a new run with another {label('out')}"
        raise bad_input(label("resume"), f"the options of the run in {directory}", got, hint)
    return with_budget(stored, given, label)


def _spelt_out(config: TrainConfig) -> TrainConfig:
    return TrainConfig(**{**config.__dict__, "backend": get_backend(config.backend).spec})
