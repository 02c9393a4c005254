"""What models that are made of layers share: names, gradients, counters and random keys of all their layers."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from engine.layers.arrays import JoinedArrays
from engine.layers.base import Layer
from engine.layers.building import check_seed


class Composite(Layer):
    """Base of the models that are made of layers, each with a name: a `Sequential`, a `Translator`.

    The name of a parameter is that of its layer, a dot, and its own; the name of a layer is its ``path``, a part of the
    key of its random numbers.
    """

    def named_parts(self) -> list[tuple[str, Layer]]:
        """The layers with their names."""
        raise NotImplementedError

    def _inside(self) -> list[Layer]:
        return [layer for _, layer in self.named_parts()]

    def _join(self, seed: int | None) -> None:
        """Make the layers one model; with a seed, it replaces their own."""
        for layer in self._inside():
            layer._owner = weakref.ref(self)
        self._adopt("", seed)
        self._join_arrays()

    def _join_arrays(self) -> None:
        """Make the mappings of all layers' arrays."""
        named = [(f"{name}.", layer) for name, layer in self.named_parts()]
        self._joined_params = JoinedArrays("params", [(prefix, layer.params) for prefix, layer in named])
        self._joined_buffers = JoinedArrays("buffers", [(prefix, layer.buffers) for prefix, layer in named])
        self._joined_grads = JoinedArrays("grads", [(prefix, layer.grads) for prefix, layer in named])

    def _adopt(self, path: str, seed: int | None) -> None:
        self.path = path
        if seed is not None:
            self.seed = check_seed(seed)
        for name, layer in self.named_parts():
            layer._adopt(f"{path}.{name}" if path else name, seed)

    def _still(self) -> Any:
        """See `Stepping._still`."""
        twin = super()._still()
        twin._take_parts({name: layer._still() for name, layer in self.named_parts()})
        twin._join_arrays()
        return twin

    def _take_parts(self, parts: dict[str, Layer]) -> None:
        """Put other layers in the place of those that are there."""
        raise NotImplementedError

    def _stamp(self) -> tuple[int, int]:
        return self._serial, 0  # each layer's own tape tells whether its parameters have changed

    @property
    def params(self) -> JoinedArrays:
        """The layers' parameters, as ``"0.weight"``; assigning an entry writes into the layer's array."""
        return self._joined_params

    @property
    def grads(self) -> JoinedArrays:
        """The layers' gradients."""
        return self._joined_grads

    @property
    def buffers(self) -> JoinedArrays:
        """The layers' buffers."""
        return self._joined_buffers

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        for layer in self._inside():
            layer.zero_grad()

    def touch(self) -> None:
        """Note that parameters were changed in place."""
        for layer in self._inside():
            layer.touch()

    def call_counters(self) -> dict[str, int]:
        """The dropout call counters of all layers by path."""
        return {path: count for layer in self._inside() for path, count in layer.call_counters().items()}

    def _take_counters(self, counters: Mapping[str, int]) -> None:
        for layer in self._inside():
            layer._take_counters(counters)

    @property
    def row_offset(self) -> int:
        """The global row of local row 0, the same for all layers."""
        return self._row_offset

    @row_offset.setter
    def row_offset(self, value: int) -> None:
        self._row_offset = value
        for layer in self._inside() if "_joined_params" in vars(self) else ():  # base sets it before there are parts
            layer.row_offset = value

    @property
    def step_offset(self) -> int:
        """The step of the sequence that x begins with, the same for all layers."""
        return self._step_offset

    @step_offset.setter
    def step_offset(self, value: int) -> None:
        self._step_offset = value
        for layer in self._inside() if "_joined_params" in vars(self) else ():
            layer.step_offset = value
