"""A CuPy look-alike on host memory, for ``backend="cupy"`` where no GPU is: the engine's code runs unchanged on it.

It has only names that the real package has (tests/recorded/cupy_names.json), refuses what CuPy 14 refuses (a host array
in a device call, conversion without ``get``, lists for ufuncs), wraps array indices that are out of range, gives 0-d
arrays where NumPy gives numbers, and counts what CuPy would launch, copy, wait for and allocate (`fake_cuda.counts`).
What CuPy leaves undefined is drawn at random: memory that nothing has written holds NaN, of several values that are
assigned to one place any may win, and sums by ``ufunc.at`` are added in any order.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any

import fake_arrays as arrays
import fake_cuda
import numpy as np
import pytest
from fake_cuda import counts, machine

from engine.backend import Backend, get_backend
from engine.backend import choosing as backend_module

#: Functions that answer on the host, without a launch.
HOST = frozenset("result_type can_cast promote_types isscalar iscomplexobj isrealobj ndim shape size".split())

#: What is made here; every other name is NumPy's function, if CuPy has it.
OWN = {
    "ndarray": arrays.ndarray,
    "ufunc": arrays.ufunc,
    "array": arrays.array,
    "asarray": arrays.asarray,
    "asanyarray": arrays.asarray,
    "ascontiguousarray": arrays.ascontiguousarray,
    "asnumpy": arrays.asnumpy,
    "take": arrays.take,
    "broadcast_to": arrays.broadcast_to,
    "empty": arrays.empty,
    "empty_like": arrays.empty_like,
    "get_array_module": lambda *things: (
        sys.modules["cupy"] if any(isinstance(thing, arrays.ndarray) for thing in things) else np
    ),
    "RawModule": fake_cuda.RawModule,
    "RawKernel": fake_cuda.RawKernel,
    "get_default_memory_pool": fake_cuda.MemoryPool,
    "cuda": fake_cuda.module(),
}


def _function_of(name: str) -> Any:
    """A name of the module that NumPy has too."""
    found = getattr(np, name)
    if isinstance(found, np.ufunc):
        return arrays.ufunc(found)
    if isinstance(found, type) or not callable(found) or name in HOST:
        return found if name not in HOST else lambda *args: found(*map(arrays.plain, args))

    def call(*args: Any, **kwargs: Any) -> Any:
        if name in arrays.WAITING:
            counts.wait()
        return arrays.run(found, args, kwargs)

    call.__name__ = name
    return call


def build() -> types.ModuleType:
    """The module ``cupy``."""
    cupy = types.ModuleType("cupy")
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    cupy.__dict__.update(OWN, __version__=arrays.REAL["version"])

    def look_up(name: str) -> Any:
        found = getattr(np, name, cupy)  # a module or an object of NumPy's own would work on the host
        if name not in arrays.REAL[""] or not (callable(found) or isinstance(found, float | None)):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        return cupy.__dict__.setdefault(name, _function_of(name))

    cupy.__dict__["__getattr__"] = look_up
    return cupy


def install(patch: pytest.MonkeyPatch) -> Any:
    """Put the look-alike in CuPy's place until `patch` is undone, and forget what was detected before."""
    cupy = build()
    patch.setitem(sys.modules, "cupy", cupy)
    for name in ("_reason", "_build"):
        fresh = functools.cache(getattr(backend_module, name).__wrapped__)
        patch.setattr(backend_module, name, fresh)
    machine.reset()
    counts.reset()
    return cupy


@contextlib.contextmanager
def installed() -> Iterator[Any]:
    """The look-alike, for the length of a ``with`` block."""
    with pytest.MonkeyPatch.context() as patch:
        yield install(patch)


#: What a test that runs on every array library is given; the last needs a GPU.
BACKENDS = ["numpy", "look-alike", pytest.param("cupy", marks=pytest.mark.gpu)]


def use_backend(name: str, patch: pytest.MonkeyPatch, kernels: str = "reference") -> Backend:
    """The backend of that name with its plain kernels; "look-alike" is ``backend="cupy"`` on this file's module."""
    if name == "look-alike":
        install(patch)
        name = "cupy"
    backend = get_backend(name, kernels)
    counts.reset()
    return backend
