"""A case: a task on real data, with the options of its run; and where the cases are found.

A task has two files here: ``NAME.py`` with its ``CASES``, and ``NAME_torch.py`` with ``train``, the PyTorch side.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmarks.tasks
from engine.errors import EngineError

#: The folder with real data; see CONTRIBUTING.md.
VARIABLE = "BPTT_TEST_DATA"


class CaseError(EngineError):
    """A case cannot be run here; the message says why."""


@dataclass(frozen=True)
class Case:
    """A task on real data, and what is said of it.

    Attributes
    ----------
    name : as it is typed.
    title : what is told from what, in words.
    task : the name of the task.
    options : of the run, as `engine.training.config.make` takes them; the seed comes on top.
    data : from the folder of real data and an empty one for files that are made: the options that name the data.
    figure : the name of the figure among those of the measurement, that of `Task.figure` included.
    baseline : from the task, made with the options: the name of a trivial baseline and its figure.
    torch : the module of the PyTorch side; "" if PyTorch cannot do it.
    scale : what the figure is multiplied with where it is shown: 100 for a share in percent.
    unit : of the figure that is shown.
    higher : whether a higher figure is better.
    measure : the method of the task that measures: on the validation part, or on a part that is scored at last.
    """

    name: str
    title: str
    task: str
    options: Mapping[str, Any]
    data: Callable[[Path, Path], dict[str, Any]]
    figure: str
    baseline: Callable[[Any], tuple[str, float]]
    torch: str = ""
    scale: float = 100.0
    unit: str = "%"
    higher: bool = True
    measure: str = "validate"


def all_cases() -> dict[str, Case]:
    """Every case by name, those of one task together."""
    found: dict[str, Case] = {}
    for module in pkgutil.iter_modules(benchmarks.tasks.__path__):
        if module.name.startswith("__") or module.name.endswith("_torch"):
            continue
        for case in getattr(importlib.import_module(f"benchmarks.tasks.{module.name}"), "CASES", ()):
            found[case.name] = case
    return found


def real_data() -> Path:
    """The folder of real data.

    Raises
    ------
    CaseError
        The variable does not name a folder.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or not Path(folder).is_dir():
        raise CaseError(f"{VARIABLE}: expected the folder with real data, got {folder!r}")
    return Path(folder)
