"""A sequence that is read part by part: a model's passes over some of its steps, with the masks of the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.checks import describe, switch
from engine.errors import bad_input, bad_type
from engine.layers import CRF, Attention, Heads, Pool, Recurrent, Sequential, Translator
from engine.layers.base import Layer
from engine.layers.composite import Composite
from engine.layers.timeline import Remaining, check_lengths

#: From the output of some steps, the first of them and the one behind the last, to the pair (loss, dy).
Loss = Callable[[Any, int, int], tuple[Any, Any]]


def leaves_of(model: Layer) -> list[Layer]:
    """The layers of a model that hold no others, in order."""
    if not isinstance(model, Composite):
        return [model]
    return [leaf for _, layer in model.named_parts() for leaf in leaves_of(layer)]


class Reader:
    """Passes of a model over parts of a sequence.

    Parameters
    ----------
    model : Layer
        Its layers take their time steps one after another, from the first to the last.
    x : array (T, B, ...)
        The input, or (B, T, ...) with ``batch_first``: of the model's library, or on the host, perhaps a memory map.
    lengths : sequence of int or None
        (B,) valid steps of each row.
    training : bool
        Whether masks are drawn.

    Attributes
    ----------
    steps, batch : T and B.
    """

    def __init__(self, model: Layer, x: Any, lengths: Any, training: bool = True) -> None:
        if not isinstance(model, Layer):
            raise bad_type("model", "a layer of engine", describe(model))
        _require_one_way(model)
        require_sequence(model, x)
        self.model, self.x, self.training = model, x, switch("training", training)
        self.axis, shape = 1 if model.batch_first else 0, x.shape
        self.steps, self.batch = shape[self.axis], shape[1 - self.axis]
        self.lengths = None if lengths is None else check_lengths(lengths, self.steps, self.batch)
        self.recurrent = [leaf for leaf in leaves_of(model) if isinstance(leaf, Recurrent)]

    def part(self, values: Any, start: int, stop: int) -> Any:
        """Some steps of an array in the layout of x."""
        return values[:, start:stop] if self.axis else values[start:stop]

    def room_for(self, part: Any) -> Any:
        """Zeros for all steps of what `part` holds for some, in the layout of x."""
        whole = (self.batch, self.steps) if self.axis else (self.steps, self.batch)
        return self.model.backend.xp.zeros((*whole, *part.shape[2:]), dtype=part.dtype)

    def forward(self, start: int, stop: int, state: Any) -> tuple[Any, Any, Any]:
        """The model's forward pass over some steps."""
        self.model.step_offset = self._first + start
        self.model.load_call_counters(self._counters)
        return self.model.forward(self._input(start, stop), state, self._left(start), self.training)

    def advance(self, start: int, stop: int, state: Any) -> Any:
        """The state after some steps; nothing else is kept."""
        self.model.step_offset = self._first + start
        self.model.load_call_counters(self._counters)
        return advance(self.model, self._input(start, stop), state, self._left(start), self.training)

    def _input(self, start: int, stop: int) -> Any:
        values, backend = self.part(self.x, start, stop), self.model.backend
        if isinstance(values, np.ndarray):
            values = np.asarray(values)  # a memory map's class stays behind
            if values.dtype.kind == "f":  # ids stay on the host
                return backend.asarray(np.ascontiguousarray(values))
        return values

    def _left(self, start: int) -> Any:
        return None if self.lengths is None else Remaining(self.lengths - start)

    @contextlib.contextmanager
    def one_pass(self) -> Iterator[None]:
        """What is run in between draws the masks of one forward pass; afterwards the counters are one further."""
        self._counters, self._first = self.model.call_counters(), self.model.step_offset
        try:
            yield
        finally:
            self.model.step_offset = self._first

    def loss(self, function: Loss, y: Any, start: int, stop: int) -> tuple[Any, Any]:
        """The loss of some steps and dy, checked."""
        pair = function(y, start, stop)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise bad_type("loss", "a function that returns the pair (loss, dy)", f"one that returns {describe(pair)}")
        self.model.backend.require("dy of the loss", pair[1], dtype=y.dtype, shape=tuple(y.shape), axes="that of y")
        return pair[0], pair[1]


def require_sequence(model: Layer, x: Any) -> None:
    """Raise unless x is an array with an axis of time and one of rows."""
    if type(x) not in (np.ndarray, np.memmap):  # these may be ids, or be uploaded part by part
        model.backend.require("x", x)
    if x.ndim < 2:
        raise bad_input("x", "an array with an axis of time and one of rows", f"shape {tuple(x.shape)}")


def require_loss(loss: Any) -> None:
    """Raise unless `loss` can be called."""
    if not callable(loss) or isinstance(loss, type):
        raise bad_type("loss", "a function of (y, start, stop) that returns the pair (loss, dy)", describe(loss))


def each_state(function: Callable[..., Any], *states: Any) -> Any:
    """The function of every array of states of one structure; None stays None."""
    if isinstance(states[0], tuple):
        return tuple(each_state(function, *parts) for parts in zip(*states, strict=True))
    return None if states[0] is None else function(*states)


def advance(model: Layer, x: Any, state: Any, lengths: Any = None, training: bool = True) -> Any:
    """The state of a model after x, with the masks of a forward pass; no tape is kept."""
    if isinstance(model, Recurrent):
        return model.advance(x, state, lengths, training)[1]
    if not isinstance(model, Sequential):
        return model.forward(x, state, lengths, training)[1]
    found: list[Any] = [None] * len(model.layers)
    parts = model._split("state", state)
    last = max([n for n, layer in enumerate(model.layers) if _carries(layer)], default=-1)  # no state comes after it
    for number, layer in enumerate(model.layers[: last + 1]):
        if number == last:
            found[number] = advance(layer, x, parts[number], lengths, training)
        elif isinstance(layer, Recurrent):
            x, found[number] = layer.advance(x, parts[number], lengths, training)
        else:
            x, found[number] = layer.forward(x, parts[number], lengths, training)[:2]
    return tuple(found)


def _carries(layer: Layer) -> bool:
    return any(isinstance(leaf, Recurrent) for leaf in leaves_of(layer))


def _inside_out(model: Layer) -> list[Layer]:
    """All layers of a model, each before the one that holds it."""
    parts = model.named_parts() if isinstance(model, Composite) else []
    return [*(inner for _, layer in parts for inner in _inside_out(layer)), model]


def _require_one_way(model: Layer) -> None:
    hint = "engine.recompute saves memory inside its recurrent layers"
    for layer in _inside_out(model):
        if isinstance(layer, Recurrent) and layer.bidirectional:
            raise bad_input("model", "layers of one direction", "a bidirectional layer", hint)
        whole = isinstance(layer, (Attention, CRF, Heads, Pool, Translator))
        if whole or len(layer.buffers):  # running statistics would see a step twice
            raise bad_input("model", "layers that take one step after another", f"a {type(layer).__name__}", hint)
