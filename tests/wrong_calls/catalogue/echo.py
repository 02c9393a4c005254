"""Echo state networks."""

from __future__ import annotations

from typing import Any

import engine
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, backend, draw, seed
from wrong_calls.domains import (
    Illegal,
    array,
    dtype,
    either,
    exactly,
    flag,
    floats,
    integers,
    many,
    optional,
    real,
    whole,
)


def _share(value: Any) -> float:
    """A share above 0 at which the units of this seed hear each other."""
    found = float(real(0, 1, closed=True)(value))
    if found < 0.05:
        raise Illegal
    return found


def _model(place: Place) -> Any:
    layer = engine.reservoir(D, H, density=0.8, backend=place.spec, dtype="float32")
    return engine.Sequential(layer, engine.Linear(H, D, backend=place.spec))


@entry("reservoir")
def _reservoir(place: Place) -> Call:
    return call(
        engine.reservoir,
        input_size=(D, whole(1, 10**5)),
        hidden_size=(5 * H, whole(3, 400)),
        spectral_radius=(0.9, real(0)),
        leak=(0.5, real(0, 1, closed=True, over=0)),
        density=(0.5, _share),
        input_scale=(1.0, real(0)),
        bias_scale=(0.1, real(0)),
        batch_first=(False, flag),
        backend=(place.spec, backend),
        dtype=("float64", dtype),
        seed=(2, seed),
    )


@entry("fit_readout")
def _fit_readout(place: Place) -> Call:
    model = _model(place)
    models = {
        "no read-out": lambda: engine.Sequential(engine.GRU(D, H, backend=place.spec)),
        "a layer": lambda: engine.GRU(D, H, backend=place.spec),
    }

    def run(**given: Any) -> Any:
        return engine.fit_readout(**given), {name: array.copy() for name, array in model.params.items()}

    return call(
        run,
        model=(model, exactly(model), models),
        x=(draw(T, B, D), array("f", T, B, D, dtype="float32", finite=True)),
        y=(draw(T, B, D) + 1, array("f", T, B, D, dtype="float32", finite=True)),
        ridge=(0.1, real(0)),
        washout=(1, whole(0, T - 1)),
        lengths=(None, optional(_lengths)),
    )


@entry("free_run")
def _free_run(place: Place) -> Call:
    model = _model(place)
    models = {
        "of another width": lambda: engine.GRU(D, H, backend=place.spec),
        "bidirectional": lambda: engine.GRU(D, D // 2, bidirectional=True, backend=place.spec),
        "a class": lambda: engine.GRU,
    }
    return call(
        engine.free_run,
        model=(model, exactly(model), models),
        x=(draw(T, B, D), _steps),
        steps=(3, whole(1, 10**4)),
        state=(None, exactly(None)),
    )


def _steps(value: Any) -> Any:
    found = floats("float32", None, B, D)(value)
    if not len(found):
        raise Illegal
    return found


def _lengths(value: Any) -> Any:
    """At least one row goes beyond the washout of 1."""
    found = integers(0, T, B)(value)
    if found.max() <= 1:
        raise Illegal
    return found


@entry("scheduled_sampling")
def _scheduled_sampling(place: Place) -> Call:
    model = _model(place)
    return call(
        lambda **given: engine.scheduled_sampling(**given)[:2],
        model=(model, exactly(model), {"of another width": lambda: engine.GRU(D, H, backend=place.spec)}),
        x=(draw(T, B, D), _steps),
        probability_of_own=(0.5, real(0, 1, closed=True)),
        state=(None, exactly(None)),
        through=(True, flag),
        draw=((1, 2), either(whole(0), many(whole(0)))),
    )
