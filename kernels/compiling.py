"""How the CPU kernels are compiled: options, disk cache, and a word to the user while it happens."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event
from numba.extending import register_jitable

# error_model: NumPy's division, without Python's check for zero, which would keep a loop from being vectorised.
# fastmath "contract": a*b+c may become one fused operation; nothing else is reordered, NaN and inf keep their meaning.
# nogil: the loops touch no Python object, so other threads may run.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}

INLINED: Any = {"forceinline": True, **_OPTIONS}

_TITLES: dict[int, str] = {}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a scalar function for use inside compiled loops: always inlined, else the loop would not be vectorised."""
    return register_jitable(**INLINED)(function)


def compiled(title: str, overlapping: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a whole time loop on first use and keep the result on disk.

    Parameters
    ----------
    title : what the loop is, for the line that is printed while it compiles.
    overlapping : whether two of its array arguments may share memory.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(cache=True, **_OPTIONS)(function)
        if not getattr(config, "DISABLE_JIT", 0):
            _TITLES[id(dispatcher)] = title
            if not overlapping:
                dispatcher._compiler._customize_flags = _without_overlap
            # Numba watches the one file that holds the loop; the equations it inlines live in others of this package
            dispatcher._cache._cache_file._source_stamp = _SOURCES
        return dispatcher

    return decorate


def _without_overlap(flags: Any) -> Any:
    """Promise the compiler that no two array arguments overlap.

    Without it, every pair of arrays in a loop needs a check at run time, and past eight such checks the loop is left
    scalar: a factor of two for a whole LSTM pass.  The callers in `numba_cpu` keep the promise.
    """
    if hasattr(flags, "noalias"):
        flags.noalias = True
    return flags


def _hash_of_sources() -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Announcer(event.Listener):
    """Prints one line when one of our loops is compiled, as it takes seconds; a load from the disk cache is silent."""

    def __init__(self) -> None:
        self.said: set[tuple[str, str]] = set()  # arrays of another layout compile again; one line says enough

    def on_start(self, event: Any) -> None:
        title = _TITLES.get(id(event.data["dispatcher"]))
        dtypes = {str(getattr(a, "dtype", "")) for a in event.data["args"]}
        dtype = "float64" if "float64" in dtypes else "float32"
        if title is not None and (title, dtype) not in self.said:
            self.said.add((title, dtype))
            print(f"bptt-engine: compiling {title} for {dtype} (once; kept on disk)", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


_SOURCES = _hash_of_sources()
event.register("numba:compile", _Announcer())
