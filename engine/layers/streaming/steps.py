"""What each kind of layer does at one time step, in array code: a part of a `Stepper`.

A step takes x_t (B, D) and gives y_t; it holds the weights, which never change, and the state.  The sizes of x_t are
those of a time step of `predict`, without the time axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.checks import describe, require_room
from engine.errors import InputError, bad_input
from engine.layers import arguments
from engine.layers.building import check_no_state
from engine.layers.timeline import Timeline
from engine.layers.walk import Direction, every_direction
from engine.plain_arrays import first_place, host_integers
from kernels.cells import Cell, Pass
from kernels.streams import Carried, Dense, Looked, Normed, Part

if TYPE_CHECKING:
    from engine.layers.base import Layer
    from engine.layers.embedding import Embedding
    from engine.layers.noise import Noise
    from engine.layers.normalisation import LayerNorm
    from engine.layers.pointwise import Pointwise
    from engine.layers.recurrent_passes import RecurrentPasses

Array = Any  # of the layer's backend
WITHOUT_TIME = "x_t is one step of each row, without a time axis"


def refusal(layer: Layer, why: str, what: str = "") -> InputError:
    """The error for a layer that cannot take one step alone."""
    name = what or type(layer).__name__
    place = f" (layer {layer.path})" if layer.path else ""
    return bad_input("model", "layers that can take one step alone, forward in time", f"{name}{place}", why)


class Step:
    """One layer's part of a stepper.

    Attributes
    ----------
    title : the layer in words.
    inputs, outputs : features of x_t and of y_t; None where the layer takes any number, and gives as many.
    """

    def __init__(self, layer: Layer, batch: int, inputs: int | None = None, outputs: int | None = None) -> None:
        self.layer, self.batch = layer, batch
        self.inputs, self.outputs = inputs, outputs
        self.title = type(layer).__name__ + f" (layer {layer.path})" * bool(layer.path)

    def check(self, x: Any) -> Array:
        """Raise unless x is a good x_t; it comes back as the step wants it."""
        self.layer.backend.require("x_t", x, dtype=self.layer.dtype)
        wide = "any" if self.inputs is None else self.inputs
        if x.ndim != 2 or x.shape[0] != self.batch or (self.inputs is not None and x.shape[1] != self.inputs):
            hint = {3: WITHOUT_TIME, 1: "a batch of one still needs its batch axis"}.get(x.ndim, "")
            raise bad_input("x_t", f"shape ({self.batch}, {wide}) (B, D)", f"shape {tuple(x.shape)}", hint)
        return x

    def __call__(self, x: Array) -> Any:
        """y_t from x_t."""
        return x

    def parts(self) -> list[Part]:
        """What the step does, for a kernel set that runs several layers in one call; empty if only array code can."""
        return []

    def state(self) -> Any:
        """The state now, new arrays in the structure of the layer's own; None of a layer without state."""
        return None

    def reset(self, rows: Any) -> None:
        """Set some rows to the initial state; None means all."""


class PointwiseStep(Step):
    """A layer that takes every time step by itself, as it is."""

    layer: Pointwise

    def __call__(self, x: Array) -> Array:
        """See `Step.__call__`."""
        return self.layer._run(x, None, False)[0]


class LinearStep(PointwiseStep):
    """A dense layer."""

    def parts(self) -> list[Part]:
        """See `Step.parts`."""
        arrays = self.layer._params.own
        return [Dense(arrays["weight"], arrays.get("bias"))]


class NormStep(PointwiseStep):
    """Layer normalisation."""

    layer: LayerNorm

    def parts(self) -> list[Part]:
        """See `Step.parts`."""
        arrays = self.layer._params.own
        return [Normed(arrays["weight"], arrays["bias"], self.layer.eps)]


class EmbeddingStep(Step):
    """A table of vectors: x_t are ids (B,), or (B, F) of a table with several features, on the host."""

    layer: Embedding

    def __init__(self, layer: Embedding, batch: int) -> None:
        super().__init__(layer, batch, None, layer.features * layer.embedding_dim)
        self.shape = (batch,) if layer.features == 1 else (batch, layer.features)

    def check(self, x: Any) -> Array:
        """See `Step.check`."""
        hint = "encode the text with a vocabulary first"
        ids = host_integers("x_t", x, "integer token ids", hint, hosted="integer ids on the host")
        if ids.shape != self.shape:
            hint = WITHOUT_TIME if ids.ndim > len(self.shape) else "a batch of one is [id]" if ids.ndim == 0 else ""
            axes = "(B,)" if len(self.shape) == 1 else "(B, F)"
            raise bad_input("x_t", f"ids of shape {self.shape} {axes}", f"shape {ids.shape}", hint)
        wrong = (ids < 0) | (ids >= self.layer.num_embeddings)
        if wrong.any():
            where = first_place(wrong)
            expected = f"token ids in 0..{self.layer.num_embeddings - 1}"
            raise bad_input("x_t", expected, f"{int(ids[where])} at index {where}")
        return ids.astype(np.int64)

    def __call__(self, x: Array) -> Array:
        """See `Step.__call__`."""
        return self.layer._run(x, None, False)[0]

    def parts(self) -> list[Part]:
        """See `Step.parts`."""
        return [Looked(self.layer._params.own["weight"], self.layer.features)]


