"""Recomputation, segments, windows, and the bias of a truncation."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, draw
from wrong_calls.domains import (
    absent,
    choice,
    either,
    exactly,
    flag,
    floats,
    integers,
    many,
    optional,
    sequence,
    whole,
)


def _loss(y: Any, start: int, stop: int) -> Any:
    return engine.mse(y, np.zeros_like(y))


def _over_time(layer: Any, place: Place) -> dict[str, Any]:
    """The arguments that both passes over a long sequence have."""
    part = floats("float32", 1, B, H)
    wrong = {
        "bidirectional": lambda: engine.GRU(D, H, bidirectional=True, backend=place.spec),
        "an optimiser": lambda: engine.SGD(layer),
    }
    losses = {
        "None": lambda: lambda y, start, stop: None,
        "one thing": lambda: lambda y, start, stop: y,
        "another shape": lambda: lambda y, start, stop: (1.0, y[:-1]),
        "another dtype": lambda: lambda y, start, stop: (1.0, y.astype("float64")),
    }
    return {
        "model": (layer, exactly(layer), wrong),
        "x": (draw(T, B, D), floats("float32", None, B, D)),
        "loss": (_loss, exactly(_loss), losses),
        "state": ((draw(1, B, H), draw(1, B, H)), optional(sequence(part, part))),
        "lengths": (None, optional(integers(0, T, B))),
        "wants_dx": (True, flag),
        "training": (True, flag),
    }


@entry("segmented_bptt")
def _segmented(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)
    return call(
        lambda **given: (engine.segmented_bptt(**given), dict(layer.grads)),
        lambda: dict(layer.grads),
        **_over_time(layer, place),
        segments=(2, optional(whole(1))),
        memory=(None, absent),
    )


@entry("windowed_bptt")
def _windowed(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)
    return call(
        lambda **given: (engine.windowed_bptt(**given), dict(layer.grads)),
        lambda: dict(layer.grads),
        **_over_time(layer, place),
        k1=(2, whole(1, 1000)),
        k2=(1000, whole(2)),
        resets=(None, absent),
    )


@entry("recompute")
def _recompute(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)

    def setting(**given: Any) -> Any:
        engine.recompute(**given)
        return layer.recompute

    wrong = {"no recurrent layer": lambda: engine.Linear(D, H, backend=place.spec)}
    return call(
        setting,
        lambda: None,
        model=(layer, exactly(layer), wrong),
        segments=(2, optional(whole(1))),
        memory=(None, absent),
    )


@entry("memory_of")
def _memory(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)
    wrong = {"no recurrent layer": lambda: engine.Linear(D, H, backend=place.spec)}
    return call(
        engine.memory_of,
        layer=(layer, exactly(layer), wrong),
        steps=(T, whole(1)),
        batch=(B, whole(1)),
        lengths=(False, flag),
        recompute=(2, either(whole(1), absent)),
    )


@entry("truncation_bias")
def _bias(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)

    def loss(y: Any) -> Any:
        return engine.mse(y, np.zeros_like(y))

    part = floats("float32", 1, B, H)
    return call(
        lambda **given: engine.truncation_bias(**given).rows,
        lambda: dict(layer.grads),
        layer=(layer, exactly(layer)),
        x=(draw(T, B, D), floats("float32", None, B, D)),
        loss=(loss, exactly(loss)),
        k2=([2, 3], many(whole(2), least=1)),
        k1=(2, optional(whole(1))),
        state=((draw(1, B, H), draw(1, B, H)), optional(sequence(part, part))),
        names=(["weight_hh_l0"], optional(many(choice("weight_hh_l0"), least=1))),
    )
