"""First floor: a backend is an array library, a kernel set, a device and its random numbers, held in one object.

Array libraries are imported here and in the kernel file that needs them, nowhere else.  Host and device meet in two
methods only: `Backend.asarray` uploads, `Backend.to_host` downloads (and waits).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import kernels as kernel_sets
from engine import philox
from engine.checks import describe
from engine.errors import BackendUnavailableError, bad_input, bad_type

#: The kernel sets that each backend can run, best first.
KERNELS = {"numpy": ("numba", "reference"), "cupy": ("reference",)}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Backend:
    """An array library with the kernels that run on its arrays.

    Attributes
    ----------
    name : ``"numpy"`` or ``"cupy"``.
    xp : the array module.
    kernels : the kernel set (`kernels.Kernels`).
    device : what the arrays live on, in words.
    """

    name: str
    xp: Any
    kernels: Any
    device: str

    @property
    def spec(self) -> str:
        """The one-string form, such as ``"numpy:numba"``."""
        return f"{self.name}:{self.kernels.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are the same backend: a name is all that travels."""
        return get_backend, (self.spec,)

    # -- the two crossings between host and device ------------------------------------------------------------------

    def asarray(self, host: Any, dtype: Any = None) -> Any:
        """Upload: a new array of this backend that holds the host data `host`."""
        return self.xp.array(host, dtype=dtype)

    def to_host(self, array: Any) -> np.ndarray:
        """Download: the array's data as a NumPy array (no copy where it is one already).  Waits for the device."""
        return array if isinstance(array, np.ndarray) else array.get()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array with anything in it; a large one takes memory that was used before, where the kernels keep it."""
        return self.kernels.empty(shape, dtype) if self.kernels.whole_layers else self.xp.empty(shape, dtype=dtype)

    # -- questions ----------------------------------------------------------------------------------------------------

    def is_array(self, obj: Any) -> bool:
        """Whether `obj` is an array of this backend's library; a subclass with rules of its own is not."""
        return isinstance(obj, self.xp.ndarray) and not isinstance(obj, (np.matrix, np.ma.MaskedArray))

    def require(
        self, argument: str, obj: Any, *, dtype: Any = None, shape: tuple[int | None, ...] | None = None, axes: str = ""
    ) -> None:
        """Raise a clear error unless `obj` is this backend's array, of this dtype, of this shape.

        Parameters
        ----------
        argument : the name that the caller's user knows it by.
        dtype : the exact dtype wanted; None accepts any.
        shape : the shape wanted, None for an axis of any length; None accepts any.
        axes : the axes in words, such as ``"(T, B, D)"``.
        """
        if not self.is_array(obj):
            mend = f"convert it with engine.get_backend({self.name!r}).asarray(..., dtype=...)"
            raise bad_type(argument, f"a {self.name} array", describe(obj), mend)
        if dtype is not None and obj.dtype != dtype:
            raise bad_type(
                argument,
                f"dtype {np.dtype(dtype)}",
                f"dtype {obj.dtype}",
                f"use {argument}.astype({str(np.dtype(dtype))!r})",
            )
        if shape is not None and (
            obj.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, obj.shape, strict=True))
        ):
            wanted = f"shape ({', '.join('any' if s is None else str(s) for s in shape)}{',' * (len(shape) == 1)})"
            raise bad_input(argument, f"{wanted} {axes}".rstrip(), f"shape {tuple(obj.shape)}", _shape_mend(obj, shape))

    def dropout_mask(
        self, seed: int, path: str, purpose: str, call: int, steps: Any, rows: Any, units: int, p: float, dtype: Any
    ) -> Any:
        """Inverted-dropout mask (T, B, units), computed where the data is and the same on every backend (rule 14)."""
        key = philox.stream_key(seed, path, purpose)
        return philox.keep_mask(self.xp, key, call, steps, rows, units, p, dtype)

    def fingerprint(self, arrays: Iterable[Any]) -> int | None:
        """A checksum of the arrays' contents; None where reading them would wait for a device."""
        if self.name != "numpy":
            return None
        if self.kernels.whole_layers:
            return int(self.kernels.checksum(arrays))
        value = 0
        for array in arrays:
            value = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, value)
        return value


