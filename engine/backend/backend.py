"""First floor: a backend is an array library, a kernel set, a device and its random numbers, held in one object.

Array libraries are imported here and in the kernel file that needs them, nowhere else.  Host and device meet in two
methods only: `Backend.asarray` uploads, `Backend.to_host` downloads (and waits).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine import plain_arrays
from engine.backend import philox
from engine.backend.device_errors import explained
from engine.checks import describe
from engine.errors import bad_input, bad_type
from kernels import events

#: The kernel sets that each backend can run, best first.
KERNELS = {"numpy": ("numba", "reference"), "cupy": ("cuda", "reference"), "torch": ("reference",)}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Backend:
    """An array library with the kernels that run on its arrays; `get_backend` builds it.

    Parameters
    ----------
    name : str
        ``"numpy"``, ``"cupy"`` or ``"torch"``.
    xp : module
        The array module.
    kernels : Kernels
        The kernel set.
    device : str
        What the arrays live on, in words.

    Examples
    --------
    >>> import engine
    >>> backend = engine.get_backend("numpy:reference")
    >>> backend.spec, backend.device, backend.asarray([1.0, 2.0], dtype="float32").dtype.name
    ('numpy:reference', 'CPU', 'float32')
    """

    name: str
    xp: Any
    kernels: Any
    device: str

    @property
    def spec(self) -> str:
        """The one-string form, such as ``"numpy:numba"``."""
        return f"{self.name}:{self.kernels.name}"

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
        with explained():
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
        with explained():
            host: np.ndarray = array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)
        if host.dtype.kind not in plain_arrays.NUMBERS:
            raise bad_type("array", "an array of numbers", f"dtype {host.dtype}")
        if host is not array or self.device == "CPU":  # on a CPU, a copy that a GPU would make
            events.downloaded(host.nbytes)
        return host

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array; its values are not set.  A large one may reuse memory that the kernels keep."""
        return self.kernels.empty(shape, dtype)

    # -- questions ----------------------------------------------------------------------------------------------------

    def is_array(self, obj: Any) -> bool:
        """Whether `obj` is an array of this backend's library; a subclass with rules of its own is not."""
        plain = self.xp.ndarray
        return type(obj) is plain or (isinstance(obj, plain) and not plain_arrays.has_own_rules(obj))

    def dtype_of(self, array: Any) -> np.dtype:
        """The array's dtype as NumPy names it, for an array of any library."""
        return np.dtype(self.xp.dtype(array.dtype))

    def require(
        self, argument: str, obj: Any, *, dtype: Any = None, shape: tuple[int | None, ...] | None = None, axes: str = ""
    ) -> None:
        """Raise a clear error unless `obj` is this backend's array, of this dtype, of this shape.

        Parameters
        ----------
        argument : str
            The name of the argument, for the message.
        obj : object
            What is checked.
        dtype : dtype or None
            The exact dtype wanted; None accepts any.
        shape : tuple of int or None
            The shape wanted, None for an axis of any length; None accepts any.
        axes : str
            The axes in words, such as ``"(T, B, D)"``.
        """
        if not self.is_array(obj):
            plain_arrays.refuse_own_rules(argument, obj, f"a {self.name} array")
            raise bad_type(argument, f"a {self.name} array", describe(obj), self._conversion(obj))
        if not isinstance(obj, np.ndarray):
            plain_arrays.refuse_autograd(argument, obj)
            plain_arrays.refuse_unreadable(argument, obj)
            home = getattr(self.xp, "home", None)  # NumPy takes microseconds to say that it has none
            if home is not None and obj.device != home:
                hint = f"use {argument}.to({str(home)!r})"
                raise bad_type(argument, f"an array on {home}", f"one on {obj.device}", hint)
        wanted_dtype = None if dtype is None else self.xp.dtype(dtype)
        if wanted_dtype is not None and self.dtype_of(obj) != wanted_dtype:
            cast = f".to(torch.{wanted_dtype})" if self.name == "torch" else f".astype({str(wanted_dtype)!r})"
            got = plain_arrays.dtype_in_words(obj.dtype)
            raise bad_type(argument, f"dtype {wanted_dtype}", got, f"use {argument}{cast}")
        if shape is not None and (
            obj.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, obj.shape, strict=True))
        ):
            wanted = f"shape ({', '.join('any' if s is None else str(s) for s in shape)}{',' * (len(shape) == 1)})"
            raise bad_input(argument, f"{wanted} {axes}".rstrip(), f"shape {tuple(obj.shape)}", _shape_hint(obj, shape))

    def _conversion(self, obj: Any) -> str:
        """A hint on how to convert an array of another library: through the host."""
        upload = f"engine.get_backend({self.name!r}).asarray"
        home = next((name for name in KERNELS if type(obj).__module__.partition(".")[0] == name), "numpy")
        if home in ("numpy", self.name):
            return f"convert it with {upload}(..., dtype=...)"
        download = f"engine.get_backend({home!r}).to_host(...)"
        return f"download it with {download}" + ("" if self.name == "numpy" else f", then {upload}(..., dtype=...)")

    def dropout_mask(
        self, seed: int, path: str, purpose: str, call: int, steps: Any, rows: Any, units: int, p: float, dtype: Any
    ) -> Any:
        """Inverted-dropout mask (T, B, units), computed on the device and the same on every backend (rule 14)."""
        key = philox.stream_key(seed, path, purpose)
        return philox.keep_mask(self.xp, key, call, steps, rows, units, p, dtype)

    def fingerprint(self, arrays: Iterable[Any]) -> int | None:
        """A checksum of the arrays' contents; None if reading them would wait for a device."""
        return self.watch(arrays)()

    def watch(self, arrays: Iterable[Any]) -> Callable[[], int | None]:
        """A function that returns the `fingerprint` of these arrays as they are when it is called."""
        return self.kernels.watch(arrays) if self.device == "CPU" else lambda: None


def check_dtype(dtype: Any) -> np.dtype:
    """The dtype as an object; an InputTypeError unless it is float32 or float64."""
    try:
        wanted = None if dtype is None else np.dtype(dtype)  # np.dtype(None) would be float64
    except Exception:  # np.dtype takes dicts, modules and objects with a dtype apart, and trips over some
        wanted = None
    if wanted is None or wanted not in FLOATS:
        got = repr(dtype) if isinstance(dtype, type) else describe(dtype)
        if plain_arrays.is_half(dtype):
            hint = "build it in float32: load_state_dict takes half-precision weights as they are"
            raise bad_type("dtype", "'float32' or 'float64'", f"{got}, half precision", hint)
        raise bad_type("dtype", "'float32' or 'float64'", got)
    return wanted


def _shape_hint(obj: Any, shape: tuple[int | None, ...]) -> str:
    if obj.ndim == len(shape) - 1:
        return "an axis is missing: a batch of one still needs its batch axis"
    return ""
