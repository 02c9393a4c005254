"""Gradient checks of the engine's layers and of anyone's own pair of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of, check_dtype
from engine.checking.numeric import central_differences, random_cotangents, roundoff_of
from engine.checking.report import Report, Row, compare
from engine.checks import describe, number
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.layers.recurrent import Recurrent
from engine.layers.sequential import Sequential

METHODS = ("central",)
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}


def gradcheck(
    layer: Layer,
    x: Any,
    state: Any = None,
    lengths: Any = None,
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    dtype: Any = "float64",
) -> Report:
    """Check every gradient of a layer: parameters, input, initial state.

    The loss is a random weighting of the output and of the final state, so that both gradients that backward takes are
    tried.  Dropout is on, with the call counter frozen, so that every evaluation draws the same masks.

    Parameters
    ----------
    layer : any layer of the engine; it is copied and left alone.
    x, state, lengths : arguments for its forward pass; floats of either precision, integer ids for an Embedding.
    method : ``"central"``, central differences.
    seed : of the random weighting.
    tol : largest error, relative to each tensor's largest value; None means 1e-6 (float64) or 1e-4 (float32).
    dtype : ``"float64"`` checks a float64 copy; ``"float32"`` runs backward in float32 and the differences in float64.

    Returns
    -------
    Report
        ``.passed``, ``.verdict``, ``.worst``; ``print(report)`` shows a table.
    """
    _check_method(method)
    if not isinstance(layer, Layer):
        raise bad_type("layer", "a layer of engine", describe(layer), "for functions of your own, use check_gradients")
    dtype = check_dtype(dtype).name
    tol = TOLERANCE[dtype] if tol is None else number("tol", tol)
    backend = layer.backend
    exact = layer.to(dtype="float64")
    counters = exact.call_counters()
    x64, state64 = _copy(backend, x, "float64"), _copy(backend, state, "float64")

    def evaluate() -> list[Any]:
        exact.load_call_counters(counters)
        y, last, _ = exact.forward(x64, state64, lengths)
        return [y, *_leaves(last)]

    outputs = evaluate()
    if state64 is None and len(outputs) > 1:  # the gradient with respect to zeros is checked at zeros
        exact.load_call_counters(counters)
        state64 = _map(backend.xp.zeros_like, exact.forward(x64, None, lengths)[1])
    cotangents = random_cotangents(seed, outputs, backend)
    roundoff = roundoff_of(outputs, cotangents)

    checked = layer.to(dtype=dtype)
    checked.load_call_counters(counters)
    _, last, tape = checked.forward(_copy(backend, x, dtype), _copy(backend, state64, dtype), lengths)
    weights = iter([_copy(backend, cotangent, dtype) for cotangent in cotangents])
    dy = next(weights)
    dx, dstate = checked.backward(tape, dy, _map(lambda _: next(weights), last))

    rows = []

    def row(name: str, analytic: Any, array: Any, gates: tuple[str, ...] = (), time_axis: int | None = None) -> None:
        numeric = central_differences(evaluate, array, cotangents, backend)
        rows.append(
            compare(name, backend.to_host(analytic).astype(np.float64), numeric, tol, gates, time_axis, roundoff)
        )

    for name, param in exact.params.items():
        row(name, checked.grads[name], param, _gates_of(exact, name))
    if dx is not None:
        row("x", dx, x64, time_axis=(1 if layer.batch_first else 0) if x64.ndim > 2 else None)
    for name, analytic, array in zip(_state_names(exact, last), _leaves(dstate), _leaves(state64), strict=True):
        row(name, analytic, array)
    return Report(tuple(rows), tol, method)


def check_gradients(
    forward: Callable[..., tuple[Any, Any]],
    backward: Callable[[Any, Any], Any],
    inputs: Sequence[Any],
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
) -> Report:
    """Check a hand-written pair of functions.

    Parameters
    ----------
    forward : ``forward(*inputs) -> (out, cache)``; out is an array or a tuple of arrays.
    backward : ``backward(dout, cache) -> gradients``, one for each input, in order.
    inputs : float64 arrays; integer inputs are passed on and not checked.
    method, seed, tol : as for `gradcheck`.

    Returns
    -------
    Report
        its tensors are called ``input 0``, ``input 1``, ...
    """
    _check_method(method)
    tol = TOLERANCE["float64"] if tol is None else number("tol", tol)
    floats = [value for value in inputs if getattr(getattr(value, "dtype", None), "kind", "") == "f"]
    if not floats:
        raise bad_input("inputs", "at least one float64 array", "none", "there is nothing to check")
    backend = backend_of(floats[0], "inputs")
    arrays = [value.copy() if backend.is_array(value) else value for value in inputs]
    for position, array in enumerate(arrays):
        if getattr(getattr(array, "dtype", None), "kind", "") == "f" and array.dtype != np.float64:
            raise bad_type(f"inputs[{position}]", "float64", str(array.dtype), "differences need the digits")

    def evaluate() -> list[Any]:
        return [backend.xp.asarray(leaf) for leaf in _leaves(forward(*arrays)[0])]

    out, cache = forward(*arrays)
    out = _map(backend.xp.asarray, out)
    cotangents = random_cotangents(seed, _leaves(out), backend)
    roundoff = roundoff_of(_leaves(out), cotangents)
    weights = iter(cotangents)
    gradients = backward(_map(lambda _: next(weights), out), cache)
    gradients = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    if len(gradients) != len(arrays):
        raise bad_input("backward", f"{len(arrays)} gradients, one for each input", f"{len(gradients)}")
    rows: list[Row] = []
    for position, (array, analytic) in enumerate(zip(arrays, gradients, strict=True)):
        if getattr(getattr(array, "dtype", None), "kind", "") == "f":
            if analytic is None:
                raise bad_type("backward", f"a gradient for input {position}", "None", "only integer inputs have none")
            analytic = backend.xp.asarray(analytic)
            numeric = central_differences(evaluate, array, cotangents, backend)
            rows.append(compare(f"input {position}", backend.to_host(analytic), numeric, tol, roundoff=roundoff))
    return Report(tuple(rows), tol, method)


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise bad_input("method", f"one of {', '.join(map(repr, METHODS))}", repr(method))


def _copy(backend: Backend, value: Any, dtype: str) -> Any:
    """A contiguous copy of an array or a nest of arrays, floats in the dtype asked for."""

    def one(array: Any) -> Any:
        host = backend.to_host(array) if backend.is_array(array) else np.asarray(array)
        return host if host.dtype.kind in "iu" else backend.asarray(np.ascontiguousarray(host), dtype=dtype)

    return _map(one, value)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply to every array of a nest of tuples; None stays None."""
    if isinstance(value, (tuple, list)):
        return tuple(_map(function, part) for part in value)
    return None if value is None else function(value)


def _leaves(value: Any) -> list[Any]:
    """The arrays of a nest of tuples, in order."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [] if value is None else [value]


def _state_names(layer: Layer, state: Any, prefix: str = "") -> list[str]:
    """``h0``, ``c0`` for a recurrent layer's state; with the layer's place in front inside a Sequential."""
    if state is None:
        return []
    if isinstance(layer, Sequential):
        pairs = enumerate(zip(layer.layers, state, strict=True))
        return [name for k, (part, own) in pairs for name in _state_names(part, own, f"{prefix}{k}.")]
    return [prefix + name for name in (("h0", "c0") if isinstance(state, (tuple, list)) else ("h0",))]


def _gates_of(layer: Layer, name: str) -> tuple[str, ...]:
    """The gate blocks along the first axis of a parameter."""
    while isinstance(layer, Sequential):
        position, _, name = name.partition(".")
        layer = layer.layers[int(position)]
    return layer.cell.gates if isinstance(layer, Recurrent) and len(layer.cell.gates) > 1 else ()
