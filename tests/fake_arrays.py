"""The arrays of the CuPy look-alike and what works on them; see fake_cupy.py."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_cuda
import numpy as np
from fake_cuda import Block, counts, machine

#: The names that the real package has, by place; made by tests/recorded/record_cupy_names.py.
REAL: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "cupy_names.json").read_text(encoding="utf-8"))
#: Functions and methods whose result has a size that only the device knows.
WAITING = frozenset("nonzero argwhere flatnonzero unique extract compress".split())


class ndarray:  # noqa: N801  (as CuPy calls it)
    """An array on the device.  ``_host`` is the memory, ``_block`` what keeps it allocated."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    _host: np.ndarray
    _block: Block

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        host = _poisoned(np.empty(shape, dtype))
        self._host, self._block = host, Block(host.nbytes)

    # -- what the host may know without a wait ---------------------------------------------------------------------

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    device = property(lambda self: fake_cuda.Device())
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data))
    T = property(lambda self: _view(self._host.T, self))
    real = property(lambda self: _view(self._host.real, self))

    @property
    def imag(self) -> ndarray:
        """A view of a complex array, zeros for a real one."""
        return _view(self._host.imag, self) if self._host.dtype.kind == "c" else _new(np.zeros_like(self._host))

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[k] for k in range(len(self._host)))

    # -- what waits ------------------------------------------------------------------------------------------------

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        """A copy on the host."""
        counts.download(self._host)
        return np.array(self._host, order="C")

    def item(self, *index: Any) -> Any:
        """One number on the host."""
        counts.wait()
        return self._host.item(*index)

    def tolist(self) -> Any:
        """Numbers on the host."""
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        counts.wait()
        return int(self._host.__index__())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __repr__(self) -> str:
        return repr(self.get())

    def __format__(self, form: str) -> str:
        return format(self.item() if self.ndim == 0 else self.get(), form)

    # -- conversions, copies ---------------------------------------------------------------------------------------

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, function: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        out = kwargs.get("out")
        return run(function, args, {**kwargs, "out": out[0]} if isinstance(out, tuple) else kwargs)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        return getattr(sys.modules["cupy"], function.__name__)(*args, **kwargs)

    def __copy__(self) -> ndarray:
        return _new(self._host.copy())

    def __deepcopy__(self, memo: Any) -> ndarray:
        return _new(self._host.copy())

    def __reduce__(self) -> tuple[Any, ...]:
        return array, (self.get(),)

    def set(self, host: np.ndarray) -> None:
        """Upload into this array."""
        counts.upload(host)
        self._host[...] = host

    # -- indices ---------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> ndarray:
        chosen, advanced = _index(self._host.shape, index)
        if any(map(_is_mask, chosen)):
            counts.wait()  # how many are true decides the shape
        found = self._host[chosen]
        return _new(np.ascontiguousarray(found)) if advanced else _view(found, self)

    def __setitem__(self, index: Any, value: Any) -> None:
        chosen, advanced = _index(self._host.shape, index)
        if advanced and not isinstance(value, ndarray):
            value = array(value, dtype=self.dtype)
        if isinstance(value, np.ndarray) and value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if isinstance(value, list | tuple):
            raise TypeError(f"Unsupported type {type(value)}")
        counts.launch()
        plain = value._host if isinstance(value, ndarray) else value
        with np.errstate(all="ignore"):
            if not advanced:
                self._host[chosen] = plain
                return
            places = np.arange(self.size).reshape(self.shape)[chosen]
            values = np.broadcast_to(plain, places.shape).reshape(-1)
            order = machine.generator.permutation(places.size)
            self._host.flat[places.reshape(-1)[order]] = values[order]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in REAL["ndarray"]:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")

        def method(*args: Any, **kwargs: Any) -> Any:
            if name in WAITING:
                counts.wait()
            if name == "take":
                return getattr(sys.modules["cupy"], name)(self, *args, **kwargs)
            return run(getattr(np.ndarray, name), (self, *args), kwargs)

        return method


