"""First floor: a backend is an array library, a kernel set, a device and its random numbers, held in one object.

Array libraries are imported here and in the kernel file that needs them, nowhere else.  Host and device meet in two
methods only: `Backend.asarray` uploads, `Backend.to_host` downloads (and waits).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import kernels as kernel_sets
from engine import philox, plain_arrays, torch_library
from engine.checks import describe, one_of
from engine.device_errors import in_words, mended
from engine.errors import BackendUnavailableError, bad_input, bad_type
from kernels import events

#: The kernel sets that each backend can run, best first.
KERNELS = {"numpy": ("numba", "reference"), "cupy": ("cuda", "reference"), "torch": ("reference",)}
#: The backends of `add_backend`, by name.
_ADDED: dict[str, Backend] = {}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Backend:
    """An array library with the kernels that run on its arrays.

    Attributes
    ----------
    name : ``"numpy"``, ``"cupy"`` or ``"torch"``.
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
        plain_arrays.refuse_own_rules("host", host)
        plain_arrays.refuse_autograd("host", host)
        source = host if isinstance(host, self.xp.ndarray) else plain_arrays.numbers("host", host)
        wanted = None if dtype is None else self._dtype_of_numbers(dtype)
        found = self.dtype_of(source)
        if found.kind not in plain_arrays.NUMBERS or (found.kind == "c" and wanted is not None and wanted.kind != "c"):
            expected = "numbers" if wanted is None else f"numbers that fit into {wanted}"
            raise bad_type("host", expected, plain_arrays.dtype_in_words(source.dtype))
        with mended():
            array = self.xp.array(source, dtype=wanted)
        if self.device == "CPU" or not self.is_array(host):
            events.uploaded(array.nbytes)
        return array

    def _dtype_of_numbers(self, dtype: Any) -> np.dtype:
        try:
            found = np.dtype(self.xp.dtype(dtype))
        except Exception:  # an object of someone's own may raise anything
            found = np.dtype(object)
        if found.kind not in plain_arrays.NUMBERS:
            raise bad_type("dtype", "None or a dtype of numbers", describe(dtype))
        return found

    def to_host(self, array: Any) -> np.ndarray:
        """Download: the array's data as a NumPy array (no copy where it is one already).  Waits for the device."""
        plain_arrays.refuse_own_rules("array", array)
        if not isinstance(array, (np.ndarray, self.xp.ndarray)):
            raise bad_type("array", f"a {self.name} or NumPy array", describe(array))
        with mended():
            host: np.ndarray = array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)
        if host.dtype.kind not in plain_arrays.NUMBERS:
            raise bad_type("array", "an array of numbers", f"dtype {host.dtype}")
        if host is not array or self.device == "CPU":  # on a CPU, a copy that a GPU would make
            events.downloaded(host.nbytes)
        return host

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array with anything in it; a large one takes memory that was used before, where the kernels keep it."""
        return self.kernels.empty(shape, dtype) if self.kernels.whole_layers else self.xp.empty(shape, dtype=dtype)

    # -- questions ----------------------------------------------------------------------------------------------------

    def is_array(self, obj: Any) -> bool:
        """Whether `obj` is an array of this backend's library; a subclass with rules of its own is not."""
        plain = self.xp.ndarray
        return type(obj) is plain or (isinstance(obj, plain) and not plain_arrays.has_own_rules(obj))

    def dtype_of(self, array: Any) -> np.dtype:
        """The array's dtype in NumPy's words, whatever its library calls it."""
        return np.dtype(self.xp.dtype(array.dtype))

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
            plain_arrays.refuse_own_rules(argument, obj, f"a {self.name} array")
            raise bad_type(argument, f"a {self.name} array", describe(obj), self._conversion(obj))
        if not isinstance(obj, np.ndarray):
            plain_arrays.refuse_autograd(argument, obj)
            plain_arrays.refuse_unreadable(argument, obj)
        home = getattr(self.xp, "home", None)
        if home is not None and obj.device != home:
            raise bad_type(argument, f"an array on {home}", f"one on {obj.device}", f"use {argument}.to({str(home)!r})")
        wanted_dtype = None if dtype is None else self.xp.dtype(dtype)
        if wanted_dtype is not None and self.dtype_of(obj) != wanted_dtype:
            cast = f".to(torch.{wanted_dtype})" if self.name == "torch" else f".astype({str(wanted_dtype)!r})"
            got = plain_arrays.dtype_in_words(obj.dtype)
            raise bad_type(argument, f"dtype {wanted_dtype}", got, f"use {argument}{cast}")
        if shape is not None and (
            obj.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, obj.shape, strict=True))
        ):
            wanted = f"shape ({', '.join('any' if s is None else str(s) for s in shape)}{',' * (len(shape) == 1)})"
            raise bad_input(argument, f"{wanted} {axes}".rstrip(), f"shape {tuple(obj.shape)}", _shape_mend(obj, shape))

    def _conversion(self, obj: Any) -> str:
        """How an array of another library gets here: by the host, in words."""
        upload = f"engine.get_backend({self.name!r}).asarray"
        home = next((name for name in KERNELS if type(obj).__module__.partition(".")[0] == name), "numpy")
        if home in ("numpy", self.name):
            return f"convert it with {upload}(..., dtype=...)"
        download = f"engine.get_backend({home!r}).to_host(...)"
        return f"download it with {download}" + ("" if self.name == "numpy" else f", then {upload}(..., dtype=...)")

    def dropout_mask(
        self, seed: int, path: str, purpose: str, call: int, steps: Any, rows: Any, units: int, p: float, dtype: Any
    ) -> Any:
        """Inverted-dropout mask (T, B, units), computed where the data is and the same on every backend (rule 14)."""
        key = philox.stream_key(seed, path, purpose)
        return philox.keep_mask(self.xp, key, call, steps, rows, units, p, dtype)

    def fingerprint(self, arrays: Iterable[Any]) -> int | None:
        """A checksum of the arrays' contents; None where reading them would wait for a device."""
        if self.device != "CPU":
            return None
        if self.kernels.whole_layers:
            return int(self.kernels.checksum(arrays))
        value = 0
        for array in arrays:
            memory = array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)  # on the CPU: nothing is copied
            value = zlib.crc32(np.ascontiguousarray(memory).reshape(-1).view(np.uint8).data, value)
        return value


