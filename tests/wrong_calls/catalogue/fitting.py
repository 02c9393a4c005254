"""Training on arrays, measuring, and models in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine import data
from engine.parallel.threads import MOST, Network, ThreadCommunicator, run_ranks
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import backend, draw
from wrong_calls.domains import (
    Illegal,
    absent,
    array,
    choice,
    either,
    exactly,
    flag,
    instance,
    integers,
    is_plain_array,
    many,
    nothing,
    optional,
    real,
    whole,
)

N, T, D = 8, 3, 2
#: What the rows and targets may be: numbers of any kind that float32 holds.
VALUES = either(array("fiub", N, T, D, finite=True))
TARGETS = either(array("fiub", N, 1, finite=True), array("fiub", N, finite=True))


def _model(place: Place) -> Any:
    parts = engine.GRU(D, 4, backend=place.spec), engine.Linear(4, 1, backend=place.spec)
    return engine.Sequential(*parts, seed=3)


def _numbers(domain: Any) -> Any:
    """The domain, for numbers that float32 holds; lists of plain numbers are an array too."""

    def plain(value: Any) -> Any:
        found = domain(np.array(value) if type(value) in (list, tuple) and _is_of_numbers(value) else value)
        if found.dtype.kind == "f" and (np.abs(found) > np.finfo(np.float32).max).any():
            raise Illegal
        return found

    return plain


def _is_of_numbers(value: Any) -> bool:
    """Whether a nest of lists has one shape, and plain numbers alone."""
    if isinstance(value, list | tuple):
        return len({np.shape(part) for part in value}) == 1 and all(map(_is_of_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mask(value: Any) -> np.ndarray:
    value = np.array(value) if type(value) in (tuple, list) else value
    if not is_plain_array(value) or value.dtype.kind not in "biuf" or value.shape != (N,):
        raise Illegal
    if not ((value >= 0) & np.isfinite(value)).all() or not value.any() or value.max() > 1e30:
        raise Illegal
    return np.array(value)


def _rows(place: Place) -> dict[str, tuple[Any, ...]]:
    values, targets = draw(N, T, D), draw(N, 1)
    wrong: dict[str, Callable[[], Any]] = {
        "a row less": lambda: values[1:],
        "wider": lambda: draw(N, T, D + 1),
        "rows of several widths": lambda: [values[0], values[1][:, :1]],
    }
    return {
        "x": (values, _numbers(VALUES), wrong),
        "y": (targets, _numbers(TARGETS), {"a row less": lambda: targets[1:], "texts": lambda: ["a"] * N}),
        "lengths": ([3, 2, 1, 3, 3, 2, 1, 1], optional(integers(1, T, N))),
        "mask": (np.arange(N) % 2 == 0, optional(_mask)),
        "loss": ("mse", choice("mse"), {"of classes": lambda: "cross_entropy"}),
        "metrics": (("mae",), many(choice("mae", "rmse", "loss")), {"twice": lambda: ("mae", "mae")}),
        "batch_size": (4, whole(1)),
        "stateful": (False, flag),
    }


@entry("fit")
def _fit(place: Place) -> Call:
    model = _model(place)
    adam, average = engine.Adam(model, lr=0.01), engine.WeightAverage(model, 0.9)
    others = {"of another model": lambda: engine.Adam(_model(place))}

    def run(**given: Any) -> Any:
        if isinstance(given.get("parallel"), bool | np.bool_) and given["parallel"]:
            given["parallel"] = ThreadCommunicator(Network(1), 0)  # MPI stays out of the process that runs tests
        found = engine.fit(quiet=True, **given)
        return {**found.columns(), "seconds": None}

    return call(
        run,
        lambda: dict(model.params),
        model=(model, exactly(model)),
        **_rows(place),
        validation=(0.25, optional(real(0, 0.9, over=0))),
        optimizer=(adam, exactly(adam), others),
        epochs=(1, whole(1, 5)),
        shuffle=(True, flag),
        clip=(1.0, optional(real(0, closed=True))),
        gradient_noise=(0.01, real(0)),
        ar=(1.0, real(0)),
        tar=(1.0, real(0)),
        average=(average, optional(exactly(average))),
        loss_scale=("dynamic", either(choice("dynamic", "off"), _scale)),
        schedule=("cosine", optional(choice("cosine", "step", "constant"))),
        patience=(0, whole(0)),
        resume=(False, nothing),
        checkpoint_every=(0, whole(0, 0)),
        callbacks=((), many(exactly())),
        weights=(None, optional(_mask)),
        buckets=(0, either(whole(0), instance(data.Buckets))),
        parallel=(False, flag),
        compress=(None, absent),
        seed=(0, whole(0)),
    )


def _scale(value: Any) -> float:
    """A number > 0 that a loss may be scaled by."""
    found = real(0, over=0)(value)
    if found > 2**30:
        raise Illegal
    return float(found)


@entry("evaluate")
def _evaluate(place: Place) -> Call:
    model = _model(place)
    return call(
        lambda **given: engine.evaluate(**given),
        lambda: dict(model.params),
        model=(model, exactly(model)),
        **_rows(place),
        weights=(None, optional(_mask)),
    )


@entry("find_learning_rate")
def _find_learning_rate(place: Place) -> Call:
    model = _model(place)
    adam = engine.Adam(model, lr=0.01)
    given = _rows(place)
    del given["metrics"]
    return call(
        lambda **given: engine.find_learning_rate(**given).rates[0],
        lambda: dict(model.params),
        model=(model, exactly(model)),
        **given,
        optimizer=(adam, exactly(adam), {"of another model": lambda: engine.Adam(_model(place))}),
        clip=(1.0, optional(real(0, closed=True))),
        low=(1e-4, real(0, 1.0, over=0), {"zero": lambda: 0, "above high": lambda: 2.0}),
        high=(1.0, real(0, over=1e-4), {"below low": lambda: 1e-5}),
        steps=(20, whole(20, 10_000)),
        seed=(0, whole(0)),
    )


@entry("tune")
def _tune(place: Place) -> Call:
    values, targets = draw(N, T, D), draw(N, 1)

    def build(values: Any) -> Any:
        return _model(place)

    def broken(values: Any) -> Any:
        return "a model"

    space: Any = {"a": (1, 3), "b": [True, False]}
    wrong = {
        "without choices": lambda: {"a": []},
        "log with 0": lambda: {"a": (0.0, 1.0, "log")},
        "upside down": lambda: {"a": (2, 1)},
        "half a range": lambda: {"a": "1:"},
    }
    return call(
        lambda **given: engine.tune(x=values, y=targets, trials=1, quiet=True, epochs=1, **given).trials[0].values,
        build=(build, exactly(build), {"that builds none": lambda: broken}),
        space=(space, exactly(space), wrong),
        validation=(0.25, real(0, 0.9, over=0)),
        figure=("loss", choice("loss"), {"that is not measured": lambda: "mae"}),
        higher=(None, optional(flag)),
        sampler=("random", choice("tpe", "random", "grid")),
        pruner=("none", choice("median", "hyperband", "none")),
        storage=(None, nothing, {"of no database": lambda: "none://x"}),
        minutes=(None, optional(real(0, closed=True))),
        points=(3, whole(2)),
        seed=(0, whole(0)),
    )


@entry("run_ranks")
def _ranks(place: Place) -> Call:
    def work(communicator: Any) -> int:
        return int(communicator.rank)

    limits = {"latency": (0.0, real(0)), "bandwidth": (None, optional(real(0, over=0)))}
    sizes = {"size": (2, whole(1, MOST)), "work": (work, instance(type(work)))}
    return call(lambda **given: run_ranks(**given), **sizes, **limits)


@entry("load")
def _load(place: Place) -> Call:
    path = place.folder / "saved.safetensors"
    _model(place).save(path)

    def file(value: Any) -> Path:
        if not isinstance(value, str | Path) or not Path(value).is_file():  # another call may have saved a model there
            raise Illegal
        return Path(value)

    return call(
        lambda **given: engine.load(**given),
        path=(path, file),
        backend=(place.spec, backend),
        dtype=(None, optional(choice("float32", "float64"))),
    )


@entry("Layer.save")
def _save(place: Place) -> Call:
    folder = place.folder / "saved"
    folder.mkdir(exist_ok=True)

    def file(value: Any) -> Path:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value) or "\ud800" in str(value):
            raise Illegal
        return Path(value)

    return call(lambda path: _model(place).save(path), path=(folder / "model.safetensors", file))
