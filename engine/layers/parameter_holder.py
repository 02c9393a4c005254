"""Parameters and gradients by name: their first values, saving, loading."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.backend.device_errors import explained
from engine.checks import describe, require_room
from engine.layers import loading
from engine.layers.arrays import JoinedArrays, NamedArrays
from engine.layers.building import check_seed


class ParameterHolder:
    """The part of a `Layer` that holds its parameters."""

    backend: Backend
    dtype: Any
    seed: int
    path: str
    _params: NamedArrays
    _grads: NamedArrays
    _lock: threading.RLock

    def _arguments(self) -> dict[str, Any]:
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
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

    @explained()
    def _allocate(self) -> None:
        """Make the parameters with their first values, and their gradients with zeros."""
        self._require_room()
        xp = self.backend.xp
        for name, shape in self._shapes().items():
            self._params.add(name, self.backend.asarray(self._first_value(name, shape)))
            self._grads.add(name, xp.zeros(shape, dtype=self.dtype))

    def _require_room(self) -> None:
        """Raise before anything is drawn if parameters and gradients are larger than the machine's memory."""
        count = sum(math.prod(shape) for shape in self._shapes().values())
        sizes = ", ".join(f"{name} {describe(value)}" for name, value in self._arguments().items() if value is not None)
        require_room(type(self).__name__, "parameters and gradients", 2 * count * self.dtype.itemsize, sizes)

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
        """Copy all parameters.

        Returns
        -------
        dict of str to array
            The copies by name.
        """
        return {name: self.backend.xp.copy(param) for name, param in self.params.items()}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Copy values into the parameters, in place.

        It takes a PyTorch state dict as it is, in half precision too.  Only here are dtype and library converted.

        Parameters
        ----------
        mapping : mapping of str to array
            Arrays or tensors by name; the names and shapes must be exactly those of ``params``.

        Raises
        ------
        InputError
            For a missing or unknown name, a wrong shape, or a number that is not finite.  Nothing has changed then.
        """
        self._copy_in(loading.checked(self.params, self.dtype, mapping))

    def _copy_in(self, values: Mapping[str, np.ndarray]) -> None:
        for name, value in values.items():
            self.params[name] = self.backend.asarray(value)

    def touch(self) -> None:
        """Note that the parameters were changed in place: tapes made before are stale from now on."""
        self._params.touch()
