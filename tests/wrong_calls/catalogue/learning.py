"""Optimisers and schedules."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from engine.optimizers import schedules
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import D, H, draw
from wrong_calls.domains import (
    Illegal,
    array,
    choice,
    exactly,
    flag,
    floats,
    is_plain_array,
    mapping,
    nothing,
    optional,
    real,
    sequence,
    whole,
)

share = real(0, 1)
OPTIMIZERS: dict[str, tuple[Any, dict[str, tuple[Any, ...]]]] = {
    "SGD": (engine.SGD, {"momentum": (0.9, share), "dampening": (0.0, real(0, 1)), "nesterov": (True, flag)}),
    "Adagrad": (
        engine.Adagrad,
        {"lr_decay": (0.1, real(0)), "initial_accumulator_value": (0.1, real(0)), "eps": (1e-10, real(0))},
    ),
    "RMSprop": (
        engine.RMSprop,
        {"alpha": (0.99, share), "eps": (1e-8, real(0)), "momentum": (0.5, share), "centered": (True, flag)},
    ),
    "Adam": (engine.Adam, {"betas": ((0.9, 0.999), sequence(share, share)), "eps": (1e-8, real(0))}),
    "AdamW": (
        engine.AdamW,
        {"betas": ((0.9, 0.999), sequence(share, share)), "eps": (1e-8, real(0)), "weight_decay": (0.01, real(0))},
    ),
}


def _user_model(**arrays: Any) -> Any:
    """Someone's own model: an object with two dicts."""
    params = {"w": draw(4, 3), "b": draw(3)}
    grads = {"w": draw(4, 3) + 1, "b": draw(3) + 1}
    for name, value in arrays.items():
        (params if name.startswith("p") else grads)[name[2:]] = value
    return types.SimpleNamespace(params=params, grads=grads)


