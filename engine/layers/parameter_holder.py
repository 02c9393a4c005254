"""Parameters, gradients and buffers by name: their first values, saving, loading."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.backend import Backend, philox
from engine.backend.device_errors import explained
from engine.checks import describe, require_room
from engine.layers import loading
from engine.layers.arrays import JoinedArrays, NamedArrays
from engine.layers.building import check_seed


class Buffer(NamedTuple):
    """An array that belongs to a layer's weights, but has no gradient: a running mean, a count.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    first : float
        Its first value, everywhere.
    counts : bool
        Whether it counts something: it is int64 then, in a layer of any dtype.
    """

    shape: tuple[int, ...]
    first: float = 0.0
    counts: bool = False

    def dtype_in(self, dtype: np.dtype) -> np.dtype:
        """Its dtype in a layer of this dtype."""
        return np.dtype(np.int64) if self.counts else dtype


class ParameterHolder:
    """The part of a `Layer` that holds its parameters and buffers."""

    backend: Backend
    dtype: Any
    seed: int
    path: str
    _params: NamedArrays
    _grads: NamedArrays
    _buffers: NamedArrays
    _lock: threading.RLock

    def _arguments(self) -> dict[str, Any]:
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        return {}

    def _buffers_by_name(self) -> dict[str, Buffer]:
        """What each buffer is, by name."""
        return {}

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """First value of a parameter, on the host; one at a time is held beside the parameters."""
        raise NotImplementedError

    @property
    def params(self) -> NamedArrays | JoinedArrays:
        """The parameters by name; assigning an entry writes into its array."""
        return self._params

    @property
    def grads(self) -> NamedArrays | JoinedArrays:
        """The gradients by name; backward adds to them."""
        return self._grads

    @property
    def buffers(self) -> NamedArrays | JoinedArrays:
        """The arrays without a gradient that are saved with the parameters, such as a running mean."""
        return self._buffers

    def saved_arrays(self) -> dict[str, Any]:
        """Gather parameters and buffers by name, the arrays themselves: what `state_dict` copies.

        Returns
        -------
        dict of str to array
            The arrays that a checkpoint holds.
        """
        return {**self.params, **self.buffers}

    @explained()
    def _allocate(self) -> None:
        """Make the parameters with their first values, their gradients with zeros, and the buffers."""
        self._require_room()
        xp = self.backend.xp
        for name, shape in self._shapes().items():
            self._params.add(name, self.backend.asarray(self._first_value(name, shape)))
            self._grads.add(name, xp.zeros(shape, dtype=self.dtype))
        for name, buffer in self._buffers_by_name().items():
            self._buffers.add(name, xp.full(buffer.shape, buffer.first, dtype=buffer.dtype_in(self.dtype)))

    def _require_room(self) -> None:
        """Raise before anything is drawn if parameters, gradients and buffers are larger than the machine's memory."""
        count = 2 * sum(math.prod(shape) for shape in self._shapes().values())
        count += sum(math.prod(buffer.shape) for buffer in self._buffers_by_name().values())
        sizes = ", ".join(f"{name} {describe(value)}" for name, value in self._arguments().items() if value is not None)
        require_room(type(self).__name__, "parameters and gradients", count * self.dtype.itemsize, sizes)

    def _first_value(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._draw(name, shape).astype(self.dtype, copy=False)

    def _key(self, purpose: str) -> tuple[int, int]:
        return philox.stream_key(self.seed, self.path, purpose)

    def _adopt(self, path: str, seed: int | None) -> None:
        """Become part of a Sequential: weights that are still as drawn are drawn again under the new key."""
        untouched = all(
            np.array_equal(self.backend.to_host(self._params.own[name]), self._first_value(name, shape))
            for name, shape in self._shapes().items()
        )
        self.path = path
        if seed is not None:
            self.seed = check_seed(seed)
        if untouched:
            for name, shape in self._shapes().items():
                self._params.own[name][...] = self.backend.asarray(self._first_value(name, shape))
            self.touch()

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        with self._lock:
            for grad in self._grads.own.values():
                grad[...] = 0

    def state_dict(self) -> dict[str, Any]:
        """Copy all parameters and buffers.

        Returns
        -------
        dict of str to array
            The copies by name.
        """
        return {name: self.backend.xp.copy(param) for name, param in self.saved_arrays().items()}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Copy values into the parameters and buffers, in place.

        It takes a PyTorch state dict as it is, in half precision too.  Only here are dtype and library converted.

        Parameters
        ----------
        mapping : mapping of str to array
            Arrays or tensors by name; the names and shapes must be exactly those of ``params`` and
            ``buffers``.

        Raises
        ------
        InputError
            For a missing or unknown name, a wrong shape, or a number that is not finite.  Nothing has changed then.
        """
        self._copy_in(loading.checked(self.saved_arrays(), self.dtype, mapping))

    def _copy_in(self, values: Mapping[str, np.ndarray]) -> None:
        for name, value in values.items():
            (self.params if name in self.params else self.buffers)[name] = self.backend.asarray(value)

    def touch(self) -> None:
        """Note that the parameters were changed in place: tapes made before are stale from now on."""
        self._params.touch()
