"""Steppers and frozen models: how they are made, their steps, their resets."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, V, draw
from wrong_calls.domains import either, floats, integers, optional, sequence, whole

MOST = 10**6  # streams: a pool of wrong values has none between this and what fills the memory


def _lstm(place: Place) -> Any:
    return engine.LSTM(D, H, 2, backend=place.spec)


def _character_model(place: Place) -> Any:
    options: dict[str, Any] = {"backend": place.spec}
    return engine.Sequential(engine.Embedding(V, D, **options), engine.GRU(D, H, **options), seed=4)


def _state() -> tuple[Any, Any]:
    """A state of `_lstm` for B rows, and its domain."""
    one = floats("float32", 2, B, H)
    return (draw(2, B, H), draw(2, B, H) + 1), optional(sequence(one, one))


def _watched(stepper: Any) -> Any:
    return lambda: stepper.state


@entry("LSTM.stepper")
def _stepper(place: Place) -> Call:
    layer = _lstm(place)
    return call(lambda batch: layer.stepper(batch).state, batch=(B, whole(1, MOST)))


@entry("LSTM.stepper (state)")
def _stepper_state(place: Place) -> Call:
    layer = _lstm(place)
    return call(lambda state: layer.stepper(B, state)(draw(B, D)), state=_state())


@entry("Stepper")
def _step(place: Place) -> Call:
    stepper = _lstm(place).stepper(B)
    return call(lambda x_t: stepper(x_t).copy(), _watched(stepper), x_t=(draw(B, D), floats("float32", B, D)))


@entry("Stepper (ids)")
def _step_of_ids(place: Place) -> Call:
    stepper = _character_model(place).stepper(B)
    return call(lambda x_t: stepper(x_t).copy(), _watched(stepper), x_t=([1, 0, V - 1], integers(0, V - 1, B)))


@entry("Stepper.reset")
def _reset(place: Place) -> Call:
    stepper = _lstm(place).stepper(B)
    stepper(draw(B, D))

    def run(rows: Any) -> Any:
        stepper.reset(rows)
        return stepper.state

    one = either(whole(0, B - 1), integers(0, B - 1, None))
    return call(run, _watched(stepper), rows=([0, 2], optional(one)))


@entry("Frozen.predict")
def _frozen_predict(place: Place) -> Call:
    state, domain = _state()
    return call(
        _lstm(place).freeze().predict,
        x=(draw(T, B, D), floats("float32", None, None, D)),
        state=(state, domain),
        lengths=(np.array([T, 0, 2]), optional(integers(0, T, B))),
    )


@entry("Frozen.stepper")
def _frozen_stepper(place: Place) -> Call:
    frozen = _lstm(place).freeze()
    return call(lambda batch: frozen.stepper(batch).state, batch=(B, whole(1, MOST)))
