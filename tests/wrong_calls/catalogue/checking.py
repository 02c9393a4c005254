"""Gradient checks and the strategies for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from engine.checking import strategies
from engine.checking.catalogue import catalogue
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import draw
from wrong_calls.domains import (
    array,
    choice,
    dtype,
    either,
    exactly,
    flag,
    integers,
    many,
    nothing,
    optional,
    real,
    sequence,
    whole,
)

METHODS = ("central", "complex", "directional", "taylor", "adjoint", "rtrl")
T, B, D, H = 3, 2, 2, 3


def _verdict(report: Any) -> Any:
    """Of a report: its verdict and the names of its rows."""
    return report.verdict, [row.name for row in report.rows]


def _layer_arguments(place: Place) -> dict[str, tuple[Any, ...]]:
    layer = engine.LSTM(D, H, backend=place.spec, dtype="float64")
    state = (draw(1, B, H, dtype="float64"), draw(1, B, H, dtype="float64"))
    either_float = array("f", 1, B, H)
    layers = {"an optimiser": lambda: engine.SGD(layer), "a dropout": lambda: engine.Dropout(0.5, backend=place.spec)}
    return {
        "layer": (layer, exactly(layer), layers),
        "x": (draw(T, B, D, dtype="float64"), _small_floats(T, B, D)),
        "state": (state, optional(sequence(_small_floats(1, B, H), _small_floats(1, B, H)))),
        "lengths": ([T, 0], optional(integers(0, T, B))),
        "method": ("directional", choice(*METHODS)),
        "seed": (1, whole(0)),
        "tol": (None, optional(real(0))),
        "dtype": ("float64", dtype),
        "entries": (3, optional(whole(1))),
        "_": (either_float, exactly(either_float)),
    }


def _small_floats(*shape: int) -> Any:
    """Floats of either precision; a check takes both."""

    def plain(value: Any) -> Any:
        found = array("f", *shape)(value)
        return nothing(value) if found.dtype not in (np.dtype("f4"), np.dtype("f8")) else found.astype(np.float64)

    return plain


@entry("gradcheck")
def _gradcheck(place: Place) -> Call:
    arguments = _layer_arguments(place)
    del arguments["_"]
    return call(lambda **given: _verdict(engine.gradcheck(**given)), **arguments)


@entry("gradcheck with truncation")
def _truncation(place: Place) -> Call:
    arguments = _layer_arguments(place)
    for name in ("_", "lengths", "tol"):
        del arguments[name]
    steps = (T, 1, 0)  # no lengths say how many
    arguments["x"] = (arguments["x"][0], either(*(_small_floats(count, B, D) for count in steps)))
    pair = sequence(whole(1, 10**9), whole(1, 10**9))
    return call(lambda **given: _verdict(engine.gradcheck(**given)), **arguments, truncation=((1, 2), optional(pair)))


def _forward(*inputs: Any) -> Any:
    if [getattr(one, "shape", None) for one in inputs] != [(3, 2), (2, 4)] or any(
        one.dtype.kind not in "fc" for one in inputs
    ):
        raise engine.InputError("x and w: expected arrays that this function takes, got others")
    x, w = inputs
    return x @ w, (x, w)


def _backward(dout: Any, cache: Any) -> Any:
    x, w = cache
    if getattr(dout, "shape", None) != (3, 4):
        raise engine.InputError("dout: expected an array that this function takes, got another")
    return dout @ w.T, x.T @ dout


def _returning(change: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """A forward function that returns something else, made of the right output and cache."""
    return lambda: lambda *inputs: change(*_forward(*inputs))


FORWARDS = {
    "nothing": _returning(lambda out, cache: None),
    "no cache": _returning(lambda out, cache: out),
    "three things": _returning(lambda out, cache: (out, cache, out)),
    "out is a string": _returning(lambda out, cache: ("out", cache)),
    "out is a list of lists": _returning(lambda out, cache: (out.tolist(), cache)),
    "out is a number": _returning(lambda out, cache: (out.sum().item(), cache)),
    "out is integers": _returning(lambda out, cache: (out.astype(int), cache)),
    "out is complex": _returning(lambda out, cache: (out * 1j, cache)),
    "out is objects": _returning(lambda out, cache: (out.astype(object), cache)),
    "out is masked": _returning(lambda out, cache: (np.ma.masked_array(out, mask=True), cache)),
    "out is a set": _returning(lambda out, cache: ({1, 2}, cache)),
    "out is empty": _returning(lambda out, cache: (out[:0], cache)),
    "out is nothing": _returning(lambda out, cache: (None, cache)),
    "out is half": _returning(lambda out, cache: (out.astype(np.float16), cache)),
}
BACKWARDS = {
    "nothing": lambda: lambda dout, cache: None,
    "one gradient": lambda: lambda dout, cache: _backward(dout, cache)[0],
    "three gradients": lambda: lambda dout, cache: (*_backward(dout, cache), dout),
    "lists": lambda: lambda dout, cache: tuple(g.tolist() for g in _backward(dout, cache)),
    "strings": lambda: lambda dout, cache: ("dx", "dw"),
    "numbers": lambda: lambda dout, cache: (1.0, 2.0),
    "ragged": lambda: lambda dout, cache: ([[1.0], [2.0, 3.0]], cache[1]),
    "a dict": lambda: lambda dout, cache: dict(zip("xw", _backward(dout, cache), strict=True)),
    "complex": lambda: lambda dout, cache: tuple(g * 1j for g in _backward(dout, cache)),
    "objects": lambda: lambda dout, cache: tuple(g.astype(object) for g in _backward(dout, cache)),
    "masked": lambda: lambda dout, cache: tuple(np.ma.masked_array(g, mask=True) for g in _backward(dout, cache)),
    "a generator": lambda: lambda dout, cache: (g for g in _backward(dout, cache)),
}


def _function_arguments() -> dict[str, tuple[Any, ...]]:
    x, w = draw(3, 2, dtype="float64"), draw(2, 4, dtype="float64") + 1
    return {
        "forward": (_forward, exactly(_forward), FORWARDS),
        "backward": (_backward, exactly(_backward), BACKWARDS),
        "inputs": ([x, w], sequence(_pairs_with(3, 2), _pairs_with(2, 4))),
        "method": ("central", choice("central", "complex", "directional", "taylor")),
        "seed": (1, whole(0)),
        "tol": (1e-6, optional(real(0))),
        "entries": (None, optional(whole(1))),
        "time_axis": (None, optional(whole(0, 2))),
        "seconds": (None, optional(real(0))),
        "progress": (False, optional(exactly(False))),
        "atol": (0.0, real(0)),
    }


def _pairs_with(rows: int, columns: int) -> Any:
    """An array of this shape."""

    def plain(value: Any) -> Any:
        found = array("f", rows, columns)(value)
        return nothing(value) if found.dtype not in (np.dtype("f4"), np.dtype("f8")) else found

    return plain


@entry("check_gradients")
def _check_gradients(place: Place) -> Call:
    def run(**given: Any) -> Any:
        report = engine.check_gradients(**given)
        return "wrong" if report.verdict not in ("ok", "wrong") else report.verdict

    # A function that returns wrong gradients is an answer, not a wrong call: the report says so.
    arguments = _function_arguments()
    for name in ("forward", "backward"):
        valid, _, extras = arguments[name]
        arguments[name] = (valid, _callables(valid), extras)
    return call(run, **arguments)


def _hvp(dout: Any, cache: Any, directions: Any) -> Any:
    dx, dw = directions
    return dout @ dw.T, dx.T @ dout


def _double_backward(dgradients: Any, dout: Any, cache: Any) -> Any:
    (gx, gw), (x, w) = dgradients, cache
    return gx @ w + x @ gw, dout @ gw.T, gx.T @ dout


def _jvp(directions: Any, cache: Any) -> Any:
    (dx, dw), (x, w) = directions, cache
    return dx @ w + x @ dw


def _of_another_kind(name: str, valid: Any, function: Callable[..., Any], without: str = "") -> Call:
    def run(**given: Any) -> Any:
        report = function(**given)
        return "wrong" if report.verdict not in ("ok", "wrong") else report.verdict

    arguments = _function_arguments()
    if without:
        del arguments[without]
    own = {one: (arguments[one][0], exactly(arguments[one][0])) for one in ("forward", "backward") if one != without}
    rest = {one: arguments[one] for one in ("inputs", "method", "seed", "tol", "seconds", "progress", "atol")}
    rest["method"] = ("central", choice("central", "directional"))
    return call(run, **own, **{name: (valid, exactly(valid))}, **rest)


@entry("check_hessian")
def _check_hessian(place: Place) -> Call:
    return _of_another_kind("hvp", _hvp, engine.check_hessian)


@entry("gradgradcheck")
def _gradgradcheck(place: Place) -> Call:
    return _of_another_kind("double_backward", _double_backward, engine.gradgradcheck)


@entry("check_jvp")
def _check_jvp(place: Place) -> Call:
    return _of_another_kind("jvp", _jvp, engine.check_jvp, without="backward")


class _Dense:
    """An object that keeps its cache in itself."""

    def __init__(self, w: Any) -> None:
        self.W = w

    def forward(self, x: Any) -> Any:
        out, self.cache = _forward(x, self.W)
        return out

    def backward(self, dout: Any) -> Any:
        dx, self.dW = _backward(dout, self.cache)
        return dx


def _parameters(value: Any) -> Any:
    """Names of parameters, or that they are to be found."""
    return choice("auto")(value) if isinstance(value, str) else many(choice("W"), kinds=(tuple, list))(value)


@entry("check_object")
def _check_object(place: Place) -> Call:
    layer = _Dense(draw(2, 4, dtype="float64") + 1)
    arguments = _function_arguments()
    for name in ("forward", "backward", "inputs"):
        del arguments[name]
    names = optional(many(choice("mutation"), kinds=(tuple, list, set, frozenset, dict)))
    return call(
        lambda **given: _verdict(engine.check_object(**given)),
        layer=(layer, exactly(layer), {"a class": lambda: _Dense, "a function": lambda: _forward}),
        x=(draw(3, 2, dtype="float64"), _pairs_with(3, 2)),
        params=("auto", _parameters),
        grads=("auto", choice("auto")),
        **arguments,
        allow=((), names),
    )


def _callables(valid: Any) -> Any:
    """The function itself, or another one whose result the check may judge."""

    def plain(value: Any) -> Any:
        if not callable(value) or isinstance(value, type):
            nothing(value)
        return value

    return plain


@entry("assert_gradients of a layer")
def _assert_layer(place: Place) -> Call:
    arguments = _layer_arguments(place)
    for name in ("_", "tol", "dtype", "entries"):
        del arguments[name]

    def run(layer: Any, x: Any, state: Any, lengths: Any, **options: Any) -> Any:
        return _verdict(engine.assert_gradients(layer, x, state, lengths, **options))

    verdicts = many(choice("kink", "cannot tell"), kinds=(tuple, list, set, frozenset, dict))
    return call(run, **arguments, allow=(("cannot tell",), verdicts))


@entry("assert_gradients of functions")
def _assert_functions(place: Place) -> Call:
    def run(forward: Any, backward: Any, inputs: Any, **options: Any) -> Any:
        try:
            return engine.assert_gradients(forward, backward, inputs, **options).verdict
        except AssertionError:
            return "does not pass"

    arguments = _function_arguments()
    for name in ("forward", "backward"):
        valid, _, extras = arguments[name]
        arguments[name] = (valid, _callables(valid), extras)
    return call(run, **arguments)


@entry("Report.plot")
def _plot(place: Place) -> Call:
    import matplotlib

    matplotlib.use("Agg")
    report = engine.gradcheck(engine.RNN(1, 1, backend="numpy:reference"), draw(1, 1, 1))

    def path(value: Any) -> Any:
        import os

        if not isinstance(value, str | os.PathLike) or not str(os.fspath(value)).endswith((".png", ".svg", ".pdf")):
            nothing(value)
        return value

    def run(path: Any) -> Any:
        import matplotlib.pyplot as plt

        try:
            return type(report.plot(path)).__name__
        finally:
            plt.close("all")

    return call(run, path=(str(place.folder / "report.png"), optional(path)))


@entry("catalogue")
def _catalogue(place: Place) -> Call:
    return call(
        lambda backend, seed: len(list(catalogue(backend, seed))),
        backend=(engine.get_backend(place.spec), exactly(engine.get_backend(place.spec))),
        seed=(1, whole(0)),
    )


# -- strategies --------------------------------------------------------------------------------------------------------


def _range(value: Any) -> Any:
    """A size, or the smallest and the largest one."""
    if type(value) in (tuple, list):
        low, high = sequence(whole(1, 10**9), whole(1, 10**9))(value)
        return nothing(value) if low > high else (low, high)
    return whole(1, 10**9)(value)


@entry("strategies.sizes")
def _sizes(place: Place) -> Call:
    return call(
        lambda **given: strategies.sizes(**given) is not None,
        T=((3, 7), _range),
        B=(4, _range),
        D=((1, 5), _range),
        H=((2, 6), _range),
        distinct=(True, flag),
    )


@entry("strategies.lengths")
def _lengths(place: Place) -> Call:
    return call(
        lambda **given: strategies.lengths(**given) is not None, T=(4, whole(1)), B=(3, whole(1)), zero=(True, flag)
    )


@entry("strategies.arrays")
def _arrays(place: Place) -> Call:
    def shape(value: Any) -> Any:
        return [whole(0)(axis) for axis in value] if isinstance(value, tuple | list) else whole(0)(value)

    return call(
        lambda **given: strategies.arrays(**given) is not None,
        shape=((3, 2), shape),
        dtype=("float64", dtype),
        scale=(1.0, real(1e-30, 1e30)),
    )


@entry("strategies.states")
def _states(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)
    return call(
        lambda **given: strategies.states(**given) is not None,
        layer=(layer, exactly(layer)),
        batch=(3, whole(1)),
        none=(True, flag),
    )


@entry("strategies.layers")
def _layers(place: Place) -> Call:
    kinds = many(choice(*strategies.FIVE_CELLS), least=1)

    def plain(value: Any) -> Any:
        return choice(*strategies.FIVE_CELLS)(value) if isinstance(value, str) else kinds(value)

    return call(
        lambda **given: strategies.layers(**given) is not None,
        kinds=(["lstm", "gru"], plain),
        max_layers=(2, whole(1)),
        D=((1, 3), _range),
        H=((2, 3), _range),
        dtype=("float64", dtype),
        backend=(place.spec, choice("numpy", "numpy:reference", "numpy:numba")),
    )


@entry("strategies.problems")
def _problems(place: Place) -> Call:
    kinds = many(choice(*strategies.FIVE_CELLS), least=1)
    size = strategies.sizes()

    def plain(value: Any) -> Any:
        return choice(*strategies.FIVE_CELLS)(value) if isinstance(value, str) else kinds(value)

    return call(
        lambda **given: strategies.problems(**given) is not None,
        kinds=("lstm", plain),
        max_layers=(2, whole(1)),
        size=(size, optional(exactly(size))),
        dtype=("float64", dtype),
        backend=(place.spec, choice("numpy", "numpy:reference", "numpy:numba")),
    )
