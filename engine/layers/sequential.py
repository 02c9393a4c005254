"""Layers one after another, with the protocol of a single layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.backend import Backend
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.layers.container import Container, ContainerTape
from engine.layers.streaming import chains
from engine.layers.streaming.steps import Step


@dataclass(frozen=True, repr=False)
class SequentialTape(ContainerTape):
    """What a `Sequential` keeps for its backward pass.

    Attributes
    ----------
    tapes : tuple of Tape
        The tapes of the layers, in order.
    stamp : tuple of int
        Whose tape it is.
    """


class Sequential(Container):
    """Layers applied in order.

    Each layer's place becomes its ``path`` and part of the key of its random numbers, so that two equal layers start
    with different weights and draw different masks.  Weights that were loaded or trained before are left as they are.

    Parameters
    ----------
    *layers : Layer
        Layers of one backend and one dtype, each once.
    backend : str, Backend or None
        That of the layers; given only to be checked against them.
    dtype : str, dtype or None
        That of the layers; given only to be checked against them.
    seed : int or None
        Replaces the seeds of all layers; None leaves each its own.

    Raises
    ------
    InputError, InputTypeError
        For what is no layer, a layer that is given twice or has a place in another model, or two backends or dtypes.

    Examples
    --------
    >>> import engine
    >>> model = engine.Sequential(engine.Embedding(65, 8), engine.LSTM(8, 16), engine.Linear(16, 65))
    >>> print(model.summary())
       layer             output      parameters
    0  Embedding(65, 8)  (T, B, 8)          520
    1  LSTM(8, 16)       (T, B, 16)       1,664
    2  Linear(16, 65)    (T, B, 65)       1,105
    3,289 parameters, 12.8 KiB in float32 on numpy:numba
    >>> y, states, tape = model.forward([[1, 2], [3, 4], [5, 6]])
    >>> y.shape, sorted(model.params)[:2]
    ((3, 2, 65), ['0.weight', '1.bias_hh_l0'])
    """

    tape_type = SequentialTape

    def __init__(
        self, *layers: Layer, backend: str | Backend | None = None, dtype: Any = None, seed: int | None = None
    ) -> None:
        if not layers:
            raise bad_input("layers", "at least one layer", "none")
        self._hold({str(index): layer for index, layer in enumerate(layers)}, backend, dtype, seed)

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return self.layers[0].input_shape(width)

    def width_after(self, width: int | None) -> int | None:
        """See `Layer.width_after`."""
        for layer in self.layers:
            width = layer.width_after(width)
        return width

    # -- forward and backward ------------------------------------------------------------------------------------------

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, tuple[Any, ...], SequentialTape]:
        """Run the layers in order.

        Parameters
        ----------
        x : array
            Input of the first layer.
        state : tuple or None
            The state of each layer (None for a layer that has none); None means zeros for all.
        lengths : sequence of int or None
            (B,) host integers, handed to every layer up to the one behind which there is no time axis (`Pool`).
        training : bool
            Handed to every layer.

        Returns
        -------
        y : array
            Output of the last layer.
        state : tuple
            The layers' new states.
        tape : SequentialTape
            What backward needs.
        """
        states, tapes = [], []
        for layer, layer_state in zip(self.layers, self._split("state", state), strict=True):
            x, layer_state, tape = layer.forward(x, layer_state, lengths, training)
            lengths = lengths if layer.keeps_time else None
            states.append(layer_state)
            tapes.append(tape)
        return x, tuple(states), SequentialTape(tuple(tapes), self._stamp())

    def forward_with_outputs(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, tuple[Any, ...], SequentialTape, tuple[Any, ...]]:
        """Run the layers in order like `forward`, and keep what each of them gives out.

        Parameters
        ----------
        x, state, lengths, training : array, tuple, sequence of int and bool
            As for `forward`.

        Returns
        -------
        y, state, tape : array, tuple and SequentialTape
            As of `forward`.
        outputs : tuple of array
            The output of each layer; the last one is y.

        Examples
        --------
        >>> import numpy as np
        >>> import engine
        >>> model = engine.Sequential(engine.GRU(2, 3), engine.Dropout(0.5), engine.Linear(3, 1))
        >>> y, states, tape, outputs = model.forward_with_outputs(np.ones((5, 4, 2), np.float32))
        >>> [output.shape for output in outputs]
        [(5, 4, 3), (5, 4, 3), (5, 4, 1)]
        """
        outputs, states, tapes = [], [], []
        for layer, layer_state in zip(self.layers, self._split("state", state), strict=True):
            x, layer_state, tape = layer.forward(x, layer_state, lengths, training)
            lengths = lengths if layer.keeps_time else None
            outputs.append(x)
            states.append(layer_state)
            tapes.append(tape)
        return x, tuple(states), SequentialTape(tuple(tapes), self._stamp()), tuple(outputs)

    def backward(
        self, tape: SequentialTape, dy: Any = None, dstate: Any = None, *, inner: Mapping[int, Any] | None = None
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run the layers' backward passes in reverse order; dx is that of the first layer.

        Parameters
        ----------
        tape : SequentialTape
            What forward returned.
        dy : array or None
            Gradient of y; None is zeros.
        dstate : tuple or None
            Gradients of the layers' new states.
        inner : mapping of int to array or None
            Gradients of the outputs of layers by their places, in their shapes, where a loss looks at them too, as
            `engine.activation_regularization` does.

        Returns
        -------
        dx : array or None
            Gradient of x.
        dstate : tuple
            Gradients of the states at the start.
        """
        self.check_tape(tape)
        inner = self._require_places(inner)
        dstates: list[Any] = []
        pairs = list(zip(self.layers, tape.tapes, self._split("dstate", dstate), strict=True))
        for place, (layer, layer_tape, layer_dstate) in reversed(list(enumerate(pairs))):
            if place in inner:
                dy = self._joined(dy, inner[place], place)
            with layer.already_checked(layer_tape):
                dy, layer_dstate = layer.backward(layer_tape, dy, layer_dstate)
            if layer.on_gradients is not None:
                layer.on_gradients(None)
            dstates.append(layer_dstate)
        return dy, tuple(reversed(dstates))

    def _joined(self, dy: Any, inner: Any, place: int) -> Any:
        """The gradient of a layer's output, from what reads it and from a loss that looks at it."""
        if dy is None:
            return inner
        if self.backend.is_array(dy) and tuple(dy.shape) != tuple(inner.shape):
            raise bad_input(f"inner[{place}]", f"shape {tuple(dy.shape)}", f"shape {tuple(inner.shape)}")
        return dy + inner

    def _require_places(self, inner: Any) -> Mapping[int, Any]:
        """The gradients of inner outputs, by places that are there."""
        if inner is None:
            return {}
        count = len(self.layers)
        if not isinstance(inner, Mapping):
            raise bad_type("inner", "a mapping from places of layers to gradients", describe(inner))
        for place, gradient in inner.items():
            if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < count:
                raise bad_input("inner", f"places in 0..{count - 1}", describe(place))
            self.backend.require(f"inner[{place}]", gradient, dtype=self.dtype)
        return inner

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, tuple[Any, ...]]:
        """Run the layers in order without dropout and tapes."""
        states = []
        for layer, layer_state in zip(self.layers, self._split("state", state), strict=True):
            x, layer_state = layer.predict(x, layer_state, lengths)
            lengths = lengths if layer.keeps_time else None
            states.append(layer_state)
        return x, tuple(states)

    def _step(self, batch: int, state: Any) -> Step:
        pairs = zip(self.layers, self._split("state", state), strict=True)
        return chains.Chain(self, batch, [layer._step(batch, part) for layer, part in pairs])

    def window(self, tape: SequentialTape, start: int, stop: int) -> SequentialTape:
        """The time steps ``start <= t < stop`` of a tape."""
        self.check_kind(tape)
        pairs = zip(self.layers, tape.tapes, strict=True)
        return SequentialTape(tuple(layer.window(part, start, stop) for layer, part in pairs), tape.stamp)

    def config(self) -> dict[str, Any]:
        """A JSON-able description, nested."""
        return {"type": "Sequential", "args": {"layers": [layer.config() for layer in self.layers]}}

    def _with(self, layers: list[Any]) -> Sequential:
        return type(self)(*layers, seed=self._seed_argument)
