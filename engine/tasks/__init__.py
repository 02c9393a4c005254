"""The tasks of ``bptt train --task NAME``, one file for each: data, model, loss, figure and pictures.

Each is a class based on `TaskKind`; `engine.training.kinds` has the list.  `register` makes a task of your own known.
"""

from engine.training.kinds import Option, TaskKind, kind_names, kind_of, register

__all__ = ["Option", "TaskKind", "kind_names", "kind_of", "register"]