class PredictStep(Step):
    """A layer of a class that is not the engine's: its `predict` over one step.

    Attributes
    ----------
    first, now : the state at the start and now; None means zeros.
    """

    def __init__(self, layer: Layer, batch: int, state: Any) -> None:
        super().__init__(layer, batch)
        self.first = self.now = state

    def __call__(self, x: Array) -> Array:
        """See `Step.__call__`."""
        axis = 1 if self.layer.batch_first else 0
        y, self.now = self.layer.predict(self.layer.backend.xp.expand_dims(x, axis), self.now)
        return y[:, 0] if axis else y[0]

    def state(self) -> Any:
        """See `Step.state`."""
        return _each(self.now, self.layer.backend.xp.copy)

    def reset(self, rows: Any) -> None:
        """See `Step.reset`."""
        if rows is None or self.now is None:
            self.now = self.first
            return
        self.now = self.state()
        for part, first in zip(_arrays(self.now), _arrays(self.first) or itertools.repeat(None), strict=False):
            part[:, rows] = 0 if first is None else first[:, rows]  # (L, B, H)


class RecurrentStep(Step):
    """The layers of one `Recurrent`, one above the other.

    Attributes
    ----------
    first : for each state of the cell (L, B, width), at the start.
    now : for each layer its states (B, width), which each step writes into.
    passes : what each layer's step takes, beside x and the state.
    """

    layer: RecurrentPasses

    def __init__(self, layer: RecurrentPasses, batch: int, state: Any) -> None:
        if layer.num_directions > 1:
            raise refusal(layer, "its reverse half needs the whole future", f"bidirectional {type(layer).__name__}")
        super().__init__(layer, batch, layer.input_size, layer.widths[0])
        numbers = 4 * sum(layer.widths) + 2 * len(layer.cell.gates) * layer.hidden_size + layer.input_size
        size = layer.num_layers * batch * numbers * layer.dtype.itemsize
        require_room("batch", "states and gates", size, f"batch {describe(batch)}, {self.title}")
        xp, given = layer.backend.xp, arguments.enter_state(layer, "state", state, batch)
        self.first = tuple(
            xp.zeros((layer.num_layers, batch, width), dtype=layer.dtype) if part is None else xp.copy(part)
            for part, width in zip(given, layer.widths, strict=True)
        )
        self.now = [tuple([xp.copy(part[number]) for part in self.first]) for number in range(layer.num_layers)]
        self.passes = self._every_pass()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "passes": None}  # packed weights are known by their addresses, which a copy has not

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.passes = self._every_pass()

    def _every_pass(self) -> list[Pass]:
        layer = self.layer
        noise, cell = layer._noise(None, Timeline(layer.backend, 1, self.batch)), layer._quiet
        return [self._pass(cell, direction, noise) for direction in every_direction(layer.num_layers, 1)]

    def _pass(self, cell: Cell, direction: Direction, noise: Noise | None) -> Pass:
        weights, _, packs = self.layer._arrays(cell, direction)
        if packs is not None:
            packs.keep_for(self.layer._stamp()[1])
        factors = {} if noise is None else noise.factors(direction, cell)
        return Pass(cell, weights, None, factors, self.layer._precision_at(direction), packs)

    def parts(self) -> list[Part]:
        """See `Step.parts`."""
        return [Carried(given, states) for given, states in zip(self.passes, self.now, strict=True)]

    def __call__(self, x: Array) -> Array:
        """See `Step.__call__`."""
        values = x[None]
        for given, states in zip(self.passes, self.now, strict=True):
            run, values = self.layer.backend.kernels.forward_layer(given, values, states, False)
            for part, slots in zip(states, run.states, strict=True):
                part[...] = slots[-1]
        return values[0]

    def state(self) -> Any:
        """See `Step.state`."""
        copies = tuple([self.layer.backend.xp.stack(parts) for parts in zip(*self.now, strict=True)])
        return copies if len(copies) > 1 else copies[0]

    def reset(self, rows: Any) -> None:
        """See `Step.reset`."""
        for number, states in enumerate(self.now):
            for part, first in zip(states, self.first, strict=True):
                if rows is None:
                    part[...] = first[number]
                else:
                    part[rows] = first[number][rows]


def without_state(step: Step, state: Any) -> Step:
    """The step of a layer that carries no state; raises if one is given."""
    check_no_state(state)
    return step


def _arrays(state: Any) -> list[Array]:
    """The arrays of a state, in order."""
    if isinstance(state, tuple | list):
        return [array for part in state for array in _arrays(part)]
    return [] if state is None else [state]


def _each(state: Any, function: Callable[[Array], Array]) -> Any:
    """A state with the function of each of its arrays."""
    if isinstance(state, tuple | list):
        return tuple(_each(part, function) for part in state)
    return None if state is None else function(state)
