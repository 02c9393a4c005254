"""A device made of host memory, to test where no GPU is: it refuses what CuPy refuses, and counts what would wait.

A `DeviceArray` mixes with no host array and becomes one by ``get()`` alone.  ``bool``, ``float``, ``int`` and ``item``
of one work, as in CuPy, but each counts as a wait, and so does ``get``.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from engine.backend import Backend, get_backend

BACKENDS = ["numpy", "fake", pytest.param("cupy", marks=pytest.mark.gpu)]


class Counts:
    """What has happened since `reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.waits = self.uploads = 0


counts = Counts()


class DeviceArray:
    __array_ufunc__ = None  # host_array + device_array is refused

    def __init__(self, data: np.ndarray) -> None:
        self._data = data

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed, use get()")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        attribute = getattr(self._data, name)
        return _on_device(attribute) if callable(attribute) else _outer(attribute)

    def __getitem__(self, index: Any) -> DeviceArray:
        return DeviceArray(np.asarray(self._data[_inner(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._data[_inner(index)] = _inner(value)

    def get(self) -> np.ndarray:
        counts.waits += 1
        return self._data.copy()


def _inner(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return value._data
    if isinstance(value, np.ndarray):
        raise TypeError(f"a host array of shape {value.shape} in a device call")
    return type(value)(map(_inner, value)) if isinstance(value, list | tuple) else value


def _outer(value: Any) -> Any:
    return DeviceArray(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def _on_device(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = _outer(function(*map(_inner, args), **{name: _inner(value) for name, value in kwargs.items()}))
        return kwargs["out"] if kwargs.get("out") is not None else result

    return call


def _operator(name: str) -> Any:
    def operate(self: DeviceArray, *others: Any) -> Any:
        result = getattr(self._data, name)(*map(_inner, others))
        if name.startswith("__i") and name != "__invert__":
            return self
        return _outer(result)

    return operate


def _waiting(name: str) -> Any:
    def wait(self: DeviceArray, *args: Any) -> Any:
        counts.waits += 1
        return getattr(self._data, name)(*args)

    return wait


for _stem in "add sub mul truediv pow and or xor matmul lshift rshift".split():
    for _prefix in ("__", "__r", "__i"):
        setattr(DeviceArray, f"{_prefix}{_stem}__", _operator(f"{_prefix}{_stem}__"))
for _name in "__lt__ __le__ __gt__ __ge__ __eq__ __ne__ __neg__ __invert__".split():
    setattr(DeviceArray, _name, _operator(_name))
for _name in "__bool__ __float__ __int__ item tolist".split():
    setattr(DeviceArray, _name, _waiting(_name))


class Library:
    """The array module: NumPy's functions, on device arrays."""

    ndarray = DeviceArray

    @staticmethod
    def array(host: Any, dtype: Any = None) -> DeviceArray:
        counts.uploads += 1
        return DeviceArray(np.array(host, dtype=dtype))

    @staticmethod
    def asarray(array: DeviceArray, dtype: Any = None) -> DeviceArray:
        return DeviceArray(np.asarray(_inner(array), dtype=dtype))

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, type):  # a scalar type, such as uint64
            return found
        call = _on_device(found)
        if isinstance(found, np.ufunc):
            call.reduceat = _on_device(found.reduceat)
        return call


def use_backend(name: str, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The backend of that name; "fake" is this file's device, made known to the rooms that look a backend up."""
    if name != "fake":
        return get_backend(name, "reference")
    fake = Backend("fake", Library(), get_backend("numpy", "reference").kernels, "memory of the host")
    for room in ("losses", "parameters", "stepping"):
        real = importlib.import_module(f"engine.{room}").backend_of

        def look_up(array: Any, argument: str = "array", real: Any = real) -> Backend:
            return fake if isinstance(array, DeviceArray) else real(array, argument)

        monkeypatch.setattr(f"engine.{room}.backend_of", look_up)
    counts.reset()
    return fake