ndarray.__module__ = "cupy"  # as the real class says of itself


def _operator(function: Any, swapped: bool = False, in_place: bool = False) -> Any:
    def operate(self: ndarray, *others: Any) -> Any:
        if any(getattr(other, "__array_ufunc__", run) is None for other in others):
            return NotImplemented  # the other object's own method takes it (NEP 13)
        if in_place:
            return run(function, (self, *others), {"out": self})
        return run(function, (*others, self) if swapped else (self, *others), {})

    return operate


_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
for _stem, _function in _BINARY.items():
    setattr(ndarray, f"__{_stem}__", _operator(_function))
    setattr(ndarray, f"__r{_stem}__", _operator(_function, swapped=True))
    setattr(ndarray, f"__i{_stem}__", _operator(_function, in_place=True))
_OTHERS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "neg": np.negative,
    "invert": np.invert,
    "abs": np.absolute,
}
for _stem, _function in _OTHERS.items():
    setattr(ndarray, f"__{_stem}__", _operator(_function))


class ufunc:  # noqa: N801
    """An elementwise function; of its methods, those that CuPy has."""

    def __init__(self, function: np.ufunc) -> None:
        self._function = function
        self.__name__ = f"cupy_{function.__name__}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return run(self._function, args, kwargs)

    def reduce(self, array: ndarray, axis: Any = 0, **kwargs: Any) -> Any:
        """The function between all elements along an axis."""
        return run(self._function.reduce, (array,), {"axis": axis, **kwargs})

    def reduceat(self, array: ndarray, indices: ndarray, axis: int = 0) -> Any:
        """Sums of segments as CuPy makes them, as differences of one running sum: the small ones lose their digits."""
        if self._function is not np.add:
            raise NotImplementedError(f"`{self._function.__name__}.reduceat` is not supported yet")
        ends = np.append(plain(indices), array.shape[axis])
        total = np.cumsum(plain(array), axis)
        total = np.concatenate((np.zeros_like(np.take(total, [0], axis)), total), axis)
        return _new(np.take(total, ends[1:], axis) - np.take(total, ends[:-1], axis))

    def at(self, array: ndarray, indices: Any, values: Any = None) -> None:
        """Atomic: the order is another every time."""
        chosen, _ = _index(array.shape, indices)
        places = np.arange(array.size).reshape(array.shape)[chosen]
        order = machine.generator.permutation(places.size)
        flat = np.broadcast_to(plain(values), places.shape).reshape(-1)
        host = array._host.reshape(-1)
        self._function.at(host, places.reshape(-1)[order], flat[order])
        array._host[...] = host.reshape(array.shape)
        counts.launch()


def plain(value: Any) -> Any:
    """A device call's argument as NumPy takes it; a host array is refused."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def run(function: Any, args: Any, kwargs: Any) -> Any:
    """Call a function of NumPy's on device arrays; there is no floating-point warning on a GPU."""
    if isinstance(function, np.ufunc):
        for arg in args:
            if isinstance(arg, list | tuple) or arg is None:
                raise TypeError(f"Unsupported type {type(arg)}")
    with np.errstate(all="ignore"):
        result = function(*map(plain, args), **{name: plain(value) for name, value in kwargs.items()})
    out = kwargs.get("out")
    if out is not None or result is None:
        counts.launch()
        return out
    owners = [arg for arg in args if isinstance(arg, ndarray)]
    return _outer(result, owners, isinstance(function, np.ufunc))


def _outer(result: Any, owners: list[ndarray], elementwise: bool = False) -> Any:
    """What a function of NumPy's returned, on the device: a view of an argument's memory, or new."""
    if isinstance(result, tuple | list):
        return type(result)(_outer(part, owners) for part in result)
    if isinstance(result, np.ndarray):
        for owner in owners:
            if result.size and np.may_share_memory(result, owner._host):
                return _view(result, owner)
        counts.launch()
        return _new(np.ascontiguousarray(result).reshape(result.shape) if elementwise else result)
    if isinstance(result, np.generic | bool):
        counts.launch()
        return _new(np.asarray(result))
    return result