def get_backend(name: str | Backend = "numpy", kernels: str | None = None) -> Backend:
    """The backend of that name.

    Parameters
    ----------
    name : ``"numpy"``, ``"cupy"``, or with the kernel set in one string, ``"numpy:reference"``; a Backend is returned
    as
        it is.
    kernels : ``"reference"``, ``"numba"``, ...; None takes the best that is installed.

    Raises
    ------
    InputError
        for a name that does not exist.
    BackendUnavailableError
        for one that exists but cannot be used here, with the reason.
    """
    if isinstance(name, Backend):
        return name if kernels is None else get_backend(name.name, kernels)
    if not isinstance(name, str):
        raise bad_type("backend", "a name or a Backend", describe(name))
    library, _, inline = name.partition(":")
    if inline and kernels is not None and inline != kernels:
        raise bad_input("kernels", f"one kernel set, {inline!r} is in the name already", repr(kernels), "give it once")
    if library not in KERNELS:
        raise bad_input("backend", f"one of {', '.join(map(repr, KERNELS))}", repr(library))
    chosen = kernels or inline or None
    if chosen is not None and chosen not in KERNELS[library]:
        raise bad_input("kernels", f"one of {', '.join(map(repr, KERNELS[library]))} for {library}", repr(chosen))
    return _load(library, chosen)


def available_backends() -> dict[str, str | None]:
    """Every backend by name: None where it is usable, else the reason why it is not.  Never raises."""
    return {name: _reason(name) for name in KERNELS}


def backend_of(array: Any, argument: str = "array") -> Backend:
    """The backend (with its plain kernels) that `array` belongs to.

    Raises
    ------
    InputTypeError
        if it is no array of a known backend.
    """
    if isinstance(array, np.ndarray):
        return get_backend("numpy", "reference")
    if type(array).__module__.partition(".")[0] == "cupy":
        return get_backend("cupy", "reference")
    raise bad_type(argument, f"an array of one of the backends {', '.join(KERNELS)}", describe(array))


def check_dtype(dtype: Any) -> np.dtype:
    """The dtype as an object; an InputTypeError unless it is float32 or float64."""
    try:
        wanted = None if dtype is None else np.dtype(dtype)  # np.dtype(None) would be float64
    except TypeError:
        wanted = None
    if wanted is None or wanted not in FLOATS:
        raise bad_type("dtype", "'float32' or 'float64'", repr(dtype) if isinstance(dtype, type) else describe(dtype))
    return wanted


def _load(library: str, chosen: str | None) -> Backend:
    """The backend with the kernel set asked for, or with the best that is installed."""
    reason = _reason(library)
    if reason is not None:
        raise BackendUnavailableError(f"backend {library!r} cannot be used here: {reason}")
    missing = ""
    for kernel_name in (chosen,) if chosen else KERNELS[library]:
        missing = kernel_sets.reason_missing(kernel_name) or ""
        if not missing:
            return _build(library, kernel_name)
    raise BackendUnavailableError(f"kernels {chosen!r} cannot be used here: {missing}")


@functools.cache
def _build(library: str, kernel_name: str) -> Backend:
    """One object for each pair, however it was asked for."""
    xp: Any = np if library == "numpy" else importlib.import_module(library)
    device = "CPU" if library == "numpy" else f"GPU {xp.cuda.Device().id}"
    return Backend(library, xp, kernel_sets.load(kernel_name, xp), device)


@functools.cache
def _reason(library: str) -> str | None:
    """Why the library cannot be used; None where it can.  CuPy imports without a GPU, so one small array is tried."""
    if library == "numpy":
        return None
    if importlib.util.find_spec(library) is None:
        return f"{library} is not installed (pip install 'bptt-engine[cuda12]' or '[cuda13]')"
    try:
        xp = importlib.import_module(library)
        if not xp.cuda.is_available():
            return "no CUDA driver or no GPU was found"
        xp.zeros(8, dtype=np.float32).sum().item()
    except Exception as error:  # any failure of a driver, a toolkit or the library itself is a reason, never a crash
        first = (str(error) or type(error).__name__).splitlines()[0]
        return f"{library} is installed but fails: {first}"
    return None


def _shape_mend(obj: Any, shape: tuple[int | None, ...]) -> str:
    if obj.ndim == len(shape) - 1:
        return "an axis is missing: a batch of one still needs its batch axis"
    return ""
