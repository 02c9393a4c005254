"""What the user reads while something compiles: one line, with the time it will take.

The loops and products of a dtype are compiled together, when the first of them is needed, and with them the gate
functions of the first cell: one line for all.  A further cell has a line of its own.  Code from disk is silent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from numba import types
from numba.core import event

from kernels.cpu.disk_cache import DiskCache

#: What every cell shares; the line of a cell bears its name.
KERNELS = "the kernels"
#: Of these the first that is compiled.  Its processor time tells how fast the machine is; what else happens to run in
#: that tenth of a second does not.
FIRST = "pack"
#: Processor seconds on an AMD EPYC (Zen 4): `FIRST`, and all that is compiled for the first cell of a dtype.
SECONDS_OF_FIRST, SECONDS = 0.11, 5.0
_OF_A_CELL = "about 1 s"

_TITLES: dict[int, str] = {}


def entitle(dispatcher: Any, title: str) -> None:
    """Have a function announced by this title when it is compiled."""
    _TITLES[id(dispatcher)] = title


def _dtype(arguments: Any) -> str:
    """The type of number that the arguments of a function have, or point to; "" for whole numbers."""
    found = set(_dtypes(arguments))
    return next((name for name in ("float64", "float32") if name in found), "")


def _dtypes(arguments: Any) -> Iterator[str]:
    """The types of number in the arrays among the arguments, also within tuples."""
    for argument in arguments:
        if isinstance(argument, types.BaseTuple):
            yield from _dtypes(argument)
        else:
            yield str(getattr(argument, "dtype", argument))


class Announcer(event.Listener):
    """Prints the lines, and counts what is compiled.

    Attributes
    ----------
    compiled : how many functions with a title.
    """

    def __init__(self) -> None:
        self.compiled = 0
        self._said: set[tuple[str, str]] = set()
        self._first: tuple[Any, float] | None = None  # the function whose time is being taken, and when it began
        self._took = 0.0  # the most that it took: for a second dtype Numba itself is warm
        self._told_with_kernels: set[str] = set()  # dtypes whose first cell is still to come

    def on_start(self, event: Any) -> None:
        """A function is about to be compiled."""
        dispatcher = event.data["dispatcher"]
        title, dtype = _TITLES.get(id(dispatcher)), _dtype(event.data["args"])
        self.compiled += title is not None
        if title is None or not dtype or (title, dtype) in self._said:  # functions of whole numbers take a moment
            return
        self._said.add((title, dtype))
        if title == KERNELS:
            self._told_with_kernels.add(dtype)
            if dispatcher.py_func.__name__ == FIRST:
                self._first = dispatcher, time.thread_time()
            else:  # the others are on disk, or some of them
                _say(dispatcher, title, dtype, f"up to {SECONDS:.0f} s")
        elif dtype in self._told_with_kernels:
            self._told_with_kernels.remove(dtype)
        else:
            _say(dispatcher, title, dtype, _OF_A_CELL)

    def on_end(self, event: Any) -> None:
        """A function was compiled."""
        dispatcher = event.data["dispatcher"]
        if self._first is not None and self._first[0] is dispatcher:
            self._took, self._first = max(self._took, time.thread_time() - self._first[1]), None
            seconds = round(SECONDS * self._took / SECONDS_OF_FIRST)
            _say(dispatcher, KERNELS, _dtype(event.data["args"]), f"about {max(1, seconds)} s")


def _say(dispatcher: Any, title: str, dtype: str, long: str) -> None:
    kept = isinstance(dispatcher._cache, DiskCache)
    how = "once; kept on disk" if kept else "at every start, as NUMBA_CACHE_DIR names no folder to keep it in"
    print(f"bptt-engine: compiling {title} for {dtype}, {long} ({how})", file=sys.stderr, flush=True)


_ANNOUNCER = Announcer()
event.register("numba:compile", _ANNOUNCER)


def compilations() -> int:
    """How many functions this process has compiled so far; those that were loaded from disk are not counted."""
    return _ANNOUNCER.compiled
