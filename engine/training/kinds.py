"""The tasks by name, and what each says of itself: its options, its defaults, its files, how its results are made.

A task is one class: data, model, loss, figure and pictures (`engine.training.task.Task`), and on top of these what
stands in `TaskKind`.  The tasks of the package are imported when they are asked for.  A user's own one is registered
with `engine.tasks.register`, or named on the command line as ``module:Class``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from engine.checks import describe
from engine.errors import bad_input
from engine.training.rules import Rule

if TYPE_CHECKING:
    from engine.backend import Backend
    from engine.training.checkpoint import Checkpoint
    from engine.training.config import TrainConfig
    from engine.training.task import RunTask

LANGUAGE, FORECAST, ECHO = "language", "forecast", "echo"

#: The modules of the package's own tasks, and the class in each.
_HOMES: dict[str, str] = {
    LANGUAGE: "engine.tasks.language:LanguageModel",
    FORECAST: "engine.tasks.forecast:Forecaster",
    "classify": "engine.tasks.classify:SentenceClassifier",
    ECHO: "engine.tasks.echo:EchoState",
    "series": "engine.tasks.series:ManySeries",
    "speech": "engine.tasks.speech:SpeechRecogniser",
    "rows": "engine.tasks.image_rows:RowReader",
    "tag": "engine.tasks.tag:Tagger",
    "translate": "engine.tasks.translate:TranslationTask",
}
_OWN: dict[str, type[TaskKind]] = {}


class Option(NamedTuple):
    """An option of one task alone.

    Attributes
    ----------
    name : as a keyword; ``--with-dashes`` on the command line.
    rule : the values that it may have; None is allowed where the default is None.
    default : what it is if it is not given.  False makes it a flag.
    help : one line for ``--help``.
    kind : the type of its value, where the default does not show it; ``tuple`` for one that is given several times.
    source : whether it names a file with data: a resumed run may be given another name.
    """

    name: str
    rule: Rule
    default: Any
    help: str
    kind: type | None = None
    source: bool = False

    def value_type(self) -> type:
        """The type of its value."""
        return self.kind or (str if self.default is None else type(self.default))


class Square(tuple[str, ...]):
    """The entries of a table that has a row and a column for each (`TaskKind.tables`)."""


class TaskKind:
    """Base of the tasks that ``bptt train --task NAME`` knows.

    A subclass has the members of `engine.training.task.Task` as well.

    Attributes
    ----------
    name : of the task.
    words : what it does, for ``--help``.
    shared : the fields of `TrainConfig` that it uses, of those that not every task has (`PARTICULAR`).
    defaults : values of `TrainConfig` that differ from those of the record.
    own : its own options; their values stand in ``config.own``.
    pictures : the names of the files that it draws beside ``loss.png``.
    out : the directory of a run without ``--out``.
    asks : what ``bptt predict`` may be asked for beside files: ``"text"``, ``"beam"``.
    reads : what ``data`` is, in words, and `needs_data`, whether it has to be named.
    bundled : names of data that comes with a package, where no file has such a name.
    higher : the names of those figures of its validations that are better the higher they are; of all others less is.
    varies : what ``bptt tune`` varies if nobody says so, as its ``--range`` has it; none: rate, cell, units, dropout.
    standard, reads_ids : whether the model is the one that `engine.training.architecture.describe_model` makes of the
        options (a checkpoint is checked against it then), and whether it begins with an embedding.
    """

    name: ClassVar[str] = ""
    words: ClassVar[str] = ""
    shared: ClassVar[frozenset[str]] = frozenset()
    defaults: ClassVar[Mapping[str, Any]] = {}
    own: ClassVar[tuple[Option, ...]] = ()
    pictures: ClassVar[tuple[str, ...]] = ()
    out: ClassVar[str] = ""
    asks: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[str] = "a file with data"
    needs_data: ClassVar[bool] = True
    bundled: ClassVar[frozenset[str]] = frozenset()
    higher: ClassVar[frozenset[str]] = frozenset({"accuracy", "f1"})
    varies: ClassVar[tuple[str, ...]] = ()
    standard: ClassVar[bool] = False
    reads_ids: ClassVar[bool] = False

    @classmethod
    def complete(cls, given: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
        """Values that follow from the options `given`; raises for a combination that cannot be."""
        return {}

    @classmethod
    def check(cls, config: TrainConfig, label: Callable[[str], str]) -> None:
        """Raise an `InputError` for options that are possible one by one and not together."""

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """Raise an `EngineError` unless what a checkpoint says beside the weights can be used with its model.

        Parameters
        ----------
        described : what `Task.describe` returned.
        model : the description of the model, in the form of `Layer.config`.
        """

    @classmethod
    def tables(cls, described: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Sequence[str]]:
        """The parameters that have a row for each entry of a vocabulary, each with the entries in the order of rows.

        Entries as `Square` stand along both axes, such as those of transitions from tag to tag.

        Parameters
        ----------
        described, model : as for `check_described`.
        """
        return {}

    def notes(self) -> Sequence[str]:
        """Notes on the data, shown before training starts."""
        return ()

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What came of a run beside its loss, JSON-able; the pictures are drawn.  The model has its best weights.

        Common keys: ``"scores"``, a record of figures for the model and for each thing that it must beat;
        ``"held_out"``, what they are measured on, in words; ``"pictures"``, files by name; ``"verdict"``, a sentence;
        ``"notes"``, sentences.

        Parameters
        ----------
        directory : of the run.
        finished : False if it was interrupted.
        records : the lines of its metrics.
        """
        return {}

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """The scores of a trained model in the form of `results`, on the held-out part or on other `sources`."""
        raise bad_input("run", "a task that can be evaluated", f"one of the task {cls.name!r}")

    @classmethod
    def predict(
        cls,
        checkpoint: Checkpoint,
        config: TrainConfig,
        sources: Sequence[str],
        backend: Backend,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What a trained model says of new data, JSON-able: ``"rows"``, a flat record for each, and ``"notes"``.

        Parameters
        ----------
        asked : what `asks` names.
        """
        raise bad_input("run", "a task whose model predicts", f"one of the task {cls.name!r}")


def add(kind: type[TaskKind]) -> None:
    """Make a task known by its name; `engine.tasks.register` checks it first.

    Raises
    ------
    InputError
        for a name that another task has.
    """
    known = _OWN.get(kind.name)
    if kind.name in _HOMES or (known is not None and known.__qualname__ != kind.__qualname__):
        raise bad_input("name", "a name that no other task has", repr(kind.name))
    _OWN[kind.name] = kind


def remove(name: str) -> None:
    """Forget a task that `add` made known."""
    _OWN.pop(name, None)


def kind_names() -> tuple[str, ...]:
    """The names of all tasks."""
    return (*_HOMES, *_OWN)


def kind_of(name: Any, label: Callable[[str], str] = str) -> type[TaskKind]:
    """The class of a task, by its name or as ``module:Class``.

    Raises
    ------
    InputError
        for a name that is not known, or a module that has no such class.
    """
    if isinstance(name, str):
        if name in _OWN:
            return _OWN[name]
        if name in _HOMES:
            return _imported(_HOMES[name])
        if ":" in name:
            return _of_user(name, label)
    hint = "an own task is named as module:Class"
    raise bad_input(label("task"), f"one of {', '.join(map(repr, kind_names()))}", describe(name), hint)


def _imported(home: str) -> type[TaskKind]:
    module, _, name = home.partition(":")
    found: type[TaskKind] = getattr(importlib.import_module(module), name)
    return found


def _of_user(home: str, label: Callable[[str], str]) -> type[TaskKind]:
    module, _, name = home.partition(":")
    try:
        if os.getcwd() not in sys.path:  # the command's own folder is on the path, that of its user is not
            sys.path.append(os.getcwd())
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        hint = "run the command where the file lies, or install its package"
        raise bad_input(label("task"), f"a module {module!r} that can be imported", f"'{error}'", hint) from error
    if not (isinstance(found, type) and issubclass(found, TaskKind)):
        raise bad_input(
            label("task"), "a class based on engine.tasks.TaskKind", f"{name!r} in {module!r}, no such class"
        )
    return found


def as_task(kind: type[TaskKind], config: TrainConfig, backend: Backend, described: Any = None) -> RunTask:
    """The task itself, with its data and a model with first weights.

    Parameters
    ----------
    described : what the checkpoint of a trained model says beside its weights, to read other data as that model did.
    """
    made: Any = kind(config, backend, described)  # type: ignore[call-arg]
    task: RunTask = made
    if config.memory is not None:
        from engine.long_sequences import recompute

        recompute(task.model, memory=config.memory)
    return task
