"""The microscope."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, draw
from wrong_calls.domains import (
    Illegal,
    absent,
    choice,
    exactly,
    floats,
    integers,
    many,
    nothing,
    optional,
    real,
    sequence,
    whole,
)


def _windows(value: Any) -> tuple[int, ...]:
    """A pair (k1, k2) with k1 <= k2."""
    k1, k2 = sequence(whole(1), whole(1))(value)
    if k1 > k2:
        raise Illegal
    return k1, k2


def _names(value: Any) -> Any:
    """One name, or several; the order does not matter."""
    if isinstance(value, str):
        return choice("l0", "l1")(value)
    return sorted(set(many(choice("l0", "l1"))(value)))


@entry("trace")
def _trace(place: Place) -> Call:
    layer = engine.GRU(D, H, 2, backend=place.spec)
    return call(
        lambda **given: engine.trace(**given).to_json(),
        lambda: dict(layer.grads),
        model=(layer, exactly(layer), {"a linear layer": lambda: engine.Linear(D, H), "its class": lambda: engine.GRU}),
        x=(draw(T, B, D), floats("float32", None, B, D)),
        state=(draw(2, B, H), optional(floats("float32", 2, B, H))),
        lengths=([T, 2, 0, 1][:B], optional(integers(0, T, B))),
        dy=(draw(T, B, H), optional(floats("float32", T, B, H))),
        loss=(None, absent, {"a loss beside dy": lambda: lambda y: (1.0, y)}),
        only=("l1", optional(_names)),
        rows=(1, whole(0, 10)),
        truncation=(None, absent, {"with lengths": lambda: (1, 2)}),
        seed=(3, whole(0)),
    )


@entry("underflow")
def _underflow(place: Place) -> Call:
    layer = engine.GRU(D, H, 2, backend=place.spec)

    def scale(value: Any) -> Any:
        return value if real(0, over=0)(value) <= 2**30 else nothing(value)

    return call(
        lambda **given: engine.underflow(**given).to_dict(),
        lambda: dict(layer.grads),
        model=(layer, exactly(layer), {"a linear layer": lambda: engine.Linear(D, H), "its class": lambda: engine.GRU}),
        x=(draw(T, B, D), floats("float32", None, B, D)),
        state=(draw(2, B, H), optional(floats("float32", 2, B, H))),
        lengths=([T, 2, 0, 1][:B], optional(integers(0, T, B))),
        dy=(draw(T, B, H), optional(floats("float32", T, B, H))),
        loss=(None, absent, {"a loss beside dy": lambda: lambda y: (1.0, y)}),
        precision=("fp16", choice("fp16", "bf16")),
        scale=(256.0, scale),
        seed=(3, whole(0)),
    )


@entry("trace with a loss")
def _with_a_loss(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)
    target = draw(T, B, H)

    def loss(y: Any) -> Any:
        return engine.mse(y, target)

    extras = {
        "None as the result": lambda: lambda y: None,
        "one thing": lambda: lambda y: y,
        "three things": lambda: lambda y: (1, y, y),
        "a text": lambda: lambda y: ("1.0", y),
        "an array": lambda: lambda y: (y, y),
        "another shape": lambda: lambda y: (1.0, y[:-1]),
        "another dtype": lambda: lambda y: (1.0, y.astype("float64")),
        "a masked gradient": lambda: lambda y: (1.0, np.ma.masked_array(y)),
    }
    return call(
        lambda **given: engine.trace(**given).to_json(),
        lambda: dict(layer.grads),
        model=(layer, exactly(layer)),
        x=(draw(T, B, D), floats("float32", T, B, D)),
        loss=(loss, optional(exactly(loss)), extras),
        truncation=((2, 3), optional(_windows)),
        rows=(0, whole(0, 10)),
    )
