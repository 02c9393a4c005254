"""How the CPU kernels are compiled: options, disk cache, and a message to the user while it happens."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core import config, event
from numba.extending import register_jitable

from kernels.cpu.disk_cache import DiskCache
from kernels.cpu.vector_width import WholeRegisters

#: Whether functions are compiled at all: not with ``NUMBA_DISABLE_JIT=1``.  In plain Python, threads have no barrier.
JIT = not getattr(config, "DISABLE_JIT", 0)

# error_model: NumPy's division, without Python's check for zero, which would keep a loop from being vectorised.
# fastmath "contract": a*b+c may become one fused operation; nothing else is reordered, NaN and inf keep their meaning.
# nogil: the loops touch no Python object, so other threads may run.
# pipeline_class: vectors as wide as the registers.
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"contract"},
    "nogil": True,
    "pipeline_class": WholeRegisters,
}

INLINED: Any = {"forceinline": True, **_OPTIONS}

_TITLES: dict[int, str] = {}

#: By the end of a loop's title, how long its compilation takes; measured on one free core of an AMD EPYC (Zen 4).
HOW_LONG = {"forward": "about 15 s", "backward": "about 10 s"}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a scalar function for use inside compiled loops: always inlined, else the loop would not be vectorised."""
    return register_jitable(**INLINED)(function)


def spliced(function: Callable[..., Any]) -> Any:
    """Mark a part of a time loop: its lines replace its call before anything is compiled.

    An `inlined` function is compiled by itself first, with all that it calls.  If it calls products, that takes longer
    than the loop itself.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)


def shared(function: Callable[..., Any]) -> Any:
    """Mark a function that several others call and that comes out of a text: kept on disk with each of them."""
    return numba.njit(**_OPTIONS)(function) if JIT else function


def compiled(title: str, overlapping: bool = False, key: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Compile a whole time loop on first use and keep the result on disk.

    Parameters
    ----------
    title : the loop's name, for the line that is printed while it compiles.
    overlapping : whether two of its array arguments may share memory.
    key : the text of all that the function encloses, if it is written out anew for each cell.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**_OPTIONS)(function)
        if JIT:
            _TITLES[id(dispatcher)] = title
            if not overlapping:
                dispatcher._compiler._customize_flags = _without_overlap
            _widen_literals(dispatcher)
            with contextlib.suppress(RuntimeError):  # no folder that can be written to: compiled at every start
                dispatcher._cache = DiskCache(function, _SOURCES, key)
        return dispatcher

    return decorate


def _widen_literals(dispatcher: Any) -> None:
    """Treat literal integers as plain integers, also within a tuple, so that Numba does not compile twice.

    For Numba the arguments of ``f((a, 0))`` and ``f((a, n))`` have two types.  It would compile f twice, and all that f
    calls: a whole pass then took 34 seconds instead of 15.
    """
    original = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return original([types.unliteral(a) for a in args], {name: types.unliteral(a) for name, a in kws.items()})

    dispatcher.get_call_template = get_call_template


def _without_overlap(flags: Any) -> Any:
    """Promise the compiler that no two array arguments overlap.

    Without it, every pair of arrays in a loop needs a check at run time, and past eight such checks the loop is left
    scalar: a factor of two for a whole LSTM pass.  The callers in `numba_kernels` keep the promise.
    """
    if hasattr(flags, "noalias"):
        flags.noalias = True
    return flags


def _hash_of_sources() -> str:
    digest = hashlib.blake2b(digest_size=16)
    kernels = Path(__file__).parent.parent
    for path in sorted([*kernels.glob("*.py"), *kernels.glob("cpu/*.py"), *kernels.glob("gates/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _dtypes(arguments: Any) -> Iterator[str]:
    """The types of number in the arrays among the arguments, also within tuples."""
    for argument in arguments:
        if isinstance(argument, types.BaseTuple):
            yield from _dtypes(argument)
        else:
            yield str(getattr(argument, "dtype", ""))


class _Announcer(event.Listener):
    """Prints one line when one of our loops is compiled, as it takes seconds; a load from the disk cache is silent."""

    def __init__(self) -> None:
        self.said: set[tuple[str, str]] = set()  # arrays of another layout compile again; one line says enough
        self.compiled = 0

    def on_start(self, event: Any) -> None:
        title = _TITLES.get(id(event.data["dispatcher"]))
        self.compiled += title is not None
        dtypes = set(_dtypes(event.data["args"]))
        dtype = next((name for name in ("float64", "float32") if name in dtypes), "")
        said = (title, dtype) in self.said or (not dtype and any(title == other for other, _ in self.said))
        if title is not None and not said:
            self.said.add((title, dtype))
            kept = isinstance(event.data["dispatcher"]._cache, DiskCache)
            how = "once; kept on disk" if kept else "at every start, as NUMBA_CACHE_DIR names no folder to keep it in"
            long = next((f", {words}" for ending, words in HOW_LONG.items() if title.endswith(ending)), "")
            what = f"{title}{' for ' * bool(dtype)}{dtype}{long}"
            print(f"bptt-engine: compiling {what} ({how})", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


_SOURCES = _hash_of_sources()
_ANNOUNCER = _Announcer()
event.register("numba:compile", _ANNOUNCER)


def compilations() -> int:
    """How many functions this process has compiled so far; those that were loaded from disk are not counted."""
    return _ANNOUNCER.compiled
