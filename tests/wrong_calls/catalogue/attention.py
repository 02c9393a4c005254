"""Attention: constructor, passes, windows."""

from __future__ import annotations

from typing import Any

import engine
from engine.layers.attention import KINDS
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, common, draw
from wrong_calls.domains import choice, exactly, flag, floats, instance, integers, optional, whole

S = 4
LENGTHS = ([S, 0, 2], optional(integers(0, S, B)))


@entry("Attention")
def _attention(place: Place) -> Call:
    return call(
        engine.Attention,
        kind=("additive", choice("additive")),
        query_size=(D, whole(1, 10**5)),
        memory_size=(H, optional(whole(1, 10**5))),
        hidden_size=(2, optional(whole(1, 10**5))),
        batch_first=(True, flag),
        **common(place),
    )


def _layer(place: Place) -> tuple[Any, Any, Any]:
    """The layer, and its queries and memory with their domains."""
    queries = (draw(T, B, D), floats("float32", None, B, D))
    return engine.Attention(KINDS[2], D, H, backend=place.spec), queries, (draw(S, B, H), floats("float32", S, B, H))


@entry("Attention.forward")
def _forward(place: Place) -> Call:
    layer, x, state = _layer(place)
    return call(layer.forward, x=x, state=state, lengths=LENGTHS, training=(True, flag))


@entry("Attention.predict")
def _predict(place: Place) -> Call:
    layer, x, state = _layer(place)
    return call(layer.predict, x=x, state=state, lengths=LENGTHS)


@entry("Attention.backward")
def _backward(place: Place) -> Call:
    layer, x, state = _layer(place)
    tape = layer.forward(x[0], state[0], LENGTHS[0])[2]
    return call(
        lambda **given: (layer.backward(**given), {name: grad.copy() for name, grad in layer.grads.items()}),
        lambda: {name: grad.copy() for name, grad in layer.grads.items()},
        tape=(tape, exactly(tape), {"another's": lambda: layer.to().forward(x[0], state[0])[2]}),
        dy=(draw(T, B, H), optional(floats("float32", T, B, H))),
        dstate=(draw(S, B, H), optional(floats("float32", S, B, H))),
    )


@entry("Attention.window")
def _window(place: Place) -> Call:
    layer, x, state = _layer(place)
    tape = layer.forward(x[0], state[0])[2]
    return call(layer.window, tape=(tape, instance(type(tape))), start=(1, whole(0, T)), stop=(3, whole(0, T)))