def _locked(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


def _overlapping() -> Any:
    base = draw(4, 4)
    return _user_model(p_w=base[:, :3], p_b=base[0, 1:])


#: Models that are wrong in one place, or only look so.
MODELS: dict[str, Callable[[], Any]] = {
    "a good one": _user_model,
    "a list of good ones": lambda: [_user_model(), _user_model()],
    "one twice": lambda: [m := _user_model(), m],
    "read-only weights": lambda: _user_model(p_w=_locked(draw(4, 3))),
    "read-only gradients": lambda: _user_model(g_w=_locked(draw(4, 3))),
    "spread weights": lambda: _user_model(p_w=np.broadcast_to(draw(3), (4, 3))),
    "weights that overlap themselves": lambda: _user_model(
        p_w=np.lib.stride_tricks.as_strided(draw(6), (4, 3), (4, 4))
    ),
    "weights that overlap": _overlapping,
    "Fortran weights": lambda: _user_model(p_w=np.asfortranarray(draw(4, 3))),
    "Fortran gradients": lambda: _user_model(g_w=np.asfortranarray(draw(4, 3) + 1)),
    "strided weights": lambda: _user_model(p_w=draw(4, 6)[:, ::2]),
    "no gradient": lambda: _user_model(g_w=None),
    "gradient of another shape": lambda: _user_model(g_w=draw(3, 4)),
    "gradient that would broadcast": lambda: _user_model(g_w=draw(1, 3)),
    "gradient of another dtype": lambda: _user_model(g_w=draw(4, 3, dtype="float64")),
    "integer weights": lambda: _user_model(p_w=np.ones((4, 3), int)),
    "half weights": lambda: _user_model(p_w=draw(4, 3, dtype="float16"), g_w=draw(4, 3, dtype="float16")),
    "byte-swapped weights": lambda: _user_model(p_w=draw(4, 3).astype(">f4")),
    "complex weights": lambda: _user_model(p_w=np.ones((4, 3), complex), g_w=np.ones((4, 3), complex)),
    "masked weights": lambda: _user_model(p_w=np.ma.masked_array(draw(4, 3), mask=True)),
    "masked gradients": lambda: _user_model(g_w=np.ma.masked_array(draw(4, 3), mask=True)),
    "matrix": lambda: _user_model(p_w=np.matrix(draw(4, 3))),
    "empty weights": lambda: _user_model(p_w=draw(0, 3), g_w=draw(0, 3)),
    "0-d weights": lambda: _user_model(p_w=np.array(1.0, np.float32), g_w=np.array(2.0, np.float32)),
    "weights as a list": lambda: _user_model(p_w=[1.0, 2.0]),
    "no parameters": lambda: types.SimpleNamespace(params={}, grads={}),
    "mixed dtypes": lambda: _user_model(p_b=draw(3, dtype="float64"), g_b=draw(3, dtype="float64")),
    "a number as name": lambda: types.SimpleNamespace(params={1: draw(3)}, grads={1: draw(3)}),
    "nan in the gradient": lambda: _user_model(g_b=np.full(3, np.nan, np.float32)),
    "gradients that are the weights": lambda: types.SimpleNamespace(params=(d := {"w": draw(3)}), grads=d),
    "params alone": lambda: types.SimpleNamespace(params={"w": draw(3)}),
    "lists in place of dicts": lambda: types.SimpleNamespace(params=[draw(3)], grads=[draw(3)]),
}


def models(value: Any) -> Any:
    """A model whose arrays fit, as a copy whose arrays are plain; or a list of different ones."""
    if type(value) in (list, tuple):
        if not value or any(a is b for k, a in enumerate(value) for b in value[:k]):
            raise Illegal
        return [models(one) for one in value]
    if isinstance(value, engine.layers.Layer):
        return value
    if type(value) is not types.SimpleNamespace or not hasattr(value, "grads") or not hasattr(value, "params"):
        raise Illegal
    if (
        type(value.params) is not dict
        or type(value.grads) is not dict
        or not value.params
        or value.params is value.grads
    ):
        raise Illegal
    copy: Any = types.SimpleNamespace(params={}, grads={})
    for name, w in value.params.items():
        g: Any = value.grads.get(name)
        if not (
            isinstance(name, str) and _trainable(w) and _trainable(g) and w.shape == g.shape and w.dtype == g.dtype
        ):
            raise Illegal
        if any(np.shares_memory(w, other) for key, other in value.params.items() if key != name):
            raise Illegal
        copy.params[name], copy.grads[name] = w.copy(), g.copy()
    return copy


def _trainable(a: Any) -> bool:
    return (
        is_plain_array(a)
        and a.dtype in (np.dtype("f4"), np.dtype("f8"))
        and a.flags.writeable
        and not _overlaps_itself(a)
    )


def _overlaps_itself(a: np.ndarray) -> bool:
    offsets = np.zeros(a.shape, np.int64)
    for axis, (size, stride) in enumerate(zip(a.shape, a.strides, strict=True)):
        offsets += (np.arange(size) * stride).reshape([-1 if k == axis else 1 for k in range(a.ndim)])
    return len(np.unique(offsets)) != a.size


def _parameters(model: Any) -> Any:
    parts = model if isinstance(model, list | tuple) else [model]
    return [{str(name): np.array(value) for name, value in part.params.items()} for part in parts]


def _optimizer(name: str, kind: Any, own: dict[str, tuple[Any, ...]]) -> None:
    rates = {"lr": (0.1, real(0)), "l1": (0.01, real(0)), "l2": (0.02, real(0))}

    @entry(name)
    def construct(place: Place) -> Call:
        def run(model: Any, **options: Any) -> Any:
            optimizer = kind(model, **options)
            optimizer.step()
            return _parameters(model), optimizer

        return call(run, model=(_user_model(), models, MODELS), **rates, **own)

    @entry(f"{name}.step")
    def step(place: Place) -> Call:
        model = engine.GRU(D, H, backend=place.spec)
        for grad in model.grads.values():
            grad[...] = draw(*grad.shape)
        optimizer = kind(model)

        def guard(value: Any) -> Any:
            if (
                isinstance(value, np.ndarray)
                and value.ndim == 0
                and is_plain_array(value)
                and value.dtype.kind in "fiub"
            ):
                return float(value)
            if isinstance(value, bool | np.bool_):
                return value
            if isinstance(value, int):
                return 0.0  # every int is finite
            return float(value) if isinstance(value, float | np.floating) else nothing(value)

        def run(guard: Any) -> Any:
            optimizer.step(guard)
            return _parameters(model), optimizer

        return call(run, lambda: (_parameters(model), optimizer), guard=(0.5, optional(guard)))

    @entry(f"{name}.step of a changed model")
    def changed(place: Place) -> Call:
        model = engine.Sequential(engine.GRU(D, H, backend=place.spec), engine.Linear(H, 2, backend=place.spec))
        optimizer = kind(model)

        def run(value: Any) -> Any:
            model.grads["1.weight"] = value
            optimizer.step()
            return _parameters(model), optimizer

        return call(run, value=(draw(2, H), floats("float32", 2, H)))

    @entry(f"{name}.load_state_dict")
    def load(place: Place) -> Call:
        model = engine.Linear(2, 3, backend=place.spec)
        saved = kind(model)
        for grad in model.grads.values():
            grad[...] = draw(*grad.shape)
        saved.step()
        optimizer, state = kind(model), saved.state_dict()
        domains: dict[str, Any] = {"type": choice(name), "steps": _steps, "nonfinite": _boolean}
        for key, value in state.items():
            if key not in domains:
                domains[key] = _hyper(key, own, rates) if not isinstance(value, np.ndarray) else _buffer(key, value)

        def run(mapping: Any) -> Any:
            optimizer.load_state_dict(mapping)
            return optimizer

        return call(run, lambda: optimizer, mapping=(state, mapping(domains)))

    for attribute in ("lr", "l1", "l2", *own):

        @entry(f"{name}.{attribute} =")
        def assign(place: Place, attribute: str = attribute) -> Call:
            model = _user_model()
            optimizer = kind(model)
            attribute = {"betas": "beta1"}.get(attribute, attribute)

            def run(value: Any) -> Any:
                setattr(optimizer, attribute, value)
                optimizer.step()
                return _parameters(model), optimizer

            return call(run, lambda: optimizer, value=(0.3, real(0) if attribute == "lr" else nothing))


def _hyper(key: str, own: dict[str, tuple[Any, ...]], rates: dict[str, tuple[Any, ...]]) -> Any:
    if key in ("beta1", "beta2"):
        return share
    return {**own, **rates}[key][1]


def _steps(value: Any) -> Any:
    """A count as a 0-d array or (1,)."""
    found = array("iu")(value)
    if found.shape not in ((), (1,)) or not 0 <= int(found.reshape(())) < 2**62:
        raise Illegal
    return np.array(int(found.reshape(())), np.int64)


def _boolean(value: Any) -> Any:
    found = array("b")(value)
    if found.shape not in ((), (1,)):
        raise Illegal
    return found.reshape(()).astype(bool)


def _buffer(key: str, like: np.ndarray) -> Any:
    """Floats of the buffer's shape; a mean square is never negative."""

    def plain(value: Any) -> Any:
        found = array("f", *like.shape)(value)
        squares = key.startswith(("exp_avg_sq", "square_avg", "sum"))
        lost = np.isfinite(found) & (np.abs(found.astype(np.float64)) > np.finfo(np.float32).max)
        if np.isnan(found).any() or lost.any() or (squares and (found < 0).any()):
            raise Illegal
        return found.astype(like.dtype)

    return plain


for _name, (_kind, _own) in OPTIMIZERS.items():
    _optimizer(_name, _kind, _own)


# -- schedules ---------------------------------------------------------------------------------------------------------

rate = real(0)
_base = schedules.Cosine(0.1, 20)
SCHEDULES: dict[str, tuple[Any, dict[str, tuple[Any, ...]]]] = {
    "Constant": (schedules.Constant, {"lr": (0.1, rate)}),
    "StepDecay": (schedules.StepDecay, {"lr": (0.1, rate), "step_size": (3, whole(1)), "gamma": (0.5, rate)}),
    "Cosine": (schedules.Cosine, {"lr": (0.1, rate), "total_steps": (20, whole(1)), "min_lr": (0.01, rate)}),
    "Warmup": (
        schedules.Warmup,
        {
            "after": (_base, exactly(_base)),
            "steps": (4, whole(0)),
            "start_factor": (0.25, real(0, 1, closed=True, over=0)),
        },
    ),
    "make_schedule": (
        schedules.make_schedule,
        {
            "name": ("step", choice("constant", "step", "cosine")),
            "lr": (0.1, rate),
            "total_steps": (20, optional(whole(1))),
            "step_size": (3, optional(whole(1))),
            "gamma": (0.5, optional(rate)),
            "min_lr": (None, optional(rate)),
            "warmup_steps": (2, whole(0)),
            "start_factor": (0.5, optional(real(0, 1, closed=True, over=0))),
        },
    ),
}


def _schedule(name: str, kind: Any, own: dict[str, tuple[Any, ...]]) -> None:
    @entry(name)
    def construct(place: Place) -> Call:
        return call(lambda **given: [kind(**given)(step) for step in (0, 1, 7, 10**6)], **own)

    @entry(f"{name}(step)")
    def at_step(place: Place) -> Call:
        schedule = kind(**{key: parts[0] for key, parts in own.items()})
        return call(schedule, step=(3, whole(0)))


for _name, (_kind, _own) in SCHEDULES.items():
    _schedule(_name, _kind, _own)


@entry("Scaled")
def _scaled(place: Place) -> Call:
    def factor(step: int) -> float:
        return 0.5**step

    extras = {
        "a string": lambda: lambda step: "1",
        "nothing": lambda: lambda step: None,
        "negative": lambda: lambda step: -1.0,
        "nan": lambda: lambda step: float("nan"),
        "an array": lambda: lambda step: np.ones(2),
        "a complex number": lambda: lambda step: 1j,
        "huge": lambda: lambda step: 10**400,
    }

    def plain(value: Any) -> Any:
        """The function itself; a class of numbers makes one of a step, and so is a function too."""
        return value if isinstance(value, type) and issubclass(value, np.number | float) else exactly(factor)(value)

    return call(
        lambda lr, factor: [schedules.Scaled(lr, factor)(step) for step in (0, 1, 5)],
        lr=(0.1, rate),
        factor=(factor, plain, extras),
    )


def _weights_of(average: engine.WeightAverage) -> dict[str, Any]:
    """What an average holds, to be compared."""
    return average.state_dict()


@entry("WeightAverage")
def _weight_average(place: Place) -> Call:
    model = engine.Linear(2, 3, backend=place.spec)

    def run(model: Any, decay: Any, **given: Any) -> Any:
        average = engine.WeightAverage(model, decay, **given)
        for _ in range(3):
            average.update()
        return _weights_of(average)

    return call(
        run,
        lambda: dict(model.params),
        model=(model, exactly(model)),
        decay=(0.9, optional(real(0, 1, over=0))),
        start=(1, whole(0)),
        every=(2, whole(1)),
    )


@entry("WeightAverage.load_state_dict")
def _load_average(place: Place) -> Call:
    model = engine.Linear(2, 3, backend=place.spec)
    average, saved = engine.WeightAverage(model, 0.5, start=1), engine.WeightAverage(model, 0.5, start=1)
    for _ in range(3):
        saved.update()
    domains: dict[str, Any] = {
        "decay": exactly_equal(0.5),
        "start": exactly_equal(1),
        "every": exactly_equal(1),
        "seen": whole(0),
        "count": whole(0),
        "average.weight": array("f", 3, 2, dtype="float32", finite=True),
        "average.bias": array("f", 3, dtype="float32", finite=True),
    }

    def run(mapping: Any) -> Any:
        average.load_state_dict(mapping)
        return _weights_of(average)

    return call(run, lambda: _weights_of(average), mapping=(saved.state_dict(), mapping(domains)))


def exactly_equal(wanted: float) -> Callable[[Any], Any]:
    """Accept this number alone, as any kind of number."""

    def plain(value: Any) -> Any:
        if real()(value) != wanted:
            raise Illegal
        return wanted

    return plain
