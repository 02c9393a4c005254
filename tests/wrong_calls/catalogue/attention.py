"""Attention and the model around it: constructors, passes, windows, searches."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from engine.layers.attention import ATTENTION_KINDS
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, V, common, draw, ids_domain
from wrong_calls.domains import (
    absent,
    choice,
    exactly,
    flag,
    floats,
    instance,
    integers,
    nothing,
    optional,
    real,
    whole,
)

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
    return (
        engine.Attention(ATTENTION_KINDS[2], D, H, backend=place.spec),
        queries,
        (draw(S, B, H), floats("float32", S, B, H)),
    )


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


# -- the model around it -----------------------------------------------------------------------------------------------

OF_SOURCE = ([S, 1, 2], optional(integers(0, S, B)))


def _start(value: Any) -> int:
    """An id of the target, but not that of the end, 2."""
    found: int = whole(0, V - 1)(value)
    return found if found != 2 else nothing(value)


@entry("Translator")
def _translator(place: Place) -> Call:
    return call(
        lambda **given: engine.Translator(V, V, D, H, **given),
        num_layers=(2, whole(1, 10**3)),
        cell=("lstm", choice("gru", "lstm", "mgu")),
        attention=("dot", choice(*ATTENTION_KINDS)),
        dropout=(0.25, real(0, 1, closed=True)),
        start=(3, _start),
        unknown=(5, optional(whole(0, V - 1))),
        **common(place),
    )


def _model(place: Place) -> tuple[Any, Any, Any]:
    """The model, and source and target."""
    model = engine.Translator(V, V, D, H, backend=place.spec)
    return model, np.arange(S * B).reshape(S, B) % V, np.arange(T * B).reshape(T, B) % V


def _ids(steps: int | None) -> Any:
    """Ids (steps, B), also as lists of lists."""

    def plain(value: Any) -> Any:
        return integers(0, V - 1, steps, B, lists=False)(ids_domain(value))

    return plain


@entry("Translator.forward")
def _translator_forward(place: Place) -> Call:
    model, source, target = _model(place)
    return call(
        lambda source, target, **rest: model.forward((source, target), **rest),
        source=(source, _ids(S)),
        target=(target, _ids(None)),
        state=(None, absent),
        lengths=OF_SOURCE,
        training=(True, flag),
    )


@entry("Translator.predict")
def _translator_predict(place: Place) -> Call:
    model, source, target = _model(place)
    return call(
        lambda source, target, **rest: model.predict((source, target), **rest),
        source=(source, _ids(S)),
        target=(target, _ids(None)),
        state=(None, absent),
        lengths=OF_SOURCE,
    )


@entry("Translator.backward")
def _translator_backward(place: Place) -> Call:
    model, source, target = _model(place)
    tape = model.forward((source, target))[2]
    return call(
        lambda **given: (model.backward(**given), {name: grad.copy() for name, grad in model.grads.items()}),
        lambda: {name: grad.copy() for name, grad in model.grads.items()},
        tape=(tape, exactly(tape), {"another's": lambda: model.to().forward((source, target))[2]}),
        dy=(draw(T, B, V), optional(floats("float32", T, B, V))),
        dstate=(None, absent),
    )


@entry("Translator.translate")
def _translate(place: Place) -> Call:
    model, source, _ = _model(place)
    return call(
        model.translate,
        source=(source, _ids(S)),
        lengths=OF_SOURCE,
        beam=(2, whole(1, 1000)),
        most=(4, whole(1, 10_000)),
        penalty=(0.5, real(0, 100)),
    )
