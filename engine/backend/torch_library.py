"""PyTorch under NumPy's names: the functions that the engine needs, on plain ``torch.Tensor`` objects.

The engine uses a small part of NumPy.  ``array_api_compat`` gives most of it for PyTorch (``axis`` for ``dim``, Python
numbers as arguments); here is the rest, a few lines for each difference:

- callers name dtypes as NumPy does (``np.dtype("float32")``), and they are translated;
- new arrays go to one device, which is chosen when the backend is made;
- ``out=`` is a copy into the array given, so that every function has it;
- PyTorch cannot shift or compare unsigned 64-bit integers: signed ones hold the same bits, and shift as if unsigned;
- no array has a negative stride: `flip` copies.

PyTorch's autograd is not used: `engine.backend.Backend.require` refuses a tensor that requires a gradient.  All other
functions are those of `array_api_compat.torch`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

#: The device to compute on, as PyTorch names it: ``cuda`` or ``cuda:1``.  Unset, it is PyTorch's default device.
DEVICE_VARIABLE = "BPTT_TORCH_DEVICE"
#: The functions that the engine calls with ``out=`` or ``dtype=``.
ELEMENTWISE = (
    "add subtract multiply divide sqrt square sign maximum minimum isfinite logical_and logical_or logical_not"
)


def chosen_device(torch: ModuleType) -> Any:
    """The device that a new backend computes on, with its number where it has one."""
    name = os.environ.get(DEVICE_VARIABLE) or torch.get_default_device()
    return torch.empty(0, device=name).device


class TorchLibrary:
    """The namespace that a torch backend holds as its ``xp``.

    Parameters
    ----------
    torch : the module ``torch``.
    compat : the module ``array_api_compat.torch``.
    home : the ``torch.device`` that new arrays go to.
    """

    #: A number of 64 bits: a Python int, which mixes with int64 tensors and changes no dtype.
    uint64 = int

    def __init__(self, torch: ModuleType, compat: ModuleType, home: Any) -> None:
        self._torch, self._compat, self.home = torch, compat, home
        self.ndarray = torch.Tensor
        for name in ELEMENTWISE.split():
            setattr(self, name, self._elementwise(getattr(compat, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compat, name)

    # -- dtypes --------------------------------------------------------------------------------------------------------

    def dtype(self, given: Any) -> np.dtype:
        """NumPy's name for a dtype; raw bytes for one that NumPy lacks, such as bfloat16."""
        if not isinstance(given, self._torch.dtype):
            return np.dtype(given)
        name = str(given).removeprefix("torch.")
        return np.dtype(name if hasattr(np, name) else f"V{given.itemsize}")

    def _native(self, given: Any) -> Any:
        """PyTorch's name for a dtype; None stays None."""
        if given is None or isinstance(given, self._torch.dtype):
            return given
        return getattr(self._torch, np.dtype(given).name)

    def iscomplexobj(self, array: Any) -> bool:
        """Whether the numbers are complex."""
        return bool(array.is_complex())

    def imag(self, array: Any) -> Any:
        """The imaginary part: of real numbers, zeros."""
        return array.imag if array.is_complex() else self._torch.zeros_like(array)

    def result_type(self, *arrays: Any) -> Any:
        """The dtype that holds all of these, tensors or dtypes."""
        natives = [self._native(one) if isinstance(one, np.dtype | type) else one for one in arrays]
        return self._compat.result_type(*natives)

    # -- new arrays ----------------------------------------------------------------------------------------------------

    def empty(self, shape: Any, dtype: Any = None) -> Any:
        """A new array; its values are not set."""
        return self._torch.empty(shape, dtype=self._native(dtype), device=self.home)

    def zeros(self, shape: Any, dtype: Any = None) -> Any:
        """A new array of zeros."""
        return self._torch.zeros(shape, dtype=self._native(dtype), device=self.home)

    def ones(self, shape: Any, dtype: Any = None) -> Any:
        """A new array of ones."""
        return self._torch.ones(shape, dtype=self._native(dtype), device=self.home)

    def full(self, shape: Any, value: Any, dtype: Any = None) -> Any:
        """A new array of one number."""
        return self._torch.full(shape, value, dtype=self._native(dtype), device=self.home)

    def arange(self, *span: int, dtype: Any = None) -> Any:
        """The integers of a range."""
        return self._torch.arange(*span, dtype=self._native(dtype), device=self.home)

    def asarray(self, data: Any, dtype: Any = None) -> Any:
        """The data on the device; a tensor of that dtype is returned as it is."""
        if not isinstance(data, self._torch.Tensor):
            return self.array(data, dtype)
        return data if dtype is None else data.to(self._native(dtype))

    def array(self, data: Any, dtype: Any = None) -> Any:
        """A new tensor of the data."""
        if isinstance(data, self._torch.Tensor):
            return data.to(device=self.home, dtype=self._native(dtype), copy=True)
        host = np.array(data, dtype=None if dtype is None else self.dtype(dtype), order="C")
        return self._torch.from_numpy(host).to(self.home)

    def asnumpy(self, array: Any) -> np.ndarray:
        """The tensor's data on the host; shared with the tensor where that lies on the CPU."""
        found: np.ndarray = array.numpy(force=True)
        return found

    def copy(self, array: Any) -> Any:
        """A contiguous copy."""
        return array.clone(memory_format=self._torch.contiguous_format)

    def ascontiguousarray(self, array: Any) -> Any:
        """The array with its last axis contiguous; the array itself if it is so already."""
        return array.contiguous()

    # -- functions that PyTorch spells differently ---------------------------------------------------------------------

    def _elementwise(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with NumPy's ``out=`` and ``dtype=``, the dtype that is computed in."""

        def call(*arrays: Any, out: Any = None, dtype: Any = None) -> Any:
            if dtype is not None:
                arrays = tuple(self.asarray(one, dtype) for one in arrays)
            found = function(*arrays)
            return found if out is None else out.copy_(found)

        return call

    def sum(self, array: Any, axis: Any = None, dtype: Any = None) -> Any:
        """The sum over an axis, or over all."""
        return self._compat.sum(array, axis=axis, dtype=self._native(dtype))

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """The arrays one after another along an axis."""
        return self._torch.cat(tuple(arrays), dim=axis)

    def copyto(self, target: Any, values: Any, where: Any = True) -> None:
        """Write the values into the target, at the places that `where` selects."""
        target.copy_(values if where is True else self._torch.where(where, values, target))

    def right_shift(self, array: Any, places: int) -> Any:
        """Shift to the right as unsigned numbers do: zeros come in from the left."""
        return (array >> places) & ((1 << (64 - places)) - 1)