def get_backend(name: str | Backend = "numpy", kernels: str | None = None) -> Backend:
    """The backend of that name.

    Parameters
    ----------
    name : ``"numpy"``, ``"cupy"``, ``"torch"``, or with the kernel set in one string, ``"numpy:reference"``; a Backend
        is returned as it is.
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
    one_of("backend", library, KERNELS)
    chosen = inline or None if kernels is None else kernels
    if chosen is not None and (not isinstance(chosen, str) or chosen not in KERNELS[library]):
        expected = f"one of {', '.join(map(repr, KERNELS[library]))} for {library}"
        raise bad_input("kernels", expected, describe(chosen))
    return _load(library, chosen)


def available_backends() -> dict[str, str | None]:
    """Every backend by name: None where it is usable, else the reason why it is not.  Never raises."""
    return {name: _reason(name) for name in KERNELS}


def add_backend(backend: Backend) -> Callable[[], None]:
    """Make an array library of your own known under its name, as docs/add_a_backend.md shows.

    Parameters
    ----------
    backend : with a name of its own; its ``xp.ndarray`` is the class of its arrays.

    Returns
    -------
    a function that takes it off the list again.
    """
    if not isinstance(backend, Backend):
        raise bad_type("backend", "a Backend", describe(backend))
    if backend.name in KERNELS:
        raise bad_input("backend", f"a name beside {', '.join(map(repr, KERNELS))}", repr(backend.name))
    _ADDED[backend.name], KERNELS[backend.name] = backend, (backend.kernels.name,)

    def remove() -> None:
        del _ADDED[backend.name], KERNELS[backend.name]

    return remove


def backend_of(array: Any, argument: str = "array") -> Backend:
    """The backend (with its plain kernels) that `array` belongs to.

    Raises
    ------
    InputTypeError
        if it is no plain array of a known backend.
    """
    plain_arrays.refuse_own_rules(argument, array)
    for backend in _ADDED.values():
        if isinstance(array, backend.xp.ndarray):
            return backend
    if isinstance(array, np.ndarray):
        return get_backend("numpy", "reference")
    if type(array).__module__.partition(".")[0] == "cupy":
        return get_backend("cupy", "reference")
    if plain_arrays.is_tensor(array):
        plain_arrays.refuse_autograd(argument, array)
        plain_arrays.refuse_unreadable(argument, array)
        return _build("torch", "reference", str(array.device))
    raise bad_type(argument, f"an array of one of the backends {', '.join(KERNELS)}", describe(array))


def check_dtype(dtype: Any) -> np.dtype:
    """The dtype as an object; an InputTypeError unless it is float32 or float64."""
    try:
        wanted = None if dtype is None else np.dtype(dtype)  # np.dtype(None) would be float64
    except Exception:  # np.dtype takes dicts, modules and objects with a dtype apart, and trips over some
        wanted = None
    if wanted is None or wanted not in FLOATS:
        got = repr(dtype) if isinstance(dtype, type) else describe(dtype)
        if plain_arrays.is_half(dtype):
            mend = "build it in float32: load_state_dict takes half-precision weights as they are"
            raise bad_type("dtype", "'float32' or 'float64'", f"{got}, half precision", mend)
        raise bad_type("dtype", "'float32' or 'float64'", got)
    return wanted


def _load(library: str, chosen: str | None) -> Backend:
    """The backend with the kernel set asked for, or with the best that is installed."""
    if library in _ADDED:
        return _ADDED[library]
    reason = _reason(library)
    if reason is not None:
        raise BackendUnavailableError(f"backend {library!r} cannot be used here: {reason}")
    missing = ""
    for kernel_name in (chosen,) if chosen else KERNELS[library]:
        missing = kernel_sets.reason_missing(kernel_name) or ""
        if not missing:
            return _build(library, kernel_name, _device(library))
    raise BackendUnavailableError(f"kernels {chosen!r} cannot be used here: {missing}")


def _device(library: str) -> str:
    """Which of its devices the library would put new arrays on; only torch is asked, the others have one."""
    if library != "torch":
        return ""
    try:
        return str(torch_library.chosen_device(importlib.import_module("torch")))
    except Exception as error:  # a broken installation, or a device that is not there
        reason = f"torch is installed but fails: {in_words(error)}"
        raise BackendUnavailableError(f"backend 'torch' cannot be used here: {reason}") from error


@functools.cache
def _build(library: str, kernel_name: str, place: str) -> Backend:
    """One object for each triple, however it was asked for."""
    if library == "torch":
        return _build_torch(kernel_name, place)
    xp: Any = np if library == "numpy" else importlib.import_module(library)
    device = "CPU" if library == "numpy" else f"GPU {xp.cuda.Device().id}"
    return Backend(library, xp, kernel_sets.load(kernel_name, xp), device)


def _build_torch(kernel_name: str, place: str) -> Backend:
    torch, compat = (importlib.import_module(name) for name in ("torch", "array_api_compat.torch"))
    xp = torch_library.TorchLibrary(torch, compat, torch.device(place))
    return Backend("torch", xp, kernel_sets.load(kernel_name, xp), "CPU" if place == "cpu" else f"GPU ({place})")


@functools.cache
def _reason(library: str) -> str | None:
    """Why the library cannot be used; None where it can.  CuPy imports without a GPU, so one small array is tried."""
    if library == "numpy" or library in _ADDED:
        return None
    if library == "torch":  # found, not imported: that takes seconds, and a CPU is always there
        absent = [name for name in ("torch", "array_api_compat") if importlib.util.find_spec(name) is None]
        return f"{absent[0]} is not installed (pip install 'bptt-engine[torch]')" if absent else None
    if importlib.util.find_spec(library) is None:
        return f"{library} is not installed (pip install 'bptt-engine[cuda12]' or '[cuda13]')"
    try:
        xp = importlib.import_module(library)
        if not xp.cuda.is_available():
            return _no_device(xp.cuda.runtime)
        probe = xp.zeros((2, 2), dtype=np.float32)
        (probe @ probe + probe).sum().item()  # an allocation, a kernel compiled by NVRTC, a product by cuBLAS
    except Exception as error:  # any failure of a driver, a toolkit or the library itself is a reason, never a crash
        return f"{library} is installed but fails: {in_words(error)}"
    return None


def _no_device(runtime: Any) -> str:
    """Why CuPy finds no GPU; of a missing driver and of an old one it says the same."""
    driver, built_for = (version // 1000 for version in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    if driver == 0:
        return "no CUDA driver, and so no GPU, was found: install NVIDIA's, or stay on the numpy backend"
    if driver < built_for:
        older = ", or pip install 'bptt-engine[cuda12]'" if driver == 12 else ""
        return f"the driver is for CUDA {driver}, and the installed cupy needs {built_for}: update the driver{older}"
    return "the CUDA driver finds no GPU: see whether nvidia-smi lists it and CUDA_VISIBLE_DEVICES lets it be seen"


def _shape_mend(obj: Any, shape: tuple[int | None, ...]) -> str:
    if obj.ndim == len(shape) - 1:
        return "an axis is missing: a batch of one still needs its batch axis"
    return ""
