"""The tasks of ``bptt train --task NAME``, one file for each: data, model, loss, figure and pictures.

Each is a class based on `TaskKind`; `engine.training.kinds` has the list.  `register` makes a task of your own known.
"""

from __future__ import annotations

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.training.config import field_names
from engine.training.kinds import Option, TaskKind, add, kind_names, kind_of


def register(kind: type[TaskKind]) -> type[TaskKind]:
    """Make a task known by its name; usable as a decorator.

    Parameters
    ----------
    kind : type
        A class based on `TaskKind`, with the members of `engine.training.task.Task`.

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    InputError, InputTypeError
        For what is no such class, a name that is taken, or an option that has the name of a field of `TrainConfig`.
    """
    if not (isinstance(kind, type) and issubclass(kind, TaskKind)):
        raise bad_type("kind", "a class based on engine.tasks.TaskKind", describe(kind))
    if not kind.name.isidentifier():
        raise bad_input("name", "an identifier", repr(kind.name), f"set {kind.__name__}.name")
    clash = sorted({option.name for option in kind.own} & field_names())
    if clash:
        raise bad_input("own", "names that are no fields of TrainConfig", ", ".join(clash), "list them in `shared`")
    add(kind)
    return kind


__all__ = ["Option", "TaskKind", "kind_names", "kind_of", "register"]
