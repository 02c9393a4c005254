"""Our `engine` and `kernels` beside a project's own packages of these names, in one process.

A project that has imported our engine shares it with the fixture, so that its layers are the ones that the check knows.
In any other process our modules stand in `sys.modules` only while one of our functions runs.  So the project finds its
own `engine` there, or none, and ours is found whatever the working directory and the import path hold.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

NAMES = ("engine", "kernels")
#: The folder that holds this package holds both of ours.
HOME = str(Path(__file__).parent.parent)

#: The modules of these names that are not in `sys.modules` now: ours, or the project's while one of ours runs.
_aside: dict[str, ModuleType] = {}


class _Finder:
    """Finds our two packages at home; what they hold is found beside them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [HOME]) if name in NAMES else None


def shared() -> bool:
    """Whether the project has imported our engine itself."""
    foundation = getattr(sys.modules.get("engine"), "_kernels", None)
    return getattr(foundation, "DISTRIBUTION", None) == "bptt-engine"


@contextlib.contextmanager
def at_hand() -> Iterator[None]:
    """Within this context, `engine` and `kernels` are ours."""
    if shared():
        yield
        return
    _swap()
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)
        _swap()


def as_theirs(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the project's that one of ours calls: while it runs, `engine` and `kernels` are the project's."""
    if shared():
        return function

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        _swap()
        sys.meta_path.remove(_Finder)
        try:
            return function(*arguments, **options)
        finally:
            sys.meta_path.insert(0, _Finder)
            _swap()

    return called


def _swap() -> None:
    """Exchange the modules of our names in `sys.modules` for those that are set aside."""
    names = [name for name in sys.modules if name.partition(".")[0] in NAMES]
    found = {name: sys.modules.pop(name) for name in names}
    sys.modules.update(_aside)
    _aside.clear()
    _aside.update(found)