def _new(host: np.ndarray) -> ndarray:
    return _made(host, Block(host.nbytes))


def _view(host: np.ndarray, owner: ndarray) -> ndarray:
    return _made(host, owner._block)


def _made(host: np.ndarray, block: Block) -> ndarray:
    array: ndarray = object.__new__(ndarray)
    array._host, array._block = host, block
    return array


def _index(shape: tuple[int, ...], index: Any) -> tuple[Any, bool]:
    """An index as NumPy takes it, array indices wrapped into the axis; and whether there is one.  Lists upload."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for k, part in enumerate(parts):
        if isinstance(part, list | np.ndarray):
            parts[k] = array(part)._host
        elif isinstance(part, ndarray):
            parts[k] = part._host
    taken = [0 if part is None or part is Ellipsis else part.ndim if _is_mask(part) else 1 for part in parts]
    if not any(part is Ellipsis for part in parts):
        parts, taken = [*parts, Ellipsis], [*taken, 0]
    axis = 0
    for k, part in enumerate(parts):
        if part is Ellipsis:
            axis += len(shape) - sum(taken)
        elif isinstance(part, np.ndarray) and part.dtype.kind in "iu" and shape[axis]:
            parts[k] = part % part.dtype.type(shape[axis])  # silently (rule 21)
        axis += taken[k]
    return tuple(parts), any(isinstance(part, np.ndarray) for part in parts)


def _is_mask(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype.kind == "b"


def array(data: Any, dtype: Any = None, copy: bool = True, **options: Any) -> ndarray:
    """A new device array: an upload of host data, a copy of a device array."""
    order = options.get("order", "K")
    if isinstance(data, ndarray):
        counts.launch()
        return _new(np.array(data._host, dtype=dtype, order=order))
    if isinstance(data, list | tuple) and any(isinstance(part, ndarray) for part in data):
        counts.launch()
        return _new(np.array([plain(part) for part in data], dtype=dtype))
    host = np.array(data, dtype=dtype, order=order)  # a transposed array stays one, as in CuPy
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    made = _new(host)
    counts.upload(host)
    return made


def asarray(data: Any, dtype: Any = None, **options: Any) -> ndarray:
    """The array itself where it has the dtype already."""
    if isinstance(data, ndarray) and dtype in (None, data.dtype):
        return data
    return array(data, dtype)


def ascontiguousarray(data: Any, dtype: Any = None) -> ndarray:
    if isinstance(data, ndarray) and data.flags.c_contiguous and dtype in (None, data.dtype):
        return data
    if not isinstance(data, ndarray):
        return array(data, dtype, order="C")
    counts.launch()
    return _new(np.ascontiguousarray(data._host, dtype=dtype))


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a, order="C")


def broadcast_to(a: ndarray, shape: tuple[int, ...]) -> ndarray:
    """A view; where it spreads nothing it is as good as the array.  Writing to one that does is refused here."""
    return _view(a._host if a.shape == tuple(shape) else np.broadcast_to(plain(a), shape), a)


def take(a: ndarray, indices: Any, axis: int | None = None, out: Any = None) -> ndarray:
    """Indices out of range are wrapped."""
    host = a._host.reshape(-1) if axis is None else a._host
    where = array(indices)._host if isinstance(indices, list | np.ndarray) else plain(indices)
    counts.launch()
    return _new(np.take(host, where, axis or 0, mode="wrap"))


def _poisoned(host: np.ndarray) -> np.ndarray:
    """Memory that nothing has written."""
    host.fill(np.nan if host.dtype.kind in "fc" else np.iinfo(host.dtype).max if host.dtype.kind in "iu" else True)
    return host


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype)


def empty_like(a: ndarray, dtype: Any = None, **options: Any) -> ndarray:
    return ndarray(a.shape, dtype or a.dtype)
