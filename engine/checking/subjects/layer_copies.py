"""Copies of a layer for a gradient check to work on, so that the layer itself is left alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.checking.subjects import batched
from engine.checking.subjects.trees import copied
from engine.checks import describe
from engine.errors import EngineError, bad_input, bad_type
from engine.layers import saving
from engine.layers.arrays import JoinedArrays, NamedArrays
from engine.layers.base import Layer
from engine.layers.container import Container, ContainerTape
from engine.layers.translator_parts import TranslatorTape

#: Methods that only backward uses.
BACKWARD = {"backward", "backward_trace", "_walk"}
#: Attributes that a copy keeps for itself.
COUNTERS = {"_serial", "call_counter"}


def two_copies(layer: Any, dtype: str) -> tuple[Any, Any]:
    """Two copies of a layer: one in float64 to be evaluated, one in `dtype` for backward.

    A method that was replaced on the object, and not in its class, may belong to that one object.  A copy would not run
    it.  Then the object itself is used, and restored at the end.
    """
    _refuse_rounded(layer, dtype)
    replaced = replaced_methods(layer)
    if not replaced:
        return _convert(layer, "float64"), _convert(layer, dtype)
    if isinstance(layer, Layer) and layer.dtype != np.float64 and not replaced <= BACKWARD:
        raise bad_input(
            "layer",
            f"one of dtype float64, as its {sorted(replaced - BACKWARD)[0]} was replaced on the object",
            f"dtype {layer.dtype}",
            'build it with dtype="float64", or replace the method in a subclass',
        )
    return (_convert(layer, "float64") if replaced <= BACKWARD else layer), layer


def _refuse_rounded(layer: Any, dtype: str) -> None:
    """Raise for a check in float32 of a layer that rounds the operands of its products: it would count as an error."""
    for part in saving.leaves(layer) if isinstance(layer, Layer) and dtype == "float32" else ():
        precision = getattr(part, "precision", "float32")
        if precision != "float32":
            hint = "its float64 copy rounds nothing: its equations are what is checked"
            raise bad_input("dtype", f"'float64' for a layer with precision={precision!r}", "'float32'", hint)


def replaced_methods(layer: Any) -> set[str]:
    """Names of methods that an object, or a layer inside it, has in place of those of its class."""
    own = {
        name for name, value in vars(layer).items() if callable(value) and callable(getattr(type(layer), name, None))
    }
    for part in getattr(layer, "layers", ()) if isinstance(layer, Container) else ():
        own |= replaced_methods(part)
    return own


def _convert(layer: Any, dtype: str) -> Any:
    """A copy of a layer; one of the engine's in the dtype asked for, another object as it is."""
    if not isinstance(layer, Layer):
        return copy.deepcopy(layer)
    try:
        moved = layer.to(dtype=dtype)
    except (TypeError, EngineError):  # a class of someone's own may be built in another way
        return copy.deepcopy(layer)
    _take_along(layer, moved)
    return moved


def _take_along(layer: Layer, moved: Layer) -> None:
    """Give a copy the attributes that its constructor does not know; methods stay those of the class."""
    for name, value in vars(layer).items():
        if name not in vars(moved) and not callable(value):
            setattr(moved, name, copy.deepcopy(value))
        elif type(layer) in batched.KNOWN or name in layer.fixed | COUNTERS:
            continue
        elif isinstance(value, (bool, int, float, str)):
            setattr(moved, name, value)
    if isinstance(layer, Container) and isinstance(moved, Container):
        for part, other in zip(layer.layers, moved.layers, strict=True):
            _take_along(part, other)


def adopt(tape: Any, layer: Any) -> Any:
    """The tape as if this layer had made it."""
    stamp = layer._stamp()
    if isinstance(tape, ContainerTape):
        pairs = zip(tape.tapes, layer.layers, strict=True)
        return dataclasses.replace(tape, tapes=tuple(adopt(part, own) for part, own in pairs), stamp=stamp)
    if isinstance(tape, TranslatorTape):
        tapes = {name: adopt(part, layer.parts[name]) for name, part in tape.tapes.items()}
        return dataclasses.replace(tape, tapes=tapes, stamp=stamp)
    return dataclasses.replace(tape, stamp=stamp)


def zero_grads(layer: Any) -> None:
    """Set all gradients to zero, in place."""
    for grad in layer.grads.values():
        grad[...] = 0


def check_protocol(layer: Any) -> None:
    """Raise unless the object can be checked as a layer."""
    missing = [name for name in ("forward", "backward", "params", "grads") if not hasattr(layer, name)]
    if missing or isinstance(layer, type):
        raise bad_type(
            "layer",
            "a layer of engine, or an object with forward, backward, params and grads",
            describe(layer),
            "for an object with forward(x) and backward(dout) use check_object, for functions check_gradients",
        )


@contextmanager
def lent(params: Any, replaced: Mapping[str, Any]) -> Iterator[None]:
    """Give parameters other values for a while."""
    before = {name: params[name] for name in replaced if name in params}
    values = {name: copied(param) for name, param in before.items()}
    for name, param in before.items():
        if replaced[name].dtype == param.dtype:
            param[...] = replaced[name]  # in place: a layer may hold the array under another name as well
        else:
            _lend(params, name, replaced[name])  # complex numbers find no room in a real array
    try:
        yield
    finally:
        for name, param in before.items():
            if params[name] is not param:
                _lend(params, name, param)
            param[...] = values[name]


def _lend(params: Any, name: str, array: Any) -> None:
    """Put another array in the place of a parameter, for a while."""
    if isinstance(params, NamedArrays | JoinedArrays):
        params.lend(name, array)
    else:
        params[name] = array
