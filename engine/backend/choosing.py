"""Which backends exist, which of them can be used here, and why the others cannot."""

from __future__ import annotations

import copyreg
import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import kernels as kernel_sets
from engine import plain_arrays
from engine.backend import torch_library
from engine.backend.backend import KERNELS, Backend
from engine.backend.device_errors import in_words
from engine.checks import describe, one_of
from engine.errors import BackendUnavailableError, bad_input, bad_type

#: The backends of `add_backend`, by name.
_ADDED: dict[str, Backend] = {}


def get_backend(name: str | Backend = "numpy", kernels: str | None = None) -> Backend:
    """Return the backend of that name.

    Parameters
    ----------
    name : str or Backend
        ``"numpy"``, ``"cupy"``, ``"torch"``, or with the kernel set in one text, ``"numpy:reference"``; a Backend is
        returned as it is.
    kernels : str or None
        ``"reference"``, ``"numba"``, ...; None takes the best that is installed.

    Returns
    -------
    Backend
        One object for each pair, however it was asked for.

    Raises
    ------
    InputError
        For a name that does not exist.
    BackendUnavailableError
        For one that exists but cannot be used here, with the reason.

    Examples
    --------
    >>> import engine
    >>> engine.get_backend("numpy", kernels="reference").spec
    'numpy:reference'
    """
    if isinstance(name, Backend):
        return name if kernels is None else get_backend(name.name, kernels)
    if not isinstance(name, str):
        raise bad_type("backend", "a name or a Backend", describe(name))
    library, colon, inline = name.partition(":")
    if inline and kernels is not None and inline != kernels:
        raise bad_input("kernels", f"one kernel set, {inline!r} is in the name already", repr(kernels), "give it once")
    one_of("backend", library, KERNELS)
    chosen = (inline if colon else None) if kernels is None else kernels
    if chosen is not None and (not isinstance(chosen, str) or chosen not in KERNELS[library]):
        expected = f"one of {', '.join(map(repr, KERNELS[library]))} for {library}"
        raise bad_input("kernels", expected, describe(chosen))
    return _load(library, chosen)


def available_backends() -> dict[str, str | None]:
    """List every backend by name: None if it is usable, else the reason why it is not.  Never raises.

    Returns
    -------
    dict of str to str or None
        The reasons by name.

    Examples
    --------
    >>> import engine
    >>> engine.available_backends()["numpy"] is None
    True
    """
    return {name: _reason(name) for name in KERNELS}


def add_backend(backend: Backend) -> Callable[[], None]:
    """Make an array library of your own known under its name, as docs/add_a_backend.md shows.

    Parameters
    ----------
    backend : Backend
        A backend with a new name; its ``xp.ndarray`` is the class of its arrays.

    Returns
    -------
    callable
        A function that removes it from the list again.
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
    """Return the backend (with its plain kernels) that `array` belongs to.

    Parameters
    ----------
    array : object
        An array of any library.
    argument : str
        Its name in the message.

    Returns
    -------
    Backend
        The one whose library made the array.

    Raises
    ------
    InputTypeError
        If it is no plain array of a known backend.
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
    """The device on which the library puts new arrays; only torch is asked, the others have one device."""
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
    """Why the library cannot be used; None if it can.  CuPy imports without a GPU, so one small array is tried."""
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
    """Why CuPy finds no GPU; CuPy itself says the same of a missing driver and of an old one."""
    driver, built_for = (version // 1000 for version in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    if driver == 0:
        return "no CUDA driver, and so no GPU, was found: install NVIDIA's, or stay on the numpy backend"
    if driver < built_for:
        older = ", or pip install 'bptt-engine[cuda12]'" if driver == 12 else ""
        return f"the driver is for CUDA {driver}, and the installed cupy needs {built_for}: update the driver{older}"
    return "the CUDA driver finds no GPU: see whether nvidia-smi lists it and CUDA_VISIBLE_DEVICES lets it be seen"


def _by_name(backend: Backend) -> tuple[Any, ...]:
    """Copies and pickles are the same backend, because a pickle holds only the name."""
    return get_backend, (backend.spec,)


copyreg.pickle(Backend, _by_name)
