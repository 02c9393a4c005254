"""What `bptt compare` and `bptt bench` stand on, as far as a program may call it."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from engine.errors import InputError
from engine.measuring.comparing import measure
from engine.measuring.experiment import SHORT, Bench, Experiment
from engine.measuring.side_by_side import relative
from engine.measuring.timed_step import TIMED_CELLS as TIMED
from engine.measuring.timed_step import TimedStep
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import draw
from wrong_calls.domains import array, choice, flag, integers, many, optional, real, whole


@entry("Experiment")
def _experiment(place: Place) -> Call:
    def lengths(value: Any) -> Any:
        return tuple(int(n) for n in integers(0, 4, 2)(value))

    def run(backend: Any, **fields: Any) -> Any:
        return Bench(Experiment(**fields), backend).values()

    size = whole(1, 10**4)
    return call(
        run,
        backend=(place.spec, choice("numpy", "numpy:reference", "numpy:numba")),
        cell=("gru", choice(*SHORT, *engine.cells())),
        T=(4, size),
        B=(2, size),
        D=(3, size),
        H=(5, size),
        lengths=((4, 2), optional(lengths)),
        dtype=("float64", choice("float32", "float64")),
        seed=(1, whole(0)),
    )


@entry("measure")
def _measure(place: Place) -> Call:
    def run(specs: Any, seconds: Any) -> Any:
        if isinstance(seconds, int | float | np.floating | np.integer) and seconds > 0.1:
            raise InputError("seconds: expected a short time, for the test's sake, got a long one")
        rows = measure(Experiment(T=3, B=2, D=2, H=3), specs, seconds, memory=False)
        return [row.spec for row in rows if row.reason is None]

    names = many(choice("numpy", "numpy:reference", "numpy:numba"), least=1)

    return call(run, specs=(["numpy:reference", place.spec], names), seconds=(0.001, real(0)))


@entry("relative")
def _relative(place: Place) -> Call:
    return call(relative, found=(draw(3, 2), array("fiu")), wanted=(draw(3, 2) + 1, array("fiu")))


@entry("TimedStep")
def _case(place: Place) -> Call:
    size = whole(1)  # the work is only counted
    return call(
        lambda **fields: TimedStep(**fields).flops(),
        cell=("GRU", choice(*TIMED)),
        T=(4, size),
        B=(2, size),
        D=(3, size),
        H=(5, size),
        layers=(1, whole(1, 5)),
        bidirectional=(True, flag),
        mixed=(True, flag),
        training=(True, flag),
    )
